//! One saga, read: branches, lists, parts, and several places where a person is needed.

use serde_json::{Value, json};

use crate::desk::{Desk, answer, asked};
use crate::support::{Hand, eventually, ok, rejected};

fn step(name: &str) -> Value {
    json!({"name": name, "participant": "hand", "compensation": format!("undo-{name}"), "timeout": "20s"})
}

fn with(mut step: Value, more: &Value) -> Value {
    for (field, value) in more.as_object().expect("an object") {
        step[field] = value.clone();
    }
    step
}

async fn desk(hint: &'static str, definition: &Value) -> (Desk, Hand) {
    let desk = Desk::open(hint).await;
    let hand = Hand::play(&desk.place, "hand", |_| vec![]).await;
    desk.rest.submit(definition).await;
    (desk, hand)
}

fn waiting_for(saga: &Value) -> Vec<&str> {
    saga["waiting_for"].as_str().expect("a sentence").split("; ").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_are_waited_for_together_and_a_skipped_step_says_so() {
    let branch = |name: &str| with(step(name), &json!({"needs": []}));
    let car = with(branch("car"), &json!({"when": "input.car"}));
    let more: Vec<Value> = (0..5).map(|n| branch(&format!("extra-{n}"))).collect();
    let mut steps = vec![branch("hotel"), branch("flight"), car];
    steps.extend(more);
    let (desk, hand) = desk("rest_branches", &json!({"name": "travel", "steps": steps})).await;
    let id = desk.rest.start("travel", &json!({"car": false})).await;
    for name in ["hotel", "flight", "extra-4"] {
        asked(&hand, &id, &format!("{name}.action")).await;
    }
    let saga = desk.rest.saga(&id).await;
    let parts = waiting_for(&saga);
    assert_eq!((parts.len(), parts[5]), (6, "2 more"), "{saga:#}");
    assert!(parts[0].starts_with("hand to answer the action of hotel (attempt 1, sent "), "{parts:?}");
    assert!(parts[1].starts_with("hand to answer the action of flight (attempt 1, sent "), "{parts:?}");
    let states: Vec<&str> =
        saga["steps"].as_array().expect("a list").iter().filter_map(|of| of["state"].as_str()).collect();
    assert_eq!(states[..3], ["acting", "acting", "skipped"]);
    let skipped = &saga["steps"][2];
    assert_eq!(
        (&skipped["attempt"], &skipped["output"], &skipped["under_way"]),
        (&json!(0), &Value::Null, &Value::Null)
    );
    // One branch is refused: the others are awaited, and it is said why everything stops.
    answer(&hand, &id, "flight.action", &rejected("full")).await;
    let saga = eventually("it stops", async || {
        let saga = desk.rest.saga(&id).await;
        saga["stopping"].is_object().then_some(saga)
    })
    .await;
    assert_eq!((&saga["stopping"]["code"], &saga["stopping"]["step"]), (&json!("full"), &json!("flight")));
    assert_eq!((&saga["status"], &saga["cause"]), (&json!("running"), &Value::Null));
    assert!(waiting_for(&saga).iter().all(|part| !part.contains("flight")), "{saga:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_items_of_a_list_are_steps_of_their_own() {
    let rows =
        with(step("rows"), &json!({"for_each": {"items": "${{ input.rows }}", "concurrency": 2, "max": 3}}));
    let (desk, hand) =
        desk("rest_items", &json!({"name": "import", "window": "1h", "steps": [rows, step("end")]})).await;
    let id = desk.rest.start("import", &json!({"rows": ["a", "b", "c"]})).await;
    answer(&hand, &id, "rows:1.action", &ok()).await;
    asked(&hand, &id, "rows:2.action").await;
    let saga = desk.rest.saga(&id).await;
    let of_list = &saga["steps"][0];
    assert_eq!((&of_list["name"], &of_list["state"]), (&json!("rows"), &json!("acting")));
    assert_eq!(of_list["request"], json!(["a", "b", "c"]));
    let items = of_list["iterations"].as_array().expect("a list");
    let told: Vec<(&str, &str, &Value)> = items
        .iter()
        .map(|item| {
            (
                item["name"].as_str().expect("a name"),
                item["state"].as_str().expect("a state"),
                &item["request"],
            )
        })
        .collect();
    let (a, b, c) = (json!("a"), json!("b"), json!("c"));
    assert_eq!(told, [("rows:0", "acting", &a), ("rows:1", "done", &b), ("rows:2", "acting", &c)]);
    assert_eq!((&items[1]["output"], &items[1]["attempt"]), (&json!({"done": true}), &json!(1)));
    assert_eq!(items[0]["under_way"]["direction"], "action");
    assert!(saga["steps"][1].get("iterations").is_none(), "only a list has items");
    assert!(waiting_for(&saga)[0].starts_with("hand to answer the action of rows:0 "), "{saga:#}");
    for (item, end) in [("rows:0.action", ok()), ("rows:2.action", ok()), ("end.action", ok())] {
        answer(&hand, &id, item, &end).await;
    }
    let of_list = &desk.rest.ended(&id).await["steps"][0];
    let outputs = json!([{"done": true}, {"done": true}, {"done": true}]);
    assert_eq!((&of_list["state"], &of_list["output"]), (&json!("done"), &outputs));
    // The same, refused behind the list: it is undone when all its items are.
    let id = desk.rest.start("import", &json!({"rows": ["a", "b"]})).await;
    for (item, end) in [("rows:0.action", ok()), ("rows:1.action", ok()), ("end.action", rejected("no"))] {
        answer(&hand, &id, item, &end).await;
    }
    answer(&hand, &id, "rows:1.compensation", &ok()).await;
    asked(&hand, &id, "rows:0.compensation").await;
    let state = eventually("one of them is undone", async || {
        let of_list = desk.rest.saga(&id).await["steps"][0].clone();
        (of_list["iterations"][1]["state"] == "undone").then(|| of_list["state"].clone())
    })
    .await;
    assert_eq!(state, "undoing");
    answer(&hand, &id, "rows:0.compensation", &ok()).await;
    assert_eq!(desk.rest.ended(&id).await["steps"][0]["state"], "undone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_and_its_parts_name_each_other() {
    let (desk, hand) =
        desk("rest_parts", &json!({"name": "shipment", "window": "2m", "steps": [step("pack")]})).await;
    let ship = json!({"name": "ship", "saga": "shipment"});
    let boxes =
        json!({"name": "boxes", "saga": "shipment", "for_each": {"items": "${{ input.boxes }}", "max": 3}});
    desk.rest.submit(&json!({"name": "order", "window": "1h", "steps": [ship, boxes, step("bill")]})).await;
    let id = desk.rest.start("order", &json!({"boxes": [1, 2]})).await;
    let child = eventually("the part is there", async || {
        desk.rest.saga(&id).await["steps"][0]["child"].as_str().map(str::to_owned)
    })
    .await;
    answer(&hand, &child, "pack.action", &ok()).await;
    // Its steps are all done: it waits for what it is a part of.
    let part = eventually("it is held", async || {
        let part = desk.rest.saga(&child).await;
        part["waiting_for"].as_str().is_some_and(|text| text.contains(&id)).then_some(part)
    })
    .await;
    assert_eq!(part["parent"], json!({"saga": id, "step": "ship"}));
    assert_eq!(
        part["waiting_for"],
        format!("the saga {id}, of which it is a part, to end (all its steps are done)")
    );
    assert_eq!(part["status"], "running");
    let held = desk.post(&format!("/v1/sagas/{child}/cancel"), &json!({"reason": "x"})).await;
    held.problem(409, "held");
    let saga = eventually("the first box", async || {
        let saga = desk.rest.saga(&id).await;
        saga["steps"][1]["iterations"][0]["child"].is_string().then_some(saga)
    })
    .await;
    assert!(saga.get("parent").is_none(), "nothing started it");
    assert!(saga["steps"][1].get("child").is_none(), "a list has none, its items have");
    assert_eq!((&saga["steps"][0]["work"], &saga["steps"][0]["participant"]), (&json!("saga"), &Value::Null));
    assert_eq!(saga["steps"][0]["output"]["saga_id"], json!(child));
    assert!(
        waiting_for(&saga)[0].starts_with("the sub-saga shipment to answer the action of boxes:0 (attempt 1"),
        "{saga:#}"
    );
    let first = saga["steps"][1]["iterations"][0]["child"].as_str().expect("an id");
    assert_eq!(desk.rest.saga(first).await["parent"], json!({"saga": id, "step": "boxes:0"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_place_where_a_person_is_needed_is_told() {
    let branch = |name: &str| with(step(name), &json!({"needs": []}));
    let last = with(step("last"), &json!({"needs": ["a", "b"]}));
    let definition = json!({"name": "order", "steps": [branch("a"), branch("b"), last]});
    let (desk, hand) = desk("rest_blocked_too", &definition).await;
    let id = desk.rest.start("order", &json!({})).await;
    answer(&hand, &id, "a.action", &ok()).await;
    answer(&hand, &id, "b.action", &ok()).await;
    answer(&hand, &id, "last.action", &rejected("no_way")).await;
    // No participant may refuse an undo.
    answer(&hand, &id, "a.compensation", &rejected("never")).await;
    answer(&hand, &id, "b.compensation", &rejected("never")).await;
    let saga = eventually("both are blocked", async || {
        let saga = desk.rest.saga(&id).await;
        (saga["blocked_too"].as_array().map(Vec::len) == Some(1)).then_some(saga)
    })
    .await;
    assert_eq!(saga["status"], "blocked");
    let places = [&saga["blocked"], &saga["blocked_too"][0]];
    let mut steps: Vec<&str> = places.iter().filter_map(|place| place["step"].as_str()).collect();
    steps.sort_unstable();
    assert_eq!(steps, ["a", "b"]);
    for place in places {
        assert_eq!(place["reason"], "compensation_rejected");
        assert!(
            place["since"].is_string() && place["message"].as_str().is_some_and(|text| !text.is_empty()),
            "{place}"
        );
    }
    let parts = waiting_for(&saga);
    assert!(parts.len() == 2 && parts.iter().all(|part| part.contains("the compensation of ")), "{parts:?}");
    assert_eq!(saga["steps"][0]["under_way"]["direction"], "compensation");
}
