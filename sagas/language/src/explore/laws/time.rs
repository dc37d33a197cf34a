//! How long things take: as long as the definition says, and no longer than the window allows for.

use snorri_saga::decide::{Input, forward_deadline};
use snorri_saga::definition::{Step, Zone};
use snorri_saga::ids::{Direction, EffectId, StepKey};
use snorri_saga::journal::Event;
use snorri_saga::retry::RetryPolicy;
use snorri_saga::saga::Phase;
use snorri_saga::time::Millis;

use super::Transition;
use crate::explore::world::EPOCH;

/// Why what is planned is wrong, if it is.
pub(super) fn of(step: &Transition<'_>) -> Option<String> {
    wakes(step)
        .or_else(|| window(step))
        .or_else(|| step.events.iter().find_map(|event| planned(step, event)))
        .or_else(|| fits(step))
}

/// Every saga that has not ended is looked at again, at a time that is to come.
fn wakes(step: &Transition<'_>) -> Option<String> {
    let (saga, now) = (&step.after.saga, step.after.now);
    match (saga.due_at(), saga.phase) {
        (None, Phase::Ended(_)) => None,
        (None, _) => Some("nothing will ever wake the saga again".to_owned()),
        (Some(_), Phase::Ended(_)) => Some("the saga has ended, and is woken again".to_owned()),
        (Some(due), _) => (matches!(step.input, Some(Input::Woke)) && due <= now)
            .then(|| "a wake-up leaves something due: it would be woken at once, again and again".to_owned()),
    }
}

/// Nothing before the pivot is awaited, or planned, for when undoing would not fit into the window any more.
fn fits(step: &Transition<'_>) -> Option<String> {
    let (definition, saga, now) = (step.definition, &step.after.saga, step.after.now);
    if saga.phase != Phase::Forward || saga.pivot_sent {
        return None;
    }
    let limit = forward_deadline(definition, saga).max(now + Millis(1));
    saga.in_flight().find_map(|(run, flight)| {
        let due = flight.wait.due();
        let is_long =
            flight.direction == Direction::Action && due > limit && saga.blocked_at(&run.key).is_none();
        is_long.then(|| {
            let due = due.since(EPOCH);
            format!("`{}` is awaited until {due}, when undoing would not fit any more", run.key)
        })
    })
}

/// The window's end is noticed when it has come, and not before.
fn window(step: &Transition<'_>) -> Option<String> {
    let (saga, now) = (&step.after.saga, step.after.now);
    let is_held = step.before.is_some_and(|before| before.saga.phase == Phase::Held);
    step.events
        .iter()
        .find_map(|event| match event {
            Event::WindowAtRisk if now < saga.risk_at => {
                Some("the window is said to be nearly over, and is not")
            }
            Event::WindowMissed if now < saga.deadline => {
                Some("the window is said to be missed, and is not over")
            }
            Event::Ended { .. } if now >= saga.deadline && !saga.window_missed && !is_held => {
                Some("the saga ends after its window, and that is not recorded")
            }
            _ => None,
        })
        .map(str::to_owned)
}

/// What is awaited, or planned, is so for as long as the definition says.
fn planned(step: &Transition<'_>, event: &Event) -> Option<String> {
    let (definition, now) = (step.definition, step.after.now);
    let of = |key: &StepKey| definition.step(key.step());
    match event {
        Event::Sent { step: key, direction, until, .. } => {
            let (at, of) = of(key)?;
            let (timeout, _) = operation(of, *direction)?;
            let least = match direction {
                Direction::Action => least(step, at, key, timeout),
                Direction::Compensation => timeout,
            };
            lasts(key, "is awaited", until.since(now), least, timeout)
        }
        Event::Waiting { step: key, until, .. } => {
            let (at, of) = of(key)?;
            lasts(key, "waits", until.since(now), least(step, at, key, of.timeout), of.timeout)
        }
        Event::RetryPlanned { step: key, at } => {
            // What missed; it may be given up in the same breath.
            let saga = &step.before?.saga;
            let flight = saga.step(key.as_str())?.flight?;
            let (_, policy) = operation(of(key)?.1, flight.direction)?;
            let effect = EffectId { saga: saga.id, step: key.clone(), direction: flight.direction };
            let quick = policy.pause(&effect, flight.attempt);
            let slow = policy.pause_slow(&effect, flight.attempt);
            // An action at which a person is needed may be in either lane.
            let is_news = |event: &Event| matches!(event, Event::Blocked { step, .. } if step == key);
            let is_blocked = saga.blocked_at(key).is_some() || step.events.iter().any(is_news);
            let is_either = flight.direction == Direction::Action && is_blocked;
            let (least, most) = if is_either {
                (quick.min(slow), quick.max(slow))
            } else if flight.attempt < policy.attempts {
                (quick, quick)
            } else {
                (slow, slow)
            };
            lasts(key, "pauses", at.since(now), least, most)
        }
        _ => None,
    }
}

/// An action, or a wait, lasts at least so long: its timeout, or less where undoing would not fit any more.
fn least(step: &Transition<'_>, at: usize, key: &StepKey, timeout: Millis) -> Millis {
    let (definition, saga, now) = (step.definition, &step.after.saga, step.after.now);
    if definition.graph.zone(at) != Zone::Before || saga.blocked_at(key).is_some() {
        return timeout;
    }
    // What was limited by steps that are no longer there cannot be seen any more.
    if saga.phase != Phase::Forward || saga.stopping.is_some() {
        return Millis(0);
    }
    timeout.min(forward_deadline(definition, saga).since(now))
}

fn lasts(key: &StepKey, what: &str, span: Millis, least: Millis, most: Millis) -> Option<String> {
    let says = if span < least { least } else { most };
    (span < least || span > most)
        .then(|| format!("`{key}` {what} for {span}, and the definition says {says}"))
}

fn operation(step: &Step, direction: Direction) -> Option<(Millis, RetryPolicy)> {
    match direction {
        Direction::Action => Some((step.timeout, step.retry)),
        Direction::Compensation => step.compensation.as_ref().map(|undo| (undo.timeout, undo.retry)),
    }
}
