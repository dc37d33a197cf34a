//! The search: states in layers, those that are reached with fewer faults first, and in each layer those that are reached
//! by fewer events first. A state is walked once, with the fewest faults that lead to it: what can follow from there with
//! more faults used up can follow with fewer.
//!
//! That every saga ends is proved layer by layer. A state *surely ends* when it is an end, or when something comes by itself
//! ([`Successor::is_sure`]) and everything that may come so leads to a state that surely ends. So no run without a further
//! fault can go on for ever, or stop, whatever the participants answer and in whatever order, and without late messages
//! that happen to help. States that do not surely end are a violation.

use std::collections::BTreeMap;

use snorri_saga::definition::Definition;

use super::moves::{Explorer, Successor};
use super::print::{ByPrint, Print, Printer};
use super::story::{self, Story};
use super::world::World;
use super::{Bounds, Exploration, Stopped};

/// No state: before the start.
const NOWHERE: u32 = u32::MAX;
/// The first fault is expected to bring so many times more states. Of further ones more is known. It brings 13 to 30 times
/// more where it was measured; what is begun in vain costs little then.
const GROWTH: usize = 8;
/// A further one brings at least so many times more.
const GROWTH_MIN: usize = 3;

/// A state that was walked: how it was reached.
#[derive(Clone, Copy)]
struct Node {
    parent: u32,
    /// Which of its parent's successors by so many faults.
    nth: u32,
    /// With so many faults in all.
    faults: u8,
}

/// A state that waits to be walked.
struct Waiting {
    world: World,
    node: Node,
    print: Print,
    is_wrong: bool,
}

/// A state that was walked, and waits for what a fault makes of it.
struct Walked {
    world: World,
    at: u32,
    depth: u32,
}

/// The states of one number of faults.
#[derive(Default)]
struct Layer {
    /// Those that wait, by the number of events that led to them.
    by_depth: BTreeMap<u32, Vec<Waiting>>,
    depths: ByPrint<u32>,
    /// How many were walked.
    count: usize,
    /// Those, as long as there may be a layer more.
    walked: Vec<Walked>,
}

pub(super) struct Search<'a> {
    explorer: Explorer<'a>,
    bounds: Bounds,
    printer: Printer,
    nodes: Vec<Node>,
    known: ByPrint<u32>,
    layers: Vec<Layer>,
    /// What comes by itself in the layer that is walked.
    sure: Vec<(u32, Print)>,
    surely_ends: Vec<bool>,
    transitions: usize,
    ends: BTreeMap<&'static str, usize>,
}

/// Why no more is walked.
enum Halt {
    Broken(Box<Story>),
    Stopped(Stopped),
}

impl<'a> Search<'a> {
    pub(super) fn new(explorer: Explorer<'a>, bounds: Bounds) -> Self {
        let printer = Printer::new(&explorer.model);
        Self {
            explorer,
            bounds,
            printer,
            nodes: Vec::new(),
            known: ByPrint::default(),
            layers: Vec::new(),
            sure: Vec::new(),
            surely_ends: Vec::new(),
            transitions: 0,
            ends: BTreeMap::new(),
        }
    }

    pub(super) fn run(mut self, definition: &Definition) -> Exploration {
        let (mut complete, mut violation, mut stopped) = (None, None, Stopped::Faults);
        for faults in 0..=self.bounds.faults {
            match self.layer(faults) {
                Ok(()) => complete = Some(faults),
                Err(Halt::Stopped(why)) => {
                    stopped = why;
                    break;
                }
                Err(Halt::Broken(story)) => {
                    (violation, stopped) = (Some(*story), Stopped::Violation);
                    break;
                }
            }
        }
        Exploration {
            definition: definition.name.to_string(),
            role: self.bounds.role,
            complete_faults: complete,
            stopped,
            states: self.nodes.len(),
            transitions: self.transitions,
            ends: self.ends,
            took_ms: u64::try_from(self.explorer.room.elapsed().as_millis()).unwrap_or(u64::MAX),
            violation,
        }
    }

    /// Walks every state that is reached with so many faults and not with fewer.
    fn layer(&mut self, faults: u8) -> Result<(), Halt> {
        if faults > 0
            && let Some(why) = self.is_too_much()
        {
            return Err(Halt::Stopped(why));
        }
        let first = self.nodes.len();
        self.layers.push(Layer::default());
        let starts = self.explorer.starts(faults);
        self.queue(starts, NOWHERE, faults, 0)?;
        for more in (1..=faults).rev() {
            self.faults_of(faults - more, more)?;
        }
        while let Some((depth, waiting)) = self.next() {
            self.walk(faults, depth, waiting)?;
        }
        if let Some(layer) = self.layers.last_mut() {
            layer.depths = ByPrint::default();
        }
        match self.never_ends(first) {
            Some(story) => Err(Halt::Broken(Box::new(story))),
            None => Ok(()),
        }
    }

    /// Whether one more fault would probably be too much. Where there are `n` places for faults, the `f`th brings
    /// `(n - f + 1) / f` times more states: about half as many times more as the first, then two thirds. With something to
    /// spare it is taken to be two thirds, three quarters, and so on.
    fn is_too_much(&self) -> Option<Stopped> {
        let count = |layer: &Layer| layer.count.max(1);
        let growth = match self.layers.as_slice() {
            [.., before, last] => {
                let faults = self.layers.len();
                (count(last) * faults / (count(before) * (faults + 1))).max(GROWTH_MIN)
            }
            _ => GROWTH,
        };
        let states = self.layers.last().map_or(0, count).saturating_mul(growth);
        if self.nodes.len() + states > self.bounds.states {
            return Some(Stopped::States);
        }
        let so_far = self.explorer.room.elapsed();
        let expected = so_far.as_micros().saturating_mul(states as u128) / self.nodes.len().max(1) as u128;
        (so_far.as_micros() + expected > self.bounds.time.as_micros()).then_some(Stopped::Time)
    }

    /// What so many faults make of the states that were reached with so many.
    fn faults_of(&mut self, faults: u8, more: u8) -> Result<(), Halt> {
        let Some(layer) = self.layers.get_mut(usize::from(faults)) else { return Ok(()) };
        let walked = std::mem::take(&mut layer.walked);
        for one in &walked {
            let successors = self.explorer.successors(&one.world, more);
            self.queue(successors, one.at, faults + more, one.depth + 1)?;
        }
        if let Some(layer) = self.layers.get_mut(usize::from(faults)) {
            layer.walked = walked;
        }
        Ok(())
    }

    fn walk(&mut self, faults: u8, depth: u32, waiting: Waiting) -> Result<(), Halt> {
        let Waiting { world, node, print, is_wrong } = waiting;
        if is_wrong {
            return Err(Halt::Broken(Box::new(self.tell(node))));
        }
        if self.known.contains_key(&print) {
            self.explorer.room.forget(&world);
            return Ok(());
        }
        let at = u32::try_from(self.nodes.len()).unwrap_or(NOWHERE);
        let is_settled = world.is_settled(&self.explorer.model.base);
        if is_settled {
            *self.ends.entry(world.saga.status().as_str()).or_default() += 1;
        }
        self.known.insert(print, at);
        self.nodes.push(node);
        self.surely_ends.push(is_settled);
        let successors = self.explorer.successors(&world, 0);
        self.queue(successors, at, faults, depth + 1)?;
        self.keep(faults, Walked { world, at, depth });
        Ok(())
    }

    /// Keeps what was walked for the next layer, until it is certain that there is none: see [`Self::is_too_much`].
    fn keep(&mut self, faults: u8, walked: Walked) {
        let Some(layer) = self.layers.last_mut() else { return };
        layer.count += 1;
        let least = layer.count.saturating_mul(GROWTH_MIN);
        if faults < self.bounds.faults && self.nodes.len() + least <= self.bounds.states {
            layer.walked.push(walked);
            return;
        }
        self.explorer.room.forget(&walked.world);
        for gone in self.layers.iter_mut().flat_map(|layer| std::mem::take(&mut layer.walked)) {
            self.explorer.room.forget(&gone.world);
        }
    }

    fn next(&mut self) -> Option<(u32, Waiting)> {
        let layer = self.layers.last_mut()?;
        let mut first = layer.by_depth.first_entry()?;
        let depth = *first.key();
        let waiting = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        waiting.map(|waiting| (depth, waiting))
    }

    fn queue(&mut self, successors: Vec<Successor>, parent: u32, faults: u8, depth: u32) -> Result<(), Halt> {
        self.transitions += successors.len();
        if self.nodes.len() >= self.bounds.states {
            return Err(Halt::Stopped(Stopped::States));
        }
        if let Some(why) = self.explorer.room.stopped() {
            return Err(Halt::Stopped(why));
        }
        let Some(layer) = self.layers.last_mut() else { return Ok(()) };
        for (nth, successor) in successors.into_iter().enumerate() {
            let Successor { world, is_sure, wrong, .. } = successor;
            let print = self.printer.print(&self.explorer.model.base, &world);
            if is_sure {
                self.sure.push((parent, print));
            }
            let is_wrong = wrong.is_some();
            let is_known =
                self.known.contains_key(&print) || layer.depths.get(&print).is_some_and(|of| *of <= depth);
            if is_known && !is_wrong {
                continue;
            }
            layer.depths.insert(print, depth);
            self.explorer.room.keep(&world);
            let nth = u32::try_from(nth).unwrap_or(u32::MAX);
            let node = Node { parent, nth, faults };
            layer.by_depth.entry(depth).or_default().push(Waiting { world, node, print, is_wrong });
        }
        Ok(())
    }

    /// Looks whether every state of the layer that begins with the given one surely ends.
    fn never_ends(&mut self, first: usize) -> Option<Story> {
        let sure = std::mem::take(&mut self.sure);
        let mut open = vec![0_u32; self.nodes.len() - first];
        let mut before: Vec<(u32, u32)> = Vec::with_capacity(sure.len());
        for (from, print) in sure {
            let Some(place) = usize::try_from(from).ok().and_then(|from| from.checked_sub(first)) else {
                continue;
            };
            let Some(to) = self.known.get(&print) else { continue };
            if self.surely_ends.get(place + first) == Some(&true) {
                continue;
            }
            if let Some(open) = open.get_mut(place) {
                *open += 1;
            }
            before.push((*to, from));
        }
        before.sort_unstable();
        let mut ends: Vec<usize> =
            (0..self.nodes.len()).filter(|at| self.surely_ends.get(*at) == Some(&true)).collect();
        while let Some(end) = ends.pop() {
            let to = u32::try_from(end).unwrap_or(NOWHERE);
            let start = before.partition_point(|(of, _)| *of < to);
            for (of, from) in before.iter().skip(start) {
                if *of != to {
                    break;
                }
                let Ok(from) = usize::try_from(*from) else { continue };
                let Some(open) = from.checked_sub(first).and_then(|place| open.get_mut(place)) else {
                    continue;
                };
                *open -= 1;
                if *open == 0
                    && let Some(ends_surely) = self.surely_ends.get_mut(from)
                {
                    *ends_surely = true;
                    ends.push(from);
                }
            }
        }
        let stuck = |at: &usize| self.surely_ends.get(*at) == Some(&false);
        // Where nothing is left that happens by itself, rather than a state that may lead there.
        let is_last = |at: &usize| stuck(at) && open.get(at - first) == Some(&0);
        let dead_end = (first..self.nodes.len()).find(is_last);
        let at = dead_end.or_else(|| (first..self.nodes.len()).find(stuck))?;
        let node = *self.nodes.get(at)?;
        let mut story = self.tell(node);
        let wrong = if dead_end.is_some() {
            "nothing that happens by itself leads on from here: it hangs"
        } else {
            "from here on what happens by itself need not end the saga: it may go on for ever"
        };
        wrong.clone_into(&mut story.wrong);
        Some(story)
    }

    /// How a state was reached, from the start.
    fn tell(&mut self, last: Node) -> Story {
        let mut path = vec![last];
        let mut at = last.parent;
        while let Some(node) = usize::try_from(at).ok().and_then(|at| self.nodes.get(at)) {
            path.push(*node);
            at = node.parent;
        }
        path.reverse();
        self.explorer.room.tell();
        let mut steps: Vec<Successor> = Vec::new();
        let mut faults = 0;
        for node in path {
            let more = node.faults - faults;
            let successors = match steps.last() {
                None => self.explorer.starts(more),
                Some(before) => self.explorer.successors(&before.world, more),
            };
            let nth = usize::try_from(node.nth).unwrap_or(usize::MAX);
            steps.extend(successors.into_iter().nth(nth));
            faults = node.faults;
        }
        story::tell(&self.explorer, faults, &steps)
    }
}
