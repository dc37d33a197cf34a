//! The schema of the input: JSON Schema takes almost anything for a schema, and what it does not know it leaves out of
//! account.

use serde_json::Value;
use snorri_saga::expression::nearest;
use snorri_saga::json::pointer_part;

use super::{Findings, Subject, shown};

/// The keywords of JSON Schema 2020-12.
const KEYWORDS: [&str; 60] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$ref",
    "$schema",
    "$vocabulary",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maximum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "minContains",
    "minimum",
    "minItems",
    "minLength",
    "minProperties",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "writeOnly",
    "example",
    "enumNames",
];
/// How deep a schema is looked into.
const DEPTH_MAX: usize = 32;
/// How many parts of a schema are looked at.
const PARTS_MAX: usize = 5000;

pub(super) fn lint(subject: &Subject<'_>, findings: &mut Findings) {
    if let Some(schema) = &subject.written.input {
        Walk { subject, findings, parts: PARTS_MAX }.schema(schema, "/input", DEPTH_MAX);
    }
}

struct Walk<'a, 'f> {
    subject: &'a Subject<'a>,
    findings: &'f mut Findings,
    parts: usize,
}

impl Walk<'_, '_> {
    fn schema(&mut self, schema: &Value, at: &str, depth: usize) {
        let (Value::Object(fields), Some(below), Some(parts)) =
            (schema, depth.checked_sub(1), self.parts.checked_sub(1))
        else {
            return;
        };
        self.parts = parts;
        let subject = self.subject;
        for key in fields.keys() {
            // What is no slip of the pen may be an annotation of somebody's.
            if !KEYWORDS.contains(&key.as_str())
                && let Some(near) = nearest(key, KEYWORDS)
            {
                subject.warn_key(
                    self.findings,
                    "unknown-keyword",
                    &format!("{at}/{}", pointer_part(key)),
                    format!("JSON Schema has no keyword `{}` and leaves it out of account", shown(key)),
                    format!("did you mean `{near}`?"),
                );
            }
        }
        let properties = fields.get("properties").and_then(Value::as_object);
        let says_what = ["type", "$ref", "allOf", "anyOf", "oneOf", "const", "enum"];
        if properties.is_some() && !says_what.iter().any(|keyword| fields.contains_key(*keyword)) {
            subject.warn(
                self.findings,
                "schema-without-type",
                &format!("{at}/properties"),
                "without `type: object`, this schema takes every text, number and list",
                "add `type: object`",
            );
        }
        if let (Some(properties), Some(required)) =
            (properties, fields.get("required").and_then(Value::as_array))
        {
            let is_open = ["patternProperties", "allOf", "anyOf", "oneOf", "$ref", "if"];
            if !is_open.iter().any(|keyword| fields.contains_key(*keyword)) {
                for (nth, name) in required.iter().enumerate() {
                    let Some(name) = name.as_str().filter(|name| !properties.contains_key(*name)) else {
                        continue;
                    };
                    let mend = match nearest(name, properties.keys().map(String::as_str)) {
                        Some(near) => format!("did you mean `{}`?", shown(near)),
                        None => "say in `properties` what it is".to_owned(),
                    };
                    subject.warn(
                        self.findings,
                        "required-but-not-declared",
                        &format!("{at}/required/{nth}"),
                        format!("`{}` is required and not among the properties", shown(name)),
                        mend,
                    );
                }
            }
        }
        for keyword in ["properties", "patternProperties", "$defs", "dependentSchemas"] {
            for (name, part) in fields.get(keyword).and_then(Value::as_object).into_iter().flatten() {
                self.schema(part, &format!("{at}/{keyword}/{}", pointer_part(name)), below);
            }
        }
        for keyword in
            ["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"]
        {
            if let Some(part) = fields.get(keyword) {
                self.schema(part, &format!("{at}/{keyword}"), below);
            }
        }
        // In a branch of these, the type is said beside them.
        for keyword in ["allOf", "anyOf", "oneOf", "prefixItems"] {
            for (nth, part) in fields.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate()
            {
                if keyword == "prefixItems" || fields.get("type").is_none() {
                    self.schema(part, &format!("{at}/{keyword}/{nth}"), below);
                }
            }
        }
    }
}
