//! What comes from outside: time, people, other services, and the saga that this one is a part of.

use std::rc::Rc;

use snorri_saga::decide::{Ask, AskKind, Input, forward_deadline};
use snorri_saga::definition::Work;
use snorri_saga::ids::Direction;
use snorri_saga::json::Json;
use snorri_saga::saga::{Phase, StepState};
use snorri_saga::time::Millis;

use super::{Explorer, Happening, How, Said, Successor};
use crate::explore::world::{Key, Message, World, awaited};

/// What was not heard of in time, and what was done all the same.
type Silent = Vec<(Key, Direction, Option<Said>)>;

impl Explorer<'_> {
    /// The saga that this one is a part of.
    pub(super) fn parent(&mut self, world: &World) {
        let family = world.family;
        let ask = |kind| {
            Input::Asked(Ask {
                child: world.saga.id,
                definition: self.model.base.name.clone(),
                version: 1,
                parent: self.parent.clone(),
                input: world.saga.input.clone(),
                kind,
            })
        };
        // One with a pivot of its own is its parent's pivot, and never undone. Who is not answered asks again.
        let is_unanswered = family.undo_asked && !family.told_undone && world.is_ended();
        let may_undo = self.model.base.graph.pivot().is_none()
            && !family.released
            && (!family.undo_asked || is_unanswered);
        let (undo, release) = (ask(AskKind::Undo(self.model.base.window)), ask(AskKind::Release));
        if may_undo {
            let mut base = world.clone();
            base.family.undo_asked = true;
            let how = How { happening: Happening::UndoAsked, faults: 0, is_sure: is_unanswered };
            self.input(world, base, &undo, how);
        }
        if world.saga.phase == Phase::Held && family.told_done && !family.undo_asked {
            let mut base = world.clone();
            base.family.released = true;
            let how = How { happening: Happening::ReleaseAsked, faults: 0, is_sure: true };
            self.input(world, base, &release, how);
        }
    }

    /// Time passes until something is due, and that happens. What was not heard of by then is a fault each.
    pub(super) fn wakes(&mut self, world: &World) {
        let Some(due) = world.saga.due_at() else { return };
        // It asks its parent again and again; once is walked.
        let is_held = world.saga.phase == Phase::Held;
        if is_held && world.saga.asked > 0 {
            return;
        }
        let now = world.now.max(due);
        let base = World { now, answers: self.model.mended(world), ..world.clone() };
        let mut silent: Vec<(World, Silent)> = vec![(base, Vec::new())];
        let mut faults: u8 = 0;
        let definition = Rc::clone(&self.model.base);
        for (key, _, flight) in awaited(&definition, &world.saga) {
            let Some(command) = world.command(key, flight).filter(|_| flight.wait.due() <= now) else {
                continue;
            };
            faults = faults.saturating_add(1);
            if faults > self.left {
                return;
            }
            let Some(step) = definition.steps.get(key.step) else { continue };
            let truth = world.truth(key);
            let mut unheard = vec![None];
            if truth.kept(step, flight.direction, flight.attempt).is_none() {
                let may = truth.may_say(step, flight.direction, world.saga.pivot_sent);
                unheard
                    .extend(may.into_iter().filter(|(_, faults)| *faults == 0).map(|(said, _)| Some(said)));
            }
            let mut more = Vec::with_capacity(silent.len() * unheard.len());
            for (base, told) in silent {
                for said in &unheard {
                    let (mut base, mut told) = (base.clone(), told.clone());
                    told.push((key, flight.direction, *said));
                    if let Some(said) = *said {
                        let (direction, attempt) = (flight.direction, flight.attempt);
                        base.remove(&command);
                        let is_past = world.saga.pivot_sent;
                        base.truths.change(key, |truth| truth.say(step, direction, attempt, said, is_past));
                        base.put(Message::Reply { key, direction, attempt, said });
                    }
                    more.push((base, told));
                }
            }
            silent = more;
        }
        for (base, silent) in silent {
            let happening = Happening::Wakes { silent };
            let how = How { happening, faults, is_sure: faults == 0 && !is_held };
            self.input(world, base, &Input::Woke, how);
        }
    }

    /// Nobody wakes the saga until the time for beginning more is nearly over, that for going forwards is, or the window.
    pub(super) fn sleeps(&mut self, world: &World) {
        if self.left != 1 || world.saga.phase == Phase::Held {
            return;
        }
        let is_forward = world.saga.phase == Phase::Forward && !world.saga.pivot_sent;
        let limit = is_forward.then(|| forward_deadline(&self.model.base, &world.saga));
        // At the last moment more may still begin, and what is under way beside it is cut short.
        let last = is_forward.then(|| world.saga.forward_deadline - Millis(1));
        let until = [
            (last, "the time for beginning more is nearly over"),
            (limit, "the time for going forwards is over"),
            (Some(world.saga.deadline), "the window is over"),
        ];
        for (at, until) in until {
            let Some(now) = at.filter(|at| *at > world.now) else { continue };
            self.found(Successor {
                happening: Happening::Sleeps { until },
                world: World { now, ..world.clone() },
                faults: 1,
                is_sure: false,
                events: Vec::new(),
                answered: Vec::new(),
                crash: None,
                wrong: None,
            });
        }
    }

    /// What people and other services do when they like.
    pub(super) fn people(&mut self, world: &World) {
        if world.saga.phase != Phase::Forward {
            return;
        }
        if world.saga.stopping.is_none() {
            let input = Input::Cancel { by: "somebody".to_owned(), reason: String::new() };
            let how = How { happening: Happening::Cancels, faults: 0, is_sure: false };
            self.input(world, world.clone(), &input, how);
        }
        for (nth, (name, times)) in self.signals.clone().into_iter().enumerate() {
            let given = world.signals.get(nth).copied().unwrap_or(times);
            if given >= times {
                continue;
            }
            let mut base = world.clone();
            if let Some(given) = base.signals.get_mut(nth) {
                *given += 1;
            }
            let input = Input::Signal { id: format!("{name}-{given}"), name, payload: Json::null() };
            let how = How { happening: Happening::Signals { nth }, faults: 0, is_sure: false };
            self.input(world, base, &input, how);
        }
        for at in 0..self.model.base.steps.len() {
            let key = Key { step: at, item: None };
            let Some(step) = self.model.step(at).filter(|step| matches!(step.work, Work::Approval { .. }))
            else {
                continue;
            };
            let name = step.name.clone();
            if world.run(&self.model.base, key).is_none_or(|run| run.state != StepState::Acting) {
                continue;
            }
            for yes in [true, false] {
                let (by, comment) = ("somebody".to_owned(), String::new());
                let input = Input::Decide { step: name.clone(), approve: yes, by, comment };
                let how = How { happening: Happening::Decides { key, yes }, faults: 0, is_sure: false };
                self.input(world, world.clone(), &input, how);
            }
        }
    }
}
