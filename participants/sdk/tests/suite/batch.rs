//! Batches: many commands in one transaction, and each of them for itself all the same.

use std::sync::atomic::Ordering;

use snorri_saga::time::Millis;
use snorri_saga::wire::Outcome;

use crate::rig::{Command, How, Rig, ok, on_both, saga, undone};

on_both! {
    a_rejected_and_a_failing_command_take_nothing_of_the_others_with_them,
    duplicates_and_an_undo_in_the_same_batch_take_their_turns,
    two_replicas_in_batches_share_hundreds_of_commands_without_doing_one_twice,
}

async fn a_rejected_and_a_failing_command_take_nothing_of_the_others_with_them(mut rig: Rig) {
    let hows =
        [How::Well, How::Reject, How::Well, How::Fail, How::Nothing, How::Panic, How::Large, How::Well];
    let commands: Vec<Command> =
        hows.iter().zip(1..).map(|(how, amount)| Command::action(saga(), "pay", amount, *how)).collect();
    // All are there before it starts: they make one batch.
    rig.send(&commands).await;
    let running = rig.run(rig.participant().batch(64));
    for (command, (how, amount)) in commands.iter().zip(hows.iter().zip(1_i64..)) {
        let outcome = rig.reply(command).await;
        let word = match how {
            How::Reject | How::Large => "rejected",
            How::Fail | How::Panic => "failed",
            _ => "ok",
        };
        assert_eq!(outcome.word(), word, "{how:?}: {outcome:?}");
        let expected = if *how == How::Well { (1, amount) } else { (0, 0) };
        assert_eq!(rig.ledger(command.saga()).await, expected, "{how:?}");
        assert_eq!(rig.barrier_rows(command.saga()).await, 1, "{how:?}");
    }
    let stats = running.stats.snapshot();
    assert_eq!((stats.ok, stats.rejected, stats.failed, stats.batches_undone), (4, 2, 2, 0));
    running.stop().await;
}

#[tokio::test]
async fn a_batch_whose_transaction_breaks_is_done_one_by_one() {
    let mut rig = Rig::new("batch_broken").await;
    let hows = [How::Well, How::Swallow, How::Well];
    let commands: Vec<Command> = hows.iter().map(|how| Command::action(saga(), "pay", 5, *how)).collect();
    rig.send(&commands).await;
    let running = rig.run(rig.participant().batch(64));
    assert_eq!(rig.reply(&commands[0]).await, ok(5));
    assert_eq!(rig.reply(&commands[1]).await.word(), "failed");
    assert_eq!(rig.reply(&commands[2]).await, ok(5));
    for (command, entries) in commands.iter().zip([1, 0, 1]) {
        assert_eq!(rig.ledger(command.saga()).await.0, entries);
    }
    let stats = running.stats.snapshot();
    assert_eq!((stats.ok, stats.failed, stats.batches_undone), (2, 1, 1));
    running.stop().await;
}

async fn duplicates_and_an_undo_in_the_same_batch_take_their_turns(mut rig: Rig) {
    let action = Command::action(saga(), "pay", 5, How::Well);
    let early = Command::action(saga(), "pay", 7, How::Well);
    let other_step = Command::action(action.saga(), "ship", 1, How::Well);
    rig.send(&[
        action.clone(),
        early.undo(),
        action.again(),
        action.undo(),
        early.clone(),
        other_step.clone(),
    ])
    .await;
    let running = rig.run(rig.participant().batch(64));
    assert_eq!(rig.reply(&action).await, ok(5));
    assert_eq!(rig.reply(&action.again()).await, ok(5));
    assert_eq!(rig.reply(&action.undo()).await, undone(false));
    assert_eq!(rig.reply(&early.undo()).await, undone(true));
    assert_eq!(rig.reply(&early).await, Outcome::Tombstoned);
    assert_eq!(rig.reply(&other_step).await, ok(1));
    assert_eq!(rig.ledger(action.saga()).await, (3, 1));
    assert_eq!(rig.ledger(early.saga()).await, (0, 0));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 3);
    running.stop().await;
}

async fn two_replicas_in_batches_share_hundreds_of_commands_without_doing_one_twice(mut rig: Rig) {
    let commands: Vec<Command> =
        (0..300).map(|number| Command::action(saga(), "pay", number, How::Well)).collect();
    // Each attempt twice over, so that both replicas often hold the same effect.
    let again: Vec<Command> = commands.iter().map(Command::again).collect();
    rig.send(&commands).await;
    rig.send(&again).await;
    let running = [rig.run(rig.participant().batch(64)), rig.run(rig.participant().batch(64))];
    for (command, number) in commands.iter().zip(0..) {
        assert_eq!(rig.reply(command).await, ok(number));
        assert_eq!(rig.reply(&command.again()).await, ok(number));
        assert_eq!(rig.ledger(command.saga()).await, (1, number));
    }
    for one in running {
        one.stop().await;
    }
}

#[tokio::test]
async fn rows_that_make_no_sense_are_left_as_they_are_and_can_be_mended() {
    let mut rig = Rig::new("batch_unclear").await;
    let (unclear, fine) =
        (Command::action(saga(), "pay", 5, How::Well), Command::action(saga(), "pay", 6, How::Well));
    snorri_participant::migrate(&rig.pool).await.expect("migrated");
    // As after a hand in the table: an action without an outcome.
    sqlx::query("INSERT INTO snorri_participant.barrier (saga_id, step, undo) VALUES ($1, 'pay', false)")
        .bind(unclear.saga().0)
        .execute(&rig.pool)
        .await
        .expect("a row");
    rig.send(&[unclear.undo(), fine.clone()]).await;
    let running = rig.run(rig.participant().batch(64));
    let Outcome::Failed { message, .. } = rig.reply(&unclear.undo()).await else { panic!("a failure") };
    assert!(message.contains("make no sense"), "{message}");
    assert_eq!(rig.reply(&fine).await, ok(6));
    // What was found is as it was; beside it is the undo's failure.
    let outcomes: Vec<Option<String>> =
        sqlx::query_scalar("SELECT outcome FROM snorri_participant.barrier WHERE saga_id = $1 ORDER BY undo")
            .bind(unclear.saga().0)
            .fetch_all(&rig.pool)
            .await
            .expect("the rows");
    assert_eq!(outcomes, [None, Some("failed".to_owned())]);
    // A person finds out that it was done, and says so.
    sqlx::query("UPDATE snorri_participant.barrier SET outcome = 'ok' WHERE saga_id = $1 AND NOT undo")
        .bind(unclear.saga().0)
        .execute(&rig.pool)
        .await
        .expect("mended");
    assert_eq!(rig.ask(&unclear.undo().again()).await, undone(false));
    assert_eq!(rig.ledger(unclear.saga()).await, (1, -5));
    running.stop().await;
}

#[tokio::test]
async fn a_command_without_time_left_does_not_make_its_batch_tell_as_often_that_it_is_at_work() {
    let mut rig = Rig::new("batch_pulse").await;
    let mut late = Command::action(saga(), "pay", 1, How::Wait);
    late.budget = Millis(0);
    let mut others: Vec<Command> =
        (0..10).map(|number| Command::action(saga(), "pay", number, How::Well)).collect();
    for other in &mut others {
        other.budget = Millis(60_000);
    }
    others.insert(0, late.clone());
    rig.send(&others).await;
    let running = rig.run(rig.participant().batch(64));
    for _ in 0..6 {
        assert_eq!(rig.word(&late).await, Outcome::Working);
    }
    rig.stage.go_on.notify_one();
    assert_eq!(rig.reply(&late).await, ok(1));
    for (other, number) in others.iter().zip(-1..).skip(1) {
        assert_eq!(rig.word(other).await, ok(number), "the first word of it is its answer");
    }
    running.stop().await;
}
