//! Nothing that is written makes an evaluation panic, or take more than its budget; and what the check has nothing to
//! say about does not fail for its types.

use proptest::prelude::*;
use serde_json::{Value, json};
use snorri_saga::expression::{Checked, Expression, Scope, Type, Unresolved};
use snorri_saga::template::Template;

use crate::generate::{INPUT, Kind, SCHEMA, Writer};
use crate::saga::{Saga, output};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Whether a value is of a type.
fn is_of(value: &Value, ty: &Type) -> bool {
    match ty {
        Type::Any => true,
        Type::Nothing => false,
        Type::Null => value.is_null(),
        Type::Bool => value.is_boolean(),
        Type::Int | Type::Double | Type::Number => value.is_number(),
        Type::String => value.is_string(),
        Type::List(item) => {
            value.as_array().is_some_and(|items| items.iter().all(|value| is_of(value, item)))
        }
        Type::Object(fields) => value.as_object().is_some_and(|object| {
            let all_there = fields.required.iter().all(|name| object.contains_key(name));
            all_there
                && object.iter().all(|(name, value)| match (fields.declared.get(name), &fields.others) {
                    (Some(ty), _) => is_of(value, ty),
                    (None, Some(ty)) => is_of(value, ty),
                    (None, None) => false,
                })
        }),
    }
}

/// Inputs that conform to [`SCHEMA`], with numbers in many spellings.
fn inputs() -> impl Strategy<Value = Value> {
    let number = |text: String| serde_json::from_str::<Value>(&text).expect("a number");
    let int = prop_oneof![
        (-5_i64..20).prop_map(|n| n.to_string()),
        (-5_i64..20).prop_map(|n| format!("{n}.00")),
        (1_i64..20).prop_map(|n| format!("{n}e1")),
        any::<i64>().prop_map(|n| n.to_string()),
        Just("123456789012345678901".to_owned()),
        Just("1e25".to_owned()),
    ]
    .prop_map(number);
    let double = prop_oneof![
        (-400_i32..400).prop_map(|n| format!("{}", f64::from(n) / 4.0)),
        (-9_i64..9).prop_map(|n| n.to_string()),
        Just("1e300".to_owned()),
        Just("0.1e-5".to_owned()),
    ]
    .prop_map(number);
    let text = prop_oneof![Just("12".to_owned()), "[a-cü\\\\\"\n]{0,4}"];
    let row = (int.clone(), text.clone(), any::<bool>(), prop::option::of(text.clone())).prop_map(
        |(n, name, ok, note)| {
            let mut row = json!({"n": n, "name": name, "ok": ok});
            if let Some(note) = note {
                row["note"] = json!(note);
            }
            row
        },
    );
    let ints = prop::collection::vec(int.clone(), 0..5);
    let numbers = (prop::collection::vec(int, 4), double.clone(), double);
    let rest = (prop::collection::vec(text, 3), any::<bool>(), any::<bool>());
    (numbers, rest, ints.clone(), ints, prop::collection::vec(row, 0..4)).prop_map(
        |((i, d, e), (s, yes, no), ints, none, rows)| {
            json!({"i": i[0], "j": i[1], "zero": i[2], "d": d, "e": e, "s": s[0], "t": s[1], "u": s[2], "yes": yes,
                "no": no, "ints": ints, "none": none, "rows": rows, "deep": {"er": {"i": i[3]}, "x": 1}})
        },
    )
}

/// Failures that depend on values and not on types.
fn is_of_a_value(failure: &Unresolved) -> bool {
    let of_values = [
        "more than 64 bits",
        "division by zero",
        "too many digits",
        "the text is no whole number",
        "the text is no number",
        "infinite or no number",
        "has no order",
    ];
    match failure {
        Unresolved::Failed { message, .. } => of_values.iter().any(|of| message.contains(of)),
        // The place in a list may be beyond its end.
        Unresolved::Missing(missing) => missing.path.trim_end_matches(')').ends_with(']'),
        Unresolved::TooLarge(_) | Unresolved::TooDeep(_) | Unresolved::TooCostly { .. } => true,
    }
}

proptest! {
    #![proptest_config(config(500))]

    /// Also: the value is of the type that was said.
    #[test]
    fn what_is_checked_without_a_word_does_not_fail_for_its_types(
        choices in prop::collection::vec(any::<u8>(), 0..80), careless: bool, input in inputs(),
    ) {
        let mut writer = Writer::new(&choices);
        writer.careless = careless;
        let source = writer.expression(Kind::Anything, 4);
        let expression = Expression::parse(&source).expect(&source);
        let schema = serde_json::from_str(SCHEMA).expect("JSON");
        let checked = expression.check(&Scope::new(Type::of_schema(&schema)));
        if !careless && let Err(errors) = &checked {
            // The doubles of the input are numbers, and such a one may be whole.
            let whole = errors.iter().all(|bad| bad.told.to_string().starts_with("`/` drops the fraction"));
            prop_assert!(whole, "{source}: {errors:?}");
        }
        if let Ok(Checked { ty, warnings }) = checked && warnings.is_empty() {
            let saga = Saga::with_input(&input.to_string());
            match expression.evaluate(&saga.names(&output)) {
                Ok(value) => prop_assert!(is_of(&value, &ty), "{source}: {value} is no {ty}"),
                Err(failure) => prop_assert!(is_of_a_value(&failure), "{source}: {failure}"),
            }
        }
    }

    #[test]
    fn an_input_of_random_shape_makes_nothing_worse_than_a_failure(
        choices in prop::collection::vec(any::<u8>(), 0..80), cut in any::<prop::sample::Index>(), input in inputs(),
    ) {
        let mut writer = Writer::new(&choices);
        writer.careless = true;
        let expression = Expression::parse(&writer.expression(Kind::Anything, 5)).expect("an expression");
        // Every field has the value of another one.
        let fields: Vec<Value> = input.as_object().expect("an object").values().cloned().collect();
        let turned = input.as_object().expect("an object").keys().enumerate();
        let turned: serde_json::Map<String, Value> = turned
            .map(|(at, key)| (key.clone(), fields[(at + cut.index(fields.len())) % fields.len()].clone()))
            .collect();
        let saga = Saga::with_input(&Value::Object(turned).to_string());
        let result = expression.evaluate_within(&saga.names(&output), 300);
        if let Ok(json) = &result {
            prop_assert!(json.len() <= 300);
        }
        prop_assert_eq!(result, expression.evaluate_within(&saga.names(&output), 300), "the same again");
    }

    /// What has no value when everything is there had none when something was still to come, or it was not known yet.
    #[test]
    fn what_is_missing_for_certain_stays_missing(
        choices in prop::collection::vec(any::<u8>(), 0..60), input in inputs(),
    ) {
        let mut writer = Writer::new(&choices);
        writer.careless = true;
        let source = writer.expression(Kind::Anything, 4).replace("input.ints", "steps.later.output").replace("input.yes", "steps.later.output[0]");
        let expression = Expression::parse(&source).expect("an expression");
        let saga = Saga::with_input(&input.to_string());
        let missing = expression.missing(&saga.names(&|_| None));
        for output in ["[1,2]", "[]", "[true]", "null"] {
            let output = snorri_saga::json::Json::parse(output).expect("JSON");
            let there = |_: &str| Some(output.clone());
            let value = expression.evaluate(&saga.names(&there));
            prop_assert!(missing.is_none() || value.is_err(), "{source}: {missing:?} {value:?}");
        }
    }

    /// A plain path of a template and the same path as an expression are one.
    #[test]
    fn a_path_is_the_expression_that_it_looks_like(
        fields in prop::collection::vec(prop::sample::select(vec!["i", "rows", "deep", "er", "n", "none", "x", "s"]), 0..4),
        at in prop::option::of(0..3_usize),
    ) {
        let mut path = "input".to_owned();
        let mut source = path.clone();
        for field in &fields {
            path.extend([".", field]);
            source.extend([".", field]);
            if let Some(at) = at.filter(|_| *field == "rows") {
                path.extend([".", &at.to_string()]);
                source.extend(["[", &at.to_string(), "]"]);
            }
        }
        let template = Template::parse(&json!(format!("${{{{ {path} }}}}"))).expect("a template");
        let expression = Expression::parse(&source).expect("an expression");
        let saga = Saga::with_input(INPUT);
        let names = saga.names(&output);
        let (filled, value) = (template.resolve(&names, 1000), expression.evaluate_within(&names, 1000));
        prop_assert_eq!(filled.clone().ok(), value.clone().ok(), "{}", source);
        if let (Err(Unresolved::Missing(path)), Err(Unresolved::Missing(part))) = (filled, value) {
            prop_assert!(path.path.starts_with("input") && part.path.starts_with("input"));
        }
        let scope = Scope::new(Type::of_schema(&serde_json::from_str(SCHEMA).expect("JSON")));
        let checked = expression.check(&scope);
        let (errors, warnings) = (template.check(&scope).len(), template.warnings(&scope).len());
        prop_assert_eq!(checked.as_ref().err().map_or(0, Vec::len), errors, "{}", source);
        prop_assert_eq!(checked.map_or(0, |checked| checked.warnings.len()), warnings, "{}", source);
    }

    #[test]
    fn any_text_parses_or_is_refused_with_a_place_in_it(
        source in prop_oneof!["\\PC{0,60}", "[a-c0-9.()\\[\\]{}!?:,'\"\\\\+*/%<>=&| -]{0,80}"],
    ) {
        if let Err(bad) = Expression::parse(&source) {
            prop_assert!(bad.offset <= source.len() && source.is_char_boundary(bad.offset), "{source:?} {bad:?}");
            prop_assert!(!bad.told.message.is_empty() && bad.told.to_string().len() < 500);
        }
    }

    /// Tokens in any order, and expressions with one character changed.
    #[test]
    fn what_is_almost_an_expression_is_no_worse(
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..30),
        choices in prop::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), other in any::<char>(),
    ) {
        let written = Writer::new(&choices).expression(Kind::Anything, 4);
        let at = at.index(written.chars().count());
        let changed: String = written.chars().enumerate().map(|(i, c)| if i == at { other } else { c }).collect();
        for source in [tokens.concat(), tokens.join(" "), changed] {
            match Expression::parse(&source) {
                Err(bad) => prop_assert!(bad.offset <= source.len(), "{source:?} {bad:?}"),
                Ok(expression) => {
                    let saga = Saga::with_input(INPUT);
                    drop(expression.evaluate(&saga.names(&output)));
                    drop(expression.check(&Scope::default()));
                }
            }
        }
    }
}

const TOKENS: &[&str] = &[
    "input",
    "steps",
    "saga",
    "index",
    "row",
    "x",
    ".",
    "a",
    "pay",
    "output",
    "has",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "?",
    ":",
    ",",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "&&",
    "||",
    "==",
    "<",
    "in",
    "1",
    "2.5",
    "'t'",
    "true",
    "null",
    ".map(x,",
    ".all(y,",
    "size(",
    "0x",
    "//",
    "\n",
    "\\",
    "\"",
    "'''",
    "9999999999999999999",
    "ü",
    "r'",
    "1e",
    ".5",
    "u",
];
