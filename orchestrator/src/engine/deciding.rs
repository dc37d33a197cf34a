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
    /// There is no such saga, or nobody waits for the answer any more.
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

/// Puts what brings a saga that is not there yet before what is said to it: a parent's view names its sub-saga before the
/// sub-saga has begun, so that both may come at once and in any order.
pub(super) fn begin_first(items: &mut [Item]) {
    items.sort_by_key(|item| !matches!(item, Item::Ask(..)));
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
            Item::Orphan(_) => Input::Orphaned,
            Item::Act(_, act) => {
                // The caller was told that it is not known, and may have said it again meanwhile: as for a start.
                if act.done.is_closed() {
                    verdicts.push(Verdict::Missing);
                    continue;
                }
                act.input.clone()
            }
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

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use uuid::Uuid;

    use snorri_saga::ids::{SagaId, StepKey};
    use snorri_saga::journal::Parent;
    use snorri_saga::json::Json;
    use snorri_saga::time::Millis;

    use super::*;
    use crate::definitions::Definitions;
    use crate::engine::{Act, ActError, Acted};

    const CHILD: SagaId = SagaId(Uuid::from_u128(7));
    const NOW: Timestamp = Timestamp(1_000_000);

    type Answer = oneshot::Receiver<Result<Acted, ActError>>;

    fn of() -> Arc<Versioned> {
        let text = "name: child\nsteps: [{name: paid, signal: {name: paid, timeout: 1m}}]\n";
        let (_, definition) = Definitions::check(text).expect("a definition");
        Arc::new(Versioned::new(definition, 1))
    }

    fn asked(of: &Arc<Versioned>, kind: AskKind) -> Item {
        let parent = Parent {
            saga: SagaId(Uuid::from_u128(1)),
            step: StepKey::from(&Name::new("c").expect("a name")),
        };
        let definition = of.definition.name.clone();
        let ask = Ask { child: CHILD, definition, version: 1, parent, input: Json::null(), kind };
        Item::Ask(Box::new(ask), of.clone(), Vec::new())
    }

    fn signal(id: &str) -> (Item, Answer) {
        let (done, answer) = oneshot::channel();
        let name = Name::new("paid").expect("a name");
        let input = Input::Signal { name, id: id.to_owned(), payload: Json::null() };
        (Item::Act(CHILD, Box::new(Act { input, done })), answer)
    }

    fn decided(items: &[Item], saga: Option<Saga>) -> Option<(Decision, Vec<Verdict>)> {
        let versioned = saga.is_some().then(of);
        let known = Known { saga, seq: 0, versioned, is_ours: false, armed: None };
        let subjects = Subjects::new(Name::new("snorri").expect("a name"));
        decide_all(&subjects, items, &known, NOW).map(|(decision, verdicts, ..)| (decision, verdicts))
    }

    #[test]
    fn what_is_said_to_a_sub_saga_at_the_moment_of_its_start_reaches_it() {
        let (said, _answer) = signal("k");
        let mut items = vec![said, asked(&of(), AskKind::Run(Millis::secs(60)))];
        begin_first(&mut items);
        let (decision, verdicts) = decided(&items, None).expect("it began");
        assert_eq!(verdicts, [Verdict::Accepted, Verdict::Accepted]);
        assert_eq!(decision.saga.signals.len(), 1, "{:?}", decision.saga.signals);
    }

    #[test]
    fn what_is_said_to_one_that_never_began_is_not_lost_in_silence() {
        let (said, _answer) = signal("k");
        let items = [said, asked(&of(), AskKind::Release)];
        assert!(decided(&items, None).is_none(), "all of it is answered as unknown");
    }

    #[test]
    fn what_was_given_up_is_not_done_behind_the_callers_back() {
        let (begun, _) = decided(&[asked(&of(), AskKind::Run(Millis::secs(60)))], None).expect("it began");
        let (given_up, answer) = signal("first");
        drop(answer);
        let (again, _answer) = signal("second");
        let (decision, verdicts) = decided(&[given_up, again], Some(begun.saga)).expect("decided");
        assert_eq!(verdicts, [Verdict::Missing, Verdict::Accepted]);
        let ids: Vec<&str> = decision.saga.signals.iter().map(|signal| signal.id.as_str()).collect();
        assert_eq!(ids, ["second"]);
    }
}
