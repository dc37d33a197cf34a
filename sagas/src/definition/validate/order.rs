//! How the steps stand to each other: what they need, which are before and which behind the pivot, and whose outputs
//! they may name.

use serde_json::Value;

use super::{Problem, Problems, below, listed, positions, shown};
use crate::definition::{Draft, Graph, OnSilence, Step, StepKind, Zone};
use crate::expression::{Scope, Type};
use crate::template::Template;

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
                "needs-in-a-circle",
                format!("the steps wait for each other in a circle: {}", names.join(" needs ")),
                "leave one of these needs out",
            );
            return None;
        }
    };
    for second in pivots.iter().skip(1) {
        problems.add(
            &format!("/steps/{second}/kind"),
            "second-pivot",
            format!(
                "a second pivot: `{}` is the point of no return already",
                name(pivots.first().copied().unwrap_or(0))
            ),
            "let one step be the pivot: those before it are undone when it fails, those behind it are retriable",
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
                    let mend = match problems.nearest(name, others.clone()) {
                        Some(near) => format!("did you mean `{}`?", shown(near)),
                        None => format!("the others are: {}", listed(others)),
                    };
                    let message = format!("there is no step `{}`", shown(name));
                    problems.add(&pointer, "unknown-step", message, mend);
                }
                Some(need) if found.contains(need) => {
                    let message = format!("`{}` is named twice", shown(name));
                    problems.add(&pointer, "needs-twice", message, "leave one out");
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
                "retriable-before-pivot",
                format!("the retriable step `{name}` stands before the pivot or without one"),
                "a step that cannot be undone and must succeed belongs after the pivot",
            );
        }
        return;
    };
    let is_before = graph.pivot().is_some_and(|pivot| graph.descendants(at).has(pivot));
    match graph.zone(at) {
        Zone::Pivot => {}
        Zone::Before if !is_before && kind == StepKind::Retriable => problems.add(
            &needs_at,
            "beside-pivot",
            format!(
                "the retriable step `{name}` stands beside the pivot `{pivot}`: it must not begin before the point of \
                 no return"
            ),
            format!("let it need `{pivot}`, or a step behind it"),
        ),
        Zone::Before if !is_before => problems.add(
            &needs_at,
            "beside-pivot",
            format!(
                "the step `{name}` stands beside the pivot `{pivot}`: it may fail when there is no way back any more"
            ),
            format!("let `{pivot}` need it, or let it need `{pivot}`"),
        ),
        Zone::Before => {
            if kind == StepKind::Retriable {
                problems.add(
                    &kind_at,
                    "retriable-before-pivot",
                    format!("the retriable step `{name}` stands before the pivot or without one"),
                    "a step that cannot be undone and must succeed belongs after the pivot",
                );
            }
        }
        Zone::Behind => stands_behind(problems, draft, at, &pivot, kind),
    }
}

fn stands_behind(problems: &mut Problems, draft: &Draft, at: usize, pivot: &str, kind: StepKind) {
    let Some(step) = draft.steps.get(at) else { return };
    let name = shown(&step.name);
    if step.saga.is_some() {
        problems.add(
            &format!("/steps/{at}/saga"),
            "behind-pivot",
            format!(
                "the sub-saga `{name}` stands after the pivot `{pivot}`, where nothing is undone any more, and a \
                 sub-saga may be refused"
            ),
            "move it before the pivot",
        );
    } else if step.approval.is_some() {
        problems.add(
            &format!("/steps/{at}/approval"),
            "behind-pivot",
            format!(
                "the approval `{name}` stands after the pivot `{pivot}`, where a no cannot be followed any more"
            ),
            "move it before the pivot",
        );
    } else if let Some(signal) = &step.signal {
        if signal.on_timeout.unwrap_or_default() == OnSilence::Fail {
            problems.add(
                &format!("/steps/{at}/signal"),
                "behind-pivot",
                format!(
                    "the signal `{name}` is awaited after the pivot `{pivot}`, where nothing is undone any more"
                ),
                "add `on_timeout: continue`",
            );
        }
    } else if kind == StepKind::Compensatable && step.delay.is_none() {
        problems.add(
            &format!("/steps/{at}/kind"),
            "behind-pivot",
            format!(
                "the compensatable step `{name}` stands after the pivot `{pivot}`, where nothing is undone any more"
            ),
            "make it `kind: retriable` or move it before the pivot",
        );
    }
}

/// Only outputs of steps that have certainly ended before can be named.
pub(super) fn references(problems: &mut Problems, draft: &Draft, steps: &[Option<Step>], graph: &Graph) {
    for (at, step) in steps.iter().enumerate() {
        let (Some(step), Some(written)) = (step, draft.steps.get(at)) else { continue };
        let here = Here { draft, graph, at };
        if let Some(when) = &step.when {
            here.refers(problems, &format!("/steps/{at}/when"), when.source(), &when.steps_referred_to());
        }
        if let Some(input) = written.input.as_ref().filter(|input| !Template::is_too_large(input)) {
            here.texts(problems, &mut format!("/steps/{at}/input"), input);
        }
        if let Some(each) = written.for_each.as_ref().filter(|each| !Template::is_too_large(&each.items)) {
            here.texts(problems, &mut format!("/steps/{at}/for_each/items"), &each.items);
        }
        here.sense(problems, step);
    }
}

/// A step whose references are looked at.
struct Here<'a> {
    draft: &'a Draft,
    graph: &'a Graph,
    at: usize,
}

impl Here<'_> {
    /// What makes no sense whatever the input is: names that mean nothing, sums of texts and numbers.
    fn sense(&self, problems: &mut Problems, step: &Step) {
        let is_known = |name: &&str| self.draft.steps.iter().any(|step| step.name == **name);
        let input = step.input.iter().flat_map(|input| input.steps_referred_to());
        let items = step.for_each.iter().flat_map(|each| each.items.steps_referred_to());
        let when = step.when.iter().flat_map(|when| when.steps_referred_to());
        // A step that is not there is told already.
        if problems.is_judged || problems.more || !input.chain(items).chain(when).all(|name| is_known(&name))
        {
            return;
        }
        let at = self.at;
        let plain =
            self.draft.steps.iter().fold(Scope::default(), |scope, step| scope.step(&step.name, Type::Any));
        let items = step.for_each.as_ref().map(|each| &each.items);
        for (pointer, bad) in items.map(|items| items.check(&plain)).into_iter().flatten() {
            problems.add_expression(&format!("/steps/{at}/for_each/items{pointer}"), bad);
        }
        if let Some(Err(errors)) = step.when.as_ref().map(|when| when.check_bool(&plain)) {
            for bad in errors {
                problems.add_expression(&format!("/steps/{at}/when"), bad);
            }
        }
        let scope = match &step.for_each {
            Some(each) => plain.each(&each.name, Type::Any),
            None => plain,
        };
        for (pointer, bad) in step.input.as_ref().map(|input| input.check(&scope)).into_iter().flatten() {
            problems.add_expression(&format!("/steps/{at}/input{pointer}"), bad);
        }
        // A list that is no list, or too long, must be found while there is a way back.
        if self.graph.zone(at) == Zone::Behind
            && let Some(items) = items
        {
            let is_late = |name: &&str| {
                let of = self.draft.steps.iter().position(|step| step.name == *name);
                of.is_some_and(|of| self.graph.zone(of) != Zone::Before)
            };
            if let Some(late) = items.steps_referred_to().into_iter().find(is_late) {
                problems.push(Problem {
                    pointer: format!("/steps/{at}/for_each/items"),
                    offset: None,
                    code: "late-list",
                    message: format!(
                        "the list of a step behind the pivot is made of the output of `{}`, which is known only when \
                         there is no way back any more",
                        shown(late)
                    ),
                    mend: Some("make it of the input, or of the outputs of steps before the pivot".to_owned()),
                });
            }
        }
    }

    /// Looks at each text of a template, so that the place of a problem is that of its text.
    fn texts(&self, problems: &mut Problems, pointer: &mut String, value: &Value) {
        if problems.more {
            return;
        }
        match value {
            Value::String(text) if text.contains("${{") => {
                if let Ok(template) = Template::parse(value) {
                    self.refers(problems, pointer, text, &template.steps_referred_to());
                }
            }
            Value::Array(_) | Value::Object(_) => {
                below(pointer, value, |pointer, part| self.texts(problems, pointer, part));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn refers(&self, problems: &mut Problems, pointer: &str, text: &str, names: &[&str]) {
        let ancestors = self.graph.ancestors(self.at);
        for (nth, name) in names.iter().enumerate() {
            let known = self.draft.steps.iter().position(|step| step.name == *name);
            let is_repeated = names.iter().take(nth).any(|before| before == name);
            if is_repeated || known.is_some_and(|at| ancestors.has(at)) {
                continue;
            }
            let steps = self.draft.steps.iter().enumerate();
            let earlier = steps.filter(|(at, _)| ancestors.has(*at)).map(|(_, step)| step.name.as_str());
            let (code, message, mend) = match known {
                _ if earlier.clone().next().is_none() => (
                    if known.is_some() { "not-an-earlier-step" } else { "unknown-step" },
                    "which is no earlier step".to_owned(),
                    "no step has ended before this one: let it need the step whose output it uses".to_owned(),
                ),
                Some(at) if at == self.at => (
                    "not-an-earlier-step",
                    "which is this step itself".to_owned(),
                    format!("earlier are: {}", listed(earlier)),
                ),
                Some(_) => (
                    "not-an-earlier-step",
                    "which is no earlier step".to_owned(),
                    format!("earlier are: {}; or let this step need it", listed(earlier)),
                ),
                None => (
                    "unknown-step",
                    "and there is no such step".to_owned(),
                    match problems.nearest(name, earlier.clone()) {
                        Some(near) => format!("did you mean `{}`?", shown(near)),
                        None => format!("earlier are: {}", listed(earlier)),
                    },
                ),
            };
            problems.push(Problem {
                pointer: pointer.to_owned(),
                offset: text.find(*name),
                code,
                message: format!("refers to the output of `{}`, {message}", shown(name)),
                mend: Some(mend),
            });
        }
    }
}
