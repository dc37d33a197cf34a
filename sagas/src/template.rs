//! Input templates: JSON in which a text of the form `${{ expression }}` is replaced by the expression's value
//! ([`crate::expression`]). A plain path, such as `input.a.b`, `steps.pay.output.id` or `row.x`, is picked from the
//! payload as it is, without evaluation. It may say what CEL does not: items of a list as `lines.0`, and fields with
//! hyphens or with letters of any alphabet.

use serde_json::Value;

use crate::expression::{
    BadExpression, COST_MAX, Checked, Each, Evaluation, Expression, Fuel, Names, Payloads, Scope, Sink,
    ToCome, Unresolved,
};
use crate::json::{Json, pointer_part};
use crate::told::Told;
use crate::wire::limit;

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
        let (payloads, fuel) = (Payloads::new(names), Fuel::new(COST_MAX));
        let mut filling = Filling { payloads, fuel, sink: Sink::new(bytes_max), to_come: None };
        filling.fill(self)?;
        filling.sink.finish()
    }

    /// The first reason why it can certainly not be filled in, by what is known already: a path that names nothing, an
    /// expression that fails, more bytes than a payload may have. `to_come` says of which steps there may still be an
    /// output, which may be anything. So may an item be where none is in hand.
    pub fn missing(&self, names: &Names<'_>, to_come: &dyn Fn(&str) -> bool) -> Option<Unresolved> {
        let (payloads, fuel) = (Payloads::new(names), Fuel::new(COST_MAX));
        let sink = Sink::new(limit::PAYLOAD_BYTES_MAX);
        let mut filling = Filling { payloads, fuel, sink, to_come: Some(to_come) };
        let filled = filling.fill(self);
        filled.and_then(|()| filling.sink.finish()).err()
    }

    /// The same for each item of a list, with the place of the item. Where all of them together take more evaluation
    /// than a whole list may take here, the rest of it is not known.
    pub fn missing_of_items(
        &self,
        names: &Names<'_>,
        to_come: &dyn Fn(&str) -> bool,
        name: &str,
        items: &[Json],
    ) -> Option<(usize, Unresolved)> {
        let (payloads, fuel) = (Payloads::new(names), Fuel::new(ITEMS_COST_MAX));
        let sink = Sink::new(limit::PAYLOAD_BYTES_MAX);
        let mut filling = Filling { payloads, fuel, sink, to_come: Some(to_come) };
        items.iter().enumerate().find_map(|(at, item)| {
            let index = u32::try_from(at).unwrap_or(u32::MAX);
            filling.payloads.turn_to(Each { name, item, index });
            let filled = filling.fill(self);
            let sink = std::mem::replace(&mut filling.sink, Sink::new(limit::PAYLOAD_BYTES_MAX));
            filled.and_then(|()| sink.finish()).err().map(|why| (at, why))
        })
    }
}

/// The steps of evaluation that looking at all the items of a list early may take.
const ITEMS_COST_MAX: usize = 10 * COST_MAX;

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
    /// Which outputs may still come: what is not known is left open, then.
    to_come: Option<ToCome<'a>>,
}

impl Filling<'_> {
    fn fill(&mut self, template: &Template) -> Result<(), Unresolved> {
        match template {
            Template::Literal(value) => self.sink.given(value),
            Template::Path(path) => {
                let to_come = self.to_come;
                match path.payload(&mut self.payloads) {
                    Some(payload) => self.sink.given(path.pick(payload)?),
                    None if to_come.is_some_and(|to_come| path.may_come(to_come)) => self.sink.unknown(),
                    None => Err(path.missing().into()),
                }
            }
            Template::Expression(Placed { expression, .. }) => {
                self.payloads.load(expression.references());
                match self.to_come {
                    Some(to_come) => Evaluation::early(&self.payloads, &mut self.fuel, to_come)
                        .write_known(expression, &mut self.sink),
                    None => Evaluation::new(&self.payloads, &mut self.fuel).write(expression, &mut self.sink),
                }
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
