//! Expressions.

use crate::ids::SagaId;
use crate::json::Json;
use crate::template::Unresolved;

mod nearest;

pub use nearest::nearest;

/// What can be referred to.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations)]
pub struct Names<'a> {
    /// The saga's input.
    pub input: &'a Json,
    /// The output of a step by its name, as far as there is one.
    pub output: &'a dyn Fn(&str) -> Option<Json>,
    /// The item.
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
    /// Its place in the list.
    pub index: u32,
}

/// What an expression may know of the saga itself.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `saga.id`.
    pub id: SagaId,
    /// `saga.definition`.
    pub definition: &'a str,
    /// `saga.version`.
    pub version: u32,
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadExpression {
    /// The place.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression(String);

impl Expression {
    /// Parses.
    pub fn parse(source: &str) -> Result<Self, BadExpression> {
        Ok(Self(source.to_owned()))
    }

    /// What it was parsed from.
    pub fn source(&self) -> &str {
        &self.0
    }

    /// Steps.
    pub fn steps_referred_to(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whether it is true.
    pub fn evaluate_bool(&self, names: &Names<'_>) -> Result<bool, Unresolved> {
        let value = names.input.to_value();
        Ok(value.get(&self.0).and_then(serde_json::Value::as_bool).unwrap_or(self.0 == "true"))
    }
}
