//! A saga definition: what a business team writes down, checked once and immutable from then on.
//! [`Draft`] is the text's shape, [`Definition`] what passed [`Definition::from_draft`].

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::ids::Name;
use crate::retry::RetryPolicy;
use crate::template::Template;
use crate::time::Millis;

mod validate;

pub use validate::Problem;

/// The window of a definition that names none, start to end.
pub const WINDOW_DEFAULT: Millis = Millis::secs(300);
/// The longest window.
pub const WINDOW_MAX: Millis = Millis::secs(30 * 86_400);
/// The most steps of one definition.
pub const STEPS_MAX: usize = 200;
/// How long an attempt's answer is awaited where the step does not say.
pub const TIMEOUT_DEFAULT: Millis = Millis::secs(10);

/// A definition as it is written in YAML or JSON, not checked yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// The name of the definition; also a token of subjects.
    pub name: String,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The time from start to end that every saga keeps to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Millis>,
    /// The steps, run one after the other.
    pub steps: Vec<DraftStep>,
}

/// A step as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftStep {
    /// The step's name, its key in the journal.
    pub name: String,
    /// The participant that answers it.
    pub participant: String,
    /// The participant's operation; the step's name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What kind of step it is.
    #[serde(default)]
    pub kind: StepKind,
    /// What reverses it: an operation's name, `none`, or a mapping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<DraftCompensation>,
    /// How long an attempt's answer is awaited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// When and how often the action is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// What the participant is sent; the saga's whole input when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
}

/// A compensation as it is written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DraftCompensation {
    /// Only the operation's name, or `none`.
    Short(String),
    /// With its own timeout and retry policy.
    Long(DraftCompensationFields),
}

/// By hand, since a derived untagged enum says only that nothing matched.
impl<'de> Deserialize<'de> for DraftCompensation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = DraftCompensation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the name of the operation that reverses the step, `none`, or a mapping of `action`, `timeout` \
                     and `retry`",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(DraftCompensation::Short(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                DraftCompensationFields::deserialize(MapAccessDeserializer::new(map))
                    .map(DraftCompensation::Long)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// The long form of a compensation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftCompensationFields {
    /// The participant's operation.
    pub action: String,
    /// How long an attempt's answer is awaited; the step's timeout when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// The fast attempts; after them the slow lane goes on without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
}

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
    /// the pivot may end: the pivot's own attempt, then the worst case of compensation, or one timeout of
    /// each step after the pivot, whichever is longer.
    pub reserve: Millis,
    /// The steps in their order; at least one.
    pub steps: Vec<Step>,
}

/// A step that passed the checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name.
    pub name: Name,
    /// The participant that answers it.
    pub participant: Name,
    /// The participant's operation for the action.
    pub action: Name,
    /// What kind of step it is.
    pub kind: StepKind,
    /// What reverses it, if anything does.
    pub compensation: Option<Compensation>,
    /// How long an attempt's answer is awaited.
    pub timeout: Millis,
    /// When and how often the action is tried again.
    pub retry: RetryPolicy,
    /// What the participant is sent; nothing stands for the saga's whole input.
    pub input: Option<Template>,
}

/// A compensation that passed the checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Compensation {
    /// The participant's operation.
    pub action: Name,
    /// How long an attempt's answer is awaited.
    pub timeout: Millis,
    /// The fast attempts.
    pub retry: RetryPolicy,
}

impl Definition {
    /// The step of that name with its position.
    pub fn step(&self, name: &str) -> Option<(usize, &Step)> {
        self.steps.iter().enumerate().find(|(_, step)| step.name == *name)
    }

    /// Whether a step at or before this one is the pivot, so that nothing is undone any more once it
    /// has been sent.
    pub fn is_past_pivot(&self, position: usize) -> bool {
        self.steps.iter().take(position.saturating_add(1)).any(|step| step.kind == StepKind::Pivot)
    }
}
