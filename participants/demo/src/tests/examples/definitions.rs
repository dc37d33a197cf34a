//! The example definitions, as text: they call only what the services offer, by names that are there. Whether they are
//! right is the checker's to say.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// All definitions of the folder that are none of the order demo's.
fn definitions() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sagas/definitions");
    let mut all: Vec<(String, Value)> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a text");
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (
                stem,
                serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            )
        })
        .filter(|(name, _)| !["order", "pickup", "transfer"].contains(&name.as_str()))
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => vec![],
    }
}

#[test]
fn the_examples_call_only_what_is_there() {
    let all = definitions();
    let names: BTreeSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["bank-transfer", "holiday", "import", "payment", "signup", "travel", "trip"];
    assert_eq!(names, BTreeSet::from(expected));
    let mut called = BTreeSet::new();
    for (name, definition) in &all {
        assert_eq!(definition["name"], name.as_str());
        assert_eq!(definition["input"]["additionalProperties"], json!(false), "{name}");
        assert!(definition["description"].is_string() && definition["tags"].is_object(), "{name}");
        for step in definition["steps"].as_array().expect("steps") {
            let kinds = ["participant", "saga", "signal", "approval", "delay"];
            assert_eq!(kinds.iter().filter(|kind| step.get(*kind).is_some()).count(), 1, "{name}: {step}");
            if let Some(child) = step.get("saga").and_then(Value::as_str) {
                assert!(names.contains(child), "{name}: {child}");
            }
            let Some(participant) = step.get("participant").and_then(Value::as_str) else { continue };
            let service: Service = participant.parse().expect("a service");
            let action = step.get("action").unwrap_or(&step["name"]).as_str().expect("a name");
            assert!(service.actions().contains(&action), "{name}: {participant}/{action}");
            called.insert((participant.to_owned(), action.to_owned()));
            let undo = step.get("compensation").map(|undo| undo.get("action").unwrap_or(undo));
            let is_compensatable = step.get("kind").is_none();
            assert_eq!(undo.is_some(), is_compensatable, "{name}: {step}");
            if let Some(undo) = undo.and_then(Value::as_str) {
                assert!(service.compensations().contains(&undo), "{name}: {participant}/{undo}");
            }
        }
    }
    // `payments/deposit` is what `transfer.yaml` is for.
    let offered = Service::all().into_iter().flat_map(|service| {
        service.actions().iter().map(move |action| (service.name().to_owned(), (*action).to_owned()))
    });
    let unused: Vec<_> = offered.filter(|call| !called.contains(call)).collect();
    let only = [
        ("payments", "deposit"),
        ("bank-a", "look"),
        ("bank-a", "deposit"),
        ("bank-b", "hold"),
        ("bank-b", "settle"),
    ];
    assert_eq!(unused, only.map(|(service, action)| (service.to_owned(), action.to_owned())));
}

#[test]
fn the_examples_refer_to_steps_that_there_are_and_to_inputs_that_they_declare() {
    for (name, definition) in definitions() {
        let steps: Vec<&str> = definition["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .filter_map(|step| step["name"].as_str())
            .collect();
        let inputs = definition["input"]["properties"].as_object().expect("properties");
        for need in
            definition["steps"].as_array().expect("steps").iter().flat_map(|step| texts(&step["needs"]))
        {
            assert!(steps.contains(&need), "{name}: needs {need}");
        }
        for text in texts(&definition["steps"]) {
            for (prefix, known) in
                [("steps.", steps.clone()), ("input.", inputs.keys().map(String::as_str).collect())]
            {
                for (at, _) in text.match_indices(prefix) {
                    let rest = &text[at + prefix.len()..];
                    let end =
                        rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                    assert!(known.contains(&&rest[..end]), "{name}: {text}");
                }
            }
        }
    }
}
