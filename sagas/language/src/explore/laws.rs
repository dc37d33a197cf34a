//! What must hold, whatever happens. A law that does not hold is a sentence for people.
//!
//! Laws look at three things: what the saga recorded and sent ([`of_transition`]), what it then believes, and what is true
//! at the participants ([`of_state`]).

use snorri_saga::decide::{Command, Decision, Effect, Input, Refusal, forward_deadline};
use snorri_saga::definition::{Definition, SiblingFailure, Step, StepKind, Work, Zone};
use snorri_saga::ids::{Direction, StepKey};
use snorri_saga::journal::{End, Event};
use snorri_saga::saga::{Phase, Saga, StepRun, StepState, Wait};
use snorri_saga::time::{Millis, Timestamp};

use super::model::Answer;
use super::participant::Said;
use super::world::{Key, Message, World, may_stay};

/// A transition of the saga.
pub(super) struct Transition<'a> {
    pub(super) definition: &'a Definition,
    /// Nothing at the start.
    pub(super) before: Option<&'a World>,
    pub(super) after: &'a World,
    pub(super) decision: &'a Decision,
    pub(super) input: Option<&'a Input>,
}

/// Why a transition is wrong, if it is.
pub(super) fn of_transition(step: &Transition<'_>) -> Option<String> {
    journal(step)
        .or_else(|| phases(step))
        .or_else(|| people(step))
        .or_else(|| events(step))
        .or_else(|| effects(step))
        .or_else(|| time(step))
        .or_else(|| of_state(step.definition, step.after))
}

/// Why a refusal is wrong, if it is.
pub(super) fn of_refusal(
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
        Some(Input::Cancel { .. }) if before.saga.phase == Phase::Forward && !before.saga.pivot_sent => {
            Some(format!("a cancellation before the pivot is refused: {refusal}"))
        }
        _ => None,
    }
}

/// Why a state is wrong, if it is.
pub(super) fn of_state(definition: &Definition, world: &World) -> Option<String> {
    let saga = &world.saga;
    let end = match saga.phase {
        Phase::Ended(end) => end,
        Phase::Held => return at_its_end(definition, world, "all its steps are said to be done"),
        Phase::Forward | Phase::Backward => {
            return live(definition, saga);
        }
    };
    match end {
        End::Completed if saga.parent.is_some() && !world.family.released => {
            Some("the saga is completed, and the one that it is a part of may still have to undo it".to_owned())
        }
        End::Completed => at_its_end(definition, world, "the saga is completed"),
        End::Compensated => undone(definition, world),
    }
}

/// The saga is what its journal says.
fn journal(step: &Transition<'_>) -> Option<String> {
    let Transition { before, after, decision, .. } = step;
    let mut saga = match (before, decision.events.first()) {
        (Some(before), _) => Saga::clone(&before.saga),
        (None, Some(Event::Started(started))) => Saga::started(decision.saga.id, after.now, started),
        (None, _) => return Some("its journal does not begin with its start".to_owned()),
    };
    for event in &decision.events {
        saga.evolve(after.now, event);
    }
    (saga != decision.saga).then(|| "the saga is not what its journal says".to_owned())
}

fn phases(step: &Transition<'_>) -> Option<String> {
    let Transition { before, after, decision, .. } = step;
    let before = before.map_or(Phase::Forward, |before| before.saga.phase);
    let sends = decision.effects.iter().any(|effect| matches!(effect, Effect::Send(_)));
    match (before, after.saga.phase) {
        (Phase::Ended(_), _) => {
            let is_late = |event: &Event| matches!(event, Event::LateReply { .. });
            if decision.events.iter().any(|event| matches!(event, Event::Ended { .. })) {
                return Some("the saga ended, and ends once more".to_owned());
            }
            if !decision.events.iter().all(is_late) || sends {
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
    let ends = decision.events.iter().any(|event| matches!(event, Event::Ended { .. }));
    if ends {
        let Phase::Ended(end) = after.saga.phase else {
            return Some("an end was recorded, and the saga has not ended".to_owned());
        };
        let word = match end {
            End::Completed => "completed",
            End::Compensated => "compensated",
        };
        let mut announced = decision.effects.iter().filter_map(|effect| match effect {
            Effect::Announce(body) => Some(body.status.as_str()),
            _ => None,
        });
        if announced.next() != Some(word) || announced.next().is_some() {
            return Some(format!("the saga is {word}, and that is not what is announced"));
        }
    }
    None
}

/// What people say counts.
fn people(step: &Transition<'_>) -> Option<String> {
    let before = step.before?;
    match step.input {
        Some(Input::Cancel { .. }) if before.saga.pivot_sent && before.saga.phase == Phase::Forward => {
            Some("a cancellation is accepted when the pivot was sent".to_owned())
        }
        Some(Input::Decide { step: name, approve, .. }) => {
            let run = step.after.saga.step(name.as_str());
            let is_yes = run.is_some_and(|run| run.state == StepState::Done);
            (is_yes != *approve).then(|| {
                let [said, taken] = if *approve { ["yes", "no"] } else { ["no", "yes"] };
                format!("somebody says {said} to `{name}`, and it is taken for a {taken}")
            })
        }
        _ => None,
    }
}

fn events(step: &Transition<'_>) -> Option<String> {
    let Transition { definition, before, after, decision, .. } = step;
    let mut is_stopping = before.is_some_and(|before| before.saga.stopping.is_some());
    let mut is_undoing = before.is_some_and(|before| before.saga.phase == Phase::Backward);
    for event in &decision.events {
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
            Event::GaveUp { step: key, .. } => {
                if let Some(wrong) = given_up(step, key) {
                    return Some(wrong);
                }
            }
            Event::Succeeded { step: key, direction: Direction::Action, .. } => {
                let run = before.and_then(|before| before.saga.step(key.as_str()));
                let is_over = run.is_some_and(|run| run.state != StepState::Acting);
                if is_over {
                    return Some(format!("a late success of `{key}` is taken for one in time"));
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

fn effects(step: &Transition<'_>) -> Option<String> {
    let Transition { decision, before, .. } = step;
    let mut sent: Vec<(&StepKey, Direction, u32)> = Vec::new();
    for effect in &decision.effects {
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
                if let Some(run) = decision.saga.step(key.as_str())
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
    decision.events.iter().find_map(|event| match event {
        Event::Sent { step, direction, attempt, .. } if !sent.contains(&(step, *direction, *attempt)) => {
            // What is given up in the same breath may be left out.
            let is_open = decision
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
    let Transition { definition, before, after, decision, .. } = step;
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
    let is_decided = decision.events.iter().any(|event| match event {
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
    let is_again = step.decision.events.iter().any(|e| matches!(e, Event::SentAgain { step } if step == key));
    if attempt != before + u32::from(!is_again) {
        return Some(format!("attempt {attempt} of the action of `{key}` follows attempt {before}"));
    }
    for need in definition.graph.needs(at) {
        let name = &definition.steps.get(*need)?.name;
        let is_settled = after
            .saga
            .step(name.as_str())
            .is_some_and(|run| matches!(run.state, StepState::Done | StepState::Skipped));
        if !is_settled {
            return Some(format!("`{key}` is sent, and `{name}`, which it needs, is not done"));
        }
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

/// Every saga that has not ended is looked at again, at a time that is to come.
fn time(step: &Transition<'_>) -> Option<String> {
    let Transition { definition, after, .. } = step;
    let (saga, now) = (&after.saga, after.now);
    match (saga.due_at(), saga.phase) {
        (None, Phase::Ended(_)) => return None,
        (None, _) => return Some("nothing will ever wake the saga again".to_owned()),
        (Some(_), Phase::Ended(_)) => return Some("the saga has ended, and is woken again".to_owned()),
        (Some(due), _) if matches!(step.input, Some(Input::Woke)) && due <= now => {
            return Some(
                "a wake-up leaves something due: it would be woken at once, again and again".to_owned(),
            );
        }
        (Some(_), _) => {}
    }
    if saga.phase != Phase::Forward || saga.pivot_sent {
        return None;
    }
    let limit = forward_deadline(definition, saga).max(now + Millis(1));
    saga.in_flight().find_map(|(run, flight)| {
        let is_long = !matches!(flight.wait, Wait::Retry(_))
            && flight.direction == Direction::Action
            && flight.wait.due() > limit
            && saga.blocked_at(&run.key).is_none();
        is_long.then(|| {
            format!(
                "`{}` is awaited until {}, when undoing would not fit any more",
                run.key,
                at(flight.wait.due())
            )
        })
    })
}

fn at(time: Timestamp) -> Millis {
    time.since(super::world::EPOCH)
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

/// Each step that was not skipped is done, once, and nothing is undone.
fn at_its_end(definition: &Definition, world: &World, when: &str) -> Option<String> {
    for (at, step) in definition.steps.iter().enumerate() {
        let run = world.saga.step(step.name.as_str());
        let is_skipped = world.answers.get(at).copied().flatten() == Some(Answer::Skip);
        match run.map(|run| run.state) {
            Some(StepState::Skipped) if is_skipped => continue,
            Some(StepState::Done) if !is_skipped => {}
            _ => return Some(format!("{when}, and `{}` is not done", step.name)),
        }
        if step.work.is_wait() {
            continue;
        }
        let items = match (&step.for_each, world.answers.get(at).copied().flatten()) {
            (Some(_), Some(Answer::Run(items))) => (0..items).map(Some).collect(),
            (Some(_), _) => Vec::new(),
            (None, _) => vec![None],
        };
        for item in items {
            let key = Key { step: at, item };
            let truth = world.truth(key);
            if truth.action != Some(Said::Ok) || truth.compensation.is_some() {
                let name = key.name(definition)?;
                return Some(format!("{when}, and the effect of `{name}` is not there"));
            }
        }
    }
    None
}

/// Nothing is left of what can be undone, and nothing can still be done.
fn undone(definition: &Definition, world: &World) -> Option<String> {
    for (key, truth) in &world.truths {
        let step = definition.steps.get(key.step)?;
        if truth.is_left() && !may_stay(step) {
            return Some(format!(
                "the saga is compensated, and the effect of `{}` is left",
                key.name(definition)?
            ));
        }
    }
    world.out.iter().find_map(|message| match message {
        Message::Command { key, direction: Direction::Action, attempt, .. } => {
            let step = definition.steps.get(key.step)?;
            let truth = world.truth(*key);
            let will_be_done = truth.is_open() && truth.kept(step, Direction::Action, *attempt).is_none();
            let name = key.name(definition)?;
            (will_be_done && !may_stay(step)).then(|| {
                format!("the saga is compensated, and the command of `{name}`, still on its way, will be carried out")
            })
        }
        _ => None,
    })
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Action => "action",
        Direction::Compensation => "compensation",
    }
}
