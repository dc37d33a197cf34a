//! Sagas that run to their ends.

use serde_json::json;

use crate::support::{Hand, Place, Rest, definition, eventually, failed, ok, rejected};
use snorri_saga::ids::Direction;

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_whose_steps_all_succeed_is_completed_in_order() {
    let place = Place::shared("completed").await;
    let orchestrator = place.replica("one").await;
    let hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    let rest = Rest::of(&orchestrator);
    rest.submit(&definition("three", &["a", "b", "c"])).await;
    let id = rest.start("three", &json!({"n": 1})).await;
    let saga = rest.ended(&id).await;
    assert_eq!(saga["status"], "completed", "{saga}");
    assert_eq!(hand.order("action"), ["a", "b", "c"]);
    assert_eq!(hand.seen().len(), 3, "each asked once");
    orchestrator.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_undoes_what_was_done_in_reverse_order() {
    let place = Place::shared("compensated").await;
    let orchestrator = place.replica("one").await;
    let hand = Hand::play(&place, "hand", |command| {
        let effect = command.effect();
        match (effect.step.as_str(), effect.direction) {
            ("c", Direction::Action) => vec![rejected("no_stock")],
            _ => vec![ok()],
        }
    })
    .await;
    let rest = Rest::of(&orchestrator);
    rest.submit(&definition("three", &["a", "b", "c"])).await;
    let id = rest.start("three", &json!({})).await;
    let saga = rest.ended(&id).await;
    assert_eq!(saga["status"], "compensated", "{saga}");
    assert_eq!(saga["cause"]["code"], "no_stock");
    assert_eq!(hand.order("compensation"), ["b", "a"], "c was rejected: nothing of it is left");
    let undo = hand.seen().into_iter().find(|command| command.effect().direction == Direction::Compensation);
    let undo = undo.expect("an undo");
    assert!(undo.body.result.is_some(), "an undo sees what the action answered");
    orchestrator.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_under_the_same_effect_and_another_message() {
    let place = Place::shared("retried").await;
    let orchestrator = place.replica("one").await;
    let hand = Hand::play(
        &place,
        "hand",
        |command| {
            if command.id.attempt < 3 { vec![failed()] } else { vec![ok()] }
        },
    )
    .await;
    let rest = Rest::of(&orchestrator);
    rest.submit(&definition("one", &["a"])).await;
    let id = rest.start("one", &json!({})).await;
    assert_eq!(rest.ended(&id).await["status"], "completed");
    let seen = hand.seen();
    assert_eq!(seen.iter().map(|command| command.id.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    let effects: std::collections::BTreeSet<_> =
        seen.iter().map(|command| command.effect().clone()).collect();
    assert_eq!(effects.len(), 1, "one effect, however often it is tried");
    orchestrator.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e01_a_step_that_is_never_answered_is_undone_because_it_may_have_happened() {
    let place = Place::shared("e01").await;
    let orchestrator = place.replica("one").await;
    let hand = Hand::play(&place, "hand", |command| {
        let effect = command.effect();
        match (effect.step.as_str(), effect.direction) {
            ("b", Direction::Action) => vec![],
            _ => vec![ok()],
        }
    })
    .await;
    let rest = Rest::of(&orchestrator);
    let mut two = definition("two", &["a", "b"]);
    two["steps"][1]["timeout"] = json!("200ms");
    rest.submit(&two).await;
    let id = rest.start("two", &json!({})).await;
    let saga = rest.ended(&id).await;
    assert_eq!(saga["status"], "compensated", "{saga}");
    assert_eq!(saga["cause"]["code"], "timed_out");
    assert_eq!(hand.order("compensation"), ["b", "a"]);
    assert_eq!(hand.asked()["b.action"], 3, "every attempt of the policy was made");
    orchestrator.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e04_a_success_after_compensation_began_is_kept_as_a_fact_and_changes_no_end() {
    let place = Place::shared("e04").await;
    let orchestrator = place.replica("one").await;
    let hand = Hand::play(&place, "hand", |command| match command.effect().direction {
        Direction::Action => vec![],
        Direction::Compensation => vec![ok()],
    })
    .await;
    let rest = Rest::of(&orchestrator);
    let mut one = definition("one", &["a"]);
    one["steps"][0]["timeout"] = json!("100ms");
    one["steps"][0]["retry"] = json!({"attempts": 1});
    rest.submit(&one).await;
    let id = rest.start("one", &json!({})).await;
    assert_eq!(rest.ended(&id).await["status"], "compensated");
    let action = hand.seen().into_iter().next().expect("the action");
    let late = snorri_bus::headers::reply(&action.reply_to, &action.id, &ok());
    hand.bus.publish_all(vec![late.clone(), late]).await;
    eventually("the late reply is journalled once", async || {
        let (_, journal) = rest.get(&format!("/v1/sagas/{id}/journal")).await;
        let text = journal.to_string();
        (text.matches("late_reply").count() == 1).then_some(())
    })
    .await;
    assert_eq!(rest.saga(&id).await["status"], "compensated");
    orchestrator.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e02_an_undo_that_keeps_failing_blocks_the_saga_and_is_tried_until_it_is_done() {
    let place = Place::shared("e02").await;
    let orchestrator = place.replica("one").await;
    let _hand = Hand::play(&place, "hand", |command| {
        let effect = command.effect();
        match (effect.step.as_str(), effect.direction, command.id.attempt) {
            ("b", Direction::Action, _) => vec![rejected("no")],
            (_, Direction::Compensation, 1..=3) => vec![failed()],
            _ => vec![ok()],
        }
    })
    .await;
    let rest = Rest::of(&orchestrator);
    rest.submit(&definition("two", &["a", "b"])).await;
    let id = rest.start("two", &json!({})).await;
    let blocked = eventually("the saga is blocked", async || {
        let saga = rest.saga(&id).await;
        (saga["status"] == "blocked").then_some(saga)
    })
    .await;
    assert_eq!(blocked["blocked"]["reason"], "compensation_fails");
    assert_eq!(rest.ended(&id).await["status"], "compensated", "attempts went on");
    orchestrator.shut_down().await;
}
