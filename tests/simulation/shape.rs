//! A definition as its text has it, read by code that shares nothing with the orchestrator.

use std::collections::BTreeSet;

use serde_json::Value;

/// The steps of a definition.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) steps: Vec<Step>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// A participant's operation.
    Participant(String),
    /// A saga of its own.
    Part(String),
    Signal,
    Approval,
    Delay,
}

/// A step, as the text of the definition has it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) work: Work,
    pub(crate) has_undo: bool,
    pub(crate) is_list: bool,
    /// The positions of all steps that are done before this one begins.
    pub(crate) ancestors: BTreeSet<usize>,
}

impl Shape {
    /// Reads the stored text.
    pub(crate) fn of(body: &str) -> Self {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let texts = body.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
        let names: Vec<String> = texts.iter().map(|step| text(step, "name")).collect();
        let mut steps: Vec<Step> = Vec::new();
        for (at, step) in texts.iter().enumerate() {
            let needs: Vec<usize> = match step.get("needs").and_then(Value::as_array) {
                None => at.checked_sub(1).into_iter().collect(),
                Some(needs) => {
                    let place =
                        |need: &Value| names.iter().position(|name| Some(name.as_str()) == need.as_str());
                    needs.iter().filter_map(place).collect()
                }
            };
            // What a step needs stands before it in the definitions that are drawn here.
            let mut ancestors: BTreeSet<usize> = needs.iter().copied().collect();
            for need in needs {
                ancestors.extend(steps.get(need).into_iter().flat_map(|step| step.ancestors.iter().copied()));
            }
            steps.push(read(step, ancestors));
        }
        Self { steps }
    }

    /// The step of that name.
    pub(crate) fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }
}

fn read(step: &Value, ancestors: BTreeSet<usize>) -> Step {
    let is = |field: &str| step.get(field).is_some();
    let work = if is("participant") {
        Work::Participant(text(step, "action"))
    } else if is("saga") {
        Work::Part(text(step, "saga"))
    } else if is("signal") {
        Work::Signal
    } else if is("approval") {
        Work::Approval
    } else {
        Work::Delay
    };
    let kind = match text(step, "kind") {
        kind if kind.is_empty() => "compensatable".to_owned(),
        kind => kind,
    };
    let has_undo = match work {
        Work::Participant(_) => step.get("compensation").is_some_and(|undo| undo.as_str() != Some("none")),
        Work::Part(_) => kind == "compensatable",
        Work::Signal | Work::Approval | Work::Delay => false,
    };
    Step { name: text(step, "name"), kind, work, has_undo, is_list: is("for_each"), ancestors }
}

fn text(step: &Value, field: &str) -> String {
    step.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}
