//! What a saga does next: [`start`] and [`decide`], two pure functions. All branching is here: which steps begin
//! ([`ready`]), what an action's answer means ([`forward`]), how everything is undone ([`backward`]), until when
//! actions may be tried ([`budget`]), what is waited for ([`waits`]), and how a sub-saga and its parent speak
//! ([`family`]). The shell commits the events, then carries the effects out.

use crate::definition::{Definition, Step, Work};
use crate::ids::{CommandId, Direction, EffectId, Name, SagaId, StepKey};
use crate::journal::{BlockedReason, Cause, End, Event, Parent, Started};
use crate::json::Json;
use crate::saga::{Flight, Phase, Saga, StepRun, StepState, Wait};
use crate::time::{Millis, Timestamp};
use crate::wire::{CommandBody, EndedBody, Outcome, Reply};

mod backward;
mod budget;
mod family;
mod forward;
mod ready;
mod waits;

pub use budget::forward_deadline;
pub use family::{Ask, AskKind, fence, start_part};
pub use ready::tags;

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
    /// Something happened that a step may wait for.
    Signal {
        /// The signal's name.
        name: Name,
        /// The sender's idempotency key: the same one again changes nothing.
        id: String,
        /// What it says.
        payload: Json,
    },
    /// A person decided on an approval.
    Decide {
        /// The step.
        step: Name,
        /// Yes or no.
        approve: bool,
        /// Who.
        by: String,
        /// Why.
        comment: String,
    },
    /// The parent of this sub-saga asks for something.
    Asked(Ask),
    /// The saga that this one is a part of is not there: a failover that loses transactions lost its start. Looked up with
    /// each question that a held sub-saga asks.
    Orphaned,
}

/// What must happen outside, after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Publish a command.
    Send(Box<Command>),
    /// Announce the end.
    Announce(Box<EndedBody>),
    /// Ask a sub-saga for something: it is the shell that knows whether it is there already.
    Ask(Box<Ask>),
    /// Answer the parent of this sub-saga.
    Answer(Box<Reply>),
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
    /// Nothing in this saga waits for that, or not any more.
    #[error("no step waits for it")]
    NotAwaited,
    /// It was decided otherwise already.
    #[error("it was decided otherwise already")]
    Decided,
    /// The signal's idempotency key stands for another signal.
    #[error("the idempotency key was used for another signal")]
    KeyReused,
    /// All of its payloads together would be too large.
    #[error("the saga's payloads would be too large together")]
    TooLarge,
    /// It is a part of another saga, and its steps are all done: what is left is the other one's to decide.
    #[error("its steps are all done, and it is a part of another saga, which decides what becomes of it")]
    Held,
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
            Self::NotAwaited => "not_awaited",
            Self::Decided => "decided",
            Self::KeyReused => "key_reused",
            Self::TooLarge => "too_large",
            Self::Held => "held",
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
    /// The step of another saga that it is started by.
    pub parent: Option<Parent>,
}

/// The first transition of a saga.
pub fn start(definition: &Definition, start: StartInput, now: Timestamp) -> Decision {
    let mut draft = begun(definition, start, definition.window, now);
    draft.advance();
    draft.done()
}

fn begun(definition: &Definition, start: StartInput, window: Millis, now: Timestamp) -> Draft<'_> {
    let deadline = now + window;
    let started = Started {
        definition: definition.name.clone(),
        version: start.version,
        window,
        forward_deadline: deadline - definition.reserve,
        deadline,
        input: start.input,
        tags: start.tags,
        key: start.key,
        traceparent: start.traceparent,
        parent: start.parent,
    };
    Draft {
        definition,
        saga: Saga::started(start.id, now, &started),
        events: vec![Event::Started(Box::new(started))],
        effects: Vec::new(),
        now,
    }
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
        Input::Cancel { by, reason } => {
            draft.on_cancel(&Cause::Cancelled { by: by.clone(), reason: reason.clone() })?;
        }
        Input::Signal { name, id, payload } => draft.on_signal(name, id, payload)?,
        Input::Decide { step, approve, by, comment } => draft.on_decision(step, *approve, by, comment)?,
        Input::Asked(ask) => draft.on_asked(ask)?,
        Input::Orphaned => draft.on_orphaned()?,
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
        let EffectId { saga, step: key, direction } = &reply.command.effect;
        if *saga != self.saga.id {
            return Err(Refusal::NeverSent);
        }
        let step = self.step(key).ok_or(Refusal::NeverSent)?;
        if let Phase::Ended(end) = self.saga.phase
            && self.tell_held(end, step, key, reply)
        {
            return Ok(());
        }
        let run = self.saga.step(key.as_str()).ok_or(Refusal::NeverSent)?;
        let attempt = reply.command.attempt;
        match (direction, run.flight) {
            (_, Some(flight)) if flight.direction == *direction => {
                if attempt == 0 || attempt > flight.attempt {
                    return Err(Refusal::NeverSent);
                }
                let one = One { step, key, flight };
                match direction {
                    Direction::Action => self.on_action_reply(&one, attempt, &reply.outcome),
                    Direction::Compensation => self.on_compensation_reply(&one, attempt, &reply.outcome),
                }
            }
            (Direction::Action, _) => self.on_late_action_reply(step, key, attempt, &reply.outcome),
            (Direction::Compensation, _) => match run.state {
                StepState::Undone | StepState::Fenced => Err(Refusal::Duplicate),
                // A sub-saga that was stopped before its turn. In its turn it is asked again.
                StepState::InDoubt if matches!(step.work, Work::Saga { .. }) => Err(Refusal::Stale),
                StepState::Skipped
                | StepState::Acting
                | StepState::Done
                | StepState::NotDone
                | StepState::InDoubt
                | StepState::Undoing => Err(Refusal::NeverSent),
            },
        }
    }

    fn on_woke(&mut self) -> Result<(), Refusal> {
        match self.saga.phase {
            Phase::Ended(_) => return Err(Refusal::Ended),
            Phase::Held => return self.on_woke_held(),
            Phase::Forward | Phase::Backward => {}
        }
        let due: Vec<StepKey> = self
            .saga
            .in_flight()
            .filter(|(_, flight)| flight.wait.due() <= self.now)
            .map(|(run, _)| run.key.clone())
            .collect();
        for key in due {
            // What one of them brings about may settle another.
            let flight = self.saga.step(key.as_str()).and_then(|run| run.flight);
            let (Some(flight), Some(step)) = (flight, self.step(&key)) else { continue };
            if flight.wait.due() > self.now {
                continue;
            }
            let one = One { step, key: &key, flight };
            match (flight.wait, flight.direction) {
                (Wait::Reply(_), Direction::Action) => self.on_action_timeout(&one),
                (Wait::Reply(_), Direction::Compensation) => self.on_compensation_timeout(&one),
                (Wait::Retry(_), Direction::Action) => self.retry_action(&one),
                (Wait::Retry(_), Direction::Compensation) => {
                    self.send_compensation(step, &key, flight.attempt.saturating_add(1));
                }
                (Wait::Time(_), _) => self.on_time(&one),
            }
        }
        if matches!(self.saga.phase, Phase::Forward | Phase::Backward) {
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
        let out: Vec<StepKey> = self
            .saga
            .in_flight()
            .filter(|(_, flight)| matches!(flight.wait, Wait::Reply(_)))
            .map(|(run, _)| run.key.clone())
            .collect();
        for step in out {
            self.record(Event::SentAgain { step });
        }
        self.repeat();
    }

    fn on_cancel(&mut self, cause: &Cause) -> Result<(), Refusal> {
        match self.saga.phase {
            Phase::Ended(_) => return Err(Refusal::Ended),
            Phase::Held => return Err(Refusal::Held),
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
        match cause {
            Cause::Cancelled { by, reason } => {
                self.record(Event::CancelRequested { by: by.clone(), reason: reason.clone() });
            }
            Cause::Rejected { .. }
            | Cause::Failed { .. }
            | Cause::TimedOut { .. }
            | Cause::ForwardBudget { .. }
            | Cause::NotSent { .. }
            | Cause::Tombstoned { .. }
            | Cause::Parent { .. } => self.record(Event::Stopping { cause: cause.clone() }),
        }
        self.quiesce();
        Ok(())
    }

    /// The effects of what is under way, with their ids unchanged.
    fn repeat(&mut self) {
        match self.saga.phase {
            Phase::Ended(end) => self.announce(end),
            Phase::Held => self.answer_parent(),
            Phase::Forward | Phase::Backward => {
                let out: Vec<(StepKey, Flight, Timestamp)> = self
                    .saga
                    .in_flight()
                    .filter_map(|(run, flight)| match flight.wait {
                        Wait::Reply(until) => Some((run.key.clone(), flight, until)),
                        Wait::Retry(_) | Wait::Time(_) => None,
                    })
                    .collect();
                for (key, flight, until) in out {
                    if let Some(step) = self.step(&key) {
                        self.emit(&One { step, key: &key, flight }, until.since(self.now));
                    }
                }
                if self.saga.stopping.is_some() {
                    self.stop_parts(|_| true);
                }
            }
        }
    }

    fn emit(&mut self, one: &One<'_>, budget: Millis) {
        let One { step, key, flight } = one;
        let Some(run) = self.saga.step(key.as_str()) else { return };
        let input = run.request.clone().unwrap_or_else(|| self.saga.input.clone());
        let id = self.saga.command_id(run, *flight);
        let (participant, action) = match &step.work {
            Work::Participant { participant, action } => (participant.clone(), action),
            Work::Saga { definition, version } => {
                let kind = match flight.direction {
                    Direction::Action => AskKind::Run(budget),
                    Direction::Compensation => AskKind::Undo(budget),
                };
                let ask = self.ask(key, definition, *version, input, kind);
                self.effects.push(Effect::Ask(Box::new(ask)));
                return;
            }
            // Nothing is out of a step that only waits.
            Work::Signal { .. } | Work::Approval { .. } | Work::Delay => return,
        };
        let (operation, body) = match (flight.direction, &step.compensation) {
            (Direction::Compensation, Some(undo)) => (
                undo.action.clone(),
                CommandBody { input, result: run.output.clone(), saga_input: Some(self.saga.input.clone()) },
            ),
            (Direction::Compensation, None) => return,
            (Direction::Action, _) => (action.clone(), CommandBody { input, result: None, saga_input: None }),
        };
        self.effects.push(Effect::Send(Box::new(Command { id, participant, operation, budget, body })));
    }

    fn end(&mut self, end: End) {
        // The answer that ends a saga may come before the wake-up that would have said so. A sub-saga that is held was
        // done in its time, and ends when its parent does.
        let is_held = self.saga.phase == Phase::Held;
        if !is_held && !self.saga.window_missed && self.saga.deadline <= self.now {
            self.record(Event::WindowMissed);
        }
        self.record(Event::Ended { end });
        self.announce(end);
    }

    fn announce(&mut self, end: End) {
        // A parent that was completed before its sub-saga waits for nothing.
        if end == End::Compensated {
            self.answer_parent();
        }
        self.release_children();
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

    fn block(&mut self, key: &StepKey, reason: BlockedReason, message: String) {
        let is_news = match self.saga.blocked_at(key) {
            None => true,
            // A broken contract is worse news than a failure.
            Some(blocked) => reason == BlockedReason::CompensationRejected && blocked.reason != reason,
        };
        if is_news {
            self.record(Event::Blocked { step: key.clone(), reason, message });
        }
    }

    fn unblock(&mut self, key: &StepKey) {
        if self.saga.blocked_at(key).is_some() {
            self.record(Event::Unblocked { step: key.clone() });
        }
    }

    fn run(&self, key: &StepKey) -> Option<&StepRun> {
        self.saga.step(key.as_str())
    }

    fn effect_id(&self, key: &StepKey, direction: Direction) -> EffectId {
        EffectId { saga: self.saga.id, step: key.clone(), direction }
    }
}

impl<'a> Draft<'a> {
    /// The definition's step, borrowed from the definition and not from the draft.
    fn step(&self, key: &StepKey) -> Option<&'a Step> {
        self.definition.step(key.step()).map(|(_, step)| step)
    }
}

/// A step, or an iteration of one, that has something under way.
struct One<'a> {
    step: &'a Step,
    key: &'a StepKey,
    flight: Flight,
}
