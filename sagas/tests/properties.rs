//! What holds of every saga: random definitions, random schedules of replies (in any order, twice, late or
//! never), wake-ups, resends and cancellations, against model participants that know what is true.
//!
//! A failure is an invariant broken. No failure are: a saga that is `blocked` while its participants refuse,
//! a step with `compensation: none` or a read whose effect stays, and a missed window.

#[path = "support/model.rs"]
mod model;
#[path = "support/run.rs"]
mod run;

use model::Mood;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use run::{Op, Run};
use serde_json::{Value, json};
use snorri_saga::definition::{Definition, Draft};

const WINDOWS: [&str; 9] = ["1s", "3s", "10s", "30s", "1m", "5m", "30m", "4h", "10d"];

/// A definition whose steps stand in a legal order, with the smallest of our windows that it fits into,
/// or one wider.
fn definitions() -> impl Strategy<Value = Definition> {
    let step = (0..3_u8, 0..4_u8, 0..3_u8, 0..12_u8);
    (prop::collection::vec(step, 1..=6), prop::option::of(0..6_usize), 0..2_usize).prop_map(
        |(choices, pivot, wider)| {
            let steps: Vec<Value> = choices
                .iter()
                .enumerate()
                .map(|(at, (kind, timing, attempts, input))| {
                    draft_step(at, pivot, *kind, *timing, *attempts, *input)
                })
                .collect();
            let fits = |window: &str| {
                let draft = json!({"name": "any", "window": window, "steps": steps});
                let draft: Draft = serde_json::from_value(draft).expect("a draft");
                Definition::from_draft(&draft).ok()
            };
            let mut fitting = WINDOWS.iter().filter_map(|window| fits(window)).take(wider + 1);
            let first = fitting.next().expect("the widest window holds every definition");
            fitting.next().unwrap_or(first)
        },
    )
}

fn draft_step(at: usize, pivot: Option<usize>, kind: u8, timing: u8, attempts: u8, input: u8) -> Value {
    let timeout = ["10ms", "100ms", "1s", "3s"][usize::from(timing)];
    let backoff = ["0ms", "1ms", "200ms", "3s"][usize::from(timing)];
    let retry = json!({"attempts": attempts + 1, "backoff": backoff, "jitter": 1.0});
    let mut step =
        json!({"name": format!("s{at}"), "participant": "model", "timeout": timeout, "retry": retry});
    let (kind, compensation) = match (kind, pivot) {
        (_, Some(pivot)) if pivot == at => ("pivot", None),
        (0, _) => ("read", None),
        (_, Some(pivot)) if at > pivot => ("retriable", None),
        (1, _) => ("compensatable", Some(json!("none"))),
        _ => ("compensatable", Some(json!({"action": "undo", "timeout": timeout, "retry": retry}))),
    };
    step["kind"] = kind.into();
    if let Some(compensation) = compensation {
        step["compensation"] = compensation;
    }
    match (input, at.checked_sub(1)) {
        (0, Some(before)) => step["input"] = json!({"of": format!("${{{{ steps.s{before}.output }}}}")}),
        (1, Some(before)) => step["input"] = format!("${{{{ steps.s{before}.output.nowhere }}}}").into(),
        (2, _) if at > 3 => step["input"] = "${{ input.nowhere }}".into(),
        (3, _) => step["input"] = "${{ input.a }}".into(),
        _ => {}
    }
    step
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let mood = prop_oneof![
        8 => Just(Mood::Ok),
        1 => Just(Mood::OkTooLarge),
        2 => Just(Mood::Rejected),
        1 => Just(Mood::Partial),
        3 => Just(Mood::Failed),
        1 => Just(Mood::FailedForLong),
        1 => Just(Mood::Working),
    ];
    let back = prop_oneof![4 => Just(0_usize), 1 => 0..40_usize];
    let op = prop_oneof![
        6 => (back.clone(), mood.clone()).prop_map(|(back, mood)| Op::Answer { back, mood }),
        2 => (back.clone(), mood).prop_map(|(back, mood)| Op::Deliver { back, mood }),
        3 => back.prop_map(|back| Op::Reply { back }),
        5 => Just(Op::WokeAtDue),
        1 => (0..400_u64).prop_map(|late| Op::WokeLate { late }),
        1 => (0..5_000_u64).prop_map(|after| Op::Woke { after }),
        1 => (0..400_u64).prop_map(|by| Op::Later { by }),
        1 => Just(Op::ToForwardDeadline),
        1 => Just(Op::Resend),
        1 => Just(Op::Repeat),
        1 => Just(Op::Cancel),
        1 => (0..6_usize, any::<bool>(), prop_oneof![Just(0_u32), 1..4_u32, Just(u32::MAX)], 0..5_u8)
            .prop_map(|(step, undo, attempt, outcome)| Op::Forge { step, undo, attempt, outcome }),
    ];
    prop::collection::vec(op, 0..50)
}

/// The cases of each property, where `PROPTEST_CASES` does not say otherwise.
const CASES: u32 = 1500;

/// The seed of a failure is printed, and kept in `properties.seeds` unless `PROPTEST_DISABLE_FAILURE_PERSISTENCE` is set.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    let is_kept = config.failure_persistence.is_some();
    #[expect(
        clippy::disallowed_methods,
        reason = "proptest does not tell its own default from what was asked for"
    )]
    let is_said = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if is_said { config.cases } else { CASES },
        failure_persistence: is_kept.then(|| Box::new(FileFailurePersistence::WithSource("seeds")) as _),
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    /// [`Run`] checks each transition as it is made: ids unique, time moves on, order and limits kept, the
    /// journal's fold is the state. Here the whole run is judged.
    #[test]
    fn every_saga_ends_and_its_effects_are_all_there_or_all_gone(
        definition in definitions(), ops in ops(), cut in 0..50_usize,
    ) {
        let mut run = Run::start(&definition);
        for op in ops.iter().take(cut) {
            run.apply(*op);
        }
        run.replay_equals_live();
        // Whatever was sent and not answered so far is lost. From here on participants answer `ok` in time.
        run.finish();
        run.replay_equals_live();
        run.effects_fit_the_end();
        // Everything arrives once more, late, and more happens to a saga that has ended.
        run.everything_arrives_again();
        for op in ops.iter().skip(cut) {
            run.apply(*op);
        }
        run.effects_fit_the_end();
        run.replay_equals_live();
    }

    /// The same without any end forced: 200 inputs that are mostly bad.
    #[test]
    fn a_saga_under_permanent_trouble_stays_lawful(
        definition in definitions(), first in ops(), second in ops(), third in ops(),
    ) {
        let mut run = Run::start(&definition);
        for op in first.iter().chain(&second).chain(&third) {
            run.apply(*op);
        }
        run.replay_equals_live();
        if run.has_ended() {
            run.everything_arrives_again();
            run.effects_fit_the_end();
        }
    }
}
