//! Signals: kept until a step waits for them, taken once, refused where none is awaited.

use serde_json::{Value, json};
use snorri_bus::{Bytes, HeaderMap, Outgoing};
use snorri_saga::wire::header;

use crate::desk::{Answer, Desk, answer, asked, send};
use crate::support::{Hand, eventually, ok};

const NOBODY: &str = "01936d3e-7f0a-7000-8000-000000000001";

/// `a`, then a wait for the signal `paid`, then `b`.
fn waiting(name: &str) -> Value {
    let step = |step: &str| json!({"name": step, "participant": "hand", "compensation": format!("undo-{step}"), "timeout": "20s"});
    let wait = json!({"name": "payment", "signal": {"name": "paid", "timeout": "1h"}});
    json!({"name": name, "window": "2h", "steps": [step("a"), wait, step("b")]})
}

async fn begun(hint: &'static str) -> (Desk, Hand, String) {
    let desk = Desk::open(hint).await;
    let hand = Hand::play(&desk.place, "hand", |_| vec![]).await;
    desk.rest.submit(&waiting("order")).await;
    let id = desk.rest.start("order", &json!({})).await;
    (desk, hand, id)
}

async fn signal(desk: &Desk, path: &str, key: Option<&str>, body: &Value) -> Answer {
    let request = desk.http().post(desk.url(path)).json(body);
    send(match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_comes_early_is_kept_and_taken_once() {
    let (desk, hand, id) = begun("rest_signal_early").await;
    let path = format!("/v1/sagas/{id}/signals/paid");
    asked(&hand, &id, "a.action").await;
    let body = json!({"payload": {"amount": 100}});
    let kept = signal(&desk, &path, Some("k-1"), &body).await;
    assert_eq!(
        (kept.header("idempotent-replayed"), kept.header("location")),
        ("", &*format!("/v1/sagas/{id}"))
    );
    let kept = kept.ok(202);
    let expected = json!({
        "saga_id": id, "status": "running", "name": "paid", "key": "k-1", "taken_by": null, "replayed": false
    });
    assert_eq!(kept, expected);
    // The same again, in another spelling.
    let request = desk.http().post(desk.url(&path)).header("content-type", "application/json");
    let again =
        send(request.header("idempotency-key", "\"k-1\"").body(r#"{ "payload": {"amount" : 100} }"#)).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.ok(200)["replayed"], true);
    // Only one step waits for it, and that one has its signal.
    let more = signal(&desk, &path, Some("k-2"), &body).await;
    assert!(more.problem(409, "not-awaited").contains("every step that waits"), "{more:?}");
    let saga = desk.rest.saga(&id).await;
    assert_eq!(saga["signals"][0]["payload"], body["payload"]);
    assert_eq!((&saga["signals"][0]["taken_by"], &saga["signals"][1]), (&Value::Null, &Value::Null));

    answer(&hand, &id, "a.action", &ok()).await;
    asked(&hand, &id, "b.action").await;
    let saga = desk.rest.saga(&id).await;
    assert_eq!(saga["signals"][0]["taken_by"], "payment");
    let wait = &saga["steps"][1];
    assert_eq!(
        (&wait["work"], &wait["state"], &wait["output"]),
        (&json!("signal"), &json!("done"), &body["payload"])
    );
    let again = signal(&desk, &path, Some("k-1"), &body).await.ok(200);
    assert_eq!((&again["taken_by"], &again["replayed"]), (&json!("payment"), &json!(true)));
    // The key stands for this signal and no other.
    let other = signal(&desk, &path, Some("k-1"), &json!({"payload": {"amount": 7}})).await;
    other.problem(422, "key-reused");
    assert_eq!(other.body["saga_id"], json!(id));
    answer(&hand, &id, "b.action", &ok()).await;
    assert_eq!(desk.rest.ended(&id).await["status"], "completed");
    // After the end as well.
    assert_eq!(signal(&desk, &path, Some("k-1"), &body).await.ok(200)["status"], "completed");
    let late = signal(&desk, &path, Some("k-3"), &body).await;
    late.problem(409, "ended");
    assert_eq!((&late.body["current_state"], &late.body["saga_id"]), (&json!("completed"), &json!(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_waits_goes_on_at_once() {
    let (desk, hand, id) = begun("rest_signal_waits").await;
    answer(&hand, &id, "a.action", &ok()).await;
    let waiting = eventually("it waits", async || {
        let saga = desk.rest.saga(&id).await;
        (saga["steps"][1]["state"] == "acting").then_some(saga)
    })
    .await;
    let until = waiting["steps"][1]["under_way"]["awaited_until"].as_str().expect("an instant");
    let since = waiting["steps"][1]["begun_at"].as_str().expect("an instant");
    assert_eq!(waiting["waiting_for"], format!("the signal paid at payment (since {since}, until {until})"));
    // Without a body, and without a key: one is made.
    let taken = send(desk.http().post(desk.url(&format!("/v1/sagas/{id}/signals/paid")))).await.ok(200);
    assert_eq!((&taken["taken_by"], &taken["replayed"]), (&json!("payment"), &json!(false)));
    assert!(taken["key"].as_str().is_some_and(|key| key.len() == 36), "{taken}");
    answer(&hand, &id, "b.action", &ok()).await;
    assert_eq!(desk.rest.ended(&id).await["steps"][1]["output"], Value::Null);
    let metrics = desk.admin("/metrics").await.text;
    assert!(metrics.contains(r#"snorri_signals_total{outcome="taken"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"snorri_signals_total{outcome="key_reused"} 0"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_waits_for_is_refused_with_what_is_awaited() {
    let (desk, hand, id) = begun("rest_signal_refused").await;
    asked(&hand, &id, "a.action").await;
    let body = json!({"payload": 1});
    let other = signal(&desk, &format!("/v1/sagas/{id}/signals/pad"), None, &body).await;
    let detail = other.problem(409, "not-awaited");
    assert_eq!(detail, "no step of `order` waits for a signal `pad`; its signals are: paid");
    assert_eq!((&other.body["too_early"], &other.body["current_state"]), (&json!(false), &json!("running")));
    signal(&desk, &format!("/v1/sagas/{NOBODY}/signals/paid"), None, &body)
        .await
        .problem(404, "unknown-saga");
    signal(&desk, "/v1/sagas/1/signals/paid", None, &body).await.problem(400, "bad-parameter");
    signal(&desk, &format!("/v1/sagas/{id}/signals/Paid!"), None, &body).await.problem(400, "bad-parameter");
    // What is undone waits for nothing.
    desk.post(&format!("/v1/sagas/{id}/cancel"), &json!({"reason": "x"})).await.ok(200);
    answer(&hand, &id, "a.action", &ok()).await;
    asked(&hand, &id, "a.compensation").await;
    let late = signal(&desk, &format!("/v1/sagas/{id}/signals/paid"), None, &body).await;
    assert_eq!(
        late.problem(409, "not-awaited"),
        "the saga is being undone, and waits for no signal any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signals_body_and_key_have_limits() {
    let (desk, hand, id) = begun("rest_signal_bad").await;
    asked(&hand, &id, "a.action").await;
    let path = format!("/v1/sagas/{id}/signals/paid");
    let large = json!({"payload": "x".repeat(65_535)});
    let refused = signal(&desk, &path, None, &large).await;
    refused.problem(413, "too-large");
    assert_eq!(refused.body["bytes_max"], 65_536);
    signal(&desk, &path, None, &json!({"payload": "x".repeat(80_000)})).await.problem(413, "too-large");
    let deep = format!(r#"{{"payload": {}{}}}"#, "[".repeat(65), "]".repeat(65));
    desk.post_text(&path, "application/json", deep).await.problem(400, "too-deep");
    for bad in [json!({"payload": 1, "force": true}), json!("x")] {
        signal(&desk, &path, None, &bad).await.problem(400, "bad-request");
    }
    desk.post_text(&path, "application/json", "{").await.problem(400, "bad-request");
    desk.post_text(&path, "text/plain", "{}").await.problem(415, "unsupported-media-type");
    desk.post(&format!("{path}?x=1"), &json!({})).await.problem(400, "bad-parameter");
    for key in ["", "\"\"", &"k".repeat(256)] {
        signal(&desk, &path, Some(key), &json!({})).await.problem(400, "bad-request");
    }
    // As large and as deep as may be.
    let deepest = format!(r#"{{"payload": {}{}}}"#, "[".repeat(64), "]".repeat(64));
    desk.post_text(&path, "application/json", deepest).await.ok(202);
}

/// A signal over NATS, and its answer.
async fn over_nats(hand: &Hand, subject: &str, key: Option<&str>, body: &str) -> Value {
    use futures::StreamExt as _;
    let client = hand.bus.client().expect("a client");
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.expect("subscribed");
    let mut headers = HeaderMap::new();
    headers.insert(header::REPLY_TO, inbox.as_str());
    if let Some(key) = key {
        headers.insert(header::KEY, key);
    }
    let payload = Bytes::from(body.to_owned());
    let message = Outgoing { subject: subject.to_owned(), headers: Some(headers), payload };
    eventually("the stream of signals", async || {
        hand.bus.publish_all(vec![message.clone()]).await.iter().all(Result::is_ok).then_some(())
    })
    .await;
    let answer =
        tokio::time::timeout(crate::support::SOON, answers.next()).await.expect("in time").expect("one");
    serde_json::from_slice(&answer.payload).expect("json")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gives_a_signal_over_nats_and_is_answered_after_the_commit() {
    let (desk, hand, id) = begun("rest_signal_nats").await;
    asked(&hand, &id, "a.action").await;
    let subject = hand.bus.subjects().signal(&"paid".parse().expect("a name"));
    let body = json!({"saga_id": id, "payload": {"amount": 100}}).to_string();
    let kept = over_nats(&hand, &subject, Some("k-1"), &body).await;
    assert_eq!(
        (&kept["saga_id"], &kept["taken_by"], &kept["replayed"]),
        (&json!(id), &Value::Null, &json!(false))
    );
    let again = over_nats(&hand, &subject, Some("k-1"), &body).await;
    assert_eq!(again["replayed"], true, "{again}");
    for (key, subject, body, reason) in [
        (Some("k-1"), &subject, json!({"saga_id": id, "payload": 2}).to_string(), "key-reused"),
        (Some("k-2"), &subject, body.clone(), "not-awaited"),
        (None, &subject, json!({"saga_id": NOBODY}).to_string(), "unknown-saga"),
        (None, &subject, json!({"saga_id": id, "pay": 1}).to_string(), "bad-request"),
        (None, &subject, "[".repeat(100), "too-deep"),
        (None, &subject, json!({"saga_id": id, "payload": "x".repeat(66_000)}).to_string(), "too-large"),
        (None, &subject.replace("paid", "Paid"), body.clone(), "bad-request"),
    ] {
        let refused = over_nats(&hand, subject, key, &body).await;
        assert_eq!(refused["type"], format!("urn:snorri:problem:{reason}"), "{refused}");
    }
    let letters = desk.get("/v1/dead-letters").await.ok(200)["dead_letters"].clone();
    let mut reasons: Vec<&str> =
        letters.as_array().expect("a list").iter().filter_map(|letter| letter["reason"].as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        ["bad-request", "bad-request", "key-reused", "not-awaited", "too-deep", "too-large", "unknown-saga"]
    );
    answer(&hand, &id, "a.action", &ok()).await;
    answer(&hand, &id, "b.action", &ok()).await;
    let saga = desk.rest.ended(&id).await;
    assert_eq!(
        (&saga["status"], &saga["steps"][1]["output"]),
        (&json!("completed"), &json!({"amount": 100}))
    );
    let late = over_nats(&hand, &subject, None, &body).await;
    assert_eq!(late["type"], "urn:snorri:problem:ended", "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_over_nats_without_a_key_and_without_an_inbox_counts_once() {
    let (desk, hand, id) = begun("rest_signal_silent").await;
    answer(&hand, &id, "a.action", &ok()).await;
    let subject = hand.bus.subjects().signal(&"paid".parse().expect("a name"));
    let payload = Bytes::from(json!({"saga_id": id, "payload": "here"}).to_string());
    let message = Outgoing { subject, headers: None, payload };
    assert!(hand.bus.publish_all(vec![message]).await.iter().all(Result::is_ok));
    answer(&hand, &id, "b.action", &ok()).await;
    let saga = desk.rest.ended(&id).await;
    assert_eq!((&saga["steps"][1]["output"], &saga["signals"][1]), (&json!("here"), &Value::Null));
}
