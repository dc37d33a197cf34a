//! The types of an expression against what is known of its saga. What would fail for every saga is an error; what may
//! fail for some is a warning. Nothing that passes without a warning fails for its types at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::evaluate::mend;
use super::function::{Function, Macro};
use super::scope::Scope;
use super::syntax::{Fact, Kind, Node, Operator};
use super::types::{Fields, Type};
use super::{BadExpression, Expression, Span, nearest};

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
                checker.error(root.span.start, format!("a condition is a bool, and this is {ty}"))
            }
            (Wanted::List, ty) => checker.error(root.span.start, format!("this must be a list, and is {ty}")),
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
/// The most names that a message lists.
const LISTED_MAX: usize = 20;

/// Checks a plain path of a template: where it begins, and the fields it goes through.
pub(crate) fn check_path(
    scope: &Scope,
    text: &str,
    root: PathRoot<'_>,
    fields: &[String],
) -> Result<Checked, Vec<BadExpression>> {
    let mut checker = Checker::new(scope, text);
    let (mut ty, mut end) = match root {
        PathRoot::Input => (scope.input().clone(), "input".len()),
        PathRoot::Output(step) => {
            let end = "steps..output".len() + step.len();
            (checker.output(step, Span { start: 0, end }), end)
        }
        PathRoot::Item(name) => (checker.free(name, 0), name.len()),
    };
    for field in fields {
        let at = end + 1;
        end = at + field.len();
        ty = match ty {
            Type::List(item) if field.parse::<usize>().is_ok() => item.as_ref().clone(),
            ty => checker.field(&ty, field, at, Span { start: 0, end }, false),
        };
    }
    if checker.errors.is_empty() {
        Ok(Checked { ty, warnings: checker.warnings })
    } else {
        Err(checker.errors)
    }
}

/// Where a plain path begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PathRoot<'p> {
    Input,
    Output(&'p str),
    Item(&'p str),
}

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
            present: Vec::new(),
        }
    }

    fn error(&mut self, offset: usize, message: impl Into<String>) {
        if self.errors.len() < REPORTED_MAX {
            self.errors.push(BadExpression { offset, message: message.into() });
        }
    }

    fn warn(&mut self, offset: usize, message: impl Into<String>) {
        if self.warnings.len() < REPORTED_MAX {
            self.warnings.push(BadExpression { offset, message: message.into() });
        }
    }

    /// An error about a name that there is not.
    fn unknown(&mut self, offset: usize, what: &str, name: &str, known: &[&str]) {
        // The nearest word is looked for once: that takes time, and one slip explains the others.
        let meant =
            if self.errors.is_empty() { nearest::hint(name, known.iter().copied()) } else { String::new() };
        self.error(offset, format!("{what}{meant}; there is: {}", listed(known)));
    }

    fn text(&self, span: Span) -> &'c str {
        self.source.get(span.start..span.end).unwrap_or("")
    }

    fn ty(&mut self, node: &Node) -> Type {
        match &node.kind {
            Kind::Null => Type::Null,
            Kind::Bool(_) => Type::Bool,
            Kind::Int(_) => Type::Int,
            Kind::Double(_) => Type::Double,
            Kind::Text(_) => Type::String,
            Kind::Input => self.scope.input().clone(),
            Kind::Output(step) => self.output(step, node.span),
            Kind::HasOutput(step) => {
                self.known_step(step, node.span.start);
                Type::Bool
            }
            Kind::Fact(Fact::Version) => Type::Int,
            Kind::Fact(Fact::Id | Fact::Definition) => Type::String,
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
            Kind::Negative(operand) => match self.ty(operand) {
                ty @ (Type::Int | Type::Double | Type::Number) => ty,
                Type::Any => Type::Any,
                ty => {
                    self.error(node.span.start, format!("`-` does not take {ty}"));
                    Type::Any
                }
            },
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
                then.join(otherwise)
            }
            Kind::List(items) => {
                let item = items.iter().map(|item| self.ty(item)).reduce(Type::join);
                Type::List(Arc::new(item.unwrap_or_default()))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Call { function, arguments } => self.call(*function, arguments),
            Kind::Comprehension { kind, range, filter, body } => {
                self.comprehension(*kind, range, filter.as_deref(), body)
            }
        }
    }

    fn condition(&mut self, node: &Node, rule: &str) {
        match self.ty(node) {
            Type::Bool | Type::Any => {}
            ty => self.error(node.span.start, format!("{rule}, and this is {ty}")),
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

    /// Checks something under the condition that a condition holds, or that it does not.
    fn given<T>(&mut self, condition: &Node, holds: bool, inner: impl FnOnce(&mut Self) -> T) -> T {
        let known = self.present.len();
        self.learn(condition, holds);
        let result = inner(self);
        self.present.truncate(known);
        result
    }

    /// Notes what is there if the condition holds, or if it does not.
    fn learn(&mut self, condition: &Node, holds: bool) {
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

    fn known_step(&mut self, step: &str, at: usize) -> Option<(Type, bool)> {
        if let Some((ty, may_be_skipped)) = self.scope.output(step) {
            return Some((ty.clone(), may_be_skipped));
        }
        let known: Vec<&str> = self.scope.steps().collect();
        self.unknown(at, &format!("no step `{step}` certainly ends before this"), step, &known);
        None
    }

    fn output(&mut self, step: &str, span: Span) -> Type {
        let Some((ty, may_be_skipped)) = self.known_step(step, span.start) else { return Type::Any };
        if may_be_skipped && !self.present.contains(&below("steps", step)) {
            let shown = self.text(span);
            self.warn(
                span.start,
                format!("the step `{step}` may be skipped, and has no output then: ask `has({shown})` first"),
            );
        }
        ty
    }

    fn free(&mut self, name: &str, at: usize) -> Type {
        if let Some(ty) = self.scope.free(name) {
            return ty;
        }
        let roots = self.scope.roots();
        let what = match name {
            "index" => "`index` is the place of an item, and this is in no `for_each`".to_owned(),
            name => format!("nothing is called `{name}` here"),
        };
        self.unknown(at, &what, name, &roots);
        Type::Any
    }

    /// The type of a field. `at` is where its name stands, `span` the whole selection.
    fn field(&mut self, object: &Type, field: &str, at: usize, span: Span, asked: bool) -> Type {
        let Some(fields) = self.fields(object, field, at) else { return Type::Any };
        let shown = self.text(span);
        let is_there = asked || fields.required.contains(field);
        match (fields.declared.get(field), &fields.others) {
            (Some(ty), _) => {
                if !is_there {
                    self.warn(
                        at,
                        format!("`{shown}` is not required and may be missing: ask `has({shown})` first"),
                    );
                }
                ty.clone()
            }
            (None, Some(others)) => {
                if **others == Type::Any {
                    self.warn(at, format!("`{shown}` is not declared by the schema: nothing is known of it"));
                } else if !is_there {
                    self.warn(at, format!("`{shown}` may be missing: ask `has({shown})` first"));
                }
                others.as_ref().clone()
            }
            (None, None) => {
                self.no_field(fields, field, at);
                Type::Any
            }
        }
    }

    /// The fields of an object, if it is known to be one.
    fn fields<'t>(&mut self, object: &'t Type, field: &str, at: usize) -> Option<&'t Fields> {
        match object {
            Type::Any => None,
            Type::Object(fields) => Some(fields),
            Type::List(_) => {
                self.error(at, format!("a list has no field `{field}`: an item is written [0]"));
                None
            }
            ty @ (Type::Null | Type::Bool | Type::Int | Type::Double | Type::Number | Type::String) => {
                self.error(at, format!("{ty} has no field `{field}`"));
                None
            }
        }
    }

    fn no_field(&mut self, fields: &Fields, field: &str, at: usize) {
        let known: Vec<&str> = fields.declared.keys().map(String::as_str).collect();
        self.unknown(at, &format!("there is no field `{field}`"), field, &known);
    }

    /// What `has` asks for must be possible.
    fn asked(&mut self, object: &Type, field: &str, of: Span) {
        if let Some(fields) = self.fields(object, field, of.end)
            && fields.others.is_none()
            && !fields.declared.contains_key(field)
        {
            self.no_field(fields, field, of.end);
        }
    }

    fn index(&mut self, of: &Node, at: &Node) -> Type {
        let (value, key) = (self.ty(of), self.ty(at));
        let start = at.span.start;
        match (value, key) {
            (Type::Any, _) => Type::Any,
            (Type::List(item), Type::Int | Type::Any) => item.as_ref().clone(),
            (Type::List(item), key) => {
                let mend = if key.is_number() { ": write int(x)" } else { "" };
                self.error(start, format!("the place in a list is an int, and this is {key}{mend}"));
                item.as_ref().clone()
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

    fn binary(&mut self, operator: Operator, at: usize, left: &Type, right: &Type) -> Type {
        let (result, fits) = match operator {
            Operator::Equal | Operator::Unequal => {
                if *left == Type::Null || *right == Type::Null {
                    if !left.meets(right) {
                        let other = if *left == Type::Null { right } else { left };
                        self.warn(
                            at,
                            format!("{other} is never null; whether a field is there is asked with has()"),
                        );
                    }
                    return Type::Bool;
                }
                if !left.meets(right) {
                    let symbol = operator.symbol();
                    self.error(at, format!("`{symbol}` compares {left} with {right}, which are never equal"));
                }
                return Type::Bool;
            }
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                let orders = |ty: &Type| {
                    matches!(
                        ty,
                        Type::Any | Type::Bool | Type::String | Type::Int | Type::Double | Type::Number
                    )
                };
                (Type::Bool, orders(left) && orders(right) && left.meets(right))
            }
            Operator::In => {
                let fits = match right {
                    Type::Any => true,
                    Type::List(item) => left.meets(item),
                    Type::Object(_) => matches!(left, Type::String | Type::Any),
                    Type::Null | Type::Bool | Type::Int | Type::Double | Type::Number | Type::String => false,
                };
                (Type::Bool, fits)
            }
            Operator::Add => match (left, right) {
                (Type::String, Type::String | Type::Any) | (Type::Any, Type::String) => (Type::String, true),
                (Type::List(_), Type::List(_)) => (left.clone().join(right.clone()), true),
                (Type::List(_), Type::Any) | (Type::Any, Type::List(_)) => {
                    (Type::List(Arc::new(Type::Any)), true)
                }
                (Type::Any, Type::Any) => (Type::Any, true),
                _ => numeric(left, right),
            },
            Operator::Subtract | Operator::Multiply => numeric(left, right),
            Operator::Divide => {
                let (ty, fits) = numeric(left, right);
                let whole_by_chance =
                    "`/` drops the fraction where both numbers happen to be whole: write double(x) / y";
                match (&ty, fits, *left == Type::Any || *right == Type::Any) {
                    (Type::Number | Type::Any, true, true) => self.warn(at, whole_by_chance),
                    (Type::Number, true, false) => self.error(at, whole_by_chance),
                    _ => {}
                }
                (ty, fits)
            }
            Operator::Remainder => {
                let (ty, fits) = numeric(left, right);
                if fits && [left, right].into_iter().any(|ty| matches!(ty, Type::Double | Type::Number)) {
                    self.error(at, "`%` takes whole numbers: write int(x) % y");
                    return ty;
                }
                (Type::Int, fits)
            }
        };
        if !fits {
            let (left, right) = (left.to_string(), right.to_string());
            let mend = mend(operator, &left, &right);
            self.error(at, format!("`{}` does not take {left} and {right}{mend}", operator.symbol()));
        }
        result
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Type {
        let (mut declared, mut others) = (BTreeMap::new(), None);
        for (key, value) in entries {
            let (key_type, ty) = (self.ty(key), self.ty(value));
            match (&key.kind, key_type) {
                (Kind::Text(name), _) => {
                    if declared.insert(name.as_ref().to_owned(), ty).is_some() {
                        self.error(key.span.start, format!("the object has the field `{name}` already"));
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
            Type::Any => Type::Any,
            Type::List(item) => item.as_ref().clone(),
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

/// The result of arithmetic, and whether its operands are numbers.
fn numeric(left: &Type, right: &Type) -> (Type, bool) {
    let fits = |ty: &Type| ty.is_number() || *ty == Type::Any;
    let result = match (left, right) {
        (Type::Int, Type::Int) => Type::Int,
        (Type::Double, _) | (_, Type::Double) => Type::Double,
        _ => Type::Number,
    };
    (result, fits(left) && fits(right))
}

/// How a part is known again where it is named a second time. None for what is computed.
fn path(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Input => Some("input".to_owned()),
        Kind::Output(step) => Some(below("steps", step)),
        Kind::Free(name) => Some(name.as_ref().to_owned()),
        Kind::Local(level) => Some(below("", &level.to_string())),
        Kind::Select { of, field } => path(of).map(|path| below(&path, field)),
        _ => None,
    }
}

/// A field of what has that path. No name can have the separator.
fn below(path: &str, field: &str) -> String {
    format!("{path}\0{field}")
}

/// Names for a message.
fn listed(names: &[&str]) -> String {
    let shown: Vec<&str> = names.iter().copied().take(LISTED_MAX).collect();
    match (shown.is_empty(), names.len() > LISTED_MAX) {
        (true, _) => "nothing".to_owned(),
        (false, false) => shown.join(", "),
        (false, true) => format!("{}, …", shown.join(", ")),
    }
}
