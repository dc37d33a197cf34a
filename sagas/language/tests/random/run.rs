//! One run of a saga on a real clock: messages take their time, are late, lost or come twice; wake-ups come when they are due,
//! or late; people and other services do what they like. Each transition is checked as it is made.

use std::collections::BTreeSet;

use snorri_saga::decide::{AskKind, Decision, Effect, Input, StartInput, decide, pending_effects, start};
use snorri_saga::definition::{Definition, Step, StepKind, Work};
use snorri_saga::ids::{CommandId, Direction, EffectId, SagaId, StepKey};
use snorri_saga::journal::{End, Event};
use snorri_saga::json::Json;
use snorri_saga::saga::{Phase, Saga, StepState};
use snorri_saga::time::{Millis, Timestamp};
use snorri_saga::wire::{Outcome, Reply};

use crate::course::{Back, Course, Fate, Pace, Sent};
use crate::generate::input;
use crate::participants::{Mood, Participants};

/// Something that happens besides, before so many events: which.
pub(crate) type Whim = (u8, u8);

/// More happens to no saga of these sizes.
const EVENTS_MAX: usize = 3000;

#[derive(Debug)]
enum Packet {
    Command { key: StepKey, direction: Direction, attempt: u32, mood: Mood, back: Back },
    Reply(Reply),
    Release { key: StepKey },
}

pub(crate) struct Run<'a> {
    definition: &'a Definition,
    pub(crate) saga: Saga,
    now: Timestamp,
    journal: Vec<(Timestamp, Event)>,
    participants: Participants,
    air: Vec<(Timestamp, Packet)>,
    fates: std::vec::IntoIter<Fate>,
    whims: std::vec::IntoIter<Whim>,
    pace: Pace,
    ids: BTreeSet<CommandId>,
    /// How the saga stood before the last transition.
    was: Phase,
    signals: u32,
}

impl<'a> Run<'a> {
    pub(crate) fn start(definition: &'a Definition, fates: Vec<Fate>, whims: Vec<Whim>, pace: Pace) -> Self {
        let begin = StartInput {
            id: SagaId(uuid::Uuid::from_u128(0x0193_6d3e_7f0a_7000_8000_0000_0000_0001)),
            version: 1,
            input: Json::from_value(&input()),
            tags: [].into(),
            key: None,
            traceparent: None,
            parent: None,
        };
        let now = Timestamp(1_763_899_200_000_000);
        let decision = start(definition, begin, now);
        let mut run = Self {
            definition,
            saga: decision.saga.clone(),
            now,
            journal: Vec::new(),
            participants: Participants::default(),
            air: Vec::new(),
            fates: fates.into_iter(),
            whims: whims.into_iter(),
            pace,
            ids: BTreeSet::new(),
            was: Phase::Forward,
            signals: 0,
        };
        run.commit(decision, usize::MAX);
        run
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.saga.phase, Phase::Ended(_))
    }

    /// Runs until the saga has ended, and then until nothing is on its way any more.
    pub(crate) fn finish(&mut self) {
        let mut next_whim = self.whims.next();
        let mut until_whim = next_whim.map_or(0, |whim| whim.0 % 8);
        for _ in 0..EVENTS_MAX {
            if let Some((_, which)) = next_whim {
                if until_whim == 0 {
                    self.whim(which);
                    next_whim = self.whims.next();
                    until_whim = next_whim.map_or(0, |whim| whim.0 % 8);
                    continue;
                }
                until_whim -= 1;
            }
            let arrives = self.air.iter().map(|(at, _)| *at).min();
            match (arrives, self.saga.due_at()) {
                (None, None) => break,
                (Some(at), due) if due.is_none_or(|due| at < due) => self.arrive(at),
                (_, Some(due)) => self.wake(due, Millis(0)),
                (Some(at), None) => self.arrive(at),
            }
        }
        assert!(self.has_ended(), "it hangs: {}", self.told());
        self.is_consistent_at_its_end();
        self.replay_equals_live();
    }

    fn arrive(&mut self, at: Timestamp) {
        let Some(nth) = self.air.iter().position(|(of, _)| *of == at) else { return };
        let (_, packet) = self.air.remove(nth);
        self.now = self.now.max(at);
        match packet {
            Packet::Reply(reply) => self.input(&Input::Reply(reply), usize::MAX),
            Packet::Release { key } => {
                self.participants.truths.entry(key).or_default().released = true;
            }
            Packet::Command { key, direction, attempt, mood, back } => {
                let step = self.step(&key);
                let (direction, outcome) =
                    self.participants.answer(step, &key, direction, attempt, mood, self.saga.pivot_sent);
                let is_working = outcome == Outcome::Working;
                let effect = EffectId { saga: self.saga.id, step: key.clone(), direction };
                let command = CommandId { effect, attempt, sending: 0 };
                let reply = Reply { command, outcome };
                match back {
                    Back::Never => {}
                    Back::After(after) => self.send_back(after, reply),
                    Back::Twice(one, two) => {
                        self.send_back(one, reply.clone());
                        self.send_back(two, reply);
                    }
                }
                if is_working {
                    // It is at it, and is done soon.
                    let (mood, back) = (Mood::Ok, Back::After(Millis(1)));
                    let again = Packet::Command { key, direction, attempt, mood, back };
                    self.air.push((self.now + Millis(2), again));
                }
            }
        }
    }

    fn send_back(&mut self, after: Millis, reply: Reply) {
        self.air.push((self.now + after, Packet::Reply(reply)));
    }

    fn wake(&mut self, due: Timestamp, late: Millis) {
        self.now = self.now.max(due + late);
        self.input(&Input::Woke, usize::MAX);
        if let Some(due) = self.saga.due_at() {
            assert!(due > self.now, "due again at once: {}", self.told());
        }
    }

    fn step(&self, key: &StepKey) -> &'a Step {
        self.definition.step(key.step()).expect("only steps of the definition are sent").1
    }

    fn whim(&mut self, which: u8) {
        match which % 10 {
            0 => {
                let (by, reason) = ("ann".to_owned(), String::new());
                let is_past = self.saga.pivot_sent;
                let came = decide(
                    self.definition,
                    &self.saga,
                    &Input::Cancel { by: by.clone(), reason: reason.clone() },
                    self.now,
                );
                assert!(
                    !is_past || came.is_err() || self.saga.phase != Phase::Forward,
                    "cancelled past the pivot"
                );
                self.input(&Input::Cancel { by, reason }, usize::MAX);
            }
            1..=3 => {
                let name = if which.is_multiple_of(2) { "g0" } else { "g1" };
                self.signals += 1;
                let (name, id) = (name.parse().expect("a name"), self.signals.to_string());
                self.input(&Input::Signal { name, id, payload: Json::null() }, usize::MAX);
            }
            4 | 5 => {
                let approval = self.definition.steps.iter().find(|step| {
                    matches!(step.work, Work::Approval { .. })
                        && self
                            .saga
                            .step(step.name.as_str())
                            .is_some_and(|run| run.state == StepState::Acting)
                });
                let Some(step) = approval.map(|step| step.name.clone()) else { return };
                let (by, comment) = ("ann".to_owned(), String::new());
                self.input(
                    &Input::Decide { step, approve: which.is_multiple_of(2), by, comment },
                    usize::MAX,
                );
            }
            _ if self.pace != Pace::Any => {}
            6 => self.input(&Input::Resend, usize::MAX),
            // A crash between commit and publish, and somebody who takes over.
            7 => {
                if let Some(due) = self.saga.due_at() {
                    self.now = self.now.max(due);
                    self.input(&Input::Woke, usize::from(which / 16));
                    let pending = pending_effects(self.definition, &self.saga, self.now);
                    self.publish(pending, usize::MAX);
                }
            }
            8 => {
                if let Some(due) = self.saga.due_at() {
                    self.wake(due, Millis(u64::from(which) * 13));
                }
            }
            _ => self.now = self.now + Millis(u64::from(which) * 7),
        }
    }

    fn input(&mut self, input: &Input, published: usize) {
        let Ok(decision) = decide(self.definition, &self.saga, input, self.now) else { return };
        self.commit(decision, published);
    }

    fn commit(&mut self, decision: Decision, published: usize) {
        let before = std::mem::replace(&mut self.saga, decision.saga);
        self.was = if self.journal.is_empty() { Phase::Forward } else { before.phase };
        if let Phase::Ended(_) = before.phase
            && !self.journal.is_empty()
        {
            let is_late = |event: &Event| matches!(event, Event::LateReply { neutralised: true, .. });
            assert!(decision.events.iter().all(is_late), "an ended saga changed: {:?}", decision.events);
        }
        assert!(before.phase != Phase::Backward || self.saga.phase != Phase::Forward, "forwards again");
        self.journal.extend(decision.events.into_iter().map(|event| (self.now, event)));
        assert_eq!(
            self.saga.due_at().is_none(),
            self.has_ended(),
            "live, and nothing is due: {}",
            self.told()
        );
        self.is_within_its_limits();
        self.publish(decision.effects, published);
    }

    fn is_within_its_limits(&self) {
        for step in &self.definition.steps {
            let Some(each) = &step.for_each else { continue };
            let is_open = |state| matches!(state, StepState::Acting | StepState::Undoing);
            let items = self.saga.steps.iter().filter(|run| run.key.step() == step.name.as_str());
            let open = items.filter(|run| run.key.number().is_some() && is_open(run.state)).count();
            assert!(open <= each.concurrency as usize, "{open} items of {} at once", step.name);
        }
    }

    fn publish(&mut self, effects: Vec<Effect>, most: usize) {
        for effect in effects.into_iter().take(most) {
            match effect {
                Effect::Send(command) => {
                    let CommandId { effect, attempt, .. } = command.id.clone();
                    self.is_lawful(&effect.step, effect.direction, attempt, self.ids.contains(&command.id));
                    self.ids.insert(command.id);
                    self.send(effect.step, effect.direction, attempt, command.budget);
                }
                Effect::Ask(ask) => {
                    let key = ask.parent.step;
                    let direction = match ask.kind {
                        AskKind::Run(_) => Direction::Action,
                        AskKind::Undo(_) => Direction::Compensation,
                        AskKind::Release => {
                            self.air.push((self.now + Millis(5), Packet::Release { key }));
                            continue;
                        }
                    };
                    let flight = self.saga.step(key.as_str()).and_then(|run| run.flight);
                    let budget = flight.map_or(Millis(100), |flight| flight.wait.due().since(self.now));
                    let attempt = flight.map_or(1, |flight| flight.attempt);
                    self.is_lawful(&key, direction, attempt, false);
                    self.send(key, direction, attempt, budget);
                }
                Effect::Announce(_) | Effect::Answer(_) => {}
            }
        }
    }

    /// A command goes out, and what becomes of it is drawn.
    fn send(&mut self, key: StepKey, direction: Direction, attempt: u32, budget: Millis) {
        let drawn = self.fates.next().unwrap_or((0, 0));
        let sent = Sent {
            step: self.step(&key),
            direction,
            attempt,
            budget,
            is_past: self.saga.pivot_sent,
            pace: self.pace,
        };
        let Course { mood, there, back } = sent.course(drawn);
        if let Some(there) = there {
            self.air.push((self.now + there, Packet::Command { key, direction, attempt, mood, back }));
        }
    }

    fn is_lawful(&self, key: &StepKey, direction: Direction, attempt: u32, is_repeated: bool) {
        let (at, step) = self.definition.step(key.step()).expect("a step");
        match direction {
            Direction::Action => {
                assert_eq!(self.was, Phase::Forward, "{key} is sent while undoing: {}", self.told());
                for need in self.definition.graph.needs(at) {
                    let need = &self.definition.steps[*need].name;
                    let state = self.saga.step(need.as_str()).map(|run| run.state);
                    // It may have begun in the breath in which another one turned the saga round.
                    let is_settled = matches!(state, Some(StepState::Done | StepState::Skipped))
                        || self.saga.phase == Phase::Backward && state == Some(StepState::Undoing);
                    assert!(is_settled, "{key} before {need}: {}", self.told());
                }
                let blocked = self.saga.blocked_at(key).is_some() || self.saga.pivot_sent;
                assert!(is_repeated || blocked || attempt <= step.retry.attempts, "{key} too often");
            }
            Direction::Compensation => {
                // A sub-saga that was given up is stopped at once, before it is the turn of the others.
                let state = self.saga.step(key.as_str()).map(|run| run.state);
                let is_given_up = matches!(step.work, Work::Saga { .. })
                    && self.saga.stopping.is_some()
                    && state == Some(StepState::InDoubt);
                let is_turned = self.saga.phase != Phase::Forward;
                assert!(is_turned || is_given_up, "{key} is undone: {}", self.told());
                assert!(step.compensation.is_some());
                for (other, truth) in &self.participants.truths {
                    let (later, of) = self.definition.step(other.step()).expect("a step");
                    let is_behind = self.definition.graph.descendants(at).has(later);
                    let is_left = is_behind && of.compensation.is_some() && truth.is_left();
                    assert!(!is_left, "{key} is undone before {other}: {}", self.told());
                }
            }
        }
    }

    fn is_consistent_at_its_end(&self) {
        let Phase::Ended(end) = self.saga.phase else { return };
        for (key, truth) in &self.participants.truths {
            let step = self.step(key);
            assert!(truth.times <= 1, "{key} was done {} times", truth.times);
            match end {
                End::Completed => assert!(
                    truth.applied && !truth.is_undone(),
                    "{key} is not done, or undone: {}",
                    self.told()
                ),
                End::Compensated => {
                    let may_stay = step.kind == StepKind::Read
                        || (step.kind == StepKind::Compensatable && step.compensation.is_none());
                    assert!(may_stay || !truth.is_left(), "{key} is left: {}", self.told());
                }
            }
            if end == End::Completed && matches!(step.work, Work::Saga { .. }) {
                assert!(truth.released, "{key} is held for ever: {}", self.told());
            }
        }
        if end == End::Completed {
            for step in &self.definition.steps {
                let run = self.saga.step(step.name.as_str()).map(|run| run.state);
                assert!(
                    matches!(run, Some(StepState::Done | StepState::Skipped)),
                    "{} is left out",
                    step.name
                );
                let is_sent = matches!(step.work, Work::Participant { .. } | Work::Saga { .. });
                if run == Some(StepState::Done) && is_sent && step.for_each.is_none() {
                    assert!(self.participants.truths.contains_key(&StepKey::from(&step.name)));
                }
            }
        }
        if let Some(ended_at) = self.saga.ended_at.filter(|_| self.pace != Pace::Any) {
            let late = ended_at.since(self.saga.deadline);
            assert!(late == Millis(0), "the window was missed by {late}: {}", self.told());
        }
    }

    fn replay_equals_live(&self) {
        let events = self.journal.iter().map(|(at, event)| (*at, event));
        assert_eq!(Saga::replay(self.saga.id, events).expect("a journal"), self.saga);
    }

    /// The journal, for a failure.
    fn told(&self) -> String {
        let begin = self.saga.started_at;
        let lines = self.journal.iter().skip(1).map(|(at, event)| format!("{} {event:?}", at.since(begin)));
        format!(
            "window {}\n{}\n{:?}",
            self.definition.window,
            lines.collect::<Vec<_>>().join("\n"),
            self.participants
        )
    }
}
