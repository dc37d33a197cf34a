//! Expressions: a subset of CEL, the Common Expression Language, for conditions, for what a step is sent and for the
//! lists of `for_each`. An expression is parsed and checked once, when its definition is, and evaluated with every saga.
//!
//! **What there is.** The types of JSON (`int` and `double` for its numbers), lists, objects, `a.b`, `a["b"]`, `a[0]`,
//! `has(a.b)`, `|| && ! == != < <= > >= in + - * / % ?:`, the functions and macros in `function.rs`. As in CEL, `||` and
//! `&&` forgive an error on one side if the other side decides.
//! **What there is not.** Regular expressions, time, chance, bytes, unsigned integers, types as values, messages.
//! **What differs from CEL.** A number is an int or a double by its value, and both may meet in arithmetic
//! (`number.rs`). The name of a step may have hyphens (`steps.pay-in.output`); elsewhere a hyphen that touches a field
//! and what follows is refused, since it could be meant either way. Keys of objects are texts. `has` takes `a["b"]` too.
//!
//! **Why not a library.** The one there is for Rust has no limit on the cost of an evaluation, no types of the input
//! to check against and no places in its messages, and its parser recurses until the stack ends: 90 parentheses end
//! a process that was built without optimisation. What is here is small, and differential tests compare it with that library.
//!
//! **Everything has a limit.** Source, parts, depth, nested macros; and each evaluation has a budget of steps, which
//! every part, every item and every few bytes of text cost something of. So an expression ends, at the same place on
//! every machine. Nothing recurses deeper than the tree is high.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::json::Json;
use crate::told::Told;
use crate::wire::limit;

mod check;
mod evaluate;
mod function;
mod names;
mod nearest;
mod number;
mod parser;
mod scope;
mod sink;
mod syntax;
mod token;
mod types;
mod value;

pub use check::Checked;
pub use names::{Each, Facts, Missing, Names, Unresolved};
pub use nearest::nearest;
pub use scope::Scope;
pub use types::{Fields, Type};

pub(crate) use check::{PathRoot, check_path};
pub(crate) use evaluate::{Evaluation, ToCome};
pub(crate) use names::{Payloads, References};
pub(crate) use sink::Sink;
pub(crate) use value::Fuel;

/// The longest source, in bytes.
pub const SOURCE_BYTES_MAX: usize = 4096;
/// The most parts of one expression.
pub const NODES_MAX: usize = 500;
/// How deep brackets, conditionals, `!` and `-` may nest.
pub const DEPTH_MAX: usize = 32;
/// How many levels the parts of an expression may have, where each operator and each field puts one on top of what
/// stands before it. A chain of `||` or `&&` is one level, however long it is.
pub const HEIGHT_MAX: usize = 64;
/// How deep macros over lists may nest: each level multiplies the cost by the length of a list.
pub const COMPREHENSIONS_MAX: usize = 2;
/// The steps that one evaluation, or the filling of one template, may take. It takes a few milliseconds.
pub const COST_MAX: usize = 100_000;

/// Names that no item can have.
pub const TAKEN: [&str; 24] = [
    // They always mean the same.
    "input",
    "steps",
    "saga",
    "index",
    // What CEL reserves. They can be fields.
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "true",
    "false",
    "null",
    "var",
    "void",
];

/// A part of a source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{told} (at byte {offset})")]
pub struct BadExpression {
    /// The place, in bytes from the start of the source.
    pub offset: usize,
    /// What is wrong, and the mend.
    pub told: Told,
}

impl BadExpression {
    pub(crate) fn new(offset: usize, told: impl Into<Told>) -> Self {
        Self { offset, told: told.into() }
    }
}

/// An expression that was parsed.
#[derive(Debug, Clone)]
pub struct Expression(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    source: String,
    root: syntax::Node,
    references: References,
}

/// By their sources.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Expression {}

impl Expression {
    /// Parses a source.
    pub fn parse(source: &str) -> Result<Self, BadExpression> {
        let (root, references) = parser::parse(source)?;
        Ok(Self(Arc::new(Parsed { source: source.to_owned(), root, references })))
    }

    /// What it was parsed from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The steps whose outputs it refers to, each once.
    pub fn steps_referred_to(&self) -> Vec<&str> {
        self.0.references.steps.iter().map(|step| &**step).collect()
    }

    /// Its value for a saga, as large as a payload may be.
    pub fn evaluate(&self, names: &Names<'_>) -> Result<Value, Unresolved> {
        self.evaluate_within(names, limit::PAYLOAD_BYTES_MAX).map(|json| json.to_value())
    }

    /// Its value for a saga, of so many bytes at most. What it only passes on keeps its digits.
    pub fn evaluate_within(&self, names: &Names<'_>, bytes_max: usize) -> Result<Json, Unresolved> {
        let mut payloads = Payloads::new(names);
        payloads.load(self.references());
        let mut sink = Sink::new(bytes_max);
        Evaluation::new(&payloads, &mut Fuel::new(COST_MAX)).write(self, &mut sink)?;
        sink.finish()
    }

    /// Whether it is true for a saga. A value that is no bool is a failure.
    pub fn evaluate_bool(&self, names: &Names<'_>) -> Result<bool, Unresolved> {
        let mut payloads = Payloads::new(names);
        payloads.load(self.references());
        Evaluation::new(&payloads, &mut Fuel::new(COST_MAX)).truth(self)
    }

    /// Why it certainly has no value for a saga: a path that names nothing in what is there already, a wrong type.
    /// Outputs that are still to come may be anything, and so may the items of an iteration that has not begun.
    pub fn missing(&self, names: &Names<'_>) -> Option<Unresolved> {
        let mut payloads = Payloads::new(names);
        payloads.load(self.references());
        let to_come = |_: &str| true;
        let mut sink = Sink::new(limit::PAYLOAD_BYTES_MAX);
        let mut fuel = Fuel::new(COST_MAX);
        Evaluation::early(&payloads, &mut fuel, &to_come).write_known(self, &mut sink).err()
    }

    /// Whether it is true for a saga, if that is known already. `to_come` says of which steps there may still be an
    /// output. `Err`: it certainly has no value.
    pub fn known_bool(
        &self,
        names: &Names<'_>,
        to_come: &dyn Fn(&str) -> bool,
    ) -> Result<Option<bool>, Unresolved> {
        let mut payloads = Payloads::new(names);
        payloads.load(self.references());
        Evaluation::early(&payloads, &mut Fuel::new(COST_MAX), to_come).truth_known(self)
    }

    pub(crate) fn references(&self) -> &References {
        &self.0.references
    }

    fn root(&self) -> &syntax::Node {
        &self.0.root
    }
}

/// How much of a name or of a part a message shows, in bytes.
const SHOWN_MAX: usize = 80;

/// A name or a part as a message shows it.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    match text.get(..text.floor_char_boundary(SHOWN_MAX)) {
        Some(start) if start.len() < text.len() => Cow::Owned(format!("{start}…")),
        _ => Cow::Borrowed(text),
    }
}

/// Whether the items of a `for_each`, or a macro, may have that name in expressions; else why not, and the mend.
pub fn variable(name: &str) -> Result<(), Told> {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !first || !rest {
        let message = format!("`{}` is no name for an item", shown(name));
        return Err((message, "use letters, digits and `_`, beginning with no digit").into());
    }
    if TAKEN.contains(&name) {
        let message = format!("`{name}` means something else in an expression");
        return Err((message, "choose another name for an item").into());
    }
    Ok(())
}
