//! The syntax tree of an expression. What can be known without the saga is settled here already: which name is
//! the input, which an output, which the variable of a comprehension.

use std::sync::Arc;

use super::Span;
use super::function::{Function, Macro};

/// A part of an expression, with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) kind: Kind,
    /// How many levels there are, this one included. Evaluation recurses no deeper.
    pub(super) height: usize,
}

/// What a part is.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Arc<str>),
    /// The saga's input.
    Input,
    /// The output of the step of that name.
    Output(Arc<str>),
    /// Whether that step has an output.
    HasOutput(Arc<str>),
    /// What the saga is.
    Fact(Fact),
    /// The item of a `for_each` by its name, or `index`.
    Free(Arc<str>),
    /// The variable of the comprehension at that level, the outermost being 0.
    Local(usize),
    /// A field of an object.
    Select {
        of: Box<Node>,
        field: Arc<str>,
    },
    /// Whether an object has the field.
    Has {
        of: Box<Node>,
        field: Arc<str>,
    },
    /// An item of a list, or a field whose name is computed.
    Index {
        of: Box<Node>,
        at: Box<Node>,
    },
    Not(Box<Node>),
    Negative(Box<Node>),
    /// All operands of a chain of `||`.
    Or(Vec<Node>),
    /// All operands of a chain of `&&`.
    And(Vec<Node>),
    Binary {
        operator: Operator,
        /// Where the operator stands.
        at: usize,
        left: Box<Node>,
        right: Box<Node>,
    },
    Conditional {
        condition: Box<Node>,
        then: Box<Node>,
        otherwise: Box<Node>,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// A function with its arguments; the receiver of a method is the first.
    Call {
        function: Function,
        arguments: Vec<Node>,
    },
    Comprehension {
        kind: Macro,
        range: Box<Node>,
        /// `map` with three arguments has it.
        filter: Option<Box<Node>>,
        body: Box<Node>,
    },
}

/// What an expression may know of its saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Id,
    Definition,
    Version,
}

impl Fact {
    pub(super) const WORDS: [&'static str; 3] = ["id", "definition", "version"];

    pub(super) fn of_word(word: &str) -> Option<Self> {
        match word {
            "id" => Some(Self::Id),
            "definition" => Some(Self::Definition),
            "version" => Some(Self::Version),
            _ => None,
        }
    }
}

/// The operators with two operands, apart from `||` and `&&`, which are there for chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    /// The operator, and how strongly it binds: `||` binds with 0, `&&` with 1.
    pub(super) fn of_symbol(symbol: &str) -> Option<(Self, u8)> {
        Some(match symbol {
            "==" => (Self::Equal, 2),
            "!=" => (Self::Unequal, 2),
            "<" => (Self::Less, 2),
            "<=" => (Self::LessOrEqual, 2),
            ">" => (Self::Greater, 2),
            ">=" => (Self::GreaterOrEqual, 2),
            "in" => (Self::In, 2),
            "+" => (Self::Add, 3),
            "-" => (Self::Subtract, 3),
            "*" => (Self::Multiply, 4),
            "/" => (Self::Divide, 4),
            "%" => (Self::Remainder, 4),
            _ => return None,
        })
    }

    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

impl Kind {
    /// The height of the highest part of it.
    pub(super) fn height(&self) -> usize {
        let highest = |nodes: &[Node]| nodes.iter().map(|node| node.height).max().unwrap_or(0);
        match self {
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Input
            | Self::Output(_)
            | Self::HasOutput(_)
            | Self::Fact(_)
            | Self::Free(_)
            | Self::Local(_) => 0,
            Self::Select { of, .. } | Self::Has { of, .. } => of.height,
            Self::Index { of, at } => of.height.max(at.height),
            Self::Not(operand) | Self::Negative(operand) => operand.height,
            Self::Or(nodes) | Self::And(nodes) | Self::List(nodes) | Self::Call { arguments: nodes, .. } => {
                highest(nodes)
            }
            Self::Binary { left, right, .. } => left.height.max(right.height),
            Self::Conditional { condition, then, otherwise } => {
                condition.height.max(then.height).max(otherwise.height)
            }
            Self::Map(entries) => {
                entries.iter().map(|(key, value)| key.height.max(value.height)).max().unwrap_or(0)
            }
            Self::Comprehension { range, filter, body, .. } => {
                range.height.max(body.height).max(filter.as_ref().map_or(0, |filter| filter.height))
            }
        }
    }
}
