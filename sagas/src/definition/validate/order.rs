//! How the steps stand to each other: what they need, which are before and which behind the pivot, and whose outputs
//! they may name.

use super::{Problems, listed, positions, shown};
use crate::definition::{Draft, Graph, OnSilence, Step, StepKind, Zone};

/// The graph of the steps; nothing when what they need is not known or goes round in a circle.
pub(super) fn check(problems: &mut Problems, draft: &Draft) -> Option<Graph> {
    let needs = needs(problems, draft)?;
    let pivots: Vec<usize> = draft
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.kind == Some(StepKind::Pivot))
        .map(|(at, _)| at)
        .collect();
    let name = |at: usize| draft.steps.get(at).map(|step| shown(&step.name)).unwrap_or_default();
    let graph = match Graph::new(&needs, pivots.first().copied()) {
        Ok(graph) => graph,
        Err(cycle) => {
            let first = cycle.first().copied().unwrap_or(0);
            let names: Vec<String> =
                cycle.iter().chain([&first]).map(|at| format!("`{}`", name(*at))).collect();
            problems.add(
                &format!("/steps/{first}/needs"),
                format!("the steps wait for each other in a circle: {}: break it", names.join(" needs ")),
            );
            return None;
        }
    };
    for second in pivots.iter().skip(1) {
        problems.add(
            &format!("/steps/{second}/kind"),
            format!(
                "a second pivot: `{}` is the point of no return already",
                name(pivots.first().copied().unwrap_or(0))
            ),
        );
    }
    if pivots.len() < 2 {
        for (at, _) in draft.steps.iter().enumerate() {
            stands(problems, draft, &graph, at);
        }
    }
    Some(graph)
}

/// What each step needs, as positions.
fn needs(problems: &mut Problems, draft: &Draft) -> Option<Vec<Vec<usize>>> {
    let positions = positions(draft);
    let mut all_known = true;
    let mut needs = Vec::with_capacity(draft.steps.len());
    for (at, step) in draft.steps.iter().enumerate() {
        let Some(names) = &step.needs else {
            needs.push(at.checked_sub(1).into_iter().collect());
            continue;
        };
        let mut found = Vec::new();
        for (place, name) in names.iter().enumerate() {
            let pointer = format!("/steps/{at}/needs/{place}");
            match positions.get(name.as_str()) {
                None => {
                    all_known = false;
                    let others =
                        draft.steps.iter().map(|step| step.name.as_str()).filter(|other| *other != step.name);
                    problems.add(
                        &pointer,
                        format!("there is no step `{}`; the others are: {}", shown(name), listed(others)),
                    );
                }
                Some(need) if found.contains(need) => {
                    problems.add(&pointer, format!("`{}` is named twice: leave one out", shown(name)));
                }
                Some(need) => found.push(*need),
            }
        }
        needs.push(found);
    }
    all_known.then_some(needs)
}

/// Whether the step's kind fits to where it stands to the pivot.
fn stands(problems: &mut Problems, draft: &Draft, graph: &Graph, at: usize) {
    let Some(step) = draft.steps.get(at) else { return };
    let name = shown(&step.name);
    let pivot = graph.pivot().and_then(|pivot| draft.steps.get(pivot)).map(|pivot| shown(&pivot.name));
    let is_wait = step.signal.is_some() || step.approval.is_some() || step.delay.is_some();
    let kind = if is_wait { StepKind::Read } else { step.kind.unwrap_or_default() };
    let kind_at = format!("/steps/{at}/kind");
    let needs_at = format!("/steps/{at}/needs");
    let Some(pivot) = pivot else {
        if kind == StepKind::Retriable {
            problems.add(
                &kind_at,
                format!(
                    "the retriable step `{name}` stands before the pivot or without one: a step that cannot be undone \
                     and must succeed belongs after the pivot"
                ),
            );
        }
        return;
    };
    let is_before = graph.pivot().is_some_and(|pivot| graph.descendants(at).has(pivot));
    match graph.zone(at) {
        Zone::Pivot => {}
        Zone::Before if !is_before => problems.add(
            &needs_at,
            match kind {
                StepKind::Retriable => format!(
                    "the retriable step `{name}` stands beside the pivot `{pivot}`: it must not begin before the point \
                     of no return: let it need `{pivot}`, or a step behind it"
                ),
                StepKind::Compensatable | StepKind::Read | StepKind::Pivot => format!(
                    "the step `{name}` stands beside the pivot `{pivot}`: it may fail when there is no way back any \
                     more: let `{pivot}` need it, or let it need `{pivot}`"
                ),
            },
        ),
        Zone::Before => {
            if kind == StepKind::Retriable {
                problems.add(
                    &kind_at,
                    format!(
                        "the retriable step `{name}` stands before the pivot or without one: a step that cannot be \
                         undone and must succeed belongs after the pivot"
                    ),
                );
            }
        }
        Zone::Behind => behind(problems, draft, at, &pivot, kind),
    }
}

fn behind(problems: &mut Problems, draft: &Draft, at: usize, pivot: &str, kind: StepKind) {
    let Some(step) = draft.steps.get(at) else { return };
    let name = shown(&step.name);
    if step.saga.is_some() {
        problems.add(
            &format!("/steps/{at}/saga"),
            format!(
                "the sub-saga `{name}` stands after the pivot `{pivot}`, where nothing is undone any more, and a \
                 sub-saga may be refused: move it before the pivot"
            ),
        );
    } else if step.approval.is_some() {
        problems.add(
            &format!("/steps/{at}/approval"),
            format!(
                "the approval `{name}` stands after the pivot `{pivot}`, where a no cannot be followed any more: move \
                 it before the pivot"
            ),
        );
    } else if let Some(signal) = &step.signal {
        if signal.on_timeout.unwrap_or_default() == OnSilence::Fail {
            problems.add(
                &format!("/steps/{at}/signal"),
                format!(
                    "the signal `{name}` is awaited after the pivot `{pivot}`, where nothing is undone any more: add \
                     `on_timeout: continue`"
                ),
            );
        }
    } else if kind == StepKind::Compensatable && step.delay.is_none() {
        problems.add(
            &format!("/steps/{at}/kind"),
            format!(
                "the compensatable step `{name}` stands after the pivot `{pivot}`, where nothing is undone any more: \
                 make it `kind: retriable` or move it before the pivot"
            ),
        );
    }
}

/// Only outputs of steps that have certainly ended before can be named.
pub(super) fn references(problems: &mut Problems, draft: &Draft, steps: &[Option<Step>], graph: &Graph) {
    for (at, step) in steps.iter().enumerate() {
        let Some(step) = step else { continue };
        let places = [
            ("input", step.input.as_ref().map(|template| template.steps_referred_to())),
            ("when", step.when.as_ref().map(|when| when.steps_referred_to())),
            ("for_each/items", step.for_each.as_ref().map(|each| each.items.steps_referred_to())),
        ];
        for (field, names) in places {
            for name in names.into_iter().flatten() {
                let is_earlier = draft
                    .steps
                    .iter()
                    .enumerate()
                    .any(|(other, step)| step.name == *name && graph.ancestors(at).has(other));
                if !is_earlier {
                    let earlier = draft.steps.iter().enumerate();
                    let earlier = earlier.filter(|(other, _)| graph.ancestors(at).has(*other));
                    problems.add(
                        &format!("/steps/{at}/{field}"),
                        format!(
                            "refers to the output of `{}`, which is no earlier step; earlier are: {}",
                            shown(name),
                            listed(earlier.map(|(_, step)| step.name.as_str()))
                        ),
                    );
                }
            }
        }
    }
}
