//! Cores that send what is not to be sent, or not what is.

use snorri_language::explore::Role;
use snorri_saga::decide::{AskKind, Effect, Input};
use snorri_saga::definition::{Graph, SiblingFailure};
use snorri_saga::expression::Expression;
use snorri_saga::ids::{Direction, Name, StepKey};
use snorri_saga::wire::Outcome;

use super::broken::{Broken, change};
use super::definitions::{definition, holiday, import, order, travel};
use super::{caught, caught_alone};

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
fn a_sibling_that_is_not_awaited() {
    caught_alone("a sibling that is not awaited", &travel(), |call| {
        call.with_definition(|definition| definition.on_sibling_failure = SiblingFailure::Race)
    });
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
fn a_command_that_is_recorded_and_not_sent() {
    caught_alone("a command that is recorded and not sent", &order(), |call| {
        let mut decision = call.real()?;
        decision.effects.retain(|effect| !matches!(effect, Effect::Send(command) if command.id.attempt > 1));
        Ok(decision)
    });
}

#[test]
fn a_crash_after_which_nothing_is_sent() {
    let core = Broken { decide: |call| call.real(), pending: |_| Vec::new() };
    caught("a crash after which nothing is sent", &core, &definition(&order()), Role::Alone);
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
fn a_takeover_that_sends_one_command_of_two() {
    let pending = |mut effects: Vec<Effect>| {
        effects.truncate(1);
        effects
    };
    let core = Broken { decide: |call| call.real(), pending };
    caught("a takeover that sends one command of two", &core, &definition(&travel()), Role::Alone);
}

#[test]
fn a_retry_under_the_old_command_id() {
    caught_alone("a retry under the old command id", &order(), |call| {
        let mut decision = call.real()?;
        for effect in &mut decision.effects {
            if let Effect::Send(command) = effect {
                command.id.attempt = 1;
            }
        }
        Ok(decision)
    });
}

#[test]
fn one_attempt_too_many() {
    caught_alone("one attempt too many", &order(), |call| {
        call.with_definition(|definition| change(definition, "reserve", |step| step.retry.attempts += 1))
    });
}

#[test]
fn a_pivot_beside_a_step_that_is_under_way() {
    caught_alone("a pivot beside a step that is under way", &travel(), |call| {
        call.with_definition(|definition| {
            // The pivot waits for the hotel alone.
            let needs = [vec![], vec![], vec![0], vec![0]];
            definition.graph = Graph::new(&needs, None).expect("no cycle");
        })
    });
}

#[test]
fn an_action_in_the_place_of_its_compensation() {
    caught_alone("an action in the place of its compensation", &order(), |call| {
        let mut decision = call.real()?;
        for effect in &mut decision.effects {
            if let Effect::Send(command) = effect
                && command.id.effect.direction == Direction::Compensation
                && let Ok(action) = Name::new(command.id.effect.step.step())
            {
                command.operation = action;
            }
        }
        Ok(decision)
    });
}

#[test]
fn a_sub_saga_that_is_never_let_go_of() {
    caught_alone("a sub-saga that is never let go of", &holiday(), |call| {
        let mut decision = call.real()?;
        decision.effects.retain(|effect| !matches!(effect, Effect::Ask(ask) if ask.kind == AskKind::Release));
        Ok(decision)
    });
}
