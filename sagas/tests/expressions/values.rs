//! What expressions are worth: one table for each operator, function and macro.

use serde_json::{Value, json};
use snorri_saga::expression::Expression;

use crate::saga::{INPUT, Saga, failures, output, values};

#[test]
fn whether_there_is_a_field() {
    values(&[
        ("has(input.a)", "true"),
        ("has(input.nil)", "true"),
        ("has(input.x)", "false"),
        (r#"has(input["größe"])"#, "true"),
        ("has(input.object.n.m)", "true"),
        ("has(steps.pay.output)", "true"),
        ("has(steps.ship.output)", "false"),
        ("has(steps.ship.output) && steps.ship.output.ok", "false"),
        ("has(input.x) ? input.x : 0", "0"),
        ("has({'a': 1}.a)", "true"),
        ("'a' in input", "true"),
        ("'x' in input", "false"),
    ]);
    failures(&[
        ("has(input.x.y)", "`input.x` names nothing in this saga"),
        ("has(input.a.y)", "`input.a` names nothing in this saga"),
        ("has(input)", "4: `has` asks for a field"),
        ("has(input.list[0])", "`has` asks for a field"),
        ("has(1 + 2)", "`has` asks for a field"),
        ("has()", "4: expected a value, found `)`"),
        ("has", "names nothing in this saga"),
    ]);
}

#[test]
fn or_and_and_forgive_a_failure_that_does_not_decide() {
    values(&[
        ("true || false", "true"),
        ("false || false", "false"),
        ("true && true", "true"),
        ("true && false", "false"),
        ("false || false || true", "true"),
        ("true && false || true", "true"),
        ("true || input.x.y", "true"),
        ("input.x.y || true", "true"),
        ("1 / 0 == 1 || false || true", "true"),
        ("false && input.x.y", "false"),
        ("input.x.y && false", "false"),
        ("1 || true", "true"),
        ("'a' && false", "false"),
    ]);
    failures(&[
        ("input.x || false", "`input.x` names nothing"),
        ("false || input.x", "`input.x` names nothing"),
        ("input.x && true", "`input.x` names nothing"),
        ("1 || false", "a condition is a bool, and this is int"),
        ("true && null", "a condition is a bool, and this is null"),
    ]);
}

#[test]
fn not_and_negative() {
    values(&[
        ("!true", "false"),
        ("!!true", "true"),
        ("!input.no", "true"),
        ("-input.a", "-1"),
        ("-(-2.5)", "2.5"),
        ("- -3", "3"),
        ("-input.b", "-2.5"),
    ]);
    failures(&[
        ("!1", "`!` does not take int"),
        ("!null", "`!` does not take null"),
        ("-'a'", "`-` does not take string"),
        ("-(-9223372036854775807 - 1)", "more than 64 bits"),
    ]);
}

#[test]
fn equality() {
    values(&[
        ("1 == 1", "true"),
        ("1 == 2", "false"),
        ("1 != 2", "true"),
        ("1 == 1.0", "true"),
        ("input.whole == 2", "true"),
        ("9007199254740993 == 9007199254740992.0", "false"),
        ("'a' == 'a'", "true"),
        ("'a' == 'A'", "false"),
        ("null == null", "true"),
        ("null == false", "false"),
        ("1 == '1'", "false"),
        ("[1, [2.0]] == [1.0, [2]]", "true"),
        ("[1] == [1, 2]", "false"),
        ("{'a': 1, 'b': [2]} == {'b': [2], 'a': 1.0}", "true"),
        ("{'a': 1} == {'b': 1}", "false"),
        ("{'a': 1} == {'a': 2}", "false"),
        ("{'a': 1} != {}", "true"),
        ("input.object == {'k': 'v', 'n': {'m': [10, 20]}}", "true"),
        ("input.list == [1, 2, 3]", "true"),
        ("input.list == input.list", "true"),
        ("input.big == 'a'", "false"),
        ("0.0 / 0.0 == 0.0 / 0.0", "false"),
    ]);
    failures(&[("input.big == 1", "too many digits to be counted with")]);
}

#[test]
fn order() {
    values(&[
        ("1 < 2", "true"),
        ("2 < 2", "false"),
        ("2 <= 2", "true"),
        ("3 > 2", "true"),
        ("2 >= 3", "false"),
        ("1 < 1.5", "true"),
        ("2.5 > 2", "true"),
        ("9007199254740993 > 9007199254740992.0", "true"),
        ("'a' < 'b'", "true"),
        ("'Z' < 'a'", "true"),
        ("'ab' > 'a'", "true"),
        ("'z' < 'ü'", "true"),
        ("false < true", "true"),
        ("true <= false", "false"),
        ("1.0 / 0.0 > 9223372036854775807", "true"),
    ]);
    failures(&[
        ("1 < '2'", "2: `<` does not take int and string"),
        ("0.0 / 0.0 < 1.0", "10: what is no number, such as 0.0 / 0.0, has no order"),
        ("1 >= 0.0 / 0.0", "has no order"),
        ("null < 1", "`<` does not take null and int"),
        ("[1] < [2]", "`<` does not take list and list"),
        ("input.big > 0", "too many digits"),
    ]);
}

#[test]
fn membership() {
    values(&[
        ("2 in [1, 2]", "true"),
        ("2.0 in input.list", "true"),
        ("4 in input.list", "false"),
        ("'a' in []", "false"),
        ("[1] in [[1]]", "true"),
        ("'k' in input.object", "true"),
        ("'v' in input.object", "false"),
        ("'b' in {'a': 1}", "false"),
    ]);
    failures(&[
        ("'a' in 'abc'", "4: `in` does not take string and string: write text.contains(part)"),
        ("1 in {'a': 1}", "`in` does not take int and object"),
        ("1 in 1", "`in` does not take int and int"),
    ]);
}

#[test]
fn arithmetic() {
    values(&[
        ("1 + 2", "3"),
        ("1 - 2 - 3", "-4"),
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("7 % 4", "3"),
        ("-7 % 4", "-3"),
        ("7.0 / 2.0", "3.5"),
        ("1.5 + 1.5", "3.0"),
        ("0.5 * 4.0", "2.0"),
        ("2.5 - 1.0", "1.5"),
        ("input.a + input.b", "3.5"),
        ("input.whole % 2", "0"),
        ("input.money * 2", "21.0"),
        ("'a' + 'b'", r#""ab""#),
        ("[1] + [2, 'x']", r#"[1,2,"x"]"#),
        ("input.list + [4]", "[1,2,3,4]"),
    ]);
    failures(&[
        ("9223372036854775807 + 1", "20: the result has more than 64 bits"),
        ("-9223372036854775808 - 1", "the result has more than 64 bits"),
        ("9223372036854775807 * 2", "the result has more than 64 bits"),
        ("-9223372036854775808 / -1", "the result has more than 64 bits"),
        ("-9223372036854775808 % -1", "the result has more than 64 bits"),
        ("1 / 0", "fails at byte 2: division by zero"),
        ("1 % input.zero", "division by zero"),
        ("1.5 % 2", "`%` takes whole numbers"),
        ("1.0 / 0.0", "infinite or no number"),
        ("[0.0 / 0.0]", "infinite or no number"),
        ("'a' + 1", "`+` does not take string and int: write string(x)"),
        ("[1] + 1", "`+` does not take list and int"),
        ("null - 1", "`-` does not take null and int"),
        ("'a' * 2", "`*` does not take string and int"),
        ("input.big + 1", "too many digits"),
    ]);
}

#[test]
fn conditionals_evaluate_only_what_they_give() {
    values(&[
        ("true ? 1 : 1 / 0", "1"),
        ("false ? 1 / 0 : 2", "2"),
        ("false ? 1 : true ? 2 : 3", "2"),
        ("true || false ? 'a' : 'b'", r#""a""#),
        ("input.a > 0 ? input.list : []", "[1,2,3]"),
    ]);
    failures(&[
        ("1 ? 2 : 3", "a condition is a bool, and this is int"),
        ("input.x ? 2 : 3", "`input.x` names nothing"),
        ("true ? 1", "8: expected `:` and what is given otherwise, found the end"),
    ]);
}

#[test]
fn functions() {
    values(&[
        ("size('Grüße')", "5"),
        ("input.s.size()", "5"),
        ("size([1, 2])", "2"),
        ("input.list.size()", "3"),
        ("size({'a': 1})", "1"),
        ("size({})", "0"),
        ("'abc'.contains('b')", "true"),
        ("'abc'.contains('')", "true"),
        ("input.s.contains('x')", "false"),
        ("'abc'.startsWith('ab')", "true"),
        ("'abc'.startsWith('b')", "false"),
        ("'abc'.endsWith('bc')", "true"),
        ("'abc'.endsWith('ab')", "false"),
        ("int('-12')", "-12"),
        ("int(2.9)", "2"),
        ("int(-2.9)", "-2"),
        ("int(input.whole)", "2"),
        ("int(5)", "5"),
        ("double('1.5e1')", "15.0"),
        ("double(2)", "2.0"),
        ("double(input.money)", "10.5"),
        ("string(1)", r#""1""#),
        ("string(1.5)", r#""1.5""#),
        ("string(2.0)", r#""2""#),
        ("string(1e300)", r#""1e300""#),
        ("string(1e-9)", r#""1e-9""#),
        ("string(0.0)", r#""0""#),
        ("string('a')", r#""a""#),
        ("string(true)", r#""true""#),
        ("string(input.money)", r#""10.5""#),
    ]);
    failures(&[
        ("size(1)", "`size` does not take int"),
        ("size(null)", "`size` does not take null"),
        ("size()", "`size` is written size(x) or x.size()"),
        ("size(1, 2)", "`size` is written"),
        ("'a'.size(1)", "`size` is written"),
        ("contains('a', 'b')", "0: `contains` is written text.contains(part)"),
        ("'a'.contains()", "`contains` is written"),
        ("'a'.contains(1)", "`contains` does not take int"),
        ("[1].contains(1)", "`contains` does not take list"),
        ("1.startsWith('a')", "1"),
        ("'1'.int()", "`int` is written int(x)"),
        ("int('1.5')", "no whole number of 64 bits"),
        ("int('+1')", "no whole number of 64 bits"),
        ("int(' 1')", "no whole number of 64 bits"),
        ("int('99999999999999999999')", "no whole number of 64 bits"),
        ("int(1e19)", "more than 64 bits"),
        ("int(0.0 / 0.0)", "more than 64 bits"),
        ("int(true)", "`int` does not take bool"),
        ("double('a')", "the text is no number"),
        ("double('inf')", "the text is no number"),
        ("double([])", "`double` does not take list"),
        ("string(null)", "`string` does not take null"),
        ("string(1.0 / 0.0)", "infinite or no number"),
        ("now()", "there is no function `now` (an expression knows no time"),
        ("'a'.matches('b')", "4: there is no function `matches` (regular expressions"),
        (
            "'a'.startswith('a')",
            "there is no function `startswith`: did you mean `startsWith`? There are size, contains",
        ),
        ("frobnicate(input)", "there is no function `frobnicate`: there are size"),
    ]);
}

#[test]
fn macros() {
    values(&[
        ("input.list.all(x, x > 0)", "true"),
        ("input.list.all(x, x > 1)", "false"),
        ("[].all(x, false)", "true"),
        ("input.list.exists(x, x == 2)", "true"),
        ("input.list.exists(x, x == 4)", "false"),
        ("[].exists(x, true)", "false"),
        ("input.list.exists_one(x, x == 2)", "true"),
        ("input.list.existsOne(x, x > 1)", "false"),
        ("input.list.filter(x, x != 2)", "[1,3]"),
        ("input.list.map(x, x * 2)", "[2,4,6]"),
        ("input.list.map(x, x > 1, x * 2)", "[4,6]"),
        ("input.rows.map(r, r.x)", "[1,2,3]"),
        ("input.rows.filter(r, has(r.ok) && r.ok)", r#"[{"ok":true,"x":1}]"#),
        ("input.list.map(x, input.texts.map(y, y + string(x)))[2]", r#"["a3","b3"]"#),
        ("[[1, 2], [3]].map(x, x.map(x, x + 1))", "[[2,3],[4]]"),
        ("input.list.map(x, x).map(x, x).map(x, x)", "[1,2,3]"),
        ("{'b': 1, 'a': 2}.map(k, k)", r#"["a","b"]"#),
        ("input.object.all(k, k in ['k', 'n'])", "true"),
        ("input.rows.filter(r, r.x >= 2).size()", "2"),
        // Failures that do not decide are forgiven, as with || and &&.
        ("input.rows.exists(r, r.ok)", "true"),
        ("input.rows.all(r, r.ok)", "false"),
    ]);
    failures(&[
        ("input.rows.map(r, r.ok)", "`r.ok` names nothing in this saga (in `input.rows.map(r, r.ok)`)"),
        ("input.rows.filter(r, r.ok)", "`r.ok` names nothing"),
        ("input.rows.exists_one(r, r.ok)", "`r.ok` names nothing"),
        ("input.rows.all(r, r.y > 0)", "`r.y` names nothing"),
        ("input.list.all(x, x)", "a condition is a bool, and this is int"),
        ("input.list.filter(x, 1)", "a condition is a bool, and this is int"),
        ("input.a.map(x, x)", "`map` goes over a list or an object, and this is int"),
        ("null.map(x, x)", "`map` goes over a list or an object, and this is null"),
        ("input.list.map(x)", "`map` is written list.map(x, value)"),
        ("input.list.all(1, true)", "15: `all` is written list.all(x, condition)"),
        ("input.list.all(x, true, true)", "`all` is written"),
        ("input.list.filter(input, true)", "`input` means something else"),
        ("input.list.map(x, x) + x", "`x` names nothing"),
        ("all(x, true)", "`all` is written list.all(x, condition)"),
        ("input.list.map(x, input.list.map(y, input.list.map(z, 1)))", "nest at most 2 deep"),
    ]);
}

#[test]
fn what_is_only_passed_on_keeps_its_digits() {
    values(&[
        ("input.big", "123456789012345678901234567890"),
        ("input.money", "10.50"),
        (
            "{'amount': input.money, 'big': [input.big]}",
            r#"{"amount":10.50,"big":[123456789012345678901234567890]}"#,
        ),
        ("true ? input.whole : 0", "2.0"),
        ("[input.money].filter(m, m > 10)", "[10.50]"),
        ("steps.pay.output.amount", "10.50"),
    ]);
    values(&[("[input.money + 0]", "[10.5]")]);
}

#[test]
fn a_condition_is_true_or_false_and_nothing_else() {
    let saga = Saga::with_input(INPUT);
    let truth = |source: &str| {
        Expression::parse(source)
            .expect(source)
            .evaluate_bool(&saga.names(&output))
            .map_err(|why| why.to_string())
    };
    assert_eq!(truth("input.a == 1"), Ok(true));
    assert_eq!(truth("input.no"), Ok(false));
    let failure = "`input.a` fails at byte 0: a condition is a bool, and this is int";
    assert_eq!(truth("input.a"), Err(failure.to_owned()));
}

#[test]
fn an_expression_says_what_it_is_and_whose_outputs_it_needs() {
    let source = "steps.pay.output.ok && (has(steps.ship.output) || steps[\"book-2\"].output[0] == steps.pay.output.id)";
    let expression = Expression::parse(source).expect("an expression");
    assert_eq!(expression.source(), source);
    assert_eq!(expression.steps_referred_to(), ["pay", "ship", "book-2"]);
    assert_eq!(expression, Expression::parse(source).expect("an expression"));
    assert_ne!(expression, Expression::parse("true").expect("an expression"));
}

#[test]
fn evaluate_gives_a_json_value() {
    let saga = Saga::with_input(INPUT);
    let value = Expression::parse("input.rows.map(r, {'n': r.x})")
        .expect("an expression")
        .evaluate(&saga.names(&output));
    assert_eq!(value, Ok(json!([{"n": 1}, {"n": 2}, {"n": 3}])));
    assert_eq!(
        Expression::parse("1").expect("an expression").evaluate(&saga.names(&output)),
        Ok(Value::from(1))
    );
}
