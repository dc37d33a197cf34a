//! Texts that are sent as they are and look as if they should not be.

use std::fmt::Write as _;

use serde_json::Value;
use snorri_saga::json::pointer_part;
use snorri_saga::template::Template;

use super::{Findings, Subject, shown};

/// Words that stand in the name of what nobody else may know.
const SECRET: [&str; 9] = [
    "password",
    "passwd",
    "secret",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
    "access_token",
];

pub(super) fn lint(subject: &Subject<'_>, findings: &mut Findings) {
    for (key, text) in &subject.written.tags {
        let at = format!("/tags/{}", pointer_part(key));
        text_as_it_is(subject, findings, &at, text);
    }
    for (at, step) in subject.steps() {
        if let Some(input) = step.input.as_ref().filter(|input| !Template::is_too_large(input)) {
            walk(subject, findings, &mut format!("{at}/input"), "", input);
        }
        if let Some(items) = step.for_each.as_ref().map(|each| &each.items)
            && items.is_array()
            && !Template::is_too_large(items)
        {
            walk(subject, findings, &mut format!("{at}/for_each/items"), "", items);
        }
        if let Some(when) = &step.when
            && is_constant(when)
        {
            subject.warn(
                findings,
                "constant-condition",
                &format!("{at}/when"),
                "the condition has the same value for every saga",
                "use the input or an output in it; or leave `when` out, or the step",
            );
        }
    }
}

fn walk(subject: &Subject<'_>, findings: &mut Findings, at: &mut String, key: &str, value: &Value) {
    let length = at.len();
    match value {
        Value::String(text) => {
            let name = key.to_ascii_lowercase();
            if SECRET.iter().any(|word| name.contains(word)) && !text.contains("${{") && !text.is_empty() {
                subject.warn(
                    findings,
                    "secret-in-definition",
                    at,
                    format!("`{}` looks like a secret, and everybody may read a definition", shown(key)),
                    "let the participant keep it, and name it here",
                );
            } else {
                text_as_it_is(subject, findings, at, text);
            }
        }
        Value::Array(items) => {
            for (nth, item) in items.iter().enumerate() {
                let _ = write!(at, "/{nth}");
                walk(subject, findings, at, key, item);
                at.truncate(length);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                let _ = write!(at, "/{}", pointer_part(key));
                walk(subject, findings, at, key, item);
                at.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn text_as_it_is(subject: &Subject<'_>, findings: &mut Findings, at: &str, text: &str) {
    if !text.contains("${{") && looks_like_an_expression(text) {
        subject.warn(
            findings,
            "not-an-expression",
            at,
            format!("the text `{}` is sent as it is", shown(text)),
            "an expression stands alone in its text, as `${{ input.customer }}`",
        );
    }
}

/// `input.customer`, `steps.pay.output.id`, `{{ input.customer }}`, `${input.customer}`.
fn looks_like_an_expression(text: &str) -> bool {
    let bare = text.trim();
    let inner = ["{{", "${", "#{"].iter().find_map(|open| bare.strip_prefix(open)).unwrap_or(bare);
    let inner = inner.trim().trim_end_matches('}').trim().trim_start_matches("$.");
    let is_path = |path: &str| {
        !path.is_empty()
            && path.split('.').all(|part| {
                !part.is_empty()
                    && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '[' | ']'))
            })
    };
    let rest = inner.strip_prefix("input.").or_else(|| inner.strip_prefix("steps."));
    rest.is_some_and(is_path)
}

/// Nothing that differs from saga to saga is named in it, apart from texts between quotes.
fn is_constant(when: &str) -> bool {
    let mut names = String::new();
    let mut quote: Option<char> = None;
    let mut is_escaped = false;
    for c in when.chars() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                names.push(' ');
            }
            None => names.push(c),
        }
    }
    let mut words = names.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    words.all(|word| {
        matches!(word, "true" | "false" | "null" | "in") || word.starts_with(|c: char| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_expression_is_recognised() {
        for text in [
            "input.a",
            "{{ input.a.b }}",
            "${steps.pay.output.id}",
            "$.input.rows[0].x",
            "{{steps.pay-in.output}}",
        ] {
            assert!(looks_like_an_expression(text), "{text}");
        }
        for text in ["", "input", "the input. It", "inputs.a", "{{ customer }}", "steps.", "input.a b"] {
            assert!(!looks_like_an_expression(text), "{text}");
        }
    }

    #[test]
    fn a_condition_without_a_name_is_constant() {
        for when in ["true", "1 < 2", "'input' == \"in\\\"put\"", "[1, 2] == []", "1 in [1]"] {
            assert!(is_constant(when), "{when}");
        }
        for when in ["input.a", "has(steps.a.output)", "'a' == item", "index > 1", "saga.id != ''"] {
            assert!(!is_constant(when), "{when}");
        }
    }
}
