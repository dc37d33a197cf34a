//! Participants and sub-sagas that keep the barrier's promises, so that the truth about effects is known.

use std::collections::BTreeMap;

use snorri_saga::definition::{Step, StepKind, Work};
use snorri_saga::ids::{Direction, StepKey};
use snorri_saga::json::Json;
use snorri_saga::wire::Outcome;

/// How a participant is minded when a command that is new to it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Ok,
    Rejected,
    Partial,
    Failed,
    Working,
}

/// What is true of one effect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth {
    pub(crate) applied: bool,
    /// How often it was applied: an effect happens once.
    pub(crate) times: u32,
    action: Option<Outcome>,
    undone: Option<Outcome>,
    failed: (u32, u32),
    pub(crate) released: bool,
}

impl Truth {
    pub(crate) fn is_left(&self) -> bool {
        self.applied && self.undone.is_none()
    }

    pub(crate) fn is_undone(&self) -> bool {
        self.undone.is_some()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Participants {
    pub(crate) truths: BTreeMap<StepKey, Truth>,
}

impl Participants {
    /// A command arrives, and is answered: to what, and what. `is_past`: the pivot was sent, and nothing but a yes is lawful of
    /// steps that are no pivot.
    pub(crate) fn answer(
        &mut self,
        step: &Step,
        key: &StepKey,
        direction: Direction,
        attempt: u32,
        mood: Mood,
        is_past: bool,
    ) -> (Direction, Outcome) {
        let truth = self.truths.entry(key.clone()).or_default();
        let is_saga = matches!(step.work, Work::Saga { .. });
        let failed = Outcome::Failed { message: "not now".to_owned(), retry_after: None };
        let kept = match direction {
            Direction::Action if is_saga && truth.undone.is_some() => {
                return (Direction::Compensation, truth.undone.clone().unwrap_or(failed));
            }
            Direction::Action if truth.action.is_none() && truth.undone.is_some() => {
                Some(Outcome::Tombstoned)
            }
            Direction::Action => truth.action.clone(),
            Direction::Compensation => truth.undone.clone(),
        };
        let promised = match direction {
            Direction::Action => truth.failed.0,
            Direction::Compensation => truth.failed.1,
        };
        let outcome = match kept {
            Some(outcome) => outcome,
            None if attempt <= promised => failed,
            None => truth.news(step, direction, attempt, mood, is_past),
        };
        (direction, outcome)
    }
}

impl Truth {
    fn news(
        &mut self,
        step: &Step,
        direction: Direction,
        attempt: u32,
        mood: Mood,
        is_past: bool,
    ) -> Outcome {
        let is_saga = matches!(step.work, Work::Saga { .. });
        // A broken contract, which a person mends: not kept.
        let must_succeed = step.kind == StepKind::Retriable || (step.kind == StepKind::Read && is_past);
        let no = |partial| Outcome::Rejected { code: "no".to_owned(), message: String::new(), partial };
        let failed = Outcome::Failed { message: "not now".to_owned(), retry_after: None };
        match (direction, mood) {
            (_, Mood::Working) => Outcome::Working,
            (Direction::Compensation, Mood::Failed) if !is_saga => {
                self.failed.1 = attempt;
                failed
            }
            (Direction::Compensation, Mood::Rejected | Mood::Partial) if !is_saga => no(false),
            (Direction::Compensation, _) => {
                let outcome = Outcome::Ok { output: Json::null(), empty: !self.applied };
                self.undone = Some(outcome.clone());
                outcome
            }
            // `failed` promises that nothing is left.
            (Direction::Action, Mood::Failed) if !is_saga && !self.applied => {
                self.failed.0 = attempt;
                failed
            }
            (Direction::Action, Mood::Rejected) if must_succeed => no(false),
            (Direction::Action, Mood::Partial) if step.kind == StepKind::Pivot && !is_saga => {
                self.applied = true;
                no(true)
            }
            (Direction::Action, Mood::Partial) if step.kind == StepKind::Compensatable && !is_saga => {
                self.kept(true, no(true))
            }
            (Direction::Action, Mood::Rejected | Mood::Partial) if !must_succeed => {
                self.kept(false, no(false))
            }
            (Direction::Action, _) => self.kept(true, Outcome::Ok { output: Json::null(), empty: false }),
        }
    }

    fn kept(&mut self, applied: bool, outcome: Outcome) -> Outcome {
        self.applied = applied;
        self.times += u32::from(applied);
        self.action = Some(outcome.clone());
        outcome
    }
}
