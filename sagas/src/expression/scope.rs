//! What names mean before any saga runs: what a definition's input and its steps' outputs are.

use std::collections::BTreeMap;

use super::Expression;
use super::types::Type;

/// The names that an expression may use at its place in a definition, with their types.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    input: Type,
    steps: BTreeMap<String, Output>,
    each: Option<(String, Type)>,
    /// What is certainly there, as far as the input does not say so.
    present: Vec<String>,
}

/// What is known of a step's output.
#[derive(Debug, Clone, PartialEq)]
struct Output {
    ty: Type,
    /// The step may be skipped, and has no output then.
    may_be_skipped: bool,
}

impl Scope {
    /// With that input, and no step whose output could be known.
    pub fn new(input: Type) -> Self {
        Self { input, ..Self::default() }
    }

    /// A step that certainly ended before, with the type of its output.
    #[must_use]
    pub fn step(mut self, name: &str, ty: Type) -> Self {
        self.steps.insert(name.to_owned(), Output { ty, may_be_skipped: false });
        self
    }

    /// A step that was skipped or ended before: an expression should ask `has(steps.<name>.output)` first.
    #[must_use]
    pub fn step_that_may_be_skipped(mut self, name: &str, ty: Type) -> Self {
        self.steps.insert(name.to_owned(), Output { ty, may_be_skipped: true });
        self
    }

    /// Inside a `for_each`: the name and the type of its items. `index` is known too, then.
    #[must_use]
    pub fn each(mut self, name: &str, item: Type) -> Self {
        self.each = Some((name.to_owned(), item));
        self
    }

    /// Where that condition holds: what it asked for with `has` is there.
    #[must_use]
    pub fn given(mut self, condition: &Expression) -> Self {
        self.present.extend(condition.asks_for());
        self
    }

    pub(super) fn present(&self) -> &[String] {
        &self.present
    }

    pub(super) fn input(&self) -> &Type {
        &self.input
    }

    /// The type of a step's output, and whether there may be none.
    pub(super) fn output(&self, step: &str) -> Option<(&Type, bool)> {
        self.steps.get(step).map(|output| (&output.ty, output.may_be_skipped))
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = &str> {
        self.steps.keys().map(String::as_str)
    }

    /// The type of the item or of `index`.
    pub(super) fn free(&self, name: &str) -> Option<Type> {
        let (item, ty) = self.each.as_ref()?;
        match name {
            name if name == item => Some(ty.clone()),
            "index" => Some(Type::Int),
            _ => None,
        }
    }

    /// The names with which an expression can begin.
    pub(super) fn roots(&self) -> Vec<&str> {
        let mut roots = vec!["input", "saga"];
        if !self.steps.is_empty() {
            roots.push("steps");
        }
        if let Some((item, _)) = &self.each {
            roots.extend([item.as_str(), "index"]);
        }
        roots
    }
}
