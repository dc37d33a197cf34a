//! What a schema may be, so that checking an input takes time in proportion to the input. A schema of a few lines that
//! names its parts twice on each of thirty levels would be evaluated a thousand million times; one that names itself
//! twice would, with an input that nests. So a schema may not contain itself, and what it is with each reference written
//! out has a limit.

use std::collections::HashMap;

use serde_json::Value;
use snorri_saga::json::pointer_part;
use snorri_saga::told::Told;

use super::BadSchema;

/// The most values of a schema: names, numbers, parts.
pub const VALUES_MAX: usize = 5000;
/// The most parts of a schema that are schemas themselves, with each reference written out.
const PARTS_MAX: u64 = 5000;
/// The most patterns, each of which takes time to compile and memory for ever.
const PATTERNS_MAX: usize = 50;
/// How deep a schema may nest.
const DEPTH_MAX: usize = 32;
/// The most `unevaluatedProperties` and `unevaluatedItems`: each evaluates what stands beside it again.
const UNEVALUATED_MAX: usize = 4;

/// The dialect.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// The keywords whose value is a schema.
const ONE: [&str; 12] = [
    "not",
    "if",
    "then",
    "else",
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
    "additionalItems",
];
/// The keywords whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// The keywords whose value is a mapping of schemas.
const MAP: [&str; 4] = ["properties", "patternProperties", "dependentSchemas", "dependencies"];

fn bad(pointer: impl Into<String>, told: impl Into<Told>) -> BadSchema {
    BadSchema { pointer: pointer.into(), told: told.into() }
}

/// Whether a schema keeps to the limits, and how many parts it has with each reference written out.
pub(super) fn check(schema: &Value) -> Result<u64, BadSchema> {
    let mut seen = Seen::default();
    seen.take(schema, "", 0)?;
    let mut walk = Walk { root: schema, anchors: &seen.anchors, known: HashMap::new() };
    let parts = walk.parts(schema, "")?;
    if parts > PARTS_MAX {
        return Err(bad(
            "",
            (format!("with each `$ref` written out it has more than {PARTS_MAX} parts"), "make it simpler"),
        ));
    }
    Ok(parts)
}

/// What is counted of all of it, whether it is ever evaluated or not.
#[derive(Default)]
struct Seen<'a> {
    values: usize,
    patterns: usize,
    unevaluated: usize,
    anchors: HashMap<&'a str, (&'a Value, String)>,
}

impl<'a> Seen<'a> {
    fn take(&mut self, value: &'a Value, pointer: &str, depth: usize) -> Result<(), BadSchema> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(bad("", (format!("it has more than {VALUES_MAX} values"), "make it simpler")));
        }
        if depth > DEPTH_MAX {
            return Err(bad(
                pointer,
                (format!("it nests deeper than {DEPTH_MAX} levels"), "put parts into `$defs`"),
            ));
        }
        match value {
            Value::Array(items) => {
                for (nth, item) in items.iter().enumerate() {
                    self.take(item, &format!("{pointer}/{nth}"), depth + 1)?;
                }
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    let at = format!("{pointer}/{}", pointer_part(key));
                    self.keyword(value, key, item, pointer, &at)?;
                    self.take(item, &at, depth + 1)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }

    fn keyword(
        &mut self,
        schema: &'a Value,
        key: &str,
        value: &'a Value,
        pointer: &str,
        at: &str,
    ) -> Result<(), BadSchema> {
        match (key, value) {
            ("$schema", Value::String(dialect)) if dialect.trim_end_matches('#') != DIALECT => {
                return Err(bad(
                    at,
                    (
                        "the input's schema is JSON Schema 2020-12",
                        format!("write `{DIALECT}`, or leave it out"),
                    ),
                ));
            }
            ("$id", Value::String(_)) if !pointer.is_empty() => {
                return Err(bad(
                    at,
                    (
                        "a part of a schema has no `$id` here",
                        "put it into `$defs`, and name it as `#/$defs/...`",
                    ),
                ));
            }
            ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                return Err(bad(at, (format!("`{key}` is not supported"), "write `$ref`")));
            }
            ("$anchor", Value::String(name)) => {
                self.anchors.insert(name, (schema, pointer.to_owned()));
            }
            ("pattern", Value::String(_)) => self.patterns += 1,
            ("patternProperties", Value::Object(patterns)) => self.patterns += patterns.len(),
            ("unevaluatedProperties" | "unevaluatedItems", Value::Object(_) | Value::Bool(_)) => {
                self.unevaluated += 1;
            }
            _ => {}
        }
        if self.patterns > PATTERNS_MAX {
            return Err(bad(at, (format!("it has more than {PATTERNS_MAX} patterns"), "make it simpler")));
        }
        if self.unevaluated > UNEVALUATED_MAX {
            return Err(bad(
                at,
                (
                    format!("it says `{key}` more than {UNEVALUATED_MAX} times"),
                    "use `additionalProperties` or `items`",
                ),
            ));
        }
        Ok(())
    }
}

struct Walk<'a, 's> {
    root: &'a Value,
    anchors: &'s HashMap<&'a str, (&'a Value, String)>,
    /// The parts of what references lead to; of one that is being counted, nothing.
    known: HashMap<String, Option<u64>>,
}

impl<'a> Walk<'a, '_> {
    /// How many schemas a schema is, each reference written out.
    fn parts(&mut self, schema: &'a Value, pointer: &str) -> Result<u64, BadSchema> {
        let Value::Object(fields) = schema else { return Ok(1) };
        let mut parts: u64 = 1;
        for (key, value) in fields {
            let at = || format!("{pointer}/{}", pointer_part(key));
            match value {
                Value::String(reference) if key == "$ref" => {
                    parts = parts.saturating_add(self.referred(reference, &at())?);
                }
                Value::Object(_) if ONE.contains(&key.as_str()) => {
                    parts = parts.saturating_add(self.parts(value, &at())?);
                }
                Value::Array(items) if LIST.contains(&key.as_str()) || ONE.contains(&key.as_str()) => {
                    for (nth, item) in items.iter().enumerate() {
                        parts = parts.saturating_add(self.parts(item, &format!("{}/{nth}", at()))?);
                    }
                }
                Value::Object(items) if MAP.contains(&key.as_str()) => {
                    for (name, item) in items {
                        parts = parts
                            .saturating_add(self.parts(item, &format!("{}/{}", at(), pointer_part(name)))?);
                    }
                }
                _ => {}
            }
        }
        Ok(parts)
    }

    fn referred(&mut self, reference: &str, at: &str) -> Result<u64, BadSchema> {
        let inside = reference.strip_prefix('#').ok_or_else(|| {
            bad(
                at,
                (
                    "a reference stays inside the schema, nothing is fetched",
                    "put the part into `$defs`, and write `#/$defs/...`",
                ),
            )
        })?;
        let nowhere = || bad(at, format!("`{}` leads nowhere in this schema", crate::text::shown(reference)));
        let (target, pointer) = match self.anchors.get(inside) {
            Some((target, pointer)) => (*target, pointer.clone()),
            None => (self.root.pointer(inside).ok_or_else(nowhere)?, inside.to_owned()),
        };
        match self.known.get(&pointer) {
            Some(Some(parts)) => return Ok(*parts),
            Some(None) => return Err(around(at)),
            None => {}
        }
        // What is above a reference contains it.
        if at.strip_prefix(pointer.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(around(at));
        }
        self.known.insert(pointer.clone(), None);
        let parts = self.parts(target, &pointer)?;
        self.known.insert(pointer, Some(parts));
        Ok(parts)
    }
}

fn around(at: &str) -> BadSchema {
    bad(
        at,
        (
            "the schema contains itself, and an input that nests without an end cannot be checked in a time that is known",
            "write out as many levels as there are",
        ),
    )
}
