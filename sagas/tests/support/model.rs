//! Model participants with the barrier that the SDK has, so that the truth about effects is known: each
//! effect is applied once, undone once, and never applied once it was fenced off.

use std::collections::{BTreeMap, BTreeSet};

use snorri_saga::decide::Command;
use snorri_saga::definition::{Definition, StepKind};
use snorri_saga::ids::{CommandId, Direction};
use snorri_saga::json::Json;
use snorri_saga::time::Millis;
use snorri_saga::wire::{Outcome, Reply, limit};

/// How a participant is minded when a command that is new to it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Ok,
    OkTooLarge,
    Rejected,
    Partial,
    Failed,
    FailedForLong,
    Working,
}

/// What is true of one step's effect.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) applied: bool,
    pub(crate) undone: bool,
    fenced: bool,
    action: Option<Outcome>,
    compensation: Option<Outcome>,
}

/// All participants together.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) steps: BTreeMap<String, Truth>,
    /// What was answered `failed` stays so: the same command does not apply later.
    failed: BTreeSet<CommandId>,
    large: Json,
}

impl World {
    pub(crate) fn new() -> Self {
        let large = Json::from_value(&serde_json::Value::from("x".repeat(limit::PAYLOAD_BYTES_MAX)));
        Self { steps: BTreeMap::new(), failed: BTreeSet::new(), large }
    }

    pub(crate) fn truth(&self, step: &str) -> (bool, bool) {
        self.steps.get(step).map_or((false, false), |truth| (truth.applied, truth.undone))
    }

    /// A command arrives, for the first time or again.
    pub(crate) fn deliver(&mut self, definition: &Definition, command: &Command, mood: Mood) -> Reply {
        let outcome = self.outcome(definition, command, mood);
        Reply { command: command.id.clone(), outcome }
    }

    fn outcome(&mut self, definition: &Definition, command: &Command, mood: Mood) -> Outcome {
        let name = command.id.effect.step.as_str();
        let (position, step) = definition.step(name).expect("only steps of the definition are sent");
        let truth = self.steps.entry(name.to_owned()).or_default();
        let failed = Outcome::Failed { message: "not now".to_owned(), retry_after: None };
        if self.failed.contains(&command.id) {
            return failed;
        }
        match mood {
            Mood::Failed | Mood::FailedForLong => {
                let stored = match command.id.effect.direction {
                    Direction::Action => &truth.action,
                    Direction::Compensation => &truth.compensation,
                };
                if let Some(outcome) = stored {
                    return outcome.clone();
                }
                // `failed` promises that nothing is left, which nobody says who left half a pivot before.
                if truth.applied && command.id.effect.direction == Direction::Action {
                    return Outcome::Working;
                }
                self.failed.insert(command.id.clone());
                return match mood {
                    Mood::FailedForLong => {
                        Outcome::Failed { message: "later".to_owned(), retry_after: Some(Millis(4321)) }
                    }
                    _ => failed,
                };
            }
            Mood::Ok | Mood::OkTooLarge | Mood::Rejected | Mood::Partial | Mood::Working => {}
        }
        let rejected = |partial| Outcome::Rejected {
            code: "no".to_owned(),
            message: "for a reason".to_owned(),
            partial,
        };
        match command.id.effect.direction {
            Direction::Action => {
                if let Some(outcome) = &truth.action {
                    return outcome.clone();
                }
                if truth.fenced {
                    return Outcome::Tombstoned;
                }
                let must_succeed = definition.is_past_pivot(position) && step.kind != StepKind::Pivot;
                let outcome = match mood {
                    Mood::Ok => Outcome::Ok { output: command.body.input.clone(), empty: false },
                    Mood::OkTooLarge => Outcome::Ok { output: self.large.clone(), empty: false },
                    Mood::Rejected => rejected(false),
                    Mood::Partial => rejected(true),
                    Mood::Failed | Mood::FailedForLong | Mood::Working => return Outcome::Working,
                };
                match mood {
                    // A broken contract, which a person mends at the participant: not kept.
                    Mood::Rejected | Mood::Partial if must_succeed => return outcome,
                    // Not kept either: a person cleans up, and then it is rejected or done.
                    Mood::Partial if step.kind == StepKind::Pivot => {
                        truth.applied = true;
                        return outcome;
                    }
                    Mood::Rejected => truth.applied = false,
                    _ => truth.applied = true,
                }
                truth.action = Some(outcome.clone());
                outcome
            }
            Direction::Compensation => {
                if let Some(outcome) = &truth.compensation {
                    return outcome.clone();
                }
                match mood {
                    Mood::Rejected | Mood::Partial => return rejected(false),
                    Mood::Working => return Outcome::Working,
                    Mood::Ok | Mood::OkTooLarge | Mood::Failed | Mood::FailedForLong => {}
                }
                assert!(step.compensation.is_some(), "{name} has no compensation");
                truth.fenced = true;
                truth.undone = truth.applied;
                let outcome = Outcome::Ok { output: Json::null(), empty: !truth.applied };
                truth.compensation = Some(outcome.clone());
                outcome
            }
        }
    }
}
