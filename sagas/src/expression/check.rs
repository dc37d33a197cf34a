//! The types of an expression against what is known of its saga. What would fail for every saga is an error; what may
//! fail for some is a warning. What passes without a warning, and goes through nothing of type any, does not fail for its
//! types when it is evaluated.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::function::{Function, Macro};
use super::scope::Scope;
use super::syntax::{Fact, Kind, Node};
use super::types::{Fields, Type};
use super::{BadExpression, Expression, Span, shown};
use crate::told::Told;
use presence::path;

mod names;
mod operators;
mod presence;

pub(crate) use names::{PathRoot, check_path};

/// What the check of an expression found out.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The type of its value.
    pub ty: Type,
    /// What may fail for some sagas, each with its place and the mend.
    pub warnings: Vec<BadExpression>,
}

/// What a place in a definition needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Anything,
    Bool,
    List,
}

impl Expression {
    /// Checks its names and types. All errors are reported at once.
    pub fn check(&self, scope: &Scope) -> Result<Checked, Vec<BadExpression>> {
        self.check_as(scope, Wanted::Anything)
    }

    /// The same for a condition, which must be a bool.
    pub fn check_bool(&self, scope: &Scope) -> Result<Checked, Vec<BadExpression>> {
        self.check_as(scope, Wanted::Bool)
    }

    /// The same for what must be a list: the items of a `for_each`.
    pub fn check_list(&self, scope: &Scope) -> Result<Checked, Vec<BadExpression>> {
        self.check_as(scope, Wanted::List)
    }

    /// What is there wherever it is true, because it asks for it.
    pub(super) fn asks_for(&self) -> Vec<String> {
        let scope = Scope::default();
        let mut checker = Checker::new(&scope, self.source());
        checker.learn(self.root(), true);
        checker.present
    }

    fn check_as(&self, scope: &Scope, wanted: Wanted) -> Result<Checked, Vec<BadExpression>> {
        let mut checker = Checker::new(scope, self.source());
        let root = self.root();
        let ty = checker.ty(root);
        match (wanted, &ty) {
            (Wanted::Anything, _)
            | (_, Type::Any)
            | (Wanted::Bool, Type::Bool)
            | (Wanted::List, Type::List(_)) => {}
            (Wanted::Bool, ty) => {
                checker.error(
                    root.span.start,
                    (format!("a condition is true or false, and this is {ty}"), "compare it with something"),
                );
            }
            (Wanted::List, ty) => {
                checker.error(root.span.start, (format!("this must be a list, and is {ty}"), "name a list"));
            }
        }
        if checker.errors.is_empty() {
            Ok(Checked { ty, warnings: checker.warnings })
        } else {
            Err(checker.errors)
        }
    }
}

/// The most errors, and the most warnings, that are reported of one expression.
const REPORTED_MAX: usize = 20;

struct Checker<'c> {
    scope: &'c Scope,
    source: &'c str,
    errors: Vec<BadExpression>,
    warnings: Vec<BadExpression>,
    /// The types of the variables of the macros around.
    locals: Vec<Type>,
    /// What `has(...)` said is there: the parts of the source that name it.
    present: Vec<String>,
}

impl<'c> Checker<'c> {
    fn new(scope: &'c Scope, source: &'c str) -> Self {
        Self {
            scope,
            source,
            errors: Vec::new(),
            warnings: Vec::new(),
            locals: Vec::new(),
            present: scope.present().to_vec(),
        }
    }

    fn error(&mut self, offset: usize, told: impl Into<Told>) {
        if self.errors.len() < REPORTED_MAX {
            self.errors.push(BadExpression::new(offset, told));
        }
    }

    fn warn(&mut self, offset: usize, told: impl Into<Told>) {
        if self.warnings.len() < REPORTED_MAX {
            self.warnings.push(BadExpression::new(offset, told));
        }
    }

    /// A part as a message shows it.
    fn part(&self, span: Span) -> Cow<'c, str> {
        shown(self.source.get(span.start..span.end).unwrap_or(""))
    }

    fn ty(&mut self, node: &Node) -> Type {
        match &node.kind {
            Kind::Null => Type::Null,
            Kind::Bool(_) => Type::Bool,
            Kind::Int(_) | Kind::Fact(Fact::Version) => Type::Int,
            Kind::Double(_) => Type::Double,
            Kind::Text(_) | Kind::Fact(Fact::Id | Fact::Definition) => Type::String,
            Kind::Input => self.scope.input().clone(),
            Kind::Output(step) => self.output(step, node.span),
            Kind::HasOutput(step) => {
                self.known_step(step, node.span.start);
                Type::Bool
            }
            Kind::Free(name) => self.free(name, node.span.start),
            Kind::Local(level) => self.locals.get(*level).cloned().unwrap_or_default(),
            Kind::Select { of, field } => {
                let object = self.ty(of);
                let asked = path(node).is_some_and(|path| self.present.contains(&path));
                // The field's name is the last of it, unless it stands in brackets.
                let name = node.span.end.saturating_sub(field.len());
                let at = if self.source.get(name..node.span.end) == Some(field) { name } else { of.span.end };
                self.field(&object, field, at, node.span, asked)
            }
            Kind::Has { of, field } => {
                let object = self.ty(of);
                self.asked(&object, field, of.span);
                Type::Bool
            }
            Kind::Index { of, at } => self.index(of, at),
            Kind::Not(operand) => {
                self.condition(operand, "`!` takes a bool");
                Type::Bool
            }
            Kind::Negative(operand) => {
                let ty = self.ty(operand);
                if ty.is_number() {
                    return ty;
                }
                if ty != Type::Any {
                    self.error(node.span.start, format!("`-` does not take {ty}"));
                }
                Type::Any
            }
            Kind::Or(operands) => self.chain(operands, false),
            Kind::And(operands) => self.chain(operands, true),
            Kind::Binary { operator, at, left, right } => {
                let (left, right) = (self.ty(left), self.ty(right));
                self.binary(*operator, *at, &left, &right)
            }
            Kind::Conditional { condition, then, otherwise } => {
                self.condition(condition, "the condition of `? :` is a bool");
                let then = self.given(condition, true, |checker| checker.ty(then));
                let otherwise = self.given(condition, false, |checker| checker.ty(otherwise));
                self.either(node.span.start, "this", then, otherwise)
            }
            Kind::List(items) => {
                let types: Vec<Type> = items.iter().map(|item| self.ty(item)).collect();
                let join = |left, right| self.either(node.span.start, "an item of this list", left, right);
                Type::List(Arc::new(types.into_iter().reduce(join).unwrap_or(Type::Nothing)))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Call { function, arguments } => self.call(*function, arguments),
            Kind::Comprehension { kind, range, filter, body } => {
                self.comprehension(*kind, range, filter.as_deref(), body)
            }
        }
    }

    /// The type of what is one or the other. What is of two types at random is probably a slip, and not checked further.
    fn either(&mut self, at: usize, what: &str, left: Type, right: Type) -> Type {
        if left != Type::Null && right != Type::Null && !left.meets(&right) {
            self.warn(at, format!("{what} is {left} or {right}, and what is done with it cannot be checked"));
        }
        left.join(right)
    }

    fn condition(&mut self, node: &Node, rule: &str) {
        let ty = self.ty(node);
        if !matches!(ty, Type::Bool | Type::Any) {
            self.error(node.span.start, format!("{rule}, and this is {ty}"));
        }
    }

    /// The operands of `&&` or `||`, each knowing what those before it said is there.
    fn chain(&mut self, operands: &[Node], and: bool) -> Type {
        let known = self.present.len();
        for operand in operands {
            self.condition(operand, if and { "`&&` takes bools" } else { "`||` takes bools" });
            self.learn(operand, and);
        }
        self.present.truncate(known);
        Type::Bool
    }

    fn index(&mut self, of: &Node, at: &Node) -> Type {
        let (value, key) = (self.ty(of), self.ty(at));
        let start = at.span.start;
        match (value, key) {
            (Type::Any | Type::Nothing, _) => Type::Any,
            (Type::List(item), Type::Int | Type::Any) => item.taken(),
            (Type::List(item), key) => {
                let mend = key.is_number().then(|| "write int(x)".to_owned());
                let message = format!("the place in a list is an int, and this is {key}");
                self.error(start, Told { message, mend });
                item.taken()
            }
            (Type::Object(fields), Type::String | Type::Any) => {
                match (&fields.others, fields.declared.is_empty()) {
                    (Some(others), true) => others.as_ref().clone(),
                    _ => Type::Any,
                }
            }
            (Type::Object(_), key) => {
                self.error(start, format!("the name of a field is a string, and this is {key}"));
                Type::Any
            }
            (
                value @ (Type::Null | Type::Bool | Type::Int | Type::Double | Type::Number | Type::String),
                _,
            ) => {
                self.error(of.span.end, format!("{value} has no items and no fields"));
                Type::Any
            }
        }
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Type {
        let (mut declared, mut others) = (BTreeMap::new(), None);
        for (key, value) in entries {
            let (key_type, ty) = (self.ty(key), self.ty(value));
            match (&key.kind, key_type) {
                (Kind::Text(name), _) => {
                    if declared.insert(name.as_ref().to_owned(), ty).is_some() {
                        self.error(
                            key.span.start,
                            format!("the object has the field `{}` already", shown(name)),
                        );
                    }
                }
                (_, Type::String | Type::Any) => {
                    others = Some(others.map_or(ty.clone(), |others: Type| others.join(ty)));
                }
                (_, key_type) => {
                    self.error(
                        key.span.start,
                        format!("the name of a field is a string, and this is {key_type}"),
                    );
                }
            }
        }
        let required: BTreeSet<String> = declared.keys().cloned().collect();
        Type::Object(Arc::new(Fields { declared, required, others: others.map(Arc::new) }))
    }

    fn call(&mut self, function: Function, arguments: &[Node]) -> Type {
        let takes = |ty: &Type| match function {
            Function::Size => matches!(ty, Type::Any | Type::String | Type::List(_) | Type::Object(_)),
            Function::Contains | Function::StartsWith | Function::EndsWith => {
                matches!(ty, Type::Any | Type::String)
            }
            Function::Int | Function::Double => ty.is_number() || matches!(ty, Type::Any | Type::String),
            Function::String => ty.is_number() || matches!(ty, Type::Any | Type::String | Type::Bool),
        };
        for argument in arguments {
            let ty = self.ty(argument);
            if !takes(&ty) {
                self.error(argument.span.start, format!("`{}` does not take {ty}", function.name()));
            }
        }
        match function {
            Function::Size | Function::Int => Type::Int,
            Function::Contains | Function::StartsWith | Function::EndsWith => Type::Bool,
            Function::Double => Type::Double,
            Function::String => Type::String,
        }
    }

    fn comprehension(&mut self, kind: Macro, range: &Node, filter: Option<&Node>, body: &Node) -> Type {
        let ty = self.ty(range);
        let item = match &ty {
            Type::Any | Type::Nothing => Type::Any,
            Type::List(item) => item.taken(),
            Type::Object(_) => Type::String,
            ty @ (Type::Null | Type::Bool | Type::Int | Type::Double | Type::Number | Type::String) => {
                let name = kind.name();
                self.error(
                    range.span.start,
                    format!("`{name}` goes over a list or an object, and this is {ty}"),
                );
                Type::Any
            }
        };
        self.locals.push(item.clone());
        let rule = "the condition of a macro is a bool";
        let result = match (kind, filter) {
            (Macro::All | Macro::Exists | Macro::ExistsOne, _) => {
                self.condition(body, rule);
                Type::Bool
            }
            (Macro::Filter, _) => {
                self.condition(body, rule);
                Type::List(Arc::new(item))
            }
            (Macro::Map, None) => Type::List(Arc::new(self.ty(body))),
            (Macro::Map, Some(filter)) => {
                self.condition(filter, rule);
                Type::List(Arc::new(self.given(filter, true, |checker| checker.ty(body))))
            }
        };
        self.locals.pop();
        result
    }
}
