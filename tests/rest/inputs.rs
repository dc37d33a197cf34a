//! Inputs are checked against the schema of their definition, and every mismatch is told; definitions give tags.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use snorri_bus::{Bytes, HeaderMap, Outgoing};
use snorri_saga::wire::header;

use crate::desk::{Answer, Desk};
use crate::support::{Hand, SOON, eventually, ok};

fn order(schema: &Value) -> Value {
    json!({
        "name": "order", "input": schema,
        "tags": {"customer": "${{ input.customer }}", "channel": "web", "note": "${{ has(input.note) ? input.note : null }}"},
        "steps": [{"name": "a", "participant": "hand", "compensation": "undo-a"}]
    })
}

fn schema() -> Value {
    json!({
        "type": "object", "required": ["customer", "lines"], "additionalProperties": false,
        "properties": {
            "customer": {"type": "string", "minLength": 1},
            "note": {"type": "string"},
            "lines": {"type": "array", "minItems": 1, "items": {
                "type": "object", "required": ["sku"], "properties": {"quantity": {"type": "integer", "minimum": 1}}
            }}
        }
    })
}

async fn desk(hint: &'static str) -> Desk {
    let desk = Desk::open(hint).await;
    desk.rest.submit(&order(&schema())).await;
    desk
}

async fn start(desk: &Desk, input: &Value) -> Answer {
    desk.post("/v1/sagas", &json!({"definition": "order", "input": input})).await
}

fn places(problem: &Value) -> BTreeSet<&str> {
    let list = problem["violations"].as_array().expect("violations");
    list.iter().map(|violation| violation["pointer"].as_str().expect("a pointer")).collect()
}

fn good() -> Value {
    json!({"customer": "anna", "lines": [{"sku": "harp", "quantity": 1}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_does_not_fit_begins_nothing_and_is_told_of_every_place() {
    let desk = desk("rest_input").await;
    let bad =
        json!({"customer": "", "lines": [{"sku": "harp", "quantity": 0}, {"quantity": "two"}], "x/y": 1});
    let refused = start(&desk, &bad).await;
    let detail = refused.problem(422, "invalid-input");
    assert_eq!(detail, "the input does not fit the definition's schema in 5 places");
    let found = places(&refused.body);
    assert_eq!(found, ["", "/customer", "/lines/0/quantity", "/lines/1", "/lines/1/quantity"].into());
    for violation in refused.body["violations"].as_array().expect("a list") {
        assert!(violation["message"].as_str().is_some_and(|text| !text.is_empty()), "{violation}");
    }
    // Without an input it is `null`.
    desk.post("/v1/sagas", &json!({"definition": "order"})).await.problem(422, "invalid-input");
    // Half a surrogate pair is JSON, and has no value.
    let body = r#"{"definition": "order", "input": {"customer": "\ud800", "lines": [{"sku": "a"}]}}"#;
    let answer = desk.post_text("/v1/sagas", "application/json", body).await;
    assert!(answer.problem(422, "invalid-input").ends_with("in 1 place"));
    assert_eq!(desk.count().await, 0);
    start(&desk, &good()).await.ok(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_input_is_checked_too_and_told_of_a_hundred_places() {
    let desk = desk("rest_input_large").await;
    let line = |quantity: i64| json!({"sku": "harp", "quantity": quantity});
    let bad = json!({"customer": "anna", "lines": vec![line(0); 1500]});
    let refused = start(&desk, &bad).await;
    assert!(refused.problem(422, "invalid-input").contains("100 or more places"), "{refused:?}");
    assert_eq!(refused.body["violations"].as_array().map(Vec::len), Some(100));
    start(&desk, &json!({"customer": "anna", "lines": vec![line(1); 1500]})).await.ok(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_taken_is_answered_again_whatever_a_newer_version_says() {
    let desk = desk("rest_input_again").await;
    let body = json!({"definition": "order", "input": good()});
    let first = desk.start_with_key("k-1", &body).await.ok(201);
    let mut stricter = schema();
    stricter["properties"]["customer"]["minLength"] = json!(10);
    desk.rest.submit(&order(&stricter)).await;
    eventually("the newer version is in force", async || {
        (start(&desk, &good()).await.status == 422).then_some(())
    })
    .await;
    let again = desk.start_with_key("k-1", &body).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    let again = again.ok(200);
    assert_eq!((&again["id"], &again["version"]), (&first["id"], &json!(1)));
    desk.start_with_key("k-2", &body).await.problem(422, "invalid-input");
    let other = json!({"definition": "order", "input": {"customer": "b"}});
    desk.start_with_key("k-1", &other).await.problem(422, "key-reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_nats_it_is_the_same() {
    use futures::StreamExt as _;
    let desk = desk("rest_input_nats").await;
    let hand = Hand::play(&desk.place, "hand", |_| vec![ok()]).await;
    let client = hand.bus.client().expect("a client");
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.expect("subscribed");
    let mut ask = async |input: &Value| {
        let mut headers = HeaderMap::new();
        headers.insert(header::REPLY_TO, inbox.as_str());
        let payload = Bytes::from(json!({"input": input, "tags": {"channel": "nats"}}).to_string());
        let subject = hand.bus.subjects().start(&"order".parse().expect("a name"));
        let message = Outgoing { subject, headers: Some(headers), payload };
        assert!(hand.bus.publish_all(vec![message]).await.iter().all(Result::is_ok));
        let answer = tokio::time::timeout(SOON, answers.next()).await.expect("in time").expect("one");
        serde_json::from_slice::<Value>(&answer.payload).expect("json")
    };
    let refused = ask(&json!({"customer": 7, "lines": []})).await;
    assert_eq!(refused["type"], "urn:snorri:problem:invalid-input", "{refused}");
    assert_eq!(places(&refused), ["/customer", "/lines"].into());
    let letters = desk.get("/v1/dead-letters").await.ok(200);
    assert_eq!(letters["dead_letters"][0]["reason"], "invalid-input");
    let started = ask(&good()).await;
    let saga = desk.rest.ended(started["saga_id"].as_str().expect("an id")).await;
    assert_eq!(saga["tags"], json!({"customer": "anna", "channel": "nats"}), "the start's own tags win");
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_are_found_by_the_tags_of_their_definition() {
    let desk = desk("rest_input_tags").await;
    let mut noted = good();
    noted["note"] = json!("fragile\u{0}!");
    let mut ids = Vec::new();
    for (input, tags) in [(good(), json!({})), (noted, json!({"channel": "phone", "tier": "gold"}))] {
        let body = json!({"definition": "order", "input": input, "tags": tags});
        let started = desk.post("/v1/sagas", &body).await.ok(201);
        ids.push(started["id"].as_str().expect("an id").to_owned());
    }
    let found = async |query: &str| {
        let list = desk.get(&format!("/v1/sagas?{query}")).await.ok(200);
        let ids = list["sagas"].as_array().expect("a list").iter().map(|saga| saga["id"].clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(found("tag=customer:anna").await, [json!(ids[1]), json!(ids[0])]);
    assert_eq!(found("tag=channel:web").await, [json!(ids[0])]);
    assert_eq!(found("tag=channel:phone&tag=tier:gold").await, [json!(ids[1])]);
    let saga = desk.rest.saga(&ids[1]).await;
    let expected =
        json!({"customer": "anna", "channel": "phone", "tier": "gold", "note": "fragile\u{fffd}!"});
    assert_eq!(saga["tags"], expected);
}
