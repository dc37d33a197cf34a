//! Cores that misjudge time.

use snorri_saga::decide::{Decision, Input, Refusal};
use snorri_saga::ids::Direction;
use snorri_saga::journal::Event;
use snorri_saga::saga::Phase;
use snorri_saga::time::Millis;

use super::broken::{Call, change};
use super::caught_alone;
use super::definitions::{order, signup};

const YEAR: Millis = Millis::secs(365 * 24 * 3600);

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
fn a_step_that_begins_too_late_to_be_undone_in_time() {
    caught_alone("a step that begins too late to be undone in time", &order(), |call| {
        call.with_saga(|saga| saga.deadline = saga.deadline + Millis::secs(3600))
    });
}

/// What is recorded with a time, with another one.
fn later(call: &Call<'_>, change: fn(Event) -> Event) -> Result<Decision, Refusal> {
    let decision = call.real()?;
    Ok(call.recording(decision.events.into_iter().map(change).collect(), decision.effects))
}

#[test]
fn a_compensation_that_is_awaited_for_a_year() {
    caught_alone("a compensation that is awaited for a year", &order(), |call| {
        later(call, |event| match event {
            Event::Sent {
                step,
                direction: direction @ Direction::Compensation,
                attempt,
                until,
                request,
                pivot,
            } => Event::Sent { step, direction, attempt, until: until + YEAR, request, pivot },
            other => other,
        })
    });
}

#[test]
fn a_retry_in_a_year() {
    caught_alone("a retry in a year", &order(), |call| {
        later(call, |event| match event {
            Event::RetryPlanned { step, at } => Event::RetryPlanned { step, at: at + YEAR },
            other => other,
        })
    });
}

#[test]
fn a_delay_that_is_cut_short() {
    caught_alone("a delay that is cut short", &signup(), |call| {
        call.with_definition(|definition| {
            change(definition, "grace", |step| step.timeout = Millis::secs(1));
        })
    });
}
