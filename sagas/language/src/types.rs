//! The types of all expressions of a definition: the input is what its JSON Schema says, outputs are what their steps'
//! kinds say. What would fail for every saga is an error, what may fail for some is a warning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use snorri_saga::definition::{Draft, DraftStep, Graph, OnNoDecision, Problem};
use snorri_saga::expression::{BadExpression, Expression, Fields, Scope, Type};
use snorri_saga::json::pointer_part;
use snorri_saga::template::Template;

use crate::diagnostic::Severity;

/// With so much found, no more is looked for.
const FOUND_MAX: usize = 200;

/// What is wrong with an expression.
pub(crate) struct Found {
    pub(crate) severity: Severity,
    pub(crate) problem: Problem,
}

/// Checks all expressions that can be parsed.
pub(crate) fn check(draft: &Draft) -> Vec<Found> {
    let input = draft.input.as_ref().map_or(Type::Any, Type::of_schema);
    let mut checker =
        Checker { draft, input, ancestors: ancestors(draft), earlier: BTreeSet::new(), found: Vec::new() };
    for (key, text) in &draft.tags {
        let pointer = format!("/tags/{}", pointer_part(key));
        let scope = Scope::new(checker.input.clone());
        checker.template(&pointer, &Value::String(text.clone()), &scope);
    }
    for (at, step) in draft.steps.iter().enumerate() {
        checker.step(at, step);
    }
    checker.found
}

/// The positions of the steps that certainly ended before each step; nothing when that is not known.
fn ancestors(draft: &Draft) -> Option<Vec<BTreeSet<usize>>> {
    let position = |name: &String| draft.steps.iter().position(|step| step.name == *name);
    let needs: Option<Vec<Vec<usize>>> = draft
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| match &step.needs {
            None => Some(at.checked_sub(1).into_iter().collect()),
            Some(names) => names.iter().map(position).collect(),
        })
        .collect();
    let graph = Graph::new(&needs?, None).ok()?;
    let count = draft.steps.len();
    let set = |at| (0..count).filter(|other| graph.ancestors(at).has(*other)).collect();
    Some((0..count).map(set).collect())
}

struct Checker<'a> {
    draft: &'a Draft,
    input: Type,
    ancestors: Option<Vec<BTreeSet<usize>>>,
    /// The names of the steps that ended before the one that is looked at.
    earlier: BTreeSet<&'a str>,
    found: Vec<Found>,
}

impl<'a> Checker<'a> {
    fn step(&mut self, at: usize, step: &DraftStep) {
        let Some(scope) = self.scope(at, step) else { return };
        if let Some(when) = &step.when
            && let Ok(expression) = Expression::parse(when)
            && expression.steps_referred_to().iter().all(|step| self.earlier.contains(*step))
        {
            let pointer = format!("/steps/{at}/when");
            match expression.check_bool(&scope) {
                Ok(checked) => self.all(&pointer, Severity::Warning, checked.warnings),
                Err(errors) => self.all(&pointer, Severity::Error, errors),
            }
        }
        // What the step's condition asked for is there when it runs.
        let condition = step.when.as_ref().and_then(|when| Expression::parse(when).ok());
        let mut scope = match &condition {
            Some(condition) => scope.given(condition),
            None => scope,
        };
        if let Some(each) = &step.for_each {
            let item = self.items(&format!("/steps/{at}/for_each/items"), &each.items, &scope);
            scope = scope.each(each.name.as_deref().unwrap_or("item"), item);
        }
        if let Some(input) = step.input.as_ref().filter(|input| !Template::is_too_large(input)) {
            self.template(&format!("/steps/{at}/input"), input, &scope);
        }
    }

    /// What a step's expressions know. Nothing when it is not known which steps ended before.
    fn scope(&mut self, at: usize, step: &DraftStep) -> Option<Scope> {
        let draft: &'a Draft = self.draft;
        let before = self.ancestors.as_ref()?.get(at)?;
        let mut scope = Scope::new(self.input.clone());
        self.earlier = before.iter().filter_map(|at| Some(draft.steps.get(*at)?.name.as_str())).collect();
        for (_, other) in self.draft.steps.iter().enumerate().filter(|(other, _)| before.contains(other)) {
            let is_skipped_alone = other.when.is_some() && other.when != step.when;
            scope = if is_skipped_alone {
                scope.step_that_may_be_skipped(&other.name, output(other))
            } else {
                scope.step(&other.name, output(other))
            };
        }
        Some(scope)
    }

    /// The type of the items of a list.
    fn items(&mut self, pointer: &str, items: &Value, scope: &Scope) -> Type {
        let Value::String(text) = items else {
            if !Template::is_too_large(items) {
                self.template(pointer, items, scope);
            }
            return Type::Any;
        };
        let inside = text.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
        let Some(source) = inside else { return Type::Any };
        let offset = text.find(source).unwrap_or(0);
        let Ok(expression) = Expression::parse(source.trim()) else {
            self.template(pointer, items, scope);
            return Type::Any;
        };
        if !expression.steps_referred_to().iter().all(|step| self.earlier.contains(*step)) {
            return Type::Any;
        }
        let offset = offset + source.find(source.trim()).unwrap_or(0);
        let moved = |bad: BadExpression| BadExpression { offset: bad.offset + offset, ..bad };
        match expression.check_list(scope) {
            Ok(checked) => {
                self.all(pointer, Severity::Warning, checked.warnings.into_iter().map(moved));
                checked.ty.item()
            }
            Err(errors) => {
                self.all(pointer, Severity::Error, errors.into_iter().map(moved));
                Type::Any
            }
        }
    }

    fn template(&mut self, pointer: &str, value: &Value, scope: &Scope) {
        if self.found.len() > FOUND_MAX {
            return;
        }
        match value {
            Value::Array(items) => {
                for (nth, item) in items.iter().enumerate() {
                    self.template(&format!("{pointer}/{nth}"), item, scope);
                }
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    self.template(&format!("{pointer}/{}", pointer_part(key)), item, scope);
                }
            }
            Value::String(text) if text.contains("${{") => {
                // What does not parse, or refers to a step that did not end before, is told already.
                let Ok(template) = Template::parse(value) else { return };
                if !template.steps_referred_to().iter().all(|step| self.earlier.contains(*step)) {
                    return;
                }
                let errors = template.check(scope).into_iter().map(|(_, bad)| bad);
                self.all(pointer, Severity::Error, errors);
                let warnings = template.warnings(scope).into_iter().map(|(_, bad)| bad);
                self.all(pointer, Severity::Warning, warnings);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn all(&mut self, pointer: &str, severity: Severity, found: impl IntoIterator<Item = BadExpression>) {
        let code = match severity {
            Severity::Error => "bad-expression",
            Severity::Warning => "expression-may-fail",
        };
        self.found.extend(found.into_iter().map(|bad| Found {
            severity,
            problem: Problem::of_text(code, pointer, Some(bad.offset), bad.told),
        }));
    }
}

/// The type of a step's output.
fn output(step: &DraftStep) -> Type {
    let one = if let Some(approval) = &step.approval {
        // Where the time decides, nobody has.
        let by = match approval.on_timeout.unwrap_or_default() {
            OnNoDecision::Reject => Type::String,
            OnNoDecision::Approve => Type::Any,
        };
        object(&[("approved", Type::Bool), ("by", by)], &[("comment", Type::Any)])
    } else if step.saga.is_some() {
        object(&[("saga_id", Type::String), ("outputs", Type::Any)], &[])
    } else if step.delay.is_some() {
        Type::Null
    } else {
        Type::Any
    };
    if step.for_each.is_some() { Type::List(Arc::new(one)) } else { one }
}

fn object(always: &[(&str, Type)], sometimes: &[(&str, Type)]) -> Type {
    let declared: BTreeMap<String, Type> =
        always.iter().chain(sometimes).map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect();
    let required = always.iter().map(|(name, _)| (*name).to_owned()).collect();
    Type::Object(Arc::new(Fields { declared, required, others: None }))
}
