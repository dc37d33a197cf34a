//! The barrier: each effect happens once, whatever is duplicated, late or overtaken.
//!
//! One row for each operation of each step of each saga, in the participant's own database and in the same
//! transaction as its business writes. Inserting the row *is* taking the turn: a second transaction that
//! inserts the same key waits for the first to end, and then sees what it left. What the rows mean is decided
//! here; how they are kept, behind the [port](crate::store).

use snorri_saga::ids::{Direction, EffectId};
use snorri_saga::json::Json;
use snorri_saga::wire::ReplyBody;
use uuid::Uuid;

use crate::store::{Done, NewRows, Row, StepRows, StoreError, Transaction};

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
    Unclear,
}

/// Decides from the rows of one step. `mine` says whether this transaction has just inserted the row of
/// the command's own direction.
fn decide(direction: Direction, mine: bool, action: Option<&Row>, undo: Option<&Row>) -> Entered {
    let stored = |row: Option<&Row>| match row.and_then(|row| row.reply.clone()) {
        Some(reply) => Entered::Stored(reply),
        None => Entered::Unclear,
    };
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
            Some("rejected" | "tombstone") => Entered::Empty,
            _ => Entered::Unclear,
        },
    }
}

/// The output in a stored reply.
fn output(row: &Row) -> Option<Json> {
    serde_json::from_str::<ReplyBody>(row.reply.as_deref()?).ok()?.output
}

/// Takes the turn for each of the effects, no two of them of the same step. One statement when all are new,
/// two otherwise. Waits for other transactions that work on the same effects. Of sagas whose ids are lower than
/// `forgotten_before`, rows may have been deleted: where there are none, no turn is taken and none is left.
pub(crate) async fn enter(
    tx: &mut dyn Transaction,
    effects: &[&EffectId],
    forgotten_before: Uuid,
) -> Result<Vec<Entered>, StoreError> {
    let new = tx.take_turns(effects).await?;
    if new.len() != effects.len() {
        return Err(StoreError::row_missing());
    }
    let new: Vec<(&EffectId, NewRows)> = effects.iter().copied().zip(new).collect();
    let all_new = |(effect, new): &(&EffectId, NewRows)| {
        new.action && (effect.direction == Direction::Action || new.compensation)
    };
    let forgotten = |one: &(&EffectId, NewRows)| one.0.saga.0 < forgotten_before && all_new(one);
    take_back_new(tx, new.iter().filter(|one| forgotten(one))).await?;
    let asked: Vec<&EffectId> = new.iter().filter(|one| !all_new(one)).map(|(effect, _)| *effect).collect();
    let rows = if asked.is_empty() { Vec::new() } else { tx.rows(&asked).await? };
    if rows.len() != asked.len() {
        return Err(StoreError::row_missing());
    }
    let mut rows = rows.into_iter();
    let entered: Vec<Entered> = new
        .iter()
        .map(|one| match (one.0.direction, all_new(one)) {
            _ if forgotten(one) => Entered::Forgotten,
            (Direction::Action, true) => Entered::Run,
            (Direction::Compensation, true) => Entered::Empty,
            (direction, false) => {
                let mine = direction == Direction::Compensation && one.1.compensation;
                let StepRows { action, compensation } = rows.next().unwrap_or_default();
                decide(direction, mine, action.as_ref(), compensation.as_ref())
            }
        })
        .collect();
    // Of these nothing is done either, whatever becomes of the others in the transaction.
    let unclear = new.iter().zip(&entered).filter(|(_, entered)| **entered == Entered::Unclear);
    take_back_new(tx, unclear.map(|(one, _)| one)).await?;
    Ok(entered)
}

/// Takes back what has just been inserted.
async fn take_back_new<'a>(
    tx: &mut dyn Transaction,
    of: impl Iterator<Item = &'a (&'a EffectId, NewRows)>,
) -> Result<(), StoreError> {
    let rows: Vec<EffectId> = of
        .flat_map(|(effect, new)| {
            let row = |direction| EffectId { direction, ..(*effect).clone() };
            let action = new.action.then(|| row(Direction::Action));
            action.into_iter().chain(new.compensation.then(|| row(Direction::Compensation)))
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
        Row { outcome: outcome.map(str::to_owned), reply: reply.map(str::to_owned) }
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
        assert_eq!(action(false, Some(&unclear), None), Entered::Unclear);
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
        for nothing in ["rejected", "tombstone"] {
            let action = row(Some(nothing), None);
            assert_eq!(undo(true, Some(&action), None), Entered::Empty);
        }
        let undone = row(Some("ok"), Some("U"));
        assert_eq!(undo(false, Some(&ok), Some(&undone)), Entered::Stored("U".to_owned()));
        assert_eq!(undo(true, Some(&unclear), None), Entered::Unclear);
    }
}
