//! What must hold, whatever happens. A law that does not hold is a sentence for people.
//!
//! Laws look at three things: what the saga recorded and sent ([`of_transition`]), what it then believes, and what is true
//! at the participants ([`of_state`]).

use snorri_saga::decide::{Effect, Input, Refusal};
use snorri_saga::definition::{Definition, SiblingFailure, StepKind, Work};
use snorri_saga::ids::{Direction, StepKey};
use snorri_saga::journal::{BlockedReason, End, Event};
use snorri_saga::retry::{BLOCKED_AFTER, BLOCKED_AFTER_ATTEMPTS};
use snorri_saga::saga::{Flight, Phase, Saga, StepRun, StepState, Wait};

use super::world::{Key, Message, World};

mod commands;
mod ends;
mod heard;
mod time;
mod told;

pub(super) use heard::of_nothing;
pub(super) use told::of_pending;

/// A transition of the saga.
pub(super) struct Transition<'a> {
    pub(super) definition: &'a Definition,
    /// Nothing at the start.
    pub(super) before: Option<&'a World>,
    pub(super) after: &'a World,
    pub(super) events: &'a [Event],
    pub(super) effects: &'a [Effect],
    pub(super) input: Option<&'a Input>,
}

/// Why a transition is wrong, if it is.
pub(super) fn of_transition(step: &Transition<'_>) -> Option<String> {
    journal(step)
        .or_else(|| phases(step))
        .or_else(|| heard::of(step))
        .or_else(|| events(step))
        .or_else(|| commands::of(step))
        .or_else(|| told::of(step))
        .or_else(|| time::of(step))
        .or_else(|| of_state(step.definition, step.after))
}

/// Why a refusal is wrong, if it is.
pub(super) fn of_refusal(
    definition: &Definition,
    before: &World,
    base: &World,
    input: Option<&Input>,
    refusal: Refusal,
) -> Option<String> {
    let is_due = before.saga.due_at().is_some_and(|due| due <= base.now);
    match input {
        Some(Input::Woke) if is_due => {
            Some(format!("something is due, and a wake-up changes nothing: {refusal}"))
        }
        Some(input) => heard::of_refusal(definition, before, input, refusal),
        None => None,
    }
}

/// Why a state is wrong, if it is.
pub(super) fn of_state(definition: &Definition, world: &World) -> Option<String> {
    let saga = &world.saga;
    let end = match saga.phase {
        Phase::Ended(end) => end,
        Phase::Held => return ends::all_done(definition, world, "all its steps are said to be done"),
        Phase::Forward | Phase::Backward => {
            return live(definition, saga);
        }
    };
    match end {
        End::Completed if saga.parent.is_some() && !world.family.released => Some(
            "the saga is completed, and the one that it is a part of may still have to undo it".to_owned(),
        ),
        End::Completed => ends::all_done(definition, world, "the saga is completed"),
        End::Compensated => ends::all_undone(definition, world),
    }
}

/// The saga is what its journal says.
fn journal(step: &Transition<'_>) -> Option<String> {
    let Transition { before, after, events, .. } = step;
    let mut saga = match (before, events.first()) {
        (Some(before), _) => Saga::clone(&before.saga),
        (None, Some(Event::Started(started))) => Saga::started(after.saga.id, after.now, started),
        (None, _) => return Some("its journal does not begin with its start".to_owned()),
    };
    for event in *events {
        if let Event::Sent { step: key, direction: Direction::Action, .. } = event
            && let Some(wrong) = too_early(step.definition, &saga, key)
        {
            return Some(wrong);
        }
        saga.evolve(after.now, event);
    }
    (saga != *after.saga).then(|| "the saga is not what its journal says".to_owned())
}

/// A step begins when all that it needs is done or skipped.
fn too_early(definition: &Definition, saga: &Saga, key: &StepKey) -> Option<String> {
    let (at, _) = definition.step(key.step())?;
    definition.graph.needs(at).iter().find_map(|need| {
        let name = &definition.steps.get(*need)?.name;
        let run = saga.step(name.as_str());
        let is_settled = run.is_some_and(|run| matches!(run.state, StepState::Done | StepState::Skipped));
        (!is_settled).then(|| format!("`{key}` is sent, and `{name}`, which it needs, is not done"))
    })
}

fn phases(step: &Transition<'_>) -> Option<String> {
    let Transition { before, after, events, effects, .. } = step;
    let before = before.map_or(Phase::Forward, |before| before.saga.phase);
    let sends = effects.iter().any(|effect| matches!(effect, Effect::Send(_)));
    match (before, after.saga.phase) {
        (Phase::Ended(_), _) => {
            let is_late = |event: &Event| matches!(event, Event::LateReply { .. });
            if events.iter().any(|event| matches!(event, Event::Ended { .. })) {
                return Some("the saga ended, and ends once more".to_owned());
            }
            if !events.iter().all(is_late) || sends {
                return Some("the saga has ended, and goes on".to_owned());
            }
        }
        (Phase::Backward, Phase::Forward | Phase::Held | Phase::Ended(End::Completed)) => {
            return Some("the saga was being undone, and goes forwards again".to_owned());
        }
        (Phase::Held, Phase::Forward) => {
            return Some("the saga was done, and goes forwards again".to_owned());
        }
        _ => {}
    }
    let ends = events.iter().any(|event| matches!(event, Event::Ended { .. }));
    if ends {
        let Phase::Ended(end) = after.saga.phase else {
            return Some("an end was recorded, and the saga has not ended".to_owned());
        };
        let word = match end {
            End::Completed => "completed",
            End::Compensated => "compensated",
        };
        let mut announced = effects.iter().filter_map(|effect| match effect {
            Effect::Announce(body) => Some(body.status.as_str()),
            _ => None,
        });
        if announced.next() != Some(word) || announced.next().is_some() {
            return Some(format!("the saga is {word}, and that is not what is announced"));
        }
    }
    None
}

fn events(step: &Transition<'_>) -> Option<String> {
    let Transition { definition, before, after, events, .. } = step;
    let mut is_stopping = before.is_some_and(|before| before.saga.stopping.is_some());
    let mut is_undoing = before.is_some_and(|before| before.saga.phase == Phase::Backward);
    for event in *events {
        match event {
            Event::Sent { step: key, direction: Direction::Action, attempt, .. } => {
                if is_undoing {
                    return Some(format!("the action of `{key}` is sent, and the saga is being undone"));
                }
                if is_stopping && *attempt == 1 {
                    return Some(format!("`{key}` begins, and the saga is stopping"));
                }
            }
            Event::Waiting { step: key, .. } | Event::Listed { step: key, .. }
                if is_stopping || is_undoing =>
            {
                return Some(format!("`{key}` begins, and the saga is stopping"));
            }
            Event::Sent { direction: Direction::Compensation, step: key, .. } if !is_undoing => {
                return Some(format!(
                    "the compensation of `{key}` is sent, and the saga is not being undone"
                ));
            }
            Event::GaveUp { step: key, in_doubt } => {
                let wrong = given_up(step, key);
                if let Some(wrong) = wrong.or_else(|| if *in_doubt { None } else { not_done(step, key) }) {
                    return Some(wrong);
                }
            }
            Event::Failed { .. } | Event::TimedOut { .. } | Event::Blocked { .. } => {
                if let Some(wrong) = missed(step, event) {
                    return Some(wrong);
                }
            }
            Event::LateReply { step: key, .. } => {
                let run = before.and_then(|before| before.saga.step(key.as_str()));
                if run.is_some_and(|run| run.late) {
                    return Some(format!("a late success of `{key}` is recorded, and was known"));
                }
            }
            Event::Succeeded { step: key, direction: Direction::Action, .. } => {
                let run = before.and_then(|before| before.saga.step(key.as_str()));
                match run.map(|run| run.state) {
                    None | Some(StepState::Acting) => {}
                    Some(StepState::Done) => {
                        return Some(format!("`{key}` is done, and is done once more"));
                    }
                    Some(_) => return Some(format!("a late success of `{key}` is taken for one in time")),
                }
            }
            Event::Stopping { .. } | Event::CancelRequested { .. } => is_stopping = true,
            Event::CompensationBegan { .. } => {
                if is_undoing {
                    return Some("compensation begins a second time".to_owned());
                }
                is_undoing = true;
                if let Some(wrong) = turned_round(definition, after) {
                    return Some(wrong);
                }
            }
            _ => {}
        }
    }
    None
}

/// What is in flight beside a step that failed is awaited, or fenced off where the definition says so.
fn given_up(step: &Transition<'_>, key: &StepKey) -> Option<String> {
    let before = step.before?;
    let (_, of) = step.definition.step(key.step())?;
    let flight = before.saga.step(key.as_str())?.flight?;
    let Wait::Reply(until) = flight.wait else { return None };
    let is_answered = matches!(step.input, Some(Input::Reply(reply)) if reply.command.effect.step == *key);
    let is_race = step.definition.on_sibling_failure == SiblingFailure::Race;
    let may_fence = (of.compensation.is_some() && (is_race || matches!(of.work, Work::Saga { .. })))
        || (is_race && of.kind == StepKind::Read);
    (!is_answered && !may_fence && until > step.after.now)
        .then(|| format!("the answer of `{key}` is not awaited, and it may have been done"))
}

/// What is given up as not done was not done, and will not be.
fn not_done(step: &Transition<'_>, key: &StepKey) -> Option<String> {
    let (_, of) = step.definition.step(key.step())?;
    let at = Key::of(step.definition, key)?;
    let truth = step.after.truth(at);
    let has_effect = of.kind != StepKind::Read && !of.work.is_wait();
    let will_be = step.after.out.iter().any(|message| match message {
        Message::Command { key, direction: Direction::Action, attempt, .. } => {
            *key == at && truth.kept(of, Direction::Action, *attempt).is_none()
        }
        _ => false,
    });
    (has_effect && (truth.is_left() || will_be))
        .then(|| format!("`{key}` is given up as not done, and was done or will be"))
}

/// An attempt went wrong: it was the one that is under way, and when it goes wrong for long a person is told.
fn missed(step: &Transition<'_>, event: &Event) -> Option<String> {
    let saga = &step.before?.saga;
    let flight = |key: &StepKey| saga.step(key.as_str()).and_then(|run| run.flight);
    let is_stubborn = |flight: Flight| {
        let span = step.after.now.since(flight.since);
        flight.attempt >= BLOCKED_AFTER_ATTEMPTS || span >= BLOCKED_AFTER
    };
    match event {
        Event::Failed { step: key, direction, attempt, .. }
        | Event::TimedOut { step: key, direction, attempt } => {
            let Some(flight) = flight(key).filter(|flight| {
                (flight.direction, flight.attempt) == (*direction, *attempt)
                    && matches!(flight.wait, Wait::Reply(_))
            }) else {
                return Some(format!(
                    "attempt {attempt} of `{key}` goes wrong, and is not the one under way"
                ));
            };
            let is_told = step.after.saga.blocked_at(key).is_some();
            (*direction == Direction::Compensation && is_stubborn(flight) && !is_told)
                .then(|| format!("undoing `{key}` goes wrong for long, and no person is told"))
        }
        Event::Blocked { step: key, reason: BlockedReason::CompensationFails, .. } => {
            let is_early = flight(key).is_some_and(|flight| !is_stubborn(flight));
            is_early.then(|| format!("a person is told of `{key}`, which has not gone wrong for long"))
        }
        _ => None,
    }
}

/// Nothing is undone over the pivot.
fn turned_round(definition: &Definition, world: &World) -> Option<String> {
    if !world.saga.pivot_sent {
        return None;
    }
    let pivot = definition.graph.pivot()?;
    let name = &definition.steps.get(pivot)?.name;
    let is_done = world.truth(Key { step: pivot, item: None }).is_left();
    let is_refused = world.saga.step(name.as_str()).is_some_and(|run| run.state == StepState::NotDone);
    if is_done {
        Some(format!("the pivot `{name}` is done, and the saga is undone"))
    } else if !is_refused {
        Some(format!("the pivot `{name}` was sent and not refused, and the saga is undone"))
    } else {
        None
    }
}

/// What a saga that has not ended believes fits together.
fn live(definition: &Definition, saga: &Saga) -> Option<String> {
    for run in &saga.steps {
        let is_list = run.key.number().is_none()
            && definition.step(run.key.step()).is_some_and(|(_, step)| step.for_each.is_some());
        match run.state {
            StepState::Acting if saga.phase == Phase::Backward => {
                return Some(format!(
                    "the saga is being undone, and the action of `{}` is under way",
                    run.key
                ));
            }
            StepState::Acting | StepState::Undoing if run.flight.is_none() && !is_list => {
                return Some(format!("`{}` is under way, and nothing will ever wake it", run.key));
            }
            _ => {}
        }
    }
    for blocked in &saga.blocked {
        if saga.step(blocked.step.as_str()).is_none_or(|run| run.flight.is_none()) {
            return Some(format!(
                "the saga is blocked at `{}`, where nothing is tried any more",
                blocked.step
            ));
        }
    }
    for (position, step) in definition.steps.iter().enumerate() {
        let Some(each) = &step.for_each else { continue };
        let is_open = |run: &&StepRun| {
            let is_item =
                Key::of(definition, &run.key).is_some_and(|key| key.step == position && key.item.is_some());
            is_item && matches!(run.state, StepState::Acting | StepState::Undoing)
        };
        let open = saga.steps.iter().filter(is_open).count();
        if open > usize::try_from(each.concurrency).unwrap_or(usize::MAX) {
            return Some(format!(
                "{open} items of `{}` are under way at once, and at most {} may be",
                step.name, each.concurrency
            ));
        }
    }
    None
}
