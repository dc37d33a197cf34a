//! Any text as an expression and as a template: parsed, checked and evaluated over a fixed saga. What is refused must say
//! where; what has a value must have it again, within its limit; and what was certain to fail must fail.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use snorri_saga::expression::{Each, Expression, Facts, Names, Scope, Type};
use snorri_saga::ids::SagaId;
use snorri_saga::json::Json;
use snorri_saga::template::Template;

const BYTES_MAX: usize = 4096;

static INPUT: LazyLock<Json> = LazyLock::new(|| {
    let rows: Vec<Value> =
        (0..40).map(|n| json!({"n": n, "name": format!("row {n}"), "ok": n % 2 == 0})).collect();
    let many: Vec<u32> = (0..330).collect();
    let text = json!({"i": 7, "d": 2.5, "s": "Grüße", "yes": true, "nil": null, "rows": rows, "many": many,
        "long": "x".repeat(3000), "deep": {"er": {"i": [1, [2, [3]]]}}})
    .to_string();
    let text = text
        .replace("\"nil\"", "\"big\":123456789012345678901234567890,\"money\":10.50,\"whole\":2.0,\"nil\"");
    Json::parse(&text).expect("JSON")
});
static OUTPUT: LazyLock<Json> =
    LazyLock::new(|| Json::parse(r#"{"id":"p1","amount":[1.5,2]}"#).expect("JSON"));
static SCOPE: LazyLock<Scope> = LazyLock::new(|| {
    let schema = json!({"type": "object", "required": ["i", "s", "rows"], "properties": {
        "i": {"type": "integer"}, "d": {"type": "number"}, "s": {"type": "string"}, "yes": {"type": "boolean"},
        "rows": {"type": "array", "items": {"type": "object", "required": ["n"], "additionalProperties": false,
            "properties": {"n": {"type": "integer"}, "name": {"type": "string"}, "ok": {"type": "boolean"}}}}}});
    Scope::new(Type::of_schema(&schema)).step_that_may_be_skipped("pay", Type::Any).each("row", Type::Any)
});

fuzz_target!(|source: &str| {
    let there = |step: &str| (step == "pay").then(|| OUTPUT.clone());
    let nowhere = |_: &str| None;
    let saga = Facts { id: SagaId(uuid::Uuid::nil()), definition: "order", version: 3 };
    let each = Some(Each { name: "row", item: &OUTPUT, index: 2 });
    let names = Names { input: &INPUT, output: &there, each, saga };
    let earlier = Names { output: &nowhere, each: None, ..names };

    if let Ok(template) = Template::parse(&json!({"a": format!("${{{{ {source} }}}}")})) {
        drop(template.warnings(&SCOPE));
        let certain = template.missing(&earlier, &|_| true);
        match template.resolve(&names, BYTES_MAX) {
            Ok(filled) => {
                assert!(filled.len() <= BYTES_MAX);
                assert!(serde_json::from_str::<Value>(filled.get()).is_ok(), "it can be read again");
                assert_eq!(certain, None);
            }
            Err(why) => assert!(why.to_string().len() < 2000, "{why}"),
        }
    }
    match Expression::parse(source) {
        Err(bad) => assert!(bad.offset <= source.len() && source.is_char_boundary(bad.offset), "{bad}"),
        Ok(expression) => {
            assert!(source.len() <= snorri_saga::expression::SOURCE_BYTES_MAX);
            for bad in expression.check(&SCOPE).map_or_else(|errors| errors, |checked| checked.warnings) {
                assert!(bad.offset <= source.len() && source.is_char_boundary(bad.offset), "{bad}");
            }
            let value = expression.evaluate_within(&names, BYTES_MAX);
            assert_eq!(value, expression.evaluate_within(&names, BYTES_MAX), "the same again");
            if let Ok(truth) = expression.evaluate_bool(&names) {
                assert_eq!(value.expect("a bool is short").get(), if truth { "true" } else { "false" });
            }
        }
    }
});
