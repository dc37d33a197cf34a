//! What a saga does next: [`start`] and [`decide`], two pure functions. All branching is here; the two
//! directions have a file each. The shell commits the events, then carries the effects out.

use crate::definition::{Definition, Step};
use crate::ids::{CommandId, Direction, EffectId, Name, SagaId};
use crate::journal::{BlockedReason, Cause, End, Event, Started};
use crate::json::Json;
use crate::saga::{Flight, Phase, Saga, StepState, Wait};
use crate::time::{Millis, Timestamp};
use crate::wire::{CommandBody, EndedBody, Outcome, Reply};

mod backward;
mod forward;

/// What can reach a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A participant answered. The shell has checked that it is the step's participant.
    Reply(Reply),
    /// Time passed: do whatever is due. Spurious calls change nothing.
    Woke,
    /// Messages may be lost, or the replica that sent them is dead: send what is under way once more.
    Resend,
    /// Somebody wants it undone.
    Cancel {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// What must happen outside, after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Publish a command.
    Send(Box<Command>),
    /// Announce the end.
    Announce(Box<EndedBody>),
}

/// A command to a participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its identity, and its message id.
    pub id: CommandId,
    /// Who carries it out.
    pub participant: Name,
    /// Which of the participant's operations.
    pub operation: Name,
    /// How long the answer is awaited.
    pub budget: Millis,
    /// What is asked.
    pub body: CommandBody,
}

/// The answer of [`decide`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// The facts, to be committed as one row. Empty when only effects are to be repeated.
    pub events: Vec<Event>,
    /// What must happen outside once they are committed.
    pub effects: Vec<Effect>,
    /// The state with the facts folded in.
    pub saga: Saga,
}

/// Why an input changes nothing. Normal life, counted and not logged as an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The saga ended.
    #[error("the saga has ended")]
    Ended,
    /// The operation was answered already.
    #[error("the operation was answered already")]
    Duplicate,
    /// An earlier attempt asks to be tried again, which has been done.
    #[error("a later attempt is under way")]
    Stale,
    /// The saga never sent such a command.
    #[error("no such command was sent")]
    NeverSent,
    /// Past the pivot nothing is cancelled.
    #[error("the pivot was sent: the saga can only go forwards")]
    PastPivot,
    /// Nothing is due.
    #[error("nothing is due")]
    NothingDue,
}

impl Refusal {
    /// The word used in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::NeverSent => "never_sent",
            Self::PastPivot => "past_pivot",
            Self::NothingDue => "nothing_due",
        }
    }
}

/// What a start brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartInput {
    /// The saga's id.
    pub id: SagaId,
    /// The definition's version.
    pub version: u32,
    /// The saga's input.
    pub input: Json,
    /// Words to find it by.
    pub tags: std::collections::BTreeMap<String, String>,
    /// The starter's idempotency key.
    pub key: Option<String>,
    /// The starter's `traceparent`.
    pub traceparent: Option<String>,
}

/// The first transition of a saga.
pub fn start(definition: &Definition, start: StartInput, now: Timestamp) -> Decision {
    let deadline = now + definition.window;
    let started = Started {
        definition: definition.name.clone(),
        version: start.version,
        window: definition.window,
        forward_deadline: deadline - definition.reserve,
        deadline,
        input: start.input,
        tags: start.tags,
        key: start.key,
        traceparent: start.traceparent,
    };
    let mut draft = Draft {
        definition,
        saga: Saga::started(start.id, now, &started),
        events: vec![Event::Started(Box::new(started))],
        effects: Vec::new(),
        now,
    };
    draft.advance();
    draft.done()
}

/// The next transition of a saga.
pub fn decide(
    definition: &Definition,
    saga: &Saga,
    input: &Input,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let mut draft = Draft { definition, saga: saga.clone(), events: Vec::new(), effects: Vec::new(), now };
    match input {
        Input::Reply(reply) => draft.on_reply(reply)?,
        Input::Woke => draft.on_woke()?,
        Input::Resend => draft.on_resend(),
        Input::Cancel { by, reason } => draft.on_cancel(by, reason)?,
    }
    Ok(draft.done())
}

/// The effects that were decided and may not have been carried out: what a crash between commit and
/// publish lost. They carry the same message ids, so repeating them is harmless.
pub fn pending_effects(definition: &Definition, saga: &Saga, now: Timestamp) -> Vec<Effect> {
    let mut draft = Draft { definition, saga: saga.clone(), events: Vec::new(), effects: Vec::new(), now };
    draft.repeat();
    draft.effects
}

/// A transition being made: each fact is folded in as it is recorded.
struct Draft<'a> {
    definition: &'a Definition,
    saga: Saga,
    events: Vec<Event>,
    effects: Vec<Effect>,
    now: Timestamp,
}

impl Draft<'_> {
    fn done(self) -> Decision {
        Decision { events: self.events, effects: self.effects, saga: self.saga }
    }

    fn record(&mut self, event: Event) {
        self.saga.evolve(self.now, &event);
        self.events.push(event);
    }

    fn on_reply(&mut self, reply: &Reply) -> Result<(), Refusal> {
        let EffectId { saga, step: name, direction } = &reply.command.effect;
        if *saga != self.saga.id {
            return Err(Refusal::NeverSent);
        }
        let (position, step) = self.step(name).ok_or(Refusal::NeverSent)?;
        let run = self.saga.step(name.as_str()).ok_or(Refusal::NeverSent)?;
        let attempt = reply.command.attempt;
        match (direction, run.flight) {
            (_, Some(flight)) if flight.direction == *direction => {
                if attempt == 0 || attempt > flight.attempt {
                    return Err(Refusal::NeverSent);
                }
                match direction {
                    Direction::Action => {
                        self.on_action_reply(position, step, flight, attempt, &reply.outcome)
                    }
                    Direction::Compensation => {
                        self.on_compensation_reply(step, flight, attempt, &reply.outcome)
                    }
                }
            }
            (Direction::Action, _) => self.on_late_action_reply(step, attempt, &reply.outcome),
            (Direction::Compensation, _) => match run.state {
                StepState::Undone | StepState::Fenced => Err(Refusal::Duplicate),
                StepState::Acting
                | StepState::Done
                | StepState::NotDone
                | StepState::InDoubt
                | StepState::Undoing => Err(Refusal::NeverSent),
            },
        }
    }

    fn on_woke(&mut self) -> Result<(), Refusal> {
        if matches!(self.saga.phase, Phase::Ended(_)) {
            return Err(Refusal::Ended);
        }
        if let Some((run, flight)) = self.saga.in_flight()
            && flight.wait.due() <= self.now
            && let Some((position, step)) = self.step(&run.name.clone())
        {
            match (flight.wait, flight.direction) {
                (Wait::Reply(_), Direction::Action) => self.on_action_timeout(step, flight),
                (Wait::Reply(_), Direction::Compensation) => self.on_compensation_timeout(step, flight),
                (Wait::Retry(_), Direction::Action) => self.retry_action(position, step, flight),
                (Wait::Retry(_), Direction::Compensation) => {
                    self.send_compensation(step, flight.attempt.saturating_add(1));
                }
            }
        }
        if !matches!(self.saga.phase, Phase::Ended(_)) {
            if !self.saga.at_risk && self.saga.risk_at <= self.now {
                self.record(Event::WindowAtRisk);
            }
            if !self.saga.window_missed && self.saga.deadline <= self.now {
                self.record(Event::WindowMissed);
            }
        }
        if self.events.is_empty() { Err(Refusal::NothingDue) } else { Ok(()) }
    }

    fn on_resend(&mut self) {
        if let Some((run, flight)) = self.saga.in_flight()
            && matches!(flight.wait, Wait::Reply(_))
        {
            let step = run.name.clone();
            self.record(Event::SentAgain { step });
        }
        self.repeat();
    }

    fn on_cancel(&mut self, by: &str, reason: &str) -> Result<(), Refusal> {
        match self.saga.phase {
            Phase::Ended(_) => return Err(Refusal::Ended),
            // Undoing already: idempotent.
            Phase::Backward => return Ok(()),
            Phase::Forward => {}
        }
        if self.saga.pivot_sent {
            return Err(Refusal::PastPivot);
        }
        if self.saga.stopping.is_some() {
            return Ok(());
        }
        self.record(Event::CancelRequested { by: by.to_owned(), reason: reason.to_owned() });
        // An action that waits for its next attempt is not waited for; one that is out there is.
        if let Some((run, flight)) = self.saga.in_flight()
            && matches!(flight.wait, Wait::Retry(_))
            && let Some((_, step)) = self.step(&run.name.clone())
        {
            self.stop_retrying(step);
        }
        Ok(())
    }

    /// The effects of what is under way, with their ids unchanged.
    fn repeat(&mut self) {
        if let Phase::Ended(end) = self.saga.phase {
            self.announce(end);
        } else if let Some((run, flight)) = self.saga.in_flight()
            && let Wait::Reply(until) = flight.wait
            && let Some((_, step)) = self.step(&run.name.clone())
        {
            self.emit(step, flight, until.since(self.now));
        }
    }

    fn emit(&mut self, step: &Step, flight: Flight, budget: Millis) {
        let Some(run) = self.saga.step(step.name.as_str()) else { return };
        let input = run.request.clone().unwrap_or_else(|| self.saga.input.clone());
        let (operation, body) = match (flight.direction, &step.compensation) {
            (Direction::Compensation, Some(undo)) => (
                undo.action.clone(),
                CommandBody { input, result: run.output.clone(), saga_input: Some(self.saga.input.clone()) },
            ),
            (Direction::Compensation, None) => return,
            (Direction::Action, _) => {
                (step.action.clone(), CommandBody { input, result: None, saga_input: None })
            }
        };
        let id = self.saga.command_id(run, flight);
        let participant = step.participant.clone();
        self.effects.push(Effect::Send(Box::new(Command { id, participant, operation, budget, body })));
    }

    fn end(&mut self, end: End) {
        // The answer that ends a saga may come before the wake-up that would have said so.
        if !self.saga.window_missed && self.saga.deadline <= self.now {
            self.record(Event::WindowMissed);
        }
        self.record(Event::Ended { end });
        self.announce(end);
    }

    fn announce(&mut self, end: End) {
        let status = match end {
            End::Completed => "completed",
            End::Compensated => "compensated",
        };
        self.effects.push(Effect::Announce(Box::new(EndedBody {
            saga_id: self.saga.id,
            definition: self.saga.definition.clone(),
            version: self.saga.version,
            status: status.to_owned(),
            started_at: self.saga.started_at,
            ended_at: self.saga.ended_at.unwrap_or(self.now),
            cause: self.saga.cause.as_ref().map(|cause| cause.code().to_owned()),
        })));
    }

    fn block(&mut self, step: &Name, reason: BlockedReason, message: String) {
        let is_news = match &self.saga.blocked {
            None => true,
            // A broken contract is worse news than a failure.
            Some(blocked) => {
                reason == BlockedReason::CompensationRejected
                    && blocked.reason != reason
                    && blocked.step == *step
            }
        };
        if is_news {
            self.record(Event::Blocked { step: step.clone(), reason, message });
        }
    }

    fn unblock(&mut self, step: &Name) {
        if self.saga.blocked.as_ref().is_some_and(|blocked| blocked.step == *step) {
            self.record(Event::Unblocked { step: step.clone() });
        }
    }

    fn effect_id(&self, step: &Step, direction: Direction) -> EffectId {
        EffectId { saga: self.saga.id, step: step.name.clone(), direction }
    }
}

impl<'a> Draft<'a> {
    /// The definition's step, borrowed from the definition and not from the draft.
    fn step(&self, name: &Name) -> Option<(usize, &'a Step)> {
        self.definition.step(name.as_str())
    }
}
