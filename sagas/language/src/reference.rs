//! The tables of the language's reference, `docs/definition.md`: made of the same facts as the JSON Schema, so that the page, the editors
//! and the program say the same.

use std::fmt::Write as _;

use serde_json::Value;

use crate::schema::{Field, Mapping, mappings};

/// The page with its tables made anew. A table stands between `<!-- fields: KEY -->` and `<!-- end -->`, where `KEY` is a mapping's
/// key in the schema. What is around the tables is left as it is.
pub fn renewed(page: &str) -> String {
    let mut renewed = String::with_capacity(page.len());
    let mut is_within = false;
    for line in page.lines() {
        if is_within && line.trim() == END {
            is_within = false;
        }
        if !is_within {
            renewed.push_str(line);
            renewed.push('\n');
        }
        if let Some(key) = key_of(line)
            && let Some(mapping) = mappings().into_iter().find(|mapping| mapping.key == key)
        {
            renewed.push_str(&table(&mapping));
            is_within = true;
        }
    }
    renewed
}

/// What ends a table.
const END: &str = "<!-- end -->";

/// The mapping whose table begins with this line.
pub fn key_of(line: &str) -> Option<&str> {
    line.trim().strip_prefix("<!-- fields: ")?.strip_suffix(" -->")
}

/// The fields of a mapping as a table of Markdown.
pub fn table(mapping: &Mapping) -> String {
    let mut table = "| field | type | left out | |\n|---|---|---|---|\n".to_owned();
    for field in &mapping.fields {
        let left_out = match (field.is_required, field.default_text) {
            (true, _) => "*required*",
            (false, "") => "",
            (false, words) => words,
        };
        let limits =
            if field.limits.is_empty() { String::new() } else { format!(" Limits: {}.", field.limits) };
        // Writing to a text cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | {} | {left_out} | {}{limits}<br>`{}` |",
            field.name,
            field.kind,
            field.about,
            example(field)
        );
    }
    table
}

/// The field as it may stand in YAML, on one line.
fn example(field: &Field) -> String {
    format!("{}: {}", field.name, flow(&field.example))
}

/// A value in YAML's flow style.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}: {}", flow(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        // A text in double quotes is the same in JSON and in YAML.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Whether a text is itself in YAML, without quotes.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " ._-".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off"].contains(&text)
        && text.parse::<f64>().is_err()
}
