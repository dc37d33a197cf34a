//! What is certainly there at a place in an expression, because `has(...)` was asked before.

use super::Checker;
use crate::expression::syntax::{Kind, Node, Operator};

impl Checker<'_> {
    /// Checks something under the condition that a condition holds, or that it does not.
    pub(super) fn given<T>(
        &mut self,
        condition: &Node,
        holds: bool,
        inner: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let known = self.present.len();
        self.learn(condition, holds);
        let result = inner(self);
        self.present.truncate(known);
        result
    }

    /// Notes what is there if the condition holds, or if it does not.
    pub(super) fn learn(&mut self, condition: &Node, holds: bool) {
        match (&condition.kind, holds) {
            (Kind::Has { of, field }, true) => {
                self.present.extend(path(of).map(|path| below(&path, field)));
            }
            (Kind::HasOutput(step), true) => self.present.push(below("steps", step)),
            (Kind::Not(operand), _) => self.learn(operand, !holds),
            (Kind::And(operands), true) | (Kind::Or(operands), false) => {
                for operand in operands {
                    self.learn(operand, holds);
                }
            }
            // `"key" in object` asks the same.
            (Kind::Binary { operator: Operator::In, left, right, .. }, true) => {
                if let Kind::Text(field) = &left.kind {
                    self.present.extend(path(right).map(|path| below(&path, field)));
                }
            }
            _ => {}
        }
    }
}

/// How a part is known again where it is named a second time. None for what is computed.
pub(super) fn path(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Input => Some("input".to_owned()),
        Kind::Output(step) => Some(below("steps", step)),
        Kind::Free(name) => Some(name.as_ref().to_owned()),
        Kind::Local(level) => Some(below("", &level.to_string())),
        Kind::Select { of, field } => path(of).map(|path| below(&path, field)),
        Kind::Null
        | Kind::Bool(_)
        | Kind::Int(_)
        | Kind::Double(_)
        | Kind::Text(_)
        | Kind::HasOutput(_)
        | Kind::Fact(_)
        | Kind::Has { .. }
        | Kind::Index { .. }
        | Kind::Not(_)
        | Kind::Negative(_)
        | Kind::Or(_)
        | Kind::And(_)
        | Kind::Binary { .. }
        | Kind::Conditional { .. }
        | Kind::List(_)
        | Kind::Map(_)
        | Kind::Call { .. }
        | Kind::Comprehension { .. } => None,
    }
}

/// A field of what has that path. No name can have the separator.
pub(super) fn below(path: &str, field: &str) -> String {
    format!("{path}\0{field}")
}
