//! Why a part of an expression has no value. It is small and made of places and types: only the failure that comes out
//! of an evaluation becomes text, and none has a value of a payload in it.

use crate::expression::function::{Function, Macro};
use crate::expression::names::{Missing, Unresolved};
use crate::expression::number::Trouble;
use crate::expression::syntax::Operator;
use crate::expression::value::Spent;
use crate::expression::{COST_MAX, Expression, Span};
use crate::told::Told;

/// Why a part has no value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Failure {
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
pub(super) enum Wrong {
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
    NotANumber,
}

impl From<Spent> for Failure {
    fn from(Spent: Spent) -> Self {
        Self::Spent
    }
}

/// Keeps a failure for the case that nothing else decides. What is still to come may decide.
pub(super) fn forgive(failed: &mut Option<Failure>, failure: Failure) -> Result<(), Failure> {
    match (failure, &failed) {
        (Failure::Spent, _) => return Err(failure),
        (Failure::NotYet, _) | (Failure::Missing(_) | Failure::Wrong(..), None) => *failed = Some(failure),
        (Failure::Missing(_) | Failure::Wrong(..), Some(_)) => {}
    }
    Ok(())
}

/// How much of an expression a message shows, in bytes.
const SHOWN_MAX: usize = 200;

pub(super) fn unresolved(expression: &Expression, failure: Failure) -> Unresolved {
    let source = expression.source();
    match failure {
        Failure::Missing(span) => {
            let path = source.get(span.start..span.end).unwrap_or(source);
            let within = (path != source).then(|| around(source, span.start));
            // Its end is what is missing.
            Unresolved::Missing(Missing { path: around(path, path.len()), within })
        }
        Failure::Wrong(offset, wrong) => {
            Unresolved::Failed { expression: around(source, offset), offset, message: message(wrong) }
        }
        Failure::Spent => Unresolved::TooCostly { expression: around(source, 0), budget: COST_MAX },
        // Only who looks early waits, and asks before.
        Failure::NotYet => Unresolved::Failed {
            expression: around(source, 0),
            offset: 0,
            message: "it refers to what is still to come".to_owned(),
        },
    }
}

/// A source, or what stands around the place.
fn around(source: &str, place: usize) -> String {
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
            let message = format!("`{}` does not take {left} and {right}", operator.symbol());
            Told { message, mend: mend(operator, left, right).map(str::to_owned) }.to_string()
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
        Wrong::NotANumber => "what is no number, such as 0.0 / 0.0, has no order".to_owned(),
        Wrong::NotFinite => "the result is infinite or no number, which JSON cannot say".to_owned(),
    }
}

/// What is probably meant instead.
pub(in crate::expression) fn mend(operator: Operator, left: &str, right: &str) -> Option<&'static str> {
    match (operator, left, right) {
        (Operator::Add, "string", _) | (Operator::Add, _, "string") => {
            Some("write string(x) to put it into a text")
        }
        (Operator::In, "string", "string") => Some("write text.contains(part)"),
        _ => None,
    }
}
