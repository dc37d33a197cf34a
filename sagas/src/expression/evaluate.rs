//! The value of an expression for a saga. It recurses over the tree, whose height is limited, and pays for each part it
//! visits, so that it ends. A failure is small and made of places and types: only the one that comes out becomes text.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::function::{Function, Macro};
use super::names::{Payloads, Unresolved};
use super::number::Number;
use super::sink::{Sink, Unwritable};
use super::syntax::{Fact, Kind, Node, Operator};
use super::value::{Fuel, List, Map, Text, TooManyDigits, Value};
use super::{Expression, Span};
use failure::{Failure, Wrong, forgive, unresolved};
use operators::{Operation, arithmetic};

mod failure;
mod functions;
mod operators;

pub(super) use failure::mend;

type Outcome<'v> = Result<Value<'v>, Failure>;

/// The evaluation of expressions over the payloads of one saga, with one budget for all of them.
pub(crate) struct Evaluation<'v, 'f> {
    payloads: &'v Payloads<'v>,
    fuel: &'f mut Fuel,
    /// The variables of the macros around, the outermost first.
    locals: Vec<Value<'v>>,
    /// Which outputs that are not there may still come; with that an item may, too.
    to_come: Option<ToCome<'f>>,
}

/// Whether the output of the step of that name may still come.
pub(crate) type ToCome<'f> = &'f dyn Fn(&str) -> bool;

impl<'v, 'f> Evaluation<'v, 'f> {
    /// Over payloads that have what the expressions refer to.
    pub(crate) fn new(payloads: &'v Payloads<'v>, fuel: &'f mut Fuel) -> Self {
        Self { payloads, fuel, locals: Vec::new(), to_come: None }
    }

    /// The same before everything is known.
    pub(crate) fn early(payloads: &'v Payloads<'v>, fuel: &'f mut Fuel, to_come: ToCome<'f>) -> Self {
        Self { payloads, fuel, locals: Vec::new(), to_come: Some(to_come) }
    }

    /// Writes the value as JSON.
    pub(crate) fn write(&mut self, expression: &'v Expression, sink: &mut Sink) -> Result<(), Unresolved> {
        let value = self.value(expression.root()).map_err(|failure| unresolved(expression, failure))?;
        put(expression, &value, sink)
    }

    /// The same as far as it is known: something of the least size stands for what is not.
    pub(crate) fn write_known(
        &mut self,
        expression: &'v Expression,
        sink: &mut Sink,
    ) -> Result<(), Unresolved> {
        match self.value(expression.root()) {
            Ok(value) => put(expression, &value, sink),
            // What is still to come may also save the cost of looking further.
            Err(Failure::NotYet | Failure::Spent) => sink.unknown(),
            Err(failure) => Err(unresolved(expression, failure)),
        }
    }

    /// The value, which must be a bool.
    pub(crate) fn truth(&mut self, expression: &'v Expression) -> Result<bool, Unresolved> {
        let root = expression.root();
        self.condition(root).map_err(|failure| unresolved(expression, failure))
    }

    /// The same, if it is known already.
    pub(crate) fn truth_known(&mut self, expression: &'v Expression) -> Result<Option<bool>, Unresolved> {
        match self.condition(expression.root()) {
            Ok(value) => Ok(Some(value)),
            Err(Failure::NotYet | Failure::Spent) => Ok(None),
            Err(failure) => Err(unresolved(expression, failure)),
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
                None if self.may_come(step) => Err(Failure::NotYet),
                None => Err(Failure::Missing(node.span)),
            },
            Kind::HasOutput(step) => match self.payloads.output(step) {
                None if self.may_come(step) => Err(Failure::NotYet),
                output => Ok(Value::Bool(output.is_some())),
            },
            Kind::Fact(fact) => Ok(self.fact(*fact)),
            Kind::Free(name) => self.free(name, node.span),
            Kind::Local(level) => self.locals.get(*level).cloned().ok_or(Failure::Missing(node.span)),
            Kind::Select { of, field } => {
                self.field(of, field, node.span)?.ok_or(Failure::Missing(node.span))
            }
            Kind::Has { of, field } => {
                self.field(of, field, of.span).map(|field| Value::Bool(field.is_some()))
            }
            Kind::Index { of, at } => self.index(node, of, at),
            Kind::Not(operand) => self.not(node, operand),
            Kind::Negative(operand) => self.negative(node, operand),
            Kind::Or(operands) => self.first_that_is(true, operands),
            Kind::And(operands) => self.first_that_is(false, operands),
            Kind::Binary { operator, at, left, right } => self.binary(*operator, *at, left, right),
            Kind::Conditional { condition, then, otherwise } => {
                let branch = if self.condition(condition)? { then } else { otherwise };
                self.value(branch)
            }
            Kind::List(items) => self.values(items.iter()).map(Value::list),
            Kind::Map(entries) => self.map(entries),
            Kind::Call { function, arguments } => self.function(*function, node, arguments),
            Kind::Comprehension { kind, range, filter, body } => {
                self.comprehension(*kind, range, filter.as_deref(), body)
            }
        }
    }

    fn free(&self, name: &str, span: Span) -> Outcome<'v> {
        match (self.payloads.index(name), self.payloads.item(name)) {
            (Some(index), _) => Ok(Value::Int(i64::from(index))),
            (None, Some(item)) => Ok(Value::given(item)),
            (None, None) if self.to_come.is_some() && !self.payloads.has_item() => Err(Failure::NotYet),
            (None, None) => Err(Failure::Missing(span)),
        }
    }

    /// A field of an object, if it has it. What is no object is missing.
    fn field(&mut self, of: &'v Node, field: &str, missing: Span) -> Result<Option<Value<'v>>, Failure> {
        let Value::Map(map) = self.value(of)? else { return Err(Failure::Missing(missing)) };
        Ok(map.get(field))
    }

    fn not(&mut self, node: &Node, operand: &'v Node) -> Outcome<'v> {
        let value = self.value(operand)?;
        let Value::Bool(value) = value else {
            return Err(Failure::Wrong(node.span.start, Wrong::Operand("!", value.type_name())));
        };
        Ok(Value::Bool(!value))
    }

    fn negative(&mut self, node: &Node, operand: &'v Node) -> Outcome<'v> {
        let value = self.value(operand)?;
        let number = self.number(&value, operand.span.start)?;
        let unfit = || Failure::Wrong(node.span.start, Wrong::Operand("-", value.type_name()));
        arithmetic(node.span.start, number.ok_or_else(unfit)?.negative())
    }

    fn binary(&mut self, operator: Operator, at: usize, left: &'v Node, right: &'v Node) -> Outcome<'v> {
        let (left_value, right_value) = self.pair(left, right)?;
        let (left, right) = ((left.span.start, left_value), (right.span.start, right_value));
        self.operate(&Operation { operator, at, left, right })
    }

    fn function(&mut self, function: Function, node: &Node, arguments: &'v [Node]) -> Outcome<'v> {
        let values = self.values(arguments.iter())?;
        self.call(function, node.span.start, &values)
    }

    fn may_come(&self, step: &str) -> bool {
        self.to_come.is_some_and(|to_come| to_come(step))
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
        let value = self.value(node)?;
        let Value::Bool(value) = value else {
            return Err(Failure::Wrong(node.span.start, Wrong::Condition(value.type_name())));
        };
        Ok(value)
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
                let number = self.number(key, at.span.start)?;
                let unfit = || Failure::Wrong(at.span.start, Wrong::Index(key.type_name()));
                let whole = number.and_then(Number::whole).ok_or_else(unfit)?;
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

    /// The number that a value is, if it is one. `at` is where the value stands.
    fn number(&mut self, value: &Value<'v>, at: usize) -> Result<Option<Number>, Failure> {
        self.fuel.spend_bytes(value.digits())?;
        value.number().map_err(|TooManyDigits| Failure::Wrong(at, Wrong::TooManyDigits))
    }

    fn comprehension(
        &mut self,
        kind: Macro,
        range: &'v Node,
        filter: Option<&'v Node>,
        body: &'v Node,
    ) -> Outcome<'v> {
        let range_value = self.value(range)?;
        let items = if let Value::List(list) = range_value {
            list
        } else if let Value::Map(map) = range_value {
            self.fuel.spend(map.len())?;
            List::Made(Rc::new(map.sorted_keys()))
        } else {
            return Err(Failure::Wrong(range.span.start, Wrong::Range(kind, range_value.type_name())));
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

fn put(expression: &Expression, value: &Value<'_>, sink: &mut Sink) -> Result<(), Unresolved> {
    sink.value(value).map_err(|why| match why {
        Unwritable::NotFinite => {
            unresolved(expression, Failure::Wrong(expression.root().span.start, Wrong::NotFinite))
        }
        Unwritable::Full => sink.full(),
    })
}
