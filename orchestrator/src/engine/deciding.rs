//! The items of one saga through the pure core, one after the other, as one transition.

use std::sync::Arc;

use snorri_saga::decide::{self, Ask, AskKind, Decision, Effect, Input, Refusal, StartInput, decide};
use snorri_saga::ids::{CommandId, Direction, Name};
use snorri_saga::saga::{Phase, Saga};
use snorri_saga::time::Timestamp;
use snorri_saga::trace;
use snorri_saga::wire::Subjects;

use super::Item;
use crate::definitions::Versioned;

/// What became of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It moved the saga, or had it say something again.
    Accepted,
    /// It asked for what is so already.
    Unchanged,
    /// It changes nothing.
    Refused(Refusal),
    /// There is no such saga.
    Missing,
    /// A participant answered for another.
    Forged,
}

/// What is known of a saga before its items are decided.
pub(super) struct Known {
    pub(super) saga: Option<Saga>,
    pub(super) seq: i32,
    pub(super) versioned: Option<Arc<Versioned>>,
    pub(super) is_ours: bool,
    pub(super) armed: Option<Timestamp>,
}

/// Decides the items of one saga one after the other, as one transition. `None`: there is no such saga.
pub(super) fn decide_all(
    subjects: &Subjects,
    items: &[Item],
    known: &Known,
    now: Timestamp,
) -> Option<(Decision, Vec<Verdict>, Arc<Versioned>, bool)> {
    // The state after the items so far; before the first of them, what is known.
    let mut saga: Option<Saga> = None;
    let mut versioned = known.versioned.clone();
    let mut events = Vec::new();
    let mut effects = Vec::new();
    let mut verdicts = Vec::with_capacity(items.len());
    for item in items {
        let input = match item {
            Item::Start(start) => {
                if saga.is_none() && known.saga.is_none() {
                    // The caller was told that it is not known. It is not begun behind the caller's back.
                    if start.done.is_closed() {
                        verdicts.push(Verdict::Missing);
                        continue;
                    }
                    let decision = decide::start(&start.versioned.definition, start.input.clone(), now);
                    events.extend(decision.events);
                    effects.extend(decision.effects);
                    saga = Some(decision.saga);
                    versioned = Some(start.versioned.clone());
                }
                verdicts.push(Verdict::Accepted);
                continue;
            }
            Item::Reply(reply, _) | Item::Answer(reply, _) => Input::Reply((**reply).clone()),
            Item::Woke(_) | Item::Swept(_) => Input::Woke,
            Item::Resend(_) | Item::Announce(..) => Input::Resend,
            Item::Act(_, act) => act.input.clone(),
            Item::Ask(ask, of, _) => {
                if saga.is_none() && known.saga.is_none() {
                    match first_asked(ask, of, now) {
                        Some(decision) => {
                            events.extend(decision.events);
                            effects.extend(decision.effects);
                            saga = Some(decision.saga);
                            versioned = Some(of.clone());
                            verdicts.push(Verdict::Accepted);
                        }
                        None => verdicts.push(Verdict::Missing),
                    }
                    continue;
                }
                Input::Asked((**ask).clone())
            }
        };
        let (Some(state), Some(of)) = (saga.as_ref().or(known.saga.as_ref()), &versioned) else {
            verdicts.push(Verdict::Missing);
            continue;
        };
        if let Item::Reply(reply, delivery) = item
            && let Some((_, step)) = of.definition.step(reply.command.effect.step.step())
            && subjects.participant_of_reply(delivery.message().subject())
                != step.participant().map(Name::as_str)
        {
            // NATS permissions keep one participant from answering for another; here it is checked again.
            verdicts.push(Verdict::Forged);
            continue;
        }
        if matches!(item, Item::Announce(..)) && state.ended_at.is_none() {
            verdicts.push(Verdict::Accepted);
            continue;
        }
        match decide(&of.definition, state, &input, now) {
            Ok(decision) => {
                let is_news = !decision.events.is_empty();
                // What an earlier item of this batch wanted sent may be overtaken by this one.
                effects = still_wanted(effects, &decision.saga);
                events.extend(decision.events);
                effects.extend(decision.effects);
                saga = Some(decision.saga);
                verdicts.push(if is_news { Verdict::Accepted } else { Verdict::Unchanged });
            }
            Err(refusal) => verdicts.push(Verdict::Refused(refusal)),
        }
    }
    let moved = !events.is_empty();
    let saga = match saga {
        Some(saga) => saga,
        None => known.saga.clone()?,
    };
    Some((Decision { events, effects, saga }, verdicts, versioned?, moved))
}

/// The commands that are still under way in the given state.
fn still_wanted(effects: Vec<Effect>, saga: &Saga) -> Vec<Effect> {
    let current: Vec<CommandId> =
        saga.in_flight().map(|(step, flight)| saga.command_id(step, flight)).collect();
    effects
        .into_iter()
        .filter(|effect| match effect {
            Effect::Send(command) => current.contains(&command.id),
            Effect::Announce(_) => matches!(saga.phase, Phase::Ended(_)),
            // A question too many is answered as it stands, an answer too many is a duplicate.
            Effect::Ask(_) | Effect::Answer(_) => true,
        })
        .collect()
}

/// The first transition of a sub-saga: it is asked to run, or is fenced off before it was there.
fn first_asked(ask: &Ask, of: &Versioned, now: Timestamp) -> Option<Decision> {
    let span = trace::attempt_span(ask.parent.saga, ask.parent.step.as_str(), Direction::Action, 1);
    let start = StartInput {
        id: ask.child,
        version: ask.version,
        tags: decide::tags(&of.definition, ask.child, ask.version, &ask.input),
        input: ask.input.clone(),
        key: None,
        traceparent: Some(trace::traceparent(ask.parent.saga, span, true)),
        parent: Some(ask.parent.clone()),
    };
    match ask.kind {
        AskKind::Run(within) => Some(decide::start_part(&of.definition, start, within, now)),
        AskKind::Undo(_) => Some(decide::fence(&of.definition, start, now)),
        AskKind::Release => None,
    }
}
