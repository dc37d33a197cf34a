//! What expressions and templates know of a saga, and why one of them could not be filled in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::ids::SagaId;
use crate::json::Json;

/// What can be referred to.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// The saga's input.
    pub input: &'a Json,
    /// The output of a step by its name, as far as there is one.
    pub output: &'a dyn Fn(&str) -> Option<Json>,
    /// In a step with `for_each`: the item that it is for.
    pub each: Option<Each<'a>>,
    /// The saga itself.
    pub saga: Facts<'a>,
}

/// The item of an iteration.
#[derive(Debug, Clone, Copy)]
pub struct Each<'a> {
    /// The name it has (`as`).
    pub name: &'a str,
    /// The item.
    pub item: &'a Json,
    /// Its place in the list, from 0: `index`.
    pub index: u32,
}

/// What an expression may know of the saga itself.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `saga.id`.
    pub id: SagaId,
    /// `saga.definition`: the definition's name.
    pub definition: &'a str,
    /// `saga.version`: the definition's version.
    pub version: u32,
}

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names")
            .field("input", self.input)
            .field("each", &self.each)
            .field("saga", &self.saga)
            .finish_non_exhaustive()
    }
}

/// A path that names nothing in this saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The path, or the part of the expression.
    pub path: String,
    /// The expression it is a part of, if it is not all of it.
    pub within: Option<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` names nothing in this saga", self.path)?;
        match &self.within {
            Some(expression) => write!(f, " (in `{expression}`)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Missing {}

/// Why a template could not be filled in, or an expression gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// A path names nothing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// It would be larger than it may be. It is not known by how much: the filling stopped there.
    #[error("the request has more than {0} bytes")]
    TooLarge(usize),
    /// It would nest deeper than a payload may.
    #[error("the request nests deeper than {0} levels")]
    TooDeep(usize),
    /// An expression has no value for this saga: a wrong type, an overflow, a division by zero.
    #[error("`{expression}` fails at byte {offset}: {message}")]
    Failed {
        /// The expression, or as much of it as a message needs.
        expression: String,
        /// Where it fails, in bytes from the expression's start.
        offset: usize,
        /// What is wrong. It tells types, never values: payloads stay out of messages.
        message: String,
    },
    /// It takes more steps of evaluation than one may: its lists are too long for what it does with them.
    #[error("`{expression}` takes more than {budget} steps of evaluation")]
    TooCostly {
        /// The expression, or as much of it as a message needs.
        expression: String,
        /// The budget.
        budget: usize,
    },
}

/// What an expression refers to.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// It refers to the saga's input.
    pub(crate) input: bool,
    /// It refers to an item of a `for_each`, or to some other name that the parser does not know.
    pub(crate) each: bool,
    /// The steps whose outputs it refers to.
    pub(crate) steps: Vec<Arc<str>>,
}

/// The payloads behind the names, each parsed once and only if something refers to it.
pub(crate) struct Payloads<'a> {
    pub(crate) names: &'a Names<'a>,
    each: Option<Each<'a>>,
    input: Option<Value>,
    item: Option<Value>,
    outputs: BTreeMap<String, Option<Value>>,
}

impl<'a> Payloads<'a> {
    pub(crate) fn new(names: &'a Names<'a>) -> Self {
        Self { names, each: names.each, input: None, item: None, outputs: BTreeMap::new() }
    }

    /// The same for another item.
    pub(crate) fn turn_to(&mut self, each: Each<'a>) {
        (self.each, self.item) = (Some(each), None);
    }

    /// Parses what the references need and what was not parsed yet.
    pub(crate) fn load(&mut self, references: &References) {
        if references.input {
            self.load_input();
        }
        if references.each {
            self.load_item();
        }
        for step in &references.steps {
            self.load_output(step);
        }
    }

    pub(crate) fn load_input(&mut self) {
        self.input.get_or_insert_with(|| self.names.input.to_value());
    }

    pub(crate) fn load_item(&mut self) {
        if self.item.is_none() {
            self.item = self.each.map(|each| each.item.to_value());
        }
    }

    pub(crate) fn load_output(&mut self, step: &str) {
        if !self.outputs.contains_key(step) {
            let value = (self.names.output)(step).map(|output| output.to_value());
            self.outputs.insert(step.to_owned(), value);
        }
    }

    pub(crate) fn input(&self) -> &Value {
        self.input.as_ref().unwrap_or(&Value::Null)
    }

    pub(crate) fn output(&self, step: &str) -> Option<&Value> {
        self.outputs.get(step)?.as_ref()
    }

    /// The item, if that is its name.
    pub(crate) fn item(&self, name: &str) -> Option<&Value> {
        self.each.filter(|each| each.name == name)?;
        self.item.as_ref()
    }

    /// The item's place, if that is the name.
    pub(crate) fn index(&self, name: &str) -> Option<u32> {
        self.each.filter(|_| name == "index").map(|each| each.index)
    }

    /// Whether it is for an item.
    pub(crate) fn has_item(&self) -> bool {
        self.each.is_some()
    }
}
