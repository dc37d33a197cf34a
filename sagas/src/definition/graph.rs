//! Who waits for whom: the steps as a directed graph without cycles, and where each stands to the pivot.

use super::STEPS_MAX;

/// A set of steps, by their positions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Set([u64; STEPS_MAX.div_ceil(64)]);

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((0..STEPS_MAX).filter(|at| self.has(*at))).finish()
    }
}

impl Set {
    /// Whether the step is in it.
    pub fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Puts the step in.
    pub fn add(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    /// Puts all of the other's steps in.
    pub fn join(&mut self, other: Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// Whether the two have a step in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).any(|(one, two)| one & two != 0)
    }
}

/// Where a step stands to the pivot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// Before it, or there is none: what is done is undone if the saga fails.
    Before,
    /// It is the pivot.
    Pivot,
    /// Behind it: nothing is undone any more.
    Behind,
}

/// Who waits for whom.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    order: Vec<usize>,
    pivot: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Node {
    needs: Vec<usize>,
    needed_by: Vec<usize>,
    ancestors: Set,
    descendants: Set,
}

impl Graph {
    /// Builds the graph from what each step needs. `Err`: the steps of a cycle, in its order.
    pub fn new(needs: &[Vec<usize>], pivot: Option<usize>) -> Result<Self, Vec<usize>> {
        let mut nodes: Vec<Node> =
            needs.iter().map(|needs| Node { needs: needs.clone(), ..Node::default() }).collect();
        for (at, needs) in needs.iter().enumerate() {
            for need in needs {
                if let Some(node) = nodes.get_mut(*need) {
                    node.needed_by.push(at);
                }
            }
        }
        let order = in_order(needs);
        if order.len() < needs.len() {
            return Err(cycle(needs, &order));
        }
        let mut graph = Self { nodes, order, pivot };
        for at in graph.order.clone() {
            let mut ancestors = Set::default();
            for need in graph.needs(at) {
                ancestors.add(*need);
                ancestors.join(graph.ancestors(*need));
            }
            if let Some(node) = graph.nodes.get_mut(at) {
                node.ancestors = ancestors;
            }
        }
        for at in graph.order.clone().into_iter().rev() {
            let mut descendants = Set::default();
            for next in graph.needed_by(at) {
                descendants.add(*next);
                descendants.join(graph.descendants(*next));
            }
            if let Some(node) = graph.nodes.get_mut(at) {
                node.descendants = descendants;
            }
        }
        Ok(graph)
    }

    /// The steps that must be done directly before this one.
    pub fn needs(&self, at: usize) -> &[usize] {
        self.nodes.get(at).map_or(&[], |node| &node.needs)
    }

    /// The steps that directly wait for this one.
    pub fn needed_by(&self, at: usize) -> &[usize] {
        self.nodes.get(at).map_or(&[], |node| &node.needed_by)
    }

    /// All steps that are certainly done or skipped before this one begins.
    pub fn ancestors(&self, at: usize) -> Set {
        self.nodes.get(at).map(|node| node.ancestors).unwrap_or_default()
    }

    /// All steps that begin only after this one is done or skipped.
    pub fn descendants(&self, at: usize) -> Set {
        self.nodes.get(at).map(|node| node.descendants).unwrap_or_default()
    }

    /// All steps, each behind what it needs; as listed where nothing else is said.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The pivot.
    pub fn pivot(&self) -> Option<usize> {
        self.pivot
    }

    /// Where a step stands to the pivot. One that is neither before it nor behind it (which a checked definition
    /// does not have) counts as before it.
    pub fn zone(&self, at: usize) -> Zone {
        match self.pivot {
            Some(pivot) if pivot == at => Zone::Pivot,
            Some(pivot) if self.ancestors(at).has(pivot) => Zone::Behind,
            Some(_) | None => Zone::Before,
        }
    }

    /// The heaviest chain of steps from a beginning to an end, with its weight: what `weight` gives added up.
    pub fn heaviest(&self, weight: impl Fn(usize) -> u64) -> (u64, Vec<usize>) {
        // Each step's heaviest chain that ends with it, and the step before it on that chain.
        let mut chains: Vec<(u64, Option<usize>)> = vec![(0, None); self.nodes.len()];
        let of = |chains: &[(u64, Option<usize>)], at: usize| chains.get(at).map_or(0, |chain| chain.0);
        let mut heaviest: Option<usize> = None;
        for at in &self.order {
            let before = self
                .needs(*at)
                .iter()
                .copied()
                .reduce(|one, two| if of(&chains, two) > of(&chains, one) { two } else { one });
            let sum = before.map_or(0, |before| of(&chains, before)).saturating_add(weight(*at));
            if let Some(chain) = chains.get_mut(*at) {
                *chain = (sum, before);
            }
            if heaviest.is_none_or(|heaviest| sum > of(&chains, heaviest)) {
                heaviest = Some(*at);
            }
        }
        let sum = heaviest.map_or(0, |at| of(&chains, at));
        let mut chain = Vec::new();
        while let Some(at) = heaviest {
            chain.push(at);
            heaviest = chains.get(at).and_then(|chain| chain.1);
        }
        chain.reverse();
        (sum, chain)
    }

    /// The weight of [`Graph::heaviest`] alone.
    pub fn heaviest_weight(&self, weight: impl Fn(usize) -> u64) -> u64 {
        let mut sums = [0_u64; STEPS_MAX];
        let mut heaviest = 0;
        for at in &self.order {
            let before = self.needs(*at).iter().filter_map(|need| sums.get(*need)).max().copied();
            let sum = before.unwrap_or(0).saturating_add(weight(*at));
            if let Some(of) = sums.get_mut(*at) {
                *of = sum;
            }
            heaviest = heaviest.max(sum);
        }
        heaviest
    }
}

/// The steps, each behind what it needs, as far as there is no cycle.
fn in_order(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut placed = Set::default();
    let mut order = Vec::with_capacity(needs.len());
    loop {
        let ready = needs
            .iter()
            .enumerate()
            .find(|(at, needs)| !placed.has(*at) && needs.iter().all(|need| placed.has(*need)));
        match ready {
            Some((at, _)) => {
                placed.add(at);
                order.push(at);
            }
            None => return order,
        }
    }
}

/// One cycle among the steps that have no place in the order.
fn cycle(needs: &[Vec<usize>], order: &[usize]) -> Vec<usize> {
    let is_stuck = |at: &usize| !order.contains(at);
    let mut path: Vec<usize> = (0..needs.len()).find(is_stuck).into_iter().collect();
    while let Some(last) = path.last() {
        // One that has no place needs one that has none.
        let next = needs.get(*last).and_then(|needs| needs.iter().copied().find(is_stuck));
        let Some(next) = next else { break };
        if let Some(since) = path.iter().position(|at| *at == next) {
            path.drain(..since);
            break;
        }
        path.push(next);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 -> 1, 2 -> 3 (the pivot) -> 4
    fn diamond() -> Graph {
        Graph::new(&[vec![], vec![0], vec![0], vec![1, 2], vec![3]], Some(3)).expect("no cycle")
    }

    #[test]
    fn a_step_knows_all_before_and_all_behind_it() {
        let graph = diamond();
        assert_eq!(format!("{:?}", graph.ancestors(3)), "{0, 1, 2}");
        assert_eq!(format!("{:?}", graph.descendants(1)), "{3, 4}");
        let zones: Vec<Zone> = (0..5).map(|at| graph.zone(at)).collect();
        assert_eq!(zones, [Zone::Before, Zone::Before, Zone::Before, Zone::Pivot, Zone::Behind]);
    }

    #[test]
    fn the_order_is_the_lists_wherever_it_can_be() {
        let graph = Graph::new(&[vec![2], vec![], vec![1]], None).expect("no cycle");
        assert_eq!(graph.order(), [1, 2, 0]);
        assert_eq!(diamond().order(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_heaviest_chain_is_found_with_its_steps() {
        let weights = [5, 1, 7, 2, 3];
        let weight = |at: usize| weights.get(at).copied().unwrap_or(0);
        assert_eq!(diamond().heaviest(weight), (17, vec![0, 2, 3, 4]));
        assert_eq!(diamond().heaviest_weight(weight), 17);
        assert_eq!(Graph::default().heaviest(weight), (0, vec![]));
    }

    #[test]
    fn a_cycle_is_told_in_its_order_and_without_what_only_leads_to_it() {
        assert_eq!(Graph::new(&[vec![], vec![0, 3], vec![1], vec![2], vec![3]], None), Err(vec![1, 3, 2]));
        assert_eq!(Graph::new(&[vec![0]], None), Err(vec![0]));
        assert_eq!(Graph::new(&[vec![1], vec![2], vec![1]], None), Err(vec![1, 2]));
    }

    #[test]
    fn two_hundred_steps_have_room() {
        let needs: Vec<Vec<usize>> =
            (0..STEPS_MAX).map(|at| at.checked_sub(1).into_iter().collect()).collect();
        let graph = Graph::new(&needs, None).expect("no cycle");
        assert!(graph.ancestors(STEPS_MAX - 1).has(0) && graph.descendants(0).has(STEPS_MAX - 1));
        assert_eq!(graph.heaviest_weight(|_| 1), 200);
    }
}
