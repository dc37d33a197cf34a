//! What one step says: that it is one kind of work, that its fields fit that work, and that their values are in range.

use std::collections::HashSet;

use serde_json::Value;

use super::{Problems, shown};
use crate::definition::{
    Compensation, Draft, DraftCompensation, DraftCompensationFields, DraftForEach, DraftStep, ForEach, Step,
    StepKind, TIMEOUT_DEFAULT, WINDOW_MAX, Work,
};
use crate::expression::{Expression, variable};
use crate::ids::Name;
use crate::retry::RetryPolicy;
use crate::time::Millis;
use crate::wire::limit;

/// What an item is called in expressions where the step does not say.
const EACH_NAME_DEFAULT: &str = "item";
/// The most items where the step does not say.
const EACH_MAX_DEFAULT: u32 = 100;
/// The most items.
const EACH_MAX: u32 = 1000;
/// The most items under way at once.
const EACH_CONCURRENCY_MAX: u32 = 100;
/// How a list is said.
const ITEMS_MEND: &str = "write a list, or an expression that gives one: `${{ input.rows }}`";

/// Checks each step by itself; nothing for one whose problems leave no step.
pub(super) fn check_all(problems: &mut Problems, draft: &Draft) -> Vec<Option<Step>> {
    let mut seen: HashSet<&str> = HashSet::new();
    let mut steps = Vec::with_capacity(draft.steps.len());
    for (position, step) in draft.steps.iter().enumerate() {
        let at = format!("/steps/{position}");
        if !seen.insert(&step.name) {
            problems.add(
                &format!("{at}/name"),
                "duplicate-step",
                format!("the name `{}` is taken by an earlier step", shown(&step.name)),
                "steps are told apart by name",
            );
        }
        steps.push(check(problems, &at, step));
    }
    steps
}

fn check(problems: &mut Problems, at: &str, step: &DraftStep) -> Option<Step> {
    let name = problems.name(&format!("{at}/name"), &step.name);
    let work = work(problems, at, step, name.as_ref());
    let is_wait = work.as_ref().is_some_and(Work::is_wait);
    if is_wait {
        unfitting(problems, at, step);
    }
    let timeout = timeout(problems, at, step, work.as_ref());
    let retry = step.retry.unwrap_or_else(|| match work {
        // A sub-saga is asked once: it has tried each of its own steps.
        Some(Work::Saga { .. }) => RetryPolicy { attempts: 1, ..RetryPolicy::default() },
        _ => RetryPolicy::default(),
    });
    problems.retry(&format!("{at}/retry"), retry);
    let kind = match (step.kind, is_wait) {
        (_, true) => StepKind::Read,
        (kind, false) => kind.unwrap_or_default(),
    };
    let compensation = match work {
        // Of what a step is not known to do, it is not known how it is undone.
        Some(Work::Signal { .. } | Work::Approval { .. } | Work::Delay) => None,
        None if step.participant.is_none() => None,
        Some(Work::Saga { .. }) => undo_of_saga(problems, at, step, kind, timeout),
        Some(Work::Participant { .. }) | None => compensation(problems, at, step, kind, timeout),
    };
    let when = step.when.as_ref().and_then(|text| when(problems, &format!("{at}/when"), text));
    let for_each = step.for_each.as_ref().and_then(|each| {
        if is_wait || kind == StepKind::Pivot {
            let what = if is_wait { "a wait" } else { "the pivot, which is one point of no return," };
            problems.add(
                &format!("{at}/for_each"),
                "unfitting-field",
                format!("{what} is not done for each item"),
                "leave `for_each` out",
            );
        }
        for_each(problems, &format!("{at}/for_each"), each)
    });
    let input = step.input.as_ref().and_then(|template| problems.template(&format!("{at}/input"), template));
    Some(Step { name: name?, work: work?, kind, when, for_each, compensation, timeout, retry, input })
}

/// The one kind of work that a step is.
fn work(problems: &mut Problems, at: &str, step: &DraftStep, name: Option<&Name>) -> Option<Work> {
    let kinds = [
        ("participant", step.participant.is_some()),
        ("saga", step.saga.is_some()),
        ("signal", step.signal.is_some()),
        ("approval", step.approval.is_some()),
        ("delay", step.delay.is_some()),
    ];
    let said: Vec<&str> = kinds.iter().filter(|(_, is_said)| *is_said).map(|(word, _)| *word).collect();
    if said.len() != 1 {
        let (place, code, what) = match said.get(1) {
            None => (at.to_owned(), "no-work", "does not say what is to be done".to_owned()),
            Some(second) => {
                let said: Vec<String> = said.iter().map(|word| format!("`{word}`")).collect();
                (format!("{at}/{second}"), "several-works", format!("says {} at once", said.join(" and ")))
            }
        };
        let mend = "use one of `participant`, `saga`, `signal`, `approval` and `delay`";
        problems.add(&place, code, format!("the step `{}` {what}", shown(&step.name)), mend);
        return None;
    }
    if step.action.is_some() && step.participant.is_none() {
        problems.add(
            &format!("{at}/action"),
            "unfitting-field",
            "only a participant has an action",
            "leave `action` out",
        );
    }
    if step.version.is_some() && step.saga.is_none() {
        problems.add(
            &format!("{at}/version"),
            "unfitting-field",
            "only a sub-saga's definition has a version",
            "leave `version` out",
        );
    }
    if let Some(participant) = &step.participant {
        let participant = problems.name(&format!("{at}/participant"), participant);
        let action = match &step.action {
            Some(action) => problems.name(&format!("{at}/action"), action),
            None => name.cloned(),
        };
        return Some(Work::Participant { participant: participant?, action: action? });
    }
    if let Some(definition) = &step.saga {
        let definition = problems.name(&format!("{at}/saga"), definition);
        let version = step.version.filter(|version| *version > 0);
        if version.is_none() {
            problems.add(
                &format!("{at}/version"),
                "no-version",
                "a sub-saga needs the version of its definition, from 1",
                "it is written in when the definition is submitted and the sub-saga's is known by then",
            );
        }
        return Some(Work::Saga { definition: definition?, version: version? });
    }
    if let Some(signal) = &step.signal {
        let name = match &signal.name {
            Some(text) => problems.name(&format!("{at}/signal/name"), text),
            None => name.cloned(),
        };
        let on_timeout = signal.on_timeout.unwrap_or_default();
        if signal.default.is_some() && on_timeout == crate::definition::OnSilence::Fail {
            problems.add(
                &format!("{at}/signal/default"),
                "unused-default",
                "the default is the output when nobody gives the signal in time, and then this step fails",
                "add `on_timeout: continue`, or leave `default` out",
            );
        }
        let default = signal.default.clone().unwrap_or(Value::Null);
        let bytes = default.to_string().len();
        if bytes > limit::PAYLOAD_BYTES_MAX {
            let message = format!("the default has {bytes} bytes");
            let mend = format!("an output has at most {}: make it smaller", limit::PAYLOAD_BYTES_MAX);
            problems.judge(&format!("{at}/signal/default"), "too-large", (message, mend));
        }
        return Some(Work::Signal { name: name?, on_timeout, default });
    }
    if let Some(approval) = &step.approval {
        return Some(Work::Approval { on_timeout: approval.on_timeout.unwrap_or_default() });
    }
    Some(Work::Delay)
}

/// What a wait has no use for.
fn unfitting(problems: &mut Problems, at: &str, step: &DraftStep) {
    let fields = [
        ("kind", step.kind.is_some()),
        ("compensation", step.compensation.is_some()),
        ("timeout", step.timeout.is_some()),
        ("retry", step.retry.is_some()),
        ("input", step.input.is_some()),
    ];
    for (field, is_said) in fields {
        if is_said {
            problems.add(
                &format!("{at}/{field}"),
                "unfitting-field",
                format!("a step that only waits sends nothing and has no `{field}`"),
                match (field, &step.signal, &step.approval) {
                    ("timeout", Some(_), _) => "how long a signal is awaited is said within `signal`: `signal: { name: paid, timeout: 1h }`",
                    ("timeout", _, Some(_)) => "how long an approval is awaited is said within `approval`: `approval: { timeout: 2d }`",
                    ("timeout", _, _) => "the delay is the time that it takes: leave it out",
                    _ => "leave it out",
                },
            );
        }
    }
}

fn timeout(problems: &mut Problems, at: &str, step: &DraftStep, work: Option<&Work>) -> Millis {
    match work {
        Some(Work::Signal { .. }) => {
            let timeout = step.signal.as_ref().map_or(TIMEOUT_DEFAULT, |signal| signal.timeout);
            problems.span(&format!("{at}/signal/timeout"), "a timeout", timeout, WINDOW_MAX);
            timeout
        }
        Some(Work::Approval { .. }) => {
            let timeout = step.approval.as_ref().map_or(TIMEOUT_DEFAULT, |approval| approval.timeout);
            problems.span(&format!("{at}/approval/timeout"), "a timeout", timeout, WINDOW_MAX);
            timeout
        }
        Some(Work::Delay) => {
            let delay = step.delay.unwrap_or_default();
            problems.span(&format!("{at}/delay"), "a delay", delay, WINDOW_MAX);
            delay
        }
        Some(Work::Saga { .. }) => {
            let Some(timeout) = step.timeout else {
                problems.add(
                    &format!("{at}/timeout"),
                    "no-timeout",
                    "a sub-saga needs a `timeout`",
                    "the window of its definition is written in when the definition is submitted",
                );
                return TIMEOUT_DEFAULT;
            };
            problems.span(&format!("{at}/timeout"), "a timeout", timeout, WINDOW_MAX);
            timeout
        }
        Some(Work::Participant { .. }) | None => {
            let timeout = step.timeout.unwrap_or(TIMEOUT_DEFAULT);
            problems.timeout(&format!("{at}/timeout"), timeout);
            timeout
        }
    }
}

fn when(problems: &mut Problems, at: &str, text: &str) -> Option<Expression> {
    if text.trim_start().starts_with("${{") {
        problems.add(
            at,
            "bad-expression",
            "a condition is an expression itself",
            "write it without `${{` and `}}`",
        );
        return None;
    }
    match Expression::parse(text) {
        Ok(expression) => Some(expression),
        Err(error) => {
            problems.add_expression(at, error);
            None
        }
    }
}

fn for_each(problems: &mut Problems, at: &str, each: &DraftForEach) -> Option<ForEach> {
    let name = each.name.clone().unwrap_or_else(|| EACH_NAME_DEFAULT.to_owned());
    let is_long = name.len() > Name::LENGTH_MAX;
    let told = match variable(&name) {
        Err(told) => Some(told),
        Ok(()) if is_long => {
            let message = format!("`{}` is no name for an item", shown(&name));
            Some((message, format!("use at most {} letters", Name::LENGTH_MAX)).into())
        }
        Ok(()) => None,
    };
    if let Some(told) = told {
        problems.judge(&format!("{at}/as"), "bad-name", told);
    }
    let concurrency = each.concurrency.unwrap_or(1);
    if !(1..=EACH_CONCURRENCY_MAX).contains(&concurrency) {
        problems.judge(
            &format!("{at}/concurrency"),
            "out-of-range",
            (format!("{concurrency} at once"), format!("use 1 to {EACH_CONCURRENCY_MAX}")),
        );
    }
    let max = each.max.unwrap_or(EACH_MAX_DEFAULT);
    if !(1..=EACH_MAX).contains(&max) {
        problems.judge(
            &format!("{at}/max"),
            "out-of-range",
            (format!("{max} items"), format!("use 1 to {EACH_MAX}")),
        );
    }
    let items_at = format!("{at}/items");
    match &each.items {
        Value::Array(_) => {}
        Value::String(text) if text.contains("${{") => {}
        Value::String(text) => {
            let mend = match Expression::parse(text.trim()) {
                Ok(_) => format!("write `${{{{ {} }}}}`", shown(text.trim())),
                Err(_) => ITEMS_MEND.to_owned(),
            };
            problems.judge(&items_at, "wrong-type", ("the items are a text, which is no list", mend));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            problems.add(&items_at, "wrong-type", "the items are no list", ITEMS_MEND);
            return None;
        }
    }
    let items = problems.template(&items_at, &each.items)?;
    Some(ForEach { items, name, concurrency: concurrency.max(1), max: max.max(1) })
}

/// A sub-saga that is undone undoes what it did. How long that may take is written in at the submission.
fn undo_of_saga(
    problems: &mut Problems,
    at: &str,
    step: &DraftStep,
    kind: StepKind,
    timeout: Millis,
) -> Option<Compensation> {
    let at = format!("{at}/compensation");
    match kind {
        StepKind::Compensatable => {}
        StepKind::Pivot => {
            if step.compensation.is_some() {
                problems.add(
                    &at,
                    "compensation-never-run",
                    "the pivot is the point of no return and is never compensated",
                    "leave `compensation` out",
                );
            }
            return None;
        }
        StepKind::Retriable | StepKind::Read => {
            problems.add(
                &at.replace("/compensation", "/kind"),
                "unfitting-kind",
                "a sub-saga may be refused, and has effects",
                "it is compensatable, or, when its own definition has a pivot, the pivot",
            );
            return None;
        }
    }
    let fields = match &step.compensation {
        Some(DraftCompensation::Long(fields)) => fields.clone(),
        Some(DraftCompensation::Short(_)) => {
            problems.add(
                &at,
                "unfitting-field",
                "a sub-saga is undone by its own compensations",
                "leave `compensation` out",
            );
            return None;
        }
        None => DraftCompensationFields { action: None, timeout: Some(timeout), retry: None },
    };
    if fields.action.is_some() {
        problems.add(
            &format!("{at}/action"),
            "unfitting-field",
            "a sub-saga is undone by its own compensations",
            "leave `action` out",
        );
    }
    let timeout = fields.timeout.unwrap_or(timeout);
    problems.span(&format!("{at}/timeout"), "a timeout", timeout, WINDOW_MAX);
    let retry = fields.retry.unwrap_or(RetryPolicy { attempts: 1, ..RetryPolicy::default() });
    problems.retry(&format!("{at}/retry"), retry);
    Some(Compensation { action: Name::new("undo").ok()?, timeout, retry })
}

fn compensation(
    problems: &mut Problems,
    at: &str,
    step: &DraftStep,
    kind: StepKind,
    timeout: Millis,
) -> Option<Compensation> {
    let at = format!("{at}/compensation");
    let mut action_at = format!("{at}/action");
    let fields = match (&step.compensation, kind) {
        (None, StepKind::Compensatable) => {
            problems.add(
                &at,
                "no-compensation",
                format!("the step `{}` has no compensation", shown(&step.name)),
                "name the operation that reverses it, or write `compensation: none` if its effect may stay",
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
            problems.add(
                &at,
                "compensation-never-run",
                format!("{word} and is never compensated"),
                "leave `compensation` out",
            );
            return None;
        }
        (Some(DraftCompensation::Short(action)), StepKind::Compensatable) => {
            action_at.clone_from(&at);
            DraftCompensationFields { action: Some(action.clone()), timeout: None, retry: None }
        }
        (Some(DraftCompensation::Long(fields)), StepKind::Compensatable) => fields.clone(),
    };
    let Some(action) = fields.action else {
        problems.add(
            &at,
            "no-compensation",
            "the compensation names no operation",
            "add `action`, the participant's operation that reverses the step",
        );
        return None;
    };
    if action == *step.action.as_ref().unwrap_or(&step.name) {
        problems.add(
            &action_at,
            "compensation-is-the-action",
            format!("`{}` is the step's own action and does not reverse it", shown(&action)),
            "name another operation",
        );
    }
    let action = problems.name(&action_at, &action);
    if let Some(timeout) = fields.timeout {
        problems.timeout(&format!("{at}/timeout"), timeout);
    }
    let timeout = fields.timeout.unwrap_or(timeout);
    let retry = fields.retry.unwrap_or_default();
    problems.retry(&format!("{at}/retry"), retry);
    Some(Compensation { action: action?, timeout, retry })
}
