//! Announcements that are owed. An end is owed from before its commit until NATS has its announcement; the replica's heartbeat
//! says up to when nothing is, and who follows it when it is gone announces every end after that once more.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use snorri_saga::ids::SagaId;
use snorri_saga::time::Timestamp;
use tokio::time::Instant;

/// How soon a saga is looked at again that may have ended.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// What is owed.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    debts: BTreeSet<(Timestamp, u64)>,
    next: u64,
}

/// Something that is owed, until it is dropped.
#[derive(Debug)]
#[must_use = "it is paid when it is dropped"]
pub(crate) struct Debt {
    owed: Arc<Owed>,
    key: (Timestamp, u64),
}

impl Owed {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Never half-written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The announcements of ends at this time or later are owed until the debt is dropped.
    pub(crate) fn owe(self: &Arc<Self>, since: Timestamp) -> Arc<Debt> {
        let mut inner = self.lock();
        let key = (since, inner.next);
        inner.next += 1;
        inner.debts.insert(key);
        Arc::new(Debt { owed: self.clone(), key })
    }

    /// Up to when nothing is owed.
    pub(crate) fn until(&self, now: Timestamp) -> Timestamp {
        self.lock().debts.first().map_or(now, |(since, _)| now.min(*since))
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.lock().debts.is_empty()
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        // A lane that panics pays nothing: its process ends, and who follows must find it.
        if std::thread::panicking() {
            return;
        }
        self.owed.lock().debts.remove(&self.key);
    }
}

/// How often a saga is looked at that may have ended, before that is given up: for about five minutes.
const LOOKS_MAX: u32 = 30;

/// The announcement of a saga that has ended, or may have: its end was decided, and what became of that commit is not known.
#[derive(Debug)]
pub(crate) struct Recall {
    pub(crate) debt: Arc<Debt>,
    looks: u32,
}

impl Recall {
    pub(crate) fn of(debt: Arc<Debt>) -> Self {
        Self { debt, looks: 0 }
    }
}

/// Sagas to be looked at later.
#[derive(Debug, Default)]
pub(super) struct Recalls(VecDeque<(Instant, SagaId, Recall)>);

impl Recalls {
    /// Looks at the saga again in ten seconds, if it has not been looked at for long enough.
    pub(super) fn later(&mut self, id: SagaId, recall: Recall) {
        if recall.looks == LOOKS_MAX {
            tracing::error!(saga_id = %id, "an end may not be announced: whether it is committed cannot be found out");
            return;
        }
        let recall = Recall { looks: recall.looks + 1, ..recall };
        self.0.push_back((Instant::now() + LOOK_AFTER, id, recall));
    }

    /// One whose time has come.
    pub(super) fn due(&mut self) -> Option<(SagaId, Recall)> {
        self.0.pop_front_if(|(at, ..)| *at <= Instant::now()).map(|(_, id, recall)| (id, recall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_debt_counts_until_nobody_holds_it() {
        let at = Timestamp;
        let owed = Arc::new(Owed::default());
        assert_eq!(owed.until(at(50)), at(50));
        let (old, new, same) = (owed.owe(at(10)), owed.owe(at(20)), owed.owe(at(10)));
        let held = old.clone();
        drop(old);
        drop(same);
        assert_eq!(owed.until(at(50)), at(10), "one of two at the same time is left, and held twice");
        drop(held);
        assert_eq!(owed.until(at(50)), at(20));
        assert_eq!(owed.until(at(5)), at(5), "a clock that went back");
        drop(new);
        assert!(owed.is_nothing());
    }

    #[tokio::test(start_paused = true)]
    async fn a_saga_that_may_have_ended_is_looked_at_every_ten_seconds_for_five_minutes() {
        let owed = Arc::new(Owed::default());
        let id = SagaId(uuid::Uuid::from_u128(1));
        let mut recalls = Recalls::default();
        let mut recall = Recall::of(owed.owe(Timestamp(10)));
        for _ in 0..LOOKS_MAX {
            recalls.later(id, recall);
            tokio::time::advance(LOOK_AFTER / 2).await;
            assert!(recalls.due().is_none());
            tokio::time::advance(LOOK_AFTER / 2).await;
            let (of, again) = recalls.due().expect("its time has come");
            assert_eq!(of, id);
            recall = again;
        }
        assert!(!owed.is_nothing(), "owed all the time");
        recalls.later(id, recall);
        tokio::time::advance(LOOK_AFTER).await;
        assert!(recalls.due().is_none() && owed.is_nothing(), "given up, and said so");
    }
}
