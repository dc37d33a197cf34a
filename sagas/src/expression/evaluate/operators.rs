//! The operators with two operands.

use std::cmp::Ordering;

use super::failure::{Failure, Wrong};
use super::{Evaluation, Outcome};
use crate::expression::number::{Number, Trouble};
use crate::expression::syntax::Operator;
use crate::expression::value::{Incomparable, Value};

/// An operator with the values of its operands, and where each stands.
pub(super) struct Operation<'v> {
    pub(super) operator: Operator,
    pub(super) at: usize,
    pub(super) left: (usize, Value<'v>),
    pub(super) right: (usize, Value<'v>),
}

impl Operation<'_> {
    fn unfit(&self) -> Failure {
        Failure::Wrong(
            self.at,
            Wrong::Operands(self.operator, self.left.1.type_name(), self.right.1.type_name()),
        )
    }
}

impl<'v> Evaluation<'v, '_> {
    pub(super) fn operate(&mut self, operation: &Operation<'v>) -> Outcome<'v> {
        match operation.operator {
            Operator::Equal => self.equal(operation).map(Value::Bool),
            Operator::Unequal => self.equal(operation).map(|equal| Value::Bool(!equal)),
            Operator::In => self.within(operation).map(Value::Bool),
            Operator::Less => self.ordered(operation, Ordering::is_lt),
            Operator::LessOrEqual => self.ordered(operation, Ordering::is_le),
            Operator::Greater => self.ordered(operation, Ordering::is_gt),
            Operator::GreaterOrEqual => self.ordered(operation, Ordering::is_ge),
            Operator::Add => self.add(operation),
            Operator::Subtract => self.calculate(operation, Number::subtract),
            Operator::Multiply => self.calculate(operation, Number::multiply),
            Operator::Divide => self.calculate(operation, Number::divide),
            Operator::Remainder => self.calculate(operation, Number::remainder),
        }
    }

    fn equal(&mut self, operation: &Operation<'v>) -> Result<bool, Failure> {
        self.same(operation.at, &operation.left.1, &operation.right.1)
    }

    fn same(&mut self, at: usize, left: &Value<'v>, right: &Value<'v>) -> Result<bool, Failure> {
        left.equals(right, self.fuel).map_err(|why| match why {
            Incomparable::Spent => Failure::Spent,
            Incomparable::TooManyDigits => Failure::Wrong(at, Wrong::TooManyDigits),
        })
    }

    fn within(&mut self, operation: &Operation<'v>) -> Result<bool, Failure> {
        match (&operation.left.1, &operation.right.1) {
            (left, Value::List(list)) => {
                for item in list.iter() {
                    if self.same(operation.at, left, &item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Value::Text(key), Value::Map(map)) => {
                self.fuel.spend_bytes(key.as_str().len())?;
                Ok(map.get(key.as_str()).is_some())
            }
            _ => Err(operation.unfit()),
        }
    }

    /// Whether the operands are in that order. What is no number has none.
    fn ordered(&mut self, operation: &Operation<'v>, is: impl Fn(Ordering) -> bool) -> Outcome<'v> {
        let order = match (&operation.left.1, &operation.right.1) {
            (Value::Text(left), Value::Text(right)) => {
                let (left, right) = (left.as_str(), right.as_str());
                self.fuel.spend_bytes(left.len().min(right.len()))?;
                left.cmp(right)
            }
            (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
            _ => {
                let (left, right) = self.numbers(operation)?;
                left.compare(right).ok_or(Failure::Wrong(operation.at, Wrong::NotANumber))?
            }
        };
        Ok(Value::Bool(is(order)))
    }

    fn add(&mut self, operation: &Operation<'v>) -> Outcome<'v> {
        match (&operation.left.1, &operation.right.1) {
            (Value::Text(left), Value::Text(right)) => {
                let (left, right) = (left.as_str(), right.as_str());
                self.fuel.spend_bytes(left.len() + right.len())?;
                Ok(Value::text([left, right].concat()))
            }
            (Value::List(left), Value::List(right)) => {
                self.fuel.spend(left.len() + right.len())?;
                Ok(Value::list(left.iter().chain(right.iter()).collect()))
            }
            _ => self.calculate(operation, Number::add),
        }
    }

    fn calculate(
        &mut self,
        operation: &Operation<'v>,
        by: impl Fn(Number, Number) -> Result<Number, Trouble>,
    ) -> Outcome<'v> {
        let (left, right) = self.numbers(operation)?;
        arithmetic(operation.at, by(left, right))
    }

    fn numbers(&mut self, operation: &Operation<'v>) -> Result<(Number, Number), Failure> {
        let left = self.number(&operation.left.1, operation.left.0)?;
        let right = self.number(&operation.right.1, operation.right.0)?;
        left.zip(right).ok_or_else(|| operation.unfit())
    }
}

pub(super) fn arithmetic<'v>(at: usize, result: Result<Number, Trouble>) -> Outcome<'v> {
    result.map(Value::of_number).map_err(|trouble| Failure::Wrong(at, Wrong::Trouble(trouble)))
}
