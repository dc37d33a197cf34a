//! How long a definition may take at worst, and how much of the window is kept for undoing.

use super::graph::Set;
use super::{Definition, Step, Zone};
use crate::time::Millis;

/// A step's part of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The step's position.
    pub step: usize,
    /// How long it takes at worst.
    pub millis: Millis,
}

/// The worst case of a definition: going forwards with one attempt of each step, its whole timeout long, and then the
/// longer of finishing behind the pivot and of undoing everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorstCase {
    /// The longest chain of steps before the pivot.
    pub before: Vec<Span>,
    /// The pivot's own attempt.
    pub pivot: Option<Span>,
    /// The longest chain behind the pivot.
    pub behind: Vec<Span>,
    /// The longest chain of compensations, all attempts and pauses of each; the last step's first.
    pub unwind: Vec<Span>,
}

fn sum(spans: &[Span]) -> Millis {
    spans.iter().fold(Millis(0), |sum, span| sum.plus(span.millis))
}

impl WorstCase {
    /// Before the pivot.
    pub fn before_millis(&self) -> Millis {
        sum(&self.before)
    }

    /// The pivot.
    pub fn pivot_millis(&self) -> Millis {
        self.pivot.map_or(Millis(0), |span| span.millis)
    }

    /// Behind the pivot.
    pub fn behind_millis(&self) -> Millis {
        sum(&self.behind)
    }

    /// Undoing everything.
    pub fn unwind_millis(&self) -> Millis {
        sum(&self.unwind)
    }

    /// What is kept of the window for what follows the steps before the pivot.
    pub fn reserve(&self) -> Millis {
        self.pivot_millis().plus(self.behind_millis().max(self.unwind_millis()))
    }

    /// All of it.
    pub fn total(&self) -> Millis {
        self.before_millis().plus(self.reserve())
    }
}

impl Step {
    /// How many rounds of attempts it takes at most: one, or those of its items.
    pub fn rounds(&self) -> u64 {
        self.for_each.as_ref().map_or(1, |each| u64::from(each.max.div_ceil(each.concurrency.max(1))))
    }

    /// One attempt, its whole timeout long, of each item.
    pub fn forward_worst(&self) -> Millis {
        Millis(self.timeout.0.saturating_mul(self.rounds()))
    }

    /// All attempts of its compensation and the pauses between them, of each item.
    pub fn unwind_worst(&self) -> Millis {
        let one = self.compensation.as_ref().map_or(Millis(0), |undo| undo.retry.worst_case(undo.timeout));
        Millis(one.0.saturating_mul(self.rounds()))
    }
}

impl Definition {
    /// The worst case, with the chains that make it up.
    pub fn worst_case(&self) -> WorstCase {
        let in_zone = |at: usize, zone: Zone| self.graph.zone(at) == zone;
        let step = |at: usize| self.steps.get(at);
        let forward = |zone: Zone| {
            let weight =
                |at| if in_zone(at, zone) { step(at).map_or(0, |step| step.forward_worst().0) } else { 0 };
            self.chain(weight, |at| in_zone(at, zone))
        };
        let mut unwind = self.chain(
            |at| step(at).map_or(0, |step| step.unwind_worst().0),
            |at| step(at).is_some_and(|step| step.compensation.is_some()),
        );
        unwind.reverse();
        WorstCase {
            before: forward(Zone::Before),
            pivot: self
                .graph
                .pivot()
                .and_then(|at| step(at).map(|step| Span { step: at, millis: step.forward_worst() })),
            behind: forward(Zone::Behind),
            unwind,
        }
    }

    fn chain(&self, weight: impl Fn(usize) -> u64 + Copy, is_in: impl Fn(usize) -> bool) -> Vec<Span> {
        let (_, chain) = self.graph.heaviest(weight);
        let spans = chain.into_iter().filter(|at| is_in(*at));
        spans.map(|step| Span { step, millis: Millis(weight(step)) }).collect()
    }

    /// The worst case of undoing the given steps.
    pub fn unwind_of(&self, steps: &Set) -> Millis {
        let weight = |at| {
            if steps.has(at) { self.steps.get(at).map_or(0, |step| step.unwind_worst().0) } else { 0 }
        };
        Millis(self.graph.heaviest_weight(weight))
    }

    /// The worst case of finishing behind the pivot.
    pub fn behind_pivot(&self) -> Millis {
        let weight = |at| {
            let is_behind = self.graph.zone(at) == Zone::Behind;
            if is_behind { self.steps.get(at).map_or(0, |step| step.forward_worst().0) } else { 0 }
        };
        Millis(self.graph.heaviest_weight(weight))
    }
}
