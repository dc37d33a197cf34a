//! A lane's memory: its live sagas, and when each has to be looked at next. It may be wrong at any time;
//! the journal's key catches that.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use snorri_saga::definition::Definition;
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
    /// The store's generation at the time at which it was known to be so.
    generation: u64,
}

/// Whether a saga is in memory.
#[derive(Debug)]
pub(super) enum Known<'a> {
    /// As it is.
    Now(&'a Entry),
    /// As it was before the store was away.
    Once,
    /// It is not.
    Not,
}

/// A lane's live sagas and timers.
#[derive(Debug, Default)]
pub(super) struct Cache {
    sagas: HashMap<SagaId, Entry>,
    /// A timer counts only while its saga is armed for just that time; the others are left to be popped.
    timers: BinaryHeap<Reverse<(Timestamp, SagaId)>>,
    bytes: usize,
    /// What was put here in an earlier generation of the store is looked up anew before it is decided on: a store that was
    /// away may come back without the last it had, when a standby took its place.
    generation: u64,
}

/// What a saga takes in memory beside its payloads, about.
const ENTRY_BYTES: usize = 2048;

/// So many timers are kept without a look at whose they are.
const TIMERS_MIN: usize = 1024;

fn bytes_of(saga: &Saga) -> usize {
    saga.bytes.saturating_add(ENTRY_BYTES)
}

impl Cache {
    pub(super) fn len(&self) -> usize {
        self.sagas.len()
    }

    /// What all live sagas take in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, id: SagaId) -> Known<'_> {
        match self.sagas.get(&id) {
            Some(entry) if entry.generation == self.generation => Known::Now(entry),
            Some(_) => Known::Once,
            None => Known::Not,
        }
    }

    /// What is put in from now on is of this generation of the store.
    pub(super) fn enter(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Takes a saga out, to be decided on and put back. Not put back, it is loaded again when needed. One of an earlier
    /// generation is let go.
    pub(super) fn take(&mut self, id: SagaId) -> Option<Entry> {
        let entry = self.sagas.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&entry.saga));
        (entry.generation == self.generation).then_some(entry)
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
        self.take(id);
        let Some(due) = saga.due_at() else { return };
        self.bytes = self.bytes.saturating_add(bytes_of(&saga));
        let generation = self.generation;
        self.sagas.insert(id, Entry { saga, seq, versioned, is_ours, armed, generation });
        // A timer that stands and is early enough is left: it is re-armed when it fires. So the happy path
        // sets one timer a saga and not one a step.
        if armed.is_none_or(|at| at > due) {
            self.arm(id, due);
        }
    }

    fn arm(&mut self, id: SagaId, at: Timestamp) {
        if let Some(entry) = self.sagas.get_mut(&id) {
            entry.armed = Some(at);
            self.timers.push(Reverse((at, id)));
        }
    }

    /// When the next timer fires.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes up to `limit` sagas whose time has come and that need not be deferred. One whose state has moved
    /// on is re-armed instead. One that is not in memory is none of this lane's business: its message, or the
    /// sweep, brings it back.
    pub(super) fn take_due(
        &mut self,
        now: Timestamp,
        limit: usize,
        defer: impl Fn(&Definition, &Saga) -> bool,
    ) -> Vec<SagaId> {
        let mut due = Vec::new();
        while due.len() < limit
            && let Some(Reverse((at, id))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            let Some(entry) = self.sagas.get(&id) else { continue };
            if entry.armed != Some(at) {
                continue;
            }
            match entry.saga.due_at() {
                Some(real) if real > now => self.arm(id, real),
                Some(_) if defer(&entry.versioned.definition, &entry.saga) => self.arm(id, now + Millis(500)),
                Some(_) => {
                    // Should the transition fail, it is looked at again.
                    self.arm(id, now + Millis(1000));
                    due.push(id);
                }
                None => {}
            }
        }
        due
    }

    /// Forgets the timers of sagas that were let go, once they are the most.
    pub(super) fn compact(&mut self) {
        if self.timers.len() > 2 * self.sagas.len() + TIMERS_MIN {
            let sagas = &self.sagas;
            self.timers
                .retain(|Reverse((at, id))| sagas.get(id).is_some_and(|entry| entry.armed == Some(*at)));
        }
    }

    #[cfg(test)]
    fn timers(&self) -> usize {
        self.timers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snorri_saga::decide::{StartInput, start};
    use snorri_saga::definition::Definition;
    use snorri_saga::json::Json;

    fn saga(n: u128, now: Timestamp) -> (Saga, Arc<Versioned>) {
        let draft = serde_json::json!({"name": "one", "steps": [
            {"name": "a", "participant": "p", "compensation": "undo-a", "timeout": "1s"}
        ]});
        let draft = serde_json::from_value(draft).expect("a draft");
        let definition = Definition::from_draft(&draft).expect("a definition");
        let input = StartInput {
            id: SagaId(uuid::Uuid::from_u128(n)),
            version: 1,
            input: Json::null(),
            tags: std::collections::BTreeMap::default(),
            key: None,
            traceparent: None,
            parent: None,
        };
        let saga = start(&definition, input, now).saga;
        (saga, Arc::new(Versioned::new(definition, 1)))
    }

    #[test]
    fn however_often_sagas_are_deferred_each_has_one_timer() {
        let mut cache = Cache::default();
        let began = Timestamp(1_000_000_000_000_000);
        for n in 1..=10 {
            let (saga, versioned) = saga(n, began);
            cache.put(saga, 1, versioned, true, None);
        }
        for half_seconds in 0..200 {
            let now = began + Millis(half_seconds * 500);
            assert!(cache.take_due(now, 256, |_, _| true).is_empty());
            assert!(cache.timers() <= 20, "{} timers after {half_seconds} half seconds", cache.timers());
        }
        let now = began + Millis::secs(101);
        assert_eq!(cache.take_due(now, 256, |_, _| false).len(), 10, "and none is forgotten");
    }

    #[test]
    fn timers_of_sagas_that_were_let_go_are_forgotten() {
        let mut cache = Cache::default();
        let now = Timestamp(1_000_000_000_000_000);
        for n in 1..=2000 {
            let (saga, versioned) = saga(n, now);
            cache.put(saga, 1, versioned, true, None);
        }
        for n in 11..=2000 {
            assert!(cache.take(SagaId(uuid::Uuid::from_u128(n))).is_some());
        }
        cache.compact();
        assert_eq!((cache.len(), cache.timers()), (10, 10));
        assert_eq!(cache.take_due(now + Millis::secs(2), 256, |_, _| false).len(), 10);
    }

    #[test]
    fn what_is_taken_out_and_put_back_is_counted_once() {
        let mut cache = Cache::default();
        let now = Timestamp(1_000_000_000_000_000);
        let (saga, versioned) = saga(1, now);
        let id = saga.id;
        cache.put(saga, 1, versioned, true, None);
        let bytes = cache.bytes();
        for _ in 0..10 {
            let entry = cache.take(id).expect("there");
            assert_eq!(cache.bytes(), 0);
            cache.put(entry.saga, entry.seq, entry.versioned, true, entry.armed);
            assert_eq!((cache.bytes(), cache.timers()), (bytes, 1));
        }
    }

    #[test]
    fn what_was_known_before_the_store_was_away_is_looked_up_anew_and_not_forgotten() {
        let mut cache = Cache::default();
        let now = Timestamp(1_000_000_000_000_000);
        let (saga, versioned) = saga(1, now);
        let id = saga.id;
        cache.put(saga, 1, versioned.clone(), true, None);
        cache.enter(1);
        assert_eq!(cache.take_due(now + Millis::secs(2), 256, |_, _| false), [id], "its timer stands");
        assert!(cache.take(id).is_none());
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
        let (again, _) = self::saga(1, now);
        cache.put(again, 1, versioned, false, None);
        assert!(cache.take(id).is_some());
    }
}
