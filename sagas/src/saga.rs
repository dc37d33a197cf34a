//! The state of a saga, and what can be read off it. Only [`Saga::evolve`] writes it: the fold of the journal.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::ids::{CommandId, Direction, EffectId, Name, SagaId, StepKey};
use crate::journal::{BlockedReason, Cause, End, Event, Parent, Started};
use crate::json::Json;
use crate::time::{Millis, Timestamp};

mod fold;

/// One saga as its journal tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Saga {
    /// Its identity.
    pub id: SagaId,
    /// The definition's name.
    pub definition: Name,
    /// The definition's version.
    pub version: u32,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// Until when actions before the pivot may be tried even when everything has run and may have to be undone. What
    /// holds at a moment is [`crate::decide::forward_deadline`].
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
    /// It will be undone, and waits for the actions under way to be answered.
    pub stopping: Option<Cause>,
    /// Why it is undone.
    pub cause: Option<Cause>,
    /// Where and why a person is needed, if one is; the earliest first.
    pub blocked: Vec<Blocked>,
    /// The pivot was sent: nothing is undone any more unless it is rejected.
    pub pivot_sent: bool,
    /// The alert before the window closes was raised.
    pub at_risk: bool,
    /// The window closed before the end.
    pub window_missed: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The steps that were begun, and the iterations of `for_each` steps, in the order in which they were.
    pub steps: Vec<StepRun>,
    /// The signals that came, in the order in which they did.
    pub signals: Vec<Signalled>,
    /// The step of another saga that started it.
    pub parent: Option<Parent>,
    /// A sub-saga was asked by its parent to be undone, so that its end is the answer to that.
    pub undo_asked: bool,
    /// How often a held sub-saga asked its parent what became of it.
    pub asked: u32,
    /// When it did so last, or when it began to be held.
    pub asked_at: Option<Timestamp>,
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
    /// A sub-saga whose steps are all done. It ends when its parent ends.
    Held,
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
    pub step: StepKey,
    /// Why.
    pub reason: BlockedReason,
    /// A sentence for people.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// A signal that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signalled {
    /// Its name.
    pub name: Name,
    /// The sender's idempotency key.
    pub id: String,
    /// What it says.
    pub payload: Json,
    /// When it came.
    pub at: Timestamp,
    /// The step that took it.
    pub taken_by: Option<StepKey>,
}

/// A step that was begun, or an iteration of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRun {
    /// The step, or its iteration.
    pub key: StepKey,
    /// How far it is.
    pub state: StepState,
    /// What the participant was asked, when it is not the saga's input itself. Of a `for_each` step its items.
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
    /// Its action is known to have been done, in time or late.
    pub happened: bool,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its condition was false.
    Skipped,
    /// Its action is under way, or it waits.
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
    /// The attempt, from 1. None was made yet: 0.
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
    /// A delay's end, a signal, or a person's decision, until then. Nothing is out.
    Time(Timestamp),
}

impl Wait {
    /// When the waiting is over.
    pub fn due(self) -> Timestamp {
        match self {
            Self::Reply(at) | Self::Retry(at) | Self::Time(at) => at,
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
            blocked: Vec::new(),
            pivot_sent: false,
            at_risk: false,
            window_missed: false,
            ended_at: None,
            steps: Vec::new(),
            signals: Vec::new(),
            parent: started.parent.clone(),
            undo_asked: false,
            asked: 0,
            asked_at: None,
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
        match (self.phase, self.blocked.is_empty()) {
            (Phase::Ended(End::Completed), _) => Status::Completed,
            (Phase::Ended(End::Compensated), _) => Status::Compensated,
            (_, false) => Status::Blocked,
            (Phase::Forward | Phase::Held, true) => Status::Running,
            (Phase::Backward, true) => Status::Compensating,
        }
    }

    /// The step, or the iteration, of that key, if it was begun.
    pub fn step(&self, key: &str) -> Option<&StepRun> {
        self.steps.iter().find(|step| step.key == *key)
    }

    /// Where and why a person is needed first.
    pub fn first_blocked(&self) -> Option<&Blocked> {
        self.blocked.first()
    }

    /// Why the saga is blocked at that step, if it is.
    pub fn blocked_at(&self, key: &StepKey) -> Option<&Blocked> {
        self.blocked.iter().find(|blocked| blocked.step == *key)
    }

    /// The steps and iterations that have an attempt under way or planned, or that wait.
    pub fn in_flight(&self) -> impl Iterator<Item = (&StepRun, Flight)> {
        self.steps.iter().filter_map(|step| step.flight.map(|flight| (step, flight)))
    }

    /// The output of a step that is done. That of a `for_each` step is the list of its iterations' outputs.
    pub fn output(&self, step: &str) -> Option<Json> {
        let run = self.step(step)?;
        if run.output.is_some() || run.state != StepState::Done {
            return run.output.clone();
        }
        let mut outputs: Vec<(u32, &str)> = self
            .steps
            .iter()
            .filter(|run| run.key.step() == step)
            .filter_map(|run| Some((run.key.number()?, run.output.as_ref().map_or("null", Json::get))))
            .collect();
        if outputs.is_empty() && run.attempts > 0 {
            return None; // Done, and its output was too large to be kept.
        }
        outputs.sort_unstable_by_key(|(number, _)| *number);
        let outputs: Vec<&str> = outputs.into_iter().map(|(_, output)| output).collect();
        Json::parse(&format!("[{}]", outputs.join(","))).ok()
    }

    /// The command of an attempt under way.
    pub fn command_id(&self, step: &StepRun, flight: Flight) -> CommandId {
        CommandId {
            effect: EffectId { saga: self.id, step: step.key.clone(), direction: flight.direction },
            attempt: flight.attempt,
            sending: flight.sending,
        }
    }

    /// When the saga has to be looked at next, at the latest. An ended saga has none; every other one has.
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Ended(_) => return None,
            Phase::Held => return Some(self.ask_at()),
            Phase::Forward | Phase::Backward => {}
        }
        let flights = self.in_flight().map(|(_, flight)| flight.wait.due());
        let window = match (self.at_risk, self.window_missed) {
            (false, _) => Some(self.risk_at),
            (true, false) => Some(self.deadline),
            (true, true) => None,
        };
        flights.chain(window).min()
    }

    /// Until when it is at rest, if it is: nothing of it is out, and it only waits for time to pass, for somebody outside, or
    /// for its parent. Nothing that could be lost on the way has to be said again.
    pub fn rests_until(&self) -> Option<Timestamp> {
        let is_at_rest = match self.phase {
            Phase::Held => true,
            Phase::Forward => {
                let mut flights = self.in_flight().peekable();
                flights.peek().is_some() && flights.all(|(_, flight)| matches!(flight.wait, Wait::Time(_)))
            }
            Phase::Backward | Phase::Ended(_) => false,
        };
        if is_at_rest { self.due_at() } else { None }
    }

    /// When a held sub-saga asks its parent again what became of it: the parent tells by itself, and this is the net
    /// under it. At the end of the window first, or after ten minutes where that is sooner, and then less and less often.
    pub fn ask_at(&self) -> Timestamp {
        let last = self.asked_at.unwrap_or(self.started_at);
        let next = last + Millis(ASK_PAUSE.0 << self.asked.min(10));
        if self.asked == 0 { next.max(self.deadline.min(last + ASK_FIRST_MAX)) } else { next }
    }

    /// What the saga waits for, in plain words; nothing once it has ended. `who` gives the words for whom a step
    /// waits for, by the step's name.
    pub fn waiting_for(&self, who: impl Fn(&str) -> Option<String>) -> Option<String> {
        if let (Phase::Held, Some(parent)) = (self.phase, &self.parent) {
            return Some(format!(
                "the saga {}, of which it is a part, to end (all its steps are done)",
                parent.saga
            ));
        }
        let mut flights = self.in_flight();
        let mut words: Vec<String> =
            flights.by_ref().take(WAITING_MAX).map(|(step, flight)| waiting(step, flight, &who)).collect();
        let more = flights.count();
        if more > 0 {
            words.push(format!("{more} more"));
        }
        if words.is_empty() { None } else { Some(words.join("; ")) }
    }
}

/// The first pause between two questions of a held sub-saga to its parent; each next is twice as long.
const ASK_PAUSE: Millis = Millis::secs(30);
/// The longest before the first: a window may be a month, and the word that the parent has ended may be lost.
const ASK_FIRST_MAX: Millis = Millis::secs(600);
/// So many things that a saga waits for are said; of the others how many.
const WAITING_MAX: usize = 5;

fn waiting(step: &StepRun, flight: Flight, who: &impl Fn(&str) -> Option<String>) -> String {
    let counterpart = who(step.key.step()).unwrap_or_else(|| "its participant".to_owned());
    let what = match flight.direction {
        Direction::Action => "the action",
        Direction::Compensation => "the compensation",
    };
    match flight.wait {
        Wait::Reply(until) => format!(
            "{counterpart} to answer {what} of {} (attempt {}, sent {}, awaited until {until})",
            step.key, flight.attempt, flight.sent_at
        ),
        Wait::Retry(at) => {
            format!("attempt {} of {what} of {} at {at}", flight.attempt.saturating_add(1), step.key)
        }
        Wait::Time(until) => {
            format!("{counterpart} at {} (since {}, until {until})", step.key, flight.since)
        }
    }
}
