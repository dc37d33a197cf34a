//! What templates are filled in with.

use super::*;
use crate::expression::{Each, Facts};
use crate::ids::SagaId;
use serde_json::json;

/// Fills a template in for a saga with that input and those outputs.
fn fill(
    template: &Template,
    input: &Json,
    output: impl Fn(&str) -> Option<Json>,
    bytes_max: usize,
) -> Result<Json, Unresolved> {
    template.resolve(&names(input, &output), bytes_max)
}

fn names<'a>(input: &'a Json, output: &'a dyn Fn(&str) -> Option<Json>) -> Names<'a> {
    let saga = Facts { id: SagaId(uuid::Uuid::nil()), definition: "order", version: 3 };
    Names { input, output, each: None, saga }
}

#[test]
fn a_template_takes_from_the_input_and_from_earlier_outputs() {
    let template = Template::parse(&json!({
        "order": "${{ input.order.id }}", "hold": "${{ steps.pay.output }}", "first": "${{input.lines.0}}",
        "note": "as is", "n": [1, "${{ input.order.id }}"]
    }))
    .expect("a template");
    let input = Json::from_value(&json!({"order": {"id": 7}, "lines": ["a", "b"]}));
    let output = |step: &str| (step == "pay").then(|| Json::from_value(&json!({"id": "h1"})));
    let filled = fill(&template, &input, output, 1000).expect("filled in").to_value();
    assert_eq!(filled, json!({"order": 7, "hold": {"id": "h1"}, "first": "a", "note": "as is", "n": [1, 7]}));
}

#[test]
fn a_path_to_nothing_names_itself() {
    let template = Template::parse(&json!("${{ input.a.b }}")).expect("a template");
    let missing = fill(&template, &Json::null(), |_| None, 1000).expect_err("nothing there");
    assert_eq!(missing.to_string(), "`input.a.b` names nothing in this saga");
}

#[test]
fn a_small_template_that_names_a_large_payload_many_times_stops_at_the_limit() {
    let many = vec!["${{ steps.a.output }}"; 999];
    let template = Template::parse(&json!(many)).expect("a template");
    let large = Json::from_value(&json!("x".repeat(60_000)));
    let filled = fill(&template, &Json::null(), |_| Some(large.clone()), 65_536);
    assert_eq!(filled, Err(Unresolved::TooLarge(65_536)));
    let more = vec!["${{ input }}"; 1001];
    assert!(Template::parse(&json!(more)).is_err(), "and not as many as one likes");
}

#[test]
fn what_is_missing_already_is_told_from_what_is_still_to_come() {
    let template = Template::parse(&json!({
        "a": "${{ input.a }}", "b": ["${{ steps.done.output.id }}", "${{ steps.later.output.id }}"]
    }))
    .expect("a template");
    let missing = |input: serde_json::Value, done: serde_json::Value| {
        let done = Json::from_value(&done);
        let output = |step: &str| (step == "done").then(|| done.clone());
        template
            .missing(&names(&Json::from_value(&input), &output), &|step| step == "later")
            .map(|why| why.to_string())
    };
    assert_eq!(missing(json!({"a": null}), json!({"id": 1})), None);
    assert_eq!(missing(json!({}), json!({"id": 1})).as_deref(), Some("`input.a` names nothing in this saga"));
    let gone = "`steps.done.output.id` names nothing in this saga";
    assert_eq!(missing(json!({"a": 1}), json!([])).as_deref(), Some(gone));
}

#[test]
fn what_is_no_path_is_refused_with_its_place() {
    for (text, pointer) in [
        (json!({"a": ["${{ now() }}"]}), "/a/0"),
        (json!({"a/b": "${{ steps.pay.result }}"}), "/a~1b"),
        (json!("${{ input.a"), ""),
        (json!("id ${{ input.a }}"), ""),
        (json!("${{ input..a }}"), ""),
        (json!("${{ steps }}"), ""),
    ] {
        assert_eq!(Template::parse(&text).expect_err("refused").pointer, pointer, "{text}");
    }
}

#[test]
fn a_template_has_at_most_so_many_levels_and_values() {
    let nested = |levels: usize| (1..levels).fold(json!("${{ input }}"), |inner, _| json!([inner]));
    assert!(Template::parse(&nested(32)).is_ok());
    let refused = Template::parse(&nested(33)).expect_err("one too many");
    assert_eq!(
        (refused.pointer, refused.told.to_string()),
        ("/0".repeat(32), "nests deeper than 32 levels".to_owned())
    );
    // Lists and objects count as values too.
    let pairs = |n: usize| json!(vec![json!({"a": 1, "b": null}); n]);
    assert!(Template::parse(&pairs(333)).is_ok());
    let refused = Template::parse(&pairs(334)).expect_err("too many");
    assert_eq!(refused.told.to_string(), "1003 values: a template has at most 1000");
}

#[test]
fn what_fills_its_limit_to_the_byte_fits() {
    let template =
        Template::parse(&json!({"a": "${{ input }}", "b": [1, "${{ input }}"]})).expect("a template");
    let (input, filled) = (Json::from_value(&json!("xyz")), r#"{"a":"xyz","b":[1,"xyz"]}"#);
    let fill = |bytes_max| fill(&template, &input, |_| None, bytes_max);
    assert_eq!(fill(filled.len()).expect("filled in").get(), filled);
    assert_eq!(fill(filled.len() - 1), Err(Unresolved::TooLarge(filled.len() - 1)));
}

#[test]
fn a_field_is_named_by_letters_digits_underscores_and_hyphens() {
    let input = Json::from_value(&json!({"order_id": {"line-2": {"größe": ["s", "m"]}}}));
    let pick = |path: &str| {
        let template =
            Template::parse(&json!(format!("${{{{ {path} }}}}"))).map_err(|bad| bad.told.to_string())?;
        fill(&template, &input, |_| None, 1000).map_err(|why| why.to_string()).map(|json| json.to_value())
    };
    assert_eq!(pick("input.order_id.line-2.größe.1"), Ok(json!("m")));
    for nothing in ["input.order_id.line-2.größe.2", "input.order_id.line-2.größe.m", "input.0"] {
        assert_eq!(pick(nothing), Err(format!("`{nothing}` names nothing in this saga")));
    }
    for (path, message) in [
        ("input.a b", "expected an operator or the end, found `b`"),
        ("input.", "expected a field's name behind `.`, found the end"),
    ] {
        assert_eq!(pick(path), Err(message.to_owned()));
    }
}

/// Fills a template in for an item of a `for_each`, with an output of the step `pay` alone.
fn fill_for_item(template: &Value, input: &str) -> Result<String, String> {
    let template = Template::parse(template).map_err(|bad| format!("{}: {}", bad.offset, bad.told))?;
    let (input, item) = (Json::parse(input).expect("JSON"), Json::parse(r#"{"x":1.50}"#).expect("JSON"));
    let output = |step: &str| (step == "pay").then(|| Json::parse(r#"{"id":"p1"}"#).expect("JSON"));
    let each = Some(Each { name: "row", item: &item, index: 2 });
    let names = Names { each, ..names(&input, &output) };
    template.resolve(&names, 1000).map(|json| json.get().to_owned()).map_err(|why| why.to_string())
}

#[test]
fn a_text_that_is_an_expression_is_replaced_by_its_value() {
    for (template, filled) in [
        (json!("${{ input.n + 1 }}"), "8"),
        (json!("  ${{input.n > 1 ? 'many' : 'few'}} "), r#""many""#),
        (json!(["${{ 'p-' + steps.pay.output.id }}", "${{ index }}", 1]), r#"["p-p1",2,1]"#),
        (json!({"x": "${{ row.x }}", "y": "${{ row.x * 2 }}"}), r#"{"x":1.50,"y":3.0}"#),
        (json!("${{ saga.definition + string(saga.version) }}"), r#""order3""#),
        (json!("${{ has(steps.ship.output) ? steps.ship.output.id : null }}"), "null"),
        (json!("${{ '}}' + '${{' }}"), r#""}}${{""#),
        (json!("${{ true }}"), "true"),
        (json!("${{ {'a': [input.big]} }}"), r#"{"a":[123456789012345678901234567890]}"#),
    ] {
        let input = r#"{"n":7,"big":123456789012345678901234567890}"#;
        assert_eq!(fill_for_item(&template, input).as_deref(), Ok(filled), "{template}");
    }
    for (template, message) in [
        ("${{ input.n + 'a' }}", "`input.n + 'a'` fails at byte 8: `+` does not take int and string"),
        ("${{ [input.x] }}", "`input.x` names nothing in this saga (in `[input.x]`)"),
        ("${{ item.x }}", "`item.x` names nothing in this saga"),
        ("  ${{ 1 + }}", "9: expected a value, found the end"),
        ("${{ input.a }} and ${{ input.b }}", "does not stand alone in its text"),
        ("${{ }}", "4: there is no expression"),
    ] {
        let failure = fill_for_item(&json!(template), r#"{"n":7}"#).expect_err(template);
        assert!(failure.contains(message), "{template}: {failure}");
    }
}

#[test]
fn a_path_passes_on_what_it_names_digit_by_digit() {
    let input =
        r#"{"a":{"price":10.50,"big":123456789012345678901234567890,"small":1.0E-7,"list":[1.0,{"b":[]}]}}"#;
    for (path, value) in [
        ("input.a.price", "10.50"),
        ("input.a.big", "123456789012345678901234567890"),
        ("input.a.list", r#"[1.0,{"b":[]}]"#),
        (
            "input",
            r#"{"a":{"big":123456789012345678901234567890,"list":[1.0,{"b":[]}],"price":10.50,"small":1.0E-7}}"#,
        ),
        ("row", r#"{"x":1.50}"#),
    ] {
        let filled = fill_for_item(&json!(format!("${{{{ {path} }}}}")), input).expect("filled in");
        let (filled, value): (Value, Value) =
            (serde_json::from_str(&filled).expect("JSON"), serde_json::from_str(value).expect("JSON"));
        // Numbers are equal when their digits are.
        assert_eq!(filled, value, "{path}");
    }
}

#[test]
fn the_expressions_of_a_template_share_a_budget() {
    let input = Json::from_value(&json!({"list": (0..4000).collect::<Vec<_>>()}));
    let costly = |times: usize| {
        let template = Template::parse(&json!(vec!["${{ input.list.all(x, x >= 0) }}"; times]));
        fill(&template.expect("a template"), &input, |_| None, 1000)
    };
    // An item costs one for itself and three for the parts of the condition.
    assert_eq!(costly(6).expect("filled in").get(), "[true,true,true,true,true,true]");
    assert!(matches!(costly(7), Err(Unresolved::TooCostly { budget: COST_MAX, .. })));
}

#[test]
fn what_is_filled_in_nests_no_deeper_than_a_payload_may() {
    let nested = |levels: usize| {
        let input = Json::parse(&format!("{}{}", "[".repeat(levels), "]".repeat(levels))).expect("JSON");
        fill(&Template::parse(&json!([["${{ input }}"]])).expect("a template"), &input, |_| None, 1000)
    };
    assert!(nested(62).is_ok());
    assert_eq!(nested(63), Err(Unresolved::TooDeep(64)));
}

#[test]
fn an_expression_that_fails_for_certain_is_missing_before_its_turn() {
    let missing = |source: &str| {
        let template = Template::parse(&json!([format!("${{{{ {source} }}}}")])).expect("a template");
        let input = Json::from_value(&json!({"n": 7, "zero": 0, "many": (0..400).collect::<Vec<_>>()}));
        let output = |step: &str| (step == "done").then(|| Json::from_value(&json!({"id": 1})));
        template.missing(&names(&input, &output), &|step| step == "later").map(|why| why.to_string())
    };
    for possible in [
        "input.n + 1",
        "steps.later.output.id + 1",
        "steps.later.output.ok || input.x",
        "input.x || steps.later.output.ok",
        "has(steps.later.output) ? 1 : input.x",
        "steps.later.output.map(x, input.x)",
        "row.x + 1",
        "index + 1",
        "input.n > 1 ? steps.later.output : input.x",
        // Too costly, unless what is to come decides.
        "steps.later.output.ok || input.many.all(x, input.many.all(y, x + y >= 0))",
    ] {
        assert_eq!(missing(possible), None, "{possible}");
    }
    for (certain, message) in [
        ("input.x + 1", "`input.x` names nothing"),
        ("steps.later.output.id + input.x", "`input.x` names nothing"),
        ("[steps.later.output, input.x]", "`input.x` names nothing"),
        ("{'a': steps.later.output, 'b': 1 / input.zero}", "division by zero"),
        ("size(steps.done.output.name)", "`steps.done.output.name` names nothing"),
        ("input.zero == 0 ? input.x : steps.later.output", "`input.x` names nothing"),
        ("input.x && steps.done.output.id == 1", "`input.x` names nothing"),
    ] {
        let why = missing(certain).expect(certain);
        assert!(why.contains(message), "{certain}: {why}");
    }
}
