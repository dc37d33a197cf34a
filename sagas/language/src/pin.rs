//! Sub-sagas: a step that runs one is pinned to a version of its definition, and takes its times from there.
//!
//! What a parent says of a sub-saga may be little: its name. The rest is written into the parent's draft when it is
//! submitted, and stays: a newer version of the sub-saga changes nothing for a parent that is there already.

use serde_json::Value;
use snorri_saga::definition::{
    Definition, Draft, DraftCompensation, DraftCompensationFields, DraftStep, Problem, StepKind,
};
use snorri_saga::time::Millis;
use snorri_saga::wire::limit;

use crate::family;
use crate::text::shown;

/// What a parent has to know of the definition of a sub-saga.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its version.
    pub version: u32,
    /// Start to end.
    pub window: Millis,
    /// Undoing everything at worst.
    pub unwind: Millis,
    /// It has a point of no return, so that it cannot be undone.
    pub has_pivot: bool,
    /// How many sagas it may become at worst, with itself and its own sub-sagas: see [`crate::family`].
    pub family: u64,
    /// The fields that its input must have, as far as its schema says so.
    pub required: Vec<String>,
    /// How many items its lists have at most: each has an output, and all outputs are one output of the parent's step.
    pub items: u32,
}

/// The shortest time that undoing a sub-saga is given: the word to do so must come there, and the answer back.
const UNDO_MIN: Millis = Millis::secs(1);

/// With less than so much of an output for each item, a sub-saga has probably too much to say.
const ITEM_BYTES_MIN: usize = 128;

impl Child {
    /// How much each item of its lists may answer with, if that is little: all outputs are one payload for the parent.
    pub fn scarce_bytes(&self) -> Option<usize> {
        let each = limit::PAYLOAD_BYTES_MAX.checked_div(usize::try_from(self.items).unwrap_or(usize::MAX))?;
        (each < ITEM_BYTES_MIN).then_some(each)
    }

    /// What a parent has to know of this definition in this version. What its own sub-sagas may become it does not know: each
    /// is taken for one saga, unless [`Child::family`] is set to what [`crate::family::size`] gives.
    pub fn of(definition: &Definition, version: u32) -> Self {
        let required = definition.input.as_ref().and_then(|schema| schema.get("required")?.as_array());
        let text = |name: &Value| name.as_str().map(str::to_owned);
        Self {
            version,
            window: definition.window,
            unwind: definition.worst_case().unwind_millis(),
            has_pivot: definition.graph.pivot().is_some(),
            family: family::size(definition, |_, _| 1),
            required: required.into_iter().flatten().filter_map(text).collect(),
            items: definition
                .steps
                .iter()
                .filter_map(|step| Some(step.for_each.as_ref()?.max))
                .fold(0, u32::saturating_add),
        }
    }
}

/// Pins the sub-sagas of a draft: writes in the version, the time that it has, and the time that undoing it may take, each
/// where the draft does not say it. `resolve` gives a definition by its name, in the given or the newest version.
pub fn pin(draft: &mut Draft, mut resolve: impl FnMut(&str, Option<u32>) -> Option<Child>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let parent = draft.name.clone();
    for (nth, step) in draft.steps.iter_mut().enumerate() {
        let is_something_else = step.participant.is_some()
            || step.signal.is_some()
            || step.approval.is_some()
            || step.delay.is_some();
        let Some(name) = step.saga.clone().filter(|_| !is_something_else) else { continue };
        let at = format!("/steps/{nth}");
        if name == parent {
            problems.push(problem(
                &format!("{at}/saga"),
                "sub-saga-in-a-circle",
                format!("the definition `{}` runs itself", shown(&name)),
                "name another definition",
            ));
            continue;
        }
        if let Some(child) = resolve(&name, step.version) {
            pin_step(&mut problems, &at, step, &child);
            continue;
        }
        let place = if step.version.is_some() { "version" } else { "saga" };
        let version = step.version.map(|version| format!(" in version {version}")).unwrap_or_default();
        problems.push(problem(
            &format!("{at}/{place}"),
            "unknown-sub-saga",
            format!("there is no definition `{}`{version}", shown(&name)),
            "submit the sub-saga before its parent; name its file, too, when you check files",
        ));
    }
    problems
}

fn pin_step(problems: &mut Vec<Problem>, at: &str, step: &mut DraftStep, child: &Child) {
    step.version = Some(child.version);
    let name = step.saga.as_deref().map(shown).unwrap_or_default();
    if step.timeout.is_some_and(|timeout| timeout < child.window) {
        problems.push(problem(
            &format!("{at}/timeout"),
            "timeout-shorter-than-sub-saga",
            format!(
                "the sub-saga `{name}` may take its whole window of {}, and is awaited for {}",
                child.window,
                step.timeout.unwrap_or_default()
            ),
            "leave `timeout` out, and it is the sub-saga's window",
        ));
    }
    step.timeout = step.timeout.or(Some(child.window));
    let kind = step.kind.unwrap_or_default();
    if child.has_pivot && kind == StepKind::Compensatable {
        let place = if step.kind.is_some() { format!("{at}/kind") } else { format!("{at}/saga") };
        problems.push(problem(
            &place,
            "sub-saga-with-a-pivot",
            format!("the sub-saga `{name}` has a pivot and cannot be undone behind it"),
            "make this step the pivot of its parent, too: `kind: pivot`",
        ));
        // That it has no time for being undone would be a consequence.
        step.kind = Some(StepKind::Pivot);
        step.compensation = None;
    }
    if step.kind.unwrap_or_default() == StepKind::Compensatable {
        let unwind = child.unwind.max(UNDO_MIN);
        if let Some(DraftCompensation::Long(DraftCompensationFields { timeout: Some(timeout), .. })) =
            &step.compensation
            && *timeout < unwind
        {
            problems.push(problem(
                &format!("{at}/compensation/timeout"),
                "timeout-shorter-than-sub-saga",
                format!("undoing the sub-saga `{name}` may take {unwind}, and is awaited for {timeout}"),
                "leave `timeout` out, and it is the sub-saga's worst case of undoing",
            ));
        }
        match &mut step.compensation {
            None => {
                step.compensation = Some(DraftCompensation::Long(DraftCompensationFields {
                    action: None,
                    timeout: Some(unwind),
                    retry: None,
                }));
            }
            Some(DraftCompensation::Long(fields)) => fields.timeout = fields.timeout.or(Some(unwind)),
            Some(DraftCompensation::Short(_)) => {}
        }
    }
    if let Some(Value::Object(input)) = &step.input {
        for field in child.required.iter().filter(|field| !input.contains_key(*field)) {
            problems.push(problem(
                &format!("{at}/input"),
                "sub-saga-input",
                format!("the sub-saga `{name}` needs `{}` in its input, and is not given it", shown(field)),
                "add it: the sub-saga would not be started",
            ));
        }
    }
}

fn problem(pointer: &str, code: &'static str, message: String, mend: &str) -> Problem {
    Problem { pointer: pointer.to_owned(), offset: None, code, message, mend: Some(mend.to_owned()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use snorri_saga::definition::Step;

    use super::*;

    fn draft(steps: &Value) -> Draft {
        serde_json::from_value(json!({"name": "parent", "window": "1h", "steps": steps})).expect("a draft")
    }

    fn child(has_pivot: bool) -> Child {
        let (window, unwind) = (Millis::secs(60), Millis::secs(20));
        Child {
            version: 3,
            window,
            unwind,
            has_pivot,
            family: 1,
            required: vec!["order".to_owned()],
            items: 0,
        }
    }

    #[track_caller]
    fn pinned(step: &Value, child: &Child) -> (Step, Vec<String>) {
        let mut draft = draft(&json!([step]));
        let problems = pin(&mut draft, |name, _| (name == "shipment").then(|| child.clone()));
        let definition = Definition::from_draft(&draft).expect("a definition");
        let step = definition.steps.first().cloned().expect("a step");
        (step, problems.iter().map(|problem| problem.code.to_owned()).collect())
    }

    #[test]
    fn a_sub_saga_is_pinned_with_its_times() {
        let (step, problems) = pinned(&json!({"name": "ship", "saga": "shipment"}), &child(false));
        assert_eq!((problems, step.timeout), (vec![], Millis::secs(60)));
        assert_eq!(
            step.compensation.map(|undo| (undo.timeout, undo.retry.attempts)),
            Some((Millis::secs(20), 1))
        );
        let said =
            json!({"name": "ship", "saga": "shipment", "timeout": "2m", "compensation": {"timeout": "30s"}});
        let (step, _) = pinned(&said, &child(false));
        assert_eq!(step.timeout, Millis::secs(120));
        assert_eq!(step.compensation.map(|undo| undo.timeout), Some(Millis::secs(30)));
    }

    #[test]
    fn what_cannot_be_undone_is_the_parents_pivot() {
        let (_, problems) = pinned(&json!({"name": "ship", "saga": "shipment"}), &child(true));
        assert_eq!(problems, ["sub-saga-with-a-pivot"]);
        let (step, problems) =
            pinned(&json!({"name": "ship", "saga": "shipment", "kind": "pivot"}), &child(true));
        assert_eq!((problems, step.compensation), (vec![], None));
    }

    #[test]
    fn a_sub_saga_needs_its_input_and_its_time() {
        let step = json!({"name": "ship", "saga": "shipment", "input": {"parcel": 1}, "timeout": "1s"});
        let (_, problems) = pinned(&step, &child(false));
        assert_eq!(problems, ["timeout-shorter-than-sub-saga", "sub-saga-input"]);
    }

    #[test]
    fn undoing_a_sub_saga_is_awaited_for_as_long_as_it_may_take() {
        let with =
            |timeout: &str| json!({"name": "ship", "saga": "shipment", "compensation": {"timeout": timeout}});
        let (_, problems) = pinned(&with("19999ms"), &child(false));
        assert_eq!(problems, ["timeout-shorter-than-sub-saga"]);
        let (_, problems) = pinned(&with("20s"), &child(false));
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn one_that_is_not_there_or_is_the_parent_itself_is_refused() {
        let mut draft = draft(&json!([
            {"name": "a", "saga": "nowhere"}, {"name": "b", "saga": "shipment", "version": 9}, {"name": "c", "saga": "parent"}
        ]));
        let problems = pin(&mut draft, |_, _| None);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
