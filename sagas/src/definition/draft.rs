//! The shape of a definition's text: what can be written, whether it makes sense or not.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{OnNoDecision, OnSilence, SiblingFailure, StepKind};
use crate::retry::RetryPolicy;
use crate::time::Millis;

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
    /// Words to find its sagas by: texts, or expressions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The JSON Schema of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// What happens to siblings in flight when a branch fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_sibling_failure: Option<SiblingFailure>,
    /// The steps: one after the other, unless they say what they need.
    pub steps: Vec<DraftStep>,
}

/// A step as it is written.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftStep {
    /// The step's name, its key in the journal.
    pub name: String,
    /// The steps that must be done before; the one before it in the list when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Vec<String>>,
    /// It is run only if this CEL expression is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// It is run once for each item of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<DraftForEach>,
    /// The participant that answers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    /// The participant's operation; the step's name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The definition of a sub-saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saga: Option<String>,
    /// The version of the sub-saga's definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// A signal that is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<DraftSignal>,
    /// A person's decision that is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<DraftApproval>,
    /// How long nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Millis>,
    /// What kind of step it is; compensatable when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StepKind>,
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
    pub input: Option<Value>,
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
    /// The participant's operation. A sub-saga has none: what it did is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// How long an attempt's answer is awaited; the step's timeout when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// The fast attempts; after them the slow lane goes on without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
}

/// A list whose items are worked on one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftForEach {
    /// The list: an expression, or the list itself.
    pub items: Value,
    /// What an item is called in expressions; `item` when left out.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many are under way at once; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// A longer list is refused; 100 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

/// A signal that is waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftSignal {
    /// The signal's name; the step's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long it is waited for.
    pub timeout: Millis,
    /// What happens then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnSilence>,
    /// The output when nobody gave the signal and the saga goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// A person's decision that is waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftApproval {
    /// How long it is waited for.
    pub timeout: Millis,
    /// What happens then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnNoDecision>,
}
