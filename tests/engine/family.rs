//! A saga and its parts: held until the whole ends, undone with it, there once, whoever dies meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use snorri_bus::headers::ReceivedCommand;
use snorri_saga::ids::{Direction, SagaId};
use snorri_saga::wire::Outcome;
use snorri_stack::StopMode;

use crate::faults::Own;
use crate::support::{Hand, Place, Rest, definition, eventually, ok, rejected};

/// A step that is a saga of its own.
pub(crate) fn part(step: &str, of: &str) -> Value {
    json!({"name": step, "saga": of})
}

/// With this window.
fn within(window: &str, mut definition: Value) -> Value {
    definition["window"] = json!(window);
    definition
}

/// `reserve`, then the shipment, which packs and loads, then `bill`.
pub(crate) fn order() -> Value {
    let mut order = definition("order", &["reserve", "bill"]);
    order["steps"].as_array_mut().expect("steps").insert(1, part("ship", "shipment"));
    order
}

pub(crate) fn shipment() -> Value {
    within("40s", definition("shipment", &["pack", "load"]))
}

/// The id of a saga's part.
pub(crate) fn child(id: &str, step: &str) -> String {
    let id: SagaId = id.parse().expect("an id");
    id.child(&step.parse().expect("a step")).to_string()
}

/// Whether a command is the action of this step.
pub(crate) fn is_action(command: &ReceivedCommand, step: &str) -> bool {
    command.effect().direction == Direction::Action && command.effect().step.as_str() == step
}

/// Refuses the action of this step, and does everything else.
fn refusing(step: &'static str) -> impl Fn(&ReceivedCommand) -> Vec<Outcome> {
    move |command| if is_action(command, step) { vec![rejected("no_way")] } else { vec![ok()] }
}

/// Waits for the end of the saga and then of its part, which must be alike.
pub(crate) async fn end_alike(rest: &Rest, id: &str, step: &str, status: &str) -> (Value, Value) {
    let whole = rest.ended(id).await;
    assert_eq!(whole["status"], status, "{whole:#}");
    let part = rest.ended(&child(id, step)).await;
    assert_eq!(part["status"], status, "{part:#}");
    (whole, part)
}

/// A place with the definitions, and a saga that has been started.
struct Begun {
    replica: snorri::Orchestrator,
    hand: Hand,
    rest: Rest,
    id: String,
}

impl Begun {
    async fn with(
        hint: &'static str,
        definitions: &[Value],
        script: impl Fn(&ReceivedCommand) -> Vec<Outcome> + Send + Sync + 'static,
    ) -> Self {
        let place = Place::shared(hint).await;
        let replica = place.replica("one").await;
        let hand = Hand::play(&place, "hand", script).await;
        let rest = Rest::of(&replica);
        for definition in definitions {
            rest.submit(definition).await;
        }
        let name = definitions.last().and_then(|last| last["name"].as_str()).expect("a name");
        let id = rest.start(name, &json!({"n": 7, "rows": ["a", "b", "c"]})).await;
        Self { replica, hand, rest, id }
    }

    async fn is_asked(&self, effect: &str) {
        eventually(effect, async || self.hand.asked().contains_key(effect).then_some(())).await;
    }

    /// How often each effect was asked for: once.
    fn asked_once(&self, effects: &[&str]) {
        let asked = self.hand.asked();
        let expected = effects.iter().map(|effect| ((*effect).to_owned(), 1)).collect();
        assert_eq!(asked, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_held_until_the_whole_is_completed() {
    let may_bill = Arc::new(AtomicBool::new(false));
    let bills = may_bill.clone();
    let begun = Begun::with("held", &[shipment(), order()], move |command| {
        if is_action(command, "bill") && !bills.load(Ordering::Relaxed) { vec![] } else { vec![ok()] }
    })
    .await;
    begun.is_asked("bill.action").await;
    let part = begun.rest.saga(&child(&begun.id, "ship")).await;
    assert_eq!(part["status"], "running", "{part:#}");
    assert!(part["waiting_for"].as_str().is_some_and(|words| words.contains(&begun.id)), "{part:#}");
    may_bill.store(true, Ordering::Relaxed);
    let (whole, _) = end_alike(&begun.rest, &begun.id, "ship", "completed").await;
    let output = &whole["steps"][1]["output"];
    assert_eq!(output["saga_id"], child(&begun.id, "ship"), "{whole:#}");
    assert_eq!(output["outputs"]["load"], json!({"done": true}), "{whole:#}");
    assert_eq!(begun.hand.order("action"), ["reserve", "pack", "load", "bill"]);
    begun.replica.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_done_is_undone_with_the_whole_in_its_turn() {
    let begun = Begun::with("undone", &[shipment(), order()], refusing("bill")).await;
    let (_, part) = end_alike(&begun.rest, &begun.id, "ship", "compensated").await;
    assert_eq!(part["cause"]["code"], "parent_undone", "{part:#}");
    assert_eq!(begun.hand.order("compensation"), ["load", "pack", "reserve"]);
    begun.asked_once(&[
        "bill.action",
        "load.action",
        "load.compensation",
        "pack.action",
        "pack.compensation",
        "reserve.action",
        "reserve.compensation",
    ]);
    begun.replica.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_refused_undoes_itself_and_then_the_whole() {
    let begun = Begun::with("refused", &[shipment(), order()], refusing("load")).await;
    let (whole, part) = end_alike(&begun.rest, &begun.id, "ship", "compensated").await;
    assert_eq!((&whole["cause"]["code"], &part["cause"]["code"]), (&json!("no_way"), &json!("no_way")));
    assert_eq!(begun.hand.order("compensation"), ["pack", "reserve"]);
    assert!(!begun.hand.asked().contains_key("bill.action"));
    begun.replica.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_that_is_cancelled_stops_its_part_where_it_is() {
    let begun = Begun::with("cancelled", &[shipment(), order()], |command| {
        if is_action(command, "pack") { vec![] } else { vec![ok()] }
    })
    .await;
    begun.is_asked("pack.action").await;
    let (status, body) =
        begun.rest.post(&format!("/v1/sagas/{}/cancel", begun.id), &json!({"reason": "no"})).await;
    assert_eq!(status, 200, "{body}");
    let (_, part) = end_alike(&begun.rest, &begun.id, "ship", "compensated").await;
    assert_eq!(part["cause"]["code"], "parent_undone", "{part:#}");
    assert_eq!(begun.hand.order("compensation"), ["pack", "reserve"], "what may have happened is undone");
    assert!(!begun.hand.asked().contains_key("load.action"));
    begun.replica.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_of_a_list_may_be_a_saga_of_its_own() {
    let mut order = order();
    order["steps"][1]["for_each"] = json!({"items": "${{ input.rows }}", "concurrency": 2, "max": 3});
    order["steps"][1]["input"] = json!({"row": "${{ item }}"});
    let begun = Begun::with("each", &[shipment(), order], refusing("bill")).await;
    let whole = begun.rest.ended(&begun.id).await;
    assert_eq!(whole["status"], "compensated", "{whole:#}");
    for (number, row) in ["a", "b", "c"].iter().enumerate() {
        let part = begun.rest.ended(&child(&begun.id, &format!("ship:{number}"))).await;
        assert_eq!(
            (&part["status"], &part["input"]["row"]),
            (&json!("compensated"), &json!(row)),
            "{part:#}"
        );
    }
    assert_eq!(begun.hand.asked()["pack.compensation"], 3, "each once");
    assert_eq!(begun.hand.order("compensation"), ["load", "pack", "reserve"]);
    begun.replica.shut_down().await;
}

/// The order has a shipment, which has a parcel.
fn three_generations() -> [Value; 3] {
    let parcel = within("15s", definition("parcel", &["wrap"]));
    let mut shipment = within("80s", shipment());
    shipment["steps"].as_array_mut().expect("steps").insert(1, part("parcel", "parcel"));
    [parcel, shipment, order()]
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_parts_end_with_the_whole() {
    let begun = Begun::with("grand-done", &three_generations(), |_| vec![ok()]).await;
    end_alike(&begun.rest, &begun.id, "ship", "completed").await;
    end_alike(&begun.rest, &child(&begun.id, "ship"), "parcel", "completed").await;
    assert_eq!(begun.hand.order("action"), ["reserve", "pack", "wrap", "load", "bill"]);
    begun.replica.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_parts_are_undone_in_reverse() {
    let begun = Begun::with("grand-undone", &three_generations(), refusing("bill")).await;
    end_alike(&begun.rest, &begun.id, "ship", "compensated").await;
    end_alike(&begun.rest, &child(&begun.id, "ship"), "parcel", "compensated").await;
    assert_eq!(begun.hand.order("compensation"), ["load", "wrap", "pack", "reserve"]);
    begun.replica.shut_down().await;
}

/// The payment is a saga with a pivot, and the order's own pivot.
fn with_pivot() -> [Value; 2] {
    let mut payment = within("40s", definition("payment", &["hold", "capture"]));
    let capture = &mut payment["steps"][1];
    capture["kind"] = json!("pivot");
    capture.as_object_mut().expect("a step").remove("compensation");
    let mut order = definition("order", &["reserve", "mail"]);
    let mail = &mut order["steps"][1];
    mail["kind"] = json!("retriable");
    mail.as_object_mut().expect("a step").remove("compensation");
    let mut pay = part("pay", "payment");
    pay["kind"] = json!("pivot");
    order["steps"].as_array_mut().expect("steps").insert(1, pay);
    [payment, order]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_with_a_pivot_is_the_pivot_of_the_whole() {
    let begun = Begun::with("pivot-done", &with_pivot(), |_| vec![ok()]).await;
    end_alike(&begun.rest, &begun.id, "pay", "completed").await;
    assert_eq!(begun.hand.order("action"), ["reserve", "hold", "capture", "mail"]);
    begun.replica.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_with_a_pivot_that_is_refused_undoes_the_whole() {
    let begun = Begun::with("pivot-undone", &with_pivot(), refusing("capture")).await;
    end_alike(&begun.rest, &begun.id, "pay", "compensated").await;
    assert_eq!(begun.hand.order("compensation"), ["hold", "reserve"]);
    begun.replica.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_whose_input_does_not_fit_its_schema_is_refused_and_never_begun() {
    let mut shipment = shipment();
    shipment["input"] = json!({"type": "object", "required": ["address"]});
    let begun = Begun::with("bad-input", &[shipment, order()], |_| vec![ok()]).await;
    let whole = begun.rest.ended(&begun.id).await;
    assert_eq!((&whole["status"], &whole["cause"]["code"]), (&json!("compensated"), &json!("invalid_input")));
    let message = whole["cause"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("address"), "{whole:#}");
    let (status, _) = begun.rest.get(&format!("/v1/sagas/{}", child(&begun.id, "ship"))).await;
    assert_eq!(status, 404, "it was never there");
    assert_eq!(begun.hand.order("compensation"), ["reserve"]);
    begun.replica.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_may_undo_the_whole_while_the_first_has_its_part() {
    let place = Place::shared("elsewhere").await;
    let (one, two) = (place.replica("one").await, place.replica("two").await);
    let hand =
        Hand::play(&place, "hand", |command| if is_action(command, "bill") { vec![] } else { vec![ok()] })
            .await;
    let (at_one, at_two) = (Rest::of(&one), Rest::of(&two));
    at_one.submit(&shipment()).await;
    at_one.submit(&order()).await;
    let id = at_one.start("order", &json!({})).await;
    eventually("bill", async || hand.asked().contains_key("bill.action").then_some(())).await;
    let (status, body) = at_two.post(&format!("/v1/sagas/{id}/cancel"), &json!({"reason": "no"})).await;
    assert_eq!(status, 200, "{body}");
    end_alike(&at_one, &id, "ship", "compensated").await;
    assert_eq!(hand.order("compensation"), ["bill", "load", "pack", "reserve"]);
    one.shut_down().await;
    two.shut_down().await;
}

/// Answers a step's commands only from some moment on.
fn silent_at(step: &'static str, until: Arc<AtomicBool>) -> impl Fn(&ReceivedCommand) -> Vec<Outcome> {
    move |command| {
        let is_silent = command.effect().step.as_str() == step && !until.load(Ordering::Relaxed);
        if is_silent { vec![] } else { vec![ok()] }
    }
}

/// Definitions of which no attempt ends while servers are away.
fn patient(window: &str, definition: Value) -> Value {
    let mut definition = within(window, definition);
    for step in definition["steps"].as_array_mut().expect("steps") {
        if step.get("participant").is_some() {
            step["timeout"] = json!("20s");
            step["compensation"] = json!({"action": step["compensation"], "timeout": "5s"});
        }
    }
    definition
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_may_lose_its_store_while_a_part_runs() {
    let own = Own::servers("family-nats").await;
    let replica = own.place.replica("one").await;
    let is_back = Arc::new(AtomicBool::new(false));
    let hand = Hand::play(&own.place, "hand", silent_at("load", is_back.clone())).await;
    let rest = Rest::of(&replica);
    rest.submit(&patient("2m", shipment())).await;
    rest.submit(&patient("10m", order())).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(rest.start("order", &json!({"n": n})).await);
    }
    eventually("all parts load", async || (hand.asked().get("load.action") == Some(&10)).then_some(())).await;
    is_back.store(true, Ordering::Relaxed);
    own.with_stack(|stack| {
        stack.nats.kill();
        stack.nats.wipe_store().expect("the store is deleted");
        stack.nats.start_again().expect("NATS starts again");
    })
    .await;
    for id in &ids {
        let (whole, part) = end_alike(&rest, id, "ship", "completed").await;
        assert_eq!(part["steps"][1]["attempt"], 1, "long before the step's timeout: {part:#}");
        assert_eq!(whole["steps"][1]["attempt"], 1, "{whole:#}");
    }
    let (jetstream, endings) = (hand.bus.jetstream().unwrap(), hand.bus.subjects().endings_stream());
    eventually("the ends of all wholes and parts are announced", async || {
        let mut stream = jetstream.get_stream(&endings).await.ok()?;
        let state = &stream.info().await.ok()?.state;
        (state.messages == 20).then_some(())
    })
    .await;
    replica.shut_down().await;
    drop(hand);
    own.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_may_be_restarted_while_a_part_runs() {
    let own = Own::servers("family-pg").await;
    let replica = own.place.replica("one").await;
    let is_back = Arc::new(AtomicBool::new(false));
    let hand = Hand::play(&own.place, "hand", silent_at("load", is_back.clone())).await;
    let rest = Rest::of(&replica);
    rest.submit(&patient("2m", shipment())).await;
    rest.submit(&patient("10m", order())).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(rest.start("order", &json!({"n": n})).await);
    }
    eventually("all parts load", async || (hand.asked().get("load.action") == Some(&10)).then_some(())).await;
    own.with_stack(|stack| stack.postgres.stop(StopMode::Immediate)).await;
    is_back.store(true, Ordering::Relaxed);
    // Their answers come while there is nowhere to put them.
    let asked = hand.seen();
    let loads = asked.iter().filter(|command| is_action(command, "load"));
    let replies = loads.map(|command| snorri_bus::headers::reply(&command.reply_to, &command.id, &ok()));
    hand.bus.publish_all(replies.collect()).await;
    own.with_stack(|stack| stack.postgres.start_again().expect("Postgres starts again")).await;
    for id in &ids {
        end_alike(&rest, id, "ship", "completed").await;
    }
    replica.shut_down().await;
    drop(hand);
    own.end().await;
}
