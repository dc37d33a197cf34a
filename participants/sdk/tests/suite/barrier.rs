//! The barrier's promises, each with a real Postgres and a real nats-server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use snorri_participant::{Participant, SagaId};
use snorri_saga::time::Millis;
use snorri_saga::wire::Outcome;
use uuid::Uuid;

use crate::rig::{Command, Done, How, Rig, Wish, ok, on_both, saga, undone, within};

on_both! {
    an_action_happens_once_and_its_duplicates_get_the_stored_reply,
    an_undo_reverses_its_action_once_and_knows_the_result_from_the_barrier,
    e08_an_undo_before_its_action_finds_nothing_and_fences_the_action_off,
    e12_two_overlapping_attempts_have_one_effect_and_both_are_answered,
    an_undo_that_overlaps_its_action_waits_for_it_and_reverses_it,
    a_rejection_is_stored_and_its_writes_are_rolled_back,
    e09_a_partial_rejection_is_undone_and_a_rejected_undo_may_be_tried_again,
    a_panic_is_a_failure_and_tells_nothing,
    e19_an_output_that_is_too_large_is_rejected_and_its_writes_are_rolled_back,
    an_unknown_operation_fails_and_names_the_known_ones,
    several_replicas_make_their_tables_at_once_and_share_the_work,
}

async fn an_action_happens_once_and_its_duplicates_get_the_stored_reply(mut rig: Rig) {
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::Well);
    assert_eq!(rig.ask(&command).await, ok(5));
    // The same attempt sent again, and a next attempt.
    let mut sent_again = command.clone();
    sent_again.id.sending = 1;
    assert_eq!(rig.ask(&sent_again).await, ok(5));
    assert_eq!(rig.ask(&command.again()).await, ok(5));
    assert_eq!(rig.ledger(command.saga()).await, (1, 5));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 1);
    let stats = running.stats.snapshot();
    assert_eq!((stats.ok, stats.duplicates), (1, 2));
    running.stop().await;
}

async fn an_undo_reverses_its_action_once_and_knows_the_result_from_the_barrier(mut rig: Rig) {
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::Well);
    assert_eq!(rig.ask(&command).await, ok(5));
    // The result is not in the command, and the amount in it is wrong: the barrier knows better.
    let mut undo = command.undo();
    undo.body.input = snorri_saga::json::Json::parse(r#"{"amount":99}"#).expect("json");
    assert_eq!(rig.ask(&undo).await, undone(false));
    assert_eq!(rig.ask(&undo.again()).await, undone(false));
    assert_eq!(rig.ledger(command.saga()).await, (2, 0));
    // The action once more, after all: too late.
    assert_eq!(rig.ask(&command.again()).await, Outcome::Tombstoned);
    assert_eq!(rig.ledger(command.saga()).await, (2, 0));
    running.stop().await;
}

async fn e08_an_undo_before_its_action_finds_nothing_and_fences_the_action_off(mut rig: Rig) {
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::Well);
    assert_eq!(rig.ask(&command.undo()).await, undone(true));
    assert_eq!(rig.ask(&command).await, Outcome::Tombstoned);
    assert_eq!(rig.ask(&command.undo().again()).await, undone(true));
    assert_eq!(rig.ledger(command.saga()).await, (0, 0));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 0);
    let stats = running.stats.snapshot();
    assert_eq!((stats.empty, stats.tombstoned, stats.duplicates), (1, 1, 1));
    running.stop().await;
}

async fn e12_two_overlapping_attempts_have_one_effect_and_both_are_answered(mut rig: Rig) {
    let running = rig.start();
    let first = Command::action(saga(), "pay", 5, How::Wait);
    let second = first.again();
    rig.send(std::slice::from_ref(&first)).await;
    within("the first", rig.stage.began.notified()).await;
    rig.send(std::slice::from_ref(&second)).await;
    // The second must be at the barrier by now; it waits there, or comes again, until the first is through.
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.stage.go_on.notify_one();
    assert_eq!(rig.reply(&first).await, ok(5));
    assert_eq!(rig.reply(&second).await, ok(5));
    assert_eq!(rig.ledger(first.saga()).await, (1, 5));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 1);
    running.stop().await;
}

async fn an_undo_that_overlaps_its_action_waits_for_it_and_reverses_it(mut rig: Rig) {
    let running = rig.start();
    let action = Command::action(saga(), "pay", 5, How::Wait);
    rig.send(std::slice::from_ref(&action)).await;
    within("the action", rig.stage.began.notified()).await;
    rig.send(&[action.undo()]).await;
    // Longer than a lock is waited for: the undo has to come again.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    rig.stage.go_on.notify_one();
    assert_eq!(rig.reply(&action).await, ok(5));
    assert_eq!(rig.reply(&action.undo()).await, undone(false));
    assert_eq!(rig.ledger(action.saga()).await, (2, 0));
    assert!(running.stats.snapshot().postponed >= 1);
    running.stop().await;
}

async fn a_rejection_is_stored_and_its_writes_are_rolled_back(mut rig: Rig) {
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::Reject);
    let no = Outcome::Rejected { code: "no".into(), message: "not like this".into(), partial: false };
    assert_eq!(rig.ask(&command).await, no);
    assert_eq!(rig.ask(&command.again()).await, no);
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 1);
    assert_eq!(rig.ledger(command.saga()).await, (0, 0));
    // Nothing is left, so there is nothing to undo.
    assert_eq!(rig.ask(&command.undo()).await, undone(true));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 1);
    running.stop().await;
}

async fn e09_a_partial_rejection_is_undone_and_a_rejected_undo_may_be_tried_again(mut rig: Rig) {
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::RejectPartly);
    let Outcome::Rejected { partial: true, .. } = rig.ask(&command).await else { panic!("a partial no") };
    let undo = command.undo();
    let Outcome::Rejected { code, .. } = rig.ask(&undo).await else { panic!("a no") };
    assert_eq!(code, "cannot");
    assert_eq!(rig.ask(&undo.again()).await, undone(false));
    assert_eq!(rig.ledger(command.saga()).await, (1, -5));
    running.stop().await;
}

async fn a_panic_is_a_failure_and_tells_nothing(mut rig: Rig) {
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::Panic);
    let Outcome::Failed { message, .. } = rig.ask(&command).await else { panic!("a failure") };
    assert!(message.contains("panicked") && !message.contains("4711"), "{message}");
    assert_eq!((rig.barrier_rows(command.saga()).await, rig.ledger(command.saga()).await), (1, (0, 0)));
    // It lives on.
    assert_eq!(rig.ask(&Command::action(saga(), "pay", 6, How::Well)).await, ok(6));
    running.stop().await;
}

#[tokio::test]
async fn a_bad_input_is_rejected_with_its_place() {
    let mut rig = Rig::new("bad_input").await;
    let running = rig.start();
    let mut command = Command::action(saga(), "pay", 5, How::Well);
    command.body.input = snorri_saga::json::Json::parse(r#"{"amount":"4111"}"#).expect("json");
    let Outcome::Rejected { code, message, .. } = rig.ask(&command).await else { panic!("a no") };
    assert_eq!(code, "bad_input");
    assert!(message.contains("expected i64 at line 1 column") && !message.contains("4111"), "{message}");
    running.stop().await;
}

async fn e19_an_output_that_is_too_large_is_rejected_and_its_writes_are_rolled_back(mut rig: Rig) {
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::Large);
    let Outcome::Rejected { code, partial, .. } = rig.ask(&command).await else { panic!("a no") };
    assert_eq!((code.as_str(), partial), ("too_large", false));
    assert_eq!(rig.ledger(command.saga()).await, (0, 0));
    running.stop().await;
}

#[tokio::test]
async fn a_handler_that_goes_on_after_a_failed_statement_has_failed() {
    let mut rig = Rig::new("swallow").await;
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::Swallow);
    let Outcome::Failed { message, .. } = rig.ask(&command).await else { panic!("a failure") };
    assert!(message.contains("went on"), "{message}");
    assert_eq!((rig.barrier_rows(command.saga()).await, rig.ledger(command.saga()).await), (1, (0, 0)));
    running.stop().await;
}

async fn an_unknown_operation_fails_and_names_the_known_ones(mut rig: Rig) {
    let running = rig.start();
    let mut command = Command::action(saga(), "pay", 5, How::Well);
    command.operation = "scribble";
    let Outcome::Failed { message, .. } = rig.ask(&command).await else { panic!("a failure") };
    assert_eq!(message, "no action `scribble` here; known: action `write`, compensation `erase`");
    assert_eq!(running.stats.snapshot().unknown_operation, 1);
    assert_eq!(rig.barrier_rows(command.saga()).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_command_is_put_away_and_holds_nobody_up() {
    let mut rig = Rig::new("malformed").await;
    let running = rig.start();
    let good = Command::action(saga(), "pay", 5, How::Well);
    let mut bad = good.message(rig.bus.subjects());
    bad.payload = "{".into();
    bad.headers.as_mut().expect("headers").insert("Nats-Msg-Id", "x");
    for result in rig.bus.publish_all(vec![bad]).await {
        result.expect("published");
    }
    assert_eq!(rig.ask(&good).await, ok(5));
    assert_eq!(running.stats.snapshot().malformed, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_command_that_cannot_be_answered_is_put_away_and_counted() {
    let mut rig = Rig::new("reply_to").await;
    let running = rig.start();
    let subjects = rig.bus.subjects().clone();
    let mut sent = 0;
    for replica in ["*", ">", "Test!", "test.more", ""] {
        let command = Command::action(saga(), "pay", 5, How::Well);
        let mut message = command.message(&subjects);
        let to = format!("{}.reply.ledger.{replica}", subjects.prefix());
        message.headers.as_mut().expect("headers").insert("Snorri-Reply-To", to.as_str());
        rig.bus.publish_all(vec![message]).await.remove(0).expect("published");
        sent += 1;
    }
    assert_eq!(rig.ask(&Command::action(saga(), "pay", 6, How::Well)).await, ok(6));
    let stats = running.stats.snapshot();
    assert_eq!((stats.malformed, stats.postponed, stats.unanswered), (sent, 0, 0));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 1);
    running.stop().await;
}

/// The id of a saga that began so long ago.
fn saga_of(age: Duration) -> SagaId {
    SagaId(Uuid::from_u128(Uuid::now_v7().as_u128() - (age.as_millis() << 80)))
}

#[tokio::test]
async fn of_a_forgotten_saga_nothing_is_run_and_nothing_is_taken_for_never_done() {
    const WORDS: &str = "older than this participant's barrier remembers";
    const WEEK_MINS: u64 = 7 * 24 * 60;
    let of_mins = |mins| saga_of(Duration::from_mins(mins));
    for batch in [1, 64] {
        let mut rig = Rig::new("forgotten").await;
        // Forgotten at some time before; in the last hour before the age; and just young enough.
        let long_ago = Command::action(of_mins(WEEK_MINS + 48 * 60), "pay", 1, How::Well);
        let at_the_edge = Command::action(of_mins(WEEK_MINS - 30), "pay", 2, How::Well);
        let undone_only = Command::action(of_mins(WEEK_MINS + 60), "pay", 3, How::Well).undo();
        let young = Command::action(of_mins(WEEK_MINS - 90), "pay", 4, How::Well);
        // All at once, so that a batch has those that count beside those that do not.
        let all = [long_ago.clone(), at_the_edge.clone(), undone_only.clone(), young.clone()];
        rig.send(&all).await;
        let running = rig.run(rig.participant().batch(batch));
        for command in [&long_ago, &at_the_edge, &undone_only] {
            let Outcome::Failed { message, .. } = rig.reply(command).await else { panic!("{command:?}") };
            assert!(message.contains(WORDS), "{message}");
            assert_eq!(
                (rig.barrier_rows(command.saga()).await, rig.ledger(command.saga()).await),
                (0, (0, 0))
            );
        }
        assert_eq!(rig.reply(&young).await, ok(4));
        assert_eq!(rig.ask(&young.undo()).await, undone(false));
        // The undo of what may well have been done is not "nothing to undo", however often it is asked for.
        for undo in [long_ago.undo(), long_ago.undo().again(), at_the_edge.undo()] {
            let Outcome::Failed { message, .. } = rig.ask(&undo).await else { panic!("{undo:?}") };
            assert!(message.contains(WORDS), "{message}");
            assert_eq!(rig.barrier_rows(undo.saga()).await, 0);
        }
        let stats = running.stats.snapshot();
        assert_eq!((stats.failed, stats.empty, stats.tombstoned), (6, 0, 0));
        // What is still known is undone as ever.
        sqlx::query(
            "INSERT INTO snorri_participant.barrier (saga_id, step, undo, outcome, reply)
             VALUES ($1, 'pay', false, 'ok', '{\"outcome\":\"ok\",\"output\":{\"number\":2}}')",
        )
        .bind(at_the_edge.saga().0)
        .execute(&rig.pool)
        .await
        .expect("a row");
        assert_eq!(rig.ask(&at_the_edge.undo().again()).await, undone(false));
        assert_eq!(rig.ledger(at_the_edge.saga()).await, (1, -2));
        running.stop().await;
    }
}

#[tokio::test]
async fn a_long_handler_tells_that_it_is_still_at_it() {
    let mut rig = Rig::new("working").await;
    let running = rig.start();
    let mut command = Command::action(saga(), "pay", 5, How::Wait);
    command.budget = Millis(300);
    rig.send(std::slice::from_ref(&command)).await;
    within("the action", rig.stage.began.notified()).await;
    assert_eq!(rig.word(&command).await, Outcome::Working);
    assert_eq!(rig.word(&command).await, Outcome::Working);
    rig.stage.go_on.notify_one();
    assert_eq!(rig.reply(&command).await, ok(5));
    running.stop().await;
}

#[tokio::test]
async fn without_a_database_handlers_simply_run() {
    let mut rig = Rig::new("no_barrier").await;
    let stage = rig.stage.clone();
    let participant = Participant::new("ledger").expect("a name").action("write", move |_, wish: Wish| {
        stage.calls.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(Done { number: wish.amount }))
    });
    let running = rig.run(participant);
    let command = Command::action(saga(), "pay", 5, How::Nothing);
    assert_eq!(rig.ask(&command).await, ok(5));
    assert_eq!(rig.ask(&command.again()).await, ok(5));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 2);
    running.stop().await;
}

async fn several_replicas_make_their_tables_at_once_and_share_the_work(mut rig: Rig) {
    let running: Vec<_> = (0..4).map(|_| rig.start()).collect();
    let commands: Vec<Command> =
        (0..40).map(|number| Command::action(saga(), "pay", number, How::Well)).collect();
    rig.send(&commands).await;
    for (command, number) in commands.iter().zip(0..) {
        assert_eq!(rig.reply(command).await, ok(number));
        assert_eq!(rig.ledger(command.saga()).await, (1, number));
    }
    for one in running {
        one.stop().await;
    }
}
