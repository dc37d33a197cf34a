//! What a definition may say. Each refusal names its place, as a JSON pointer, and the mend.

use serde_json::{Value, json};
use snorri_saga::definition::{Definition, Draft, StepKind};
use snorri_saga::ids::Name;
use snorri_saga::time::Millis;

fn check(definition: &Value) -> Result<Definition, Vec<String>> {
    let draft: Draft = serde_json::from_value(definition.clone()).expect("the shape is right");
    Definition::from_draft(&draft).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn refused(definition: &Value, expected: &[&str]) {
    let problems = check(definition).expect_err("refused");
    assert_eq!(problems, expected, "{definition:#}");
}

#[track_caller]
fn steps_refused(steps: &Value, expected: &[&str]) {
    refused(&json!({"name": "order", "steps": steps}), expected);
}

#[track_caller]
fn step_refused(field: &str, value: Value, expected: &[&str]) {
    let mut step = json!({"name": "pay", "participant": "payments", "compensation": "refund"});
    step[field] = value;
    steps_refused(&json!([step]), expected);
}

#[track_caller]
fn step_accepted(field: &str, value: Value) {
    let mut step = json!({"name": "pay", "participant": "payments", "compensation": "refund"});
    step[field] = value;
    check(&json!({"name": "order", "window": "30d", "steps": [step]})).expect("accepted");
}

/// The message of a definition whose shape is wrong, from text as it is submitted.
fn misshaped(step: &Value) -> String {
    let text = json!({"name": "order", "steps": [step]}).to_string();
    let error = serde_json::from_str::<Draft>(&text).expect_err("misshaped").to_string();
    error.split(" at line").next().unwrap_or_default().to_owned()
}

#[test]
fn the_shortest_definition_has_sensible_defaults() {
    let definition = check(&json!({
        "name": "order", "steps": [{"name": "pay", "participant": "payments", "compensation": "refund"}]
    }))
    .expect("accepted");
    let step = &definition.steps[0];
    let undo = step.compensation.as_ref().expect("a compensation");
    assert_eq!(definition.window, Millis::secs(300));
    assert_eq!(
        (step.action().map_or("", Name::as_str), step.kind, step.timeout),
        ("pay", StepKind::Compensatable, Millis::secs(10))
    );
    assert_eq!((undo.action.as_str(), undo.timeout, undo.retry), ("refund", step.timeout, step.retry));
}

#[test]
fn names_are_checked_where_they_stand() {
    let say = |at: &str, name: &str| {
        format!(
            "{at}: `{name}` is not a name: use 1 to 64 of a-z, 0-9, `_` and `-`, beginning with a letter or a digit"
        )
    };
    let steps = json!([{"name": "a", "participant": "p", "compensation": "b"}]);
    refused(&json!({"name": "Order", "steps": steps}), &[&say("/name", "Order")]);
    step_refused("name", json!("to.pay"), &[&say("/steps/0/name", "to.pay")]);
    step_refused("participant", json!("pay*"), &[&say("/steps/0/participant", "pay*")]);
    step_refused("action", json!(""), &[&say("/steps/0/action", "")]);
    step_refused("compensation", json!("re fund"), &[&say("/steps/0/compensation", "re fund")]);
    step_refused("compensation", json!({"action": ">"}), &[&say("/steps/0/compensation/action", ">")]);
}

#[test]
fn two_steps_of_one_name_cannot_be_told_apart() {
    let step = json!({"name": "pay", "participant": "payments", "compensation": "refund"});
    steps_refused(
        &json!([step, step]),
        &["/steps/1/name: the name `pay` is taken by an earlier step: steps are told apart by name"],
    );
}

#[test]
fn there_is_at_least_one_step_and_no_more_than_the_limit() {
    steps_refused(&json!([]), &["/steps: there are no steps: a definition needs at least one step"]);
    let step = |n: usize| json!({"name": format!("s{n}"), "participant": "p", "kind": "read"});
    steps_refused(
        &(0..201).map(step).collect(),
        &["/steps: 201 steps: at most 200; a sub-saga or `for_each` may do the work of many"],
    );
    let most: Vec<_> = (0..200).map(step).collect();
    check(&json!({"name": "order", "window": "1h", "steps": most})).expect("accepted");
}

#[test]
fn a_step_says_how_it_is_undone() {
    step_refused(
        "compensation",
        Value::Null,
        &[
            "/steps/0/compensation: the step `pay` has no compensation: name the operation that reverses it, or write \
         `compensation: none` if its effect may stay",
        ],
    );
    step_refused(
        "compensation",
        json!("pay"),
        &[
            "/steps/0/compensation: `pay` is the step's own action and does not reverse it: name another operation",
        ],
    );
    let none = json!([{"name": "mail", "participant": "letters", "compensation": "none"}]);
    let definition = check(&json!({"name": "order", "steps": none})).expect("accepted");
    assert!(definition.steps[0].compensation.is_none());
}

#[test]
fn what_is_never_undone_names_no_compensation() {
    let pivot = json!({"name": "ship", "participant": "shop", "kind": "pivot"});
    let with = |kind: &str| json!({"name": "x", "participant": "p", "kind": kind, "compensation": "undo"});
    steps_refused(
        &json!([with("pivot")]),
        &[
            "/steps/0/compensation: the pivot is the point of no return and is never compensated: leave `compensation` \
         out",
        ],
    );
    steps_refused(
        &json!([with("read")]),
        &["/steps/0/compensation: a read has no effect and is never compensated: leave `compensation` out"],
    );
    steps_refused(
        &json!([pivot, with("retriable")]),
        &["/steps/1/compensation: a retriable step must eventually succeed and is never compensated: leave \
         `compensation` out"],
    );
}

#[test]
fn the_kinds_stand_in_a_legal_order() {
    let step = |name: &str, kind: &str| json!({"name": name, "participant": "p", "kind": kind});
    let undoable = json!({"name": "reserve", "participant": "p", "compensation": "release"});
    steps_refused(
        &json!([step("a", "pivot"), step("b", "pivot")]),
        &[
            "/steps/1/kind: a second pivot: `a` is the point of no return already: let one step be the pivot: those \
             before it are undone when it fails, those behind it are retriable",
        ],
    );
    steps_refused(
        &json!([step("a", "pivot"), undoable]),
        &[
            "/steps/1/kind: the compensatable step `reserve` stands after the pivot `a`, where nothing is undone any \
         more: make it `kind: retriable` or move it before the pivot",
        ],
    );
    let early = "/steps/0/kind: the retriable step `a` stands before the pivot or without one: a step that cannot \
                 be undone and must succeed belongs after the pivot";
    steps_refused(&json!([step("a", "retriable"), step("b", "pivot")]), &[early]);
    steps_refused(&json!([step("a", "retriable")]), &[early]);
    let reads_anywhere =
        [step("a", "read"), undoable, step("b", "pivot"), step("c", "read"), step("d", "retriable")];
    check(&json!({"name": "order", "steps": reads_anywhere})).expect("accepted");
}

#[test]
fn durations_stay_in_their_range_and_an_inherited_one_is_named_once() {
    let step = json!({"name": "a", "participant": "p", "kind": "read", "timeout": "10ms"});
    refused(
        &json!({"name": "order", "window": "999ms", "steps": [step]}),
        &["/window: a window of 999ms is out of range: use 1s to 30d"],
    );
    refused(
        &json!({"name": "order", "window": "31d", "steps": [step]}),
        &["/window: a window of 31d is out of range: use 1s to 30d"],
    );
    step_refused(
        "timeout",
        json!("9ms"),
        &["/steps/0/timeout: a timeout of 9ms is out of range: use 10ms to 24h"],
    );
    step_refused(
        "compensation",
        json!({"action": "refund", "timeout": "25h"}),
        &["/steps/0/compensation/timeout: a timeout of 25h is out of range: use 10ms to 24h"],
    );
    for window in ["1s", "30d"] {
        check(&json!({"name": "order", "window": window, "steps": [step]})).expect("accepted");
    }
    for timeout in ["10ms", "24h"] {
        step_accepted("timeout", json!(timeout));
        step_accepted("compensation", json!({"action": "refund", "timeout": timeout}));
    }
}

#[test]
fn each_number_of_a_retry_policy_has_its_range() {
    step_refused(
        "retry",
        json!({"attempts": 0, "backoff": "2h", "factor": 0.5, "cap": "1s", "jitter": 1.5}),
        &[
            "/steps/0/retry/attempts: 0 attempts: use 1 to 100",
            "/steps/0/retry/backoff: a backoff of 2h is too long: at most 1h",
            "/steps/0/retry/cap: a cap of 1s: use the backoff (2h) to 1h",
            "/steps/0/retry/factor: a factor of 0.5: use 1 to 10",
            "/steps/0/retry/jitter: a jitter of 1.5: use 0 to 1",
        ],
    );
    step_refused(
        "compensation",
        json!({"action": "refund", "retry": {"attempts": 101}}),
        &["/steps/0/compensation/retry/attempts: 101 attempts: use 1 to 100"],
    );
    step_refused(
        "retry",
        json!({"backoff": "1h", "cap": "61m", "factor": 10.5, "jitter": -0.5}),
        &[
            "/steps/0/retry/cap: a cap of 1h1m: use the backoff (1h) to 1h",
            "/steps/0/retry/factor: a factor of 10.5: use 1 to 10",
            "/steps/0/retry/jitter: a jitter of -0.5: use 0 to 1",
        ],
    );
    step_accepted(
        "retry",
        json!({"attempts": 1, "backoff": "0ms", "cap": "0ms", "factor": 1.0, "jitter": 0.0}),
    );
    step_accepted(
        "retry",
        json!({"attempts": 100, "backoff": "1h", "cap": "1h", "factor": 10.0, "jitter": 1.0}),
    );
}

#[test]
fn an_input_refers_to_the_input_and_to_earlier_steps_only() {
    let step = |name: &str, input: Value| json!({"name": name, "participant": "p", "compensation": "undo", "input": input});
    steps_refused(
        &json!([
            step("a", json!({"x": "${{ steps.b.output.id }}"})),
            step("b", json!(["${{ steps.a.output }}", "${{ steps.b.output }}"])),
        ]),
        &[
            "/steps/0/input/x: refers to the output of `b`, which is no earlier step: no step has ended before this one: let \
             it need the step whose output it uses",
            "/steps/1/input/1: refers to the output of `b`, which is this step itself: earlier are: a",
        ],
    );
    step_refused(
        "input",
        json!({"to/from": ["${{ env.HOME }}"]}),
        &["/steps/0/input/to~1from/0: nothing is called `env` here: there is input, saga, steps"],
    );
    step_refused(
        "input",
        json!("${{ steps.a.status }}"),
        &["/steps/0/input: `status`: only a step's `output` can be referred to: write steps.<step>.output"],
    );
    step_refused(
        "input",
        json!("order ${{ input.id }}"),
        &[
            "/steps/0/input: in `order ${{ input.id }}`, the expression does not stand alone in its text: to put a value \
             into a text write `${{ \"…\" + string(x) }}`",
        ],
    );
    step_refused(
        "input",
        json!("${{ input.id "),
        &["/steps/0/input: `${{ input.id ` opens with `${{` but does not end with `}}`"],
    );
}

fn three_steps(window: &str) -> Value {
    let undo = |action: &str| json!({"action": action, "timeout": "1s", "retry": {"attempts": 3, "backoff": "100ms", "jitter": 0.5}});
    json!({"name": "order", "window": window, "steps": [
        {"name": "reserve", "participant": "stock", "timeout": "2s", "compensation": undo("release")},
        {"name": "pay", "participant": "payments", "timeout": "3s", "compensation": undo("refund")},
        {"name": "ship", "participant": "shop", "kind": "pivot", "timeout": "4s"},
        {"name": "mail", "participant": "letters", "kind": "retriable", "timeout": "5s"}
    ]})
}

#[test]
fn a_window_that_the_worst_case_does_not_fit_is_refused_with_the_sum() {
    // Three attempts of 1s and pauses of 100ms and 200ms, each at most half as long again: 3s450ms.
    refused(
        &three_steps("15899ms"),
        &[
            "/window: the worst case does not fit: before the pivot 5s (reserve 2s + pay 3s) + the pivot 4s (ship 4s) + \
             undoing everything 6s900ms (refund 3s450ms + release 3s450ms) need 15s900ms, the window is 15s899ms: \
             shorten timeouts or retries, or widen the window",
        ],
    );
    check(&three_steps("15900ms")).expect("accepted");
}

#[test]
fn the_window_keeps_a_reserve_for_what_may_follow_the_forward_deadline() {
    // The pivot, sent at the last moment, may take its whole timeout and be rejected: 4s + 6s900ms.
    let mut definition = three_steps("1m");
    assert_eq!(check(&definition).expect("accepted").reserve, Millis(10_900));
    // Or it succeeds, and the steps after it take longer than undoing would: 4s + 20s.
    definition["steps"][3]["timeout"] = "20s".into();
    assert_eq!(check(&definition).expect("accepted").reserve, Millis(24_000));
    // Without a pivot it is the worst case of compensation.
    definition["steps"].as_array_mut().expect("steps").truncate(2);
    assert_eq!(check(&definition).expect("accepted").reserve, Millis(6900));
    // However tight, there is a moment in which a saga may begin.
    let only = json!([{"name": "ship", "participant": "shop", "kind": "pivot", "timeout": "5s"}]);
    let tight = check(&json!({"name": "order", "window": "5s", "steps": only})).expect("accepted");
    assert_eq!(tight.reserve, Millis(4999));
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems = check(&json!({"name": "", "window": "1ms", "steps": [
        {"name": "a", "participant": "?", "kind": "retriable", "timeout": "1ms"},
        {"name": "a", "participant": "p"}
    ]}))
    .expect_err("refused");
    let places: Vec<_> = problems.iter().filter_map(|problem| problem.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "/name",
            "/window",
            "/steps/0/participant",
            "/steps/0/timeout",
            "/steps/1/name",
            "/steps/1/compensation",
            "/steps/0/kind"
        ]
    );
}

#[test]
fn a_default_is_no_larger_than_an_output() {
    let with = |bytes: usize| {
        let signal = json!({"timeout": "1m", "on_timeout": "continue", "default": "x".repeat(bytes - 2)});
        json!([{"name": "paid", "signal": signal}])
    };
    check(&json!({"name": "order", "steps": with(65_536)})).expect("accepted");
    steps_refused(
        &with(65_537),
        &[
            "/steps/0/signal/default: the default has 65537 bytes: an output has at most 65536: make it smaller",
        ],
    );
}

#[test]
fn a_stored_definition_is_not_judged_again_and_still_means_something() {
    let stored = |definition: &Value| {
        let draft: Draft = serde_json::from_value(definition.clone()).expect("the shape is right");
        Definition::from_stored(&draft)
    };
    let long = json!({"action": "refund", "timeout": "25h", "retry": {"attempts": 101}});
    let unwise = json!({"name": "order", "window": "1s", "steps": [
        {"name": "pay", "participant": "payments", "compensation": long, "timeout": "1ms",
         "for_each": {"items": "input.rows", "as": "for", "max": 1001}},
        {"name": "paid", "signal": {"timeout": "1m", "on_timeout": "continue", "default": "x".repeat(65_537)},
         "when": "1 + 1"}
    ]});
    assert!(check(&unwise).is_err_and(|problems| problems.len() > 6));
    let definition = stored(&unwise).expect("what is stored");
    assert_eq!((definition.window, definition.steps[0].timeout), (Millis::secs(1), Millis(1)));
    assert!(definition.steps[1].when.is_some());
    // A condition that cannot be read is not left out: the step would be run.
    let meaningless = json!({"name": "order", "steps": [
        {"name": "pay", "participant": "payments", "compensation": "refund", "when": "input."}
    ]});
    assert_eq!(stored(&meaningless).expect_err("refused").len(), 1);
}

#[test]
fn a_compensation_of_a_wrong_shape_says_what_it_should_be() {
    let with = |compensation: Value| {
        misshaped(&json!({"name": "pay", "participant": "payments", "compensation": compensation}))
    };
    let expected = "expected the name of the operation that reverses the step, `none`, or a mapping of `action`, \
                    `timeout` and `retry`";
    assert_eq!(with(json!(true)), format!("invalid type: boolean `true`, {expected}"));
    assert_eq!(with(json!(7)), format!("invalid type: integer `7`, {expected}"));
    assert_eq!(with(json!(["refund"])), format!("invalid type: sequence, {expected}"));
    assert_eq!(
        with(json!({"action": "refund", "timeuot": "1s"})),
        "unknown field `timeuot`, expected one of `action`, `timeout`, `retry`"
    );
    assert_eq!(
        with(json!({"action": "refund", "retry": {"tries": 3}})),
        "unknown field `tries`, expected one of `attempts`, `backoff`, `factor`, `cap`, `jitter`"
    );
    assert_eq!(
        with(json!({"action": "refund", "timeout": "10"})),
        "`10` is not a duration: write a number and its unit, such as 250ms, 10s, 5m or 1h"
    );
}

#[test]
fn an_unknown_field_is_refused_by_name() {
    assert_eq!(
        misshaped(&json!({"name": "pay", "participant": "payments", "compensate": "refund"})),
        "unknown field `compensate`, expected one of `name`, `needs`, `when`, `for_each`, `participant`, \
         `action`, `saga`, `version`, `signal`, `approval`, `delay`, `kind`, `compensation`, `timeout`, `retry`, `input`"
    );
    assert_eq!(
        misshaped(&json!({"name": "pay", "participant": "payments", "kind": "pivto"})),
        "unknown variant `pivto`, expected one of `compensatable`, `pivot`, `retriable`, `read`"
    );
}

#[test]
fn a_draft_is_written_as_it_was_read() {
    let mut text = three_steps("1m");
    text["steps"][0]["compensation"] = "release".into();
    text["steps"][1]["compensation"] = "none".into();
    text["steps"][0]["kind"] = "compensatable".into();
    text["steps"][1]["kind"] = "compensatable".into();
    let draft: Draft = serde_json::from_value(text.clone()).expect("a draft");
    assert_eq!(serde_json::to_value(&draft).expect("JSON"), text);
}
