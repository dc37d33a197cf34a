//! A lane's memory: its live sagas, and when each has to be looked at next. It may be wrong at any time;
//! the journal's key catches that.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use snorri_saga::ids::SagaId;
use snorri_saga::saga::Saga;
use snorri_saga::time::{Millis, Timestamp};

use crate::definitions::Versioned;

/// A live saga in memory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) saga: Saga,
    pub(super) seq: i32,
    pub(super) versioned: Arc<Versioned>,
    /// This replica wrote its last row.
    pub(super) is_ours: bool,
    /// The earliest timer that stands for it.
    pub(super) armed: Option<Timestamp>,
}

/// A lane's live sagas and timers.
#[derive(Debug, Default)]
pub(super) struct Cache {
    sagas: HashMap<SagaId, Entry>,
    timers: BinaryHeap<Reverse<(Timestamp, SagaId)>>,
}

impl Cache {
    pub(super) fn len(&self) -> usize {
        self.sagas.len()
    }

    pub(super) fn get(&self, id: SagaId) -> Option<&Entry> {
        self.sagas.get(&id)
    }

    /// Takes a saga out, to be decided on and put back. Not put back, it is loaded again when needed.
    pub(super) fn take(&mut self, id: SagaId) -> Option<Entry> {
        self.sagas.remove(&id)
    }

    /// Keeps the saga's newest state, or lets it go if it has ended. `armed` is the timer that it had when it
    /// was taken out.
    pub(super) fn put(
        &mut self,
        saga: Saga,
        seq: i32,
        versioned: Arc<Versioned>,
        is_ours: bool,
        armed: Option<Timestamp>,
    ) {
        let id = saga.id;
        let Some(due) = saga.due_at() else {
            self.sagas.remove(&id);
            return;
        };
        // A timer that stands and is early enough is left: it is re-armed when it fires. So the happy path
        // sets one timer a saga and not one a step.
        let armed = match armed {
            Some(at) if at <= due => at,
            _ => {
                self.timers.push(Reverse((due, id)));
                due
            }
        };
        self.sagas.insert(id, Entry { saga, seq, versioned, is_ours, armed: Some(armed) });
    }

    /// Forgets a saga's state; it is loaded again when it is needed. Its timer stands.
    pub(super) fn forget(&mut self, id: SagaId) {
        self.sagas.remove(&id);
    }

    /// Has the saga looked at again in a while, whatever its state says.
    pub(super) fn look_again(&mut self, id: SagaId, at: Timestamp) {
        self.timers.push(Reverse((at, id)));
        if let Some(entry) = self.sagas.get_mut(&id) {
            entry.armed = Some(at);
        }
    }

    /// When the next timer fires.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes up to `limit` sagas whose time has come. One whose state has moved on is re-armed instead.
    /// One that is not in memory is returned too: it must be loaded to know.
    pub(super) fn take_due(&mut self, now: Timestamp, limit: usize) -> Vec<SagaId> {
        let mut due = Vec::new();
        while due.len() < limit
            && let Some(Reverse((at, id))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            let Some(entry) = self.sagas.get_mut(&id) else {
                continue;
            };
            entry.armed = None;
            match entry.saga.due_at() {
                Some(real) if real <= now => {
                    // Should the transition fail, it is looked at again.
                    let again = now + Millis(1000);
                    entry.armed = Some(again);
                    self.timers.push(Reverse((again, id)));
                    due.push(id);
                }
                Some(real) => {
                    entry.armed = Some(real);
                    self.timers.push(Reverse((real, id)));
                }
                None => {}
            }
        }
        due
    }
}
