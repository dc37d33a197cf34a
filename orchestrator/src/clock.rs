//! Time as Postgres has it, without asking it each time: its clock as of the last heartbeat, carried on by
//! this machine's monotonic clock. Replicas with wrong clocks agree all the same.

use std::sync::atomic::{AtomicI64, Ordering};

use snorri_saga::time::Timestamp;
use tokio::time::Instant;

/// Postgres's clock, carried on.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    /// Postgres's time at `origin`, in microseconds since the Unix epoch.
    base: AtomicI64,
}

impl Clock {
    /// A clock that has asked nobody yet: this machine's time.
    pub fn new() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let base = i64::try_from(since.as_micros()).unwrap_or(0);
        Self { origin: Instant::now(), base: AtomicI64::new(base) }
    }

    /// Takes what Postgres said. `asked` is when the question went out: the answer is set in the middle.
    /// Returns by how many milliseconds the clock was off.
    pub fn sync(&self, postgres: Timestamp, asked: Instant) -> i64 {
        let half = asked.elapsed() / 2;
        let elapsed = i64::try_from(self.origin.elapsed().saturating_sub(half).as_micros()).unwrap_or(0);
        let base = postgres.micros().saturating_sub(elapsed);
        let before = self.base.swap(base, Ordering::Relaxed);
        base.saturating_sub(before) / 1000
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(0);
        Timestamp(self.base.load(Ordering::Relaxed).saturating_add(elapsed))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
