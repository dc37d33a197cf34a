//! The hybrid logical clock of a node. The wall clock comes in as an argument.

use std::time::Duration;

use crate::node::Node;
use crate::stamp::{MAX_MILLIS, Stamp, Tick};

/// How far a reading may run ahead of the wall clock unless it is said otherwise. Clocks kept by NTP differ by milliseconds; five
/// seconds forgive a bad minute, and keep a clock that is wrong by hours from deciding every conflict.
const MAX_AHEAD: Duration = Duration::from_secs(5);

/// A hybrid logical clock: close to the wall clock, and never behind what its node has seen.
///
/// What it promises:
///
/// * Each stamp that it makes is greater than all that it made or observed before, whatever the wall clock does.
/// * So a write that had seen another one has the greater stamp, on whichever nodes they were made.
/// * No stamp that it makes or lets in is further ahead of the wall clock than the bound.
///
/// A node has one. Observe the stamps of what comes from other nodes *before* it is joined, and those of a record before it is
/// written ([`Record::newest`](crate::Record::newest)).
///
/// ```
/// use snorri_records::Clock;
///
/// let mut orders = Clock::new("orders".parse()?);
/// let mut billing = Clock::new("billing".parse()?);
///
/// let first = orders.tick(10_000)?;
/// billing.observe(first.tick(), 9_000)?; // its wall clock is a second behind
/// let second = billing.tick(9_001)?;
/// assert!(second > first, "it had seen the first");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Clock {
    node: Node,
    last: Tick,
    max_ahead: u64,
}

/// Why a clock made no stamp, or did not let one in. The clock is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// Another node's time is too far ahead: its clock is fast, or this one is slow. Keep what came with it, raise an alarm, and try
    /// again: the wall clock catches up.
    #[error(
        "a time is {ahead} ms ahead of this node's wall clock, and {allowed} ms are allowed: set the clocks right"
    )]
    TooFarAhead {
        /// By how many milliseconds.
        ahead: u64,
        /// How many are allowed.
        allowed: u64,
    },
    /// The wall clock is far behind what this node has already written: it was set back. Others would refuse the stamps.
    #[error(
        "the wall clock was set back: it is {behind} ms behind what this node has written or seen, and {allowed} ms are allowed"
    )]
    SetBack {
        /// By how many milliseconds.
        behind: u64,
        /// How many are allowed.
        allowed: u64,
    },
    /// The wall clock shows a time that no stamp can hold.
    #[error("the wall clock shows {0} ms since 1970, which is after the year 10889")]
    OutOfRange(u64),
}

impl Clock {
    /// The clock of a node that has written nothing yet. Times may run five seconds ahead.
    pub fn new(node: Node) -> Self {
        Self::resume(node, Tick::default())
    }

    /// The clock of a node after a restart. `high` is the greatest reading that it may have made before: a mark that was kept, or the
    /// greatest stamp in its store.
    pub fn resume(node: Node, high: Tick) -> Self {
        Self { node, last: high, max_ahead: millis(MAX_AHEAD) }
    }

    /// The same clock with another bound on how far a time may be ahead of the wall clock.
    #[must_use]
    pub fn with_max_ahead(mut self, bound: Duration) -> Self {
        self.max_ahead = millis(bound);
        self
    }

    /// The node whose clock it is.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The greatest reading that it made or observed: what to keep for [`resume`](Self::resume).
    pub fn high(&self) -> Tick {
        self.last
    }

    /// The stamp of a write that is made now, when the wall clock shows `wall` milliseconds since 1970.
    pub fn tick(&mut self, wall: u64) -> Result<Stamp, ClockError> {
        let now = Tick::new(wall, 0).map_err(|_| ClockError::OutOfRange(wall))?;
        let next =
            if now > self.last { now } else { self.last.next().ok_or(ClockError::OutOfRange(MAX_MILLIS))? };
        if let Some(behind) = self.beyond(next, wall) {
            return Err(ClockError::SetBack { behind, allowed: self.max_ahead });
        }
        self.last = next;
        Ok(Stamp::new(next, self.node.clone()))
    }

    /// Takes note of a time that this node has seen: what it writes from now on is later.
    pub fn observe(&mut self, seen: Tick, wall: u64) -> Result<(), ClockError> {
        if let Some(ahead) = self.beyond(seen, wall) {
            return Err(ClockError::TooFarAhead { ahead, allowed: self.max_ahead });
        }
        self.last = self.last.max(seen);
        Ok(())
    }

    /// How far a reading is ahead of the wall clock, if that is too far.
    fn beyond(&self, tick: Tick, wall: u64) -> Option<u64> {
        let ahead = tick.millis().saturating_sub(wall);
        (ahead > self.max_ahead).then_some(ahead)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
