//! What a handler knows of its command, and its transaction.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use snorri_bus::headers::{self, ReceivedCommand};
use snorri_bus::{Bus, PublishError};
use snorri_saga::ids::{EffectId, SagaId, StepKey};
use snorri_saga::wire::Outcome;
use sqlx::PgConnection;
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};
use tokio::time::{Instant, timeout};

use crate::fail::Fail;
use crate::store::Transaction;

/// A handler's view of its command. Cheap to clone.
#[derive(Clone)]
pub struct Ctx {
    command: Arc<ReceivedCommand>,
    received: Instant,
    bus: Bus,
    turn: Option<(TxCell, u64)>,
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ctx({})", self.command.id)
    }
}

impl Ctx {
    pub(crate) fn new(
        command: Arc<ReceivedCommand>,
        received: Instant,
        bus: Bus,
        turn: Option<(TxCell, u64)>,
    ) -> Self {
        Self { command, received, bus, turn }
    }

    /// The saga.
    pub fn saga(&self) -> SagaId {
        self.command.effect().saga
    }

    /// The step, or the iteration of a `for_each` step: its text is `<step>` or `<step>:<n>`.
    pub fn step(&self) -> &StepKey {
        &self.command.effect().step
    }

    /// The attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.command.id.attempt
    }

    /// The idempotency key to hand to others, the same on every attempt: its text is
    /// `<saga>.<step>.<action|compensation>`.
    pub fn effect_id(&self) -> &EffectId {
        self.command.effect()
    }

    /// How long the orchestrator will still wait for the answer, reckoned from the command's arrival here.
    /// Zero when it has given up on this attempt; another one may come then.
    pub fn budget_left(&self) -> Duration {
        self.command.budget.to_std().saturating_sub(self.received.elapsed())
    }

    /// The W3C trace context that came with the command.
    pub fn traceparent(&self) -> Option<&str> {
        self.command.traceparent.as_deref()
    }

    /// Tells the orchestrator that this is still being worked on: the step's timeout begins anew. Done by
    /// itself each third of the budget while the handler runs.
    pub async fn working(&self) -> Result<(), PublishError> {
        let reply = headers::reply(&self.command.reply_to, &self.command.id, &Outcome::Working);
        self.bus.publish_core(reply).await
    }

    /// The transaction in which the barrier's rows are too: what is written here counts exactly when the
    /// reply does. Keep it for short and let go of it (drop it) before the handler returns. Waits while
    /// a clone of this context holds it. Cancel-safe, but a query that is cancelled midway ends the attempt.
    pub async fn tx(&self) -> Result<Tx, Fail> {
        let Some((cell, turn)) = &self.turn else {
            return Err(Fail::failed("this participant has no database: give it one with `.database(pool)`"));
        };
        let over = || Fail::failed("the transaction is over: it ends when the handler returns");
        let mut state = cell.0.clone().lock_owned().await;
        if state.turn != *turn {
            return Err(over());
        }
        let Some(postgres) = state.tx.as_mut().ok_or_else(over)?.as_postgres() else {
            return Err(Fail::failed("this participant's store is no Postgres: it has no such transaction"));
        };
        postgres.connection().await?;
        OwnedMutexGuard::try_map(state, |state| state.tx.as_mut()?.as_postgres()?.opened())
            .map(Tx)
            .map_err(|_| over())
    }
}

/// A handler's hold on its transaction: use `&mut *tx` as the executor of queries.
pub struct Tx(OwnedMappedMutexGuard<TxState, PgConnection>);

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tx")
    }
}

impl std::ops::Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl std::ops::DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// The transaction of one command, or of a batch of commands that use it in turn.
#[derive(Clone)]
pub(crate) struct TxCell(Arc<Mutex<TxState>>);

pub(crate) struct TxState {
    tx: Option<Box<dyn Transaction>>,
    turn: u64,
}

/// A handler did not let go of its transaction.
#[derive(Debug)]
pub(crate) struct StillHeld;

/// How long after its handler's return a transaction may still be held.
const LET_GO: Duration = Duration::from_secs(1);

impl TxCell {
    pub(crate) fn new(tx: Box<dyn Transaction>) -> Self {
        Self(Arc::new(Mutex::new(TxState { tx: Some(tx), turn: 0 })))
    }

    /// Ends an effect's turn, and says whether its writes are to count. The next turn's number is one more.
    pub(crate) async fn end_turn(&self, effect: &EffectId, keep: bool) -> Result<(), StillHeld> {
        let mut state = timeout(LET_GO, self.0.lock()).await.map_err(|_| StillHeld)?;
        state.turn += 1;
        state.tx.as_mut().ok_or(StillHeld)?.end_turn(effect, keep);
        Ok(())
    }

    /// Takes the transaction away to undo it, when nobody uses it.
    pub(crate) fn take_to_undo(&self) -> Option<Box<dyn Transaction>> {
        let mut state = self.0.try_lock().ok()?;
        state.turn += 1;
        state.tx.take()
    }

    /// Takes the transaction back when all turns are over.
    pub(crate) async fn take(&self) -> Result<Box<dyn Transaction>, StillHeld> {
        let mut state = timeout(LET_GO, self.0.lock()).await.map_err(|_| StillHeld)?;
        state.turn += 1;
        state.tx.take().ok_or(StillHeld)
    }
}
