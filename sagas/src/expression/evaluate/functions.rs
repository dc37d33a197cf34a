//! The functions.

use super::failure::{Failure, Wrong};
use super::{Evaluation, Outcome};
use crate::expression::function::Function;
use crate::expression::number::{Number, Trouble};
use crate::expression::value::Value;

impl<'v> Evaluation<'v, '_> {
    /// The value of a function. `at` is where it stands; the receiver of a method is the first argument.
    pub(super) fn call(&mut self, function: Function, at: usize, arguments: &[Value<'v>]) -> Outcome<'v> {
        let value = match (function, arguments) {
            (Function::Size, [value]) => self.size(value)?,
            (Function::Contains, [text, part]) => {
                self.search(text, part, |text, part| text.contains(part))?
            }
            (Function::StartsWith, [text, part]) => {
                self.search(text, part, |text, part| text.starts_with(part))?
            }
            (Function::EndsWith, [text, part]) => {
                self.search(text, part, |text, part| text.ends_with(part))?
            }
            (Function::Int, [value]) => self.int(at, value)?,
            (Function::Double, [value]) => self.double(at, value)?,
            (Function::String, [value]) => self.string(at, value)?,
            // The parser counts the arguments.
            _ => None,
        };
        value.ok_or_else(|| {
            let takes_texts =
                matches!(function, Function::Contains | Function::StartsWith | Function::EndsWith);
            let is_text = |value: &&Value<'v>| takes_texts && matches!(value, Value::Text(_));
            let unfit = arguments.iter().find(|value| !is_text(value));
            Failure::Wrong(at, Wrong::Argument(function, unfit.map_or("nothing", Value::type_name)))
        })
    }

    fn size(&mut self, value: &Value<'v>) -> Result<Option<Value<'v>>, Failure> {
        let size = if let Value::Text(text) = value {
            self.fuel.spend_bytes(text.as_str().len())?;
            text.as_str().chars().count()
        } else if let Value::List(list) = value {
            list.len()
        } else if let Value::Map(map) = value {
            map.len()
        } else {
            return Ok(None);
        };
        Ok(Some(Value::Int(i64::try_from(size).unwrap_or(i64::MAX))))
    }

    fn search(
        &mut self,
        text: &Value<'v>,
        part: &Value<'v>,
        found: impl Fn(&str, &str) -> bool,
    ) -> Result<Option<Value<'v>>, Failure> {
        let (Value::Text(text), Value::Text(part)) = (text, part) else { return Ok(None) };
        self.fuel.spend_bytes(text.as_str().len() + part.as_str().len())?;
        Ok(Some(Value::Bool(found(text.as_str(), part.as_str()))))
    }

    fn int(&mut self, at: usize, value: &Value<'v>) -> Result<Option<Value<'v>>, Failure> {
        if let Value::Text(text) = value {
            self.fuel.spend_bytes(text.as_str().len())?;
            let digits = Some(text.as_str()).filter(|text| !text.starts_with('+'));
            let whole = digits.and_then(|text| text.parse().ok());
            return whole.map(|whole| Some(Value::Int(whole))).ok_or(Failure::Wrong(at, Wrong::NotWhole));
        }
        let Some(number) = self.number(value, at)? else { return Ok(None) };
        let whole = number.int().ok_or(Failure::Wrong(at, Wrong::Trouble(Trouble::Overflow)))?;
        Ok(Some(Value::Int(whole)))
    }

    fn double(&mut self, at: usize, value: &Value<'v>) -> Result<Option<Value<'v>>, Failure> {
        if let Value::Text(text) = value {
            self.fuel.spend_bytes(text.as_str().len())?;
            let double = text.as_str().parse().ok().filter(|double: &f64| double.is_finite());
            return double
                .map(|double| Some(Value::Double(double)))
                .ok_or(Failure::Wrong(at, Wrong::NotNumber));
        }
        Ok(self.number(value, at)?.map(|number| Value::Double(number.double())))
    }

    fn string(&mut self, at: usize, value: &Value<'v>) -> Result<Option<Value<'v>>, Failure> {
        if let Value::Text(_) = value {
            return Ok(Some(value.clone()));
        }
        if let Value::Bool(value) = value {
            return Ok(Some(Value::text(value.to_string())));
        }
        match self.number(value, at)? {
            None => Ok(None),
            Some(Number::Int(value)) => Ok(Some(Value::text(value.to_string()))),
            Some(Number::Double(value)) if value.is_finite() => Ok(Some(Value::text(shortest(value)))),
            Some(Number::Double(_)) => Err(Failure::Wrong(at, Wrong::NotFinite)),
        }
    }
}

/// The shortest text that reads back as the same number, with an exponent where it would be long.
fn shortest(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-7..1e21).contains(&size) { format!("{value}") } else { format!("{value:e}") }
}
