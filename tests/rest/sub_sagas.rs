//! Submitting definitions that name others: what they name is there, and stays what it was.

use serde_json::{Value, json};

use crate::desk::{Answer, Desk};

fn child(timeout: &str) -> Value {
    let pack = json!({"name": "pack", "participant": "hand", "compensation": "unpack", "timeout": timeout});
    let input = json!({"type": "object", "required": ["parcel"]});
    json!({"name": "shipment", "window": "2m", "input": input, "steps": [pack]})
}

fn parent(ship: &Value) -> Value {
    json!({"name": "order", "window": "1h", "steps": [ship]})
}

async fn submit(desk: &Desk, definition: &Value) -> Answer {
    desk.post("/v1/definitions", definition).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_saga_is_pinned_to_the_version_that_was_the_newest() {
    let desk = Desk::open("rest_pin").await;
    let plain = parent(&json!({"name": "ship", "saga": "shipment"}));
    submit(&desk, &child("1s")).await.ok(201);
    let first = submit(&desk, &plain).await.ok(201);
    assert_eq!(first["version"], 1);
    let stored = desk.get("/v1/definitions/order/1").await.ok(200)["definition"]["steps"][0].clone();
    assert_eq!((&stored["version"], &stored["timeout"]), (&json!(1), &json!("2m")));
    assert!(stored["compensation"]["timeout"].is_string(), "{stored}");
    // The same text again is the same version, until the sub-saga has a new one.
    let again = submit(&desk, &plain).await.ok(200);
    assert_eq!((&again["version"], &again["digest"]), (&json!(1), &first["digest"]));
    submit(&desk, &child("2s")).await.ok(201);
    let newer = submit(&desk, &plain).await.ok(201);
    assert_eq!(newer["version"], 2);
    let pinned = |answer: Answer| answer.ok(200)["definition"]["steps"][0]["version"].clone();
    assert_eq!(pinned(desk.get("/v1/definitions/order/2").await), 2);
    assert_eq!(pinned(desk.get("/v1/definitions/order/1").await), 1);
    // Who names a version keeps it.
    let said = parent(&json!({"name": "ship", "saga": "shipment", "version": 1}));
    assert_eq!(submit(&desk, &said).await.ok(201)["version"], 3);
    assert_eq!(pinned(desk.get("/v1/definitions/order").await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_another_replica_the_newest_is_the_newest_at_once() {
    let one = Desk::open("rest_pin_two").await;
    let two = Desk::at(one.place.clone(), "two", |_| {}).await;
    let plain = parent(&json!({"name": "ship", "saga": "shipment"}));
    for (version, timeout) in [(1, "1s"), (2, "2s"), (3, "3s")] {
        submit(&one, &child(timeout)).await.ok(201);
        let submitted = submit(&two, &plain).await.ok(201);
        assert_eq!(submitted["version"], version);
        let stored = one.get(&format!("/v1/definitions/order/{version}")).await.ok(200);
        assert_eq!(stored["definition"]["steps"][0]["version"], version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_saga_that_is_not_there_or_does_not_fit_is_refused_with_the_mend() {
    let desk = Desk::open("rest_pin_bad").await;
    submit(&desk, &child("1s")).await.ok(201);
    let refused = async |steps: Value| {
        let answer = submit(&desk, &json!({"name": "order", "window": "1h", "steps": steps})).await;
        answer.problem(422, "invalid-definition");
        let list = answer.body["violations"].as_array().expect("a list").clone();
        let said = |of: &Value, field: &str| of[field].as_str().expect("a text").to_owned();
        let told = list.iter().map(|of| (said(of, "pointer"), said(of, "message"), said(of, "mend")));
        told.collect::<Vec<_>>()
    };
    let found = refused(json!([
        {"name": "a", "saga": "nowhere"},
        {"name": "b", "saga": "shipment", "version": 9},
        {"name": "c", "saga": "order"},
        {"name": "d", "saga": "shipment", "input": {"box": 1}},
        {"name": "e", "participant": "hand"}
    ]))
    .await;
    let pointers: Vec<&str> = found.iter().map(|(pointer, ..)| pointer.as_str()).collect();
    assert_eq!(
        pointers,
        ["/steps/0/saga", "/steps/1/version", "/steps/2/saga", "/steps/3/input", "/steps/4/compensation"]
    );
    assert!(found[0].1.contains("there is no definition `nowhere`"), "{found:?}");
    assert!(found[0].2.contains("submit the sub-saga before its parent"), "{found:?}");
    assert!(found[1].1.contains("in version 9"), "{found:?}");
    let bad = json!({"name": "order", "input": {"properties": {"n": {"type": "numbr"}}}, "steps": [
        {"name": "a", "participant": "hand", "compensation": "none"}
    ]});
    let answer = submit(&desk, &bad).await;
    answer.problem(422, "invalid-definition");
    assert_eq!(answer.body["violations"][0]["pointer"], "/input/properties/n/type");
    let none = desk.get("/v1/definitions/order").await;
    none.problem(404, "unknown-definition");
}

/// What `order.yaml` and two others were stored as before steps could have no kind.
const DIGESTS: [(&str, &str); 3] = [
    ("order", "5b350dc6ddd6decc3c2b58c950ffd48f56342bd380a4db72c6b0e222bc0d9989"),
    ("pickup", "e05584cf913d9deee36a73c66335e31d9cfe061617836a1e901307fef487f684"),
    ("transfer", "3433a401d55fa740047c83def52e6d779750de35af2234ef7095492bdb0cd196"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_digests_of_older_definitions_are_what_they_were() {
    let desk = Desk::open("rest_digest").await;
    for (name, digest) in DIGESTS {
        let path = format!("{}/../sagas/definitions/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("the example");
        let submitted = desk.post_text("/v1/definitions", "application/yaml", text).await.ok(201);
        assert_eq!(submitted["digest"], digest, "{name}");
    }
}
