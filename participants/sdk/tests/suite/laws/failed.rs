//! The laws of failures: a row that keeps one is taken again by a later attempt, by one of them, and by no other.

use snorri_participant::store::{Row, StepRows, Turn, Turns};
use snorri_saga::ids::{Direction, EffectId};

use super::{
    NONE, OWN, UNDO, World, action, attempt, attempt_through, begin, done, look, look_as, model, open,
    postgres, race_in_batches, row, rows, through, turns, undo_of, wait_as,
};
use crate::rig::within;

laws! {
    a_failure_is_taken_by_a_later_attempt_only,
    a_failure_that_is_taken_and_not_completed_stays,
    a_compensation_makes_a_tombstone_of_a_failure,
    of_two_attempts_that_find_a_failure_one_has_the_turn,
    an_attempt_that_finds_a_failure_and_its_compensation_wait_for_each_other,
    batches_that_find_failures_do_not_wait_in_a_circle,
    an_undo_that_was_committed_without_an_outcome_is_taken_by_any_attempt,
}

const AGAIN: Turns = turns(Turn::Again, Turn::Past);

async fn a_failure_is_taken_by_a_later_attempt_only(world: &impl World) {
    for effect in [action(), undo_of(&action())] {
        let is_undo = effect.direction == Direction::Compensation;
        let (mine, again) = if is_undo {
            through(world, &EffectId { direction: Direction::Action, ..effect.clone() }, "partial").await;
            (UNDO, turns(Turn::Past, Turn::Again))
        } else {
            (OWN, AGAIN)
        };
        let own = |rows: StepRows| if is_undo { rows.compensation } else { rows.action };
        assert_eq!(attempt_through(world, &effect, 3, "failed").await, mine);
        let failed = Row { attempt: Some(3), ..row(&effect, "failed") };
        // It itself, delivered again or sent again, and those before it.
        for number in [1, 2, 3] {
            let (turns, rows) = look_as(world, &effect, number).await;
            assert_eq!((turns, own(rows)), (NONE, Some(failed.clone())), "{number}");
        }
        // The next one has the turn; the failure's reply may stay until it has one of its own.
        let mut tx = begin(world).await;
        let command = attempt(&effect, 4);
        assert_eq!(tx.take_turns(&[&command]).await.expect("a turn"), [again]);
        let taken = own(tx.rows(&[&effect]).await.expect("rows").remove(0)).expect("a row");
        assert_eq!((taken.outcome, taken.attempt), (None, Some(4)));
        world.write(&mut *tx, &effect, 1).await;
        tx.end_turn(&effect, true);
        assert_eq!(tx.complete(&[done(&effect, "ok")]).await.expect("completed"), 1);
        tx.commit().await.expect("committed");
        assert_eq!(world.written(&effect).await, [1]);
        // What is done is done, whichever attempt asks.
        let expected = Row { attempt: Some(4), ..row(&effect, "ok") };
        let (turns, rows) = look_as(world, &effect, 5).await;
        assert_eq!((turns, own(rows)), (NONE, Some(expected)));
    }
}

async fn a_failure_that_is_taken_and_not_completed_stays(world: &impl World) {
    for dropped in [false, true] {
        let effect = action();
        through(world, &effect, "failed").await;
        let mut tx = begin(world).await;
        assert_eq!(tx.take_turns(&[&attempt(&effect, 2)]).await.expect("a turn"), [AGAIN]);
        world.write(&mut *tx, &effect, 1).await;
        if dropped {
            drop(tx);
        } else {
            tx.rollback().await.expect("rolled back");
        }
        assert_eq!(world.written(&effect).await, Vec::<i64>::new());
        assert_eq!(look(world, &effect).await, (NONE, rows(row(&effect, "failed"), None)));
        // And once more with writes that do not count, beside the failure that does.
        let mut tx = begin(world).await;
        assert_eq!(tx.take_turns(&[&attempt(&effect, 2)]).await.expect("a turn"), [AGAIN]);
        world.write(&mut *tx, &effect, 1).await;
        tx.end_turn(&effect, false);
        assert_eq!(tx.complete(&[done(&effect, "failed")]).await.expect("completed"), 1);
        tx.commit().await.expect("committed");
        assert_eq!(world.written(&effect).await, Vec::<i64>::new());
        let failed = Row { attempt: Some(2), ..row(&effect, "failed") };
        assert_eq!(look_as(world, &effect, 2).await, (NONE, rows(failed, None)));
        // What is taken back is gone, failure and all.
        let mut tx = begin(world).await;
        assert_eq!(tx.take_turns(&[&attempt(&effect, 3)]).await.expect("a turn"), [AGAIN]);
        tx.take_back(&[&effect]).await.expect("taken back");
        assert_eq!(tx.rows(&[&effect]).await.expect("rows"), [StepRows::default()]);
        tx.commit().await.expect("committed");
        assert_eq!(look(world, &effect).await.0, OWN);
    }
}

async fn a_compensation_makes_a_tombstone_of_a_failure(world: &impl World) {
    let effect = action();
    let undo = undo_of(&effect);
    attempt_through(world, &effect, 5, "failed").await;
    // The attempts of the two have nothing to do with each other.
    assert_eq!(through(world, &undo, "empty").await, turns(Turn::Again, Turn::First));
    for number in [5, 6] {
        let (turns, found) = look_as(world, &effect, number).await;
        let outcome = found.action.and_then(|row| row.outcome);
        assert_eq!((turns, outcome.as_deref()), (NONE, Some("tombstone")), "{number}");
        assert_eq!(found.compensation, Some(row(&undo, "empty")));
    }
}

async fn of_two_attempts_that_find_a_failure_one_has_the_turn(world: &impl World) {
    for (committed, expected) in [(Some("ok"), NONE), (Some("failed"), AGAIN), (None, AGAIN)] {
        let effect = action();
        through(world, &effect, "failed").await;
        let mut first = begin(world).await;
        assert_eq!(first.take_turns(&[&attempt(&effect, 2)]).await.expect("a turn"), [AGAIN]);
        let (third, same) = (wait_as(world, &effect, 3).await, wait_as(world, &effect, 2).await);
        match committed {
            Some(outcome) => {
                first.end_turn(&effect, true);
                first.complete(&[done(&effect, outcome)]).await.expect("completed");
                first.commit().await.expect("committed");
            }
            None => first.rollback().await.expect("rolled back"),
        }
        // Whichever of them comes first lets go of it, and then it is the other's turn to look.
        let ends = [third, same].map(|waiting| async {
            let (tx, new) = waiting.await.expect("joined");
            tx.rollback().await.expect("rolled back");
            new.expect("an answer")
        });
        let [third, same] = ends;
        let (third, same) = within("both", async { tokio::join!(third, same) }).await;
        assert_eq!(third, [expected], "{committed:?}");
        // The same attempt, delivered twice at once, runs only if the first one's came to nothing.
        assert_eq!(same, [if committed.is_none() { AGAIN } else { NONE }], "{committed:?}");
    }
}

async fn an_attempt_that_finds_a_failure_and_its_compensation_wait_for_each_other(world: &impl World) {
    for undo_first in [true, false] {
        let effect = action();
        let undo = undo_of(&effect);
        through(world, &effect, "failed").await;
        let (first, second) = if undo_first { (&undo, &effect) } else { (&effect, &undo) };
        let mut tx = begin(world).await;
        tx.take_turns(&[&attempt(first, 2)]).await.expect("a turn");
        let waiting = wait_as(world, second, 2).await;
        tx.end_turn(first, true);
        let outcome = if undo_first { "empty" } else { "ok" };
        tx.complete(&[done(first, outcome)]).await.expect("completed");
        tx.commit().await.expect("committed");
        let (mut tx, new) = within("the second", waiting).await.expect("joined");
        let found = tx.rows(&[second]).await.expect("rows").remove(0);
        let outcome = found.action.and_then(|row| row.outcome);
        if undo_first {
            assert_eq!((new.expect("an answer"), outcome.as_deref()), (vec![NONE], Some("tombstone")));
        } else {
            assert_eq!((new.expect("an answer"), outcome.as_deref()), (vec![UNDO], Some("ok")));
        }
    }
}

async fn batches_that_find_failures_do_not_wait_in_a_circle(world: &impl World) {
    for _ in 0..20 {
        let effects: Vec<EffectId> = (0..8).map(|_| action()).collect();
        for effect in &effects {
            through(world, effect, "failed").await;
        }
        assert_eq!(race_in_batches(world, effects, Turn::Again).await, 8);
    }
}

/// The version before failures were kept leaves such undos. An action without an outcome nobody leaves: it is a hand's work.
async fn an_undo_that_was_committed_without_an_outcome_is_taken_by_any_attempt(world: &impl World) {
    let effect = action();
    let undo = undo_of(&effect);
    attempt_through(world, &effect, 1, "partial").await;
    let mut tx = begin(world).await;
    assert_eq!(tx.take_turns(&[&attempt(&undo, 5)]).await.expect("a turn"), [UNDO]);
    tx.commit().await.expect("committed");
    for number in [1, 5, 6] {
        let found = rows(row(&effect, "partial"), open(number));
        assert_eq!(look_as(world, &undo, number).await, (UNDO, found), "{number}");
    }
    // One of two has it, and then it is done.
    let mut first = begin(world).await;
    assert_eq!(first.take_turns(&[&attempt(&undo, 6)]).await.expect("a turn"), [UNDO]);
    let second = wait_as(world, &undo, 7).await;
    first.end_turn(&undo, true);
    assert_eq!(first.complete(&[done(&undo, "ok")]).await.expect("completed"), 1);
    first.commit().await.expect("committed");
    let (second, new) = within("the second", second).await.expect("joined");
    assert_eq!(new.expect("an answer"), [NONE]);
    second.rollback().await.expect("rolled back");
    let unclear = action();
    let mut tx = begin(world).await;
    assert_eq!(tx.take_turns(&[&attempt(&unclear, 1)]).await.expect("a turn"), [OWN]);
    tx.commit().await.expect("committed");
    assert_eq!(look_as(world, &unclear, 2).await, (NONE, rows(open(1), None)));
}
