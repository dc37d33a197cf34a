//! What is said of a change: all of it, nothing else, and what follows from it.

#[path = "support/golden.rs"]
mod golden;

use golden::{examples, is_kept, read};
use serde_json::{Value, json};
use snorri_language::Subject;
use snorri_language::diff::{Change, Diff};
use snorri_saga::definition::{Definition, Draft};

fn draft(text: &str) -> Draft {
    serde_saphyr::from_str(text).expect("YAML")
}

fn between(old: &Draft, new: &Draft) -> Diff {
    let checked =
        |draft: &Draft| Definition::from_draft(draft).unwrap_or_else(|problems| panic!("{problems:?}"));
    let (before, after) = (checked(old), checked(new));
    Diff::between(
        Subject { draft: old, definition: &before, version: Some(3) },
        Subject { draft: new, definition: &after, version: Some(4) },
    )
}

fn codes(diff: &Diff) -> Vec<&str> {
    diff.meaning.iter().map(|meaning| meaning.code).collect()
}

/// The order with the change made, compared with the order.
fn changed(change: impl FnOnce(&mut Value)) -> Diff {
    let old = draft(&read("sagas/definitions/order.yaml"));
    let mut new = serde_json::to_value(&old).expect("JSON");
    change(&mut new);
    between(&old, &serde_json::from_value(new).expect("a draft"))
}

#[test]
fn a_version_is_compared_with_the_next() {
    let old = draft(&read("sagas/definitions/order.yaml"));
    let new = draft(&read("sagas/language/tests/diff/order-next.yaml"));
    let diff = between(&old, &new);
    is_kept("sagas/language/tests/diff/order.txt", &diff.to_string());
    is_kept("sagas/language/tests/diff/order.json", &format!("{:#}\n", json!(diff)));
}

#[test]
fn nothing_changes_when_only_the_spelling_does() {
    for (name, text) in examples() {
        let Ok(draft) = serde_saphyr::from_str::<Draft>(&text) else { panic!("{name}") };
        if Definition::from_draft(&draft).is_err() {
            // The versions of its sub-sagas are written in at the submission.
            continue;
        }
        let diff = between(&draft, &draft);
        assert!(diff.same, "{name}: {diff}");
        assert_eq!(codes(&diff), ["same"]);
    }
    // Defaults written out.
    let diff = changed(|order| {
        let step = &mut order["steps"][0];
        step["action"] = json!("place");
        step["kind"] = json!("compensatable");
        step["needs"] = json!([]);
        step["retry"] = json!({"attempts": 3});
        step["compensation"] = json!({"action": "cancel", "timeout": "5000ms"});
        order["steps"][1]["needs"] = json!(["place"]);
        order["on_sibling_failure"] = json!("wait");
        order["window"] = json!("300s");
    });
    assert!(diff.same, "{diff}");
}

#[test]
fn each_field_that_changes_is_told_and_no_other() {
    for (pointer, value, told) in [
        ("/description", json!("x"), "description"),
        ("/window", json!("10m"), "window"),
        ("/tags", json!({"a": "b"}), "tags.a"),
        ("/input", json!({"type": "object"}), "input"),
        ("/on_sibling_failure", json!("race"), "on_sibling_failure"),
        ("/steps/0/participant", json!("others"), "participant"),
        ("/steps/0/action", json!("do"), "action"),
        ("/steps/0/when", json!("true"), "when"),
        ("/steps/0/timeout", json!("6s"), "timeout"),
        ("/steps/0/input", json!({"a": 1}), "input"),
        ("/steps/1/compensation/action", json!("undo"), "compensation.action"),
        ("/steps/1/compensation/timeout", json!("6s"), "compensation.timeout"),
        ("/steps/1/compensation/retry/attempts", json!(6), "compensation.retry.attempts"),
        ("/steps/1/retry/backoff", json!("1s"), "retry.backoff"),
        ("/steps/1/retry/jitter", json!(0.3), "retry.jitter"),
        ("/steps/4/input/hold_id", json!("x"), "input.hold_id"),
    ] {
        let diff = changed(|order| {
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            order.pointer_mut(parent).expect("a place")[name] = value;
        });
        let of_steps = diff.changed.iter().flat_map(|step| &step.changes);
        let fields: Vec<&str> =
            diff.changes.iter().chain(of_steps).map(|change| change.field.as_str()).collect();
        // What a compensation has from its step changes with it.
        let own: Vec<&str> = fields
            .iter()
            .copied()
            .filter(|field| told == *field || !field.starts_with("compensation."))
            .collect();
        assert_eq!(own, [told], "{pointer}: {diff}");
        assert!(!diff.same && diff.added.is_empty() && diff.removed.is_empty(), "{pointer}: {diff}");
        assert_eq!(codes(&diff)[0], "running");
    }
}

#[test]
fn needs_are_compared_as_they_are_in_effect() {
    let diff = changed(|order| {
        order["steps"][2]["needs"] = json!(["place"]);
        order["steps"][3]["needs"] = json!(["reserve", "hold"]);
    });
    let told: Vec<(&str, &Change)> = diff
        .changed
        .iter()
        .flat_map(|step| step.changes.iter().map(|change| (step.name.as_str(), change)))
        .collect();
    let needs = |before: &[&str], after: &[&str]| Change {
        field: "needs".to_owned(),
        before: Some(json!(before)),
        after: Some(json!(after)),
    };
    assert_eq!(
        told,
        [("hold", &needs(&["reserve"], &["place"])), ("book", &needs(&["hold"], &["hold", "reserve"]))],
        "{diff}"
    );
    let text = "name: x\nsteps:\n\
                - {name: a, participant: p, compensation: u, needs: []}\n\
                - {name: b, participant: p, compensation: u, needs: []}\n";
    let other = "name: x\nsteps:\n\
                 - {name: b, participant: p, compensation: u, needs: []}\n\
                 - {name: a, participant: p, compensation: u, needs: []}\n";
    let diff = between(&draft(text), &draft(other));
    assert!(diff.listed_otherwise && diff.changed.is_empty() && !diff.same, "{diff}");
    assert!(diff.to_string().contains("listed in another order"));
}

#[test]
fn a_step_with_another_name_is_another_step() {
    let diff = changed(|order| {
        order["steps"][3]["name"] = json!("parcel");
        order["steps"][5]["input"] = json!({});
    });
    assert_eq!((diff.added[0].name.as_str(), diff.removed[0].name.as_str()), ("parcel", "book"), "{diff}");
}

#[test]
fn what_follows_is_told() {
    let has = |code: &str, diff: &Diff| assert!(codes(diff).contains(&code), "{code} is not in {diff}");
    has("worst_case_grew", &changed(|order| order["steps"][0]["timeout"] = json!("9s")));
    has("window_shorter", &changed(|order| order["window"] = json!("4m")));
    has("not_undone", &changed(|order| order["steps"][0]["compensation"] = json!("none")));
    let diff = changed(|order| order["steps"][0]["participant"] = json!("shop"));
    has("new_participant", &diff);
    has("unused_operation", &diff);
    let diff = changed(|order| order["steps"][3]["participant"] = json!("orders"));
    has("unused_participant", &diff);
    has("new_operation", &diff);
    let diff = changed(|order| {
        order["steps"][4]["name"] = json!("charge");
        order["steps"][5]["input"] = json!({});
    });
    has("pivot_moved", &diff);
    let without = changed(|order| {
        order["steps"].as_array_mut().expect("steps").truncate(4);
    });
    has("pivot_removed", &without);
    let diff = changed(|order| order["input"] = json!({"type": "object", "required": ["sku"]}));
    has("input_required", &diff);
    has("input_changed", &diff);
    let diff = changed(|order| {
        order["steps"][0] = json!({"name": "place", "signal": {"timeout": "1s"}});
        order["steps"][1] = json!({"name": "reserve", "approval": {"timeout": "1s"}});
    });
    has("new_signal", &diff);
    has("new_approval", &diff);
    let text = "name: x\nsteps: [{name: a, participant: p, compensation: u}]\n";
    let pivot = text.replace("compensation: u", "kind: pivot");
    has("pivot_added", &between(&draft(text), &draft(&pivot)));
    // One that got shorter is nobody's trouble.
    assert_eq!(codes(&changed(|order| order["steps"][0]["timeout"] = json!("1s"))), ["running"]);
}

#[test]
fn a_huge_change_is_told_in_bounds() {
    let many = |value: u32| -> Value {
        (0..900).map(|n| (format!("f{n}"), json!(value))).collect::<serde_json::Map<_, _>>().into()
    };
    let text = "name: x\nsteps: [{name: a, participant: p, compensation: u}]\n";
    let with = |value: u32| {
        let mut draft = draft(text);
        draft.steps[0].input = Some(many(value));
        draft.description = Some("\u{1b}[31m".to_owned() + &value.to_string().repeat(5000));
        draft
    };
    let diff = between(&with(1), &with(2));
    assert_eq!(diff.changed[0].changes.len(), 101);
    let text = diff.to_string();
    assert!(text.contains("more changed") && text.len() < 20_000, "{}", text.len());
    assert!(!text.contains('\u{1b}'), "a terminal is not at the mercy of a description");
}
