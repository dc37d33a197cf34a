//! What a definition and a step say in effect, field by field, with the defaults filled in.

use serde_json::{Value, json};
use snorri_saga::definition::{DraftStep, Step, StepKind, Work, Zone};
use snorri_saga::ids::Name;
use snorri_saga::retry::RetryPolicy;

use super::Whole;
use crate::Subject;

/// Fields by their paths, in the order of the language's reference.
pub(super) type Fields = Vec<(String, Value)>;

/// What the definition itself says.
pub(super) fn definition(subject: Subject<'_>) -> Fields {
    let Subject { draft, definition, .. } = subject;
    let mut fields = Fields::new();
    let mut put = |field: &str, value: Value| fields.push((field.to_owned(), value));
    put("name", json!(definition.name));
    if let Some(description) = &definition.description {
        put("description", json!(description));
    }
    put("window", json!(definition.window));
    put("tags", json!(draft.tags));
    if let Some(input) = &draft.input {
        put("input", input.clone());
    }
    put("on_sibling_failure", json!(definition.on_sibling_failure));
    fields
}

/// What each step says, as they are listed.
pub(super) fn steps(subject: Subject<'_>) -> Vec<(Whole, Fields)> {
    let Subject { draft, definition, .. } = subject;
    let steps = definition.steps.iter().zip(&draft.steps).enumerate();
    steps
        .map(|(at, (step, draft))| {
            let name = |at: &usize| definition.steps.get(*at).map(|step| step.name.to_string());
            let mut needs: Vec<String> = definition.graph.needs(at).iter().filter_map(name).collect();
            needs.sort_unstable();
            let mut fields = vec![("needs".to_owned(), json!(needs))];
            add_step(&mut fields, step, draft);
            if definition.graph.pivot().is_some() {
                let side = match definition.graph.zone(at) {
                    Zone::Before => "before the pivot",
                    Zone::Pivot => "the pivot",
                    Zone::Behind => "behind the pivot",
                };
                fields.push(("stands".to_owned(), json!(side)));
            }
            (Whole { name: step.name.to_string(), what: what(step), needs }, fields)
        })
        .collect()
}

/// What a step does, in words.
fn what(step: &Step) -> String {
    match &step.work {
        Work::Participant { participant, action } => format!("{participant}.{action}"),
        Work::Saga { definition, version } => format!("the saga {definition}, version {version}"),
        Work::Signal { name, .. } => format!("the signal {name}"),
        Work::Approval { .. } => "an approval".to_owned(),
        Work::Delay => format!("a delay of {}", step.timeout),
    }
}

fn add_step(fields: &mut Fields, step: &Step, draft: &DraftStep) {
    let mut put = |field: &str, value: Value| fields.push((field.to_owned(), value));
    if let Some(when) = &draft.when {
        put("when", json!(when.trim()));
    }
    if let (Some(each), Some(written)) = (&step.for_each, &draft.for_each) {
        put("for_each.items", written.items.clone());
        put("for_each.as", json!(each.name));
        put("for_each.concurrency", json!(each.concurrency));
        put("for_each.max", json!(each.max));
    }
    match &step.work {
        Work::Participant { participant, action } => {
            put("participant", json!(participant));
            put("action", json!(action));
        }
        Work::Saga { definition, version } => {
            put("saga", json!(definition));
            put("version", json!(version));
        }
        Work::Signal { name, on_timeout, default } => {
            put("signal.name", json!(name));
            put("signal.timeout", json!(step.timeout));
            put("signal.on_timeout", json!(on_timeout));
            put("signal.default", default.clone());
        }
        Work::Approval { on_timeout } => {
            put("approval.timeout", json!(step.timeout));
            put("approval.on_timeout", json!(on_timeout));
        }
        Work::Delay => put("delay", json!(step.timeout)),
    }
    if step.work.is_wait() {
        return;
    }
    put("kind", json!(step.kind));
    let no_action = Name::new("undo").ok();
    match &step.compensation {
        Some(undo) => {
            // A sub-saga has no operation of its own.
            if step.participant().is_some() || Some(&undo.action) != no_action.as_ref() {
                put("compensation.action", json!(undo.action));
            }
            put("compensation.timeout", json!(undo.timeout));
            put_retry(fields, "compensation.retry", undo.retry);
        }
        None if step.kind == StepKind::Compensatable => put("compensation.action", json!("none")),
        None => {}
    }
    fields.push(("timeout".to_owned(), json!(step.timeout)));
    put_retry(fields, "retry", step.retry);
    if let Some(input) = &draft.input {
        fields.push(("input".to_owned(), input.clone()));
    }
}

fn put_retry(fields: &mut Fields, at: &str, retry: RetryPolicy) {
    let RetryPolicy { attempts, backoff, factor, cap, jitter } = retry;
    fields.extend([
        (format!("{at}.attempts"), json!(attempts)),
        (format!("{at}.backoff"), json!(backoff)),
        (format!("{at}.factor"), json!(factor)),
        (format!("{at}.cap"), json!(cap)),
        (format!("{at}.jitter"), json!(jitter)),
    ]);
}
