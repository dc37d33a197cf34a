//! What may be sent: what was recorded, of what there is, when it is its turn.

use snorri_saga::decide::{Command, Effect, forward_deadline};
use snorri_saga::definition::{Step, StepKind, Work, Zone};
use snorri_saga::ids::{Direction, StepKey};
use snorri_saga::journal::Event;
use snorri_saga::saga::{Phase, StepRun, StepState};

use super::Transition;
use crate::explore::model::Answer;
use crate::explore::world::{Key, World};

/// Why what is sent is wrong, if it is.
pub(super) fn of(step: &Transition<'_>) -> Option<String> {
    let Transition { events, effects, before, after, .. } = step;
    let mut sent: Vec<(&StepKey, Direction, u32)> = Vec::new();
    for effect in *effects {
        match effect {
            Effect::Send(command) => {
                let id = &command.id.effect;
                sent.push((&id.step, id.direction, command.id.attempt));
                if let Some(wrong) = command_is_lawful(step, command) {
                    return Some(wrong);
                }
            }
            Effect::Ask(ask) => {
                let key = &ask.parent.step;
                let is_ended = before.is_some_and(World::is_ended);
                if let Some(run) = after.saga.step(key.as_str())
                    && let Some(flight) = run.flight
                    && !is_ended
                {
                    sent.push((key, flight.direction, flight.attempt));
                    if let Some(wrong) = send_is_lawful(step, key, flight.direction, flight.attempt) {
                        return Some(wrong);
                    }
                }
            }
            Effect::Announce(_) | Effect::Answer(_) => {}
        }
    }
    events.iter().find_map(|event| match event {
        Event::Sent { step, direction, attempt, .. } if !sent.contains(&(step, *direction, *attempt)) => {
            // What is given up in the same breath may be left out.
            let is_open = after
                .saga
                .step(step.as_str())
                .and_then(|run| run.flight)
                .is_some_and(|flight| (flight.direction, flight.attempt) == (*direction, *attempt));
            is_open
                .then(|| format!("the {} of `{step}` is recorded as sent, and is not sent", word(*direction)))
        }
        _ => None,
    })
}

fn command_is_lawful(step: &Transition<'_>, command: &Command) -> Option<String> {
    let id = &command.id.effect;
    let lawful = step.definition.step(id.step.step()).and_then(|(_, of)| match (&of.work, id.direction) {
        (Work::Participant { participant, action }, Direction::Action) => Some((participant, action)),
        (Work::Participant { participant, .. }, Direction::Compensation) => {
            Some((participant, &of.compensation.as_ref()?.action))
        }
        _ => None,
    });
    if lawful != Some((&command.participant, &command.operation)) {
        let Command { participant, operation, .. } = command;
        return Some(format!("{participant} is asked to {operation} for `{}`, which nothing says", id.step));
    }
    send_is_lawful(step, &id.step, id.direction, command.id.attempt)
}

/// Whether a command may go out.
fn send_is_lawful(
    step: &Transition<'_>,
    key: &StepKey,
    direction: Direction,
    attempt: u32,
) -> Option<String> {
    let Transition { definition, before, after, events, .. } = step;
    let what = word(direction);
    let (at, of) = definition.step(key.step())?;
    let is_list = of.for_each.is_some();
    let items = match after.answers.get(at).copied().flatten() {
        Some(Answer::Run(items)) => items,
        Some(Answer::Skip | Answer::Cannot) | None => 0,
    };
    let is_known = match key.number() {
        Some(number) => is_list && number < items,
        None => !is_list,
    };
    if !is_known {
        return Some(format!("the {what} of `{key}` is sent, and there is no such step or item"));
    }
    let is_decided = events.iter().any(|event| match event {
        Event::Sent { step, direction: of, attempt: nth, .. } => {
            (step, *of, *nth) == (key, direction, attempt)
        }
        Event::SentAgain { step } => step == key,
        _ => false,
    });
    if !is_decided {
        return Some(format!("the {what} of `{key}` is sent, and that is not recorded"));
    }
    let run = before.and_then(|before| before.saga.step(key.as_str()));
    match direction {
        Direction::Action => action_is_lawful(step, at, key, attempt, run),
        Direction::Compensation => compensation_is_lawful(step, at, of, key, run),
    }
}

fn action_is_lawful(
    step: &Transition<'_>,
    at: usize,
    key: &StepKey,
    attempt: u32,
    run: Option<&StepRun>,
) -> Option<String> {
    let Transition { definition, after, .. } = step;
    let before = run.map_or(0, |run| run.attempts);
    let is_again = step.events.iter().any(|e| matches!(e, Event::SentAgain { step } if step == key));
    if attempt != before + u32::from(!is_again) {
        return Some(format!("attempt {attempt} of the action of `{key}` follows attempt {before}"));
    }
    let of = definition.steps.get(at)?;
    let must_succeed = of.kind == StepKind::Retriable || (of.kind == StepKind::Read && after.saga.pivot_sent);
    if attempt > of.retry.attempts && !must_succeed && after.saga.blocked_at(key).is_none() {
        return Some(format!(
            "attempt {attempt} of the action of `{key}` is made, and the definition says {}",
            of.retry.attempts
        ));
    }
    let is_planned = definition.graph.zone(at) == Zone::Before
        && after.saga.phase == Phase::Forward
        && after.saga.stopping.is_none()
        && after.saga.step(key.as_str()).is_none_or(|run| after.saga.blocked_at(&run.key).is_none());
    if is_planned && !is_again && after.now >= forward_deadline(definition, &after.saga) {
        return Some(format!("`{key}` is sent when undoing it would not fit into the window any more"));
    }
    None
}

fn compensation_is_lawful(
    step: &Transition<'_>,
    at: usize,
    of: &Step,
    key: &StepKey,
    run: Option<&StepRun>,
) -> Option<String> {
    let Transition { definition, after, .. } = step;
    if of.compensation.is_none() {
        return Some(format!("`{key}` is compensated, and has no compensation"));
    }
    match run.map(|run| (run.state, run.attempts)) {
        None if after.saga.step(key.as_str()).is_none_or(|run| run.attempts == 0) => {
            return Some(format!("`{key}` is compensated, and never began"));
        }
        Some((StepState::Skipped, _)) => return Some(format!("`{key}` is compensated, and was skipped")),
        Some((StepState::Undone | StepState::Fenced, _)) => {
            return Some(format!("`{key}` is compensated, and has been already"));
        }
        Some((_, 0)) => return Some(format!("`{key}` is compensated, and was never sent")),
        _ => {}
    }
    let behind = definition.graph.descendants(at);
    for run in &after.saga.steps {
        let Some(other) = Key::of(definition, &run.key).filter(|other| behind.has(other.step)) else {
            continue;
        };
        let Some(later) = definition.steps.get(other.step).filter(|later| later.compensation.is_some())
        else {
            continue;
        };
        let is_list = later.for_each.is_some() && other.item.is_none();
        let may_be_there = matches!(run.state, StepState::Done | StepState::InDoubt | StepState::Undoing)
            || after.truth(other).is_left();
        if may_be_there && !is_list {
            return Some(format!("`{key}` is compensated before `{}`, which needed it", run.key));
        }
    }
    None
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Action => "action",
        Direction::Compensation => "compensation",
    }
}
