//! How long a definition may take at worst, with the arithmetic shown: as the check of the window counts it, and along
//! every path from a first step to a last one.

use serde::Serialize;
use snorri_saga::definition::{Definition, Span, Step, Zone};
use snorri_saga::time::Millis;

mod paths;
mod text;

/// The most paths that are listed.
pub const PATHS_MAX: usize = 20;

/// The worst case of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorstCase {
    /// Start to end.
    pub window: Millis,
    /// The worst case: `before`, then the `pivot`, then the longer of `behind` and `undoing`.
    pub total: Millis,
    /// What is left of the window.
    pub spare: Millis,
    /// Going forwards before the pivot, or without one to the end: the longest chain, each step its whole timeout long.
    pub before: Sum,
    /// The pivot.
    pub pivot: Option<Term>,
    /// The longest chain behind the pivot.
    pub behind: Sum,
    /// Undoing everything: the longest chain of compensations, all attempts and pauses of each, the last step's first.
    pub undoing: Sum,
    /// The paths through the steps, the longest first, at most [`PATHS_MAX`].
    pub paths: Vec<Path>,
    /// How many paths there are in all; so many or more, when it is 18446744073709551615.
    pub paths_in_all: u64,
}

/// Terms and their sum.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Sum {
    /// The sum.
    pub total: Millis,
    /// The terms.
    pub terms: Vec<Term>,
}

/// What one step adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Term {
    /// The step.
    pub step: String,
    /// The compensation's operation, if it is one that is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensation: Option<String>,
    /// How long it takes.
    pub time: Millis,
    /// How that is put together, if it is more than one timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<String>,
}

/// A way from a step that needs nothing to one that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Path {
    /// The steps.
    pub steps: Vec<String>,
    /// `before`, then the pivot, then the longer of `behind` and `undoing`.
    pub total: Millis,
    /// Before the pivot.
    pub before: Millis,
    /// The pivot.
    pub pivot: Millis,
    /// Behind it.
    pub behind: Millis,
    /// Undoing the steps of this path.
    pub undoing: Millis,
}

impl WorstCase {
    /// The worst case of a definition.
    pub fn of(definition: &Definition) -> Self {
        let worst = definition.worst_case();
        let step = |span: &Span| definition.steps.get(span.step);
        let forward = |spans: &[Span], total| Sum {
            total,
            terms: spans.iter().filter_map(|span| Some(Term::forward(step(span)?))).collect(),
        };
        let undoing = worst.unwind.iter().filter_map(|span| Term::undoing(step(span)?)).collect();
        let (paths, paths_in_all) = paths::longest(definition);
        Self {
            window: definition.window,
            total: worst.total(),
            spare: definition.window.minus(worst.total()),
            before: forward(&worst.before, worst.before_millis()),
            pivot: worst.pivot.and_then(|span| Some(Term::forward(step(&span)?))),
            behind: forward(&worst.behind, worst.behind_millis()),
            undoing: Sum { total: worst.unwind_millis(), terms: undoing },
            paths,
            paths_in_all,
        }
    }
}

impl Term {
    fn forward(step: &Step) -> Self {
        let rounds = step.rounds();
        let arithmetic = (rounds > 1).then(|| format!("{rounds} rounds x {}", step.timeout));
        Self { step: step.name.to_string(), compensation: None, time: step.forward_worst(), arithmetic }
    }

    fn undoing(step: &Step) -> Option<Self> {
        let undo = step.compensation.as_ref()?;
        let one = undo.retry.worst_case(undo.timeout);
        let tries = Millis(undo.timeout.0.saturating_mul(u64::from(undo.retry.attempts)));
        let attempts = match undo.retry.attempts {
            0 | 1 => None,
            attempts => Some(format!("{attempts} attempts x {} + pauses {}", undo.timeout, one.minus(tries))),
        };
        let arithmetic = match (step.rounds(), attempts) {
            (0 | 1, attempts) => attempts,
            (rounds, None) => Some(format!("{rounds} rounds x {}", undo.timeout)),
            (rounds, Some(attempts)) => Some(format!("{rounds} rounds x ({attempts})")),
        };
        let compensation = Some(undo.action.to_string());
        Some(Self { step: step.name.to_string(), compensation, time: step.unwind_worst(), arithmetic })
    }
}

/// What a step adds to a path.
#[derive(Clone, Copy)]
struct Weights {
    zone: Zone,
    forward: u64,
    undoing: u64,
}

impl Weights {
    fn of(definition: &Definition, at: usize) -> Self {
        let step = definition.steps.get(at);
        Self {
            zone: definition.graph.zone(at),
            forward: step.map_or(0, |step| step.forward_worst().0),
            undoing: step.map_or(0, |step| step.unwind_worst().0),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use snorri_saga::definition::Draft;

    use super::*;

    pub(super) fn definition(value: Value) -> Definition {
        let draft: Draft = serde_json::from_value(value).expect("a draft");
        Definition::from_draft(&draft).expect("a definition")
    }

    fn travel() -> Definition {
        let retry = json!({"attempts": 3, "backoff": "100ms", "jitter": 0.5});
        let undo = json!({"action": "cancel", "timeout": "1s", "retry": retry});
        definition(json!({"name": "travel", "window": "10m", "steps": [
            {"name": "quote", "participant": "prices", "kind": "read", "timeout": "2s"},
            {"name": "hotel", "needs": ["quote"], "participant": "hotels", "compensation": undo, "timeout": "4s"},
            {"name": "flight", "needs": ["quote"], "participant": "flights", "compensation": undo, "timeout": "6s",
             "for_each": {"items": "${{ input.legs }}", "concurrency": 2, "max": 5}},
            {"name": "pay", "needs": ["hotel", "flight"], "participant": "bank", "kind": "pivot", "timeout": "5s"},
            {"name": "mail", "participant": "letters", "kind": "retriable", "timeout": "1s"},
            {"name": "ticket", "needs": ["pay"], "participant": "letters", "kind": "retriable", "timeout": "30s"}
        ]}))
    }

    #[test]
    fn the_arithmetic_is_shown() {
        let worst = WorstCase::of(&travel());
        insta::assert_snapshot!(worst.render(crate::diagnostic::Paint::PLAIN));
    }

    #[test]
    fn for_machines_it_is_json() {
        insta::assert_json_snapshot!(WorstCase::of(&travel()));
    }

    #[test]
    fn the_whole_is_what_the_window_is_checked_against() {
        let definition = travel();
        let worst = WorstCase::of(&definition);
        assert_eq!(worst.total, definition.worst_case().total());
        assert_eq!(worst.spare.plus(worst.total), definition.window);
        // No path is longer than the whole.
        assert!(worst.paths.iter().all(|path| path.total <= worst.total));
    }
}
