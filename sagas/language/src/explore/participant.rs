//! Who answers: participants that keep the barrier's promises, and sub-sagas, which keep the same. So what is true of each
//! effect is known, whatever the saga believes.

use snorri_saga::definition::{Step, StepKind, Work};
use snorri_saga::ids::Direction;
use snorri_saga::json::Json;
use snorri_saga::wire::Outcome;

use super::world::Key;

/// What is answered, as far as it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Said {
    /// Done.
    Ok,
    /// A compensation found nothing, and fenced the action off.
    Empty,
    /// A final no; nothing is left.
    Rejected,
    /// A final no; something is left.
    Partial,
    /// Not now.
    Failed,
    /// The action was compensated before it came.
    Tombstoned,
}

impl Said {
    pub(super) fn outcome(self) -> Outcome {
        let rejected = |partial| Outcome::Rejected { code: "no".to_owned(), message: String::new(), partial };
        match self {
            Self::Ok => Outcome::Ok { output: Json::null(), empty: false },
            Self::Empty => Outcome::Ok { output: Json::null(), empty: true },
            Self::Rejected => rejected(false),
            Self::Partial => rejected(true),
            Self::Failed => Outcome::Failed { message: String::new(), retry_after: None },
            Self::Tombstoned => Outcome::Tombstoned,
        }
    }
}

/// What is true of one step's effect, or of one item's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Truth {
    /// The action's answer that is kept, and given to each further attempt.
    pub(super) action: Option<Said>,
    /// The compensation's.
    pub(super) compensation: Option<Said>,
    /// The effect, or a part of it, was applied.
    pub(super) applied: bool,
    /// Up to this attempt the action, and the compensation, were answered `failed`: those commands do nothing any more.
    pub(super) failed: (u32, u32),
    /// A sub-saga that its parent let go of: completed.
    pub(super) released: bool,
}

/// What is true of all of them: few, sorted by key, and copied with each state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Truths(Vec<(Key, Truth)>);

impl Truths {
    pub(super) fn get(&self, key: Key) -> Truth {
        self.place(key).ok().and_then(|at| self.0.get(at)).map_or_else(Truth::default, |(_, truth)| *truth)
    }

    pub(super) fn change(&mut self, key: Key, change: impl FnOnce(&mut Truth)) {
        let at = self.place(key).unwrap_or_else(|at| {
            self.0.insert(at, (key, Truth::default()));
            at
        });
        if let Some((_, truth)) = self.0.get_mut(at) {
            change(truth);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Truth)> {
        self.0.iter().map(|(key, truth)| (*key, truth))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn place(&self, key: Key) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, |(of, _)| *of)
    }
}

/// An answer that may be given, and how many faults it is.
pub(super) type May = (Said, u8);

impl Truth {
    /// Whether an effect is there.
    pub(super) fn is_left(&self) -> bool {
        self.applied && self.compensation.is_none()
    }

    /// Whether the action can still be applied by a command that arrives.
    pub(super) fn is_open(&self) -> bool {
        self.action.is_none() && self.compensation.is_none()
    }

    /// The answer that is given without anything being done: it was done, or fenced off, before. A sub-saga that was
    /// undone says so whatever it is asked.
    pub(super) fn kept(&self, step: &Step, direction: Direction, attempt: u32) -> Option<(Direction, Said)> {
        let is_saga = matches!(step.work, Work::Saga { .. });
        match direction {
            Direction::Action => match (self.action, self.compensation) {
                (_, Some(undone)) if is_saga => Some((Direction::Compensation, undone)),
                (Some(said), _) => Some((direction, said)),
                (None, Some(_)) => Some((direction, Said::Tombstoned)),
                (None, None) => (attempt <= self.failed.0).then_some((direction, Said::Failed)),
            },
            Direction::Compensation => match self.compensation {
                Some(said) => Some((direction, said)),
                None => (attempt <= self.failed.1).then_some((direction, Said::Failed)),
            },
        }
    }

    /// What may be answered to a command that is new to the participant. `is_past`: nothing but a yes is lawful.
    pub(super) fn may_say(&self, step: &Step, direction: Direction, is_past: bool) -> Vec<May> {
        let is_saga = matches!(step.work, Work::Saga { .. });
        match (direction, step.kind) {
            (Direction::Compensation, _) if is_saga => vec![(Said::Ok, 0)],
            (Direction::Compensation, _) => {
                let done = if self.applied { Said::Ok } else { Said::Empty };
                vec![(done, 0), (Said::Failed, 1), (Said::Rejected, 1)]
            }
            (Direction::Action, _) if is_saga => vec![(Said::Ok, 0), (Said::Rejected, 0)],
            (Direction::Action, StepKind::Compensatable) => {
                vec![(Said::Ok, 0), (Said::Rejected, 0), (Said::Partial, 0), (Said::Failed, 1)]
            }
            // Half of it was done, which nothing undoes: `failed` would promise that nothing is left.
            (Direction::Action, StepKind::Pivot) if self.applied => vec![(Said::Ok, 0), (Said::Rejected, 0)],
            (Direction::Action, StepKind::Pivot) => {
                vec![(Said::Ok, 0), (Said::Rejected, 0), (Said::Partial, 1), (Said::Failed, 1)]
            }
            (Direction::Action, StepKind::Retriable | StepKind::Read) => {
                vec![(Said::Ok, 0), (Said::Rejected, u8::from(is_past)), (Said::Failed, 1)]
            }
        }
    }

    /// A command that is new to the participant is answered with that.
    pub(super) fn say(&mut self, step: &Step, direction: Direction, attempt: u32, said: Said, is_past: bool) {
        match (direction, said) {
            (Direction::Action, Said::Failed) => self.failed.0 = self.failed.0.max(attempt),
            (Direction::Compensation, Said::Failed) => self.failed.1 = self.failed.1.max(attempt),
            // A broken contract, which a person mends: not kept.
            (Direction::Compensation, Said::Rejected | Said::Partial) => {}
            (Direction::Compensation, _) => self.compensation = Some(said),
            (Direction::Action, Said::Rejected) if is_past && step.kind != StepKind::Pivot => {}
            // Not kept either: a person cleans up, and then it is rejected or done.
            (Direction::Action, Said::Partial) if step.kind == StepKind::Pivot => self.applied = true,
            (Direction::Action, _) => {
                self.applied = matches!(said, Said::Ok | Said::Partial);
                self.action = Some(said);
            }
        }
    }
}
