//! How expressions are written: literals, names, and what does not parse.

use crate::saga::{failures, values};

#[test]
fn literals() {
    values(&[
        ("null", "null"),
        ("true", "true"),
        ("false", "false"),
        ("0", "0"),
        ("-7", "-7"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0x1F", "31"),
        ("-0xff", "-255"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("-1.25e2", "-125.0"),
        ("1e3", "1000.0"),
        ("[]", "[]"),
        ("[1, 'a', [true],]", r#"[1,"a",[true]]"#),
        ("{}", "{}"),
        (r#"{"b": 1, 'a': {"c": null},}"#, r#"{"a":{"c":null},"b":1}"#),
        ("1 // the rest of a line is a comment\n + 1", "2"),
    ]);
    failures(&[
        ("9223372036854775808", "0: the number has more than 64 bits"),
        ("-9223372036854775809", "0: the number has more than 64 bits"),
        ("99999999999999999999999", "0: the number has more than 64 bits"),
        ("1e999", "beyond what a double holds"),
        ("1u", "unsigned integers are not supported"),
        ("0x", "digits behind `0x`"),
        ("1e", "digits behind `e`"),
        ("1a", "1: a number ends here"),
        ("b'x'", "bytes are not supported"),
        ("{1: 2}", "the name of a field is a string, and this is int"),
        (r#"{"a": 1, "a": 2}"#, "has this field already"),
        ("Foo{a: 1}", "without a type before it"),
    ]);
}

#[test]
fn texts_and_their_escapes() {
    values(&[
        (r#""a""#, r#""a""#),
        (r"'a'", r#""a""#),
        (r#"'"'"#, r#""\"""#),
        (r#""it's""#, r#""it's""#),
        (
            r#""""two "quotes"
lines""""#,
            r#""two \"quotes\"\nlines""#,
        ),
        ("'''a\n'b' '''", r#""a\n'b' ""#),
        (r"'\a\b\f\n\r\t\v\\\'\?\`' == '\x07\x08\x0c\x0a\x0d\x09\x0b\x5c\x27\x3f\x60'", "true"),
        (r"'\u00fc\U0001F600\101'", r#""ü😀A""#),
        (r"r'\n' == '\\n'", "true"),
        (r"'ü' + R'\'", r#""ü\\""#),
        ("'//' + \"'\"", r#""//'""#),
    ]);
    failures(&[
        ("'a", "0: the text does not end: it needs a closing '"),
        ("1 + \"a", "4: the text does not end"),
        ("'a\nb'", "does not end on its line"),
        (r"'a\q'", "2: this escape is not known"),
        (r"'\u12'", "this escape has 4 digits of base 16"),
        (r"'\ud800'", "names no character"),
        (r"'\400'", "this escape is not known"),
        (r"'\", "this escape is not known"),
    ]);
}

#[test]
fn names_and_what_they_lead_to() {
    values(&[
        ("input.a", "1"),
        ("input.object.n.m[1]", "20"),
        (r#"input["object"]['k']"#, r#""v""#),
        (r#"input["größe"]"#, r#""m""#),
        (r#"input["line-2"]"#, r#""l""#),
        ("input.steps.a", "1"),
        ("input[input.t == 'b' ? 'a' : 'b']", "1"),
        ("input.list[input.a]", "2"),
        ("input.list[input.whole]", "3"),
        ("input.texts[1.0]", r#""b""#),
        ("input.texts[1 - 1]", r#""a""#),
        ("{'package': 1}.package", "1"),
        ("steps.pay.output.id", r#""p1""#),
        (r#"steps["pay"].output.ok"#, "true"),
        ("steps.book-2.output[0]", r#""a""#),
        (r#"steps["book-2"].output[0]"#, r#""a""#),
        ("steps.2nd.output", "null"),
        ("row.x", "7"),
        ("row.tags[0] + '!'", r#""a!""#),
        ("index", "2"),
        ("index-1", "1"),
        ("saga.id", r#""00000000-0000-0000-0000-000000000007""#),
        ("saga.definition + string(saga.version)", r#""order3""#),
    ]);
    failures(&[
        ("input.x", "`input.x` names nothing in this saga"),
        ("1 + input.object.x.y", "`input.object.x` names nothing in this saga (in `1 + input.object.x.y`)"),
        ("input.a.b", "`input.a.b` names nothing in this saga"),
        ("input.list[3]", "`input.list[3]` names nothing in this saga"),
        ("input.list[-1]", "`input.list[-1]` names nothing in this saga"),
        ("input.list['a']", "`input.list['a']` names nothing in this saga"),
        ("input.list[input.t]", "the place in a list is an int, and this is string"),
        ("input.list[0.5]", "the place in a list is an int, and this is double"),
        ("input.object[1]", "the name of a field is a string, and this is int"),
        ("steps.ship.output", "`steps.ship.output` names nothing in this saga"),
        ("rows", "`rows` names nothing in this saga"),
        ("input.list.0", "11: an item of a list is written [0]"),
        ("input.line-2", "6: `line-` could be a name or a subtraction"),
        ("input.größe", "8: `ö` cannot be in a name"),
        ("input.in", "write the field as [\"in\"]"),
        ("input.", "6: expected a field's name behind `.`, found the end"),
        ("steps", "5: `steps` alone is no value: write steps.<step>.output"),
        ("steps.pay", "`steps.pay` alone is no value"),
        ("steps.pay.result", "10: `result`: only a step's `output` can be referred to"),
        ("steps[input.t].output", "must be known before any saga runs"),
        ("saga", "`saga` alone is no value: write saga.id"),
        ("saga.ID", "`saga` has no `ID`: did you mean `id`? It has id, definition, version"),
        ("while", "names nothing in this saga"),
        ("package", "`package` is a word that CEL reserves"),
    ]);
}

#[test]
fn what_does_not_parse_says_where_and_why() {
    failures(&[
        ("", "0: there is no expression"),
        ("  ", "0: there is no expression"),
        ("1 +", "3: expected a value, found the end"),
        ("(1", "2: expected `)` to close the parenthesis, found the end"),
        ("[1, 2", "5: expected `]` or `,`, found the end"),
        ("[1 2]", "3: expected `]` or `,`, found a number"),
        ("{'a' 1}", "5: expected `:` and the field's value, found a number"),
        ("1 2", "2: expected an operator or the end, found a number"),
        ("input.a = 1", "8: `=` is no operator: write `==`"),
        ("true & false", "5: `&` is no operator: write `&&`"),
        ("true | false", "5: `|` is no operator: write `||`"),
        ("input.a and true", "8: expected an operator or the end, found `and`"),
        ("1 ~ 2", "2: `~` is nothing that CEL knows"),
        ("$x", "0: `$` is nothing that CEL knows"),
        ("`a`", "write a text in quotes"),
        ("a ? b", "5: expected `:`"),
        (".a", "0: expected a value, found `.`"),
        ("input..a", "6: expected a field's name behind `.`, found `.`"),
        ("input[", "6: expected a value, found the end"),
        (")", "0: expected a value, found `)`"),
    ]);
}
