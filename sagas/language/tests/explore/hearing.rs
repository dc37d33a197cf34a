//! Cores that misunderstand what they are told, by participants and by people.

use snorri_language::explore::Role;
use snorri_saga::decide::{Effect, Input};
use snorri_saga::definition::{OnNoDecision, Work};
use snorri_saga::ids::Direction;
use snorri_saga::journal::Event;
use snorri_saga::json::Json;
use snorri_saga::saga::{Phase, StepState};
use snorri_saga::wire::Outcome;

use super::broken::{Broken, change};
use super::definitions::{definition, order, payment, signup};
use super::{caught, caught_alone};

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
fn a_cancellation_after_the_pivot() {
    caught_alone("a cancellation after the pivot", &order(), |call| match call.input {
        Input::Cancel { .. } => call.with_saga(|saga| saga.pivot_sent = false),
        _ => call.real(),
    });
}

#[test]
fn a_saga_that_ends_twice() {
    caught_alone("a saga that ends twice", &order(), |call| match (call.saga.phase, call.input) {
        (Phase::Ended(end), Input::Reply(_)) => Ok(call.recording(vec![Event::Ended { end }], Vec::new())),
        _ => call.real(),
    });
}

#[test]
fn a_part_that_does_not_wait_for_its_parent() {
    let core = Broken::new(|call| {
        let decision = call.real()?;
        if decision.events.contains(&Event::Held) {
            call.with_saga(|saga| saga.parent = None)
        } else {
            Ok(decision)
        }
    });
    caught("a part that does not wait for its parent", &core, &definition(&order()), Role::Part);
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
fn an_answer_that_counts_twice() {
    caught_alone("an answer that counts twice", &order(), |call| {
        let came = call.real();
        let Input::Reply(reply) = call.input else { return came };
        let effect = &reply.command.effect;
        let is_done = call.saga.step(effect.step.as_str()).is_some_and(|run| run.state == StepState::Done);
        if !is_done || effect.direction != Direction::Action {
            return came;
        }
        let (step, direction, attempt) = (effect.step.clone(), effect.direction, reply.command.attempt);
        let again = Event::Succeeded { step, direction, attempt, output: None, empty: false };
        Ok(call.recording(vec![again], Vec::new()))
    });
}

#[test]
fn an_old_failure_that_counts_for_the_next_attempt() {
    caught_alone("an old failure that counts for the next attempt", &payment(), |call| {
        let Input::Reply(reply) = call.input else { return call.real() };
        let mut reply = reply.clone();
        let run = call.saga.step(reply.command.effect.step.as_str());
        if let Some(flight) = run.and_then(|run| run.flight) {
            reply.command.attempt = flight.attempt;
        }
        call.with_input(&Input::Reply(reply))
    });
}

#[test]
fn a_signal_that_is_forgotten() {
    caught_alone("a signal that is forgotten", &signup(), |call| match call.input {
        Input::Signal { .. } => Ok(call.recording(Vec::new(), Vec::new())),
        _ => call.real(),
    });
}

#[test]
fn a_signal_that_came_early_and_is_overlooked() {
    caught_alone("a signal that came early and is overlooked", &signup(), |call| match call.input {
        Input::Reply(_) => call.with_saga(|saga| saga.signals.clear()),
        _ => call.real(),
    });
}

#[test]
fn silence_that_is_taken_for_a_yes() {
    caught_alone("silence that is taken for a yes", &signup(), |call| {
        call.with_definition(|definition| {
            change(definition, "review", |step| {
                step.work = Work::Approval { on_timeout: OnNoDecision::Approve };
            });
        })
    });
}

#[test]
fn a_part_that_says_yes_and_was_refused() {
    let core = Broken::new(|call| {
        let mut decision = call.real()?;
        for effect in &mut decision.effects {
            if let Effect::Answer(reply) = effect {
                reply.outcome = Outcome::Ok { output: Json::null(), empty: false };
            }
        }
        Ok(decision)
    });
    caught("a part that says yes and was refused", &core, &definition(&order()), Role::Part);
}
