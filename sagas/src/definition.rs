//! A saga definition: what a business team writes down, checked once and immutable from then on.
//! [`Draft`] is the text's shape, [`Definition`] what passed [`Definition::from_draft`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::expression::Expression;
use crate::ids::Name;
use crate::retry::RetryPolicy;
use crate::template::Template;
use crate::time::Millis;

mod draft;
pub mod graph;
mod time;
mod validate;

pub use draft::{
    Draft, DraftApproval, DraftCompensation, DraftCompensationFields, DraftForEach, DraftSignal, DraftStep,
};
pub use graph::{Graph, Zone};
pub use time::{Span, WorstCase};
pub use validate::Problem;

/// The window of a definition that names none, start to end.
pub const WINDOW_DEFAULT: Millis = Millis::secs(300);
/// The longest window.
pub const WINDOW_MAX: Millis = Millis::secs(30 * 86_400);
/// The most steps of one definition.
pub const STEPS_MAX: usize = 200;
/// How long an attempt's answer is awaited where the step does not say.
pub const TIMEOUT_DEFAULT: Millis = Millis::secs(10);

/// The kinds of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Has a compensation (or says `compensation: none`).
    #[default]
    Compensatable,
    /// The point of no return.
    Pivot,
    /// After the pivot; must eventually succeed.
    Retriable,
    /// Has no effect and is never compensated.
    Read,
}

/// What happens to siblings in flight when a branch fails (semantics E07).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiblingFailure {
    /// They are awaited, up to their timeout; then everything is undone.
    #[default]
    Wait,
    /// They are compensated at once: the participants' barrier fences those off that have not run yet.
    Race,
}

/// What a wait does when its time is over and nobody has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSilence {
    /// The step is refused, and the saga is undone.
    #[default]
    Fail,
    /// The saga goes on with the step's default as its output.
    Continue,
}

/// What an approval does when its time is over and nobody has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNoDecision {
    /// As if it had been refused: the saga is undone.
    #[default]
    Reject,
    /// As if it had been given.
    Approve,
}

/// A definition that passed the checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: Name,
    /// A sentence for people.
    pub description: Option<String>,
    /// Start to end.
    pub window: Millis,
    /// The part of the window that is kept for what may follow the last moment at which an action before
    /// the pivot may end, when everything has run: the pivot's own attempt, then the worst case of compensation, or
    /// one timeout of each step after the pivot, whichever is longer.
    pub reserve: Millis,
    /// Words to find its sagas by, besides those of the start.
    pub tags: Vec<(String, Template)>,
    /// The JSON Schema of the input; nothing: any input will do.
    pub input: Option<Arc<Value>>,
    /// What happens to siblings in flight when a branch fails.
    pub on_sibling_failure: SiblingFailure,
    /// The steps as they are listed; at least one.
    pub steps: Vec<Step>,
    /// Who waits for whom.
    pub graph: Graph,
}

/// A step that passed the checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name.
    pub name: Name,
    /// What is done.
    pub work: Work,
    /// What kind of step it is. Waits are reads: they have no effect.
    pub kind: StepKind,
    /// It is run only if this is true.
    pub when: Option<Expression>,
    /// It is run once for each item of a list.
    pub for_each: Option<ForEach>,
    /// What reverses it, if anything does.
    pub compensation: Option<Compensation>,
    /// How long an attempt's answer, a signal or an approval is awaited; how long a delay is.
    pub timeout: Millis,
    /// When and how often the action is tried again.
    pub retry: RetryPolicy,
    /// What the participant is sent; nothing stands for the saga's whole input.
    pub input: Option<Template>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A participant carries out an operation.
    Participant {
        /// Who.
        participant: Name,
        /// The operation.
        action: Name,
    },
    /// A saga of its own runs; it is held until this one ends, and undone with it.
    Saga {
        /// Its definition.
        definition: Name,
        /// The version.
        version: u32,
    },
    /// Somebody says that something happened.
    Signal {
        /// The signal's name.
        name: Name,
        /// What happens when nobody does.
        on_timeout: OnSilence,
        /// The output then.
        default: Value,
    },
    /// A person says yes or no.
    Approval {
        /// What happens when nobody does.
        on_timeout: OnNoDecision,
    },
    /// Time passes.
    Delay,
}

impl Work {
    /// Whether it only waits: nothing is sent, nothing is undone.
    pub fn is_wait(&self) -> bool {
        match self {
            Self::Signal { .. } | Self::Approval { .. } | Self::Delay => true,
            Self::Participant { .. } | Self::Saga { .. } => false,
        }
    }
}

/// A step that is run once for each item.
#[derive(Debug, Clone, PartialEq)]
pub struct ForEach {
    /// The list.
    pub items: Template,
    /// What an item is called in expressions.
    pub name: String,
    /// How many are under way at once.
    pub concurrency: u32,
    /// A longer list is refused.
    pub max: u32,
}

/// A compensation that passed the checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Compensation {
    /// The participant's operation; of a sub-saga the word `undo`.
    pub action: Name,
    /// How long an attempt's answer is awaited.
    pub timeout: Millis,
    /// The fast attempts.
    pub retry: RetryPolicy,
}

impl Step {
    /// The participant that answers it, if one does.
    pub fn participant(&self) -> Option<&Name> {
        match &self.work {
            Work::Participant { participant, .. } => Some(participant),
            Work::Saga { .. } | Work::Signal { .. } | Work::Approval { .. } | Work::Delay => None,
        }
    }

    /// The participant's operation, if a participant answers it.
    pub fn action(&self) -> Option<&Name> {
        match &self.work {
            Work::Participant { action, .. } => Some(action),
            Work::Saga { .. } | Work::Signal { .. } | Work::Approval { .. } | Work::Delay => None,
        }
    }

    /// Who is waited for, in words for people.
    pub fn counterpart(&self) -> String {
        match &self.work {
            Work::Participant { participant, .. } => participant.to_string(),
            Work::Saga { definition, .. } => format!("the sub-saga {definition}"),
            Work::Signal { name, .. } => format!("the signal {name}"),
            Work::Approval { .. } => "a person".to_owned(),
            Work::Delay => "the clock".to_owned(),
        }
    }
}

impl Definition {
    /// The step of that name, with its position in the list.
    pub fn step(&self, name: &str) -> Option<(usize, &Step)> {
        self.steps.iter().enumerate().find(|(_, step)| step.name == *name)
    }

    /// Whether the step is the pivot or stands behind it, so that nothing is undone any more once it has
    /// been sent.
    pub fn is_past_pivot(&self, position: usize) -> bool {
        self.graph.zone(position) != Zone::Before
    }
}
