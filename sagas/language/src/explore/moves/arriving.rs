//! What arrives: commands at the participants, answers at the saga, in time, late, or once more.

use std::rc::Rc;

use snorri_saga::decide::Input;
use snorri_saga::definition::Step;
use snorri_saga::ids::Direction;
use snorri_saga::saga::Wait;

use super::{Explorer, Happening, How, Said, Successor, laws};
use crate::explore::world::{Key, Message, World, is_saga, reply};

impl Explorer<'_> {
    pub(super) fn arrives(&mut self, world: &World, message: Message) {
        match message {
            Message::Release { key } => {
                let mut after = world.clone();
                after.remove(&message);
                after.truths.change(key, |truth| truth.released = true);
                self.found(Successor {
                    happening: Happening::Releases { key },
                    world: after,
                    faults: 0,
                    is_sure: true,
                    events: Vec::new(),
                    answered: Vec::new(),
                    crash: None,
                    wrong: None,
                });
            }
            Message::Reply { key, direction, attempt, said } => {
                let mut base = world.clone();
                base.remove(&message);
                self.hears(world, base, (key, direction, attempt, said), false);
            }
            Message::Command { key, direction, attempt, twice } => {
                let run = world.run(&self.model.base, key);
                let is_awaited = run.and_then(|run| run.flight).is_some_and(|flight| {
                    (flight.direction, flight.attempt) == (direction, attempt)
                        && matches!(flight.wait, Wait::Reply(_))
                });
                let definition = Rc::clone(&self.model.base);
                let Some(step) = definition.steps.get(key.step) else { return };
                let mut base = world.clone();
                base.remove(&message);
                let what = (key, direction, attempt);
                if is_awaited {
                    self.answers(world, &base, step, what, twice);
                } else {
                    self.is_late(world, &base, step, what);
                }
            }
        }
    }

    /// An awaited command is answered in time.
    fn answers(
        &mut self,
        world: &World,
        base: &World,
        step: &Step,
        (key, direction, attempt): (Key, Direction, u32),
        twice: bool,
    ) {
        let Some(name) = key.name(&self.model.base) else { return };
        let is_past = world.saga.pivot_sent;
        let truth = world.truth(key);
        let kept = truth.kept(step, direction, attempt);
        let may = match kept {
            Some((_, said)) => vec![(said, 0)],
            None => truth.may_say(step, direction, is_past),
        };
        let answers = kept.map_or(direction, |(direction, _)| direction);
        for (said, faults) in may {
            if faults > self.left {
                continue;
            }
            let mut after = base.clone();
            if kept.is_none() {
                after.truths.change(key, |truth| truth.say(step, direction, attempt, said, is_past));
            }
            if twice {
                after.put(Message::Reply { key, direction: answers, attempt, said });
            }
            let input = Input::Reply(reply(world.saga.id, &name, answers, attempt, said));
            let happening = Happening::Answers { key, direction: answers, said };
            self.input(world, after, &input, How { happening, faults, is_sure: faults == 0 });
        }
    }

    /// A command arrives when its answer is not awaited any more.
    fn is_late(
        &mut self,
        world: &World,
        base: &World,
        step: &Step,
        (key, direction, attempt): (Key, Direction, u32),
    ) {
        let truth = world.truth(key);
        if let Some((direction, said)) = truth.kept(step, direction, attempt) {
            self.hears(world, base.clone(), (key, direction, attempt, said), true);
            return;
        }
        // `failed` does nothing, as the command that never arrives.
        for (said, faults) in truth.may_say(step, direction, world.saga.pivot_sent) {
            if faults > 0 {
                continue;
            }
            let mut after = base.clone();
            let is_past = world.saga.pivot_sent;
            after.truths.change(key, |truth| truth.say(step, direction, attempt, said, is_past));
            after.put(Message::Reply { key, direction, attempt, said });
            let definition = self.model.with(&after.answers);
            let wrong = laws::of_state(&definition, &after);
            self.found(Successor {
                happening: Happening::Handles { key, direction, attempt, said },
                // A sub-saga that is told to undo itself after its parent's end is told so again and again.
                is_sure: world.is_ended()
                    && is_saga(&self.model.base, key)
                    && direction == Direction::Compensation,
                world: after,
                faults: 0,
                events: Vec::new(),
                answered: Vec::new(),
                crash: None,
                wrong,
            });
        }
    }

    /// An answer arrives that nobody waits for any more.
    fn hears(
        &mut self,
        world: &World,
        base: World,
        (key, direction, attempt, said): (Key, Direction, u32, Said),
        is_command: bool,
    ) {
        let Some(name) = key.name(&self.model.base) else { return };
        let input = Input::Reply(reply(world.saga.id, &name, direction, attempt, said));
        let happening = Happening::Hears { key, direction, attempt, said, is_command };
        self.input(world, base, &input, How { happening, faults: 0, is_sure: false });
    }

    /// What was answered before is answered once more.
    pub(super) fn twice(&mut self, world: &World) {
        if self.left != 1 {
            return;
        }
        for (key, truth) in world.truths.iter() {
            let Some(name) = key.name(&self.model.base) else { continue };
            let attempts = world.saga.step(name.as_str()).map_or(1, |run| run.attempts.max(1));
            let failed = |attempt: u32| (attempt > 0).then_some(Said::Failed);
            let kept = [
                (Direction::Action, truth.action, attempts),
                (Direction::Action, failed(truth.failed.0), truth.failed.0),
                (Direction::Compensation, truth.compensation, 1),
                (Direction::Compensation, failed(truth.failed.1), truth.failed.1),
            ];
            for (direction, said, attempt) in kept {
                let Some(said) = said else { continue };
                let input = Input::Reply(reply(world.saga.id, &name, direction, attempt, said));
                let happening = Happening::Again { key, direction, said };
                self.input(world, world.clone(), &input, How { happening, faults: 1, is_sure: false });
            }
        }
    }

    /// A held sub-saga that has heard nothing says once more that it is done.
    pub(super) fn children(&mut self, world: &World) {
        if !world.is_ended() {
            return;
        }
        for (key, truth) in world.truths.iter() {
            let is_held = is_saga(&self.model.base, key) && truth.is_left() && !truth.released;
            let is_told = world.out.iter().any(|message| match message {
                Message::Release { key: of } => *of == key,
                Message::Command { key: of, direction, .. } => {
                    *of == key && *direction == Direction::Compensation
                }
                Message::Reply { .. } => false,
            });
            let Some(name) = key.name(&self.model.base).filter(|_| is_held && !is_told) else { continue };
            let input = Input::Reply(reply(world.saga.id, &name, Direction::Action, 1, Said::Ok));
            let how = How { happening: Happening::ChildAsks { key }, faults: 0, is_sure: true };
            self.input(world, world.clone(), &input, how);
        }
    }
}
