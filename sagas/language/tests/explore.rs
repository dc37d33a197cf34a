//! The explorer finds nothing wrong with the core, and finds each of many cores that are broken in one place: the story that
//! it tells then is a snapshot, to be judged by reading it.

use std::time::Duration;

use serde_json::Value;
use snorri_language::check::{File, check};
use snorri_language::explore::{Bounds, Exploration, Role, Stopped, explore, explore_core};
use snorri_language::text::Format;
use snorri_saga::decide::{Decision, Effect, Input, Refusal};
use snorri_saga::definition::{Definition, SiblingFailure, Step, StepKind};
use snorri_saga::expression::Expression;
use snorri_saga::ids::{Direction, Name, StepKey};
use snorri_saga::journal::{End, Event};
use snorri_saga::saga::{Phase, StepState};
use snorri_saga::time::Millis;
use snorri_saga::wire::{EndedBody, Outcome};

#[path = "explore/broken.rs"]
mod broken;
#[path = "explore/definitions.rs"]
mod definitions;

use broken::{Broken, Call, without_order};
use definitions::{definition, holiday, import, order, racing, signup, travel};

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
    for (steps, faults) in [(order(), 2), (travel(), 1), (import(), 1), (holiday(), 2), (signup(), 1)] {
        let exploration = sound(&definition(&steps), faults, Role::Alone);
        let ends: Vec<&str> = exploration.ends.keys().copied().collect();
        assert_eq!(ends, ["compensated", "completed"], "{exploration}");
        sound(&racing(&steps), faults.min(1), Role::Alone);
        sound(&definition(&steps), 1, Role::Part);
    }
}

fn is_undoing(call: &Call<'_>) -> bool {
    call.undoes()
}

fn change(definition: &mut Definition, step: &str, change: impl FnOnce(&mut Step)) {
    if let Some(step) = definition.steps.iter_mut().find(|of| of.name == *step) {
        change(step);
    }
}

#[test]
fn a_lost_compensation() {
    caught_alone("a lost compensation", &order(), |call| {
        call.with_definition(|definition| change(definition, "reserve", |step| step.compensation = None))
    });
}

#[test]
fn compensations_out_of_order() {
    caught_alone("compensations out of order", &order(), |call| {
        if is_undoing(call) { call.with_definition(without_order) } else { call.real() }
    });
}

#[test]
fn a_late_answer_that_revives() {
    caught_alone("a late answer that revives", &order(), |call| {
        let decision = call.real()?;
        let revive = |event: Event| match event {
            Event::LateReply { step, attempt, output, .. } => {
                let direction = Direction::Action;
                Event::Succeeded { step, direction, attempt, output, empty: false }
            }
            other => other,
        };
        Ok(call.recording(decision.events.into_iter().map(revive).collect(), decision.effects))
    });
}

#[test]
fn a_timer_that_is_not_armed_again() {
    caught_alone("a timer that is not armed again", &order(), |call| {
        let mut decision = call.real()?;
        decision.events.retain(|event| !matches!(event, Event::RetryPlanned { .. }));
        Ok(call.recording(decision.events, decision.effects))
    });
}

#[test]
fn a_wake_up_that_looks_at_actions_only() {
    caught_alone("a wake-up that looks at actions only", &order(), |call| {
        if matches!(call.input, Input::Woke) && call.saga.phase == Phase::Backward {
            return Err(Refusal::NothingDue);
        }
        call.real()
    });
}

#[test]
fn a_retry_under_another_effect() {
    caught_alone("a retry under another effect", &order(), |call| {
        let mut decision = call.real()?;
        for effect in &mut decision.effects {
            if let Effect::Send(command) = effect
                && command.id.attempt > 1
                && let Ok(name) = Name::new(command.id.effect.step.step())
            {
                command.id.effect.step = StepKey::iteration(&name, command.id.attempt);
            }
        }
        Ok(decision)
    });
}

#[test]
fn an_undo_over_the_pivot() {
    caught_alone("an undo over the pivot", &order(), |call| {
        let is_refused = matches!(call.input, Input::Reply(reply)
            if matches!(reply.outcome, Outcome::Rejected { .. }) && reply.command.effect.step.step() == "confirm");
        if !is_refused {
            return call.real();
        }
        let mut saga = call.saga.clone();
        saga.pivot_sent = false;
        let decision = Call { saga: &saga, ..*call }.with_definition(|definition| {
            change(definition, "confirm", |step| step.kind = StepKind::Compensatable);
        })?;
        Ok(call.recording(decision.events, decision.effects))
    });
}

#[test]
fn a_cancellation_after_the_pivot() {
    caught_alone("a cancellation after the pivot", &order(), |call| match call.input {
        Input::Cancel { .. } => call.with_saga(|saga| saga.pivot_sent = false),
        _ => call.real(),
    });
}

#[test]
fn a_skipped_step_that_is_compensated() {
    caught_alone("a skipped step that is compensated", &travel(), |call| {
        if !is_undoing(call) {
            return call.real();
        }
        call.with_saga(|saga| {
            for run in saga.steps.iter_mut().filter(|run| run.state == StepState::Skipped) {
                run.state = StepState::Done;
            }
        })
    });
}

#[test]
fn a_sibling_that_is_not_awaited() {
    caught_alone("a sibling that is not awaited", &travel(), |call| {
        call.with_definition(|definition| definition.on_sibling_failure = SiblingFailure::Race)
    });
}

/// The step that is given up is forgotten, though it may have been done.
fn forget_what_may_have_been_done(call: &Call<'_>) -> Result<Decision, Refusal> {
    let decision = call.real()?;
    let doubtful = decision.events.iter().find_map(|event| match event {
        Event::GaveUp { step, in_doubt: true } => Some(step.step().to_owned()),
        _ => None,
    });
    let Some(doubtful) = doubtful else { return Ok(decision) };
    call.with_definition(|definition| {
        change(definition, &doubtful, |step| {
            step.kind = StepKind::Read;
            step.compensation = None;
        });
    })
}

#[test]
fn a_siblings_effect_in_doubt_that_is_forgotten() {
    let core = Broken::new(forget_what_may_have_been_done);
    caught("a sibling's effect in doubt that is forgotten", &core, &racing(&travel()), Role::Alone);
}

#[test]
fn silence_that_is_taken_for_a_no() {
    caught_alone("silence that is taken for a no", &order(), forget_what_may_have_been_done);
}

#[test]
fn a_saga_that_ends_twice() {
    caught_alone("a saga that ends twice", &order(), |call| match (call.saga.phase, call.input) {
        (Phase::Ended(end), Input::Reply(_)) => Ok(call.recording(vec![Event::Ended { end }], Vec::new())),
        _ => call.real(),
    });
}

#[test]
fn a_sub_saga_that_is_not_undone() {
    caught_alone("a sub-saga that is not undone", &holiday(), |call| {
        if !is_undoing(call) {
            return call.real();
        }
        call.with_definition(|definition| change(definition, "trip", |step| step.compensation = None))
    });
}

#[test]
fn a_part_that_does_not_wait_for_its_parent() {
    let core = Broken::new(|call| call.with_saga(|saga| saga.parent = None));
    caught("a part that does not wait for its parent", &core, &definition(&order()), Role::Part);
}

#[test]
fn a_step_that_begins_when_the_saga_is_stopping() {
    caught_alone("a step that begins when the saga is stopping", &travel(), |call| {
        let is_ok = matches!(call.input, Input::Reply(reply) if matches!(reply.outcome, Outcome::Ok { .. }));
        if is_ok { call.with_saga(|saga| saga.stopping = None) } else { call.real() }
    });
}

#[test]
fn too_many_items_at_once() {
    caught_alone("too many items at once", &import(), |call| {
        call.with_definition(|definition| {
            change(definition, "rows", |step| {
                if let Some(each) = &mut step.for_each {
                    each.concurrency = 10;
                }
            });
        })
    });
}

#[test]
fn a_refusal_that_left_something() {
    caught_alone("a refusal that left something", &order(), |call| {
        let Input::Reply(reply) = call.input else { return call.real() };
        let mut reply = reply.clone();
        if let Outcome::Rejected { partial, .. } = &mut reply.outcome {
            *partial = false;
        }
        call.with_input(&Input::Reply(reply))
    });
}

#[test]
fn a_command_that_is_recorded_and_not_sent() {
    caught_alone("a command that is recorded and not sent", &order(), |call| {
        let mut decision = call.real()?;
        decision.effects.retain(|effect| !matches!(effect, Effect::Send(command) if command.id.attempt > 1));
        Ok(decision)
    });
}

#[test]
fn a_crash_after_which_nothing_is_sent() {
    let core = Broken { decide: |call| call.real(), forgets: true };
    caught("a crash after which nothing is sent", &core, &definition(&order()), Role::Alone);
}

#[test]
fn a_step_that_begins_too_late_to_be_undone_in_time() {
    caught_alone("a step that begins too late to be undone in time", &order(), |call| {
        call.with_saga(|saga| saga.deadline = saga.deadline + Millis::secs(3600))
    });
}

#[test]
fn a_step_that_is_left_out() {
    caught_alone("a step that is left out", &order(), |call| {
        call.with_definition(|definition| {
            change(definition, "hold", |step| step.when = Expression::parse("false").ok());
        })
    });
}

#[test]
fn a_no_that_is_taken_for_a_yes() {
    caught_alone("a no that is taken for a yes", &signup(), |call| match call.input {
        Input::Decide { step, by, comment, .. } => {
            let (step, by, comment) = (step.clone(), by.clone(), comment.clone());
            call.with_input(&Input::Decide { step, approve: true, by, comment })
        }
        _ => call.real(),
    });
}

#[test]
fn a_compensation_that_is_believed_before_it_is_answered() {
    caught_alone("a compensation that is believed before it is answered", &order(), |call| {
        let silent = call.real()?.events.into_iter().find_map(|event| match event {
            Event::TimedOut { step, direction: direction @ Direction::Compensation, attempt } => {
                Some(Event::Succeeded { step, direction, attempt, output: None, empty: false })
            }
            _ => None,
        });
        let Some(done) = silent else { return call.real() };
        let ended = EndedBody {
            saga_id: call.saga.id,
            definition: call.saga.definition.clone(),
            version: call.saga.version,
            status: "compensated".to_owned(),
            started_at: call.saga.started_at,
            ended_at: call.now,
            cause: None,
        };
        let events = vec![done, Event::Ended { end: End::Compensated }];
        Ok(call.recording(events, vec![Effect::Announce(Box::new(ended))]))
    });
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
