//! The definition as it is explored: what depends on payloads is an open question, which the explorer answers each way.
//! A condition is true or false, a list has none, one or more items, a request can be made or not. A question is open
//! until its step begins, so that what happens before is walked once and not once for each answer.
//!
//! The core is the real one, and sees a definition in which the questions are answered with literals.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{Value, json};
use snorri_saga::definition::{Definition, Step, Work, Zone};
use snorri_saga::expression::Expression;
use snorri_saga::ids::Name;
use snorri_saga::retry::{RetryPolicy, SLOW_LANE_CAP};
use snorri_saga::saga::{Flight, Saga, StepRun, Wait};
use snorri_saga::template::Template;
use snorri_saga::time::Millis;

use super::Bounds;
use super::world::{World, at_of};

/// So many steps of definitions with answers are kept; beyond that they are made again.
const KNOWN_STEPS_MAX: usize = 20_000;

/// The answer to a step's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    /// Its condition is false.
    Skip,
    /// It runs; a list with so many items.
    Run(u32),
    /// Its request, or its list, names what is not there.
    Cannot,
}

/// The answers so far, by the steps' positions.
pub(super) type Answers = Rc<[Option<Answer>]>;

/// A definition with open questions.
pub(super) struct Model {
    /// The definition with its numbers cut to the bounds, and no expression in it.
    pub(super) base: Rc<Definition>,
    /// What each step's question can be answered with, and how many faults each is.
    questions: Vec<Vec<(Answer, u8)>>,
    /// The steps whose request cannot be made, when that is asked for.
    broken: Vec<Option<Template>>,
    answered: HashMap<Answers, Rc<Definition>>,
    /// The one that was asked for last, as it is again and again.
    last: Option<(Answers, Rc<Definition>)>,
    /// More of the window than this makes no difference: neither can anything that happens within the bounds use it up, nor
    /// does anything that is planned reach its end.
    pub(super) far: Millis,
}

impl Model {
    pub(super) fn new(definition: &Definition, bounds: &Bounds) -> Self {
        let mut base = definition.clone();
        base.tags.clear();
        base.input = None;
        let (mut questions, mut broken) = (Vec::new(), Vec::new());
        for (at, step) in base.steps.iter_mut().enumerate() {
            let cannot = unresolvable(definition, at, step);
            questions.push(questions_of(step, bounds, cannot.is_some()));
            broken.push(cannot);
            step.when = None;
            step.input = None;
            step.retry.attempts = step.retry.attempts.min(bounds.attempts.max(1));
            if let Some(undo) = &mut step.compensation {
                undo.retry.attempts = undo.retry.attempts.min(bounds.attempts.max(1));
            }
        }
        // With fewer attempts less is kept for undoing.
        base.reserve = base.worst_case().reserve();
        let far = far(&base, bounds.faults);
        let base = Rc::new(base);
        Self { base, questions, broken, answered: HashMap::new(), last: None, far }
    }

    pub(super) fn step(&self, at: usize) -> Option<&Step> {
        self.base.steps.get(at)
    }

    /// No question is answered but those that have one answer.
    pub(super) fn nothing_answered(&self) -> Answers {
        self.questions
            .iter()
            .map(|may| if let [(only, _)] = may.as_slice() { Some(*only) } else { None })
            .collect()
    }

    /// The definition with the answers written in; an open question as its first answer.
    pub(super) fn with(&mut self, answers: &Answers) -> Rc<Definition> {
        if let Some((of, definition)) = &self.last
            && Rc::ptr_eq(of, answers)
        {
            return Rc::clone(definition);
        }
        if let Some(known) = self.answered.get(answers) {
            self.last = Some((Rc::clone(answers), Rc::clone(known)));
            return Rc::clone(known);
        }
        let mut definition = Definition::clone(&self.base);
        let open = |at: usize| self.questions.get(at).and_then(|may| may.first()).map(|(answer, _)| *answer);
        for (at, step) in definition.steps.iter_mut().enumerate() {
            let answer = answers.get(at).copied().flatten().or_else(|| open(at));
            match answer {
                Some(Answer::Skip) => step.when = Expression::parse("false").ok(),
                Some(Answer::Run(items)) => {
                    if let Some(each) = &mut step.for_each {
                        each.items = Template::Literal(json!((0..items).collect::<Vec<u32>>()));
                    }
                }
                Some(Answer::Cannot) => {
                    let broken = self.broken.get(at).cloned().flatten();
                    match (&mut step.for_each, broken) {
                        (Some(each), Some(broken)) => each.items = broken,
                        (_, broken) => step.input = broken,
                    }
                }
                None => {}
            }
        }
        let definition = Rc::new(definition);
        if self.answered.len().saturating_mul(definition.steps.len()) > KNOWN_STEPS_MAX {
            self.answered.clear();
        }
        self.answered.insert(Rc::clone(answers), Rc::clone(&definition));
        self.last = Some((Rc::clone(answers), Rc::clone(&definition)));
        definition
    }

    /// The step whose open question had to be answered first to get to this state.
    pub(super) fn asked(&self, answers: &Answers, saga: &Saga) -> Option<usize> {
        if answers.iter().all(Option::is_some) {
            return None;
        }
        let begun = saga.steps.iter().filter_map(|run| at_of(&self.base, &run.key));
        begun.into_iter().find(|at| answers.get(*at).is_some_and(Option::is_none))
    }

    /// The answers when what could not be requested behind the pivot is looked at again: somebody has mended it.
    pub(super) fn mended(&self, world: &World) -> Answers {
        let is_held_back =
            |(run, flight): (&StepRun, Flight)| match (flight.wait, at_of(&self.base, &run.key)) {
                (Wait::Retry(_), Some(at)) if flight.attempt == 0 => Some(at),
                _ => None,
            };
        let held: Vec<usize> = world.saga.in_flight().filter_map(is_held_back).collect();
        if held.is_empty() {
            return Rc::clone(&world.answers);
        }
        let mend = |(at, answer): (usize, &Option<Answer>)| match answer {
            Some(Answer::Cannot) if held.contains(&at) => Some(Answer::Run(1)),
            other => *other,
        };
        world.answers.iter().enumerate().map(mend).collect()
    }

    /// What the step's question can be answered with.
    pub(super) fn may_answer(&self, at: usize) -> &[(Answer, u8)] {
        self.questions.get(at).map_or(&[], Vec::as_slice)
    }
}

/// Answers take no time here. What does is a wait, once, and for each fault an attempt and the pause behind it; what is kept
/// of the window for undoing and for going on behind the pivot counts, and the tenth before its end, with its alert.
fn far(base: &Definition, faults: u8) -> Millis {
    let (mut waits, mut timeout, mut pauses) = (Millis(0), Millis(0), Millis(0));
    for step in &base.steps {
        if step.work.is_wait() {
            waits = waits.plus(step.timeout);
            continue;
        }
        let undo = step.compensation.as_ref().map(|undo| (undo.timeout, undo.retry));
        for (of, retry) in [Some((step.timeout, step.retry)), undo].into_iter().flatten() {
            timeout = timeout.max(of);
            // As many pauses as there can be faults, each at its longest, be it in the slow lane.
            let slow = RetryPolicy {
                attempts: u32::from(faults) + 2,
                backoff: retry.backoff.max(Millis::secs(1)),
                cap: retry.cap.max(SLOW_LANE_CAP),
                jitter: retry.jitter.max(0.5),
                ..retry
            };
            pauses = pauses.max(slow.worst_case(Millis(0)));
        }
    }
    let tries = Millis(timeout.0.saturating_mul(u64::from(faults))).plus(pauses);
    let worst = base.worst_case();
    let kept = worst.reserve().plus(worst.unwind_millis());
    waits.plus(tries).plus(kept).plus(Millis(base.window.0 / 10)).plus(Millis(1))
}

fn questions_of(step: &Step, bounds: &Bounds, may_break: bool) -> Vec<(Answer, u8)> {
    let mut answers = Vec::new();
    if step.when.is_some() {
        answers.push((Answer::Skip, 0));
    }
    match &step.for_each {
        Some(each) => answers.extend((0..=each.max.min(bounds.items)).map(|items| (Answer::Run(items), 0))),
        None => answers.push((Answer::Run(1), 0)),
    }
    if may_break {
        answers.push((Answer::Cannot, 1));
    }
    answers
}

/// A template that names what is not there, for a step whose own may turn out to.
fn unresolvable(definition: &Definition, at: usize, step: &Step) -> Option<Template> {
    let is_behind = definition.graph.zone(at) == Zone::Behind;
    let of = match (&step.for_each, &step.input) {
        // Behind the pivot it was seen to before.
        (Some(_), _) if is_behind => return None,
        (Some(each), _) => &each.items,
        (None, Some(input)) => input,
        (None, None) => return None,
    };
    if matches!(step.work, Work::Signal { .. } | Work::Approval { .. } | Work::Delay) || is_literal(of) {
        return None;
    }
    let pivot: Option<&Name> =
        definition.graph.pivot().and_then(|at| definition.steps.get(at)).map(|step| &step.name);
    let text = match (is_behind, pivot) {
        // What the input lacks is found before the pivot is sent; what the pivot's output lacks is not.
        (true, Some(pivot)) => format!("${{{{ steps.{pivot}.output.nowhere }}}}"),
        _ => "${{ input.nowhere }}".to_owned(),
    };
    Template::parse(&Value::String(text)).ok()
}

fn is_literal(template: &Template) -> bool {
    match template {
        Template::Literal(_) => true,
        Template::Path(_) | Template::Expression(_) => false,
        Template::List(items) => items.iter().all(is_literal),
        Template::Object(fields) => fields.iter().all(|(_, item)| is_literal(item)),
    }
}
