//! Input templates: JSON in which a text of the form `${{ input.a.b }}` or `${{ steps.pay.output.id }}` is
//! replaced by the value it names. The paths are a subset of CEL, so that templates stay valid when
//! expressions grow.

use std::collections::BTreeMap;

use serde_json::Value;

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
            return Err(BadTemplate { pointer: String::new(), message });
        }
        Self::parse_at(value, "", DEPTH_MAX)
    }

    fn parse_at(value: &Value, pointer: &str, depth: usize) -> Result<Self, BadTemplate> {
        let bad = |message: String| BadTemplate { pointer: pointer.to_owned(), message };
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
    pub fn resolve(
        &self,
        input: &Json,
        output: impl Fn(&str) -> Option<Json>,
        bytes_max: usize,
    ) -> Result<Json, Unresolved> {
        let mut filling = Filling { payloads: Payloads::new(input, output), text: String::new(), bytes_max };
        filling.fill(self)?;
        // What was put together of JSON texts is one.
        Ok(Json::parse(&filling.text).unwrap_or_else(|_| Json::null()))
    }

    /// The first path that names nothing in the input or in an output that is there already. Outputs that
    /// are still to come may have anything in them.
    pub fn missing(&self, input: &Json, output: impl Fn(&str) -> Option<Json>) -> Option<Missing> {
        self.missing_in(&mut Payloads::new(input, output))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_takes_from_the_input_and_from_earlier_outputs() {
        let template = Template::parse(&json!({
            "order": "${{ input.order.id }}", "hold": "${{ steps.pay.output }}", "first": "${{input.lines.0}}",
            "note": "as is", "n": [1, "${{ input.order.id }}"]
        }))
        .expect("a template");
        let input = Json::from_value(&json!({"order": {"id": 7}, "lines": ["a", "b"]}));
        let output = |step: &str| (step == "pay").then(|| Json::from_value(&json!({"id": "h1"})));
        let filled = template.resolve(&input, output, 1000).expect("filled in").to_value();
        assert_eq!(
            filled,
            json!({"order": 7, "hold": {"id": "h1"}, "first": "a", "note": "as is", "n": [1, 7]})
        );
    }

    #[test]
    fn a_path_to_nothing_names_itself() {
        let template = Template::parse(&json!("${{ input.a.b }}")).expect("a template");
        let missing = template.resolve(&Json::null(), |_| None, 1000).expect_err("nothing there");
        assert_eq!(missing.to_string(), "`input.a.b` names nothing in this saga");
    }

    #[test]
    fn a_small_template_that_names_a_large_payload_many_times_stops_at_the_limit() {
        let many = vec!["${{ steps.a.output }}"; 999];
        let template = Template::parse(&json!(many)).expect("a template");
        let large = Json::from_value(&json!("x".repeat(60_000)));
        let filled = template.resolve(&Json::null(), |_| Some(large.clone()), 65_536);
        assert_eq!(filled, Err(Unresolved::TooLarge(65_536)));
        let more = vec!["${{ input }}"; 1001];
        assert!(Template::parse(&json!(more)).is_err(), "and not as many as one likes");
    }

    #[test]
    fn what_is_missing_already_is_told_from_what_is_still_to_come() {
        let template = Template::parse(&json!({
            "a": "${{ input.a }}", "b": ["${{ steps.done.output.id }}", "${{ steps.later.output.id }}"]
        }))
        .expect("a template");
        let missing = |input: serde_json::Value, done: serde_json::Value| {
            let done = Json::from_value(&done);
            template
                .missing(&Json::from_value(&input), |step| (step == "done").then(|| done.clone()))
                .map(|missing| missing.0)
        };
        assert_eq!(missing(json!({"a": null}), json!({"id": 1})), None);
        assert_eq!(missing(json!({}), json!({"id": 1})).as_deref(), Some("input.a"));
        assert_eq!(missing(json!({"a": 1}), json!([])).as_deref(), Some("steps.done.output.id"));
    }

    #[test]
    fn what_is_no_path_is_refused_with_its_place() {
        for (text, pointer) in [
            (json!({"a": ["${{ now() }}"]}), "/a/0"),
            (json!({"a/b": "${{ steps.pay.result }}"}), "/a~1b"),
            (json!("${{ input.a"), ""),
            (json!("id ${{ input.a }}"), ""),
            (json!("${{ input..a }}"), ""),
            (json!("${{ steps }}"), ""),
        ] {
            assert_eq!(Template::parse(&text).expect_err("refused").pointer, pointer, "{text}");
        }
    }

    #[test]
    fn a_template_has_at_most_so_many_levels_and_values() {
        let nested = |levels: usize| (1..levels).fold(json!("${{ input }}"), |inner, _| json!([inner]));
        assert!(Template::parse(&nested(32)).is_ok());
        let refused = Template::parse(&nested(33)).expect_err("one too many");
        assert_eq!(
            (refused.pointer, refused.message),
            ("/0".repeat(32), "nests deeper than 32 levels".to_owned())
        );
        // Lists and objects count as values too.
        let pairs = |n: usize| json!(vec![json!({"a": 1, "b": null}); n]);
        assert!(Template::parse(&pairs(333)).is_ok());
        let refused = Template::parse(&pairs(334)).expect_err("too many");
        assert_eq!(refused.message, "1003 values: a template has at most 1000");
    }

    #[test]
    fn what_fills_its_limit_to_the_byte_fits() {
        let template =
            Template::parse(&json!({"a": "${{ input }}", "b": [1, "${{ input }}"]})).expect("a template");
        let (input, filled) = (Json::from_value(&json!("xyz")), r#"{"a":"xyz","b":[1,"xyz"]}"#);
        let fill = |bytes_max| template.resolve(&input, |_| None, bytes_max);
        assert_eq!(fill(filled.len()).expect("filled in").get(), filled);
        assert_eq!(fill(filled.len() - 1), Err(Unresolved::TooLarge(filled.len() - 1)));
    }

    #[test]
    fn a_field_is_named_by_letters_digits_underscores_and_hyphens() {
        let input = Json::from_value(&json!({"order_id": {"line-2": {"größe": ["s", "m"]}}}));
        let pick = |path: &str| {
            let template =
                Template::parse(&json!(format!("${{{{ {path} }}}}"))).map_err(|bad| bad.message)?;
            template
                .resolve(&input, |_| None, 1000)
                .map_err(|why| why.to_string())
                .map(|json| json.to_value())
        };
        assert_eq!(pick("input.order_id.line-2.größe.1"), Ok(json!("m")));
        for nothing in ["input.order_id.line-2.größe.2", "input.order_id.line-2.größe.m", "input.0"] {
            assert_eq!(pick(nothing), Err(format!("`{nothing}` names nothing in this saga")));
        }
        for (path, field) in [("input.a b", "a b"), ("input.a[0]", "a[0]"), ("input.", "")] {
            let help = "write input.<field>... or steps.<step>.output.<field>...";
            assert_eq!(pick(path), Err(format!("`{path}`: `{field}` is not a field's name: {help}")));
        }
    }
}
