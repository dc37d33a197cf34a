//! What can happen in a state, and what comes of it.
//!
//! **What is left out, and why nothing is lost by that.** A participant that gets a command and answers is one event: what
//! it did is seen by nobody before its answer arrives, its compensation arrives, or the time for it is over, and those
//! are events of their own. An answer that the saga refuses without a trace is not delivered: what can happen without it
//! is what can happen if it never comes, and that is walked. A message that is lost is one that is late and never arrives.
//! The answer to a command that is done already is the kept one, so such a command that is late is its answer that is late;
//! and one that says what the saga knows already is an answer that comes twice, which can happen at any moment.

use std::rc::Rc;
use std::time::Duration;

use snorri_saga::decide::{AskKind, Decision, Effect, Input, Refusal, StartInput};
use snorri_saga::definition::{Definition, Work};
use snorri_saga::ids::{Direction, Name, SagaId, StepKey};
use snorri_saga::journal::{Event, Parent};
use snorri_saga::json::Json;
use snorri_saga::saga::Saga;
use snorri_saga::wire::Outcome;

use super::laws::{self, Transition};
use super::model::{Answer, Answers, Model};
use super::participant::{Said, Truths};
use super::room::Room;
use super::world::{EPOCH, Family, Key, Message, World, awaited};
use super::{Bounds, Core, Role};

mod arriving;
mod outside;

/// What happened, as far as a story tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happening {
    Starts,
    /// The command that is awaited is answered.
    Answers {
        key: Key,
        direction: Direction,
        said: Said,
    },
    /// What was answered before is answered again.
    Again {
        key: Key,
        direction: Direction,
        said: Said,
    },
    /// A command arrives late; its answer is on its way.
    Handles {
        key: Key,
        direction: Direction,
        attempt: u32,
        said: Said,
    },
    /// An answer arrives late; perhaps since its command did.
    Hears {
        key: Key,
        direction: Direction,
        attempt: u32,
        said: Said,
        is_command: bool,
    },
    /// Something is due. These were not heard of in time; what they did all the same.
    Wakes {
        silent: Vec<(Key, Direction, Option<Said>)>,
    },
    /// Time passes, and the orchestrator sleeps.
    Sleeps {
        until: &'static str,
    },
    Cancels,
    Signals {
        nth: usize,
    },
    Decides {
        key: Key,
        yes: bool,
    },
    Repeats,
    Resends,
    Releases {
        key: Key,
    },
    ChildAsks {
        key: Key,
    },
    UndoAsked,
    ReleaseAsked,
}

/// A state that can follow, and how.
pub(super) struct Successor {
    pub(super) happening: Happening,
    pub(super) world: World,
    pub(super) faults: u8,
    /// It comes by itself if nothing else does: no fault, no luck, nobody's whim.
    pub(super) is_sure: bool,
    pub(super) events: Vec<Event>,
    /// The questions that were answered.
    pub(super) answered: Vec<(usize, Answer)>,
    /// A crash came when so many of the effects were published.
    pub(super) crash: Option<usize>,
    /// The law that does not hold.
    pub(super) wrong: Option<String>,
}

/// What a step of a decision takes in memory, roughly.
const STEP_BYTES: usize = 512;

/// A call of the core with the questions answered that it asked.
struct Called {
    answers: Answers,
    faults: u8,
    answered: Vec<(usize, Answer)>,
    came: Result<Decision, Refusal>,
}

/// How something happens.
#[derive(Clone)]
struct How {
    happening: Happening,
    faults: u8,
    is_sure: bool,
}

/// What can happen to a definition.
pub(super) struct Explorer<'a> {
    core: &'a dyn Core,
    pub(super) model: Model,
    role: Role,
    /// The signals that are waited for, and how often each is given at most: once more than somebody waits for it.
    pub(super) signals: Vec<(Name, u8)>,
    parent: Parent,
    found: Vec<Successor>,
    pub(super) room: Room<'a>,
    /// What is looked for has so many faults.
    left: u8,
}

fn id(number: u128) -> SagaId {
    SagaId(uuid::Uuid::from_u128(0x0193_6d3e_7f0a_7000_8000_0000_0000_0000 + number))
}

impl<'a> Explorer<'a> {
    pub(super) fn new(
        core: &'a dyn Core,
        definition: &Definition,
        bounds: &Bounds,
        elapsed: &'a dyn Fn() -> Duration,
    ) -> Self {
        let mut signals: Vec<(Name, u8)> = Vec::new();
        for step in &definition.steps {
            let Work::Signal { name, .. } = &step.work else { continue };
            match signals.iter_mut().find(|(known, _)| known == name) {
                Some((_, times)) => *times = times.saturating_add(1),
                None => signals.push((name.clone(), 2)),
            }
        }
        let step = definition.steps.first().map(|step| StepKey::from(&step.name));
        let step = step.unwrap_or_else(|| StepKey::from(&definition.name));
        Self {
            core,
            model: Model::new(definition, bounds),
            role: bounds.role,
            signals,
            parent: Parent { saga: id(2), step },
            found: Vec::new(),
            room: Room::new(bounds.time, elapsed),
            left: 0,
        }
    }

    /// The states in which a saga begins, by so many faults.
    pub(super) fn starts(&mut self, faults: u8) -> Vec<Successor> {
        self.left = faults;
        self.room.begin();
        let start = StartInput {
            id: id(1),
            version: 1,
            input: Json::from_value(&serde_json::json!({})),
            tags: [].into(),
            key: None,
            traceparent: None,
            parent: (self.role == Role::Part).then(|| self.parent.clone()),
        };
        let answers = self.model.nothing_answered();
        let called =
            self.call(&answers, faults, &|core, definition| Ok(core.start(definition, start.clone(), EPOCH)));
        for one in called {
            let Ok(decision) = &one.came else { continue };
            let base = World {
                saga: Rc::new(decision.saga.clone()),
                now: EPOCH,
                answers: Rc::clone(&one.answers),
                out: Vec::new(),
                truths: Truths::default(),
                signals: vec![0; self.signals.len()],
                owed: false,
                announced: false,
                family: Family::default(),
            };
            let how = How { happening: Happening::Starts, faults: 0, is_sure: true };
            self.take(None, base, None, one, how);
        }
        std::mem::take(&mut self.found)
    }

    /// The states that can follow by so many faults.
    pub(super) fn successors(&mut self, world: &World, faults: u8) -> Vec<Successor> {
        self.left = faults;
        self.room.begin();
        self.recover(world);
        for message in world.out.clone() {
            self.arrives(world, message);
        }
        self.twice(world);
        self.children(world);
        if self.role == Role::Part {
            self.parent(world);
        }
        if !world.is_ended() {
            self.wakes(world);
            self.sleeps(world);
            self.people(world);
        }
        std::mem::take(&mut self.found)
    }

    fn found(&mut self, mut successor: Successor) {
        if successor.faults == self.left && self.room.follows(successor.world.weight()) {
            successor.world.forget(&self.model.base);
            self.found.push(successor);
        }
    }

    /// What was committed and not sent is sent, by whoever takes the saga over.
    fn recover(&mut self, world: &World) {
        if world.owed {
            let definition = self.model.with(&world.answers);
            let pending = self.core.pending_effects(&definition, &world.saga, world.now);
            let mut after = World { owed: false, ..world.clone() };
            for effect in &pending {
                publish(&mut after, &definition, effect);
            }
            let wrong = laws::of_pending(&definition, &world.saga, &pending)
                .or_else(|| laws::of_state(&definition, &after));
            self.found(Successor {
                happening: Happening::Repeats,
                world: after,
                faults: 0,
                is_sure: true,
                events: Vec::new(),
                answered: Vec::new(),
                crash: None,
                wrong,
            });
        }
        let faults = u8::from(!world.owed);
        if faults <= self.left && !awaited(&self.model.base, &world.saga).is_empty() {
            let base = World { owed: false, ..world.clone() };
            let how = How { happening: Happening::Resends, faults, is_sure: world.owed };
            self.input(world, base, &Input::Resend, how);
        }
    }

    /// The core decides on an input.
    fn input(&mut self, world: &World, base: World, input: &Input, how: How) {
        let left = self.left.saturating_sub(how.faults);
        let (saga, now) = (Rc::clone(&world.saga), base.now);
        let called =
            self.call(&base.answers, left, &|core, definition| core.decide(definition, &saga, input, now));
        let each = std::iter::repeat_n((base, how), called.len());
        for (one, (base, how)) in called.into_iter().zip(each) {
            self.take(Some(world), base, Some(input), one, how);
        }
    }

    /// Calls the core once for each way in which the questions can be answered that it asks by that.
    fn call(
        &mut self,
        answers: &Answers,
        left: u8,
        core: &dyn Fn(&dyn Core, &Definition) -> Result<Decision, Refusal>,
    ) -> Vec<Called> {
        // Mostly nothing is asked.
        let mut called = Vec::with_capacity(1);
        let mut open = vec![(Rc::clone(answers), 0_u8, Vec::new())];
        while let Some((answers, faults, answered)) = open.pop() {
            if self.room.is_over() {
                break;
            }
            let definition = self.model.with(&answers);
            let came = core(self.core, &definition);
            let asked = came.as_ref().ok().and_then(|decision| self.model.asked(&answers, &decision.saga));
            let Some(at) = asked else {
                let steps = came.as_ref().map_or(0, |decision| decision.saga.steps.len());
                if !called.is_empty() && !self.room.follows(steps * STEP_BYTES) {
                    break;
                }
                called.push(Called { answers, faults, answered, came });
                continue;
            };
            for (answer, more) in self.model.may_answer(at).iter().rev() {
                if faults + more <= left {
                    let mut answers: Vec<_> = answers.to_vec();
                    if let Some(open) = answers.get_mut(at) {
                        *open = Some(*answer);
                    }
                    let mut answered = answered.clone();
                    answered.push((at, *answer));
                    open.push((answers.into(), faults + more, answered));
                }
            }
        }
        called
    }

    fn take(&mut self, before: Option<&World>, base: World, input: Option<&Input>, one: Called, how: How) {
        if self.room.is_over() {
            return;
        }
        let Called { answers, faults, answered, came } = one;
        let definition = self.model.with(&answers);
        let faults = how.faults + faults;
        let decision = match came {
            Ok(decision) => decision,
            Err(refusal) => {
                let wrong =
                    before.and_then(|before| laws::of_refusal(&definition, before, &base, input, refusal));
                // The saga does not change, but what is true may have: the participant did what it was told.
                let is_news = wrong.is_some() || before.is_some_and(|before| before.truths != base.truths);
                if is_news {
                    let How { happening, is_sure, .. } = how;
                    let (events, crash) = (Vec::new(), None);
                    let world = base;
                    self.found(Successor {
                        happening,
                        world,
                        faults,
                        is_sure,
                        events,
                        answered,
                        crash,
                        wrong,
                    });
                }
                return;
            }
        };
        let Decision { events, effects, saga } = decision;
        let is_nothing = events.is_empty() && effects.is_empty();
        let forgotten = before.filter(|_| is_nothing).and_then(|before| laws::of_nothing(before, input));
        if is_nothing && forgotten.is_none() && before.is_some_and(|before| before.truths == base.truths) {
            return;
        }
        let unpublished = World { saga: Rc::new(saga), answers, ..base };
        if faults + 1 == self.left {
            for crash in 0..effects.len() {
                let mut world = World { owed: true, ..unpublished.clone() };
                for effect in effects.iter().take(crash) {
                    publish(&mut world, &definition, effect);
                }
                self.found(Successor {
                    happening: how.happening.clone(),
                    world,
                    faults: faults + 1,
                    is_sure: false,
                    events: events.clone(),
                    answered: answered.clone(),
                    crash: Some(crash),
                    wrong: None,
                });
            }
        }
        if faults != self.left {
            return;
        }
        let mut after = unpublished;
        for effect in &effects {
            publish(&mut after, &definition, effect);
        }
        let transition = Transition {
            definition: &definition,
            before,
            after: &after,
            events: &events,
            effects: &effects,
            input,
        };
        let wrong = forgotten.or_else(|| laws::of_transition(&transition));
        self.found(Successor {
            happening: how.happening,
            world: after,
            faults,
            is_sure: how.is_sure && faults == 0,
            events,
            answered,
            crash: None,
            wrong,
        });
    }
}

/// An effect is carried out.
fn publish(world: &mut World, definition: &Definition, effect: &Effect) {
    match effect {
        Effect::Send(command) => {
            let id = &command.id;
            if let Some(key) = Key::of(definition, &id.effect.step) {
                world.send(key, id.effect.direction, id.attempt);
            }
        }
        Effect::Ask(ask) => {
            let Some(key) = Key::of(definition, &ask.parent.step) else { return };
            let attempt = attempt_of(&world.saga, &ask.parent.step);
            match ask.kind {
                AskKind::Run(_) => world.send(key, Direction::Action, attempt),
                AskKind::Undo(_) => world.send(key, Direction::Compensation, attempt),
                AskKind::Release => world.put(Message::Release { key }),
            }
        }
        Effect::Announce(_) => world.announced = true,
        Effect::Answer(reply) => {
            let family = &mut world.family;
            match (reply.command.effect.direction, &reply.outcome) {
                (Direction::Action, Outcome::Ok { .. }) => family.told_done = true,
                (Direction::Action, _) => family.told_refused = true,
                (Direction::Compensation, _) => family.told_undone = true,
            }
        }
    }
}

fn attempt_of(saga: &Saga, key: &StepKey) -> u32 {
    saga.step(key.as_str()).and_then(|run| run.flight).map_or(1, |flight| flight.attempt)
}
