//! The types of operators with two operands.

use std::sync::Arc;

use super::Checker;
use crate::expression::evaluate::mend;
use crate::expression::syntax::Operator;
use crate::expression::types::Type;
use crate::told::Told;

impl Checker<'_> {
    pub(super) fn binary(&mut self, operator: Operator, at: usize, left: &Type, right: &Type) -> Type {
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
                    Type::Nothing
                    | Type::Null
                    | Type::Bool
                    | Type::Int
                    | Type::Double
                    | Type::Number
                    | Type::String => false,
                };
                (Type::Bool, fits)
            }
            Operator::Add => match (left, right) {
                (Type::String, Type::String | Type::Any) | (Type::Any, Type::String) => (Type::String, true),
                (Type::List(_), Type::List(_)) => {
                    (self.either(at, "this list", left.clone(), right.clone()), true)
                }
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
                    ("`/` drops the fraction where both numbers happen to be whole", "write double(x) / y");
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
                    self.error(at, ("`%` takes whole numbers", "write int(x) % y"));
                    return ty;
                }
                (Type::Int, fits)
            }
        };
        if !fits {
            let (left, right) = (left.to_string(), right.to_string());
            let mend = mend(operator, &left, &right);
            let message = format!("`{}` does not take {left} and {right}", operator.symbol());
            self.error(at, Told { message, mend: mend.map(str::to_owned) });
        }
        result
    }
}

/// The result of arithmetic, and whether its operands are numbers.
fn numeric(left: &Type, right: &Type) -> (Type, bool) {
    let fits = |ty: &Type| ty.is_number() || *ty == Type::Any;
    let result = match (left, right) {
        (Type::Int, Type::Int) => Type::Int,
        (Type::Double, _) | (_, Type::Double) => Type::Double,
        (Type::Any, _) | (_, Type::Any) => Type::Any,
        _ => Type::Number,
    };
    (result, fits(left) && fits(right))
}
