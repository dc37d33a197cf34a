//! Until when actions may be tried: the rest of the window, less the worst case of undoing what has run so far.

use super::{Draft, Event};
use crate::definition::graph::Set;
use crate::definition::{Definition, Step, Zone};
use crate::ids::StepKey;
use crate::saga::{Phase, Saga, StepRun, StepState};
use crate::time::{Millis, Timestamp};

/// Until when the actions of this saga may be tried as it stands: later, undoing what has run might not fit into the
/// window any more. It moves back whenever a step begins that would have to be undone.
pub fn forward_deadline(definition: &Definition, saga: &Saga) -> Timestamp {
    saga.deadline - definition.unwind_of(&begun(definition, saga))
}

/// The steps that may have to be undone. Of a list that is its items: without any, there is nothing.
fn begun(definition: &Definition, saga: &Saga) -> Set {
    let mut set = Set::default();
    for run in &saga.steps {
        match run.state {
            StepState::Acting | StepState::Done | StepState::InDoubt => {
                if let Some((at, step)) = definition.step(run.key.step())
                    && (step.for_each.is_none() || run.key.number().is_some())
                {
                    set.add(at);
                }
            }
            StepState::Skipped
            | StepState::NotDone
            | StepState::Undoing
            | StepState::Undone
            | StepState::Fenced => {}
        }
    }
    set
}

impl Draft<'_> {
    /// Until when actions before the pivot may be tried once this step has begun, too.
    pub(super) fn limit_with(&self, position: usize) -> Timestamp {
        let mut begun = begun(self.definition, &self.saga);
        begun.add(position);
        self.saga.deadline - self.definition.unwind_of(&begun)
    }

    /// Until when this step may be begun.
    pub(super) fn latest(&self, position: usize, step: &Step) -> Timestamp {
        match self.definition.graph.zone(position) {
            Zone::Before => self.limit_with(position),
            // Whether it fails or not, what follows must fit.
            Zone::Pivot => {
                let unwind = self.definition.unwind_of(&begun(self.definition, &self.saga));
                self.saga.deadline - step.forward_worst().plus(unwind.max(self.definition.behind_pivot()))
            }
            // The first one behind a pivot that was skipped is the point of no return itself.
            Zone::Behind => self.saga.deadline - self.definition.behind_pivot(),
        }
    }

    /// Until when the answer of an action is awaited that is sent, or says that it works, now: for its
    /// timeout, but before the pivot not beyond the forward deadline. An attempt of the slow lane,
    /// which may come after that deadline, has its whole timeout too.
    pub(super) fn await_until(&self, position: usize, step: &Step, key: &StepKey) -> Timestamp {
        let until = self.now + step.timeout;
        let is_slow = self.saga.blocked_at(key).is_some() && self.saga.stopping.is_none();
        if self.definition.is_past_pivot(position) || is_slow {
            until
        } else {
            until.min(self.limit_with(position))
        }
    }

    /// What began now may have to be undone, too: nothing in flight is awaited, and
    /// no attempt is planned, beyond what that leaves.
    pub(super) fn curtail(&mut self) {
        if self.saga.pivot_sent || self.saga.in_flight().nth(1).is_none() {
            return;
        }
        self.cut(|saga, run| saga.blocked_at(&run.key).is_none());
    }

    /// The saga stops, and has less time for undoing than it had: nothing at all is awaited beyond what that leaves.
    pub(super) fn cut_short(&mut self) {
        if self.saga.phase == Phase::Forward {
            self.cut(|_, _| true);
        }
    }

    fn cut(&mut self, which: impl Fn(&Saga, &StepRun) -> bool) {
        let limit = forward_deadline(self.definition, &self.saga).max(self.now + Millis(1));
        let long: Vec<StepKey> = self
            .saga
            .in_flight()
            .filter(|(run, flight)| flight.wait.due() > limit && which(&self.saga, run))
            .map(|(run, _)| run.key.clone())
            .collect();
        for step in long {
            self.record(Event::Curtailed { step, until: limit });
        }
    }
}
