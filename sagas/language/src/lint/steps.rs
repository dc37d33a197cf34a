//! What steps say of each other, and what a step says that has no effect.

use std::collections::BTreeSet;

use snorri_saga::definition::{Definition, OnSilence, SiblingFailure, StepKind, Work};

use super::{Findings, Subject, shown};

pub(super) fn lint(subject: &Subject<'_>, findings: &mut Findings) {
    for (at, step) in subject.steps() {
        let policies = [format!("{at}/retry"), format!("{at}/compensation/retry")];
        for policy in policies {
            unused_policy(subject, findings, &policy);
        }
        if let Some(each) = &step.for_each
            && let (Some(concurrency), max) = (each.concurrency, each.max.unwrap_or(100))
            && concurrency > max
            && max > 0
        {
            subject.warn(
                findings,
                "concurrency-above-max",
                &format!("{at}/for_each/concurrency"),
                format!("{concurrency} items at once are never reached: there are at most {max}"),
                "lower `concurrency`, or raise `max`",
            );
        }
    }
    let Some(definition) = subject.definition else { return };
    needs(subject, findings, definition);
    outputs(subject, findings, definition);
    siblings(subject, findings, definition);
    for (nth, step) in definition.steps.iter().enumerate() {
        if matches!(step.work, Work::Delay) && definition.graph.needed_by(nth).is_empty() {
            subject.warn(
                findings,
                "delay-for-nothing",
                &format!("/steps/{nth}/delay"),
                format!("nothing waits for the delay `{}`: it only makes the saga end later", step.name),
                "let a step need it, or leave it out",
            );
        }
    }
}

/// Pauses between attempts of which there is one.
fn unused_policy(subject: &Subject<'_>, findings: &mut Findings, at: &str) {
    let field = |name: &str| format!("{at}/{name}");
    let attempts = attempts(subject, at);
    if attempts != Some(1) {
        return;
    }
    let said =
        ["backoff", "factor", "cap", "jitter"].map(field).into_iter().find(|field| subject.places.has(field));
    if let Some(said) = said {
        let name = said.rsplit('/').next().unwrap_or_default();
        subject.warn(
            findings,
            "retry-of-one-attempt",
            &said,
            format!("there is one attempt, and no pause that `{name}` could say something of"),
            "raise `attempts`, or leave it out",
        );
    }
}

/// How many attempts the policy at that place says.
fn attempts(subject: &Subject<'_>, at: &str) -> Option<u32> {
    use snorri_saga::definition::DraftCompensation;
    let mut parts = at.split('/').skip(2);
    let step = subject.written.steps.get(parts.next()?.parse::<usize>().ok()?)?;
    let policy = match parts.next()? {
        "retry" => step.retry,
        _ => match &step.compensation {
            Some(DraftCompensation::Long(fields)) => fields.retry,
            Some(DraftCompensation::Short(_)) | None => None,
        },
    };
    policy.map(|policy| policy.attempts)
}

/// What a step needs by way of another that it needs.
fn needs(subject: &Subject<'_>, findings: &mut Findings, definition: &Definition) {
    for (nth, step) in subject.written.steps.iter().enumerate() {
        for (place, name) in step.needs.iter().flatten().enumerate() {
            let Some((need, _)) = definition.step(name) else { continue };
            let by_way_of = definition
                .graph
                .needs(nth)
                .iter()
                .copied()
                .find(|other| *other != need && definition.graph.ancestors(*other).has(need));
            let Some(other) = by_way_of.and_then(|other| definition.steps.get(other)) else { continue };
            subject.warn(
                findings,
                "needs-implied",
                &format!("/steps/{nth}/needs/{place}"),
                format!("`{}` needs `{}` already", other.name, shown(name)),
                format!("leave `{}` out", shown(name)),
            );
        }
    }
}

/// Outputs that nobody uses, of steps that are there for nothing else; and one that is null where it is used.
fn outputs(subject: &Subject<'_>, findings: &mut Findings, definition: &Definition) {
    let mut used: BTreeSet<String> = BTreeSet::new();
    for step in &definition.steps {
        let input = step.input.iter().flat_map(|input| input.steps_referred_to());
        let when = step.when.iter().flat_map(|when| when.steps_referred_to());
        let items = step.for_each.iter().flat_map(|each| each.items.steps_referred_to());
        used.extend(input.chain(when).chain(items).map(str::to_owned));
    }
    let is_named = |name: &str| {
        subject.written.steps.iter().filter_map(|step| step.needs.as_ref()).flatten().any(|need| need == name)
    };
    for (nth, step) in definition.steps.iter().enumerate() {
        let name = step.name.as_str();
        let is_read = step.kind == StepKind::Read && matches!(step.work, Work::Participant { .. });
        // The last one's output may be what the saga is for; one that is needed by name is there to refuse.
        let is_in_between = !definition.graph.needed_by(nth).is_empty();
        if is_read && is_in_between && !used.contains(name) && !is_named(name) {
            subject.warn(
                findings,
                "unused-output",
                &format!("/steps/{nth}/name"),
                format!("nobody uses what `{name}` reads"),
                "use its output; if it is there to refuse, say so: let the next step name it in `needs`",
            );
        }
        if let Work::Signal { on_timeout: OnSilence::Continue, .. } = step.work
            && used.contains(name)
            && !subject.places.has(&format!("/steps/{nth}/signal/default"))
        {
            subject.warn(
                findings,
                "default-is-null",
                &format!("/steps/{nth}/signal/on_timeout"),
                format!(
                    "when nobody gives the signal in time, the output of `{name}`, which is used, is null"
                ),
                "say the output then: `default: {...}`",
            );
        }
    }
}

/// A race needs two.
fn siblings(subject: &Subject<'_>, findings: &mut Findings, definition: &Definition) {
    if definition.on_sibling_failure != SiblingFailure::Race {
        return;
    }
    let graph = &definition.graph;
    let count = definition.steps.len();
    let is_beside = |one: usize, two: usize| !graph.ancestors(one).has(two) && !graph.ancestors(two).has(one);
    let has_branches = (0..count).any(|one| (one + 1..count).any(|two| is_beside(one, two)));
    let has_items =
        definition.steps.iter().any(|step| step.for_each.as_ref().is_some_and(|each| each.concurrency > 1));
    if !has_branches && !has_items {
        subject.warn(
            findings,
            "race-of-one",
            "/on_sibling_failure",
            "no two steps are ever under way at once, so none has a sibling",
            "leave it out, or say with `needs` which steps run beside each other",
        );
    }
}
