//! The JSON Schema (2020-12) of the language, for editors: they complete, explain and underline while somebody writes. It is
//! published as `sagas/definition.schema.json`, by `snorri schema` and by `GET /v1/definitions/schema`.
//!
//! What the fields are is said once, in [`facts`]; the reference's tables are made of the same. That these are the fields that
//! [`Draft`] reads, with its types and limits, is what the tests of this module see to: they take the names from serde itself.
//!
//! The schema sees the shape of a text and what one step says. How steps stand to each other, what expressions mean and whether the
//! window is kept is the checker's part.
//!
//! [`Draft`]: snorri_saga::definition::Draft

use serde_json::{Map, Value, json};
use snorri_saga::definition::STEPS_MAX;
use snorri_saga::ids::Name;

mod facts;
mod rules;

pub use facts::{Field, Mapping, mappings};

/// The content type of a JSON Schema.
pub const CONTENT_TYPE: &str = "application/schema+json";
/// What the schema is called, wherever it lies.
pub const ID: &str = "urn:snorri:schema:definition";
/// A name, as [`Name::new`] takes it.
const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]*$";
/// A duration, as `Millis::parse` takes it.
const DURATION_PATTERN: &str = r"^\s*([0-9]+\s*(ms|s|m|h|d)\s*)+$";

/// The schema.
pub fn json_schema() -> Value {
    let mut whole = Map::new();
    let mut definitions = Map::new();
    for mapping in mappings() {
        let schema = object(&mapping);
        if mapping.key == "definition" {
            whole = schema;
        } else {
            definitions.insert(mapping.key.to_owned(), Value::Object(schema));
        }
    }
    rules::add(&mut definitions);
    definitions.extend(words());
    whole.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    whole.insert("$id".to_owned(), ID.into());
    whole.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(whole)
}

/// The schema as it is published.
pub fn text() -> String {
    format!("{:#}\n", json_schema())
}

/// A reference to a part of the schema.
fn part(key: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{key}") })
}

fn object(mapping: &Mapping) -> Map<String, Value> {
    let properties: Map<String, Value> =
        mapping.fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let mut required: Vec<&str> =
        mapping.fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    required.sort_unstable();
    let mut schema = Map::new();
    schema.insert("title".to_owned(), mapping.title.into());
    schema.insert("description".to_owned(), mapping.about.into());
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("additionalProperties".to_owned(), false.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

/// A field: its shape, and what an editor shows of it.
fn property(field: &Field) -> Value {
    let mut shape = match &field.shape {
        Value::Object(shape) => shape.clone(),
        _ => Map::new(),
    };
    let said = |words: &str, text: &str| {
        if text.is_empty() { String::new() } else { format!(" {words}: {text}.") }
    };
    let description =
        format!("{}{}{}", field.about, said("Limits", field.limits), said("Left out", field.default_text));
    shape.insert("description".to_owned(), description.into());
    shape.insert("examples".to_owned(), json!([field.example]));
    if let Some(default) = &field.default {
        shape.insert("default".to_owned(), default.clone());
    }
    Value::Object(shape)
}

/// The parts that are no mappings.
fn words() -> Map<String, Value> {
    let parts = [
        (
            "name",
            json!({
                "title": "A name",
                "description": "1 to 64 of a-z, 0-9, `_` and `-`, beginning with a letter or a digit.",
                "type": "string", "pattern": NAME_PATTERN, "minLength": 1, "maxLength": Name::LENGTH_MAX,
            }),
        ),
        (
            "duration",
            json!({
                "title": "A duration",
                "description": "A number and its unit: ms, s, m, h or d; or several of them, such as `1m30s`.",
                "type": "string", "pattern": DURATION_PATTERN,
            }),
        ),
        (
            "template",
            json!({
                "title": "A template",
                "description": "Any value. A text in it that is one `${{ expression }}` is replaced by what the expression gives.",
                "type": ["object", "array", "string", "number", "boolean"],
            }),
        ),
        (
            "steps",
            json!({
                "title": "Steps",
                "type": "array", "minItems": 1, "maxItems": STEPS_MAX, "items": part("step"),
            }),
        ),
    ];
    parts.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect()
}
