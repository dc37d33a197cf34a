//! The values that evaluation works with. What comes from a payload is looked at in place and never copied; what an
//! expression makes is shared. Whatever walks through a value pays for each part of it, since a value that shares
//! its parts may be far larger than the memory it takes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Given;

use super::number::Number;

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A number of a payload: as long as nobody counts with it, it keeps its digits.
    Number(&'v serde_json::Number),
    Text(Text<'v>),
    List(List<'v>),
    Map(Map<'v>),
}

/// A text of a payload or of the source, or one that was made.
#[derive(Debug, Clone)]
pub(super) enum Text<'v> {
    Given(&'v str),
    Made(Rc<str>),
}

/// A list of a payload, or one that was made.
#[derive(Debug, Clone)]
pub(super) enum List<'v> {
    Given(&'v [Given]),
    Made(Rc<Vec<Value<'v>>>),
}

/// An object of a payload, or one that was made.
#[derive(Debug, Clone)]
pub(super) enum Map<'v> {
    Given(&'v serde_json::Map<String, Given>),
    Made(Rc<BTreeMap<String, Value<'v>>>),
}

/// What an evaluation may still do.
#[derive(Debug)]
pub(crate) struct Fuel(usize);

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent;

/// A number of a payload has too many digits to be counted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyDigits;

/// How many bytes of text can be built or compared for one unit.
const BYTES_PER_UNIT: usize = 16;

impl Fuel {
    pub(crate) fn new(units: usize) -> Self {
        Self(units)
    }

    pub(super) fn spend(&mut self, units: usize) -> Result<(), Spent> {
        self.0 = self.0.checked_sub(units).ok_or(Spent)?;
        Ok(())
    }

    pub(super) fn spend_bytes(&mut self, bytes: usize) -> Result<(), Spent> {
        self.spend(bytes / BYTES_PER_UNIT)
    }
}

/// Why two values have no order, or cannot be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incomparable {
    /// The budget is used up.
    Spent,
    /// A number of a payload has too many digits to be counted with.
    TooManyDigits,
}

impl From<Spent> for Incomparable {
    fn from(Spent: Spent) -> Self {
        Self::Spent
    }
}

impl From<TooManyDigits> for Incomparable {
    fn from(TooManyDigits: TooManyDigits) -> Self {
        Self::TooManyDigits
    }
}

impl<'v> Value<'v> {
    pub(super) fn given(value: &'v Given) -> Self {
        match value {
            Given::Null => Self::Null,
            Given::Bool(value) => Self::Bool(*value),
            Given::Number(number) => Self::Number(number),
            Given::String(text) => Self::Text(Text::Given(text)),
            Given::Array(items) => Self::List(List::Given(items)),
            Given::Object(fields) => Self::Map(Map::Given(fields)),
        }
    }

    pub(super) fn text(text: String) -> Self {
        Self::Text(Text::Made(Rc::from(text)))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(List::Made(Rc::new(items)))
    }

    pub(super) fn of_number(number: Number) -> Self {
        match number {
            Number::Int(value) => Self::Int(value),
            Number::Double(value) => Self::Double(value),
        }
    }

    /// The number that it is, if it is one.
    pub(super) fn number(&self) -> Result<Option<Number>, TooManyDigits> {
        match self {
            Self::Int(value) => Ok(Some(Number::Int(*value))),
            Self::Double(value) => Ok(Some(Number::Double(*value))),
            Self::Number(number) => Number::of_json(number).map(Some).ok_or(TooManyDigits),
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => Ok(None),
        }
    }

    /// How long the text is that must be read to count with it.
    pub(super) fn digits(&self) -> usize {
        if let Self::Number(number) = self { number.as_str().len() } else { 0 }
    }

    /// The word for its type in messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Double(_) => "double",
            Self::Number(number) => match Number::of_json(number) {
                Some(Number::Int(_)) => "int",
                Some(Number::Double(_)) => "double",
                None => "number",
            },
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "object",
        }
    }

    /// Whether they are equal: numbers by value, lists and objects part by part. Different types are unequal.
    pub(super) fn equals(&self, other: &Self, fuel: &mut Fuel) -> Result<bool, Incomparable> {
        fuel.spend(1)?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Text(left), Self::Text(right)) => {
                let (left, right) = (left.as_str(), right.as_str());
                fuel.spend_bytes(left.len().min(right.len()))?;
                left == right
            }
            (Self::List(left), Self::List(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for at in 0..left.len() {
                    if let (Some(left), Some(right)) = (left.get(at), right.get(at))
                        && !left.equals(&right, fuel)?
                    {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(left), Self::Map(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for key in left.keys() {
                    fuel.spend_bytes(key.len())?;
                    match (left.get(key), right.get(key)) {
                        (Some(left), Some(right)) if left.equals(&right, fuel)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (left, right) => {
                fuel.spend_bytes(left.digits() + right.digits())?;
                match (left.number(), right.number()) {
                    (Ok(None), _) | (_, Ok(None)) => false,
                    (left, right) => {
                        let (left, right) = (left?, right?);
                        left.zip(right).and_then(|(l, r)| l.compare(r)) == Some(Ordering::Equal)
                    }
                }
            }
        })
    }
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Given(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl<'v> List<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Given(items) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<Value<'v>> {
        match self {
            Self::Given(items) => items.get(at).map(Value::given),
            Self::Made(items) => items.get(at).cloned(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value<'v>> {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

impl<'v> Map<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Given(fields) => fields.len(),
            Self::Made(fields) => fields.len(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'v>> {
        match self {
            Self::Given(fields) => fields.get(key).map(Value::given),
            Self::Made(fields) => fields.get(key).cloned(),
        }
    }

    fn keys(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Given(fields) => Box::new(fields.keys().map(String::as_str)),
            Self::Made(fields) => Box::new(fields.keys().map(String::as_str)),
        }
    }

    /// The keys in the order of their characters, whatever order the payload's parser keeps.
    pub(super) fn sorted_keys(&self) -> Vec<Value<'v>> {
        match self {
            Self::Given(fields) => {
                let mut keys: Vec<&'v str> = fields.keys().map(String::as_str).collect();
                keys.sort_unstable();
                keys.into_iter().map(|key| Value::Text(Text::Given(key))).collect()
            }
            Self::Made(fields) => fields.keys().map(|key| Value::text(key.clone())).collect(),
        }
    }
}
