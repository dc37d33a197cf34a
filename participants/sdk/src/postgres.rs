//! The store that participants have: the barrier's rows in the service's own Postgres.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use snorri_saga::ids::{CommandId, Direction, EffectId};
use sqlx::types::time::OffsetDateTime;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::database::{self, Session};
use crate::lease::OwnTx;
use crate::store::{Done, Row, StepRows, Store, StoreError, Transaction, Turn, Turns};

/// READ COMMITTED, whatever the database's default: the barrier needs it. The limits in one go with it; a
/// handler may take its time between two statements, so the idle limit is that of handlers.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
     SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '2s'; \
     SET LOCAL idle_in_transaction_session_timeout = '5min'";

/// A Postgres, by its pool.
#[derive(Debug, Clone)]
pub struct Postgres(PgPool);

impl Postgres {
    /// The database that the pool leads to.
    pub fn new(pool: PgPool) -> Self {
        Self(pool)
    }
}

#[async_trait]
impl Store for Postgres {
    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(database::migrate(&self.0).await?)
    }

    async fn is_writable(&self) -> bool {
        database::is_writable(&self.0).await
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError> {
        let tx = OwnTx::begin(&self.0, BEGIN).await?;
        Ok(Box::new(PgTransaction {
            tx,
            pool: self.0.clone(),
            session: None,
            savepoint: Savepoint::None,
            broken: false,
        }))
    }

    async fn forget_old(&self, retention: Duration) -> Result<u64, StoreError> {
        Ok(database::forget_some(&self.0, retention).await?)
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A transaction in Postgres. Each turn that asks for it writes behind a savepoint of its own, taken only then.
pub struct PgTransaction {
    tx: OwnTx,
    pool: PgPool,
    /// Known once a turn was taken in it.
    session: Option<Session>,
    savepoint: Savepoint,
    /// A statement on the savepoint was begun and not seen to end.
    broken: bool,
}

impl fmt::Debug for PgTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgTransaction").field("savepoint", &self.savepoint).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    /// None is set.
    None,
    /// Set by the turn under way.
    Open,
    /// Left behind by a turn whose writes count: to be released.
    Keep,
    /// Left behind by a turn whose writes do not count: to be rolled back to.
    Undo,
}

impl PgTransaction {
    /// For the handler whose turn it is: the connection, behind the turn's savepoint. That takes one round trip
    /// in each turn that asks for it.
    pub async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.open().await?;
        Ok(&mut self.tx)
    }

    /// The same, when the turn was opened already.
    pub(crate) fn opened(&mut self) -> Option<&mut PgConnection> {
        (self.savepoint == Savepoint::Open).then_some(&mut *self.tx)
    }

    async fn open(&mut self) -> Result<(), sqlx::Error> {
        let statement = match self.savepoint {
            Savepoint::Open => return Ok(()),
            Savepoint::None => "SAVEPOINT snorri",
            Savepoint::Keep => "RELEASE SAVEPOINT snorri; SAVEPOINT snorri",
            // Rolling back to a savepoint leaves it set, for the next turn.
            Savepoint::Undo => "ROLLBACK TO SAVEPOINT snorri",
        };
        self.run(statement).await?;
        self.savepoint = Savepoint::Open;
        Ok(())
    }

    /// Undoes what the last turn wrote, if it does not count.
    async fn settle(&mut self) -> Result<(), sqlx::Error> {
        self.whole()?;
        if self.savepoint == Savepoint::Undo {
            self.run("ROLLBACK TO SAVEPOINT snorri").await?;
            self.savepoint = Savepoint::None;
        }
        Ok(())
    }

    /// After an abandoned statement the connection must only be dropped.
    fn whole(&self) -> Result<(), sqlx::Error> {
        if self.broken { Err(sqlx::Error::Protocol("a statement was abandoned".to_owned())) } else { Ok(()) }
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        self.broken = true;
        sqlx::raw_sql(statement).execute(&mut *self.tx).await?;
        self.broken = false;
        Ok(())
    }
}

fn sagas_of(effects: &[&EffectId]) -> Vec<Uuid> {
    effects.iter().map(|effect| effect.saga.0).collect()
}

fn steps_of<'a>(effects: &[&'a EffectId]) -> Vec<&'a str> {
    effects.iter().map(|effect| effect.step.as_str()).collect()
}

fn undos_of(effects: &[&EffectId]) -> Vec<bool> {
    effects.iter().map(|effect| effect.direction == Direction::Compensation).collect()
}

/// As the table keeps an attempt. Those that it cannot tell apart, beyond two thousand millions, are one.
fn attempt_in_row(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

#[async_trait]
impl Transaction for PgTransaction {
    async fn take_turns(&mut self, commands: &[&CommandId]) -> Result<Vec<Turns>, StoreError> {
        let effects: Vec<&EffectId> = commands.iter().map(|command| &command.effect).collect();
        let attempts: Vec<i32> = commands.iter().map(|command| attempt_in_row(command.attempt)).collect();
        // In the order of the key: two batches that share effects wait for each other and never in a circle. A row that
        // is there is locked whether it can be taken or not, and judged as it is then: of two attempts that come upon
        // the same failure, one waits for what the other makes of it. A reply that is there already is the failure's.
        let taken: Vec<(Uuid, String, bool, bool, i32, OffsetDateTime)> = sqlx::query_as(
            "WITH asked (saga_id, step, undo, attempt) AS
                 (SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bool[], $4::int[]))
             INSERT INTO snorri_participant.barrier AS row (saga_id, step, undo, outcome, attempt)
             SELECT saga_id, step, of_undo, CASE WHEN undo AND NOT of_undo THEN 'tombstone' END,
                    CASE WHEN undo = of_undo THEN attempt END
             FROM asked CROSS JOIN (VALUES (false), (true)) AS row_of (of_undo)
             WHERE undo OR NOT of_undo
             ORDER BY saga_id, step, of_undo
             ON CONFLICT (saga_id, step, undo) DO UPDATE
                 SET outcome = excluded.outcome, attempt = excluded.attempt, at = excluded.at
             WHERE (row.outcome = 'failed'
                     AND (excluded.outcome = 'tombstone' OR coalesce(row.attempt, 0) < excluded.attempt))
                 OR (row.outcome IS NULL AND row.undo)
             RETURNING saga_id, step, undo, reply IS NOT NULL, pg_backend_pid(), pg_postmaster_start_time()",
        )
        .bind(sagas_of(&effects))
        .bind(steps_of(&effects))
        .bind(undos_of(&effects))
        .bind(attempts)
        .fetch_all(&mut *self.tx)
        .await?;
        self.session = taken.first().map(|row| Session { pid: row.4, server_since: row.5 });
        let taken: HashMap<(Uuid, &str, bool), Turn> = taken
            .iter()
            .map(|(saga, step, undo, again, ..)| {
                ((*saga, step.as_str(), *undo), if *again { Turn::Again } else { Turn::First })
            })
            .collect();
        let turn = |effect: &EffectId, undo| {
            taken.get(&(effect.saga.0, effect.step.as_str(), undo)).copied().unwrap_or_default()
        };
        Ok(effects
            .iter()
            .map(|effect| Turns { action: turn(effect, false), compensation: turn(effect, true) })
            .collect())
    }

    async fn rows(&mut self, effects: &[&EffectId]) -> Result<Vec<StepRows>, StoreError> {
        type Found = (Uuid, String, bool, Option<String>, Option<String>, Option<i32>);
        let found: Vec<Found> = sqlx::query_as(
            "SELECT saga_id, step, undo, outcome, reply, attempt FROM snorri_participant.barrier
             JOIN UNNEST($1::uuid[], $2::text[]) AS asked (saga_id, step) USING (saga_id, step)",
        )
        .bind(sagas_of(effects))
        .bind(steps_of(effects))
        .fetch_all(&mut *self.tx)
        .await?;
        let mut rows: HashMap<(Uuid, String, bool), Row> = found
            .into_iter()
            .map(|(saga, step, undo, outcome, reply, attempt)| {
                let attempt = attempt.and_then(|attempt| u32::try_from(attempt).ok());
                ((saga, step, undo), Row { outcome, reply, attempt })
            })
            .collect();
        let mut row = |effect: &EffectId, undo| rows.remove(&(effect.saga.0, effect.step.to_string(), undo));
        Ok(effects
            .iter()
            .map(|effect| StepRows { action: row(effect, false), compensation: row(effect, true) })
            .collect())
    }

    fn end_turn(&mut self, _effect: &EffectId, keep: bool) {
        if self.savepoint == Savepoint::Open {
            self.savepoint = if keep { Savepoint::Keep } else { Savepoint::Undo };
        }
    }

    async fn complete(&mut self, done: &[Done<'_>]) -> Result<u64, StoreError> {
        self.settle().await?;
        let effects: Vec<&EffectId> = done.iter().map(|done| done.effect).collect();
        let outcomes: Vec<&str> = done.iter().map(|done| done.outcome).collect();
        let replies: Vec<&str> = done.iter().map(|done| done.reply.as_str()).collect();
        let updated = sqlx::query(
            "UPDATE snorri_participant.barrier AS row SET outcome = new.outcome, reply = new.reply
             FROM UNNEST($1::uuid[], $2::text[], $3::bool[], $4::text[], $5::text[])
                  AS new (saga_id, step, undo, outcome, reply)
             WHERE row.saga_id = new.saga_id AND row.step = new.step AND row.undo = new.undo",
        )
        .bind(sagas_of(&effects))
        .bind(steps_of(&effects))
        .bind(undos_of(&effects))
        .bind(outcomes)
        .bind(replies)
        .execute(&mut *self.tx)
        .await?;
        Ok(updated.rows_affected())
    }

    async fn take_back(&mut self, effects: &[&EffectId]) -> Result<(), StoreError> {
        self.settle().await?;
        sqlx::query(
            "DELETE FROM snorri_participant.barrier AS row
             USING UNNEST($1::uuid[], $2::text[], $3::bool[]) AS gone (saga_id, step, undo)
             WHERE row.saga_id = gone.saga_id AND row.step = gone.step AND row.undo = gone.undo",
        )
        .bind(sagas_of(effects))
        .bind(steps_of(effects))
        .bind(undos_of(effects))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.settle().await?;
        Ok(self.tx.commit().await?)
    }

    async fn rollback(self: Box<Self>) -> Result<(), StoreError> {
        self.whole()?;
        Ok(self.tx.rollback().await?)
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self.session {
            Some(session) => Box::pin(database::lost(self.pool.clone(), session)),
            None => Box::pin(std::future::pending()),
        }
    }

    fn as_postgres(&mut self) -> Option<&mut PgTransaction> {
        Some(self)
    }
}
