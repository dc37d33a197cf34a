//! The barrier: each effect happens once, whatever is duplicated, late or overtaken.
//!
//! One row for each operation of each step of each saga, in the participant's own database and in the same
//! transaction as its business writes. Inserting the row *is* taking the turn: a second transaction that
//! inserts the same key waits for the first to end, and then sees what it left. That needs READ COMMITTED.

use snorri_saga::ids::{Direction, EffectId};
use snorri_saga::json::Json;
use snorri_saga::wire::ReplyBody;
use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

use crate::database::Session;

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

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct Row {
    saga_id: Uuid,
    step: String,
    undo: bool,
    outcome: Option<String>,
    reply: Option<String>,
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
/// two otherwise. Says which session it is in if any row is new, as it is when a handler is to run. Waits for other transactions that work on the same effects. Of sagas whose ids are lower than
/// `forgotten_before`, rows may have been deleted: where there are none, no turn is taken and none is left.
pub(crate) async fn enter(
    conn: &mut PgConnection,
    effects: &[&EffectId],
    forgotten_before: Uuid,
) -> Result<(Vec<Entered>, Option<Session>), sqlx::Error> {
    let sagas: Vec<Uuid> = effects.iter().map(|effect| effect.saga.0).collect();
    let steps: Vec<&str> = effects.iter().map(|effect| effect.step.as_str()).collect();
    let undos: Vec<bool> = effects.iter().map(|effect| effect.direction == Direction::Compensation).collect();
    // In the order of the key: two batches that share effects wait for each other and never in a circle.
    let inserted: Vec<(Uuid, String, bool, i32, OffsetDateTime)> = sqlx::query_as(
        "WITH asked (saga_id, step, undo) AS (SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bool[]))
         INSERT INTO snorri_participant.barrier (saga_id, step, undo, outcome)
         SELECT saga_id, step, of_undo, CASE WHEN undo AND NOT of_undo THEN 'tombstone' END
         FROM asked CROSS JOIN (VALUES (false), (true)) AS row_of (of_undo)
         WHERE undo OR NOT of_undo
         ORDER BY saga_id, step, of_undo
         ON CONFLICT DO NOTHING
         RETURNING saga_id, step, undo, pg_backend_pid(), pg_postmaster_start_time()",
    )
    .bind(&sagas)
    .bind(&steps)
    .bind(&undos)
    .fetch_all(&mut *conn)
    .await?;
    let session = inserted.first().map(|row| Session { pid: row.3, server_since: row.4 });
    let inserted: std::collections::HashSet<(Uuid, &str, bool)> =
        inserted.iter().map(|(saga, step, undo, ..)| (*saga, step.as_str(), *undo)).collect();

    let new = |effect: &EffectId, undo: bool| inserted.contains(&(effect.saga.0, effect.step.as_str(), undo));
    let all_new = |effect: &EffectId| {
        new(effect, false) && (effect.direction == Direction::Action || new(effect, true))
    };
    let forgotten = |effect: &EffectId| effect.saga.0 < forgotten_before && all_new(effect);
    let taken_back: Vec<EffectId> = effects
        .iter()
        .filter(|effect| forgotten(effect))
        .flat_map(|effect| {
            let of = |direction| EffectId { direction, ..(*effect).clone() };
            // An action has inserted its own row, an undo both.
            let undo = (effect.direction == Direction::Compensation).then(|| of(Direction::Compensation));
            std::iter::once(of(Direction::Action)).chain(undo)
        })
        .collect();
    if !taken_back.is_empty() {
        forget(conn, &taken_back.iter().collect::<Vec<_>>()).await?;
    }
    let asked: Vec<&EffectId> = effects.iter().copied().filter(|effect| !all_new(effect)).collect();
    let rows = if asked.is_empty() { Vec::new() } else { rows_of(conn, &asked).await? };
    let row = |effect: &EffectId, undo: bool| {
        rows.iter()
            .find(|row| row.saga_id == effect.saga.0 && row.step == effect.step.as_str() && row.undo == undo)
    };
    let entered = effects
        .iter()
        .map(|effect| match (effect.direction, all_new(effect)) {
            _ if forgotten(effect) => Entered::Forgotten,
            (Direction::Action, true) => Entered::Run,
            (Direction::Compensation, true) => Entered::Empty,
            (direction, false) => {
                let mine = direction == Direction::Compensation && new(effect, true);
                decide(direction, mine, row(effect, false), row(effect, true))
            }
        })
        .collect();
    Ok((entered, session))
}

async fn rows_of(conn: &mut PgConnection, effects: &[&EffectId]) -> Result<Vec<Row>, sqlx::Error> {
    let sagas: Vec<Uuid> = effects.iter().map(|effect| effect.saga.0).collect();
    let steps: Vec<&str> = effects.iter().map(|effect| effect.step.as_str()).collect();
    sqlx::query_as(
        "SELECT saga_id, step, undo, outcome, reply FROM snorri_participant.barrier
         JOIN UNNEST($1::uuid[], $2::text[]) AS asked (saga_id, step) USING (saga_id, step)",
    )
    .bind(&sagas)
    .bind(&steps)
    .fetch_all(conn)
    .await
}

/// What is to be stored for one effect.
#[derive(Debug)]
pub(crate) struct Done<'a> {
    pub(crate) effect: &'a EffectId,
    pub(crate) outcome: &'static str,
    pub(crate) reply: String,
}

/// Stores the replies, in one statement.
pub(crate) async fn complete(conn: &mut PgConnection, done: &[Done<'_>]) -> Result<(), sqlx::Error> {
    let sagas: Vec<Uuid> = done.iter().map(|done| done.effect.saga.0).collect();
    let steps: Vec<&str> = done.iter().map(|done| done.effect.step.as_str()).collect();
    let undos: Vec<bool> = done.iter().map(|done| done.effect.direction == Direction::Compensation).collect();
    let outcomes: Vec<&str> = done.iter().map(|done| done.outcome).collect();
    let replies: Vec<&str> = done.iter().map(|done| done.reply.as_str()).collect();
    let updated = sqlx::query(
        "UPDATE snorri_participant.barrier AS row SET outcome = new.outcome, reply = new.reply
         FROM UNNEST($1::uuid[], $2::text[], $3::bool[], $4::text[], $5::text[])
              AS new (saga_id, step, undo, outcome, reply)
         WHERE row.saga_id = new.saga_id AND row.step = new.step AND row.undo = new.undo",
    )
    .bind(&sagas)
    .bind(&steps)
    .bind(&undos)
    .bind(&outcomes)
    .bind(&replies)
    .execute(conn)
    .await?
    .rows_affected();
    if updated == done.len() as u64 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// Takes the turns back: as if these commands had never come.
pub(crate) async fn forget(conn: &mut PgConnection, effects: &[&EffectId]) -> Result<(), sqlx::Error> {
    let sagas: Vec<Uuid> = effects.iter().map(|effect| effect.saga.0).collect();
    let steps: Vec<&str> = effects.iter().map(|effect| effect.step.as_str()).collect();
    let undos: Vec<bool> = effects.iter().map(|effect| effect.direction == Direction::Compensation).collect();
    sqlx::query(
        "DELETE FROM snorri_participant.barrier AS row
         USING UNNEST($1::uuid[], $2::text[], $3::bool[]) AS gone (saga_id, step, undo)
         WHERE row.saga_id = gone.saga_id AND row.step = gone.step AND row.undo = gone.undo",
    )
    .bind(&sagas)
    .bind(&steps)
    .bind(&undos)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(undo: bool, outcome: Option<&str>, reply: Option<&str>) -> Row {
        Row {
            saga_id: Uuid::nil(),
            step: "reserve".to_owned(),
            undo,
            outcome: outcome.map(str::to_owned),
            reply: reply.map(str::to_owned),
        }
    }

    #[test]
    fn an_action_runs_once_and_never_after_its_compensation() {
        let ok = row(false, Some("ok"), Some("R"));
        let undone = row(true, Some("ok"), Some("U"));
        let tombstone = row(false, Some("tombstone"), None);
        let action =
            |mine, action: Option<&Row>, undo: Option<&Row>| decide(Direction::Action, mine, action, undo);
        assert_eq!(action(true, None, None), Entered::Run);
        assert_eq!(action(false, Some(&ok), None), Entered::Stored("R".to_owned()));
        assert_eq!(action(false, Some(&ok), Some(&undone)), Entered::Tombstoned);
        assert_eq!(action(false, Some(&tombstone), None), Entered::Tombstoned);
        let unclear = row(false, None, None);
        assert_eq!(action(false, Some(&unclear), None), Entered::Unclear);
    }

    #[test]
    fn a_compensation_runs_once_and_only_when_there_may_be_an_effect() {
        let undo = |mine, action: Option<&Row>, undo: Option<&Row>| {
            decide(Direction::Compensation, mine, action, undo)
        };
        let ok = row(false, Some("ok"), Some(r#"{"outcome":"ok","output":{"a":1}}"#));
        let output = Some(Json::parse(r#"{"a":1}"#).expect("json"));
        assert_eq!(undo(true, Some(&ok), None), Entered::Undo { output });
        let partial = row(false, Some("partial"), Some("not a reply"));
        let unclear = row(false, None, None);
        assert_eq!(undo(true, Some(&partial), None), Entered::Undo { output: None });
        for nothing in ["rejected", "tombstone"] {
            let action = row(false, Some(nothing), None);
            assert_eq!(undo(true, Some(&action), None), Entered::Empty);
        }
        let undone = row(true, Some("ok"), Some("U"));
        assert_eq!(undo(false, Some(&ok), Some(&undone)), Entered::Stored("U".to_owned()));
        assert_eq!(undo(true, Some(&unclear), None), Entered::Unclear);
    }
}
