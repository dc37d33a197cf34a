//! The value of an expression for a saga. It recurses over the tree, whose height is limited, and pays for each part it
//! visits, so that it ends. A failure is small and made of places and types: only the one that comes out becomes text.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::function::{Function, Macro};
use super::names::{Missing, Payloads, Unresolved};
use super::number::{Number, Trouble};
use super::syntax::{Fact, Kind, Node, Operator};
use super::value::{Fuel, Incomparable, List, Map, Sink, Spent, Text, Unwritable, Value};
use super::{COST_MAX, Expression, Span};

/// Why a part has no value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    /// It names nothing.
    Missing(Span),
    /// It refers to what may still come.
    NotYet,
    /// The budget is used up: nothing forgives that.
    Spent,
    /// It cannot be computed.
    Wrong(usize, Wrong),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wrong {
    Operands(Operator, &'static str, &'static str),
    Operand(&'static str, &'static str),
    Argument(Function, &'static str),
    Range(Macro, &'static str),
    Condition(&'static str),
    Key(&'static str),
    Index(&'static str),
    SameKey,
    Trouble(Trouble),
    TooManyDigits,
    NotWhole,
    NotNumber,
    NotFinite,
}

impl From<Spent> for Failure {
    fn from(Spent: Spent) -> Self {
        Self::Spent
    }
}

type Outcome<'v> = Result<Value<'v>, Failure>;

/// The evaluation of expressions over the payloads of one saga, with one budget for all of them.
pub(crate) struct Evaluation<'v, 'f> {
    payloads: &'v Payloads<'v>,
    fuel: &'f mut Fuel,
    /// The variables of the macros around, the outermost first.
    locals: Vec<Value<'v>>,
    /// An output or an item that is not there may still come.
    waits: bool,
}

impl<'v, 'f> Evaluation<'v, 'f> {
    /// Over payloads that have what the expressions refer to.
    pub(crate) fn new(payloads: &'v Payloads<'v>, fuel: &'f mut Fuel) -> Self {
        Self { payloads, fuel, locals: Vec::new(), waits: false }
    }

    /// Writes the value as JSON.
    pub(crate) fn write(&mut self, expression: &'v Expression, sink: &mut Sink) -> Result<(), Unresolved> {
        let root = expression.root();
        let value = self.value(root).map_err(|failure| unresolved(expression, failure))?;
        sink.value(&value).map_err(|why| match why {
            Unwritable::NotFinite => {
                unresolved(expression, Failure::Wrong(root.span.start, Wrong::NotFinite))
            }
            Unwritable::Full => sink.full(),
        })
    }

    /// The value, which must be a bool.
    pub(crate) fn truth(&mut self, expression: &'v Expression) -> Result<bool, Unresolved> {
        let root = expression.root();
        self.condition(root).map_err(|failure| unresolved(expression, failure))
    }

    /// Why it certainly has no value, whatever the outputs and items are that are still to come.
    pub(crate) fn fails_for_certain(&mut self, expression: &'v Expression) -> Option<Unresolved> {
        self.waits = true;
        match self.value(expression.root()) {
            Ok(_) | Err(Failure::NotYet) => None,
            Err(failure) => Some(unresolved(expression, failure)),
        }
    }

    fn value(&mut self, node: &'v Node) -> Outcome<'v> {
        self.fuel.spend(1)?;
        match &node.kind {
            Kind::Null => Ok(Value::Null),
            Kind::Bool(value) => Ok(Value::Bool(*value)),
            Kind::Int(value) => Ok(Value::Int(*value)),
            Kind::Double(value) => Ok(Value::Double(*value)),
            Kind::Text(text) => Ok(Value::Text(Text::Given(text))),
            Kind::Input => Ok(Value::given(self.payloads.input())),
            Kind::Output(step) => match self.payloads.output(step) {
                Some(output) => Ok(Value::given(output)),
                None => Err(self.nothing(node.span)),
            },
            Kind::HasOutput(step) => match self.payloads.output(step) {
                None if self.waits => Err(Failure::NotYet),
                output => Ok(Value::Bool(output.is_some())),
            },
            Kind::Fact(fact) => Ok(self.fact(*fact)),
            Kind::Free(name) => match (self.payloads.index(name), self.payloads.item(name)) {
                (Some(index), _) => Ok(Value::Int(i64::from(index))),
                (None, Some(item)) => Ok(Value::given(item)),
                (None, None) if self.payloads.names.each.is_some() => Err(Failure::Missing(node.span)),
                (None, None) => Err(self.nothing(node.span)),
            },
            Kind::Local(level) => self.locals.get(*level).cloned().ok_or(Failure::Missing(node.span)),
            Kind::Select { of, field } => match self.value(of)? {
                Value::Map(map) => map.get(field).ok_or(Failure::Missing(node.span)),
                Value::Null
                | Value::Bool(_)
                | Value::Int(_)
                | Value::Double(_)
                | Value::Number(_)
                | Value::Text(_)
                | Value::List(_) => Err(Failure::Missing(node.span)),
            },
            Kind::Has { of, field } => match self.value(of)? {
                Value::Map(map) => Ok(Value::Bool(map.get(field).is_some())),
                Value::Null
                | Value::Bool(_)
                | Value::Int(_)
                | Value::Double(_)
                | Value::Number(_)
                | Value::Text(_)
                | Value::List(_) => Err(Failure::Missing(of.span)),
            },
            Kind::Index { of, at } => self.index(node, of, at),
            Kind::Not(operand) => match self.value(operand)? {
                Value::Bool(value) => Ok(Value::Bool(!value)),
                value => Err(Failure::Wrong(node.span.start, Wrong::Operand("!", value.type_name()))),
            },
            Kind::Negative(operand) => {
                let value = self.value(operand)?;
                let number = self.number(&value, operand)?;
                let number =
                    number.ok_or(Failure::Wrong(node.span.start, Wrong::Operand("-", value.type_name())))?;
                arithmetic(node.span.start, number.negative())
            }
            Kind::Or(operands) => self.first_that_is(true, operands),
            Kind::And(operands) => self.first_that_is(false, operands),
            Kind::Binary { operator, at, left, right } => {
                let (left_value, right_value) = self.pair(left, right)?;
                self.binary(*operator, *at, (left, &left_value), (right, &right_value))
            }
            Kind::Conditional { condition, then, otherwise } => {
                let branch = if self.condition(condition)? { then } else { otherwise };
                self.value(branch)
            }
            Kind::List(items) => Ok(Value::list(self.values(items.iter())?)),
            Kind::Map(entries) => self.map(entries),
            Kind::Call { function, arguments } => {
                let values = self.values(arguments.iter())?;
                self.call(*function, node.span.start, &values)
            }
            Kind::Comprehension { kind, range, filter, body } => {
                self.comprehension(*kind, range, filter.as_deref(), body)
            }
        }
    }

    fn nothing(&self, span: Span) -> Failure {
        if self.waits { Failure::NotYet } else { Failure::Missing(span) }
    }

    fn fact(&self, fact: Fact) -> Value<'v> {
        let facts = self.payloads.names.saga;
        match fact {
            Fact::Id => Value::text(facts.id.to_string()),
            Fact::Definition => Value::Text(Text::Given(facts.definition)),
            Fact::Version => Value::Int(i64::from(facts.version)),
        }
    }

    /// All of them. Where one is still to come, the others are looked at all the same: what fails for certain
    /// should be found early.
    fn values(&mut self, nodes: impl Iterator<Item = &'v Node>) -> Result<Vec<Value<'v>>, Failure> {
        let mut values = Vec::new();
        let mut not_yet = false;
        for node in nodes {
            match self.value(node) {
                Ok(value) => values.push(value),
                Err(Failure::NotYet) => not_yet = true,
                Err(failure) => return Err(failure),
            }
        }
        if not_yet { Err(Failure::NotYet) } else { Ok(values) }
    }

    fn pair(&mut self, left: &'v Node, right: &'v Node) -> Result<(Value<'v>, Value<'v>), Failure> {
        match self.value(left) {
            Ok(left) => Ok((left, self.value(right)?)),
            Err(Failure::NotYet) => self.value(right).and(Err(Failure::NotYet)),
            Err(failure) => Err(failure),
        }
    }

    fn condition(&mut self, node: &'v Node) -> Result<bool, Failure> {
        match self.value(node)? {
            Value::Bool(value) => Ok(value),
            value => Err(Failure::Wrong(node.span.start, Wrong::Condition(value.type_name()))),
        }
    }

    /// `||` and `&&`: what decides, decides, even where another operand fails.
    fn first_that_is(&mut self, decides: bool, operands: &'v [Node]) -> Outcome<'v> {
        let mut failed = None;
        for operand in operands {
            match self.condition(operand) {
                Ok(value) if value == decides => return Ok(Value::Bool(decides)),
                Ok(_) => {}
                Err(failure) => forgive(&mut failed, failure)?,
            }
        }
        failed.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn index(&mut self, node: &'v Node, of: &'v Node, at: &'v Node) -> Outcome<'v> {
        let (value, key) = self.pair(of, at)?;
        match (&value, &key) {
            (Value::List(list), key) => {
                let whole = match self.number(key, at)? {
                    Some(Number::Int(whole)) => whole,
                    Some(Number::Double(_)) | None => {
                        return Err(Failure::Wrong(at.span.start, Wrong::Index(key.type_name())));
                    }
                };
                let item = usize::try_from(whole).ok().and_then(|whole| list.get(whole));
                item.ok_or(Failure::Missing(node.span))
            }
            (Value::Map(map), Value::Text(key)) => {
                self.fuel.spend_bytes(key.as_str().len())?;
                map.get(key.as_str()).ok_or(Failure::Missing(node.span))
            }
            (Value::Map(_), key) => Err(Failure::Wrong(at.span.start, Wrong::Key(key.type_name()))),
            _ => Err(Failure::Missing(node.span)),
        }
    }

    fn map(&mut self, entries: &'v [(Node, Node)]) -> Outcome<'v> {
        let values = self.values(entries.iter().flat_map(|(key, value)| [key, value]))?;
        let mut fields = BTreeMap::new();
        let mut values = values.into_iter();
        for (key_node, _) in entries {
            let (Some(key), Some(value)) = (values.next(), values.next()) else { break };
            let Value::Text(key) = &key else {
                return Err(Failure::Wrong(key_node.span.start, Wrong::Key(key.type_name())));
            };
            self.fuel.spend_bytes(key.as_str().len())?;
            if fields.insert(key.as_str().to_owned(), value).is_some() {
                return Err(Failure::Wrong(key_node.span.start, Wrong::SameKey));
            }
        }
        Ok(Value::Map(Map::Made(Rc::new(fields))))
    }

    /// The number that a value is, if it is one.
    fn number(&mut self, value: &Value<'v>, node: &Node) -> Result<Option<Number>, Failure> {
        if let Value::Number(number) = value {
            self.fuel.spend_bytes(number.as_str().len())?;
        }
        match value.number() {
            Some(None) => Err(Failure::Wrong(node.span.start, Wrong::TooManyDigits)),
            Some(number) => Ok(number),
            None => Ok(None),
        }
    }

    fn binary(
        &mut self,
        operator: Operator,
        at: usize,
        (left_node, left): (&'v Node, &Value<'v>),
        (right_node, right): (&'v Node, &Value<'v>),
    ) -> Outcome<'v> {
        let unfit = || Failure::Wrong(at, Wrong::Operands(operator, left.type_name(), right.type_name()));
        match operator {
            Operator::Equal => self.equal(at, left, right).map(Value::Bool),
            Operator::Unequal => self.equal(at, left, right).map(|equal| Value::Bool(!equal)),
            Operator::In => match (left, right) {
                (left, Value::List(list)) => {
                    for item in list.iter() {
                        if self.equal(at, left, &item)? {
                            return Ok(Value::Bool(true));
                        }
                    }
                    Ok(Value::Bool(false))
                }
                (Value::Text(key), Value::Map(map)) => {
                    self.fuel.spend_bytes(key.as_str().len())?;
                    Ok(Value::Bool(map.get(key.as_str()).is_some()))
                }
                _ => Err(unfit()),
            },
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                let order = match (left, right) {
                    (Value::Text(left), Value::Text(right)) => {
                        let (left, right) = (left.as_str(), right.as_str());
                        self.fuel.spend_bytes(left.len().min(right.len()))?;
                        Some(left.cmp(right))
                    }
                    (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
                    (left, right) => {
                        let numbers = (self.number(left, left_node)?, self.number(right, right_node)?);
                        let (Some(left), Some(right)) = numbers else { return Err(unfit()) };
                        left.compare(right)
                    }
                };
                Ok(Value::Bool(order.is_some_and(|order| match operator {
                    Operator::Less => order.is_lt(),
                    Operator::LessOrEqual => order.is_le(),
                    Operator::Greater => order.is_gt(),
                    _ => order.is_ge(),
                })))
            }
            Operator::Add => match (left, right) {
                (Value::Text(left), Value::Text(right)) => {
                    let (left, right) = (left.as_str(), right.as_str());
                    self.fuel.spend_bytes(left.len() + right.len())?;
                    Ok(Value::text([left, right].concat()))
                }
                (Value::List(left), Value::List(right)) => {
                    self.fuel.spend(left.len() + right.len())?;
                    Ok(Value::list(left.iter().chain(right.iter()).collect()))
                }
                _ => self.calculate(at, (left_node, left), (right_node, right), Number::add, unfit),
            },
            Operator::Subtract => {
                self.calculate(at, (left_node, left), (right_node, right), Number::subtract, unfit)
            }
            Operator::Multiply => {
                self.calculate(at, (left_node, left), (right_node, right), Number::multiply, unfit)
            }
            Operator::Divide => {
                self.calculate(at, (left_node, left), (right_node, right), Number::divide, unfit)
            }
            Operator::Remainder => {
                self.calculate(at, (left_node, left), (right_node, right), Number::remainder, unfit)
            }
        }
    }

    fn equal(&mut self, at: usize, left: &Value<'v>, right: &Value<'v>) -> Result<bool, Failure> {
        left.equals(right, self.fuel).map_err(|why| match why {
            Incomparable::Spent => Failure::Spent,
            Incomparable::TooManyDigits => Failure::Wrong(at, Wrong::TooManyDigits),
        })
    }

    fn calculate(
        &mut self,
        at: usize,
        (left_node, left): (&Node, &Value<'v>),
        (right_node, right): (&Node, &Value<'v>),
        by: impl Fn(Number, Number) -> Result<Number, Trouble>,
        unfit: impl Fn() -> Failure,
    ) -> Outcome<'v> {
        let left = self.number(left, left_node)?.ok_or_else(&unfit)?;
        let right = self.number(right, right_node)?.ok_or_else(&unfit)?;
        arithmetic(at, by(left, right))
    }

    fn call(&mut self, function: Function, at: usize, arguments: &[Value<'v>]) -> Outcome<'v> {
        let unfit = |value: &Value<'v>| Failure::Wrong(at, Wrong::Argument(function, value.type_name()));
        let wrong = |wrong: Wrong| Failure::Wrong(at, wrong);
        let [first, rest @ ..] = arguments else { return Err(wrong(Wrong::Argument(function, "nothing"))) };
        match function {
            Function::Size => {
                let size = match first {
                    Value::Text(text) => {
                        self.fuel.spend_bytes(text.as_str().len())?;
                        text.as_str().chars().count()
                    }
                    Value::List(list) => list.len(),
                    Value::Map(map) => map.len(),
                    value => return Err(unfit(value)),
                };
                Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
            }
            Function::Contains | Function::StartsWith | Function::EndsWith => {
                let (text, part) = match (first, rest) {
                    (Value::Text(text), [Value::Text(part)]) => (text.as_str(), part.as_str()),
                    (Value::Text(_), [other, ..]) => return Err(unfit(other)),
                    (value, _) => return Err(unfit(value)),
                };
                self.fuel.spend_bytes(text.len() + part.len())?;
                Ok(Value::Bool(match function {
                    Function::Contains => text.contains(part),
                    Function::StartsWith => text.starts_with(part),
                    _ => text.ends_with(part),
                }))
            }
            Function::Int => match (first, first.number()) {
                (Value::Text(text), _) => {
                    self.fuel.spend_bytes(text.as_str().len())?;
                    let digits = text.as_str();
                    let plain = !digits.starts_with('+');
                    digits
                        .parse()
                        .ok()
                        .filter(|_| plain)
                        .map(Value::Int)
                        .ok_or_else(|| wrong(Wrong::NotWhole))
                }
                (_, Some(number)) => {
                    let number = number.ok_or_else(|| wrong(Wrong::TooManyDigits))?;
                    number.int().map(Value::Int).ok_or_else(|| wrong(Wrong::Trouble(Trouble::Overflow)))
                }
                (value, None) => Err(unfit(value)),
            },
            Function::Double => match (first, first.number()) {
                (Value::Text(text), _) => {
                    self.fuel.spend_bytes(text.as_str().len())?;
                    let double = text.as_str().parse().ok().filter(|double: &f64| double.is_finite());
                    double.map(Value::Double).ok_or_else(|| wrong(Wrong::NotNumber))
                }
                (_, Some(number)) => {
                    let number = number.ok_or_else(|| wrong(Wrong::TooManyDigits))?;
                    Ok(Value::Double(number.double()))
                }
                (value, None) => Err(unfit(value)),
            },
            Function::String => match (first, first.number()) {
                (Value::Text(_), _) => Ok(first.clone()),
                (Value::Bool(value), _) => Ok(Value::text(value.to_string())),
                (_, Some(number)) => match number.ok_or_else(|| wrong(Wrong::TooManyDigits))? {
                    Number::Int(value) => Ok(Value::text(value.to_string())),
                    Number::Double(value) if value.is_finite() => Ok(Value::text(double_text(value))),
                    Number::Double(_) => Err(wrong(Wrong::NotFinite)),
                },
                (value, None) => Err(unfit(value)),
            },
        }
    }

    fn comprehension(
        &mut self,
        kind: Macro,
        range: &'v Node,
        filter: Option<&'v Node>,
        body: &'v Node,
    ) -> Outcome<'v> {
        let items = match self.value(range)? {
            Value::List(list) => list,
            Value::Map(map) => {
                self.fuel.spend(map.len())?;
                List::Made(Rc::new(map.sorted_keys()))
            }
            value => return Err(Failure::Wrong(range.span.start, Wrong::Range(kind, value.type_name()))),
        };
        let mut made = Vec::new();
        let (mut count, mut failed) = (0_usize, None);
        for item in items.iter() {
            self.fuel.spend(1)?;
            self.locals.push(item.clone());
            let outcome = self.iteration(kind, filter, body);
            self.locals.pop();
            match (kind, outcome) {
                (Macro::All | Macro::Exists, Err(failure)) => forgive(&mut failed, failure)?,
                (_, Err(failure)) => return Err(failure),
                (_, Ok(None)) => {}
                (Macro::All, Ok(Some(_))) => return Ok(Value::Bool(false)),
                (Macro::Exists, Ok(Some(_))) => return Ok(Value::Bool(true)),
                (Macro::ExistsOne, Ok(Some(_))) => count += 1,
                (Macro::Filter, Ok(Some(_))) => made.push(item),
                (Macro::Map, Ok(Some(value))) => made.push(value),
            }
        }
        match (kind, failed) {
            (_, Some(failure)) => Err(failure),
            (Macro::All, None) => Ok(Value::Bool(true)),
            (Macro::Exists, None) => Ok(Value::Bool(false)),
            (Macro::ExistsOne, None) => Ok(Value::Bool(count == 1)),
            (Macro::Filter | Macro::Map, None) => Ok(Value::list(made)),
        }
    }

    /// What the macro keeps of the item in hand: for `all` that it is an exception, for `map` the new value.
    fn iteration(
        &mut self,
        kind: Macro,
        filter: Option<&'v Node>,
        body: &'v Node,
    ) -> Result<Option<Value<'v>>, Failure> {
        let keeps = match (kind, filter) {
            (Macro::Map, None) => true,
            (Macro::Map, Some(filter)) => self.condition(filter)?,
            (Macro::All, _) => !self.condition(body)?,
            (Macro::Exists | Macro::ExistsOne | Macro::Filter, _) => self.condition(body)?,
        };
        Ok(match (keeps, kind) {
            (false, _) => None,
            (true, Macro::Map) => Some(self.value(body)?),
            (true, Macro::All | Macro::Exists | Macro::ExistsOne | Macro::Filter) => Some(Value::Null),
        })
    }
}

/// Keeps a failure for the case that nothing else decides. What is still to come may decide.
fn forgive(failed: &mut Option<Failure>, failure: Failure) -> Result<(), Failure> {
    match (failure, &failed) {
        (Failure::Spent, _) => return Err(failure),
        (Failure::NotYet, _) | (Failure::Missing(_) | Failure::Wrong(..), None) => *failed = Some(failure),
        (Failure::Missing(_) | Failure::Wrong(..), Some(_)) => {}
    }
    Ok(())
}

fn arithmetic<'v>(at: usize, result: Result<Number, Trouble>) -> Outcome<'v> {
    result.map(Value::of_number).map_err(|trouble| Failure::Wrong(at, Wrong::Trouble(trouble)))
}

/// The shortest text that reads back as the same number, with an exponent where it would be long.
fn double_text(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-7..1e21).contains(&size) { format!("{value}") } else { format!("{value:e}") }
}

/// How much of an expression a message shows, in bytes.
const SHOWN_MAX: usize = 200;

fn unresolved(expression: &Expression, failure: Failure) -> Unresolved {
    let source = expression.source();
    match failure {
        Failure::Missing(span) => {
            let path = source.get(span.start..span.end).unwrap_or(source);
            let within = (path != source).then(|| shown(source, span.start));
            Unresolved::Missing(Missing { path: shown(path, 0), within })
        }
        Failure::Wrong(offset, wrong) => {
            Unresolved::Failed { expression: shown(source, offset), offset, message: message(wrong) }
        }
        Failure::Spent => Unresolved::TooCostly { expression: shown(source, 0), budget: COST_MAX },
        // Only `fails_for_certain` waits, and it asks before.
        Failure::NotYet => Unresolved::Failed {
            expression: shown(source, 0),
            offset: 0,
            message: "it refers to what is still to come".to_owned(),
        },
    }
}

/// A source, or what stands around the place.
fn shown(source: &str, place: usize) -> String {
    if source.len() <= SHOWN_MAX {
        return source.to_owned();
    }
    let start = source.floor_char_boundary(place.saturating_sub(SHOWN_MAX / 2));
    let end = source.floor_char_boundary(start + SHOWN_MAX);
    let cut = source.get(start..end).unwrap_or("");
    let (before, behind) = (if start > 0 { "…" } else { "" }, if end < source.len() { "…" } else { "" });
    format!("{before}{cut}{behind}")
}

fn message(wrong: Wrong) -> String {
    match wrong {
        Wrong::Operands(operator, left, right) => {
            let (symbol, mend) = (operator.symbol(), mend(operator, left, right));
            format!("`{symbol}` does not take {left} and {right}{mend}")
        }
        Wrong::Operand(symbol, found) => format!("`{symbol}` does not take {found}"),
        Wrong::Argument(function, found) => format!("`{}` does not take {found}", function.name()),
        Wrong::Range(kind, found) => {
            format!("`{}` goes over a list or an object, and this is {found}", kind.name())
        }
        Wrong::Condition(found) => format!("a condition is a bool, and this is {found}"),
        Wrong::Key(found) => format!("the name of a field is a string, and this is {found}"),
        Wrong::Index(found) => format!("the place in a list is an int, and this is {found}"),
        Wrong::SameKey => "the object has this field already".to_owned(),
        Wrong::Trouble(Trouble::Overflow) => "the result has more than 64 bits".to_owned(),
        Wrong::Trouble(Trouble::DivisionByZero) => "division by zero".to_owned(),
        Wrong::Trouble(Trouble::NotWhole) => "`%` takes whole numbers: write int(x) % y".to_owned(),
        Wrong::TooManyDigits => {
            "a number has too many digits to be counted with: it can only be passed on".to_owned()
        }
        Wrong::NotWhole => "the text is no whole number of 64 bits".to_owned(),
        Wrong::NotNumber => "the text is no number".to_owned(),
        Wrong::NotFinite => "the result is infinite or no number, which JSON cannot say".to_owned(),
    }
}

/// What is probably meant instead.
pub(super) fn mend(operator: Operator, left: &str, right: &str) -> &'static str {
    match (operator, left, right) {
        (Operator::Add, "string", _) | (Operator::Add, _, "string") => {
            ": write string(x) to put it into a text"
        }
        (Operator::In, "string", "string") => ": write text.contains(part)",
        _ => "",
    }
}
