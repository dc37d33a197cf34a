//! One run of a saga against the model participants. Each transition is checked as it is made.

use std::collections::{BTreeMap, BTreeSet};

use snorri_saga::decide::{
    Command, Decision, Effect, Input, Refusal, StartInput, decide, forward_deadline, pending_effects, start,
};
use snorri_saga::definition::{Definition, StepKind};
use snorri_saga::ids::{CommandId, Direction, EffectId, SagaId};
use snorri_saga::journal::{End, Event};
use snorri_saga::json::Json;
use snorri_saga::saga::{Flight, Phase, Saga, StepState, Wait};
use snorri_saga::time::{Millis, Timestamp};
use snorri_saga::wire::{Outcome, Reply};

use crate::model::{Mood, World};

/// Something that happens. `back` counts from the newest message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    /// A command arrives, and its reply right after.
    Answer {
        back: usize,
        mood: Mood,
    },
    /// A command arrives; its reply is on its way.
    Deliver {
        back: usize,
        mood: Mood,
    },
    /// A reply arrives, perhaps not for the first time.
    Reply {
        back: usize,
    },
    WokeAtDue,
    WokeLate {
        late: u64,
    },
    Woke {
        after: u64,
    },
    Later {
        by: u64,
    },
    ToForwardDeadline,
    Resend,
    /// A crash between commit and publish.
    Repeat,
    Cancel,
    /// A reply to a command that was perhaps never sent.
    Forge {
        step: usize,
        undo: bool,
        attempt: u32,
        outcome: u8,
    },
}

/// No transition has more events than this: one answer, one change of direction, one alert, one sending.
const EVENTS_PER_TRANSITION_MAX: usize = 8;

pub(crate) struct Run<'a> {
    definition: &'a Definition,
    saga: Saga,
    now: Timestamp,
    journal: Vec<(Timestamp, Event)>,
    world: World,
    commands: Vec<Command>,
    replies: Vec<Reply>,
    ids: BTreeSet<CommandId>,
    /// The positions whose compensation was begun, in that order.
    undos: Vec<usize>,
    late: BTreeMap<String, u32>,
}

impl<'a> Run<'a> {
    pub(crate) fn start(definition: &'a Definition) -> Self {
        let input = StartInput {
            id: SagaId(uuid::Uuid::from_u128(0x0193_6d3e_7f0a_7000_8000_0000_0000_0001)),
            version: 1,
            input: Json::parse(r#"{"a":[1,2]}"#).expect("json"),
            tags: [("customer".to_owned(), "7".to_owned())].into(),
            key: Some("k".to_owned()),
            traceparent: None,
            parent: None,
        };
        let now = Timestamp(1_763_899_200_000_000);
        let decision = start(definition, input, now);
        let mut run = Self {
            definition,
            saga: decision.saga.clone(),
            now,
            journal: Vec::new(),
            world: World::new(),
            commands: Vec::new(),
            replies: Vec::new(),
            ids: BTreeSet::new(),
            undos: Vec::new(),
            late: BTreeMap::new(),
        };
        run.commit(decision);
        run
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.saga.phase, Phase::Ended(_))
    }

    /// Behind the pivot, and all that is left is a request that cannot be made by what became known only there: nothing is
    /// sent that the definition does not ask for, and a person is needed.
    fn is_held_back(&self) -> bool {
        let mut flights = self.saga.in_flight().peekable();
        let is_any = flights.peek().is_some();
        is_any
            && self.saga.pivot_sent
            && flights.all(|(run, flight)| {
                let is_asked =
                    self.commands.iter().any(|command| command.id.effect.step.as_str() == run.key.as_str());
                flight.attempt == 0 && !is_asked && self.saga.blocked_at(&run.key).is_some()
            })
    }

    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Answer { back, mood } => {
                if self.deliver(back, mood) {
                    self.reply(0);
                }
            }
            Op::Deliver { back, mood } => {
                self.deliver(back, mood);
            }
            Op::Reply { back } => self.reply(back),
            Op::WokeAtDue => self.woke_late(Millis(0)),
            Op::WokeLate { late } => self.woke_late(Millis(late)),
            Op::Woke { after } => {
                self.now = self.now + Millis(after);
                self.woke();
            }
            Op::Later { by } => self.now = self.now + Millis(by),
            Op::ToForwardDeadline => {
                self.now = self.now.max(forward_deadline(self.definition, &self.saga));
            }
            Op::Resend => {
                self.input(&Input::Resend).expect("a resend is never refused");
            }
            Op::Repeat => self.repeat(),
            Op::Cancel => self.cancel(),
            Op::Forge { step, undo, attempt, outcome } => self.forge(step, undo, attempt, outcome),
        }
    }

    fn deliver(&mut self, back: usize, mood: Mood) -> bool {
        let Some(at) = self.commands.len().checked_sub(back + 1) else { return false };
        let reply = self.world.deliver(self.definition, &self.commands[at], mood);
        self.replies.push(reply);
        true
    }

    fn reply(&mut self, back: usize) {
        let Some(at) = self.replies.len().checked_sub(back + 1) else { return };
        let reply = Input::Reply(self.replies[at].clone());
        let before = self.saga.clone();
        match self.input(&reply) {
            Ok(events) => {
                // What was taken in once is a duplicate from then on, or a heartbeat.
                let again = decide(self.definition, &self.saga, &reply, self.now);
                assert!(again.is_err(), "{reply:?} twice: {events:?}, then {:?}", again.map(|d| d.events));
            }
            Err(refusal) => {
                assert_ne!(refusal, Refusal::NeverSent, "{reply:?} was sent");
                assert_eq!(self.saga, before);
            }
        }
    }

    fn woke_late(&mut self, late: Millis) {
        if let Some(due) = self.saga.due_at() {
            self.now = self.now.max(due + late);
            let events = self.woke();
            assert!(events > 0, "a wake-up at its time moves the saga: {:?}", self.saga);
        }
    }

    fn woke(&mut self) -> usize {
        let is_due = self.saga.due_at().is_some_and(|due| due <= self.now);
        match self.input(&Input::Woke) {
            Ok(events) => {
                assert!(is_due, "nothing was due, and yet: {events:?}");
                if let Some(due) = self.saga.due_at() {
                    assert!(due > self.now, "due again at once after {events:?}: {:?}", self.saga);
                }
                events.len()
            }
            Err(Refusal::Ended) => {
                assert!(self.has_ended());
                0
            }
            Err(refusal) => {
                assert_eq!(refusal, Refusal::NothingDue);
                assert!(!is_due);
                0
            }
        }
    }

    fn cancel(&mut self) {
        let before = self.saga.clone();
        let (by, reason) = ("ann".to_owned(), "changed her mind".to_owned());
        match self.input(&Input::Cancel { by, reason }) {
            Ok(events) => {
                assert!(before.phase != Phase::Forward || !before.pivot_sent, "cancelled after the pivot");
                let is_first = before.phase == Phase::Forward && before.stopping.is_none();
                assert_eq!(is_first, !events.is_empty());
            }
            Err(Refusal::PastPivot) => assert!(before.pivot_sent && before.phase == Phase::Forward),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Ended);
                assert!(matches!(before.phase, Phase::Ended(_)));
            }
        }
    }

    fn repeat(&mut self) {
        let pending = pending_effects(self.definition, &self.saga, self.now);
        let is_out = |(_, flight): (_, Flight)| matches!(flight.wait, Wait::Reply(_));
        let is_awaited = self.saga.in_flight().any(is_out);
        assert_eq!(!pending.is_empty(), is_awaited || self.has_ended(), "{pending:?}: {:?}", self.saga);
        for effect in pending {
            if let Effect::Send(command) = effect {
                let sent = self.commands.iter().find(|sent| sent.id == command.id);
                let sent = sent.expect("only what was sent is repeated");
                assert_eq!((&sent.operation, &sent.body.input), (&command.operation, &command.body.input));
                self.commands.push(*command);
            }
        }
    }

    fn forge(&mut self, step: usize, undo: bool, attempt: u32, outcome: u8) {
        let Some(step) = self.definition.steps.get(step) else { return };
        let direction = if undo { Direction::Compensation } else { Direction::Action };
        let effect = EffectId { saga: self.saga.id, step: (&step.name).into(), direction };
        let sent = self.commands.iter().any(|sent| sent.id.effect == effect && sent.id.attempt == attempt);
        if sent {
            return; // A participant's lie about what it was asked is not this test's matter.
        }
        let outcome = match outcome {
            0 => Outcome::Ok { output: Json::null(), empty: false },
            1 => Outcome::Tombstoned,
            2 => Outcome::Working,
            3 => Outcome::Failed { message: String::new(), retry_after: None },
            _ => Outcome::Rejected { code: String::new(), message: String::new(), partial: true },
        };
        let command = CommandId { effect, attempt, sending: 0 };
        let answer = self.input(&Input::Reply(Reply { command, outcome }));
        assert!(answer.is_err(), "a command that was never sent was answered");
    }

    fn input(&mut self, input: &Input) -> Result<Vec<Event>, Refusal> {
        let decision = decide(self.definition, &self.saga, input, self.now)?;
        let events = decision.events.clone();
        assert!(events.len() <= EVENTS_PER_TRANSITION_MAX, "{events:?}");
        if matches!(input, Input::Reply(_)) || matches!(input, Input::Woke) {
            assert!(!events.is_empty(), "what changes nothing is refused: {input:?}");
        }
        self.commit(decision);
        Ok(events)
    }

    fn commit(&mut self, decision: Decision) {
        let before = std::mem::replace(&mut self.saga, decision.saga);
        if before.phase != Phase::Forward && self.journal.len() > 1 {
            assert!(self.saga.phase != Phase::Forward, "nothing goes forwards again");
        }
        if matches!(before.phase, Phase::Ended(_)) && !self.journal.is_empty() {
            assert_eq!((before.phase, before.ended_at), (self.saga.phase, self.saga.ended_at));
            let only_late = decision.events.iter().all(|event| matches!(event, Event::LateReply { .. }));
            assert!(only_late, "an ended saga changed: {:?}", decision.events);
            let sends = decision.effects.iter().any(|effect| matches!(effect, Effect::Send(_)));
            assert!(!sends, "an ended saga sends nothing");
        }
        for event in &decision.events {
            self.check_event(event);
        }
        self.journal.extend(decision.events.iter().map(|event| (self.now, event.clone())));
        for effect in decision.effects {
            if let Effect::Send(command) = effect {
                self.check_command(&command);
                self.commands.push(*command);
            }
        }
        assert_eq!(self.saga.due_at().is_none(), self.has_ended(), "live and nothing to wait for");
        for blocked in &self.saga.blocked {
            let in_flight = self.saga.in_flight().any(|(run, _)| run.key == blocked.step);
            assert!(in_flight, "blocked at what is over");
        }
        if !self.has_ended() {
            let flights = self.saga.steps.iter().filter(|step| step.flight.is_some()).count();
            assert_eq!(flights, 1, "a live saga waits for exactly one operation");
            self.check_patience();
        }
    }

    /// Before the pivot no answer is awaited, and no attempt planned, beyond the forward deadline, or else
    /// undoing would not fit the window; the slow lane is for who is blocked already.
    fn check_patience(&self) {
        let Some((run, flight)) = self.saga.in_flight().next() else { return };
        let (_, step) = self.definition.step(run.key.step()).expect("a step");
        let may_wait = flight.direction == Direction::Compensation
            || self.saga.pivot_sent
                && (step.kind != StepKind::Pivot || matches!(flight.wait, Wait::Reply(_)))
            || !self.saga.blocked.is_empty();
        if !may_wait {
            assert!(flight.wait.due() <= forward_deadline(self.definition, &self.saga), "{run:?}");
        }
    }

    fn check_event(&mut self, event: &Event) {
        if let Event::LateReply { step, neutralised, .. } = event {
            let times = self.late.entry(step.to_string()).or_default();
            *times += 1;
            assert_eq!(*times, 1, "one late reply is a fact, the second a duplicate");
            assert!(neutralised, "with a barrier no late effect is left: {step}");
        }
        if let Event::Blocked { .. } = event {
            assert!(!self.has_ended());
        }
    }

    fn check_command(&mut self, command: &Command) {
        assert!(self.ids.insert(command.id.clone()), "{} was sent twice", command.id);
        let CommandId { effect, attempt, sending } = &command.id;
        let (position, step) = self.definition.step(effect.step.as_str()).expect("a step");
        let is_first = (*attempt, *sending) == (1, 0);
        let is_blocked = !self.saga.blocked.is_empty();
        match effect.direction {
            Direction::Action => {
                assert_eq!(self.saga.phase, Phase::Forward, "an action while undoing");
                assert_eq!(Some(&command.operation), step.action());
                let behind = self.definition.is_past_pivot(position) && step.kind != StepKind::Pivot;
                if *sending == 0 && !behind && (is_first || !is_blocked) {
                    let limit = forward_deadline(self.definition, &self.saga);
                    assert!(self.now < limit, "{} after the deadline", command.id);
                }
                if is_first {
                    let done =
                        self.saga.steps.iter().take(position).all(|step| step.state == StepState::Done);
                    assert!(done, "{} before its predecessors are done", command.id);
                    assert!(self.saga.stopping.is_none(), "{} after a cancellation", command.id);
                }
                // What must succeed is blocked after three attempts, however few its policy has.
                let must_succeed = self.saga.pivot_sent && step.kind != StepKind::Pivot;
                let most = if must_succeed { step.retry.attempts.max(3) } else { step.retry.attempts };
                assert!(*attempt <= most || is_blocked, "{} is too many", command.id);
            }
            Direction::Compensation => {
                assert_eq!(self.saga.phase, Phase::Backward);
                let undo = step.compensation.as_ref().expect("only what can be undone is undone");
                assert_eq!(command.operation, undo.action);
                let tried = self
                    .ids
                    .iter()
                    .any(|id| id.effect.step == effect.step && id.effect.direction == Direction::Action);
                assert!(tried, "{} undoes what was never tried", command.id);
                let pivot = self.definition.steps.iter().find(|step| step.kind == StepKind::Pivot);
                if let Some(pivot) = pivot {
                    assert_eq!(self.world.truth(pivot.name.as_str()), (false, false), "over the pivot");
                }
                if is_first {
                    assert!(
                        self.undos.iter().all(|before| *before > position),
                        "{} out of order",
                        command.id
                    );
                    self.undos.push(position);
                }
                assert!(*attempt <= undo.retry.attempts.max(3) || is_blocked, "{} is too many", command.id);
            }
        }
    }

    /// Participants answer `ok` in time, wake-ups come when they are due.
    pub(crate) fn finish(&mut self) {
        let mut sent = self.commands.len();
        // Per operation: a timeout, a pause, a sending, an answer. And two alerts of the window.
        let steps_max = 8 * self.definition.steps.len() + 8;
        for _ in 0..steps_max {
            if self.has_ended() || self.is_held_back() {
                return;
            }
            if self.commands.len() > sent {
                sent = self.commands.len();
                self.apply(Op::Answer { back: 0, mood: Mood::Ok });
            } else {
                self.woke_late(Millis(0));
            }
        }
        assert!(self.has_ended(), "no end after {steps_max} steps: {:?}", self.saga);
    }

    /// Every command reaches its participant once more, every reply the saga.
    pub(crate) fn everything_arrives_again(&mut self) {
        for back in 0..self.commands.len() {
            self.deliver(back, Mood::Ok);
        }
        for back in 0..self.replies.len() {
            self.reply(back);
        }
    }

    pub(crate) fn effects_fit_the_end(&self) {
        for step in &self.definition.steps {
            let (applied, undone) = self.world.truth(step.name.as_str());
            let may_stay = step.kind == StepKind::Read
                || (step.kind == StepKind::Compensatable && step.compensation.is_none());
            match self.saga.phase {
                Phase::Ended(End::Completed) => {
                    assert_eq!((applied, undone), (true, false), "{} after completed", step.name);
                }
                Phase::Ended(End::Compensated) => {
                    assert!(!applied || undone || may_stay, "{} is left after compensated", step.name);
                }
                Phase::Forward if self.is_held_back() => assert!(!undone, "{} behind the pivot", step.name),
                Phase::Forward | Phase::Backward | Phase::Held => panic!("not ended: {:?}", self.saga),
            }
        }
    }

    pub(crate) fn replay_equals_live(&self) {
        let text = serde_json::to_string(&self.journal.iter().map(|(_, e)| e).collect::<Vec<_>>());
        let read: Vec<Event> = serde_json::from_str(&text.expect("events encode")).expect("events decode");
        let written: Vec<&Event> = self.journal.iter().map(|(_, event)| event).collect();
        assert_eq!(read.iter().collect::<Vec<_>>(), written);
        let times = self.journal.iter().map(|(at, _)| *at);
        let replayed = Saga::replay(self.saga.id, times.zip(&read)).expect("a journal");
        assert_eq!(replayed, self.saga);
    }
}
