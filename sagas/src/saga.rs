//! The state of a saga, and what can be read off it. Only [`Saga::evolve`] writes it: the fold of the journal.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::ids::{CommandId, Direction, EffectId, Name, SagaId};
use crate::journal::{BlockedReason, Cause, End, Event, Started};
use crate::json::Json;
use crate::time::{Millis, Timestamp};

mod fold;

/// One saga as its journal tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saga {
    /// Its identity.
    pub id: SagaId,
    /// The definition's name.
    pub definition: Name,
    /// The definition's version.
    pub version: u32,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// Until when actions before the pivot may be tried.
    pub forward_deadline: Timestamp,
    /// When a saga that has not ended is in danger of missing its window.
    pub risk_at: Timestamp,
    /// The end of the window.
    pub deadline: Timestamp,
    /// Its input.
    pub input: Json,
    /// Words to find it by.
    pub tags: BTreeMap<String, String>,
    /// The starter's idempotency key.
    pub key: Option<String>,
    /// The starter's `traceparent`.
    pub traceparent: Option<String>,
    /// Which way it goes.
    pub phase: Phase,
    /// A cancellation that waits for the action under way to be answered.
    pub stopping: Option<Cause>,
    /// Why it is undone.
    pub cause: Option<Cause>,
    /// Why a person is needed, if one is.
    pub blocked: Option<Blocked>,
    /// The pivot was sent: nothing is undone any more unless it is rejected.
    pub pivot_sent: bool,
    /// The alert before the window closes was raised.
    pub at_risk: bool,
    /// The window closed before the end.
    pub window_missed: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The steps that were begun, in the order in which they were.
    pub steps: Vec<StepRun>,
    /// The size of all payloads together, in bytes.
    pub bytes: usize,
}

/// Which way a saga goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Step after step.
    Forward,
    /// Undoing, in reverse order.
    Backward,
    /// Ended, for ever.
    Ended(End),
}

/// The status of a saga as everybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Going forwards.
    Running,
    /// Undoing.
    Compensating,
    /// A person is needed.
    Blocked,
    /// Ended well.
    Completed,
    /// Ended, everything undone.
    Compensated,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Running, Self::Compensating, Self::Blocked, Self::Completed, Self::Compensated];

    /// The word used everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Blocked => "blocked",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
        }
    }

    /// Whether it is an end.
    pub fn is_end(self) -> bool {
        match self {
            Self::Running | Self::Compensating | Self::Blocked => false,
            Self::Completed | Self::Compensated => true,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why and since when a person is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// The step.
    pub step: Name,
    /// Why.
    pub reason: BlockedReason,
    /// A sentence for people.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// A step that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRun {
    /// The step's name.
    pub name: Name,
    /// How far it is.
    pub state: StepState,
    /// What the participant was asked, when it is not the saga's input itself.
    pub request: Option<Json>,
    /// The action's output.
    pub output: Option<Json>,
    /// The attempt under way or planned.
    pub flight: Option<Flight>,
    /// The attempts of the action that were made so far.
    pub attempts: u32,
    /// A command of the action went unanswered: whether it happened is not known.
    pub unknown: bool,
    /// What the last attempt that went wrong said.
    pub failure: Option<Failure>,
    /// When the action's first attempt was made.
    pub begun_at: Timestamp,
    /// When its last change was.
    pub changed_at: Timestamp,
    /// A success that came now would be no news: a late one was journalled already, or the action is known
    /// to have left an effect that must be undone.
    pub late: bool,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its action is under way.
    Acting,
    /// Its action was done.
    Done,
    /// Its action was not done, and no effect is left.
    NotDone,
    /// Its action may have been done.
    InDoubt,
    /// Its compensation is under way.
    Undoing,
    /// Its compensation was done.
    Undone,
    /// Its compensation found nothing, and the action can no longer apply.
    Fenced,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// A stable word.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// The attempt of an operation that is under way or planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// Action or compensation.
    pub direction: Direction,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How often this attempt was sent again.
    pub sending: u32,
    /// When the operation's first attempt was made.
    pub since: Timestamp,
    /// When this attempt was made.
    pub sent_at: Timestamp,
    /// What it waits for.
    pub wait: Wait,
}

/// What an attempt waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The answer, until then.
    Reply(Timestamp),
    /// Its time to be tried again.
    Retry(Timestamp),
}

impl Wait {
    /// When the waiting is over.
    pub fn due(self) -> Timestamp {
        match self {
            Self::Reply(at) | Self::Retry(at) => at,
        }
    }
}

/// A journal that no saga can have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadJournal {
    /// There are no rows.
    #[error("the journal is empty")]
    Empty,
    /// The first event is not the start.
    #[error("the journal does not begin with `started`")]
    NoStart,
}

impl Saga {
    /// The saga right after its first event.
    pub fn started(id: SagaId, at: Timestamp, started: &Started) -> Self {
        Self {
            id,
            definition: started.definition.clone(),
            version: started.version,
            started_at: at,
            forward_deadline: started.forward_deadline,
            risk_at: started.deadline - Millis(started.window.0 / 10),
            deadline: started.deadline,
            input: started.input.clone(),
            tags: started.tags.clone(),
            key: started.key.clone(),
            traceparent: started.traceparent.clone(),
            phase: Phase::Forward,
            stopping: None,
            cause: None,
            blocked: None,
            pivot_sent: false,
            at_risk: false,
            window_missed: false,
            ended_at: None,
            steps: Vec::new(),
            bytes: started.input.len(),
        }
    }

    /// Replays a journal.
    pub fn replay<'a>(
        id: SagaId,
        events: impl IntoIterator<Item = (Timestamp, &'a Event)>,
    ) -> Result<Self, BadJournal> {
        let mut events = events.into_iter();
        let mut saga = match events.next() {
            None => return Err(BadJournal::Empty),
            Some((at, Event::Started(started))) => Self::started(id, at, started),
            Some(_) => return Err(BadJournal::NoStart),
        };
        for (at, event) in events {
            saga.evolve(at, event);
        }
        Ok(saga)
    }

    /// The status as everybody sees it.
    pub fn status(&self) -> Status {
        match (self.phase, &self.blocked) {
            (Phase::Ended(End::Completed), _) => Status::Completed,
            (Phase::Ended(End::Compensated), _) => Status::Compensated,
            (_, Some(_)) => Status::Blocked,
            (Phase::Forward, None) => Status::Running,
            (Phase::Backward, None) => Status::Compensating,
        }
    }

    /// The step of that name, if it was begun.
    pub fn step(&self, name: &str) -> Option<&StepRun> {
        self.steps.iter().find(|step| step.name == *name)
    }

    /// The step that has an attempt under way or planned; a sequence has at most one.
    pub fn in_flight(&self) -> Option<(&StepRun, Flight)> {
        self.steps.iter().find_map(|step| step.flight.map(|flight| (step, flight)))
    }

    /// The command of an attempt under way.
    pub fn command_id(&self, step: &StepRun, flight: Flight) -> CommandId {
        CommandId {
            effect: EffectId { saga: self.id, step: step.name.clone(), direction: flight.direction },
            attempt: flight.attempt,
            sending: flight.sending,
        }
    }

    /// When the saga has to be looked at next, at the latest. An ended saga has none; every other one has.
    pub fn due_at(&self) -> Option<Timestamp> {
        if matches!(self.phase, Phase::Ended(_)) {
            return None;
        }
        let flight = self.in_flight().map(|(_, flight)| flight.wait.due());
        let window = match (self.at_risk, self.window_missed) {
            (false, _) => Some(self.risk_at),
            (true, false) => Some(self.deadline),
            (true, true) => None,
        };
        flight.into_iter().chain(window).min()
    }

    /// What the saga waits for, in plain words; nothing once it has ended.
    pub fn waiting_for(&self, participant_of: impl Fn(&str) -> Option<String>) -> Option<String> {
        let (step, flight) = self.in_flight()?;
        let who = participant_of(step.name.as_str()).unwrap_or_else(|| "its participant".to_owned());
        let what = match flight.direction {
            Direction::Action => "the action",
            Direction::Compensation => "the compensation",
        };
        Some(match flight.wait {
            Wait::Reply(until) => format!(
                "{who} to answer {what} of {} (attempt {}, sent {}, awaited until {until})",
                step.name, flight.attempt, flight.sent_at
            ),
            Wait::Retry(at) => {
                format!("attempt {} of {what} of {} at {at}", flight.attempt.saturating_add(1), step.name)
            }
        })
    }
}
