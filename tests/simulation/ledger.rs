//! A participant's database: the model of the barrier's tables with the service's own writes beside them, and around
//! it whatever a database does wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use snorri_participant::store::{Done, StepRows, Store, StoreError, Transaction, Turn, Turns, async_trait};
use snorri_saga::ids::{CommandId, Direction, EffectId};
use tokio::time::{Instant, sleep};

use crate::barrier_model::Model;
use crate::bug::Bug;
use crate::fault::Fault;
use crate::process::Process;

/// What a handler writes into the service's own tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its place among all writes of all participants.
    pub(crate) order: u64,
    /// What was asked for.
    pub(crate) input: String,
    /// The amount that it moves.
    pub(crate) amount: i64,
}

/// One participant's database.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) model: Arc<Model<Entry>>,
    away_until: Arc<Mutex<Option<Instant>>>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { model: Arc::new(Model::default()), away_until: Arc::default() }
    }

    pub(crate) fn go_away(&self, time: Option<Duration>) {
        let mut until = self.away_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = time.map(|time| Instant::now() + time);
    }

    fn is_away(&self) -> bool {
        let until = self.away_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| until > Instant::now())
    }
}

/// One process's connections to it.
#[derive(Debug, Clone)]
pub(crate) struct LedgerPort {
    pub(crate) ledger: Ledger,
    pub(crate) process: Arc<Process>,
}

fn gone() -> StoreError {
    StoreError::Away("the connection is lost".to_owned())
}

impl LedgerPort {
    /// The way there: late, or in vain.
    async fn reach(&self, call: &str) -> Result<(), StoreError> {
        let world = &self.process.world;
        self.process.enter(call).await;
        sleep(world.ms(0, world.plan.store_latency_ms / 2)).await;
        if self.ledger.is_away() || self.process.is_store_cut() {
            return Err(gone());
        }
        if world.strikes(Fault::DatabaseError) {
            return Err(gone());
        }
        if world.strikes(Fault::DatabaseSlow) {
            sleep(world.ms(50, 6_000)).await;
        }
        if self.process.is_dead() {
            self.process.alive().await;
        }
        Ok(())
    }
}

#[async_trait]
impl Store for LedgerPort {
    async fn migrate(&self) -> Result<(), StoreError> {
        self.reach("migrate").await
    }

    async fn is_writable(&self) -> bool {
        self.reach("is_writable").await.is_ok()
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError> {
        self.reach("begin").await?;
        let inner = self.ledger.model.begin().await?;
        Ok(Box::new(Tx { port: self.clone(), inner: Some(inner) }))
    }

    async fn forget_old(&self, retention: Duration) -> Result<u64, StoreError> {
        self.ledger.model.forget_old(retention).await
    }

    fn now(&self) -> SystemTime {
        self.ledger.model.now()
    }
}

/// An open transaction. Once its connection is lost it is rolled back, and everything else fails.
struct Tx {
    port: LedgerPort,
    inner: Option<Box<dyn Transaction>>,
}

impl Tx {
    async fn reach(&mut self, call: &str) -> Result<&mut Box<dyn Transaction>, StoreError> {
        if let Err(error) = self.port.reach(call).await {
            self.inner = None;
            return Err(error);
        }
        self.inner.as_mut().ok_or_else(gone)
    }
}

#[async_trait]
impl Transaction for Tx {
    async fn take_turns(&mut self, commands: &[&CommandId]) -> Result<Vec<Turns>, StoreError> {
        let world = self.port.process.world.clone();
        if world.bug == Some(Bug::BarrierForgets) && world.chance(0.01) {
            let model = &self.port.ledger.model;
            model.set_now(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000));
            model.forget_old(Duration::ZERO).await?;
            model.set_now(SystemTime::UNIX_EPOCH);
        }
        let inner = self.reach("take_turns").await?;
        let taken = inner.take_turns(commands).await?;
        if world.bug == Some(Bug::NoTombstone) {
            let alone: Vec<EffectId> = commands
                .iter()
                .map(|command| &command.effect)
                .zip(&taken)
                .filter(|(effect, turns)| {
                    effect.direction == Direction::Compensation && turns.action != Turn::Past
                })
                .map(|(effect, _)| EffectId { direction: Direction::Action, ..effect.clone() })
                .collect();
            inner.take_back(&alone.iter().collect::<Vec<_>>()).await?;
        }
        Ok(taken)
    }

    async fn rows(&mut self, effects: &[&EffectId]) -> Result<Vec<StepRows>, StoreError> {
        self.reach("rows").await?.rows(effects).await
    }

    fn end_turn(&mut self, effect: &EffectId, keep: bool) {
        if let Some(inner) = &mut self.inner {
            inner.end_turn(effect, keep);
        }
    }

    async fn complete(&mut self, done: &[Done<'_>]) -> Result<u64, StoreError> {
        let bug = self.port.process.world.bug;
        let inner = self.reach("complete").await?;
        let stored = inner.complete(done).await?;
        if bug == Some(Bug::FailureForgotten) {
            let failed: Vec<&EffectId> =
                done.iter().filter(|done| done.outcome == "failed").map(|done| done.effect).collect();
            inner.take_back(&failed).await?;
        }
        Ok(stored)
    }

    async fn take_back(&mut self, effects: &[&EffectId]) -> Result<(), StoreError> {
        self.reach("take_back").await?.take_back(effects).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.reach("commit").await?;
        let Some(inner) = self.inner.take() else { return Err(gone()) };
        let process = self.port.process.clone();
        let world = process.world.clone();
        if world.bug == Some(Bug::DatabaseLies) && world.chance(0.02) {
            return inner.rollback().await;
        }
        if world.strikes(Fault::DatabaseLate) {
            let late = world.ms(8_000, 15_000);
            tokio::spawn(async move {
                sleep(late).await;
                // Nobody waits for its answer any more.
                let _ = inner.commit().await;
            });
            sleep(late).await;
            return Err(StoreError::CommitUnknown("no answer".to_owned()));
        }
        inner.commit().await?;
        let is_ambiguous = world.strikes(Fault::DatabaseAmbiguous);
        process.leave("commit").await;
        if is_ambiguous { Err(StoreError::CommitUnknown("no answer".to_owned())) } else { Ok(()) }
    }

    async fn rollback(mut self: Box<Self>) -> Result<(), StoreError> {
        self.port.process.enter("rollback").await;
        match self.inner.take() {
            Some(inner) => inner.rollback().await,
            None => Err(gone()),
        }
    }
}
