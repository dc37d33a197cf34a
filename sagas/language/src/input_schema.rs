//! The JSON Schema of a saga's input, compiled once for each version of a definition. Inputs are checked against it at
//! the start request, with every error at once.
//!
//! JSON Schema 2020-12, formats included. References stay inside the schema, nothing is fetched. Patterns are matched in
//! linear time (no look-around, no back-references). And no schema may make the check of a small input take long
//! ([`bounds`]).

use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator};
use serde::Serialize;
use serde_json::Value;
use snorri_saga::told::Told;

mod bounds;

pub use bounds::VALUES_MAX;

/// The most errors that are told of one input.
pub const ERRORS_MAX: usize = 100;
/// The longest message of one error, in characters.
const MESSAGE_CHARS_MAX: usize = 300;
/// The largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 64 * 1024;

/// Telling every error evaluates each part of the schema that may apply to a value, and says of each what is wrong: some
/// microseconds each. Beyond so many, parts times values, the first error must do.
const TOLD_MAX: u64 = 100_000;

/// A compiled schema.
pub struct InputSchema {
    validator: Validator,
    /// The schemas within the schema, with each reference written out.
    parts: u64,
}

impl fmt::Debug for InputSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InputSchema")
    }
}

/// What of a schema cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {told}", if pointer.is_empty() { "/" } else { pointer })]
pub struct BadSchema {
    /// The place, as a JSON pointer into the schema.
    pub pointer: String,
    /// What is wrong, and the mend.
    pub told: Told,
}

/// What of an input does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The place, as a JSON pointer into the input; empty for the whole.
    pub pointer: String,
    /// What is wrong. The input's values are not in it.
    pub message: String,
}

impl InputSchema {
    /// Compiles a schema.
    pub fn compile(schema: &Value) -> Result<Self, BadSchema> {
        let parts = bounds::check(schema)?;
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .with_pattern_options(
                PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX),
            )
            .offline()
            .build(schema)
            .map(|validator| Self { validator, parts })
            .map_err(|error| {
                let pointer = error.instance_path().as_str().to_owned();
                let told =
                    explained(&pointer).unwrap_or_else(|| cut(&error.masked_with("this").to_string()).into());
                BadSchema { pointer, told }
            })
    }

    /// How many schemas there are within the schema, with each reference written out. Times the values of an input it is a
    /// measure of what checking that input may take at worst.
    pub fn parts(&self) -> u64 {
        self.parts
    }

    /// Whether an input fits. Much faster than asking what does not.
    pub fn fits(&self, input: &Value) -> bool {
        self.validator.is_valid(input)
    }

    /// What of an input does not fit, at most [`ERRORS_MAX`] of it. Where telling all would take long, it is the first.
    pub fn validate(&self, input: &Value) -> Vec<Mismatch> {
        let mismatch = |error: jsonschema::ValidationError<'_>| Mismatch {
            pointer: cut(error.instance_path().as_str()),
            message: cut(&error.masked_with("this").to_string()),
        };
        if self.fits(input) {
            return Vec::new();
        }
        if self.parts.saturating_mul(values(input)) > TOLD_MAX {
            return self.validator.validate(input).err().map(mismatch).into_iter().collect();
        }
        self.validator.iter_errors(input).take(ERRORS_MAX).map(mismatch).collect()
    }
}

/// How many values there are within a value, itself among them.
fn values(of: &Value) -> u64 {
    1 + match of {
        Value::Array(items) => items.iter().map(values).sum::<u64>(),
        Value::Object(fields) => fields.values().map(values).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// What is wrong at a keyword where the schema of schemas says it in its own words.
fn explained(pointer: &str) -> Option<Told> {
    let mut last = pointer.rsplit('/');
    match (last.next()?, last.next()) {
        ("type", _) => Some(Told::from((
            "there is no such type",
            "use one of `object`, `array`, `string`, `number`, `integer`, `boolean` and `null`",
        ))),
        ("pattern", _) | (_, Some("patternProperties")) => Some(Told::from((
            "this is no regular expression that is matched in linear time",
            "leave out look-around and back-references, and keep repetitions small",
        ))),
        _ => None,
    }
}

fn cut(text: &str) -> String {
    if text.chars().nth(MESSAGE_CHARS_MAX).is_some() {
        text.chars().take(MESSAGE_CHARS_MAX).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order() -> Value {
        json!({
            "type": "object",
            "required": ["customer", "lines"],
            "properties": {
                "customer": {"type": "string", "pattern": "^customer-[0-9]+$"},
                "mail": {"type": "string", "format": "email"},
                "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}}
            },
            "$defs": {"line": {"type": "object", "required": ["sku"], "properties": {"quantity": {"type": "integer", "minimum": 1}}}},
            "additionalProperties": false
        })
    }

    fn compiled(schema: &Value) -> InputSchema {
        InputSchema::compile(schema).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn all_that_does_not_fit_is_told_with_its_place() {
        let schema = compiled(&order());
        assert_eq!(
            schema.validate(&json!({"customer": "customer-1", "lines": [{"sku": "a", "quantity": 2}]})),
            []
        );
        let input =
            json!({"customer": "c", "mail": "nobody", "lines": [{"sku": "a", "quantity": 0}, {}], "x/y": 1});
        let found: Vec<String> = schema
            .validate(&input)
            .into_iter()
            .map(|error| format!("{}: {}", error.pointer, error.message))
            .collect();
        insta::assert_snapshot!(found.join("\n"));
    }

    #[test]
    fn what_is_told_has_an_end_and_keeps_the_input_to_itself() {
        let schema = compiled(&json!({"items": {"type": "integer"}}));
        let secret = "4111-1111".repeat(1000);
        let errors = schema.validate(&json!(vec![secret; 1000]));
        assert_eq!(errors.len(), ERRORS_MAX);
        assert!(errors.iter().all(|error| error.message.len() < 400 && !error.message.contains("4111")));
    }

    #[test]
    fn where_telling_all_would_take_long_the_first_is_told() {
        let words: Vec<Value> = (0..1000).map(|n| json!({"const": format!("w{n}")})).collect();
        let schema = compiled(&json!({"items": {"anyOf": words}}));
        assert_eq!(schema.validate(&json!(["w1", 7, 8])).len(), 2);
        let many = schema.validate(&json!(vec![7; 1000]));
        assert_eq!((many.len(), many[0].pointer.as_str()), (1, "/0"));
        assert_eq!(schema.validate(&json!(vec!["w7"; 1000])), []);
    }

    #[test]
    fn a_schema_that_is_none_is_refused_with_the_place() {
        let refused = |schema: Value| InputSchema::compile(&schema).expect_err("refused").to_string();
        let found = [
            refused(json!({"type": "objekt"})),
            refused(json!({"properties": {"a": {"minimum": "1"}}})),
            refused(json!({"properties": {"a": {"pattern": "("}}})),
            refused(json!({"properties": {"a": {"pattern": "(?=a)b"}}})),
            refused(json!({"properties": {"a": {"pattern": "(a{1000}){1000}"}}})),
            refused(json!({"properties": {"a": {"$ref": "https://example.com/schema.json"}}})),
            refused(json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}})),
            refused(json!({"properties": {"a": {"$ref": "#/$defs/nowhere"}}})),
            refused(json!({"$schema": "http://json-schema.org/draft-07/schema#"})),
            refused(json!({"properties": {"a": {"$id": "other"}}})),
            refused(json!({"$ref": "#"})),
            refused(json!({"properties": {"next": {"$ref": "#"}}})),
            refused(json!({"$dynamicRef": "#node"})),
            refused(json!(7)),
        ];
        insta::assert_snapshot!(found.join("\n"));
    }

    #[test]
    fn no_schema_makes_a_small_input_take_long() {
        // Each definition names the next one twice: two to the power of thirty.
        let mut defs = serde_json::Map::new();
        for n in 0..30 {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            defs.insert(format!("d{n}"), json!({"allOf": [next, next]}));
        }
        defs.insert("d30".to_owned(), json!({"type": "object"}));
        let bomb = json!({"$ref": "#/$defs/d0", "$defs": defs});
        let error = InputSchema::compile(&bomb).expect_err("refused");
        assert!(error.told.message.contains("written out"), "{error}");
        let many = json!({"properties": (0..6000).map(|n| (format!("p{n}"), json!(true))).collect::<serde_json::Map<_, _>>()});
        assert!(InputSchema::compile(&many).is_err());
        let deep =
            (0..20).fold(json!(true), |below, _| json!({"allOf": [below], "unevaluatedProperties": false}));
        assert!(InputSchema::compile(&deep).is_err());
        let patterns: serde_json::Map<_, _> =
            (0..1000).map(|n| (format!("p{n}"), json!({"pattern": format!("{n}[a-z]{{200}}")}))).collect();
        assert!(InputSchema::compile(&json!({"properties": patterns})).is_err());
    }

    #[test]
    fn anchors_and_pointers_lead_inside_the_schema() {
        let schema = compiled(&json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": {"a": {"$ref": "#money"}, "b": {"$ref": "#/$defs/x~1y"}},
            "$defs": {"m": {"$anchor": "money", "type": "integer"}, "x/y": {"type": "string"}}
        }));
        assert_eq!(schema.validate(&json!({"a": "1", "b": 1})).len(), 2);
        assert_eq!(schema.validate(&json!({"a": 1, "b": "1"})), []);
        assert_eq!(compiled(&json!(true)).validate(&json!(null)), []);
    }
}
