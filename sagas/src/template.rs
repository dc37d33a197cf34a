//! Input templates: JSON in which a text of the form `${{ input.a.b }}` or `${{ steps.pay.output.id }}` is
//! replaced by the value it names. The paths are a subset of CEL, so that templates stay valid when
//! expressions grow.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::expression::Names;
use crate::json::Json;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// Taken as it is.
    Literal(Value),
    /// Replaced by what the path names.
    Path(Path),
    /// A list of templates.
    List(Vec<Template>),
    /// An object of templates.
    Object(Vec<(String, Template)>),
}

/// A path into the saga's input or into a step's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    /// The step whose output it is; nothing for the saga's input.
    step: Option<String>,
    fields: Vec<String>,
}

/// A template that does not parse: the place below the template, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTemplate {
    /// A JSON pointer below the template.
    pub pointer: String,
    /// Where in the text.
    pub offset: Option<usize>,
    /// What is wrong, and the mend.
    pub message: String,
}

/// A path that names nothing in this saga.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names nothing in this saga")]
pub struct Missing(pub String);

/// Why a template could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// A path names nothing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// It would be larger than it may be. It is not known by how much: the filling stopped there.
    #[error("the request has more than {0} bytes")]
    TooLarge(usize),
}

const DEPTH_MAX: usize = 32;
/// The most values of one template. Each may name a whole payload.
const VALUES_MAX: usize = 1000;

impl Template {
    /// Parses a template.
    pub fn parse(value: &Value) -> Result<Self, BadTemplate> {
        let values = count(value);
        if values > VALUES_MAX {
            let message = format!("{values} values: a template has at most {VALUES_MAX}");
            return Err(BadTemplate { pointer: String::new(), offset: None, message });
        }
        Self::parse_at(value, "", DEPTH_MAX)
    }

    fn parse_at(value: &Value, pointer: &str, depth: usize) -> Result<Self, BadTemplate> {
        let bad = |message: String| BadTemplate { pointer: pointer.to_owned(), offset: None, message };
        let below =
            depth.checked_sub(1).ok_or_else(|| bad(format!("nests deeper than {DEPTH_MAX} levels")))?;
        match value {
            Value::String(text) => match text.trim().strip_prefix("${{") {
                Some(rest) => {
                    let inner = rest.strip_suffix("}}").ok_or_else(|| {
                        bad(format!("`{text}` opens with `${{{{` but does not end with `}}}}`"))
                    })?;
                    Path::parse(inner.trim()).map(Self::Path).map_err(bad)
                }
                None if text.contains("${{") => Err(bad(format!(
                    "`{text}`: an expression stands alone in its text, nothing before or after it"
                ))),
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
                    let escaped = key.replace('~', "~0").replace('/', "~1");
                    Ok((key.clone(), Self::parse_at(item, &format!("{pointer}/{escaped}"), below)?))
                })
                .collect::<Result<_, _>>()
                .map(Self::Object),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Self::Literal(value.clone())),
        }
    }

    /// The steps whose outputs it refers to.
    pub fn steps_referred_to(&self) -> Vec<&str> {
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Path(path) => path.step.as_deref().into_iter().collect(),
            Self::List(items) => items.iter().flat_map(Self::steps_referred_to).collect(),
            Self::Object(fields) => fields.iter().flat_map(|(_, item)| item.steps_referred_to()).collect(),
        }
    }

    /// Fills the template in, up to `bytes_max`. `output` gives a step's output by the step's name.
    pub fn resolve(&self, names: &Names<'_>, bytes_max: usize) -> Result<Json, Unresolved> {
        let mut filling =
            Filling { payloads: Payloads::new(names.input, names.output), text: String::new(), bytes_max };
        filling.fill(self)?;
        // What was put together of JSON texts is one.
        Ok(Json::parse(&filling.text).unwrap_or_else(|_| Json::null()))
    }

    /// The first path that names nothing in the input or in an output that is there already. Outputs that
    /// are still to come may have anything in them.
    pub fn missing(&self, names: &Names<'_>) -> Option<Missing> {
        self.missing_in(&mut Payloads::new(names.input, names.output))
    }

    fn missing_in(&self, payloads: &mut Payloads<impl Fn(&str) -> Option<Json>>) -> Option<Missing> {
        match self {
            Self::Literal(_) => None,
            Self::Path(path) => path.pick(payloads.of(path)?).err(),
            Self::List(items) => items.iter().find_map(|item| item.missing_in(payloads)),
            Self::Object(fields) => fields.iter().find_map(|(_, item)| item.missing_in(payloads)),
        }
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>() + 1,
        Value::Object(fields) => fields.values().map(count).sum::<usize>() + 1,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// The payloads that paths lead into, each parsed once.
struct Payloads<F> {
    input: Value,
    output: F,
    outputs: BTreeMap<String, Option<Value>>,
}

impl<F: Fn(&str) -> Option<Json>> Payloads<F> {
    fn new(input: &Json, output: F) -> Self {
        Self { input: input.to_value(), output, outputs: BTreeMap::new() }
    }

    fn of(&mut self, path: &Path) -> Option<&Value> {
        match &path.step {
            None => Some(&self.input),
            Some(step) => {
                if !self.outputs.contains_key(step) {
                    let value = (self.output)(step).map(|output| output.to_value());
                    self.outputs.insert(step.clone(), value);
                }
                self.outputs.get(step)?.as_ref()
            }
        }
    }
}

/// A template being filled in, as text and never beyond its limit: a small template can name a large
/// payload many times.
struct Filling<F> {
    payloads: Payloads<F>,
    text: String,
    bytes_max: usize,
}

impl<F: Fn(&str) -> Option<Json>> Filling<F> {
    fn fill(&mut self, template: &Template) -> Result<(), Unresolved> {
        match template {
            Template::Literal(value) => self.write(&value.to_string()),
            Template::Path(path) => {
                let payload = self.payloads.of(path).ok_or_else(|| Missing(path.text.clone()))?;
                let text = path.pick(payload)?.to_string();
                self.write(&text)
            }
            Template::List(items) => {
                self.write("[")?;
                for (place, item) in items.iter().enumerate() {
                    self.write(if place == 0 { "" } else { "," })?;
                    self.fill(item)?;
                }
                self.write("]")
            }
            Template::Object(fields) => {
                self.write("{")?;
                for (place, (key, item)) in fields.iter().enumerate() {
                    self.write(if place == 0 { "" } else { "," })?;
                    self.write(&Value::String(key.clone()).to_string())?;
                    self.write(":")?;
                    self.fill(item)?;
                }
                self.write("}")
            }
        }
    }

    fn write(&mut self, text: &str) -> Result<(), Unresolved> {
        if self.text.len() + text.len() > self.bytes_max {
            return Err(Unresolved::TooLarge(self.bytes_max));
        }
        self.text.push_str(text);
        Ok(())
    }
}

impl Path {
    fn parse(text: &str) -> Result<Self, String> {
        let help = "write input.<field>... or steps.<step>.output.<field>...";
        let mut parts = text.split('.');
        let step = match parts.next() {
            Some("input") => None,
            Some("steps") => {
                let step = parts.next().ok_or_else(|| format!("`{text}` names no step: {help}"))?;
                if parts.next() != Some("output") {
                    return Err(format!("`{text}`: only a step's `output` can be referred to: {help}"));
                }
                Some(step.to_owned())
            }
            _ => return Err(format!("`{text}` is not an expression that is known here: {help}")),
        };
        let fields: Vec<String> = parts.map(str::to_owned).collect();
        let plain = |field: &String| {
            !field.is_empty() && field.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        };
        match fields.iter().find(|field| !plain(field)) {
            Some(field) => Err(format!("`{text}`: `{field}` is not a field's name: {help}")),
            None => Ok(Self { text: text.to_owned(), step, fields }),
        }
    }

    fn pick<'a>(&self, root: &'a Value) -> Result<&'a Value, Missing> {
        self.fields
            .iter()
            .try_fold(root, |value, field| match value {
                Value::Array(items) => items.get(field.parse::<usize>().ok()?),
                Value::Object(fields) => fields.get(field),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            })
            .ok_or_else(|| Missing(self.text.clone()))
    }
}
