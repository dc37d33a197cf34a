//! Input templates: JSON in which a text of the form `${{ expression }}` is replaced by the expression's value
//! ([`crate::expression`]). A plain path, such as `input.a.b`, `steps.pay.output.id` or `row.x`, is picked from the
//! payload as it is, without evaluation. It may say what CEL does not: items of a list as `lines.0`, and fields with
//! hyphens or with letters of any alphabet.

use serde_json::Value;

use crate::expression::{
    BadExpression, COST_MAX, Checked, Evaluation, Expression, Fuel, Names, Payloads, Scope, Sink, Unresolved,
};
use crate::json::{Json, pointer_part};
use crate::told::Told;

mod path;
#[cfg(test)]
mod tests;

pub use path::Path;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// Taken as it is.
    Literal(Value),
    /// Replaced by what the path names.
    Path(Path),
    /// Replaced by the value of the expression.
    Expression(Placed),
    /// A list of templates.
    List(Vec<Template>),
    /// An object of templates.
    Object(Vec<(String, Template)>),
}

/// An expression, and where it begins in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    expression: Expression,
    offset: usize,
}

/// A template that does not parse: the place below the template, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTemplate {
    /// A JSON pointer below the template.
    pub pointer: String,
    /// The place in the text there, in bytes; 0 for what is no text.
    pub offset: usize,
    /// What is wrong, and the mend.
    pub told: Told,
}

const DEPTH_MAX: usize = 32;
/// The most values of one template. Each may name a whole payload.
pub const VALUES_MAX: usize = 1000;

impl Template {
    /// Whether it has more values than a template may have. Then it is not looked into.
    pub fn is_too_large(value: &Value) -> bool {
        count(value) > VALUES_MAX
    }

    /// Parses a template.
    pub fn parse(value: &Value) -> Result<Self, BadTemplate> {
        let values = count(value);
        if values > VALUES_MAX {
            let told = (format!("{values} values"), format!("a template has at most {VALUES_MAX}")).into();
            return Err(BadTemplate { pointer: String::new(), offset: 0, told });
        }
        Self::parse_at(value, "", DEPTH_MAX)
    }

    fn parse_at(value: &Value, pointer: &str, depth: usize) -> Result<Self, BadTemplate> {
        let bad = |BadExpression { offset, told }| BadTemplate { pointer: pointer.to_owned(), offset, told };
        let below = depth
            .checked_sub(1)
            .ok_or_else(|| bad(BadExpression::new(0, format!("nests deeper than {DEPTH_MAX} levels"))))?;
        match value {
            Value::String(text) => match Self::in_text(text).map_err(bad)? {
                Some(template) => Ok(template),
                None => Ok(Self::Literal(value.clone())),
            },
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(i, item)| Self::parse_at(item, &format!("{pointer}/{i}"), below))
                .collect::<Result<_, _>>()
                .map(Self::List),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, item)| {
                    Ok((
                        key.clone(),
                        Self::parse_at(item, &format!("{pointer}/{}", pointer_part(key)), below)?,
                    ))
                })
                .collect::<Result<_, _>>()
                .map(Self::Object),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Self::Literal(value.clone())),
        }
    }

    /// The expression that a text is, if it is one.
    fn in_text(text: &str) -> Result<Option<Self>, BadExpression> {
        let shown = || text.chars().take(SHOWN_MAX).collect::<String>();
        let alone = |offset: usize| {
            let message = format!("in `{}`, the expression does not stand alone in its text", shown());
            let mend = "to put a value into a text write `${{ \"…\" + string(x) }}`";
            BadExpression::new(offset, (message, mend))
        };
        let Some(rest) = text.trim().strip_prefix("${{") else {
            return text.find("${{").map_or(Ok(None), |offset| Err(alone(offset)));
        };
        let inner = rest.strip_suffix("}}").ok_or_else(|| {
            let message = format!("`{}` opens with `${{{{` but does not end with `}}}}`", shown());
            BadExpression::new(0, message)
        })?;
        let white = |text: &str| text.len() - text.trim_start().len();
        let offset = white(text) + "${{".len() + white(inner);
        let source = inner.trim();
        if let Some(path) = Path::parse(source, offset) {
            return Ok(Some(Self::Path(path)));
        }
        let expression = Expression::parse(source).map_err(|bad| {
            if source.contains("${{") {
                alone(0)
            } else {
                BadExpression { offset: offset + bad.offset, ..bad }
            }
        })?;
        Ok(Some(Self::Expression(Placed { expression, offset })))
    }

    /// The steps whose outputs it refers to.
    pub fn steps_referred_to(&self) -> Vec<&str> {
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Path(path) => path.step().into_iter().collect(),
            Self::Expression(placed) => placed.expression.steps_referred_to(),
            Self::List(items) => items.iter().flat_map(Self::steps_referred_to).collect(),
            Self::Object(fields) => fields.iter().flat_map(|(_, item)| item.steps_referred_to()).collect(),
        }
    }

    /// What is wrong with its expressions, by names and types: each with a JSON pointer below the template, and its place
    /// in the text there. The first hundred.
    pub fn check(&self, scope: &Scope) -> Vec<(String, BadExpression)> {
        let mut errors = Vec::new();
        self.each_checked("", scope, &mut |pointer, checked| {
            errors.extend(checked.err().into_iter().flatten().map(|bad| (pointer.to_owned(), bad)));
            errors.truncate(REPORTED_MAX);
            errors.len() < REPORTED_MAX
        });
        errors
    }

    /// What may fail for some sagas, in the same form: the first hundred. Expressions with errors have none.
    pub fn warnings(&self, scope: &Scope) -> Vec<(String, BadExpression)> {
        let mut warnings = Vec::new();
        self.each_checked("", scope, &mut |pointer, checked| {
            let found = checked.map(|checked| checked.warnings).unwrap_or_default();
            warnings.extend(found.into_iter().map(|bad| (pointer.to_owned(), bad)));
            warnings.truncate(REPORTED_MAX);
            warnings.len() < REPORTED_MAX
        });
        warnings
    }

    /// Answers whether the report may have more.
    fn each_checked(&self, pointer: &str, scope: &Scope, report: &mut Report<'_>) -> bool {
        let (checked, offset) = match self {
            Self::Literal(_) => return true,
            Self::Path(path) => (path.check(scope), path.offset),
            Self::Expression(placed) => (placed.expression.check(scope), placed.offset),
            Self::List(items) => {
                let mut items = items.iter().enumerate();
                return items.all(|(at, item)| item.each_checked(&format!("{pointer}/{at}"), scope, report));
            }
            Self::Object(fields) => {
                let at = |key: &str| format!("{pointer}/{}", pointer_part(key));
                return fields.iter().all(|(key, item)| item.each_checked(&at(key), scope, report));
            }
        };
        let shift = |all: Vec<BadExpression>| -> Vec<BadExpression> {
            all.into_iter().map(|bad| BadExpression { offset: bad.offset + offset, ..bad }).collect()
        };
        let checked = checked.map_err(shift);
        report(pointer, checked.map(|checked| Checked { warnings: shift(checked.warnings), ..checked }))
    }

    /// Fills the template in, up to `bytes_max` and no deeper than a payload may nest. Its expressions have one budget
    /// together.
    pub fn resolve(&self, names: &Names<'_>, bytes_max: usize) -> Result<Json, Unresolved> {
        let mut filling =
            Filling { payloads: Payloads::new(names), fuel: Fuel::new(COST_MAX), sink: Sink::new(bytes_max) };
        filling.fill(self)?;
        filling.sink.finish()
    }

    /// The first reason why it can certainly not be filled in: a path that names nothing in the input or in an output
    /// that is there already, an expression that fails. Outputs and items that are still to come may be anything.
    pub fn missing(&self, names: &Names<'_>) -> Option<Unresolved> {
        self.missing_in(&mut Payloads::new(names), &mut Fuel::new(COST_MAX))
    }

    fn missing_in(&self, payloads: &mut Payloads<'_>, fuel: &mut Fuel) -> Option<Unresolved> {
        match self {
            Self::Literal(_) => None,
            Self::Path(path) => path.pick(path.payload(payloads)?).err().map(Unresolved::Missing),
            Self::Expression(Placed { expression, .. }) => {
                payloads.load(expression.references());
                Evaluation::new(payloads, fuel).fails_for_certain(expression)
            }
            Self::List(items) => items.iter().find_map(|item| item.missing_in(payloads, fuel)),
            Self::Object(fields) => fields.iter().find_map(|(_, item)| item.missing_in(payloads, fuel)),
        }
    }
}

/// Takes what the check of an expression found out, with its JSON pointer. Answers whether there may be more.
type Report<'r> = dyn FnMut(&str, Result<Checked, Vec<BadExpression>>) -> bool + 'r;
/// The most errors, and the most warnings, that are reported of one template.
const REPORTED_MAX: usize = 100;

/// How much of a text a message shows, in characters.
const SHOWN_MAX: usize = 200;

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>() + 1,
        Value::Object(fields) => fields.values().map(count).sum::<usize>() + 1,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// A template being filled in.
struct Filling<'a> {
    payloads: Payloads<'a>,
    fuel: Fuel,
    sink: Sink,
}

impl Filling<'_> {
    fn fill(&mut self, template: &Template) -> Result<(), Unresolved> {
        match template {
            Template::Literal(value) => self.sink.given(value),
            Template::Path(path) => {
                let payload = path.payload(&mut self.payloads).ok_or_else(|| path.missing())?;
                self.sink.given(path.pick(payload)?)
            }
            Template::Expression(Placed { expression, .. }) => {
                self.payloads.load(expression.references());
                Evaluation::new(&self.payloads, &mut self.fuel).write(expression, &mut self.sink)
            }
            Template::List(items) => {
                self.sink.raw("[")?;
                for (place, item) in items.iter().enumerate() {
                    self.sink.raw(if place == 0 { "" } else { "," })?;
                    self.fill(item)?;
                }
                self.sink.raw("]")
            }
            Template::Object(fields) => {
                self.sink.raw("{")?;
                for (place, (key, item)) in fields.iter().enumerate() {
                    self.sink.raw(if place == 0 { "" } else { "," })?;
                    self.sink.text(key)?;
                    self.sink.raw(":")?;
                    self.fill(item)?;
                }
                self.sink.raw("}")
            }
        }
    }
}
