//! The barrier: each effect happens once, whatever is duplicated, late or overtaken.
//!
//! One row for each operation of each step of each saga, in the participant's own database and in the same
//! transaction as its business writes. Inserting the row *is* taking the turn: a second transaction that
//! inserts the same key waits for the first to end, and then sees what it left. What the rows mean is decided
//! here; how they are kept, behind the [port](crate::store).
//!
//! A failure is kept as well, with the attempt that it answered: who says `failed` promises that this command will not
//! apply later, and commands come again. Only a later attempt takes the turn from it. The sending does not count: the
//! orchestrator takes a failure for its whole attempt, so that another sending of it must not run either, and who
//! sends an attempt again after its failure has lost the answer, and is given it.

use snorri_saga::ids::{CommandId, Direction, EffectId};
use snorri_saga::json::Json;
use snorri_saga::wire::ReplyBody;
use uuid::Uuid;

use crate::store::{Done, Row, StepRows, StoreError, Transaction, Turn, Turns};

/// What the barrier has to say to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entered {
    /// It is this command's turn: run the action.
    Run,
    /// It is this command's turn: undo the action, whose output may be known from here.
    Undo {
        /// The action's output as it was stored.
        output: Option<Json>,
    },
    /// There is nothing to undo, and from now on the action can no longer run.
    Empty,
    /// Done before: send this reply again.
    Stored(String),
    /// The action was compensated: it must not run (again).
    Tombstoned,
    /// The saga is older than the barrier remembers, and of the step there is nothing: it may never have been
    /// done, or have been done and forgotten.
    Forgotten,
    /// The rows make no sense, as after a restored backup or a hand in the table.
    Unclear {
        /// It is this command's turn all the same, so that its answer can be kept.
        mine: bool,
    },
}

/// Decides from the rows of one step. `mine` says whether this transaction has the turn of the command's own
/// direction.
fn decide(direction: Direction, mine: bool, action: Option<&Row>, undo: Option<&Row>) -> Entered {
    let stored = |row: Option<&Row>| match row.and_then(|row| row.reply.clone()) {
        Some(reply) => Entered::Stored(reply),
        None => Entered::Unclear { mine },
    };
    // One that failed may as well not have come.
    let undo = undo.filter(|row| direction == Direction::Compensation || !row.is("failed"));
    match direction {
        Direction::Action if mine => Entered::Run,
        Direction::Action if undo.is_some() => Entered::Tombstoned,
        Direction::Action => match action.and_then(|row| row.outcome.as_deref()) {
            Some("tombstone") => Entered::Tombstoned,
            _ => stored(action),
        },
        Direction::Compensation if !mine => stored(undo),
        Direction::Compensation => match action.and_then(|row| row.outcome.as_deref()) {
            Some("ok" | "partial") => Entered::Undo { output: action.and_then(output) },
            // A failure that nobody made a tombstone of leaves no effect either.
            Some("rejected" | "tombstone" | "failed") => Entered::Empty,
            _ => Entered::Unclear { mine },
        },
    }
}

/// The output in a stored reply.
fn output(row: &Row) -> Option<Json> {
    serde_json::from_str::<ReplyBody>(row.reply.as_deref()?).ok()?.output
}

/// Takes the turn for each of the commands, no two of them of the same step. One statement when none of them was done
/// before, two otherwise. Waits for other transactions that work on the same effects. Of sagas whose ids are lower than
/// `forgotten_before`, rows may have been deleted: where there are none, no turn is taken and none is left.
pub(crate) async fn enter(
    tx: &mut dyn Transaction,
    commands: &[&CommandId],
    forgotten_before: Uuid,
) -> Result<Vec<Entered>, StoreError> {
    let turns = tx.take_turns(commands).await?;
    if turns.len() != commands.len() {
        return Err(StoreError::row_missing());
    }
    let taken: Vec<(&EffectId, Turns)> = commands.iter().map(|command| &command.effect).zip(turns).collect();
    // Of an action that failed there is no compensation: that would have left a tombstone in its place.
    let is_whole = |(effect, turns): &(&EffectId, Turns)| {
        turns.action != Turn::Past
            && (effect.direction == Direction::Action || turns.compensation != Turn::Past)
    };
    // What the action left may have been deleted: there is no turn of that, and no tombstone.
    let forgotten = |one: &(&EffectId, Turns)| one.0.saga.0 < forgotten_before && one.1.action == Turn::First;
    take_back(tx, taken.iter().filter(|one| forgotten(one))).await?;
    let asked: Vec<&EffectId> =
        taken.iter().filter(|one| !is_whole(one)).map(|(effect, _)| *effect).collect();
    let rows = if asked.is_empty() { Vec::new() } else { tx.rows(&asked).await? };
    if rows.len() != asked.len() {
        return Err(StoreError::row_missing());
    }
    let mut rows = rows.into_iter();
    Ok(taken
        .iter()
        .map(|one| match (one.0.direction, is_whole(one)) {
            (_, true) if forgotten(one) => Entered::Forgotten,
            (Direction::Action, true) => Entered::Run,
            (Direction::Compensation, true) => Entered::Empty,
            (direction, false) => {
                let mine = direction == Direction::Compensation && one.1.compensation != Turn::Past;
                let StepRows { action, compensation } = rows.next().unwrap_or_default();
                decide(direction, mine, action.as_ref(), compensation.as_ref())
            }
        })
        .collect())
}

/// Takes back the turns that were taken.
async fn take_back<'a>(
    tx: &mut dyn Transaction,
    of: impl Iterator<Item = &'a (&'a EffectId, Turns)>,
) -> Result<(), StoreError> {
    let rows: Vec<EffectId> = of
        .flat_map(|(effect, turns)| {
            let rows = [(Direction::Action, turns.action), (Direction::Compensation, turns.compensation)];
            rows.into_iter()
                .filter(|(_, turn)| *turn != Turn::Past)
                .map(|(direction, _)| EffectId { direction, ..(*effect).clone() })
        })
        .collect();
    if rows.is_empty() { Ok(()) } else { tx.take_back(&rows.iter().collect::<Vec<_>>()).await }
}

/// Stores the replies, in one statement.
pub(crate) async fn complete(tx: &mut dyn Transaction, done: &[Done<'_>]) -> Result<(), StoreError> {
    let updated = tx.complete(done).await?;
    if updated == done.len() as u64 { Ok(()) } else { Err(StoreError::row_missing()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: Option<&str>, reply: Option<&str>) -> Row {
        Row { outcome: outcome.map(str::to_owned), reply: reply.map(str::to_owned), attempt: Some(1) }
    }

    #[test]
    fn an_action_runs_once_and_never_after_its_compensation() {
        let ok = row(Some("ok"), Some("R"));
        let undone = row(Some("ok"), Some("U"));
        let tombstone = row(Some("tombstone"), None);
        let action =
            |mine, action: Option<&Row>, undo: Option<&Row>| decide(Direction::Action, mine, action, undo);
        assert_eq!(action(true, None, None), Entered::Run);
        assert_eq!(action(false, Some(&ok), None), Entered::Stored("R".to_owned()));
        assert_eq!(action(false, Some(&ok), Some(&undone)), Entered::Tombstoned);
        assert_eq!(action(false, Some(&tombstone), None), Entered::Tombstoned);
        let unclear = row(None, None);
        assert_eq!(action(false, Some(&unclear), None), Entered::Unclear { mine: false });
    }

    #[test]
    fn a_failure_is_told_again_and_one_of_an_undo_is_no_undo() {
        let (ok, failed) = (row(Some("ok"), Some("R")), row(Some("failed"), Some("F")));
        let told =
            |direction, mine, action: Option<&Row>, undo: Option<&Row>| decide(direction, mine, action, undo);
        let stored = |reply: &str| Entered::Stored(reply.to_owned());
        assert_eq!(told(Direction::Action, false, Some(&failed), None), stored("F"));
        assert_eq!(told(Direction::Compensation, false, Some(&ok), Some(&failed)), stored("F"));
        assert_eq!(told(Direction::Action, false, Some(&ok), Some(&failed)), stored("R"));
        let tombstone = row(Some("tombstone"), Some("F"));
        assert_eq!(told(Direction::Action, false, Some(&tombstone), Some(&failed)), Entered::Tombstoned);
    }

    #[test]
    fn a_compensation_runs_once_and_only_when_there_may_be_an_effect() {
        let undo = |mine, action: Option<&Row>, undo: Option<&Row>| {
            decide(Direction::Compensation, mine, action, undo)
        };
        let ok = row(Some("ok"), Some(r#"{"outcome":"ok","output":{"a":1}}"#));
        let output = Some(Json::parse(r#"{"a":1}"#).expect("json"));
        assert_eq!(undo(true, Some(&ok), None), Entered::Undo { output });
        let partial = row(Some("partial"), Some("not a reply"));
        let unclear = row(None, None);
        assert_eq!(undo(true, Some(&partial), None), Entered::Undo { output: None });
        for nothing in ["rejected", "tombstone", "failed"] {
            let action = row(Some(nothing), None);
            assert_eq!(undo(true, Some(&action), None), Entered::Empty);
        }
        let undone = row(Some("ok"), Some("U"));
        assert_eq!(undo(false, Some(&ok), Some(&undone)), Entered::Stored("U".to_owned()));
        assert_eq!(undo(true, Some(&unclear), None), Entered::Unclear { mine: true });
    }
}
