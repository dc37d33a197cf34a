//! What the check of an expression says before any saga runs: types, errors and warnings, each with its place.

use std::sync::Arc;

use serde_json::json;
use snorri_saga::expression::{Checked, Expression, Scope, Type};
use snorri_saga::template::Template;

fn scope() -> Scope {
    let input = json!({
        "type": "object",
        "required": ["n", "price", "name", "yes", "rows", "address", "pair"],
        "additionalProperties": false,
        "properties": {
            "n": {"type": "integer"},
            "price": {"type": "number"},
            "name": {"type": "string"},
            "note": {"type": "string"},
            "yes": {"type": "boolean"},
            "any": true,
            "rows": {"type": "array", "items": {
                "type": "object", "required": ["x"], "additionalProperties": false,
                "properties": {"x": {"type": "integer"}, "ok": {"type": "boolean"}},
            }},
            "address": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}},
            "pair": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
    });
    let paid = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}});
    Scope::new(Type::of_schema(&input))
        .step("pay", Type::of_schema(&paid))
        .step_that_may_be_skipped("gift-wrap", Type::Int)
        .each("row", Type::String)
}

fn check(source: &str) -> Result<Checked, String> {
    let expression = Expression::parse(source).map_err(|bad| bad.to_string())?;
    expression.check(&scope()).map_err(|errors| {
        errors.iter().map(|bad| format!("{}: {}", bad.offset, bad.told)).collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn the_type_of_an_expression() {
    let list = |ty: Type| Type::List(Arc::new(ty));
    for (source, ty) in [
        ("null", Type::Null),
        ("1 + 2", Type::Int),
        ("1 + 2.5", Type::Double),
        ("input.price", Type::Number),
        ("input.price * input.n", Type::Number),
        ("input.price * 1.0", Type::Double),
        ("input.price / 2.0", Type::Double),
        ("-input.price", Type::Number),
        ("input.n % 2", Type::Int),
        ("'a' + input.name", Type::String),
        ("[1] + [2.5]", list(Type::Number)),
        ("[1, 'a']", list(Type::Any)),
        ("[]", list(Type::Nothing)),
        ("[[]]", list(list(Type::Nothing))),
        ("[[], [1]]", list(list(Type::Int))),
        ("[][0]", Type::Any),
        ("input.yes ? input.rows.map(r, r.x) : []", list(Type::Int)),
        ("([] + [1])[0]", Type::Int),
        ("input.yes && input.n > 1", Type::Bool),
        ("!input.yes", Type::Bool),
        ("input.yes ? 1 : 2.5", Type::Number),
        ("input.yes ? 1 : 'a'", Type::Any),
        ("input.rows[0].x", Type::Int),
        ("input.rows.map(r, r.x)", list(Type::Int)),
        ("input.rows.map(r, r.x > 1, string(r.x))", list(Type::String)),
        ("input.rows.filter(r, r.x > 1).size()", Type::Int),
        ("input.rows.all(r, r.x > 1)", Type::Bool),
        ("input.pair.map(k, k)", list(Type::String)),
        ("{'a': 1}.a", Type::Int),
        ("{'a': 'b', input.name: 2}.c", Type::Int),
        ("(input.yes ? {'a': 1, 'b': 'x'} : {'b': 'y', 'c': 2.5}).b", Type::String),
        ("(input.yes ? {'a': 1} : {'b': 'y'}).a", Type::Int),
        ("(input.yes ? input.rows[0] : {'x': 2.5}).x", Type::Number),
        ("input.any - 1", Type::Any),
        ("input.any + 'a'", Type::String),
        ("input.any * 2.5", Type::Double),
        ("input.any % 2", Type::Int),
        ("input.n in [1, 2]", Type::Bool),
        ("'a' in input.pair", Type::Bool),
        ("int('1')", Type::Int),
        ("double(1)", Type::Double),
        ("string(1)", Type::String),
        ("steps.pay.output.id", Type::String),
        ("row", Type::String),
        ("index", Type::Int),
        ("saga.id + saga.definition", Type::String),
        ("saga.version", Type::Int),
    ] {
        assert_eq!(check(source).map(|checked| checked.ty), Ok(ty), "{source}");
    }
}

#[test]
fn what_would_fail_for_every_saga_is_an_error_with_its_place() {
    for (source, errors) in [
        (
            "inptu.n",
            "0: nothing is called `inptu` here: did you mean `input`? There is input, saga, steps, row, index",
        ),
        (
            "input.nmae",
            "6: there is no field `nmae`: did you mean `name`? There is address, any, n, name, note, pair, price, rows, yes",
        ),
        ("1 + input.rows[0].y", "18: there is no field `y`: there is ok, x"),
        (
            "has(input.z)",
            "9: there is no field `z`: there is address, any, n, name, note, pair, price, rows, yes",
        ),
        ("input.name.first", "11: string has no field `first`"),
        ("input.rows.x", "11: a list has no field `x`: an item is written [0]"),
        (
            "steps.pya.output",
            "0: no step `pya` certainly ends before this: did you mean `pay`? There is gift-wrap, pay",
        ),
        ("has(steps.ship.output)", "0: no step `ship` certainly ends before this: there is gift-wrap, pay"),
        (
            "input.n + input.name",
            "8: `+` does not take int and string: write string(x) to put it into a text",
        ),
        ("input.n && true", "0: `&&` takes bools, and this is int"),
        ("true || input.name", "8: `||` takes bools, and this is string"),
        ("!input.n", "1: `!` takes a bool, and this is int"),
        ("-input.name", "0: `-` does not take string"),
        ("input.n ? 1 : 2", "0: the condition of `? :` is a bool, and this is int"),
        ("input.n == 'a'", "8: `==` compares int with string, which are never equal"),
        ("input.n < 'a'", "8: `<` does not take int and string"),
        ("input.rows < input.rows", "11: `<` does not take list of object and list of object"),
        ("null < null", "5: `<` does not take null and null"),
        ("'a' in 'abc'", "4: `in` does not take string and string: write text.contains(part)"),
        ("1 in input.pair", "2: `in` does not take int and object"),
        ("'a' in [1]", "4: `in` does not take string and list of int"),
        (
            "input.price / input.n",
            "12: `/` drops the fraction where both numbers happen to be whole: write double(x) / y",
        ),
        ("input.price % 2", "12: `%` takes whole numbers: write int(x) % y"),
        ("'a' - 'b'", "4: `-` does not take string and string"),
        ("[1] + 1", "4: `+` does not take list of int and int"),
        ("input.rows['a' + 'b']", "11: the place in a list is an int, and this is string"),
        ("input.rows[1.5]", "11: the place in a list is an int, and this is double: write int(x)"),
        ("input.pair[1]", "11: the name of a field is a string, and this is int"),
        ("input.n[0]", "7: int has no items and no fields"),
        ("{1: 2}", "1: the name of a field is a string, and this is int"),
        ("{'a': 1, 'a': 2}", "9: the object has the field `a` already"),
        ("size(input.n)", "5: `size` does not take int"),
        ("input.name.contains(1)", "20: `contains` does not take int"),
        ("int(true)", "4: `int` does not take bool"),
        ("string([])", "7: `string` does not take list"),
        ("input.n.map(x, x)", "0: `map` goes over a list or an object, and this is int"),
        ("input.rows.filter(r, r.x)", "21: the condition of a macro is a bool, and this is int"),
        ("input.rows.map(r, r.x, 1)", "18: the condition of a macro is a bool, and this is int"),
        (
            "input.x + inptu.y",
            "6: there is no field `x`: there is address, any, n, name, note, pair, price, rows, yes\n10: nothing is called `inptu` here: there is input, saga, steps, row, index",
        ),
    ] {
        assert_eq!(check(source).map(|checked| checked.ty), Err(errors.to_owned()), "{source}");
    }
    let outside =
        Expression::parse("index").expect("an expression").check(&Scope::default()).expect_err("no for_each");
    assert_eq!(
        outside[0].told.to_string(),
        "`index` is the place of an item, and this is in no `for_each`: there is input, saga"
    );
}

#[test]
fn what_may_fail_for_some_sagas_is_a_warning() {
    let missing = "is not required and may be missing: ask";
    let undeclared = "is not declared by the schema";
    for (source, warnings) in [
        ("input.note + 'a'", vec![(6, missing)]),
        ("has(input.note) ? input.note : ''", vec![]),
        ("has(input.note) && input.note == 'a'", vec![]),
        ("!has(input.note) || input.note == 'a'", vec![]),
        ("!has(input.note) ? '' : input.note", vec![]),
        ("!(!has(input.note) || input.n == 1) && input.note == 'a'", vec![]),
        ("'note' in input && input.note == 'a'", vec![]),
        ("has(input.note) || input.note == 'a'", vec![(25, missing)]),
        ("(has(input.note) || input.yes) && input.note == 'a'", vec![(40, missing)]),
        ("has(input.note) && input.yes ? '' : input.note", vec![(42, missing)]),
        ("(has(input.note) ? input.note : '') + input.note", vec![(44, missing)]),
        ("input.rows.filter(r, has(r.ok) && r.ok)", vec![]),
        ("input.rows.map(r, has(r.ok), r.ok)", vec![]),
        ("input.rows.map(r, r.ok)", vec![(20, missing)]),
        ("input.rows.all(r, has(r.ok)) && input.rows.all(r, r.ok)", vec![(52, missing)]),
        ("input.rows.all(r, has(r.ok) && input.rows.all(q, r.ok))", vec![]),
        ("input.rows.all(r, has(r.ok) && input.rows.all(q, q.ok))", vec![(51, missing)]),
        ("input.address.city", vec![]),
        ("input.address.zip", vec![(14, undeclared)]),
        ("has(input.address.zip) ? input.address.zip : 1", vec![(39, undeclared)]),
        ("input.pair.a", vec![(11, "may be missing: ask `has(input.pair.a)` first")]),
        ("has(input.pair.a) && input.pair.a > 1", vec![]),
        ("steps.gift-wrap.output", vec![(0, "the step `gift-wrap` may be skipped, and has no output then")]),
        ("has(steps.gift-wrap.output) ? steps.gift-wrap.output : 0", vec![]),
        (
            "input.yes ? 1 : 'a'",
            vec![(0, "this is int or string, and what is done with it cannot be checked")],
        ),
        ("input.yes ? 1 : null", vec![]),
        ("[1, 'a', true]", vec![(0, "an item of this list is int or string")]),
        ("[1] + ['a']", vec![(4, "this list is list of int or list of string")]),
        ("[1] + [] + [2.5]", vec![]),
        (
            "input.name == null",
            vec![(11, "string is never null; whether a field is there is asked with has()")],
        ),
        ("input.address.zip / 2", vec![(14, undeclared), (18, "`/` drops the fraction")]),
        ("input.address.zip / 2.0", vec![(14, undeclared)]),
    ] {
        let found = check(source).expect(source).warnings;
        assert_eq!(found.len(), warnings.len(), "{source}: {found:?}");
        for (found, (offset, message)) in found.iter().zip(warnings) {
            assert_eq!(found.offset, offset, "{source}: {found:?}");
            assert!(found.told.to_string().contains(message), "{source}: {found:?}");
        }
    }
}

#[test]
fn a_condition_is_a_bool_and_items_are_a_list() {
    let parse = |source: &str| Expression::parse(source).expect(source);
    assert!(parse("input.yes").check_bool(&scope()).is_ok());
    assert!(parse("input.address.zip").check_bool(&scope()).is_ok(), "it may be one");
    let error = parse("input.n").check_bool(&scope()).expect_err("an int");
    assert_eq!(
        (error[0].offset, error[0].told.to_string()),
        (0, "a condition is true or false, and this is int: compare it with something".to_owned())
    );
    let rows = parse("input.rows.map(r, r.x)").check_list(&scope()).expect("a list");
    assert_eq!(rows.ty.item(), Type::Int);
    let any = parse("input.address.zip").check_list(&scope()).expect("it may be one");
    assert_eq!(any.ty.item(), Type::Any);
    let error = parse("input.pair").check_list(&scope()).expect_err("an object");
    assert_eq!(error[0].told.to_string(), "this must be a list, and is object: name a list");
}

#[test]
fn so_many_errors_are_reported_and_no_more() {
    let source = vec!["x"; 100].join(" + ");
    assert!(Expression::parse(&source).is_err(), "too deep");
    let source = vec!["x"; 60].join(" + ");
    let errors = Expression::parse(&source).expect("an expression").check(&scope()).expect_err("no `x`");
    assert_eq!(errors.len(), 20);
    let texts = vec!["${{ x }}"; 1000];
    let template = Template::parse(&json!({"a": [texts[..150], texts[..150]]})).expect("a template");
    assert_eq!(template.check(&scope()).len(), 100);
    let texts = vec!["${{ input.note }}"; 300];
    let template = Template::parse(&json!(texts)).expect("a template");
    assert_eq!(template.warnings(&scope()).len(), 100);
    // A name is shown as far as one can tell it from others.
    let long = Expression::parse(&format!("input.{}", "n".repeat(4000))).expect("an expression");
    let errors = long.check(&scope()).expect_err("no such field");
    assert!(errors[0].told.to_string().len() < 300, "{}", errors[0].told);
}

#[test]
fn a_template_is_checked_with_the_place_of_each_expression() {
    let template = Template::parse(&json!({
        "path": "  ${{ input.nmae }}",
        "list": ["${{ input.rows.0.x }}", "${{ input.rows.0.y }}", "${{ row.x }}", "${{ 1 + 'a' }}"],
        "a/b": "${{steps.pya.output.id}}",
        "fine": ["${{ input.name }}", "${{ input.note }}", "${{ steps.pay.output.id }}", "${{ index + 1 }}", 1],
    }))
    .expect("a template");
    let said: Vec<String> = template
        .check(&scope())
        .into_iter()
        .map(|(pointer, bad)| format!("{pointer} {}: {}", bad.offset, bad.told.message))
        .collect();
    assert_eq!(
        said,
        [
            "/a~1b 3: no step `pya` certainly ends before this",
            "/list/1 17: there is no field `y`",
            "/list/2 8: string has no field `x`",
            "/list/3 6: `+` does not take int and string",
            "/path 12: there is no field `nmae`",
        ]
    );
    let warned: Vec<(String, usize)> =
        template.warnings(&scope()).into_iter().map(|(pointer, bad)| (pointer, bad.offset)).collect();
    assert_eq!(warned, [("/fine/1".to_owned(), 10)]);
}

#[test]
fn a_field_that_one_of_two_objects_declares_may_be_anything_in_the_other_if_it_is_open() {
    let typed = json!({"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}}});
    let closed = json!({"type": "object", "additionalProperties": false});
    let input = json!({"type": "object", "required": ["open", "closed", "typed"],
        "properties": {"open": {"type": "object"}, "closed": closed, "typed": typed}});
    let scope = Scope::new(Type::of_schema(&input));
    let check = |source: &str| Expression::parse(source).expect(source).check(&scope);
    for pair in ["[input.open, input.typed]", "[input.typed, input.open]"] {
        let checked = check(&format!("{pair}.exists(o, has(o.x) && o.x == 1)"));
        assert!(checked.is_ok_and(|checked| checked.warnings.is_empty()), "{pair}");
    }
    for pair in ["[input.closed, input.typed]", "[input.typed, input.closed]"] {
        let errors = check(&format!("{pair}.exists(o, has(o.x) && o.x == 1)")).expect_err(pair);
        assert!(errors[0].told.message.contains("never equal"), "{pair}: {errors:?}");
    }
}
