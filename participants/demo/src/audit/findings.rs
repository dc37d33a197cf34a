//! What an audit looks for, by the names under which the reports list it, and what it found of each.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

/// What must hold at the end of a run, whatever was done to the system meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// A saga that was answered with 2xx exists.
    AcceptedExists,
    /// Every saga ended.
    AllEnded,
    /// A step's action has at most one effect, and so has its compensation.
    OneEffect,
    /// In a completed saga every step's effect is there, and none is undone.
    CompletedIsDone,
    /// In a compensated saga every effect is undone once, the last one first.
    CompensatedIsUndone,
    /// No action has its effect after its compensation.
    NothingAfterUndo,
    /// No compensation has an effect where its action had none.
    NoUndoOfNothing,
    /// Units and cents are moved, never made or lost.
    BooksBalance,
    /// A saga's journal is dense from 1, its row says the same as its journal, and an end is final.
    JournalAgrees,
    /// What has not ended has a time at which it is looked at, and is looked at then.
    LiveHasWake,
    /// One idempotency key is one saga.
    OneKeyOneSaga,
    /// No action before the pivot is begun after the time for going forwards.
    NoLateStep,
    /// Every dead letter is one that the run itself sent, or what a downgrade leaves unread.
    DeadLettersExplained,
    /// Memory, connections, streams and dead rows stay within their bounds.
    Bounded,
    /// Every end follows from its order, or from a trouble; and most good orders are completed.
    EndsExplained,
}

impl Invariant {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 15] = [
        Self::AcceptedExists,
        Self::AllEnded,
        Self::OneEffect,
        Self::CompletedIsDone,
        Self::CompensatedIsUndone,
        Self::NothingAfterUndo,
        Self::NoUndoOfNothing,
        Self::BooksBalance,
        Self::JournalAgrees,
        Self::LiveHasWake,
        Self::OneKeyOneSaga,
        Self::NoLateStep,
        Self::DeadLettersExplained,
        Self::Bounded,
        Self::EndsExplained,
    ];

    /// Its short name.
    pub fn id(self) -> &'static str {
        match self {
            Self::AcceptedExists => "I1",
            Self::AllEnded => "I2",
            Self::OneEffect => "I3",
            Self::CompletedIsDone => "I4",
            Self::CompensatedIsUndone => "I5",
            Self::NothingAfterUndo => "I6",
            Self::NoUndoOfNothing => "I7",
            Self::BooksBalance => "I8",
            Self::JournalAgrees => "I9",
            Self::LiveHasWake => "I10",
            Self::OneKeyOneSaga => "I12",
            Self::NoLateStep => "I13",
            Self::DeadLettersExplained => "I14",
            Self::Bounded => "I16",
            Self::EndsExplained => "I17",
        }
    }

    /// What it says.
    pub fn says(self) -> &'static str {
        match self {
            Self::AcceptedExists => "every accepted saga exists",
            Self::AllEnded => "every saga ended, and every start was answered",
            Self::OneEffect => "at most one effect of each action and of each compensation",
            Self::CompletedIsDone => "completed: every effect is there, none is undone",
            Self::CompensatedIsUndone => "compensated: every effect is undone once, the last one first",
            Self::NothingAfterUndo => "no effect after its compensation",
            Self::NoUndoOfNothing => "no compensation of what never happened",
            Self::BooksBalance => "stock and money balance, to the unit and to the cent",
            Self::JournalAgrees => "journals are dense, rows agree with them, an end is final",
            Self::LiveHasWake => "what is live has a wake-up, and none is overdue",
            Self::OneKeyOneSaga => "one idempotency key, one saga",
            Self::NoLateStep => "no step before the pivot begins after the forward deadline",
            Self::DeadLettersExplained => {
                "every dead letter was sent on purpose, or is what a downgrade leaves unread"
            }
            Self::EndsExplained => {
                "every end follows from its order or from a trouble, and good orders complete"
            }
            Self::Bounded => "memory, connections, streams and dead rows are bounded",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Invariant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// What was looked at and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    checked: BTreeMap<Invariant, u64>,
    problems: Vec<(Invariant, String)>,
}

impl Findings {
    /// Counts things that an invariant was checked on.
    pub fn checked(&mut self, invariant: Invariant, count: usize) {
        *self.checked.entry(invariant).or_default() += count as u64;
    }

    /// Writes down what is wrong, in a sentence.
    pub fn wrong(&mut self, invariant: Invariant, problem: impl Into<String>) {
        self.problems.push((invariant, problem.into()));
    }

    /// Adds what another audit found.
    pub fn merge(&mut self, other: Self) {
        for (invariant, count) in other.checked {
            *self.checked.entry(invariant).or_default() += count;
        }
        self.problems.extend(other.problems);
    }

    /// On how many things an invariant was checked.
    pub fn count(&self, invariant: Invariant) -> u64 {
        self.checked.get(&invariant).copied().unwrap_or(0)
    }

    /// What is wrong, in the order in which it was found.
    pub fn problems(&self) -> &[(Invariant, String)] {
        &self.problems
    }

    /// What is wrong with one invariant.
    pub fn of(&self, invariant: Invariant) -> impl Iterator<Item = &str> {
        self.problems.iter().filter(move |(of, _)| *of == invariant).map(|(_, text)| text.as_str())
    }
}
