//! A model of a participant's database: the barrier's rows and the service's own writes, in memory and on
//! tokio's clock. It keeps the laws of `snorri_participant::store`, which the SDK's suite runs on this and on
//! Postgres alike. Faults are not its business: put a store around it that makes them.
//!
//! A handler has no connection here. It writes by [`Model::write`] with the effect whose turn it has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use snorri_participant::store::{
    Done, Row, StepRows, Store, StoreError, Transaction, Turn, Turns, async_trait,
};
use snorri_saga::ids::{CommandId, Direction, EffectId};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long a turn that another transaction has is waited for, as `lock_timeout` has it in Postgres.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The database. `W` is what handlers write.
pub(crate) struct Model<W> {
    shared: Arc<Shared<W>>,
}

struct Shared<W> {
    state: Mutex<State<W>>,
    /// Some transaction has ended.
    let_go: Notify,
}

struct State<W> {
    /// What was committed.
    rows: BTreeMap<EffectId, Row>,
    ledger: Vec<(EffectId, W)>,
    /// The open transactions, and which of them has locked which row: each that it asked for.
    open: BTreeMap<u64, Open<W>>,
    holders: BTreeMap<EffectId, u64>,
    begun: u64,
    now: SystemTime,
}

/// What an open transaction did.
struct Open<W> {
    /// The rows whose turns it has. None: deleted.
    rows: BTreeMap<EffectId, Option<Row>>,
    writes: Vec<(EffectId, W)>,
    /// The turns whose ends were told.
    ended: BTreeSet<EffectId>,
}

impl<W> Shared<W> {
    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> fmt::Debug for Model<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("Model").field("rows", &state.rows).field("open", &state.open.len()).finish()
    }
}

impl<W> Default for Model<W> {
    fn default() -> Self {
        let state = State {
            rows: BTreeMap::new(),
            ledger: Vec::new(),
            open: BTreeMap::new(),
            holders: BTreeMap::new(),
            begun: 0,
            now: SystemTime::UNIX_EPOCH,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), let_go: Notify::new() }) }
    }
}

impl<W: Clone> Model<W> {
    /// What a handler writes, into the open transaction in which it is this effect's turn. Counts when that is
    /// committed and the turn's end did not undo it. An error when it is not the effect's turn.
    pub(crate) fn write(&self, effect: &EffectId, what: W) -> Result<(), String> {
        let mut state = self.shared.state();
        let holder = state.holders.get(effect).copied();
        let open = holder.and_then(|holder| state.open.get_mut(&holder));
        match open.filter(|open| open.rows.contains_key(effect) && !open.ended.contains(effect)) {
            Some(open) => {
                open.writes.push((effect.clone(), what));
                Ok(())
            }
            None => Err(format!("it is not the turn of {effect}")),
        }
    }

    /// The writes that were committed, in the order of the commits.
    pub(crate) fn ledger(&self) -> Vec<(EffectId, W)> {
        self.shared.state().ledger.clone()
    }

    /// The barrier's rows that were committed.
    pub(crate) fn rows(&self) -> BTreeMap<EffectId, Row> {
        self.shared.state().rows.clone()
    }

    /// Sets the time by which sagas are old. Until then none is.
    pub(crate) fn set_now(&self, now: SystemTime) {
        self.shared.state().now = now;
    }
}

#[async_trait]
impl<W: Send + 'static> Store for Model<W> {
    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn is_writable(&self) -> bool {
        true
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError> {
        let mut state = self.shared.state();
        state.begun += 1;
        let id = state.begun;
        let open = Open { rows: BTreeMap::new(), writes: Vec::new(), ended: BTreeSet::new() };
        state.open.insert(id, open);
        Ok(Box::new(ModelTx { shared: self.shared.clone(), id }))
    }

    async fn forget_old(&self, retention: Duration) -> Result<u64, StoreError> {
        let mut state = self.shared.state();
        let age = state.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let oldest_kept = age.saturating_sub(retention).as_millis();
        let before = state.rows.len();
        // An id begins with the 48 bits of its time.
        state.rows.retain(|effect, _| effect.saga.0.as_u128() >> 80 >= oldest_kept);
        Ok((before - state.rows.len()) as u64)
    }

    fn now(&self) -> SystemTime {
        self.shared.state().now
    }
}

struct ModelTx<W> {
    shared: Arc<Shared<W>>,
    id: u64,
}

impl<W> ModelTx<W> {
    /// Does something to what it did so far.
    fn with<T>(&self, act: impl FnOnce(&mut Open<W>) -> T) -> Result<T, StoreError> {
        let mut state = self.shared.state();
        state
            .open
            .get_mut(&self.id)
            .map(act)
            .ok_or_else(|| StoreError::Other("the transaction is over".into()))
    }

    /// Locks a row, takes its turn if that is free, and says so; nothing while another open transaction has locked it.
    fn try_take(&self, effect: &EffectId, row: &Row) -> Option<Turn> {
        let mut state = self.shared.state();
        if state.holders.get(effect).is_some_and(|holder| *holder != self.id) {
            return None;
        }
        state.holders.insert(effect.clone(), self.id);
        let found = state.rows.get(effect).cloned();
        let turn = match &found {
            None => Turn::First,
            Some(found) if is_unanswered_undo(effect, found) => Turn::First,
            Some(found) if is_free(found, row) => Turn::Again,
            Some(_) => Turn::Past,
        };
        if turn != Turn::Past
            && let Some(open) = state.open.get_mut(&self.id)
        {
            let reply = found.and_then(|found| found.reply);
            open.rows.insert(effect.clone(), Some(Row { reply, ..row.clone() }));
        }
        Some(turn)
    }

    async fn take(&self, effect: &EffectId, row: &Row) -> Result<Turn, StoreError> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            let mut let_go = pin!(self.shared.let_go.notified());
            // From now on it hears of an end, also of one before it waits.
            let_go.as_mut().enable();
            if let Some(turn) = self.try_take(effect, row) {
                return Ok(turn);
            }
            if timeout_at(deadline, let_go).await.is_err() {
                return Err(StoreError::Contended("it has a turn that was waited for".into()));
            }
        }
    }
}

/// Left by the version before failures were kept.
fn is_unanswered_undo(effect: &EffectId, found: &Row) -> bool {
    effect.direction == Direction::Compensation && found.outcome.is_none()
}

/// Whether a row that is there can be taken again, to become the other one.
fn is_free(found: &Row, wanted: &Row) -> bool {
    let is_tombstone = wanted.outcome.as_deref() == Some("tombstone");
    found.outcome.as_deref() == Some("failed") && (is_tombstone || found.attempt < wanted.attempt)
}

fn of(effect: &EffectId, direction: Direction) -> EffectId {
    EffectId { direction, ..effect.clone() }
}

#[async_trait]
impl<W: Send + 'static> Transaction for ModelTx<W> {
    async fn take_turns(&mut self, commands: &[&CommandId]) -> Result<Vec<Turns>, StoreError> {
        let mut wanted = BTreeMap::new();
        for CommandId { effect, attempt, .. } in commands {
            if effect.direction == Direction::Compensation {
                let tombstone = Row { outcome: Some("tombstone".into()), ..Row::default() };
                wanted.insert(of(effect, Direction::Action), tombstone);
            }
            wanted.insert(effect.clone(), Row { attempt: Some(*attempt), ..Row::default() });
        }
        // In the order of the keys, so that nobody waits in a circle.
        let mut taken = BTreeMap::new();
        for (effect, row) in wanted {
            let turn = self.take(&effect, &row).await?;
            taken.insert(effect, turn);
        }
        let turn = |effect, direction| taken.get(&of(effect, direction)).copied().unwrap_or_default();
        Ok(commands
            .iter()
            .map(|CommandId { effect, .. }| Turns {
                action: turn(effect, Direction::Action),
                compensation: turn(effect, Direction::Compensation),
            })
            .collect())
    }

    async fn rows(&mut self, effects: &[&EffectId]) -> Result<Vec<StepRows>, StoreError> {
        let state = self.shared.state();
        let own = state.open.get(&self.id).map(|open| &open.rows);
        let row = |effect: &EffectId, direction| {
            let key = of(effect, direction);
            own.and_then(|own| own.get(&key)).cloned().unwrap_or_else(|| state.rows.get(&key).cloned())
        };
        Ok(effects
            .iter()
            .map(|effect| StepRows {
                action: row(effect, Direction::Action),
                compensation: row(effect, Direction::Compensation),
            })
            .collect())
    }

    fn end_turn(&mut self, effect: &EffectId, keep: bool) {
        // Without a transaction there is nothing to undo.
        let _ = self.with(|open| {
            open.ended.insert(effect.clone());
            if !keep {
                open.writes.retain(|(of, _)| of != effect);
            }
        });
    }

    async fn complete(&mut self, done: &[Done<'_>]) -> Result<u64, StoreError> {
        self.with(|open| {
            let mut found = 0;
            for Done { effect, outcome, reply } in done {
                if let Some(Some(row)) = open.rows.get_mut(effect) {
                    row.outcome = Some((*outcome).to_owned());
                    row.reply = Some(reply.clone());
                    found += 1;
                }
            }
            found
        })
    }

    async fn take_back(&mut self, effects: &[&EffectId]) -> Result<(), StoreError> {
        self.with(|open| {
            for effect in effects {
                if let Some(row) = open.rows.get_mut(*effect) {
                    *row = None;
                }
            }
        })
        // The turn itself is let go of at the end, like a lock: what was deleted is not committed yet.
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.with(|open| match open.writes.iter().find(|(effect, _)| !open.ended.contains(effect)) {
            Some((effect, _)) => Err(StoreError::Other(format!("the turn of {effect} has not ended"))),
            None => Ok(()),
        })??;
        // Both under the same lock: nobody sees the one without the other.
        let mut state = self.shared.state();
        if let Some(mut open) = state.open.remove(&self.id) {
            for (effect, row) in open.rows {
                match row {
                    Some(row) => state.rows.insert(effect, row),
                    None => state.rows.remove(&effect),
                };
            }
            state.ledger.append(&mut open.writes);
        }
        Ok(())
    }

    async fn rollback(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<W> Drop for ModelTx<W> {
    /// The end of all of them, whether anything was left to undo or not.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.holders.retain(|_, holder| *holder != self.id);
        state.open.remove(&self.id);
        self.shared.let_go.notify_waiters();
    }
}
