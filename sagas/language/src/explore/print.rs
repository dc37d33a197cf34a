//! When two states are one: a fingerprint of what makes a difference.
//!
//! Left out is what the core passes on and never looks at (payloads, messages, why it is undone), the order in which steps
//! began, the number of a sending, and how often an action was tried that is over and of which nothing is on its way.
//!
//! Of time, what counts is how long it is until something is due, and until the window is over. When more of the window is
//! left than can be used up by whatever may still happen within the bounds ([`Model::far`]), it does not matter how
//! much: so a saga in which an attempt was lost and the next one succeeded is where it would be without that. One to which
//! nobody looks until the window is over is a fault of its own, and counts exactly.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hasher};

use snorri_saga::definition::{Definition, Work};
use snorri_saga::ids::Direction;
use snorri_saga::journal::{BlockedReason, End};
use snorri_saga::retry::BLOCKED_AFTER;
use snorri_saga::saga::{Phase, StepRun, StepState, Wait};
use snorri_saga::time::{Millis, Timestamp};

use super::model::{Answer, Model};
use super::participant::{Said, Truth};
use super::world::{Key, Message, World};

/// A state's fingerprint.
pub(super) type Print = u128;

/// A map by fingerprints, which are hashes and need no other.
pub(super) type ByPrint<T> = HashMap<Print, T, BuildHasherDefault<Half>>;

/// The hash of a fingerprint: half of it.
#[derive(Default)]
pub(super) struct Half(u64);

impl Hasher for Half {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, print: u128) {
        self.0 = u64::try_from(print & u128::from(u64::MAX)).unwrap_or_default();
    }
}

/// A compensation that is tried for so long is blocked; longer makes no difference.
const LONG: Millis = BLOCKED_AFTER;

/// Makes fingerprints.
pub(super) struct Printer {
    bytes: Vec<u8>,
    far: Millis,
}

impl Printer {
    pub(super) fn new(model: &Model) -> Self {
        Self { bytes: Vec::new(), far: model.far }
    }

    pub(super) fn print(&mut self, definition: &Definition, world: &World) -> Print {
        self.bytes.clear();
        self.world(definition, world);
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(seed);
            hasher.write(&self.bytes);
            u128::from(hasher.finish())
        };
        half(1) << 64 | half(2)
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn flags(&mut self, flags: &[bool]) {
        self.byte(flags.iter().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
    }

    fn number(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }

    /// What is over is over, however long.
    fn span(&mut self, from: Timestamp, to: Timestamp) {
        self.bytes.extend(to.since(from).0.to_le_bytes());
    }

    fn key(&mut self, key: Key) {
        self.number(u32::try_from(key.step).unwrap_or(u32::MAX));
        self.number(key.item.map_or(0, |item| item + 1));
    }

    fn world(&mut self, definition: &Definition, world: &World) {
        let (saga, now) = (&world.saga, world.now);
        self.byte(match saga.phase {
            Phase::Forward => 0,
            Phase::Backward => 1,
            Phase::Held => 2,
            Phase::Ended(End::Completed) => 3,
            Phase::Ended(End::Compensated) => 4,
        });
        let is_stopping = saga.stopping.is_some();
        self.flags(&[is_stopping, saga.pivot_sent, saga.at_risk, saga.window_missed, saga.undo_asked]);
        self.flags(&[world.owed, world.announced, saga.asked > 0]);
        let family = world.family;
        self.flags(&[
            family.told_done,
            family.told_refused,
            family.undo_asked,
            family.told_undone,
            family.released,
        ]);
        for answer in world.answers.iter() {
            match answer {
                None => self.byte(0),
                Some(Answer::Skip) => self.byte(1),
                Some(Answer::Cannot) => self.byte(2),
                Some(Answer::Run(items)) => {
                    self.byte(3);
                    self.number(*items);
                }
            }
        }
        self.bytes.extend(&world.signals);
        for signal in &saga.signals {
            self.bytes.extend(signal.name.as_str().as_bytes());
            self.flags(&[signal.taken_by.is_some()]);
        }
        if !world.is_ended() && saga.deadline.since(now) < self.far {
            self.span(now, saga.deadline);
            self.span(now, saga.risk_at);
        }
        let mut runs: Vec<(Key, &StepRun)> =
            saga.steps.iter().filter_map(|run| Some((Key::of(definition, &run.key)?, run))).collect();
        // Of two that wait for one signal, the first takes it.
        for (key, run) in &runs {
            let is_signal =
                definition.steps.get(key.step).is_some_and(|step| matches!(step.work, Work::Signal { .. }));
            if is_signal && run.state == StepState::Acting {
                self.key(*key);
            }
        }
        runs.sort_unstable_by_key(|(key, _)| *key);
        self.number(u32::try_from(runs.len()).unwrap_or(u32::MAX));
        for (key, run) in runs {
            self.key(key);
            self.run(now, run, world.is_quiet(key));
            self.byte(match saga.blocked_at(&run.key).map(|blocked| blocked.reason) {
                None => 0,
                Some(BlockedReason::Unknown) => 1,
                Some(BlockedReason::CompensationFails) => 2,
                Some(BlockedReason::CompensationRejected) => 3,
                Some(BlockedReason::RetriableFails) => 4,
            });
        }
        for message in &world.out {
            self.message(message);
        }
        self.byte(u8::MAX);
        for (key, truth) in world.truths.iter() {
            self.key(key);
            self.truth(truth);
            // Further attempts are beyond those.
            if !world.is_quiet(key) {
                self.number(truth.failed.0);
                self.number(truth.failed.1);
            }
        }
    }

    fn run(&mut self, now: Timestamp, run: &StepRun, is_quiet: bool) {
        self.byte(match run.state {
            StepState::Skipped => 0,
            StepState::Acting => 1,
            StepState::Done => 2,
            StepState::NotDone => 3,
            StepState::InDoubt => 4,
            StepState::Undoing => 5,
            StepState::Undone => 6,
            StepState::Fenced => 7,
        });
        let is_acting = run.flight.is_some_and(|flight| flight.direction == Direction::Action);
        if is_acting || !is_quiet {
            self.number(run.attempts);
            self.flags(&[true, run.unknown]);
        }
        self.flags(&[run.late, run.output.is_some(), run.flight.is_some()]);
        let Some(flight) = run.flight else { return };
        self.byte(direction(flight.direction));
        self.number(flight.attempt);
        self.span(now, flight.wait.due());
        if flight.direction == Direction::Compensation {
            self.bytes.extend(now.since(flight.since).min(LONG).0.to_le_bytes());
        }
        match flight.wait {
            Wait::Reply(_) => self.byte(0),
            Wait::Retry(_) => self.byte(1),
            Wait::Time(_) => {
                self.byte(2);
                // Whether it was cut short shows in how long it was meant to be.
                self.bytes.extend(flight.wait.due().since(flight.sent_at).0.to_le_bytes());
            }
        }
    }

    fn message(&mut self, message: &Message) {
        match message {
            Message::Command { key, direction: of, attempt, twice } => {
                self.flags(&[true, *twice]);
                self.key(*key);
                self.byte(direction(*of));
                self.number(*attempt);
            }
            Message::Reply { key, direction: of, attempt, said: what } => {
                self.byte(4);
                self.key(*key);
                self.byte(direction(*of));
                self.number(*attempt);
                self.byte(said(Some(*what)));
            }
            Message::Release { key } => {
                self.byte(5);
                self.key(*key);
            }
        }
    }

    fn truth(&mut self, truth: &Truth) {
        self.byte(said(truth.action));
        self.byte(said(truth.compensation));
        self.flags(&[truth.applied, truth.released]);
    }
}

fn direction(direction: Direction) -> u8 {
    match direction {
        Direction::Action => 0,
        Direction::Compensation => 1,
    }
}

fn said(said: Option<Said>) -> u8 {
    match said {
        None => 0,
        Some(Said::Ok) => 1,
        Some(Said::Empty) => 2,
        Some(Said::Rejected) => 3,
        Some(Said::Partial) => 4,
        Some(Said::Failed) => 5,
        Some(Said::Tombstoned) => 6,
    }
}
