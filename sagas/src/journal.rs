//! The journal: past-tense facts, and nothing else is the truth of a saga. One transition is one row,
//! its events inside, so that a lost race is lost whole.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Direction, Name, SagaId, StepKey};
use crate::json::Json;
use crate::time::{Millis, Timestamp};

/// A fact about a saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The saga was accepted.
    Started(Box<Started>),
    /// An attempt was made: its command follows from this.
    Sent {
        /// The step.
        step: StepKey,
        /// Action or compensation.
        direction: Direction,
        /// The attempt, from 1.
        attempt: u32,
        /// Until when the answer is awaited.
        until: Timestamp,
        /// What the participant is asked, when it is not the saga's input itself. With the first action only.
        #[serde(default, deserialize_with = "crate::json::present", skip_serializing_if = "Option::is_none")]
        request: Option<Json>,
        /// The step is the pivot, or stands after it: from here on nothing is undone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pivot: bool,
    },
    /// The step's condition was false: it is not run, and nothing of it is undone.
    Skipped {
        /// The step.
        step: StepKey,
    },
    /// The items that a `for_each` step works on.
    Listed {
        /// The step.
        step: StepKey,
        /// The list.
        items: Json,
    },
    /// The step waits for time to pass, for a signal, or for a person.
    Waiting {
        /// The step.
        step: StepKey,
        /// Until when.
        until: Timestamp,
        /// It stands behind a pivot that was skipped: from here on nothing is undone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pivot: bool,
    },
    /// A signal came. It is kept until a step takes it.
    Signalled {
        /// Its name.
        name: Name,
        /// The sender's idempotency key.
        id: String,
        /// What it says.
        payload: Json,
    },
    /// A step took a signal that had come.
    SignalTaken {
        /// The step.
        step: StepKey,
        /// The signal's idempotency key.
        id: String,
    },
    /// A person decided.
    Decided {
        /// The step.
        step: StepKey,
        /// Yes or no.
        approve: bool,
        /// Who.
        by: String,
        /// Why.
        comment: String,
    },
    /// The step's answer is awaited less long: more has run meanwhile, and more time is kept for undoing it.
    Curtailed {
        /// The step.
        step: StepKey,
        /// Until when.
        until: Timestamp,
    },
    /// The attempt under way was sent once more, after a takeover or a loss of messages.
    SentAgain {
        /// The step.
        step: StepKey,
    },
    /// The participant is still at it.
    Working {
        /// The step.
        step: StepKey,
        /// Until when the answer is awaited now.
        until: Timestamp,
    },
    /// The operation was done.
    Succeeded {
        /// The step.
        step: StepKey,
        /// Action or compensation.
        direction: Direction,
        /// The attempt that was answered.
        attempt: u32,
        /// An action's output.
        #[serde(default, deserialize_with = "crate::json::present", skip_serializing_if = "Option::is_none")]
        output: Option<Json>,
        /// A compensation found nothing to undo and fenced the action off.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        empty: bool,
    },
    /// A final no.
    Rejected {
        /// The step.
        step: StepKey,
        /// Action or compensation.
        direction: Direction,
        /// The attempt that was answered.
        attempt: u32,
        /// A stable word for the reason.
        code: String,
        /// A sentence for people.
        message: String,
        /// An effect may be left and must be undone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        partial: bool,
    },
    /// The participant asked to try again.
    Failed {
        /// The step.
        step: StepKey,
        /// Action or compensation.
        direction: Direction,
        /// The attempt that was answered.
        attempt: u32,
        /// A sentence for people.
        message: String,
    },
    /// No answer came in time: whether it happened is not known.
    TimedOut {
        /// The step.
        step: StepKey,
        /// Action or compensation.
        direction: Direction,
        /// The attempt that was not answered.
        attempt: u32,
    },
    /// The next attempt is planned.
    RetryPlanned {
        /// The step.
        step: StepKey,
        /// When.
        at: Timestamp,
    },
    /// The participant's barrier holds a compensation of this action.
    Tombstoned {
        /// The step.
        step: StepKey,
    },
    /// The action's request could not be made, so nothing was sent.
    NotSent {
        /// The step.
        step: StepKey,
        /// A stable word for the reason.
        code: String,
        /// A sentence for people.
        message: String,
        /// Behind the pivot, where nothing is undone any more: when the request is made anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Timestamp>,
    },
    /// The action is not tried any more.
    GaveUp {
        /// The step.
        step: StepKey,
        /// It may have happened, so it must be undone.
        in_doubt: bool,
    },
    /// Somebody asked for the saga to be cancelled.
    CancelRequested {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A branch failed: nothing new begins, and what is in flight is awaited.
    Stopping {
        /// Why.
        cause: Cause,
    },
    /// From here on everything is undone.
    CompensationBegan {
        /// Why.
        cause: Cause,
    },
    /// A person is needed; attempts go on meanwhile.
    Blocked {
        /// The step.
        step: StepKey,
        /// Why.
        reason: BlockedReason,
        /// A sentence for people.
        message: String,
    },
    /// The step moved again.
    Unblocked {
        /// The step.
        step: StepKey,
    },
    /// A success came after compensation began. Or, of one that was known before: its compensation found nothing to undo, so that
    /// it is not neutralised.
    LateReply {
        /// The step.
        step: StepKey,
        /// The attempt that was answered.
        attempt: u32,
        /// Its output, for the undo.
        #[serde(default, deserialize_with = "crate::json::present", skip_serializing_if = "Option::is_none")]
        output: Option<Json>,
        /// The effect is undone or fenced, or will be, or may stay. If not, a person must look at it.
        neutralised: bool,
    },
    /// All steps of a sub-saga are done. It is undone if its parent is, and ends when its parent ends.
    Held,
    /// A held sub-saga asked its parent again what became of it.
    AskedParent,
    /// The parent of a held sub-saga is undone, and asks for it to be undone too.
    UndoAsked {
        /// Until when it is to be done.
        deadline: Timestamp,
    },
    /// Nine tenths of the window are gone and the saga has not ended.
    WindowAtRisk,
    /// The window closed before the saga ended. It goes on.
    WindowMissed,
    /// The saga ended.
    Ended {
        /// How.
        end: End,
    },
}

/// The first fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The definition.
    pub definition: Name,
    /// Its version; the saga stays on it.
    pub version: u32,
    /// Start to end.
    pub window: Millis,
    /// Until when actions before the pivot may be tried.
    pub forward_deadline: Timestamp,
    /// The end of the window.
    pub deadline: Timestamp,
    /// The saga's input.
    pub input: Json,
    /// Words to find the saga by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The starter's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The starter's `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The step of another saga that it was started by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// The step of another saga that a sub-saga was started by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The saga.
    pub saga: SagaId,
    /// Its step, or the step's iteration.
    pub step: StepKey,
}

/// Why a saga is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A step was rejected.
    Rejected {
        /// The step.
        step: StepKey,
        /// A stable word for the reason.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// A step failed on all its attempts.
    Failed {
        /// The step.
        step: StepKey,
        /// What the last attempt said.
        message: String,
    },
    /// A step was not answered on its last attempt.
    TimedOut {
        /// The step.
        step: StepKey,
    },
    /// The time for going forwards ran out.
    ForwardBudget {
        /// The step that was next or under way.
        step: StepKey,
    },
    /// A step's request could not be made.
    NotSent {
        /// The step.
        step: StepKey,
        /// A stable word for the reason.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// Somebody cancelled it.
    Cancelled {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A participant had compensated the step already.
    Tombstoned {
        /// The step.
        step: StepKey,
    },
    /// It is a part of another saga, which is undone.
    Parent {
        /// The other saga.
        saga: SagaId,
    },
}

impl Cause {
    /// A stable word: the rejection's code, or the kind of the cause.
    pub fn code(&self) -> &str {
        match self {
            Self::Rejected { code, .. } | Self::NotSent { code, .. } => code,
            Self::Failed { .. } => "failed",
            Self::TimedOut { .. } => "timed_out",
            Self::ForwardBudget { .. } => "forward_budget",
            Self::Cancelled { .. } => "cancelled",
            Self::Tombstoned { .. } => "tombstoned",
            Self::Parent { .. } => "parent_undone",
        }
    }

    /// The step that brought it about, if one did.
    pub fn step(&self) -> Option<&StepKey> {
        match self {
            Self::Rejected { step, .. }
            | Self::Failed { step, .. }
            | Self::TimedOut { step }
            | Self::ForwardBudget { step }
            | Self::NotSent { step, .. }
            | Self::Tombstoned { step } => Some(step),
            Self::Cancelled { .. } | Self::Parent { .. } => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { step, code, message } => write!(f, "{step} was rejected ({code}): {message}"),
            Self::Failed { step, message } => write!(f, "{step} failed on all its attempts: {message}"),
            Self::TimedOut { step } => write!(f, "{step} was not answered on its last attempt"),
            Self::ForwardBudget { step } => write!(f, "the time for going forwards ran out at {step}"),
            Self::NotSent { step, code, message } => {
                write!(f, "{step} could not be sent ({code}): {message}")
            }
            Self::Cancelled { by, reason } => write!(f, "cancelled by {by}: {reason}"),
            Self::Tombstoned { step } => write!(f, "{step} was compensated at its participant already"),
            Self::Parent { saga } => write!(f, "the saga {saga}, of which it is a part, is undone"),
        }
    }
}

/// Why a person is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockedReason {
    /// Whether an action happened is not known, and it cannot be undone.
    Unknown,
    /// A compensation fails again and again.
    CompensationFails,
    /// A participant rejected a compensation, which no participant may.
    CompensationRejected,
    /// A step after the pivot does not succeed.
    RetriableFails,
}

impl BlockedReason {
    /// The word used on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::CompensationFails => "compensation_fails",
            Self::CompensationRejected => "compensation_rejected",
            Self::RetriableFails => "retriable_fails",
        }
    }
}

/// How a saga ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All steps are done.
    Completed,
    /// Every effect that was started is undone, fenced or proven absent.
    Compensated,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_is_null_is_told_from_no_output() {
        for (output, text) in [(None, "output"), (Some(Json::null()), "none")] {
            let (step, direction) = ("pay".parse::<StepKey>().expect("a step"), Direction::Action);
            let event = Event::Succeeded { step, direction, attempt: 1, output, empty: false };
            let json = serde_json::to_string(&event).expect("JSON");
            assert!(!json.contains(text), "{json}");
            assert_eq!(serde_json::from_str::<Event>(&json).expect("an event"), event);
        }
    }
}
