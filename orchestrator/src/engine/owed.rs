//! Announcements that are owed. An end is owed from before its commit until NATS has its announcement; the replica's heartbeat
//! says up to when nothing is, and who follows it when it is gone announces every end after that once more.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snorri_saga::time::Timestamp;

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
        self.owed.lock().debts.remove(&self.key);
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
}
