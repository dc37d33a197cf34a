//! The same random expressions here and in the crate `cel`: what both know has the same value in both.

use cel::objects::{Key, Map, Value as CelValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::generate::{INPUT, Kind, Writer};
use crate::saga::evaluate_with;

fn to_cel(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => CelValue::Int(value),
            None => CelValue::Float(number.as_f64().expect("a double")),
        },
        Value::String(text) => CelValue::String(text.clone().into()),
        Value::Array(items) => CelValue::List(items.iter().map(to_cel).collect::<Vec<_>>().into()),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (Key::String(key.clone().into()), to_cel(value)));
            CelValue::Map(Map { map: fields.collect::<std::collections::HashMap<_, _>>().into() })
        }
    }
}

/// As JSON, with doubles told from ints. None for what JSON cannot say.
fn to_json(value: &CelValue) -> Option<Value> {
    Some(match value {
        CelValue::Null => Value::Null,
        CelValue::Bool(value) => json!(value),
        CelValue::Int(value) => json!(value),
        CelValue::Float(value) => Value::Number(serde_json::Number::from_f64(*value)?),
        CelValue::String(text) => json!(text.as_str()),
        CelValue::List(items) => Value::Array(items.iter().map(to_json).collect::<Option<_>>()?),
        CelValue::Map(map) => {
            let field = |(key, value): (&Key, &CelValue)| match key {
                Key::String(key) => Some((key.as_ref().clone(), to_json(value)?)),
                _ => None,
            };
            Value::Object(map.map.iter().map(field).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// What the crate makes of a source.
fn theirs(source: &str) -> Result<Option<Value>, String> {
    let program = cel::Program::compile(source).map_err(|error| format!("does not parse: {error}"))?;
    let mut context = cel::Context::default();
    let input: Value = serde_json::from_str(INPUT).expect("JSON");
    context.add_variable_from_value("input", to_cel(&input));
    program.execute(&context).map(|value| to_json(&value)).map_err(|error| error.to_string())
}

fn ours(source: &str) -> Result<Value, String> {
    evaluate_with(INPUT, source).map(|text| serde_json::from_str(&text).expect("JSON"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_give_the_same_value(choices in prop::collection::vec(any::<u8>(), 0..80)) {
        let source = Writer::new(&choices).expression(Kind::Anything, 4);
        match (ours(&source), theirs(&source)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(Some(ours), theirs, "{}", source),
            // What has no value in JSON is a failure here.
            (Err(_), Err(_) | Ok(None)) => {}
            (ours, theirs) => prop_assert!(false, "{source}\nours: {ours:?}\ntheirs: {theirs:?}"),
        }
    }

    /// With operands of the wrong types here and there. Where only the crate refuses, an int met a double, or an
    /// error was forgiven that it does not forgive.
    #[test]
    fn what_the_crate_gives_a_value_has_the_same_here(choices in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut writer = Writer::new(&choices);
        writer.careless = true;
        let source = writer.expression(Kind::Anything, 4);
        if let Ok(Some(theirs)) = theirs(&source) {
            prop_assert_eq!(ours(&source), Ok(theirs), "{}", source);
        }
    }
}
