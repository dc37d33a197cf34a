//! The limits of sources, of evaluations and of messages, and what an enemy would write.

use std::time::{Duration, Instant};

use serde_json::json;
use snorri_saga::expression::{Expression, Scope, Unresolved};

use crate::saga::{Saga, evaluate_with, output};

#[test]
fn a_result_has_at_most_so_many_bytes_and_levels() {
    let saga = Saga::with_input(&json!({"text": "x".repeat(1000)}).to_string());
    let within = |source: &str, bytes_max: usize| {
        Expression::parse(source).expect(source).evaluate_within(&saga.names(&output), bytes_max)
    };
    assert_eq!(within("input.text", 1002).expect("fits").len(), 1002);
    assert_eq!(within("input.text", 1001), Err(Unresolved::TooLarge(1001)));
    assert_eq!(within("[1, {'a': 2}]", 11).expect("fits").get(), r#"[1,{"a":2}]"#);
    for bytes_max in 0..11 {
        assert_eq!(within("[1, {'a': 2}]", bytes_max), Err(Unresolved::TooLarge(bytes_max)));
    }
    // A value that shares its parts is larger than the memory it takes: 2^40 items here.
    let doubled = format!("[1]{}", ".map(x, [x, x])".repeat(40));
    assert_eq!(within(&doubled, 1000), Err(Unresolved::TooLarge(1000)));
    assert!(matches!(within(&format!("{doubled} == {doubled}"), 1000), Err(Unresolved::TooCostly { .. })));
    let nested = |levels: usize| format!("[1]{}", ".map(x, [[x]])".repeat(levels));
    assert!(within(&nested(31), 1000).is_ok());
    assert_eq!(within(&nested(32), 1000), Err(Unresolved::TooDeep(64)));
}

#[test]
fn an_evaluation_has_a_budget() {
    let list: Vec<u32> = (0..400).collect();
    let text = "x".repeat(60_000);
    let saga = Saga::with_input(&json!({"list": list, "text": text}).to_string());
    let fails = |source: &str| {
        let result = Expression::parse(source).expect(source).evaluate_bool(&saga.names(&output));
        matches!(result, Err(Unresolved::TooCostly { budget: 100_000, .. }))
    };
    assert!(!fails("input.list.all(x, input.list.exists(y, y == 10))"));
    for source in [
        "input.list.all(x, input.list.exists(y, y == x))",
        "input.list.all(x, !(-1 in input.list))",
        "input.list.all(x, size(input.text) > 0)",
        "input.list.all(x, (input.text + input.text).contains('yx') == false)",
        "input.list.all(x, input.text == input.text)",
        "input.list.all(x, input.list == input.list)",
        "input.list.all(x, size(input.list + input.list) > 0)",
        // What was forgiven has been paid for, and what costs too much is not forgiven.
        "input.list.exists(x, input.list.exists(y, y == -1)) || true",
    ] {
        assert!(fails(source), "{source}");
    }
}

#[test]
fn messages_show_types_and_never_values() {
    let secret = json!({"card": "4111-1111", "pin": 1234, "list": ["4111-1111"]}).to_string();
    for source in [
        "input.card + 1",
        "int(input.card)",
        "input.pin.x",
        "input.pin + input.card",
        "input.list < input.list",
        "input[input.card]",
        "{'a': input.card}.b",
    ] {
        let message = evaluate_with(&secret, source).expect_err(source);
        assert!(!message.contains("4111") && !message.contains("1234"), "{message}");
    }
    let long = format!("input.card + '{}' + 1", "y".repeat(1000));
    let message = evaluate_with(&secret, &long).expect_err("a text and a number");
    assert!(message.len() < 400 && message.contains("' + 1`"), "{message}");
}

/// What an enemy would write, each as long as a source may be or longer.
fn hostile() -> Vec<(&'static str, String)> {
    let fill = |piece: &str, bytes: usize| piece.repeat(bytes / piece.len());
    let around = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    vec![
        ("parentheses", fill("(", 4096)),
        ("brackets", fill("[", 4096)),
        ("braces", fill("{", 4096)),
        ("nots", fill("!", 4096)),
        ("hyphens", fill("-", 4096)),
        ("nots of a bool", format!("{}true", fill("!", 4092))),
        ("hyphens of a number", format!("{}1", fill("-", 4095))),
        ("hyphens of a field", format!("{}input.a", fill("-", 4089))),
        ("closed parentheses", around("(", "1", ")", 2047)),
        ("closed lists", around("[", "1", "]", 2047)),
        ("objects in objects", around("{'a':", "1", "}", 682)),
        ("fields", format!("input{}", fill(".a", 4090))),
        ("items", format!("input{}", fill("[0]", 4090))),
        ("conditionals to the right", format!("{}1", fill("true?1:", 4095))),
        ("conditionals to the left", around("(", "true", "?true:true)", 340)),
        ("conditions without ends", fill("true?", 4096)),
        ("ors", format!("true{}", fill("||true", 4092))),
        ("ands without operands", fill("&&", 4096)),
        ("sums", format!("1{}", fill("+1", 4095))),
        ("comparisons", format!("1{}", fill("<1", 4095))),
        ("a number of 4 KiB", fill("9", 4096)),
        ("an exponent of 4 KiB", format!("1e{}", fill("9", 4094))),
        ("a hexadecimal number of 4 KiB", format!("0x{}", fill("f", 4094))),
        ("a text without an end", format!("'{}", fill("x", 4095))),
        ("quotes", fill("'", 4095)),
        ("escapes", format!("'{}'", fill("\\x", 4094))),
        ("macros in macros", around("[1].all(x,", "true", ")", 340)),
        ("macros behind macros", format!("[1]{}", fill(".map(x,x)", 4093))),
        ("a function in a function", around("size(", "''", ")", 680)),
        ("methods", format!("''{}", fill(".size()", 4094))),
        ("items of a list", format!("[{}]", fill("1,", 4094))),
        ("fields of an object", format!("{{{}}}", fill("'a':1,", 4094))),
        ("names", fill("steps.", 4096)),
        ("words", fill("input ", 4096)),
        ("letters of other alphabets", fill("ü", 4096)),
        ("spaces", fill(" ", 4096)),
        ("comments", fill("//\n", 4096)),
        ("noughts", fill("\0", 4096)),
        ("a name of 4 KiB", format!("{}()", fill("n", 4094))),
        ("a step's name of 4 KiB", format!("steps.{}", fill("n", 4090))),
        ("a word of 4 KiB", format!("steps.a.{}", fill("n", 4088))),
        ("a fact of 4 KiB", format!("saga.{}", fill("n", 4091))),
        ("a field of 4 KiB", format!("input.{}-1", fill("n", 4088))),
        ("a variable of 4 KiB", format!("[].map({}ü,1)", fill("n", 4085))),
        ("one byte too many", format!("'{}'", fill("x", 4095))),
        ("a mebibyte", fill("(", 1 << 20)),
        ("a mebibyte of text", format!("'{}'", fill("x", 1 << 20))),
        ("nested too deep by one", around("(", "1", ")", 32)),
        ("negated too often by one", format!("{}true", fill("!", 32))),
        ("conditionals too deep by one", format!("{}1", "true?1:".repeat(32))),
        ("too many operators by one", format!("1{}", "+1".repeat(64))),
        ("too many fields by one", format!("input{}", ".a".repeat(64))),
        ("too many parts by one", format!("[{}]", fill("1,", 1000))),
    ]
}

#[test]
fn what_an_enemy_writes_is_refused_at_once_on_a_small_stack() {
    // A thread of the tests has two mebibytes; a build without optimisation needs most of a stack.
    let refuse = || {
        for (what, source) in hostile() {
            let (result, took) = timed(|| Expression::parse(&source));
            let bad = result.map(|_| ()).expect_err(what);
            assert!(bad.offset <= source.len() && bad.told.to_string().len() < 400, "{what}: {bad:?}");
            assert!(took < PATIENCE, "{what}: {took:?}");
        }
    };
    std::thread::scope(|scope| {
        let small =
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, refuse).expect("a thread");
        small.join().expect("all refused");
    });
}

/// What a debug build may take of the stack: a quarter of a thread's.
const STACK: usize = 512 * 1024;
/// A build without optimisation is some ten times slower.
const PATIENCE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 });

/// What it gives and how long it takes: when it is too long, once more and once more, since others are at work too.
#[expect(clippy::disallowed_methods, reason = "that it takes no time is what is tested")]
fn timed<T>(inner: impl Fn() -> T) -> (T, Duration) {
    let once = || {
        let begin = Instant::now();
        (inner(), begin.elapsed())
    };
    let again = |last: (T, Duration)| if last.1 < PATIENCE { last } else { once() };
    again(again(once()))
}

#[test]
fn what_fills_every_limit_is_evaluated_on_a_small_stack() {
    let around = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let sources = [
        around("(", "1", ")", 31),
        around("[", "1", "]", 31),
        around("{'a':", "1", "}", 31),
        format!("{}true", "!".repeat(31)),
        format!("{}input.n", "-".repeat(31)),
        format!("input{}", ".a".repeat(63)),
        format!("1{}", "+1".repeat(63)),
        format!("{}1", "false?1:".repeat(31)),
        format!("true{}", "&&true".repeat(498)),
        format!("[{}]", "1,".repeat(499)),
        format!("[1]{}", ".map(x,[x])".repeat(62)),
        format!("'{}'", "x".repeat(4094)),
        format!("0.{}", "9".repeat(4094)),
        around("size(", "'a'", ")", 1),
    ];
    let nested = format!("{}1{}", "{\"a\":".repeat(64), "}".repeat(64));
    std::thread::scope(|scope| {
        let evaluate = || {
            for source in &sources {
                let expression = Expression::parse(source).expect(source);
                drop(expression.check(&Scope::default()));
                for input in [&nested, r#"{"n":1}"#, "null"] {
                    let saga = Saga::with_input(input);
                    drop(expression.evaluate(&saga.names(&output)));
                    drop(expression.missing(&saga.names(&output)));
                }
            }
        };
        let small =
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, evaluate).expect("a thread");
        small.join().expect("all evaluated");
    });
}

#[test]
fn what_costs_most_takes_little_time() {
    let many: Vec<u32> = (0..12_000).collect();
    let objects = vec![json!({"a": "x".repeat(20), "b": [1, 2, 3]}); 1200];
    let digits = format!("0.{}", "7".repeat(60_000));
    let input = format!(
        r#"{{"many":{},"objects":{},"digits":{digits},"text":"{}"}}"#,
        json!(many),
        json!(objects),
        "y".repeat(60_000)
    );
    let saga = Saga::with_input(&input);
    for source in [
        "input.many.all(x, input.many.all(y, y >= 0))",
        "input.many.all(x, input.digits != input.digits + x)",
        "input.many.all(x, !input.text.contains('yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyx'))",
        "input.many.map(x, input.text + input.text) == []",
        "input.many.map(x, input.many + input.many) == []",
        "input.many.all(x, input.objects == input.objects)",
        "input.many.map(x, {'a': saga.id, 'b': string(x)}).size() == 1",
        "input.many.all(x, input.objects[0].map(k, k) != [])",
        "input.many.all(x, string(double(input.digits)) != '')",
        "input.many.all(x, (-1 in input.many))",
    ] {
        let expression = Expression::parse(source).expect(source);
        let (result, took) = timed(|| expression.evaluate_bool(&saga.names(&output)));
        assert!(took < PATIENCE, "{source}: {took:?}");
        assert!(!matches!(result, Err(Unresolved::Failed { .. })), "{source}: {result:?}");
    }
}
