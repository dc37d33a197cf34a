//! What a change means for those who run sagas, for those who call them, and for those who answer them.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use snorri_saga::definition::{Definition, StepKind, Work};

use super::Diff;
use crate::Subject;

/// Something that follows from a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Meaning {
    /// A word that stays the same, for programs.
    pub code: &'static str,
    /// A sentence.
    pub text: String,
}

/// What follows.
pub(super) fn of(diff: &Diff, old: Subject<'_>, new: Subject<'_>) -> Vec<Meaning> {
    let mut meaning = Vec::new();
    let mut say = |code: &'static str, text: String| meaning.push(Meaning { code, text });
    if diff.same {
        say("same", "Both say the same: submitting it makes no new version.".to_owned());
        return meaning;
    }
    let (from, to) = match (diff.from, diff.to) {
        (Some(from), Some(to)) => (format!("version {from}"), format!("version {to}")),
        _ => ("the old version".to_owned(), "the new one".to_owned()),
    };
    say(
        "running",
        format!("Sagas that run on {from} stay on it to their end; those that start from now on take {to}."),
    );

    let (before, after) = (old.definition, new.definition);
    let (was, is) = (diff.worst_case.before, diff.worst_case.after);
    if diff.worst_case.grew {
        say(
            "worst_case_grew",
            format!("A saga may take longer: at worst {is}, it was {was}; its window is {}.", after.window),
        );
    }
    if after.window < before.window {
        say(
            "window_shorter",
            format!("A saga has less time to its end: {}, it was {}.", after.window, before.window),
        );
    }
    pivot(before, after, &mut say);
    undoing(before, after, &mut say);
    operations(&from, before, after, &mut say);
    people(before, after, &mut say);
    callers(old, new, &mut say);
    meaning
}

fn pivot(before: &Definition, after: &Definition, say: &mut impl FnMut(&'static str, String)) {
    let name = |definition: &Definition| {
        let at = definition.graph.pivot()?;
        definition.steps.get(at).map(|step| step.name.to_string())
    };
    match (name(before), name(after)) {
        (Some(was), Some(is)) if was != is => {
            say("pivot_moved", format!("The point of no return is {is} now, it was {was}."));
        }
        (None, Some(is)) => {
            say(
                "pivot_added",
                format!("There is a point of no return now: once {is} is done, nothing is undone any more."),
            );
        }
        (Some(was), None) => {
            say(
                "pivot_removed",
                format!(
                    "There is no point of no return any more, it was {was}: everything can be undone to the end."
                ),
            );
        }
        _ => {}
    }
}

/// Steps whose effect stays from now on.
fn undoing(before: &Definition, after: &Definition, say: &mut impl FnMut(&'static str, String)) {
    for step in &after.steps {
        let stays =
            step.kind == StepKind::Compensatable && step.compensation.is_none() && !step.work.is_wait();
        let was_undone = before.step(step.name.as_str()).is_some_and(|(_, old)| old.compensation.is_some());
        if stays && was_undone {
            say(
                "not_undone",
                format!(
                    "What {} did stays when a saga is undone: it has no compensation any more.",
                    step.name
                ),
            );
        }
    }
}

/// The participants' operations that a definition uses.
fn used(definition: &Definition) -> BTreeSet<(String, String)> {
    let mut used = BTreeSet::new();
    for step in &definition.steps {
        if let Work::Participant { participant, action } = &step.work {
            used.insert((participant.to_string(), action.to_string()));
            if let Some(undo) = &step.compensation {
                used.insert((participant.to_string(), undo.action.to_string()));
            }
        }
    }
    used
}

fn operations(
    from: &str,
    before: &Definition,
    after: &Definition,
    say: &mut impl FnMut(&'static str, String),
) {
    let (was, is) = (used(before), used(after));
    let participants = |used: &BTreeSet<(String, String)>| -> BTreeSet<String> {
        used.iter().map(|(participant, _)| participant.clone()).collect()
    };
    let (had, has) = (participants(&was), participants(&is));
    for participant in has.difference(&had) {
        say(
            "new_participant",
            format!("The participant {participant} has to run before the first saga starts."),
        );
    }
    for (participant, operation) in is.difference(&was).filter(|(participant, _)| had.contains(participant)) {
        say(
            "new_operation",
            format!(
                "The participant {participant} has to know the operation {operation} before the first saga starts."
            ),
        );
    }
    for participant in had.difference(&has) {
        say(
            "unused_participant",
            format!("The participant {participant} has to stay until the last saga on {from} has ended."),
        );
    }
    for (participant, operation) in was.difference(&is).filter(|(participant, _)| has.contains(participant)) {
        say(
            "unused_operation",
            format!(
                "The participant {participant} has to know the operation {operation} until the last saga on {from} has ended."
            ),
        );
    }
}

/// What people or other systems have to do from now on.
fn people(before: &Definition, after: &Definition, say: &mut impl FnMut(&'static str, String)) {
    let is_new = |name: &str| before.step(name).is_none_or(|(_, step)| !step.work.is_wait());
    for step in after.steps.iter().filter(|step| is_new(step.name.as_str())) {
        match &step.work {
            Work::Signal { name, .. } => {
                say(
                    "new_signal",
                    format!(
                        "Somebody has to give the signal {name} within {} in {}.",
                        step.timeout, step.name
                    ),
                );
            }
            Work::Approval { .. } => {
                say(
                    "new_approval",
                    format!("A person has to decide within {} in {}.", step.timeout, step.name),
                );
            }
            Work::Participant { .. } | Work::Saga { .. } | Work::Delay => {}
        }
    }
}

/// What those who start sagas have to look at.
fn callers(old: Subject<'_>, new: Subject<'_>, say: &mut impl FnMut(&'static str, String)) {
    let (before, after) = (old.draft.input.as_ref(), new.draft.input.as_ref());
    if before == after {
        return;
    }
    let required = |schema: Option<&Value>| -> BTreeSet<String> {
        let names = schema.and_then(|schema| schema.get("required")).and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for field in required(after).difference(&required(before)) {
        let shown: String = field.chars().take(80).flat_map(char::escape_debug).collect();
        say("input_required", format!("A start without the field `{shown}` in its input is refused now."));
    }
    match after {
        None => say("input_any", "Any input is taken now.".to_owned()),
        Some(_) => say(
            "input_changed",
            "The schema of the input changed: a start whose input was taken before may be refused now."
                .to_owned(),
        ),
    }
}
