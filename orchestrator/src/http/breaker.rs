//! Fails starts at once while Postgres is away, so that nobody queues behind an outage. The engine notices when
//! a commit fails; this notices when a start does not get as far as the engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How often one request is let through to see whether Postgres is back.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// Open after a failure: then one request at a time is let through.
#[derive(Debug)]
pub(super) struct Breaker {
    origin: Instant,
    /// When the next try may be made, in milliseconds after `origin`; 0 when all is well.
    next_try: AtomicU64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { origin: Instant::now(), next_try: AtomicU64::new(0) }
    }
}

impl Breaker {
    fn later(&self, wait: Duration) -> u64 {
        u64::try_from((self.origin.elapsed() + wait).as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Whether this request may go on.
    pub(super) fn lets_through(&self) -> bool {
        let next_try = self.next_try.load(Ordering::Relaxed);
        if next_try == 0 {
            return true;
        }
        if self.later(Duration::ZERO) < next_try {
            return false;
        }
        // The one that moves the next try on is the one that tries.
        let after = self.later(TRY_EVERY);
        self.next_try.compare_exchange(next_try, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Postgres answered.
    pub(super) fn answered(&self) {
        // Read first: a write by every request would bounce the line between the cores.
        if self.next_try.load(Ordering::Relaxed) != 0 {
            self.next_try.store(0, Ordering::Relaxed);
        }
    }

    /// Postgres did not answer.
    pub(super) fn failed(&self) {
        self.next_try.store(self.later(TRY_EVERY), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_one_at_a_time_tries_until_one_succeeds() {
        let breaker = Breaker::default();
        assert!(breaker.lets_through() && breaker.lets_through());
        breaker.failed();
        assert!(!breaker.lets_through());
        tokio::time::advance(TRY_EVERY).await;
        assert_eq!((0..10).filter(|_| breaker.lets_through()).count(), 1);
        breaker.failed();
        assert!(!breaker.lets_through());
        breaker.answered();
        assert!(breaker.lets_through() && breaker.lets_through());
    }
}
