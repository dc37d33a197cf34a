//! Random definitions: graphs of all kinds of steps, with the smallest window that each fits into, or twice that.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use snorri_language::check::{File, check};
use snorri_language::pin::{Child, pin};
use snorri_language::text::Format;
use snorri_saga::definition::{Definition, Draft};
use snorri_saga::time::Millis;

/// What sub-sagas take.
const CHILD: Millis = Millis::secs(2);

/// A step, as a few numbers that shrink to a plain one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// What it is.
    work: u8,
    /// How long it may take.
    timing: u8,
    /// Attempts, less one.
    attempts: u8,
    /// Which of the steps before it are needed, a bit each; with 0 the one before it alone.
    needs: u8,
    /// Whether it has a condition, a list, a request of its own.
    extras: u8,
}

/// The shapes of a whole definition.
#[derive(Debug, Clone)]
pub(crate) struct Shapes {
    steps: Vec<Shape>,
    pivot: Option<usize>,
    race: bool,
    wider: bool,
}

pub(crate) fn shapes(most: usize) -> impl Strategy<Value = Shapes> {
    let step = (0..12_u8, 0..4_u8, 0..3_u8, any::<u8>(), 0..24_u8);
    let step = step.prop_map(|(work, timing, attempts, needs, extras)| Shape {
        work,
        timing,
        attempts,
        needs,
        extras,
    });
    let steps = prop::collection::vec(step, 1..=most);
    (steps, prop::option::of(0..most), any::<bool>(), any::<bool>())
        .prop_map(|(steps, pivot, race, wider)| Shapes { steps, pivot, race, wider })
}

/// The input of every saga: conditions and lists to choose from.
pub(crate) fn input() -> Value {
    json!({"yes": true, "no": false, "lists": [[], [1], [1, 2], [1, 2, 3, 4, 5]]})
}

/// The sub-sagas that there are: one that can be undone, and one that cannot.
fn child(name: &str) -> Child {
    let has_pivot = name == "payment";
    Child { version: 1, window: CHILD, unwind: CHILD, has_pivot, family: 1, required: Vec::new(), items: 0 }
}

impl Shapes {
    pub(crate) fn draft(&self, window: &str) -> Value {
        let pivot = self.pivot.filter(|pivot| *pivot < self.steps.len());
        let steps: Vec<Value> =
            self.steps.iter().enumerate().map(|(at, shape)| shape.draft(at, pivot)).collect();
        let policy = if self.race { "race" } else { "wait" };
        json!({"name": "any", "window": window, "on_sibling_failure": policy, "steps": steps})
    }

    /// The definition, which the checker accepts.
    pub(crate) fn definition(&self) -> Definition {
        let mut draft = Draft::deserialize(&self.draft("30d")).expect("a draft");
        let problems = pin(&mut draft, |name, _| Some(child(name)));
        assert!(problems.is_empty(), "{problems:?}");
        let widest = Definition::from_draft(&draft).unwrap_or_else(|problems| panic!("{problems:?}"));
        let total = widest.worst_case().total().max(Millis::secs(1));
        let window = if self.wider { total.plus(total) } else { total };
        let text = self.draft(&window.to_string()).to_string();
        let file = File { name: "any.json", text: &text, format: Format::Json };
        let mut report = check(&[file], |name, _| Some(child(name)));
        assert_eq!(report.errors, 0, "{:?}", report.files);
        report.files.pop().and_then(|file| file.definition).expect("a definition")
    }
}

impl Shape {
    fn draft(self, at: usize, pivot: Option<usize>) -> Value {
        let mut step = json!({"name": format!("s{at}"), "needs": self.needs(at, pivot)});
        let is_behind = pivot.is_some_and(|pivot| at > pivot);
        let is_pivot = pivot == Some(at);
        let span = ["20ms", "200ms", "1s", "3s"][usize::from(self.timing)];
        if self.extras % 4 == 3 {
            step["when"] = if self.extras < 12 { "input.yes" } else { "input.no" }.into();
        }
        match (self.work, is_behind, is_pivot) {
            (11, _, true) => {
                step["saga"] = "payment".into();
                step["kind"] = "pivot".into();
                return step;
            }
            (9 | 10, true, false) | (9, false, false) => {
                step["signal"] = json!({"name": format!("g{}", at % 2), "timeout": span});
                if is_behind || self.extras < 12 {
                    step["signal"]["on_timeout"] = "continue".into();
                }
                return step;
            }
            (10, false, false) => {
                let on_timeout = if self.extras < 12 { "approve" } else { "reject" };
                step["approval"] = json!({"timeout": span, "on_timeout": on_timeout});
                return step;
            }
            (8, _, false) => {
                step["delay"] = span.into();
                return step;
            }
            (11, false, false) => step["saga"] = "part".into(),
            _ => self.participant(&mut step, span, is_behind, is_pivot),
        }
        if !is_pivot {
            self.each(&mut step);
        }
        step
    }

    fn participant(self, step: &mut Value, span: &str, is_behind: bool, is_pivot: bool) {
        let backoff = ["0ms", "5ms", "200ms", "2s"][usize::from(self.timing)];
        let retry = json!({"attempts": self.attempts + 1, "backoff": backoff, "jitter": 1.0});
        step["participant"] = "model".into();
        step["timeout"] = span.into();
        step["retry"] = retry.clone();
        match self.work {
            _ if is_pivot => step["kind"] = "pivot".into(),
            6 | 7 => step["kind"] = "read".into(),
            _ if is_behind => step["kind"] = "retriable".into(),
            5 => step["compensation"] = "none".into(),
            _ => step["compensation"] = json!({"action": "undo", "timeout": span, "retry": retry}),
        }
        if self.extras % 8 == 4 {
            step["input"] = json!({"of": "${{ input.yes }}"});
        }
        if self.extras == 17 {
            step["input"] = "${{ input.nowhere }}".into();
        }
    }

    fn each(self, step: &mut Value) {
        if self.extras % 4 == 2 {
            let list = usize::from(self.extras / 4) % 4;
            step["for_each"] = json!({
                "items": format!("${{{{ input.lists[{list}] }}}}"), "concurrency": self.attempts + 1, "max": 5
            });
        }
    }

    /// What it needs: of the pivot everything before it; of a step behind it the pivot, and some of those between.
    fn needs(self, at: usize, pivot: Option<usize>) -> Vec<String> {
        let name = |at: usize| format!("s{at}");
        let first = match pivot {
            Some(pivot) if at == pivot => return (0..at).map(name).collect(),
            Some(pivot) if at > pivot => pivot,
            _ => 0,
        };
        let is_needed = |other: &usize| self.needs >> (other % 8) & 1 == 1;
        let mut needs: Vec<usize> = (first..at).filter(is_needed).collect();
        match pivot {
            Some(pivot) if at > pivot && !needs.contains(&pivot) => needs.insert(0, pivot),
            _ if self.needs == 0 => needs = at.checked_sub(1).into_iter().collect(),
            _ => {}
        }
        needs.into_iter().map(name).collect()
    }
}
