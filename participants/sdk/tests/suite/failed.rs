//! `failed` promises that this command will not apply later: whatever comes again, and however.

use std::sync::atomic::Ordering;
use std::time::Duration;

use snorri_participant::Participant;
use snorri_saga::time::Millis;
use snorri_saga::wire::Outcome;

use crate::rig::{Command, Done, How, Rig, Running, Wish, name, ok, on_both, saga, undone, within};

on_both! {
    a_failure_leaves_no_write_and_the_next_attempt_runs,
    a_failed_command_that_is_delivered_again_does_not_run,
    two_attempts_at_once_after_a_failure_have_one_effect,
    a_compensation_after_a_failure_finds_nothing_and_fences_the_action_off,
    an_undo_that_failed_runs_with_its_next_attempt_only,
    an_operation_that_a_newer_version_knows_runs_with_the_next_attempt_only,
}

/// Another sending of the same attempt, as after a takeover. It gets past JetStream's duplicate window.
fn sent_again(command: &Command) -> Command {
    let mut again = command.clone();
    again.id.sending += 1;
    again
}

/// The command with another wish, which nobody does in earnest: so a test can tell which one ran.
fn with(command: &Command, how: How) -> Command {
    let mut other = Command::action(command.saga(), "pay", 5, how);
    other.id = command.id.clone();
    other
}

fn message(outcome: Outcome) -> String {
    let Outcome::Failed { message, .. } = outcome else { panic!("a failure, and not {outcome:?}") };
    message
}

async fn a_failure_leaves_no_write_and_the_next_attempt_runs(mut rig: Rig) {
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::FailOnce);
    assert_eq!(message(rig.ask(&command).await), "later perhaps");
    assert_eq!((rig.barrier_rows(command.saga()).await, rig.ledger(command.saga()).await), (1, (0, 0)));
    assert_eq!(rig.ask(&command.again()).await, ok(5));
    assert_eq!((rig.barrier_rows(command.saga()).await, rig.ledger(command.saga()).await), (1, (1, 5)));
    // What was done is the answer to the first attempt too, should it come again.
    assert_eq!(rig.ask(&sent_again(&command)).await, ok(5));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 2);
    let later = Command::action(saga(), "pay", 5, How::Fail);
    for command in [later.clone(), sent_again(&later)] {
        let Outcome::Failed { retry_after, .. } = rig.ask(&command).await else { panic!("a failure") };
        assert_eq!(retry_after, Some(Millis::secs(7)));
    }
    running.stop().await;
}

/// Has everything delivered again that is in the stream.
async fn deliver_again(rig: &Rig) {
    let jetstream = rig.bus.jetstream().expect("jetstream");
    let stream = jetstream.get_stream(rig.bus.subjects().commands_stream()).await.expect("the stream");
    let consumer = rig.bus.subjects().participant_consumer(&name("ledger"));
    stream.delete_consumer(&consumer).await.expect("deleted");
}

async fn duplicates(running: &Running, count: u64) {
    within("the duplicates", async {
        while running.stats.snapshot().duplicates < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn a_failed_command_that_is_delivered_again_does_not_run(mut rig: Rig) {
    for batch in [1, 64] {
        let running = rig.run(rig.participant().batch(batch));
        let before = rig.stage.calls.load(Ordering::SeqCst);
        let command = Command::action(saga(), "pay", 5, How::Fail);
        assert_eq!(message(rig.ask(&command).await), "later perhaps");
        let done = with(&command.again(), How::Well);
        let never = with(&sent_again(&command), How::Well);
        // Another sending of the attempt, which would succeed: the orchestrator knows already that it failed.
        assert_eq!(message(rig.ask(&never).await), "later perhaps");
        // The consumer is lost, and its successor begins at the beginning of the stream.
        deliver_again(&rig).await;
        duplicates(&running, 3).await;
        for command in [&command, &never] {
            assert_eq!(message(rig.reply(command).await), "later perhaps");
        }
        assert_eq!(rig.stage.calls.load(Ordering::SeqCst), before + 1);
        assert_eq!(rig.ledger(command.saga()).await, (0, 0));
        assert_eq!(rig.ask(&done).await, ok(5));
        assert_eq!(rig.ledger(command.saga()).await, (1, 5));
        running.stop().await;
    }
}

async fn two_attempts_at_once_after_a_failure_have_one_effect(mut rig: Rig) {
    let running = rig.start();
    let first = Command::action(saga(), "pay", 5, How::Fail);
    assert_eq!(message(rig.ask(&first).await), "later perhaps");
    let second = with(&first.again(), How::Wait);
    let third = with(&second.again(), How::Well);
    rig.send(std::slice::from_ref(&second)).await;
    within("the second", rig.stage.began.notified()).await;
    rig.send(&[third.clone(), sent_again(&first)]).await;
    // They must be at the barrier by now; they wait there, or come again, until the second is through.
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.stage.go_on.notify_one();
    for command in [&second, &third, &sent_again(&first)] {
        assert_eq!(rig.reply(command).await, ok(5));
    }
    assert_eq!(rig.ledger(first.saga()).await, (1, 5));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 2);
    running.stop().await;
}

async fn a_compensation_after_a_failure_finds_nothing_and_fences_the_action_off(mut rig: Rig) {
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::FailOnce);
    assert_eq!(message(rig.ask(&command).await), "later perhaps");
    assert_eq!(rig.ask(&command.undo()).await, undone(true));
    for late in [sent_again(&command), command.again()] {
        assert_eq!(rig.ask(&late).await, Outcome::Tombstoned);
    }
    assert_eq!(rig.ask(&command.undo().again()).await, undone(true));
    assert_eq!((rig.ledger(command.saga()).await, rig.stage.calls.load(Ordering::SeqCst)), ((0, 0), 1));
    running.stop().await;
}

async fn an_undo_that_failed_runs_with_its_next_attempt_only(mut rig: Rig) {
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::RejectPartly);
    assert_eq!(rig.ask(&command).await.word(), "rejected");
    // Its first call says no: that stops the saga for a person, who may settle it by other means.
    let undo = command.undo();
    for undo in [undo.clone(), sent_again(&undo)] {
        let Outcome::Rejected { code, .. } = rig.ask(&undo).await else { panic!("a no") };
        assert_eq!(code, "cannot");
    }
    assert_eq!((rig.ledger(command.saga()).await, rig.stage.calls.load(Ordering::SeqCst)), ((0, 0), 2));
    // The action's answer is what it was: nothing is undone yet.
    assert_eq!(rig.ask(&sent_again(&command)).await.word(), "rejected");
    assert_eq!(rig.ask(&undo.again()).await, undone(false));
    let mut last = undo.clone();
    last.id.sending = 2;
    assert_eq!(rig.ask(&last).await, undone(false));
    assert_eq!(rig.ask(&command.again()).await, Outcome::Tombstoned);
    assert_eq!((rig.ledger(command.saga()).await, rig.stage.calls.load(Ordering::SeqCst)), ((1, -5), 3));
    running.stop().await;
}

/// A later version of the participant, with one operation more.
fn newer(rig: &Rig) -> Participant {
    rig.participant().action("scribble", async |_, wish: Wish| Ok(Done { number: wish.amount }))
}

async fn an_operation_that_a_newer_version_knows_runs_with_the_next_attempt_only(mut rig: Rig) {
    let mut command = Command::action(saga(), "pay", 5, How::Well);
    command.operation = "scribble";
    let older = rig.start();
    assert!(message(rig.ask(&command).await).contains("scribble"));
    older.stop().await;
    let running = rig.run(newer(&rig));
    assert!(message(rig.ask(&sent_again(&command)).await).contains("scribble"));
    assert_eq!(running.stats.snapshot().ok, 0);
    assert_eq!(rig.ask(&command.again()).await, ok(5));
    // An undo by a name that nobody knows, of what was never done: nothing is needed for that but the barrier.
    let mut undo = Command::action(saga(), "pay", 5, How::Well).undo();
    undo.operation = "unscribble";
    assert_eq!(rig.ask(&undo).await, undone(true));
    // And of what was done: not without a handler.
    let mut undo = command.undo();
    undo.operation = "unscribble";
    assert!(message(rig.ask(&undo).await).contains("unscribble"));
    assert_eq!(rig.ask(&sent_again(&command.again())).await, ok(5));
    running.stop().await;
}

#[tokio::test]
async fn a_failure_of_a_transaction_that_broke_is_kept_by_one_of_its_own() {
    for batch in [1, 64] {
        let mut rig = Rig::new("broken_kept").await;
        let running = rig.run(rig.participant().batch(batch));
        let command = Command::action(saga(), "pay", 5, How::Swallow);
        assert!(message(rig.ask(&command).await).contains("went on"));
        let again = with(&sent_again(&command), How::Well);
        assert!(message(rig.ask(&again).await).contains("went on"));
        assert_eq!((rig.ledger(command.saga()).await, rig.stage.calls.load(Ordering::SeqCst)), ((0, 0), 1));
        assert_eq!(rig.ask(&with(&command.again(), How::Well)).await, ok(5));
        running.stop().await;
    }
}

#[tokio::test]
async fn a_failure_that_cannot_be_kept_is_not_told() {
    let mut rig = Rig::new("unkept").await;
    snorri_participant::migrate(&rig.pool).await.expect("migrated");
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON snorri_participant.barrier
         FOR EACH ROW WHEN (NEW.outcome = 'failed') EXECUTE FUNCTION refuse()",
    )
    .execute(&rig.pool)
    .await
    .expect("a trigger");
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::FailOnce);
    rig.send(std::slice::from_ref(&command)).await;
    within("the second try", async {
        while running.stats.snapshot().postponed == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(running.stats.snapshot().failed, 0);
    // It comes again by itself, and nobody has heard that it failed, so it may run.
    assert_eq!(rig.reply(&command).await, ok(5));
    assert_eq!((rig.ledger(command.saga()).await, rig.stage.calls.load(Ordering::SeqCst)), ((1, 5), 2));
    running.stop().await;
}

/// What a replica of the version before leaves and finds.
#[tokio::test]
async fn rows_of_the_version_before_are_understood() {
    let mut rig = Rig::new("before").await;
    let running = rig.start();
    let done = Command::action(saga(), "pay", 5, How::Well);
    assert_eq!(rig.ask(&done).await, ok(5));
    sqlx::query("UPDATE snorri_participant.barrier SET attempt = NULL")
        .execute(&rig.pool)
        .await
        .expect("old");
    assert_eq!(rig.ask(&done.again()).await, ok(5));
    assert_eq!(rig.ask(&done.undo()).await, undone(false));
    // A person may set a row so: any attempt takes it.
    let mended = Command::action(saga(), "pay", 6, How::Well);
    sqlx::query(
        "INSERT INTO snorri_participant.barrier (saga_id, step, undo, outcome) VALUES ($1, 'pay', false, 'failed')",
    )
    .bind(mended.saga().0)
    .execute(&rig.pool)
    .await
    .expect("a row");
    assert_eq!(rig.ask(&mended).await, ok(6));
    // It says `failed` to the undo of an action whose failure it does not know, and beside others that it does, it
    // commits the undo's row as it is.
    let failed = Command::action(saga(), "pay", 7, How::Fail);
    assert_eq!(message(rig.ask(&failed).await), "later perhaps");
    sqlx::query("INSERT INTO snorri_participant.barrier (saga_id, step, undo) VALUES ($1, 'pay', true)")
        .bind(failed.saga().0)
        .execute(&rig.pool)
        .await
        .expect("a row");
    assert_eq!(rig.ask(&failed.undo().again()).await, undone(true));
    assert_eq!(rig.ask(&failed.again()).await, Outcome::Tombstoned);
    assert_eq!(rig.ledger(failed.saga()).await, (0, 0));
    running.stop().await;
}
