//! Cores that undo too little, too much, or in the wrong order.

use snorri_language::explore::Role;
use snorri_saga::decide::{Decision, Input, Refusal};
use snorri_saga::definition::StepKind;
use snorri_saga::ids::Direction;
use snorri_saga::journal::{End, Event};
use snorri_saga::saga::{Phase, StepState};
use snorri_saga::wire::Outcome;

use super::broken::{Broken, Call, announcement, change, without_order};
use super::definitions::{holiday, order, racing, travel};
use super::{caught, caught_alone};

#[test]
fn a_lost_compensation() {
    caught_alone("a lost compensation", &order(), |call| {
        call.with_definition(|definition| change(definition, "reserve", |step| step.compensation = None))
    });
}

#[test]
fn compensations_out_of_order() {
    caught_alone("compensations out of order", &order(), |call| {
        if call.undoes() { call.with_definition(without_order) } else { call.real() }
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
fn a_skipped_step_that_is_compensated() {
    caught_alone("a skipped step that is compensated", &travel(), |call| {
        if !call.undoes() {
            return call.real();
        }
        call.with_saga(|saga| {
            for run in saga.steps.iter_mut().filter(|run| run.state == StepState::Skipped) {
                run.state = StepState::Done;
            }
        })
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
fn a_sub_saga_that_is_not_undone() {
    caught_alone("a sub-saga that is not undone", &holiday(), |call| {
        if !call.undoes() {
            return call.real();
        }
        call.with_definition(|definition| change(definition, "trip", |step| step.compensation = None))
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
fn a_compensation_that_is_believed_before_it_is_answered() {
    caught_alone("a compensation that is believed before it is answered", &order(), |call| {
        let silent = call.real()?.events.into_iter().find_map(|event| match event {
            Event::TimedOut { step, direction: direction @ Direction::Compensation, attempt } => {
                Some(Event::Succeeded { step, direction, attempt, output: None, empty: false })
            }
            _ => None,
        });
        let Some(done) = silent else { return call.real() };
        let events = vec![done, Event::Ended { end: End::Compensated }];
        Ok(call.recording(events, vec![announcement(call, "compensated")]))
    });
}

#[test]
fn an_end_beside_what_is_still_undone() {
    caught_alone("an end beside what is still undone", &travel(), |call| {
        let mut decision = call.real()?;
        let is_undone = decision
            .events
            .iter()
            .any(|event| matches!(event, Event::Succeeded { direction: Direction::Compensation, .. }));
        if is_undone && decision.saga.phase == Phase::Backward {
            decision.events.push(Event::Ended { end: End::Compensated });
            decision.effects.push(announcement(call, "compensated"));
        }
        Ok(call.recording(decision.events, decision.effects))
    });
}

#[test]
fn a_step_that_is_undone_twice() {
    caught_alone("a step that is undone twice", &order(), |call| {
        if call.saga.phase != Phase::Backward {
            return call.real();
        }
        call.with_saga(|saga| {
            for run in saga.steps.iter_mut().filter(|run| run.state == StepState::Undone) {
                run.state = StepState::Done;
            }
        })
    });
}
