//! A state: the saga, what is on its way, and what is true at the participants.

use std::rc::Rc;

use snorri_saga::definition::{Definition, Step, StepKind, Work};
use snorri_saga::ids::{CommandId, Direction, EffectId, SagaId, StepKey};
use snorri_saga::journal::End;
use snorri_saga::saga::{Flight, Phase, Saga, StepRun, StepState, Wait};
use snorri_saga::time::Timestamp;
use snorri_saga::wire::Reply;

use super::model::Answers;
use super::participant::{Said, Truth, Truths};

/// When every saga that is explored starts.
pub(super) const EPOCH: Timestamp = Timestamp(1_763_899_200_000_000);

/// A step, or an item of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) step: usize,
    pub(super) item: Option<u32>,
}

impl Key {
    pub(super) fn of(definition: &Definition, key: &StepKey) -> Option<Self> {
        Some(Self { step: at_of(definition, key)?, item: key.number() })
    }

    pub(super) fn name(self, definition: &Definition) -> Option<StepKey> {
        let name = &definition.steps.get(self.step)?.name;
        Some(match self.item {
            None => StepKey::from(name),
            Some(item) => StepKey::iteration(name, item),
        })
    }
}

/// The position of the step of that key.
pub(super) fn at_of(definition: &Definition, key: &StepKey) -> Option<usize> {
    let of = |name: &str| definition.steps.iter().position(|step| step.name.as_str() == name);
    of(key.as_str()).or_else(|| of(key.step()))
}

/// Something that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Message {
    /// A command. How often it was sent makes a difference to nobody, but that there may be two answers to it.
    Command { key: Key, direction: Direction, attempt: u32, twice: bool },
    /// An answer that is late, or comes once more.
    Reply { key: Key, direction: Direction, attempt: u32, said: Said },
    /// A sub-saga is let go of.
    Release { key: Key },
}

/// What a saga and the one that it is a part of have said to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each was said, or was not")]
pub(super) struct Family {
    /// It said that all its steps are done.
    pub(super) told_done: bool,
    /// It said that it was refused.
    pub(super) told_refused: bool,
    /// It was asked to be undone.
    pub(super) undo_asked: bool,
    /// It said that it is undone.
    pub(super) told_undone: bool,
    /// It was let go of.
    pub(super) released: bool,
}

/// A state.
#[derive(Clone)]
pub(super) struct World {
    pub(super) saga: Rc<Saga>,
    pub(super) now: Timestamp,
    pub(super) answers: Answers,
    /// Sorted, each once.
    pub(super) out: Vec<Message>,
    pub(super) truths: Truths,
    /// How often each signal was given.
    pub(super) signals: Vec<u8>,
    /// A crash lost commands that were committed.
    pub(super) owed: bool,
    pub(super) announced: bool,
    pub(super) family: Family,
}

impl World {
    /// What it takes in memory, roughly, in bytes.
    pub(super) fn weight(&self) -> usize {
        512 + self.saga.steps.len() * 256 + (self.out.len() + self.truths.len()) * 64
    }

    pub(super) fn truth(&self, key: Key) -> Truth {
        self.truths.get(key)
    }

    pub(super) fn put(&mut self, message: Message) {
        if let Err(at) = self.out.binary_search(&message) {
            self.out.insert(at, message);
        }
    }

    pub(super) fn remove(&mut self, message: &Message) {
        self.out.retain(|other| other != message);
    }

    /// A command goes out; once more if it is out already.
    pub(super) fn send(&mut self, key: Key, direction: Direction, attempt: u32) {
        let once = Message::Command { key, direction, attempt, twice: false };
        let twice = Message::Command { key, direction, attempt, twice: true };
        if self.out.contains(&once) {
            self.remove(&once);
            self.put(twice);
        } else if !self.out.contains(&twice) {
            self.put(once);
        }
    }

    /// The command of that attempt, if it has not arrived.
    pub(super) fn command(&self, key: Key, flight: Flight) -> Option<Message> {
        let is_it = |message: &&Message| match message {
            Message::Command { key: of, direction, attempt, .. } => {
                (*of, *direction, *attempt) == (key, flight.direction, flight.attempt)
            }
            Message::Reply { .. } | Message::Release { .. } => false,
        };
        self.out.iter().find(is_it).copied()
    }

    /// Forgets messages that say what the saga knows already: it refuses them, now and for ever.
    pub(super) fn forget(&mut self, definition: &Definition) {
        let mut out = std::mem::take(&mut self.out);
        out.retain(|message| !self.is_known(definition, message));
        self.out = out;
    }

    /// Whether nothing of it is on its way.
    pub(super) fn is_quiet(&self, key: Key) -> bool {
        self.out.iter().all(|message| match message {
            Message::Command { key: of, .. }
            | Message::Reply { key: of, .. }
            | Message::Release { key: of } => *of != key,
        })
    }

    fn is_known(&self, definition: &Definition, message: &Message) -> bool {
        let (key, direction, kept) = match *message {
            Message::Release { .. } => return false,
            Message::Reply { key, direction, said, .. } => (key, direction, Some((direction, said))),
            Message::Command { key, direction, attempt, .. } => {
                let step = definition.steps.get(key.step);
                (key, direction, step.and_then(|step| self.truth(key).kept(step, direction, attempt)))
            }
        };
        let (Some(run), Some((answers, said))) = (self.run(definition, key), kept) else { return false };
        // A command that is awaited is no late one.
        let is_under_way = run.flight.is_some_and(|flight| flight.direction == direction);
        let is_open = run.flight.is_some_and(|flight| flight.direction == answers);
        let knows = match answers {
            Direction::Action => run.late || run.output.is_some() || !matches!(said, Said::Ok),
            Direction::Compensation => matches!(run.state, StepState::Undone | StepState::Fenced),
        };
        !is_under_way && !is_open && knows
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.saga.phase, Phase::Ended(_))
    }

    /// Whether nothing is left to be done by anybody.
    pub(super) fn is_settled(&self, definition: &Definition) -> bool {
        let Phase::Ended(end) = self.saga.phase else { return false };
        let is_held = |(key, truth): (Key, &Truth)| {
            is_saga(definition, key) && truth.is_left() && !truth.released && end == End::Completed
        };
        let is_told = self.saga.parent.is_none()
            || self.family.told_undone
            || self.family.released
            || (self.family.told_refused && !self.family.undo_asked);
        !self.owed && self.announced && is_told && !self.truths.iter().any(is_held)
    }

    /// The run of that key.
    pub(super) fn run(&self, definition: &Definition, key: Key) -> Option<&StepRun> {
        match key.item {
            None => self.saga.step(definition.steps.get(key.step)?.name.as_str()),
            Some(_) => self.saga.step(key.name(definition)?.as_str()),
        }
    }
}

/// The attempts whose answer is awaited.
pub(super) fn awaited<'a>(definition: &Definition, saga: &'a Saga) -> Vec<(Key, &'a StepRun, Flight)> {
    saga.in_flight()
        .filter(|(_, flight)| matches!(flight.wait, Wait::Reply(_)))
        .filter_map(|(run, flight)| Some((Key::of(definition, &run.key)?, run, flight)))
        .collect()
}

/// Whether a sub-saga does it.
pub(super) fn is_saga(definition: &Definition, key: Key) -> bool {
    definition.steps.get(key.step).is_some_and(|step| matches!(step.work, Work::Saga { .. }))
}

/// An answer as it reaches the saga.
pub(super) fn reply(saga: SagaId, step: &StepKey, direction: Direction, attempt: u32, said: Said) -> Reply {
    let effect = EffectId { saga, step: step.clone(), direction };
    Reply { command: CommandId { effect, attempt, sending: 0 }, outcome: said.outcome() }
}

/// Whether an effect of the step may stay though the saga is undone.
pub(super) fn may_stay(step: &Step) -> bool {
    match step.kind {
        StepKind::Read => true,
        StepKind::Compensatable => step.compensation.is_none(),
        StepKind::Pivot | StepKind::Retriable => false,
    }
}
