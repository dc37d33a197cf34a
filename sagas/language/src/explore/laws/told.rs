//! What others must hear: of an end everybody, the saga that this one is a part of, and its own sub-sagas; and after a
//! takeover whoever may not have heard.

use snorri_saga::decide::{AskKind, Effect};
use snorri_saga::definition::{Definition, Work};
use snorri_saga::ids::{Direction, StepKey};
use snorri_saga::journal::{End, Event};
use snorri_saga::saga::{Phase, Saga, StepState, Wait};
use snorri_saga::wire::Outcome;

use super::Transition;

/// Why what is told by a transition is wrong, if it is.
pub(super) fn of(step: &Transition<'_>) -> Option<String> {
    let saga = &step.after.saga;
    let is_over = step.events.iter().any(|event| matches!(event, Event::Ended { .. } | Event::Held));
    untrue(saga, step.effects)
        .or_else(|| if is_over { untold(step.definition, saga, step.effects) } else { None })
}

/// Why what is sent after a takeover is wrong, if it is.
pub(in crate::explore) fn of_pending(
    definition: &Definition,
    saga: &Saga,
    pending: &[Effect],
) -> Option<String> {
    let unsent = saga.in_flight().find_map(|(run, flight)| {
        let is_it = |effect: &Effect| match effect {
            Effect::Send(command) => command.id == saga.command_id(run, flight),
            Effect::Ask(ask) => {
                let direction = match ask.kind {
                    AskKind::Run(_) => Direction::Action,
                    AskKind::Undo(_) => Direction::Compensation,
                    AskKind::Release => return false,
                };
                ask.parent.step == run.key && direction == flight.direction
            }
            Effect::Announce(_) | Effect::Answer(_) => false,
        };
        let is_out = matches!(flight.wait, Wait::Reply(_));
        (is_out && !pending.iter().any(is_it))
            .then(|| format!("`{}` is awaited, and what may be lost of it is not sent again", run.key))
    });
    unsent.or_else(|| untrue(saga, pending)).or_else(|| untold(definition, saga, pending))
}

/// What the saga that this one is a part of is told is so.
fn untrue(saga: &Saga, effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(|effect| {
        let Effect::Answer(reply) = effect else { return None };
        let is_so = match (reply.command.effect.direction, &reply.outcome) {
            (Direction::Action, Outcome::Ok { .. }) => {
                matches!(saga.phase, Phase::Held | Phase::Ended(End::Completed))
            }
            (Direction::Action, Outcome::Rejected { .. }) | (Direction::Compensation, Outcome::Ok { .. }) => {
                saga.phase == Phase::Ended(End::Compensated)
            }
            (_, _) => false,
        };
        let of = match reply.command.effect.direction {
            Direction::Action => "to run",
            Direction::Compensation => "to be undone",
        };
        (!is_so).then(|| {
            let (word, status) = (reply.outcome.word(), saga.status());
            format!("the saga was asked {of}, and answers {word}, and is {status}")
        })
    })
}

/// Who has to hear how the saga stands, and does not.
fn untold(definition: &Definition, saga: &Saga, effects: &[Effect]) -> Option<String> {
    let is_answered = effects.iter().any(|effect| matches!(effect, Effect::Answer(_)));
    let is_announced = effects.iter().any(|effect| matches!(effect, Effect::Announce(_)));
    let is_part = saga.parent.is_some();
    match saga.phase {
        Phase::Ended(end) if !is_announced => Some(match end {
            End::Completed => "the saga is completed, and nobody is told".to_owned(),
            End::Compensated => "the saga is compensated, and nobody is told".to_owned(),
        }),
        Phase::Held | Phase::Ended(End::Compensated) if is_part && !is_answered => {
            Some("the saga is done, and the one that it is a part of is not told".to_owned())
        }
        Phase::Forward | Phase::Backward | Phase::Held | Phase::Ended(End::Compensated) => None,
        Phase::Ended(End::Completed) => held(definition, saga).find_map(|key| {
            let is_release = |effect: &Effect| match effect {
                Effect::Ask(ask) => ask.kind == AskKind::Release && ask.parent.step == *key,
                Effect::Send(_) | Effect::Announce(_) | Effect::Answer(_) => false,
            };
            (!effects.iter().any(is_release))
                .then(|| format!("the saga is completed, and the sub-saga `{key}` is not let go of"))
        }),
    }
}

/// The sub-sagas that are done, and wait for the end of this one.
fn held<'a>(definition: &'a Definition, saga: &'a Saga) -> impl Iterator<Item = &'a StepKey> {
    let is_saga = |key: &StepKey| {
        definition.step(key.step()).is_some_and(|(_, step)| matches!(step.work, Work::Saga { .. }))
    };
    let runs = saga.steps.iter().filter(|run| run.state == StepState::Done && run.attempts > 0);
    runs.map(|run| &run.key).filter(move |key| is_saga(key))
}
