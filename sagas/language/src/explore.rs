//! Exploring a definition: the real core against everything that can happen to it, up to a stated bound, and what must
//! hold whatever happens.
//!
//! **What is walked.** All orders in which answers can arrive, every answer that a participant may give (yes, no, no with
//! something left), every condition both ways, every list with none, one and more items, signals that come early, late,
//! once more or never, approvals given, refused and forgotten, a cancellation at any moment; and *faults*, counted: an answer
//! that does not come in time (its command, or it, is lost, or late and arrives at any moment after), an answer `failed`,
//! an answer twice, commands sent again after a takeover, a crash between commit and publish, an orchestrator that sleeps
//! until the time for beginning more is nearly over, or that for going forwards or the window is, a participant that
//! breaks its contract, a request that cannot be made.
//!
//! **How.** State by state, those with fewer faults first and then those with fewer events, so that what is found is told
//! in the shortest way. A state is the saga, what is on its way, and what is true at the participants, who keep the
//! barrier's promises. Time passes from one moment at which something is due to the next. The first `n` faults are
//! covered completely or not at all: the report says up to which.
//!
//! **What is left out.** Payloads: what is too large, or does not fit a schema, comes as a request that cannot be made or as
//! a refusal. Conditions that cannot be evaluated (they stop a saga as a request does that cannot be made). Answers that say
//! `working`: they are longer attempts. The same signal twice under one key: it is known by its key and refused. More
//! attempts and items than the bounds say.
//!
//! **What is proved** for every run within the bound: the laws of [`laws`] in each state, and that from each state every
//! continuation without a further fault comes to an end ([`search`]).
//!
//! [`world`] is a state, [`participant`] who answers, [`model`] the definition with its open questions, [`moves`] what can
//! happen, [`print`](mod@print) when two states are one, [`story`] how a violation is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use snorri_saga::decide::{self, Decision, Effect, Input, Refusal, StartInput};
use snorri_saga::definition::Definition;
use snorri_saga::saga::Saga;
use snorri_saga::time::Timestamp;

mod laws;
mod model;
mod moves;
mod participant;
mod print;
mod room;
mod search;
mod story;
mod world;

pub use story::{Line, Story};

/// How far is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// At most so many faults in one run.
    pub faults: u8,
    /// At most so many states.
    pub states: usize,
    /// No further fault is begun with when that would probably take longer than this in all.
    pub time: Duration,
    /// So many attempts of an operation, where the definition allows more.
    pub attempts: u32,
    /// So many items in a list, where the definition allows more.
    pub items: u32,
    /// Whether it is explored as a saga of its own.
    pub role: Role,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            faults: 3,
            states: 300_000,
            time: Duration::from_millis(1500),
            attempts: 2,
            items: 2,
            role: Role::Alone,
        }
    }
}

/// What a saga is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A saga of its own.
    Alone,
    /// A part of another saga, which may undo it at any moment, and ends when the other one does.
    Part,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exploration {
    /// The definition.
    pub definition: String,
    /// Explored as what.
    pub role: Role,
    /// Every run with up to so many faults was walked; nothing: not even those without.
    pub complete_faults: Option<u8>,
    /// Why no more.
    pub stopped: Stopped,
    /// The states that were seen.
    pub states: usize,
    /// The transitions between them.
    pub transitions: usize,
    /// The states in which it had ended, by status.
    pub ends: BTreeMap<&'static str, usize>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What is wrong, told in the shortest way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation: Option<Story>,
}

/// Why an exploration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// As many faults as were asked for are covered.
    Faults,
    /// The next fault would have taken too long.
    Time,
    /// There were too many states.
    States,
    /// A violation was found.
    Violation,
}

/// What is explored: the core, or in tests a broken one.
pub trait Core {
    /// As [`snorri_saga::decide::start`].
    fn start(&self, definition: &Definition, start: StartInput, now: Timestamp) -> Decision {
        decide::start(definition, start, now)
    }

    /// As [`snorri_saga::decide::decide`].
    fn decide(
        &self,
        definition: &Definition,
        saga: &Saga,
        input: &Input,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        decide::decide(definition, saga, input, now)
    }

    /// As [`snorri_saga::decide::pending_effects`].
    fn pending_effects(&self, definition: &Definition, saga: &Saga, now: Timestamp) -> Vec<Effect> {
        decide::pending_effects(definition, saga, now)
    }
}

/// The core that runs in production.
#[derive(Debug, Clone, Copy)]
pub struct TheCore;

impl Core for TheCore {}

/// Explores a definition. `elapsed` says how long it has taken so far: nothing here reads a clock, and apart from where
/// it stops, the answer depends on the definition and the bounds alone.
pub fn explore(definition: &Definition, bounds: &Bounds, elapsed: &dyn Fn() -> Duration) -> Exploration {
    explore_core(&TheCore, definition, bounds, elapsed)
}

/// As [`explore`], of another core.
pub fn explore_core(
    core: &dyn Core,
    definition: &Definition,
    bounds: &Bounds,
    elapsed: &dyn Fn() -> Duration,
) -> Exploration {
    let explorer = moves::Explorer::new(core, definition, bounds, elapsed);
    search::Search::new(explorer, *bounds).run(definition)
}

impl Exploration {
    /// Whether every run within what was covered is as it should be.
    pub fn is_sound(&self) -> bool {
        self.violation.is_none()
    }
}

impl fmt::Display for Exploration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(story) = &self.violation {
            return write!(f, "{story}");
        }
        match self.complete_faults {
            None => f.write_str("not even the runs without a fault are covered: there are too many")?,
            Some(0) => f.write_str("every run without a fault")?,
            Some(1) => f.write_str("every run with up to 1 fault")?,
            Some(faults) => write!(f, "every run with up to {faults} faults")?,
        }
        if self.role == Role::Part {
            f.write_str(" as a part of another saga")?;
        }
        write!(
            f,
            ": {} states, {} transitions, {}.{} s",
            thousands(self.states),
            thousands(self.transitions),
            self.took_ms / 1000,
            self.took_ms % 1000 / 100
        )
    }
}

/// 48231 as `48,231`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
