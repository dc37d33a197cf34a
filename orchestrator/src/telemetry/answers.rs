//! Which attempt an event ended, and how. Read off the state before a transition and its events; metrics
//! and traces see the same.

use snorri_saga::ids::{Direction, StepKey};
use snorri_saga::journal::Event;
use snorri_saga::saga::{Saga, Wait};
use snorri_saga::time::Timestamp;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptOutcome {
    /// Done.
    Ok,
    /// A final no.
    Rejected,
    /// To be tried again.
    Failed,
    /// No answer in time.
    Unknown,
    /// Compensated at the participant already.
    Tombstoned,
}

impl AttemptOutcome {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ok, Self::Rejected, Self::Failed, Self::Unknown, Self::Tombstoned];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Tombstoned => "tombstoned",
        }
    }
}

/// An attempt that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) step: &'a StepKey,
    pub(crate) direction: Direction,
    /// The attempt that was under way, or the one that was answered when none was.
    pub(crate) attempt: u32,
    /// How often it was sent again.
    pub(crate) sending: u32,
    /// When it was sent. Nothing when it had ended before, and this is a late answer to it.
    pub(crate) sent_at: Option<Timestamp>,
    /// The attempt that was answered, when it is an earlier one than the one under way.
    pub(crate) earlier: Option<u32>,
    pub(crate) outcome: AttemptOutcome,
    /// Why it went wrong, as a word.
    pub(crate) error: Option<&'a str>,
    /// A compensation found nothing to undo.
    pub(crate) empty: bool,
}

impl Answer<'_> {
    /// Whether it is an answer to the attempt under way, and not silence or an answer to an earlier one.
    pub(crate) fn is_answer(&self) -> bool {
        self.outcome != AttemptOutcome::Unknown && self.earlier.is_none()
    }
}

/// An attempt that waits for its answer, or a wait that goes on.
#[derive(Debug, Clone, Copy)]
struct Open<'a> {
    step: &'a StepKey,
    direction: Direction,
    attempt: u32,
    sending: u32,
    sent_at: Timestamp,
}

/// Goes through a transition's events and tells which attempts they ended.
#[derive(Debug)]
pub(crate) struct Answers<'a> {
    open: Vec<Open<'a>>,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(before: Option<&'a Saga>) -> Self {
        let flights = before.into_iter().flat_map(Saga::in_flight);
        // One that waits for its next attempt ended before.
        let open =
            flights.filter(|(_, flight)| !matches!(flight.wait, Wait::Retry(_))).map(|(run, flight)| {
                let (direction, attempt, sending) = (flight.direction, flight.attempt, flight.sending);
                Open { step: &run.key, direction, attempt, sending, sent_at: flight.sent_at }
            });
        Self { open: open.collect() }
    }

    pub(crate) fn next(&mut self, event: &'a Event, at: Timestamp) -> Option<Answer<'a>> {
        use AttemptOutcome::{Failed, Ok, Rejected, Tombstoned, Unknown};
        let (step, direction, attempt, outcome, error, empty) = match event {
            Event::Sent { step, direction, attempt, .. } => {
                let (direction, attempt) = (*direction, *attempt);
                self.open.push(Open { step, direction, attempt, sending: 0, sent_at: at });
                return None;
            }
            Event::Waiting { step, .. } => {
                let direction = Direction::Action;
                self.open.push(Open { step, direction, attempt: 0, sending: 0, sent_at: at });
                return None;
            }
            Event::Succeeded { step, direction, attempt, empty, .. } => {
                (step, *direction, Some(*attempt), Ok, None, *empty)
            }
            Event::Rejected { step, direction, attempt, code, .. } => {
                (step, *direction, Some(*attempt), Rejected, Some(code.as_str()), false)
            }
            Event::Failed { step, direction, attempt, .. } => {
                (step, *direction, Some(*attempt), Failed, Some("failed"), false)
            }
            Event::TimedOut { step, direction, attempt } => {
                (step, *direction, Some(*attempt), Unknown, Some("timed_out"), false)
            }
            Event::Tombstoned { step } => {
                (step, Direction::Action, None, Tombstoned, Some("tombstoned"), false)
            }
            _ => return None,
        };
        let answer = |of: u32, sending: u32, sent_at: Option<Timestamp>, earlier: Option<u32>| {
            Some(Answer { step, direction, attempt: of, sending, sent_at, earlier, outcome, error, empty })
        };
        let open = self.open.iter().position(|open| open.step == step && open.direction == direction);
        match open.map(|place| self.open.swap_remove(place)) {
            Some(open) => {
                let earlier = attempt.filter(|attempt| *attempt != open.attempt);
                answer(open.attempt, open.sending, Some(open.sent_at), earlier)
            }
            // What has no attempts is not late either: the end of a list's iterations.
            None => answer(attempt.filter(|attempt| *attempt > 0)?, 0, None, None),
        }
    }
}
