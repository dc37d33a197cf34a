//! What a participant did, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use snorri_saga::wire::Outcome;

/// Running counts since the start of the process, to be read by the service at any time.
#[derive(Debug, Default)]
pub struct Stats {
    pub(crate) ok: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) empty: AtomicU64,
    pub(crate) tombstoned: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) unknown_operation: AtomicU64,
    pub(crate) postponed: AtomicU64,
    pub(crate) unanswered: AtomicU64,
    pub(crate) batches_undone: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsSnapshot {
    /// Handled, and answered `ok`.
    pub ok: u64,
    /// Handled, and answered `rejected`.
    pub rejected: u64,
    /// Answered `failed`.
    pub failed: u64,
    /// Compensations that found nothing to undo.
    pub empty: u64,
    /// Actions that came after their compensation, and did nothing.
    pub tombstoned: u64,
    /// Commands answered from the barrier with the stored reply.
    pub duplicates: u64,
    /// Messages that were no commands.
    pub malformed: u64,
    /// Commands for an operation that is not here.
    pub unknown_operation: u64,
    /// Commands left to be delivered again because the database was away or busy.
    pub postponed: u64,
    /// Replies that NATS did not take; their commands are delivered again.
    pub unanswered: u64,
    /// Batches whose transaction failed and whose commands were then done one by one.
    pub batches_undone: u64,
}

impl Stats {
    /// The counts now.
    pub fn snapshot(&self) -> StatsSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StatsSnapshot {
            ok: read(&self.ok),
            rejected: read(&self.rejected),
            failed: read(&self.failed),
            empty: read(&self.empty),
            tombstoned: read(&self.tombstoned),
            duplicates: read(&self.duplicates),
            malformed: read(&self.malformed),
            unknown_operation: read(&self.unknown_operation),
            postponed: read(&self.postponed),
            unanswered: read(&self.unanswered),
            batches_undone: read(&self.batches_undone),
        }
    }

    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn outcome(&self, outcome: &Outcome) {
        Self::count(match outcome {
            Outcome::Ok { empty: true, .. } => &self.empty,
            Outcome::Ok { .. } => &self.ok,
            Outcome::Rejected { .. } | Outcome::TooLarge { .. } => &self.rejected,
            Outcome::Failed { .. } => &self.failed,
            Outcome::Tombstoned => &self.tombstoned,
            // Never an answer in itself.
            Outcome::Working => return,
        });
    }
}
