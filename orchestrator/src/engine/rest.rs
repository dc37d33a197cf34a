//! Sagas at rest: those that wait for days, for a signal, a person or the clock. Once the sweep has found that nothing of one
//! is out and nothing is due for long, it is let go from memory, and its wake-up in the database is set to shortly before
//! something is due. So it costs a row and nothing else, whatever its number: no memory, no sweep, no place among the live
//! sagas of a replica.
//!
//! That is safe since the row is right by itself. Whatever moves a saga that was at rest brings its wake-up back to 30
//! seconds with the same commit, and the wake-up is moved away only of one whose journal has not grown since. A replica that
//! dies is noticed by its heartbeat and not by wake-ups.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snorri_saga::ids::SagaId;
use snorri_saga::saga::Saga;
use snorri_saga::time::{Millis, Timestamp};

use super::Shared;
use super::lane::Lane;
use crate::store::{Resting, Well};

/// A rest that is shorter is not worth two writes of a row.
const REST_MIN: Millis = Millis::secs(120);
/// So long before something is due the saga is looked at: then it is in memory, with an exact timer.
const EARLY: Millis = Millis::secs(45);
/// The most sagas whose wake-ups are set by one transaction.
const AT_ONCE_MAX: usize = 1000;
/// The most that wait for it. Of more the sweep finds again what is left out.
const WAITING_MAX: usize = 65_536;

/// When a saga is looked at next, if it is at rest for long.
pub(super) fn resting(saga: &Saga, seq: i32, now: Timestamp) -> Option<Resting> {
    let until = saga.rests_until().filter(|until| *until > now + REST_MIN)?;
    Some(Resting { id: saga.id, seq, wake_at: until - EARLY })
}

/// Sagas of all lanes that were let go, and whose wake-ups are to be set: by one transaction at a time, however many rounds the
/// lanes make meanwhile, so that the sweep and the takeovers have connections, too.
#[derive(Debug, Default)]
pub(crate) struct Rests {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: BTreeMap<SagaId, Resting>,
    /// Those that were put aside and are well. Few at any time, and found again by the sweep.
    well: Vec<Well>,
    /// A task sets wake-ups.
    is_under_way: bool,
}

impl Rests {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Never half-written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds some. `true`: the caller has to see to them, nobody else does.
    fn add(&self, well: Vec<Well>, sagas: impl IntoIterator<Item = Resting>) -> bool {
        let mut inner = self.lock();
        let room = WAITING_MAX.saturating_sub(inner.well.len());
        inner.well.extend(well.into_iter().take(room));
        for saga in sagas {
            if inner.waiting.len() < WAITING_MAX {
                inner.waiting.insert(saga.id, saga);
            }
        }
        !std::mem::replace(&mut inner.is_under_way, true)
    }

    /// The next ones; none, and the caller is done.
    fn take(&self) -> (Vec<Well>, Vec<Resting>) {
        let mut inner = self.lock();
        let count = inner.well.len().min(AT_ONCE_MAX);
        let well: Vec<Well> = inner.well.drain(..count).collect();
        let mut taken = Vec::new();
        while taken.len() < AT_ONCE_MAX
            && let Some((_, saga)) = inner.waiting.pop_first()
        {
            taken.push(saga);
        }
        inner.is_under_way = !(taken.is_empty() && well.is_empty());
        (well, taken)
    }
}

impl Lane {
    /// Has the wake-ups of the sagas that were let go set. Not waited for: should it fail, the sweep finds them again.
    pub(super) fn put_to_rest(&mut self) {
        if self.resting.is_empty() && self.well.is_empty() {
            return;
        }
        self.cache.compact();
        let (well, resting) = (std::mem::take(&mut self.well), std::mem::take(&mut self.resting));
        if self.shared.rests.add(well, resting) {
            tokio::spawn(set_wake_ups(self.shared.clone()));
        }
    }
}

async fn set_wake_ups(shared: Arc<Shared>) {
    loop {
        let (well, resting) = shared.rests.take();
        if well.is_empty() && resting.is_empty() {
            return;
        }
        // First: what is put aside is not put to rest.
        if !well.is_empty()
            && let Err(error) = shared.store.take_back(&well).await
        {
            tracing::debug!(error = error.chain(), "marks stay; the sweep comes again");
        }
        if !resting.is_empty()
            && let Err(error) = shared.store.rest(&resting).await
        {
            tracing::debug!(error = error.chain(), sagas = resting.len(), "no rest; the sweep comes again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snorri_saga::decide::{Input, StartInput, decide, start};
    use snorri_saga::definition::Definition;
    use snorri_saga::json::Json;

    fn waiting(definition: &Definition, now: Timestamp) -> Saga {
        let input = StartInput {
            id: SagaId(uuid::Uuid::from_u128(7)),
            version: 1,
            input: Json::null(),
            tags: std::collections::BTreeMap::default(),
            key: None,
            traceparent: None,
            parent: None,
        };
        start(definition, input, now).saga
    }

    fn definition(steps: &serde_json::Value) -> Definition {
        let draft = serde_json::json!({"name": "one", "window": "10d", "steps": steps});
        Definition::from_draft(&serde_json::from_value(draft).expect("a draft")).expect("a definition")
    }

    #[test]
    fn only_what_waits_for_long_and_has_nothing_out_is_at_rest() {
        let now = Timestamp(1_000_000_000_000_000);
        let wait = serde_json::json!({"name": "paid", "needs": [], "signal": {"timeout": "2d"}});
        let pause = serde_json::json!({"name": "pause", "needs": [], "delay": "60s"});
        let call = serde_json::json!({"name": "call", "needs": [], "participant": "p", "compensation": "u"});
        let saga = waiting(&definition(&serde_json::json!([wait])), now);
        let found = resting(&saga, 3, now).expect("at rest");
        assert_eq!(
            (found.id, found.seq, found.wake_at),
            (saga.id, 3, now + Millis::secs(2 * 86_400) - EARLY)
        );
        let just = now + Millis::secs(2 * 86_400) - REST_MIN;
        assert!(resting(&saga, 3, just).is_none(), "soon");
        assert!(
            resting(&waiting(&definition(&serde_json::json!([wait, pause])), now), 1, now).is_none(),
            "a delay"
        );
        assert!(
            resting(&waiting(&definition(&serde_json::json!([wait, call])), now), 1, now).is_none(),
            "a command is out"
        );
    }

    #[test]
    fn however_many_rounds_there_are_one_at_a_time_sets_wake_ups() {
        let of = |n: u128, seq| Resting { id: SagaId(uuid::Uuid::from_u128(n)), seq, wake_at: Timestamp(0) };
        let rests = Rests::default();
        assert!(rests.add(Vec::new(), (0..1500).map(|n| of(n, 1))), "the first one has to see to them");
        assert!(!rests.add(Vec::new(), [of(1499, 2)]), "somebody does");
        assert_eq!(rests.take().1.len(), AT_ONCE_MAX);
        assert!(!rests.add(Vec::new(), (1500..1600).map(|n| of(n, 1))), "somebody still does");
        let (_, rest) = rests.take();
        assert_eq!(
            (rest.len(), rest.iter().filter(|saga| saga.seq == 2).count()),
            (600, 1),
            "each once, as it was last"
        );
        assert_eq!(rests.take(), (Vec::new(), Vec::new()));
        assert!(rests.add(Vec::new(), [of(1, 1)]), "and then the next one does");
    }

    #[test]
    fn what_is_undone_or_over_is_not_at_rest() {
        let now = Timestamp(1_000_000_000_000_000);
        let of = definition(&serde_json::json!([{"name": "paid", "signal": {"timeout": "2d"}}]));
        let cancel = Input::Cancel { by: "anna".to_owned(), reason: "x".to_owned() };
        let ended = decide(&of, &waiting(&of, now), &cancel, now).expect("cancelled").saga;
        assert!(ended.ended_at.is_some());
        assert!(resting(&ended, 2, now).is_none());
    }
}
