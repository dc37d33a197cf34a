//! What becomes of a command: how its participant is minded, when it arrives, and when its answer does.

use snorri_saga::definition::{Step, StepKind, Work};
use snorri_saga::ids::Direction;
use snorri_saga::time::Millis;

use crate::participants::Mood;

/// What becomes of a command, as drawn: a number for its answer, one for its way. When there are no more, all is well.
pub(crate) type Fate = (u8, u8);

/// How much trouble there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Anything may happen.
    Any,
    /// Nothing happens that the window does not allow for: nobody is silent whose result must be known, each compensation is
    /// done within its own policy, each step behind the pivot at once, and nobody sleeps.
    WithinMeans,
    /// The same, and everything takes as long as it may.
    Slow,
}

/// How the answer to a command goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Back {
    After(Millis),
    Twice(Millis, Millis),
    Never,
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    pub(crate) mood: Mood,
    /// When it arrives, if it does.
    pub(crate) there: Option<Millis>,
    pub(crate) back: Back,
}

/// A command.
pub(crate) struct Sent<'a> {
    pub(crate) step: &'a Step,
    pub(crate) direction: Direction,
    pub(crate) attempt: u32,
    /// How long its answer is awaited.
    pub(crate) budget: Millis,
    /// The pivot was sent.
    pub(crate) is_past: bool,
    pub(crate) pace: Pace,
}

impl Sent<'_> {
    pub(crate) fn course(&self, (mood, way): Fate) -> Course {
        let mood = match mood % 16 {
            0..=8 => Mood::Ok,
            9..=11 => Mood::Rejected,
            12 => Mood::Partial,
            13 | 14 => Mood::Failed,
            _ => Mood::Working,
        };
        let share = |part: u64| Millis(self.budget.0 * part / 8);
        match self.pace {
            Pace::Any => {
                let (there, back) = Self::way(way, share);
                Course { mood, there, back }
            }
            Pace::WithinMeans => {
                let (there, back) = Self::way(way, share);
                let is_there = there.is_some_and(|there| there <= share(4));
                let in_time = is_there && matches!(back, Back::After(after) if after <= share(3));
                self.meant(Course { mood, there, back }, in_time, share(3))
            }
            Pace::Slow => {
                let last = self.budget.minus(Millis(1));
                let is_silent = way % 3 == 0 || self.direction == Direction::Compensation;
                let there = if is_silent { None } else { Some(Millis(0)) };
                self.meant(Course { mood, there, back: Back::After(last) }, !is_silent, last)
            }
        }
    }

    /// To the participant, and back.
    fn way(way: u8, share: impl Fn(u64) -> Millis) -> (Option<Millis>, Back) {
        match way % 16 {
            0..=4 => (Some(Millis(0)), Back::After(Millis(0))),
            5..=7 => (Some(share(1)), Back::After(share(3))),
            8 => (Some(share(4)), Back::After(share(3))),
            9 => (Some(share(12)), Back::After(share(1))),
            10 => (Some(share(40)), Back::After(Millis(0))),
            11 => (Some(share(1)), Back::After(share(13))),
            12 => (Some(share(1)), Back::Twice(share(2), share(30))),
            13 => (None, Back::Never),
            _ => (Some(share(1)), Back::Never),
        }
    }

    /// The same as far as the window allows for it.
    fn meant(&self, drawn: Course, in_time: bool, last: Millis) -> Course {
        let Self { step, direction, .. } = *self;
        let at_last = |mood| Course { mood, there: Some(Millis(0)), back: Back::After(last) };
        let is_last = step.compensation.as_ref().is_some_and(|undo| self.attempt >= undo.retry.attempts);
        let is_pivot = step.kind == StepKind::Pivot;
        let (mood, has_to_answer) = match (direction, drawn.mood) {
            (Direction::Compensation, _) if is_last || matches!(step.work, Work::Saga { .. }) => {
                (Mood::Ok, is_last)
            }
            // No participant may refuse it.
            (Direction::Compensation, Mood::Rejected | Mood::Partial | Mood::Working) => {
                (Mood::Failed, false)
            }
            (Direction::Compensation, mood) => (mood, false),
            (Direction::Action, _) if self.is_past && !is_pivot => return at_last(Mood::Ok),
            // Half a pivot is a person's matter.
            (Direction::Action, Mood::Partial) if is_pivot => (Mood::Rejected, true),
            (Direction::Action, mood) => {
                let mood = if mood == Mood::Working { Mood::Ok } else { mood };
                (mood, step.compensation.is_none() && step.kind != StepKind::Read)
            }
        };
        if has_to_answer && !in_time { at_last(mood) } else { Course { mood, ..drawn } }
    }
}
