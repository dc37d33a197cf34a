//! The published schema: it names the fields that are read, takes what is good, and refuses what is broken.

#[path = "support/golden.rs"]
mod golden;
#[path = "schema/introspect.rs"]
mod introspect;

use std::collections::BTreeSet;

use golden::{examples, is_kept};
use introspect::{fields_of, words_of};
use jsonschema::Validator;
use serde_json::{Value, json};
use snorri_language::schema::{self, mappings};
use snorri_saga::definition::{
    Definition, Draft, DraftApproval, DraftCompensationFields, DraftForEach, DraftSignal, DraftStep,
    OnNoDecision, OnSilence, SiblingFailure, StepKind,
};
use snorri_saga::retry::RetryPolicy;

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema::json_schema()).expect("a schema")
}

/// A validator of one part.
fn validator_of(part: &Value) -> Validator {
    let mut whole = schema::json_schema();
    let parts = whole["$defs"].take();
    let mut part = part.clone();
    part["$defs"] = parts;
    jsonschema::draft202012::new(&part).expect("a schema")
}

/// Why the text of a definition is none, if it is none.
fn refusal(value: &Value) -> Option<String> {
    match serde_json::from_value::<Draft>(value.clone()) {
        Err(error) => Some(error.to_string()),
        Ok(draft) => Definition::from_draft(&draft).err().map(|problems| problems[0].to_string()),
    }
}

/// A definition that has every field.
fn whole() -> Value {
    let retry = json!({"attempts": 2, "backoff": "1s", "factor": 1, "cap": "2s", "jitter": 0});
    json!({
        "name": "whole", "description": "every field", "window": "30d", "on_sibling_failure": "race",
        "tags": {"channel": "web"},
        "input": {"type": "object", "properties": {"rows": {"type": "array"}, "is_large": {"type": "boolean"}}},
        "steps": [
            {
                "name": "a", "needs": [], "participant": "p", "action": "do", "kind": "compensatable",
                "when": "input.is_large", "timeout": "5s", "retry": retry, "input": {"rows": "${{ input.rows }}"},
                "for_each": {"items": "${{ input.rows }}", "as": "row", "concurrency": 2, "max": 10},
                "compensation": {"action": "undo", "timeout": "6s", "retry": retry},
            },
            {"name": "paid", "needs": ["a"], "signal": {"name": "paid", "timeout": "1h", "on_timeout": "continue", "default": 1}},
            {"name": "yes", "approval": {"timeout": "2h", "on_timeout": "approve"}},
            {"name": "pause", "delay": "10s"},
            {
                "name": "child", "saga": "other", "version": 3, "timeout": "5m",
                "compensation": {"timeout": "1m", "retry": {"attempts": 1}},
            },
            {"name": "charge", "participant": "p", "kind": "pivot"},
            {"name": "confirm", "participant": "p", "kind": "retriable"},
        ],
    })
}

/// Every field of the definition above, as pointers.
fn places() -> Vec<String> {
    fn walk(value: &Value, at: &str, places: &mut Vec<String>) {
        // What stands in these is people's own.
        let is_free = ["/tags", "/input", "/default"].iter().any(|end| at.ends_with(end));
        match value {
            Value::Object(fields) if !is_free => {
                for (name, value) in fields {
                    let at = format!("{at}/{name}");
                    walk(value, &at, places);
                    places.push(at);
                }
            }
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate().filter(|(_, item)| item.is_object()) {
                    walk(item, &format!("{at}/{place}"), places);
                }
            }
            _ => {}
        }
    }
    let mut places = Vec::new();
    walk(&whole(), "", &mut places);
    places
}

#[test]
fn the_file_is_what_the_code_makes() {
    is_kept("sagas/definition.schema.json", &schema::text());
}

#[test]
fn it_is_a_schema_by_its_own_dialect() {
    let schema = schema::json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::meta::validate(&schema).expect("valid by the meta-schema");
}

#[test]
fn its_fields_are_those_that_are_read() {
    for mapping in mappings() {
        let read = match mapping.key {
            "definition" => fields_of::<Draft>(),
            "step" => fields_of::<DraftStep>(),
            "compensation" => fields_of::<DraftCompensationFields>(),
            "retry" => fields_of::<RetryPolicy>(),
            "for_each" => fields_of::<DraftForEach>(),
            "signal" => fields_of::<DraftSignal>(),
            "approval" => fields_of::<DraftApproval>(),
            other => panic!("{other}: which type reads it?"),
        };
        let told: Vec<&str> = mapping.fields.iter().map(|field| field.name).collect();
        assert_eq!(BTreeSet::from_iter(told.clone()), BTreeSet::from_iter(read), "{}", mapping.key);
        assert_eq!(told.len(), BTreeSet::from_iter(told).len(), "{}: one is told twice", mapping.key);
    }
}

#[test]
fn its_words_are_those_that_are_read() {
    for (mapping, field, read) in [
        ("definition", "on_sibling_failure", words_of::<SiblingFailure>()),
        ("step", "kind", words_of::<StepKind>()),
        ("signal", "on_timeout", words_of::<OnSilence>()),
        ("approval", "on_timeout", words_of::<OnNoDecision>()),
    ] {
        let mapping = mappings().into_iter().find(|one| one.key == mapping).expect("a mapping");
        let field = mapping.fields.into_iter().find(|one| one.name == field).expect("a field");
        assert_eq!(field.shape["enum"], json!(read), "{}", field.name);
    }
}

#[test]
fn every_field_is_explained_with_an_example_that_fits() {
    for mapping in mappings() {
        assert!(!mapping.title.is_empty() && mapping.about.ends_with('.'), "{}", mapping.key);
        assert_eq!(RetryPolicy::default().factor.to_string(), "2", "as the retry policy's facts say");
        for field in mapping.fields {
            let name = format!("{}.{}", mapping.key, field.name);
            assert!(field.about.len() > 15 && field.about.ends_with('.'), "{name}: {}", field.about);
            assert!(!field.kind.is_empty(), "{name}");
            let validator = validator_of(&field.shape);
            for value in [Some(&field.example), field.default.as_ref()].into_iter().flatten() {
                assert!(validator.is_valid(value), "{name}: {value}: {:?}", validator.validate(value).err());
            }
            assert!(
                field.default.is_none() || !field.default_text.is_empty(),
                "{name}: people are told the default"
            );
        }
    }
}

#[test]
fn every_example_fits() {
    let validator = validator();
    for (name, text) in examples() {
        let value: Value = serde_saphyr::from_str(&text).expect("YAML");
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        let head = text.lines().next().unwrap_or_default();
        assert_eq!(head, "# yaml-language-server: $schema=../definition.schema.json", "{name}");
    }
}

#[test]
fn good_ones_fit() {
    let validator = validator();
    let step = |step: Value| json!({"name": "x", "steps": [step]});
    let mut good = vec![whole()];
    good.extend(
        [
            json!({"name": "a", "participant": "p", "compensation": "undo"}),
            json!({"name": "a", "participant": "p", "compensation": "none"}),
            json!({"name": "a", "participant": "p", "kind": "read", "compensation": "none"}),
            json!({"name": "a", "participant": "p", "kind": "pivot"}),
            json!({"name": "a", "participant": "p", "compensation": {"action": "undo", "retry": {}}}),
            json!({"name": "a", "saga": "other", "version": 1, "timeout": "5s"}),
            json!({"name": "a", "saga": "other", "version": 1, "timeout": "5s", "kind": "pivot"}),
            json!({"name": "a", "signal": {"timeout": "1m30s"}}),
            json!({"name": "a", "approval": {"timeout": "1 m"}, "when": "true"}),
            json!({"name": "a", "delay": "10ms"}),
        ]
        .map(step),
    );
    for value in good {
        assert_eq!(refusal(&value), None, "{value}");
        assert!(validator.is_valid(&value), "{value}: {:?}", validator.validate(&value).err());
    }
}

#[test]
fn broken_ones_do_not_fit_and_the_place_is_told() {
    let validator = validator();
    let step = |step: Value| json!({"name": "x", "steps": [step]});
    let at_step = "/steps/0";
    for (value, place) in [
        (json!([]), ""),
        (json!({}), ""),
        (json!({"name": "x"}), ""),
        (json!({"name": "x", "steps": []}), "/steps"),
        (json!({"name": "X y", "steps": [{"name": "a", "delay": "1s"}]}), "/name"),
        (json!({"name": "x", "window": 300, "steps": [{"name": "a", "delay": "1s"}]}), "/window"),
        (json!({"name": "x", "window": "5 minutes", "steps": [{"name": "a", "delay": "1s"}]}), "/window"),
        (json!({"name": "x", "colour": "red", "steps": [{"name": "a", "delay": "1s"}]}), ""),
        (json!({"name": "x", "tags": {"n": 1}, "steps": [{"name": "a", "delay": "1s"}]}), "/tags/n"),
        (json!({"name": "x", "input": [], "steps": [{"name": "a", "delay": "1s"}]}), "/input"),
        (
            json!({"name": "x", "on_sibling_failure": "panic", "steps": [{"name": "a", "delay": "1s"}]}),
            "/on_sibling_failure",
        ),
        (step(json!({"name": "a"})), at_step),
        (step(json!({"name": "a", "delay": "1s", "approval": {"timeout": "1s"}})), at_step),
        (step(json!({"name": "a", "participant": "p"})), at_step),
        (step(json!({"name": "a", "participant": "p", "kind": "pivot", "compensation": "undo"})), at_step),
        (step(json!({"name": "a", "participant": "p", "compensation": {"timeout": "1s"}})), at_step),
        (step(json!({"name": "a", "participant": "p", "kind": "pivot", "for_each": {"items": []}})), at_step),
        (step(json!({"name": "a", "saga": "s", "version": 1, "action": "b", "timeout": "1s"})), at_step),
        (step(json!({"name": "a", "saga": "s", "version": 1, "kind": "read", "timeout": "1s"})), at_step),
        (
            step(json!({"name": "a", "saga": "s", "version": 1, "compensation": "undo", "timeout": "1s"})),
            at_step,
        ),
        (step(json!({"name": "a", "saga": "s", "version": 0, "timeout": "1s"})), at_step),
        (step(json!({"name": "a", "participant": "p", "compensation": "u", "version": 1})), at_step),
        (step(json!({"name": "a", "delay": "1s", "timeout": "1s"})), at_step),
        (step(json!({"name": "a", "signal": {}})), at_step),
        (step(json!({"name": "a", "signal": {"timeout": "1s", "default": 1}})), at_step),
        (step(json!({"name": "a", "delay": "1s", "needs": ["b", "b"]})), at_step),
        (step(json!({"name": "a", "delay": "1s", "when": "${{ true }}"})), at_step),
        (step(json!({"name": "a", "delay": "1s", "retries": 3})), at_step),
        (
            step(json!({"name": "a", "participant": "p", "compensation": "u", "retry": {"attempts": 101}})),
            at_step,
        ),
        (
            step(
                json!({"name": "a", "participant": "p", "compensation": "u", "for_each": {"items": [], "as": "input"}}),
            ),
            at_step,
        ),
        (
            step(
                json!({"name": "a", "participant": "p", "compensation": "u", "for_each": {"items": [], "max": 1001}}),
            ),
            at_step,
        ),
    ] {
        assert!(refusal(&value).is_some(), "good after all: {value}");
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|error| error.instance_path().to_string()).collect();
        assert!(errors.iter().any(|error| error.starts_with(place)), "{value}: {errors:?}");
        assert!(errors.iter().all(|error| error.starts_with(place)), "{value}: {errors:?}");
    }
}

/// What the schema takes is read, and what is a definition fits the schema, for any value at any place.
#[test]
fn it_agrees_with_what_is_read_and_checked() {
    let validator = validator();
    let mut values: Vec<Value> = mappings()
        .into_iter()
        .flat_map(|mapping| mapping.fields)
        .flat_map(|field| field.default.into_iter().chain([field.example]))
        .collect();
    values.extend([true, false].map(Value::from));
    values.extend([-1, 0, 1, 2, 10, 11, 100, 101, 1000, 1001, i64::from(i32::MAX), 1 << 40].map(Value::from));
    values.extend([-0.1, 0.9, 1.1, 10.5].map(Value::from));
    values.extend(
        ["", "x", "X y", "-a", "none", "0s", "1ms", "9ms", "10ms", "24h", "25h", "30d", "31d", "10", "1 m"]
            .map(Value::from),
    );
    values.extend(
        [
            "wait",
            "fail",
            "continue",
            "reject",
            "read",
            "retriable",
            "compensatable",
            "a",
            "${{ input.rows }}",
        ]
        .map(Value::from),
    );
    values.extend([
        json!([]),
        json!({}),
        json!(["a"]),
        json!([1]),
        json!({"action": "undo"}),
        json!({"timeout": "1s"}),
    ]);
    values.extend([
        json!({"x": 1}),
        json!("x".repeat(64)),
        json!("x".repeat(65)),
        json!([["a"]]),
        json!(["a", "a"]),
    ]);
    let mut both = 0;
    let mut judge = |value: &Value, is_odd: bool, what: &str| {
        let (fits, refused) = (validator.is_valid(value), refusal(value));
        if fits {
            let read = serde_json::from_value::<Draft>(value.clone());
            assert!(read.is_ok(), "{what}: fits and cannot be read: {read:?}");
        }
        if refused.is_none() && !is_odd {
            both += 1;
            assert!(fits, "{what}: a definition that does not fit: {:?}", validator.validate(value).err());
        }
    };
    for place in places() {
        for value in &values {
            let mut changed = whole();
            let field = changed.pointer_mut(&place).expect("a place");
            // Read all the same: a field whose value is nothing, as one that is left out, and a list, as the fields of a mapping in
            // their order. An editor had better say that something is wrong.
            let is_odd = value.is_null() || value.is_array() && field.is_object();
            *field = value.clone();
            judge(&changed, is_odd, &format!("{place} is {value}"));
        }
        let mut without = whole();
        let (parent, name) = place.rsplit_once('/').expect("a pointer");
        let parent = without.pointer_mut(parent).and_then(Value::as_object_mut).expect("a mapping");
        parent.remove(name);
        judge(&without, false, &format!("without {place}"));
    }
    assert!(both > 200, "only {both} were definitions");
}

/// The limits that people are told are those that are kept.
#[test]
fn limits_are_where_they_are_said_to_be() {
    for (place, good, bad) in [
        ("/window", json!("30d"), json!("721h")),
        ("/steps/0/timeout", json!("10ms"), json!("9ms")),
        ("/steps/0/timeout", json!("24h"), json!("86400001ms")),
        ("/steps/0/compensation/timeout", json!("10ms"), json!("9ms")),
        ("/steps/1/signal/timeout", json!("10ms"), json!("9ms")),
        ("/steps/2/approval/timeout", json!("10ms"), json!("9ms")),
        ("/steps/3/delay", json!("10ms"), json!("9ms")),
        ("/steps/4/timeout", json!("10ms"), json!("9ms")),
        ("/steps/0/retry/attempts", json!(100), json!(101)),
        ("/steps/0/retry/backoff", json!("0s"), json!("3s")),
        ("/steps/0/retry/cap", json!("1h"), json!("3600001ms")),
        ("/steps/0/retry/factor", json!(10), json!(10.1)),
        ("/steps/0/retry/jitter", json!(1), json!(1.01)),
        ("/steps/0/for_each/concurrency", json!(100), json!(101)),
        ("/steps/0/for_each/max", json!(1000), json!(1001)),
        ("/steps/0/for_each/as", json!("x".repeat(64)), json!("x".repeat(65))),
        ("/name", json!("x".repeat(64)), json!("x".repeat(65))),
    ] {
        for (value, is_good) in [(good, true), (bad, false)] {
            let mut changed = whole();
            *changed.pointer_mut(place).expect("a place") = value.clone();
            // The templates speak of the item by its name.
            assert_eq!(refusal(&changed).is_none(), is_good, "{place} {value}: {:?}", refusal(&changed));
        }
    }
    let mut short = json!({"name": "x", "window": "1s", "steps": [{"name": "a", "delay": "10ms"}]});
    assert_eq!(refusal(&short), None);
    short["window"] = json!("999ms");
    assert!(refusal(&short).is_some_and(|why| why.contains("1s to")));
    let long = |steps: usize| {
        let steps: Vec<Value> =
            (0..steps).map(|n| json!({"name": format!("s{n}"), "delay": "10ms"})).collect();
        json!({"name": "x", "steps": steps})
    };
    for (value, is_good) in [(long(200), true), (long(201), false)] {
        assert_eq!((refusal(&value).is_none(), validator().is_valid(&value)), (is_good, is_good));
    }
    let tagged = |tags: usize| {
        let tags: serde_json::Map<String, Value> = (0..tags).map(|n| (format!("t{n}"), json!("x"))).collect();
        json!({"name": "x", "tags": tags, "steps": [{"name": "a", "delay": "10ms"}]})
    };
    for (value, is_good) in [(tagged(20), true), (tagged(21), false)] {
        assert_eq!((refusal(&value).is_none(), validator().is_valid(&value)), (is_good, is_good));
    }
}
