//! The explorer finds nothing wrong with the core, and finds each of many cores that are broken in one place: the story that
//! it tells then is a snapshot, to be judged by reading it.

use std::time::Duration;

use serde_json::Value;
use snorri_language::check::{File, check};
use snorri_language::explore::{Bounds, Exploration, Role, Stopped, explore, explore_core};
use snorri_language::text::Format;
use snorri_saga::decide::{Decision, Refusal};
use snorri_saga::definition::Definition;

#[path = "explore/broken.rs"]
mod broken;
#[path = "explore/definitions.rs"]
mod definitions;
#[path = "explore/hearing.rs"]
mod hearing;
#[path = "explore/sending.rs"]
mod sending;
#[path = "explore/time.rs"]
mod time;
#[path = "explore/undoing.rs"]
mod undoing;

use broken::{Broken, Call};
use definitions::{abreast, definition, holiday, import, notice, order, racing, signup, travel};

/// No clock: the same on every machine.
fn no_time() -> Duration {
    Duration::ZERO
}

fn with(faults: u8, role: Role) -> Bounds {
    Bounds { faults, states: 1_000_000, role, ..Bounds::default() }
}

#[track_caller]
fn sound(definition: &Definition, faults: u8, role: Role) -> Exploration {
    let exploration = explore(definition, &with(faults, role), &no_time);
    assert!(exploration.is_sound(), "{exploration}");
    assert_eq!(exploration.complete_faults, Some(faults), "{exploration}");
    assert_eq!(exploration.stopped, Stopped::Faults);
    exploration
}

/// The story of what is wrong with a broken core.
#[track_caller]
fn caught(name: &str, core: &Broken, definition: &Definition, role: Role) {
    let exploration = explore_core(core, definition, &with(2, role), &no_time);
    let story = exploration.violation.unwrap_or_else(|| panic!("{name} is not caught"));
    assert!(sound(definition, story.faults, role).states > 0);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("explore/stories");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name.replace(' ', "-").replace('\'', ""), story));
}

#[track_caller]
fn caught_alone(name: &str, steps: &Value, decide: fn(&Call<'_>) -> Result<Decision, Refusal>) {
    caught(name, &Broken::new(decide), &definition(steps), Role::Alone);
}

#[test]
fn every_run_of_a_sound_core_is_as_it_should_be() {
    for (steps, faults) in [
        (order(), 2),
        (travel(), 1),
        (import(), 1),
        (holiday(), 2),
        (signup(), 1),
        (abreast(), 2),
        (notice(), 2),
    ] {
        let exploration = sound(&definition(&steps), faults, Role::Alone);
        let ends: Vec<&str> = exploration.ends.keys().copied().collect();
        assert_eq!(ends, ["compensated", "completed"], "{exploration}");
        sound(&racing(&steps), faults.min(1), Role::Alone);
        sound(&definition(&steps), 1, Role::Part);
    }
}

/// It takes nothing from the time of what is under way beside it.
#[test]
fn a_list_without_items_leaves_nothing_to_be_undone() {
    let steps = serde_json::json!([
        {"name": "plan", "participant": "tours", "compensation": "cancel"},
        {"name": "boat", "needs": ["plan"], "participant": "boats", "compensation": "cancel"},
        {"name": "huts", "needs": ["plan"], "participant": "huts", "compensation": "cancel",
         "for_each": {"items": "${{ input.nights }}", "concurrency": 1, "max": 5}}
    ]);
    sound(&definition(&steps), 1, Role::Alone);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the examples are files")]
fn the_examples_are_sound() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../definitions");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let texts: Vec<(String, String)> = paths
        .iter()
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).expect("a text")))
        .collect();
    let files: Vec<File<'_>> =
        texts.iter().map(|(name, text)| File { name, text, format: Format::of(name) }).collect();
    let mut report = check(&files, |_, _| None);
    report.explore(&Bounds { faults: 1, ..Bounds::default() }, &no_time);
    assert!(report.files.len() >= 10);
    for file in &report.files {
        assert!(!file.explored.is_empty(), "{}: {:?}", file.file, file.diagnostics);
        for exploration in &file.explored {
            assert!(exploration.is_sound(), "{}:\n{exploration}", file.file);
            assert_eq!(exploration.complete_faults, Some(1), "{}: {exploration}", file.file);
            let ends: Vec<&str> = exploration.ends.keys().copied().collect();
            assert_eq!(ends, ["compensated", "completed"], "{}", file.file);
        }
    }
}

#[test]
fn the_same_bounds_give_the_same_answer() {
    let bounds = with(1, Role::Alone);
    let explored = || explore(&definition(&travel()), &bounds, &no_time);
    assert_eq!(explored(), explored());
}

#[test]
fn a_bound_of_time_or_states_leaves_what_was_covered_before_it() {
    let definition = definition(&travel());
    // The time is over as soon as the runs without a fault are walked.
    let looks = std::cell::Cell::new(0_u32);
    let count = || {
        looks.set(looks.get() + 1);
        Duration::ZERO
    };
    explore(&definition, &with(0, Role::Alone), &count);
    let so_many = looks.replace(0);
    let hasty = || {
        looks.set(looks.get() + 1);
        Duration::from_secs(if looks.get() > so_many + 1 { 3600 } else { 0 })
    };
    let exploration = explore(&definition, &with(3, Role::Alone), &hasty);
    assert_eq!(exploration.stopped, Stopped::Time, "{exploration}");
    assert_eq!(exploration.complete_faults, Some(0), "{exploration}");
    let few = Bounds { states: 10, ..with(3, Role::Alone) };
    let exploration = explore(&definition, &few, &no_time);
    assert_eq!((exploration.stopped, exploration.complete_faults), (Stopped::States, None), "{exploration}");
    assert!(exploration.states <= 11 && exploration.to_string().contains("not even"), "{exploration}");
}

#[test]
fn what_was_covered_is_said_to_people_and_to_programs() {
    let exploration = sound(&definition(&order()), 1, Role::Part);
    let text = exploration.to_string();
    assert!(text.starts_with("every run with up to 1 fault as a part of another saga: "), "{text}");
    let json = serde_json::to_value(&exploration).expect("JSON");
    assert_eq!(json["complete_faults"], 1);
    assert_eq!(json["stopped"], "faults");
    assert!(json["states"].as_u64().is_some_and(|states| states > 100), "{json}");
    assert!(json["ends"]["compensated"].as_u64() > Some(0) && json.get("violation").is_none(), "{json}");
}
