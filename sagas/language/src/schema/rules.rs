//! What fits together in one mapping: the one kind of work that a step is, and what goes with it.

use serde_json::{Map, Value, json};

/// What a step that only waits has no use for.
const NOT_FOR_WAITS: [&str; 6] = ["compensation", "for_each", "input", "kind", "retry", "timeout"];

/// Puts the rules into the parts of the schema.
pub(super) fn add(parts: &mut Map<String, Value>) {
    let mut put = |part: &str, word: &str, rule: Value| {
        if let Some(Value::Object(schema)) = parts.get_mut(part) {
            schema.insert(word.to_owned(), rule);
        }
    };
    put("step", "oneOf", works());
    // One that belongs to another work is not there.
    put("step", "dependentRequired", json!({"action": ["participant"], "version": ["saga"]}));
    put("step", "allOf", json!([participants_compensation(), pivot()]));
    put(
        "signal",
        "dependentSchemas",
        json!({"default": {"required": ["on_timeout"], "properties": {"on_timeout": {"const": "continue"}}}}),
    );
}

fn works() -> Value {
    let wait = |field: &str, title: &str| {
        let none: Map<String, Value> =
            NOT_FOR_WAITS.into_iter().map(|field| (field.to_owned(), false.into())).collect();
        json!({"title": title, "required": [field], "properties": none})
    };
    json!([
        {"title": "An operation of a participant", "required": ["participant"]},
        {
            "title": "A sub-saga", "required": ["saga"],
            "properties": {
                "kind": {"enum": ["compensatable", "pivot"]},
                "compensation": {"type": "object", "properties": {"action": false}},
            },
        },
        wait("signal", "Waiting for a signal"),
        wait("approval", "Waiting for an approval"),
        wait("delay", "Letting time pass"),
    ])
}

/// A compensatable step of a participant says what reverses it; the others are never undone.
fn participants_compensation() -> Value {
    json!({
        "if": {"required": ["participant"]},
        "then": {
            "if": {"properties": {"kind": {"const": "compensatable"}}},
            "then": {
                "required": ["compensation"],
                "properties": {"compensation": {"if": {"type": "object"}, "then": {"required": ["action"]}}},
            },
            "else": {"properties": {"compensation": {"const": "none"}}},
        },
    })
}

fn pivot() -> Value {
    json!({
        "if": {"required": ["kind"], "properties": {"kind": {"const": "pivot"}}},
        "then": {"properties": {"for_each": false}, "not": {"required": ["saga", "compensation"]}},
    })
}
