//! The checks of a definition: all problems at once, each with its place and the mend.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::{
    Compensation, Definition, Draft, DraftCompensation, DraftCompensationFields, DraftStep, STEPS_MAX, Step,
    StepKind, TIMEOUT_DEFAULT, WINDOW_DEFAULT, WINDOW_MAX,
};
use crate::expression::{Scope, Type};
use crate::ids::Name;
use crate::retry::RetryPolicy;
use crate::template::Template;
use crate::time::Millis;

/// What is wrong with a definition, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The place, as a JSON pointer into the definition.
    pub pointer: String,
    /// What is wrong, and the mend.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.pointer.is_empty() { "/" } else { &self.pointer }, self.message)
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, pointer: &str, message: impl Into<String>) {
        self.0.push(Problem { pointer: pointer.to_owned(), message: message.into() });
    }

    fn name(&mut self, pointer: &str, text: &str) -> Option<Name> {
        match Name::new(text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.add(pointer, error.to_string());
                None
            }
        }
    }

    fn timeout(&mut self, pointer: &str, timeout: Millis) {
        if timeout.0 < 10 || timeout > Millis::secs(86_400) {
            self.add(pointer, format!("a timeout of {timeout} is out of range: use 10ms to 24h"));
        }
    }

    fn retry(&mut self, pointer: &str, policy: RetryPolicy) {
        for (field, message) in policy.problems() {
            self.add(&format!("{pointer}/{field}"), message);
        }
    }
}

impl Definition {
    /// Checks a draft. All problems are reported at once.
    pub fn from_draft(draft: &Draft) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems(Vec::new());
        let name = problems.name("/name", &draft.name);
        let window = draft.window.unwrap_or(WINDOW_DEFAULT);
        if window < Millis::secs(1) || window > WINDOW_MAX {
            problems.add("/window", format!("a window of {window} is out of range: use 1s to {WINDOW_MAX}"));
        }
        if draft.steps.is_empty() {
            problems.add("/steps", "a definition needs at least one step");
        }
        if draft.steps.len() > STEPS_MAX {
            problems.add("/steps", format!("{} steps: at most {STEPS_MAX}", draft.steps.len()));
            return Err(problems.0);
        }
        let mut steps = Vec::with_capacity(draft.steps.len());
        let mut seen: HashSet<&str> = HashSet::new();
        for (position, step) in draft.steps.iter().enumerate() {
            let at = format!("/steps/{position}");
            if !seen.insert(&step.name) {
                problems.add(
                    &format!("{at}/name"),
                    format!(
                        "the name `{}` is taken by an earlier step: steps are told apart by name",
                        step.name
                    ),
                );
            }
            steps.extend(check_step(&mut problems, &at, step, &draft.steps, position));
        }
        check_order(&mut problems, &draft.steps);
        if problems.0.is_empty()
            && let Some(name) = name
        {
            let definition = Self {
                name,
                description: draft.description.clone(),
                window,
                // One millisecond at least is left for going forwards.
                reserve: reserve(&steps).min(window.minus(Millis(1))),
                steps,
            };
            check_window(&mut problems, &definition);
            if problems.0.is_empty() {
                return Ok(definition);
            }
        }
        Err(problems.0)
    }
}

fn check_step(
    problems: &mut Problems,
    at: &str,
    step: &DraftStep,
    all: &[DraftStep],
    position: usize,
) -> Option<Step> {
    let name = problems.name(&format!("{at}/name"), &step.name);
    let participant = problems.name(&format!("{at}/participant"), &step.participant);
    let action = match &step.action {
        Some(action) => problems.name(&format!("{at}/action"), action),
        None => name.clone(),
    };
    let timeout = step.timeout.unwrap_or(TIMEOUT_DEFAULT);
    problems.timeout(&format!("{at}/timeout"), timeout);
    let retry = step.retry.unwrap_or_default();
    problems.retry(&format!("{at}/retry"), retry);
    let compensation = check_compensation(problems, at, step, timeout);
    let input = step.input.as_ref().and_then(|template| match Template::parse(template) {
        Ok(template) => {
            let earlier: Vec<&str> = all.iter().take(position).map(|step| step.name.as_str()).collect();
            for reference in template.steps_referred_to() {
                if !earlier.contains(&reference) {
                    problems.add(
                        &format!("{at}/input"),
                        format!(
                            "refers to the output of `{reference}`, which is no earlier step; earlier are: {}",
                            if earlier.is_empty() { "none".to_owned() } else { earlier.join(", ") }
                        ),
                    );
                }
            }
            // The steps are looked at above.
            let steps = template.steps_referred_to();
            let scope = steps.iter().fold(Scope::default(), |scope, step| scope.step(step, Type::Any));
            for (pointer, bad) in template.check(&scope) {
                problems.add(&format!("{at}/input{pointer}"), bad.message);
            }
            Some(template)
        }
        Err(error) => {
            problems.add(&format!("{at}/input{}", error.pointer), error.message);
            None
        }
    });
    Some(Step {
        name: name?,
        participant: participant?,
        action: action?,
        kind: step.kind,
        compensation,
        timeout,
        retry,
        input,
    })
}

fn check_compensation(
    problems: &mut Problems,
    at: &str,
    step: &DraftStep,
    timeout: Millis,
) -> Option<Compensation> {
    let at = format!("{at}/compensation");
    let mut action_at = format!("{at}/action");
    let fields = match (&step.compensation, step.kind) {
        (None, StepKind::Compensatable) => {
            problems.add(
                &at,
                format!(
                    "the step `{}` has no compensation: name the operation that reverses it, or write \
                     `compensation: none` if its effect may stay",
                    step.name
                ),
            );
            return None;
        }
        (None, _) => return None,
        (Some(DraftCompensation::Short(text)), _) if text == "none" => return None,
        (Some(_), kind @ (StepKind::Pivot | StepKind::Retriable | StepKind::Read)) => {
            let word = match kind {
                StepKind::Pivot => "the pivot is the point of no return",
                StepKind::Retriable => "a retriable step must eventually succeed",
                StepKind::Read | StepKind::Compensatable => "a read has no effect",
            };
            problems.add(&at, format!("{word} and is never compensated: leave `compensation` out"));
            return None;
        }
        (Some(DraftCompensation::Short(action)), StepKind::Compensatable) => {
            action_at.clone_from(&at);
            DraftCompensationFields { action: action.clone(), timeout: None, retry: None }
        }
        (Some(DraftCompensation::Long(fields)), StepKind::Compensatable) => fields.clone(),
    };
    let action = problems.name(&action_at, &fields.action);
    if fields.action == *step.action.as_ref().unwrap_or(&step.name) {
        problems.add(
            &action_at,
            format!(
                "`{}` is the step's own action and does not reverse it: name another operation",
                fields.action
            ),
        );
    }
    if let Some(timeout) = fields.timeout {
        problems.timeout(&format!("{at}/timeout"), timeout);
    }
    let timeout = fields.timeout.unwrap_or(timeout);
    let retry = fields.retry.unwrap_or_default();
    problems.retry(&format!("{at}/retry"), retry);
    Some(Compensation { action: action?, timeout, retry })
}

fn check_order(problems: &mut Problems, steps: &[DraftStep]) {
    let mut pivot: Option<&str> = None;
    for (position, step) in steps.iter().enumerate() {
        let at = format!("/steps/{position}/kind");
        match (step.kind, pivot) {
            (StepKind::Pivot, None) => pivot = Some(&step.name),
            (StepKind::Pivot, Some(first)) => {
                problems.add(&at, format!("a second pivot: `{first}` is the point of no return already"));
            }
            (StepKind::Compensatable, Some(first)) => problems.add(
                &at,
                format!(
                    "the compensatable step `{}` stands after the pivot `{first}`, where nothing is undone any \
                     more: make it `kind: retriable` or move it before the pivot",
                    step.name
                ),
            ),
            (StepKind::Retriable, None) => problems.add(
                &at,
                format!(
                    "the retriable step `{}` stands before the pivot or without one: a step that cannot be undone \
                     and must succeed belongs after the pivot",
                    step.name
                ),
            ),
            (StepKind::Compensatable, None) | (StepKind::Retriable, Some(_)) | (StepKind::Read, _) => {}
        }
    }
}

/// The worst case of unwinding everything, one compensation after the other.
fn unwind_worst(steps: &[Step]) -> Millis {
    steps
        .iter()
        .filter_map(|step| step.compensation.as_ref())
        .fold(Millis(0), |sum, undo| sum.plus(undo.retry.worst_case(undo.timeout)))
}

/// What may follow the forward deadline; see [`Definition::reserve`].
fn reserve(steps: &[Step]) -> Millis {
    let from_pivot = || steps.iter().skip_while(|step| step.kind != StepKind::Pivot);
    let pivot = from_pivot().next().map_or(Millis(0), |step| step.timeout);
    let tail = from_pivot().skip(1).fold(Millis(0), |sum, step| sum.plus(step.timeout));
    pivot.plus(tail.max(unwind_worst(steps)))
}

fn check_window(problems: &mut Problems, definition: &Definition) {
    let forward = definition.steps.iter().fold(Millis(0), |sum, step| sum.plus(step.timeout));
    let unwind = unwind_worst(&definition.steps);
    let needed = forward.plus(unwind);
    if needed <= definition.window {
        return;
    }
    let terms = |terms: Vec<String>| if terms.is_empty() { "0s".to_owned() } else { terms.join(" + ") };
    let forward_terms =
        terms(definition.steps.iter().map(|step| format!("{} {}", step.name, step.timeout)).collect());
    let unwind_terms = terms(
        definition
            .steps
            .iter()
            .filter_map(|step| {
                let undo = step.compensation.as_ref()?;
                Some(format!("{} {}", undo.action, undo.retry.worst_case(undo.timeout)))
            })
            .collect(),
    );
    problems.add(
        "/window",
        format!(
            "the worst case does not fit: one timeout of each step ({forward_terms} = {forward}) and the worst case \
             of all compensations ({unwind_terms} = {unwind}) need {needed}, the window is {}: shorten timeouts or \
             retries, or widen the window",
            definition.window
        ),
    );
}
