//! The checks of a definition: all problems at once, each with its place and the mend. What one step says is checked in
//! [`step`], how the steps stand to each other in [`order`], whether they fit into the window here.
//!
//! Some rules say what shape a definition has ([`Problems::add`]): these hold for what is stored, too. Others judge whether
//! it is wise ([`Problems::judge`]): a new or a stricter rule is one of these, since what is stored is not judged again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::{Definition, Draft, STEPS_MAX, Step, WINDOW_DEFAULT, WINDOW_MAX};
use crate::expression::{BadExpression, nearest};
use crate::ids::Name;
use crate::json::pointer_part;
use crate::retry::RetryPolicy;
use crate::template::Template;
use crate::time::Millis;
use crate::told::Told;

mod order;
mod step;

/// The most problems that are told at once.
const PROBLEMS_MAX: usize = 100;
/// With so many problems, no more are looked up among the names that there are.
const HINTS_MAX: usize = 10;
/// The most names that are listed in one message.
const NAMES_MAX: usize = 10;
/// The most terms that are listed in one sum.
const TERMS_MAX: usize = 20;
/// What a name may be.
const NAME_MEND: &str = "use 1 to 64 of a-z, 0-9, `_` and `-`, beginning with a letter or a digit";
/// The most tags of a definition.
const TAGS_MAX: usize = 20;

/// What is wrong with a definition, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The place, as a JSON pointer into the definition.
    pub pointer: String,
    /// Where in the text at that place, in bytes, if it is an expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    /// What kind of problem it is, in a word that does not change.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where the message does not say it already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Problem {
    /// A problem of a text, perhaps at a place in it.
    pub fn of_text(code: &'static str, pointer: &str, offset: Option<usize>, told: Told) -> Self {
        Self { pointer: pointer.to_owned(), offset, code, message: told.message, mend: told.mend }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.pointer.is_empty() { "/" } else { &self.pointer }, self.message)?;
        match &self.mend {
            Some(mend) => write!(f, ": {mend}"),
            None => Ok(()),
        }
    }
}

/// The problems found so far.
#[derive(Default)]
struct Problems {
    found: Vec<Problem>,
    /// There were more than are told.
    more: bool,
    /// The definition was judged when it was submitted.
    is_judged: bool,
}

impl Problems {
    fn add(
        &mut self,
        pointer: &str,
        code: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.push(Problem {
            pointer: pointer.to_owned(),
            offset: None,
            code,
            message: message.into(),
            mend: Some(mend.into()),
        });
    }

    /// The same for a rule without which there is a definition all the same.
    fn judge(&mut self, pointer: &str, code: &'static str, told: impl Into<Told>) {
        if !self.is_judged {
            self.push(Problem::of_text(code, pointer, None, told.into()));
        }
    }

    fn add_expression(&mut self, pointer: &str, bad: BadExpression) {
        self.push(Problem::of_text("bad-expression", pointer, Some(bad.offset), bad.told));
    }

    fn push(&mut self, problem: Problem) {
        if self.found.len() < PROBLEMS_MAX {
            self.found.push(problem);
        } else if !self.more {
            self.more = true;
            self.found.push(Problem {
                pointer: problem.pointer,
                offset: None,
                code: "too-many-problems",
                message: format!("more than {PROBLEMS_MAX} problems, the rest is not listed"),
                mend: Some("mend these first".to_owned()),
            });
        }
    }

    /// What was perhaps meant, as long as few problems are known: each look takes time in the product of the lengths.
    fn nearest<'a>(&self, word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        if self.found.len() < HINTS_MAX { nearest(word, candidates) } else { None }
    }

    fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn name(&mut self, pointer: &str, text: &str) -> Option<Name> {
        let name = Name::new(text).ok();
        if name.is_none() {
            self.add(pointer, "bad-name", format!("`{}` is not a name", shown(text)), NAME_MEND);
        }
        name
    }

    fn span(&mut self, pointer: &str, what: &str, span: Millis, most: Millis) {
        if span.0 < 10 || span > most {
            let told = (format!("{what} of {span} is out of range"), format!("use 10ms to {most}"));
            self.judge(pointer, "out-of-range", told);
        }
    }

    fn timeout(&mut self, pointer: &str, timeout: Millis) {
        self.span(pointer, "a timeout", timeout, Millis::secs(86_400));
    }

    fn retry(&mut self, pointer: &str, policy: RetryPolicy) {
        for (field, message, mend) in policy.problems() {
            self.judge(&format!("{pointer}/{field}"), "out-of-range", (message, mend));
        }
    }

    fn template(&mut self, pointer: &str, value: &Value) -> Option<Template> {
        match Template::parse(value) {
            Ok(template) => Some(template),
            Err(error) => {
                let told = self.found.len();
                if !Template::is_too_large(value) {
                    self.texts(&mut pointer.to_owned(), value);
                }
                if self.found.len() == told {
                    // It is no text of it, but its size or its depth.
                    let pointer = format!("{pointer}{}", error.pointer);
                    self.push(Problem::of_text("bad-expression", &pointer, Some(error.offset), error.told));
                }
                None
            }
        }
    }

    /// What is wrong with each text of a template.
    fn texts(&mut self, pointer: &mut String, value: &Value) {
        if self.more {
            return;
        }
        match value {
            Value::String(_) => {
                if let Err(error) = Template::parse(value) {
                    self.push(Problem::of_text("bad-expression", pointer, Some(error.offset), error.told));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::Array(_) | Value::Object(_) => {
                below(pointer, value, |pointer, part| self.texts(pointer, part));
            }
        }
    }
}

/// Goes through the parts of a list or an object, each with its pointer.
fn below(pointer: &mut String, value: &Value, mut each: impl FnMut(&mut String, &Value)) {
    let length = pointer.len();
    let mut part = |pointer: &mut String, key: &str, part: &Value| {
        pointer.push('/');
        pointer.push_str(key);
        each(pointer, part);
        pointer.truncate(length);
    };
    match value {
        Value::Array(items) => {
            for (nth, item) in items.iter().enumerate() {
                part(pointer, &nth.to_string(), item);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                part(pointer, &pointer_part(key), item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Some names, for a message.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.take(NAMES_MAX + 1).map(shown).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    let more = if names.len() > NAMES_MAX { ", ..." } else { "" };
    names.truncate(NAMES_MAX);
    format!("{}{more}", names.join(", "))
}

/// A text of people, cut to what fits into a message.
fn shown(text: &str) -> String {
    if text.chars().nth(80).is_some() {
        text.chars().take(80).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}

impl Definition {
    /// Checks a draft. All problems are reported at once, up to a hundred.
    pub fn from_draft(draft: &Draft) -> Result<Self, Vec<Problem>> {
        Self::build(draft, Problems::default())
    }

    /// Builds a definition that was checked when it was submitted, perhaps by a release with milder rules: its sagas run
    /// on it. Refused is only what does not have the shape of one.
    pub fn from_stored(draft: &Draft) -> Result<Self, Vec<Problem>> {
        Self::build(draft, Problems { is_judged: true, ..Problems::default() })
    }

    fn build(draft: &Draft, mut problems: Problems) -> Result<Self, Vec<Problem>> {
        let name = problems.name("/name", &draft.name);
        let window = draft.window.unwrap_or(WINDOW_DEFAULT);
        if window < Millis::secs(1) || window > WINDOW_MAX {
            let message = format!("a window of {window} is out of range");
            problems.judge("/window", "out-of-range", (message, format!("use 1s to {WINDOW_MAX}")));
        }
        if draft.steps.is_empty() {
            problems.add("/steps", "no-steps", "there are no steps", "a definition needs at least one step");
        }
        if draft.steps.len() > STEPS_MAX {
            problems.add(
                "/steps",
                "too-many-steps",
                format!("{} steps", draft.steps.len()),
                format!("at most {STEPS_MAX}; a sub-saga or `for_each` may do the work of many"),
            );
            return Err(problems.found);
        }
        if draft.input.as_ref().is_some_and(|schema| !schema.is_object() && !schema.is_boolean()) {
            problems.add(
                "/input",
                "bad-input-schema",
                "the input's JSON Schema is no mapping",
                "write one, such as `type: object` and `properties: ...`",
            );
        }
        let tags = tags(&mut problems, draft);
        let steps = step::check_all(&mut problems, draft);
        let graph = order::check(&mut problems, draft);
        if let Some(graph) = &graph {
            order::references(&mut problems, draft, &steps, graph);
        }
        if problems.is_empty()
            && let (Some(name), Some(graph)) = (name, graph)
        {
            let mut definition = Self {
                name,
                description: draft.description.clone(),
                window,
                reserve: Millis(0),
                tags,
                input: draft.input.clone().map(Arc::new),
                on_sibling_failure: draft.on_sibling_failure.unwrap_or_default(),
                steps: steps.into_iter().flatten().collect(),
                graph,
            };
            // One millisecond at least is left for going forwards.
            definition.reserve = definition.worst_case().reserve().min(window.minus(Millis(1)));
            check_window(&mut problems, &definition);
            if problems.is_empty() {
                return Ok(definition);
            }
        }
        Err(problems.found)
    }
}

fn tags(problems: &mut Problems, draft: &Draft) -> Vec<(String, Template)> {
    if draft.tags.len() > TAGS_MAX {
        problems.add(
            "/tags",
            "too-many-tags",
            format!("{} tags", draft.tags.len()),
            format!("at most {TAGS_MAX}"),
        );
        return Vec::new();
    }
    let mut tags = Vec::new();
    for (key, value) in &draft.tags {
        let at = format!("/tags/{}", pointer_part(key));
        if key.is_empty() || key.len() > 64 {
            problems.add(
                &at,
                "bad-tag",
                if key.is_empty() {
                    "a tag without a name".to_owned()
                } else {
                    format!("the tag `{}` has a name of {} bytes", shown(key), key.len())
                },
                "use a name of 1 to 64 bytes",
            );
            continue;
        }
        let Some(template) = problems.template(&at, &Value::String(value.clone())) else { continue };
        if let Some(step) = template.steps_referred_to().first() {
            problems.add(
                &at,
                "tag-of-a-step",
                format!("the tag refers to the step `{}`", shown(step)),
                "tags are made at the start, when no step has an output yet: make it of the input",
            );
        }
        tags.push((key.clone(), template));
    }
    tags
}

/// Positions of steps by name; of a name that is there twice, the first.
fn positions(draft: &Draft) -> HashMap<&str, usize> {
    let mut positions = HashMap::with_capacity(draft.steps.len());
    for (at, step) in draft.steps.iter().enumerate() {
        positions.entry(step.name.as_str()).or_insert(at);
    }
    positions
}

fn check_window(problems: &mut Problems, definition: &Definition) {
    let worst = definition.worst_case();
    if worst.total() <= definition.window {
        return;
    }
    let step = |at: usize| definition.steps.get(at);
    let forward = |spans: &[super::Span]| -> String {
        let term = |span: &super::Span| {
            Some(format!("{} {}", step(span.step)?.name, rounds(step(span.step)?, span.millis)))
        };
        sum(spans.iter().filter_map(term))
    };
    let undo = |span: &super::Span| {
        let step = step(span.step)?;
        let name = step.compensation.as_ref().map(|undo| undo.action.clone())?;
        Some(format!("{name} {}", rounds(step, span.millis)))
    };
    let mut parts = vec![format!("before the pivot {} ({})", worst.before_millis(), forward(&worst.before))];
    if let Some(pivot) = worst.pivot {
        parts.push(format!("the pivot {} ({})", pivot.millis, forward(&[pivot])));
    } else {
        parts = vec![format!("going forwards {} ({})", worst.before_millis(), forward(&worst.before))];
    }
    if worst.behind_millis() > worst.unwind_millis() {
        parts.push(format!("behind it {} ({})", worst.behind_millis(), forward(&worst.behind)));
    } else {
        let terms = sum(worst.unwind.iter().filter_map(undo));
        parts.push(format!("undoing everything {} ({terms})", worst.unwind_millis()));
    }
    problems.judge(
        "/window",
        "window-too-small",
        (
            format!(
                "the worst case does not fit: {} need {}, the window is {}",
                parts.join(" + "),
                worst.total(),
                definition.window
            ),
            "shorten timeouts or retries, or widen the window",
        ),
    );
}

fn sum(terms: impl Iterator<Item = String>) -> String {
    let mut terms: Vec<String> = terms.take(TERMS_MAX + 1).collect();
    if terms.is_empty() {
        return "nothing".to_owned();
    }
    let more = if terms.len() > TERMS_MAX { " + ..." } else { "" };
    terms.truncate(TERMS_MAX);
    format!("{}{more}", terms.join(" + "))
}

fn rounds(step: &Step, all: Millis) -> String {
    match step.rounds() {
        0 | 1 => all.to_string(),
        rounds => format!("{rounds} rounds = {all}"),
    }
}
