//! What everything in a simulation shares: chance, virtual time, the log, the counts and the verdicts.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::bug::Bug;
use crate::fault::Fault;
use crate::plan::Plan;

/// How many lines of the log are kept for a failure's report.
const LINES_KEPT: usize = 500;
/// More violations than this say nothing new.
const VIOLATIONS_KEPT: usize = 20;

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which one: `I3`, `I9` and so on.
    pub(crate) invariant: &'static str,
    /// What was seen.
    pub(crate) what: String,
    /// When, in virtual milliseconds.
    pub(crate) at: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}.{:03}: {}", self.invariant, self.at / 1000, self.at % 1000, self.what)
    }
}

/// A simulated world.
pub(crate) struct World {
    pub(crate) plan: Plan,
    /// A bug to be found, put into the models.
    pub(crate) bug: Option<Bug>,
    inner: Mutex<Inner>,
    began: Instant,
    /// The whole log goes to standard error.
    is_loud: bool,
}

struct Inner {
    rng: StdRng,
    lines: VecDeque<String>,
    hash: u64,
    events: u64,
    counts: BTreeMap<Fault, u64>,
    violations: Vec<Violation>,
    healed: bool,
}

impl World {
    pub(crate) fn new(plan: Plan, bug: Option<Bug>) -> Arc<Self> {
        let inner = Inner {
            rng: StdRng::seed_from_u64(plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed),
            lines: VecDeque::with_capacity(LINES_KEPT),
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            counts: BTreeMap::new(),
            violations: Vec::new(),
            healed: false,
        };
        let is_loud = std::env::var_os("SNORRI_SIM_LOG").is_some();
        Arc::new(Self { plan, bug, inner: Mutex::new(inner), began: Instant::now(), is_loud })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing in there is ever half-written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Virtual time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes a line into the log, and into its hash.
    pub(crate) fn say(&self, line: fmt::Arguments<'_>) {
        let now = self.millis();
        let line = format!("{:4}.{:03} {line}", now / 1000, now % 1000);
        let mut inner = self.inner();
        for byte in line.bytes() {
            // FNV-1a: all that is asked of it is that two logs that differ do not look alike.
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        inner.events += 1;
        if self.is_loud {
            eprintln!("{line}");
        }
        if inner.lines.len() == LINES_KEPT {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// Whether something of this share happens now. Draws nothing for a share of nothing.
    pub(crate) fn chance(&self, share: f64) -> bool {
        share > 0.0 && self.inner().rng.random_range(0.0..1.0) < share
    }

    /// Whether this fault happens now; if so, it is counted.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        if self.is_healed() || !self.chance(self.plan.rate(fault)) {
            return false;
        }
        self.count(fault);
        true
    }

    pub(crate) fn count(&self, fault: Fault) {
        *self.inner().counts.entry(fault).or_default() += 1;
    }

    /// A number below the limit.
    pub(crate) fn below(&self, limit: usize) -> usize {
        self.inner().rng.random_range(0..limit.max(1))
    }

    pub(crate) fn number(&self) -> u64 {
        self.inner().rng.random()
    }

    /// A time between the two, in milliseconds.
    pub(crate) fn ms(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.inner().rng.random_range(from..=to.max(from)))
    }

    /// How long the place of a process that has ended is empty: shortly, or for longer.
    pub(crate) fn rest(&self) -> Duration {
        if self.is_healed() {
            return self.ms(100, 1_000);
        }
        match self.below(10) {
            0..5 => self.ms(50, 2_000),
            5..9 => self.ms(1_000, 15_000),
            _ => self.ms(10_000, 60_000),
        }
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.inner().healed = true;
        self.say(format_args!("all heals"));
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.inner().healed
    }

    /// An invariant does not hold.
    pub(crate) fn violated(&self, invariant: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.say(format_args!("VIOLATION of {invariant}: {what}"));
        let at = self.millis();
        let mut inner = self.inner();
        if inner.violations.len() < VIOLATIONS_KEPT {
            inner.violations.push(Violation { invariant, what, at });
        }
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.inner().violations.clone()
    }

    pub(crate) fn counts(&self) -> BTreeMap<Fault, u64> {
        self.inner().counts.clone()
    }

    /// The hash of the whole log, and how many lines it had.
    pub(crate) fn fingerprint(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.hash, inner.events)
    }

    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.inner().lines.iter().cloned().collect()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World(seed {})", self.plan.seed)
    }
}
