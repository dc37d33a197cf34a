//! Starts: what is accepted once, what is accepted again, and what is refused and how.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::desk::{Answer, Desk, send};
use crate::support::{definition, eventually};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn desk(hint: &'static str) -> Desk {
    let desk = Desk::open(hint).await;
    desk.rest.submit(&definition("order", &["a"])).await;
    desk
}

/// A JSON text that nests so deep.
fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

async fn start_text(desk: &Desk, text: impl Into<reqwest::Body>) -> Answer {
    desk.post_text("/v1/sagas", "application/json", text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_answered_with_the_saga_and_where_it_is() {
    let desk = desk("rest_start").await;
    let body = json!({"definition": "order", "input": {"order": 1}, "tags": {"tier": "gold"}});
    let answer = desk.post("/v1/sagas", &body).await;
    let location = answer.header("location").to_owned();
    assert_eq!(answer.header("idempotent-replayed"), "");
    let started = answer.ok(201);
    let id = started["id"].as_str().expect("an id");
    assert_eq!(started, json!({"id": id, "definition": "order", "version": 1, "status": "running"}));
    assert_eq!(location, format!("/v1/sagas/{id}"));
    let saga = desk.get(&location).await.ok(200);
    assert_eq!((&saga["input"], &saga["tags"]), (&body["input"], &body["tags"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_version_is_started_unless_one_is_named() {
    let desk = desk("rest_start_version").await;
    desk.rest.submit(&definition("order", &["a", "b"])).await;
    let newest = desk.post("/v1/sagas", &json!({"definition": "order"})).await.ok(201);
    assert_eq!(newest["version"], 2);
    let first = desk.post("/v1/sagas", &json!({"definition": "order", "version": 1})).await.ok(201);
    assert_eq!(first["version"], 1);
    let saga = desk.rest.saga(first["id"].as_str().expect("an id")).await;
    assert_eq!((&saga["version"], &saga["input"]), (&json!(1), &Value::Null));
    assert_eq!(saga["steps"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_again_is_the_same_saga() {
    let desk = desk("rest_replay").await;
    let body = json!({"definition": "order", "input": {"order": 1, "lines": [1, 2]}});
    let first = desk.start_with_key("key-1", &body).await.ok(201);
    let again = desk.start_with_key("key-1", &body).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("location"), format!("/v1/sagas/{}", first["id"].as_str().expect("an id")));
    assert_eq!(again.ok(200)["id"], first["id"]);

    // Quoted, as the header's draft has it; and the same input in another spelling.
    let spelled = r#"{ "input": {"lines":[1,2], "order":1}, "definition": "order" }"#;
    let request = desk.http().post(desk.url("/v1/sagas")).header("content-type", "application/json");
    let quoted = send(request.header("idempotency-key", "\"key-1\"").body(spelled)).await;
    assert_eq!(quoted.ok(200)["id"], first["id"]);

    for other in [
        json!({"definition": "order", "input": {"order": 2}}),
        json!({"definition": "order", "version": 1, "input": body["input"]}),
    ] {
        let answer = desk.start_with_key("key-1", &other).await;
        answer.problem(422, "key-reused");
        assert_eq!(answer.body["saga_id"], first["id"]);
    }
    assert_ne!(desk.start_with_key("key-2", &body).await.ok(201)["id"], first["id"]);
    assert_eq!(desk.count().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn e05_the_same_key_twenty_times_at_once_is_one_saga() {
    let desk = desk("rest_storm").await;
    let body = json!({"definition": "order", "input": {"order": 1}});
    let answers = join_all((0..20).map(|_| desk.start_with_key("storm", &body))).await;
    let ids: BTreeSet<&str> =
        answers.iter().map(|answer| answer.body["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 19, "{answers:?}");
    assert_eq!(desk.count().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_read_is_refused_with_the_place() {
    let desk = desk("rest_bad_start").await;
    for (text, part) in [
        ("", "line 1 column 0"),
        ("{\"definition\": \"order\",\n \"input\": }", "line 2 column 11"),
        ("[1]", "invalid type"),
        (r#"{"input": 1}"#, "missing field `definition`"),
        (r#"{"definition": "order", "colour": 1}"#, "unknown field `colour`"),
        (r#"{"definition": "order", "definition": "x"}"#, "duplicate field `definition`"),
        (r#"{"definition": "order", "version": "1"}"#, "invalid type: string \"1\", expected u32"),
        (r#"{"definition": "order", "tags": {"a": 1}}"#, "invalid type: integer `1`, expected a string"),
        (r#"{"definition": "order", "tags": {"": "x"}}"#, "a tag's key"),
        (r#"{"definition": "order", "tags": {"a": "\u0000"}}"#, "U+0000"),
        (r#"{"definition": "order"} {}"#, "trailing characters"),
    ] {
        let answer = start_text(&desk, text).await;
        let detail = answer.problem(400, "bad-request");
        assert!(detail.contains(part), "{part} is not in {detail}");
    }
    let tags: Value =
        (0..33).map(|number| (format!("t{number}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    let answer = desk.post("/v1/sagas", &json!({"definition": "order", "tags": tags})).await;
    assert!(answer.problem(400, "bad-request").contains("33 tags: at most 32"));
    let form = desk.post_text("/v1/sagas", "application/x-www-form-urlencoded", "{}").await;
    form.problem(415, "unsupported-media-type");
    assert_eq!(desk.count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_definition_or_version_is_not_found() {
    let desk = desk("rest_start_unknown").await;
    for body in [
        json!({"definition": "other"}),
        json!({"definition": "order", "version": 2}),
        json!({"definition": "ORDER.*"}),
        json!({"definition": ""}),
    ] {
        desk.post("/v1/sagas", &body).await.problem(404, "unknown-definition");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_depths_are_limited_at_the_door() {
    let desk = desk("rest_start_limits").await;
    let padded = |bytes: usize| format!(r#"{{"definition":"order","input":"{}"}}"#, "x".repeat(bytes - 2));
    start_text(&desk, padded(64 * 1024)).await.ok(201);
    for (bytes, what) in [(64 * 1024 + 1, "`input`"), (100_000, "the body"), (2_000_000, "the body")] {
        let answer = start_text(&desk, padded(bytes)).await;
        let detail = answer.problem(413, "too-large");
        assert!(detail.starts_with(what), "{detail}");
        assert!(answer.body["bytes_max"].is_u64());
    }
    // The same without a declared length.
    let chunk = format!("{:x}\r\n{}\r\n", 50_000, " ".repeat(50_000));
    let chunked = format!(
        "POST /v1/sagas HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(4)
    );
    let answer = desk.raw(&chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("200000 bytes"), "{answer}");

    let deep = |depth: usize| format!(r#"{{"definition":"order","input":{}}}"#, nested(depth));
    start_text(&desk, deep(64)).await.ok(201);
    for depth in [65, 20_000] {
        start_text(&desk, deep(depth)).await.problem(400, "too-deep");
    }
    // Brackets in texts are no depth.
    start_text(&desk, format!(r#"{{"definition":"order","input":"{}"}}"#, "[".repeat(1000))).await.ok(201);
    assert_eq!(desk.count().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_refused() {
    let desk = desk("rest_bad_key").await;
    let body = json!({"definition": "order"});
    for key in ["", "\"\"", &"k".repeat(256)] {
        desk.start_with_key(key, &body).await.problem(400, "bad-request");
    }
    let twice =
        desk.http().post(desk.url("/v1/sagas")).header("idempotency-key", "a").header("idempotency-key", "b");
    send(twice.json(&body)).await.problem(400, "bad-request");
    // What has no value has no fingerprint, so it cannot be told from another start.
    let request = desk.http().post(desk.url("/v1/sagas")).header("idempotency-key", "a");
    let request = request.header("content-type", "application/json");
    let answer = send(request.body(r#"{"definition":"order","input":"\ud800"}"#)).await;
    assert!(answer.problem(400, "bad-request").contains("`input`"));
    assert_eq!(desk.count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_over_the_rate_is_told_when_to_come_again() {
    let desk = Desk::with("rest_rate", |config| config.starts_per_second_max = 1).await;
    desk.rest.submit(&definition("order", &["a"])).await;
    let body = json!({"definition": "order"});
    let answers = join_all((0..30).map(|_| desk.post("/v1/sagas", &body))).await;
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 201).collect();
    assert!(!refused.is_empty(), "30 starts at once pass a limit of one a second");
    for answer in &refused {
        answer.problem(429, "rate-limited");
    }
    assert_eq!(desk.count().await, 30 - refused.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_replica_says_so() {
    let desk = Desk::with("rest_full", |config| config.live_sagas_max = 0).await;
    desk.rest.submit(&definition("order", &["a"])).await;
    let answer = desk.post("/v1/sagas", &json!({"definition": "order"})).await;
    assert!(answer.problem(503, "overloaded").contains("live_sagas"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_starters_trace_is_kept_and_nonsense_is_not() {
    let desk = desk("rest_trace").await;
    let start = async |traceparent: &str| {
        let request = desk.http().post(desk.url("/v1/sagas")).header("traceparent", traceparent);
        let started = send(request.json(&json!({"definition": "order"}))).await.ok(201);
        let id = started["id"].as_str().expect("an id").to_owned();
        let journal = desk.get(&format!("/v1/sagas/{id}/journal")).await.ok(200);
        journal["rows"][0]["events"][0]["started"]["traceparent"].clone()
    };
    assert_eq!(start(TRACEPARENT).await, TRACEPARENT);
    assert_eq!(start("nonsense").await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_over_nats_keep_to_the_rate_too_and_none_is_lost() {
    let desk = Desk::with("rest_nats_rate", |config| config.starts_per_second_max = 10).await;
    desk.rest.submit(&definition("order", &["a"])).await;
    let bus = desk.place.bus("hand").await;
    let start = || snorri_bus::Outgoing {
        subject: bus.subjects().start(&"order".parse().expect("a name")),
        headers: None,
        payload: snorri_bus::Bytes::from("{}"),
    };
    let began = std::time::Instant::now();
    eventually("the stream of starts", async || {
        bus.publish_all(vec![start()]).await.iter().all(Result::is_ok).then_some(())
    })
    .await;
    let stored = bus.publish_all((0..29).map(|_| start()).collect()).await;
    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
    eventually("all thirty", async || (desk.count().await >= 30).then_some(())).await;
    assert!(began.elapsed() >= std::time::Duration::from_millis(1500), "{:?}", began.elapsed());
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(desk.count().await, 30, "each once");
}
