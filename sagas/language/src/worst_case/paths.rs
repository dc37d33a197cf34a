//! The longest paths through the steps. There may be more paths than anybody could list: each step keeps the twenty
//! longest that end with it.

use snorri_saga::definition::{Definition, Zone};
use snorri_saga::time::Millis;

use super::{PATHS_MAX, Path, Weights};

/// A path that ends with a step: its weight, and which of the paths to the step before it goes on.
#[derive(Clone, Copy)]
struct Chain {
    weight: u64,
    before: Option<(usize, usize)>,
}

/// The longest paths, and how many there are in all.
pub(super) fn longest(definition: &Definition) -> (Vec<Path>, u64) {
    // What follows the pivot is either what stands behind it or undoing what stands before: the longest paths are among
    // those that are longest in one of the two.
    let onwards = |weights: Weights| weights.forward;
    let back = |weights: Weights| match weights.zone {
        Zone::Behind => 0,
        Zone::Before | Zone::Pivot => weights.forward.saturating_add(weights.undoing),
    };
    let mut chains = heaviest(definition, onwards);
    chains.extend(heaviest(definition, back));
    chains.sort();
    chains.dedup();
    let mut paths: Vec<Path> = chains.iter().map(|chain| path(definition, chain)).collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.total));
    paths.truncate(PATHS_MAX);
    (paths, count(definition))
}

fn path(definition: &Definition, chain: &[usize]) -> Path {
    let mut path = Path {
        steps: Vec::new(),
        total: Millis(0),
        before: Millis(0),
        pivot: Millis(0),
        behind: Millis(0),
        undoing: Millis(0),
    };
    for at in chain {
        let weights = Weights::of(definition, *at);
        let part = match weights.zone {
            Zone::Before => &mut path.before,
            Zone::Pivot => &mut path.pivot,
            Zone::Behind => &mut path.behind,
        };
        *part = part.plus(Millis(weights.forward));
        path.undoing = path.undoing.plus(Millis(weights.undoing));
        path.steps.extend(definition.steps.get(*at).map(|step| step.name.to_string()));
    }
    path.total = path.before.plus(path.pivot).plus(path.behind.max(path.undoing));
    path
}

/// The heaviest paths from a first step to a last one, as positions.
fn heaviest(definition: &Definition, weight: impl Fn(Weights) -> u64) -> Vec<Vec<usize>> {
    let graph = &definition.graph;
    let mut to: Vec<Vec<Chain>> = vec![Vec::new(); definition.steps.len()];
    let mut ends: Vec<(u64, usize, usize)> = Vec::new();
    for at in graph.order().iter().copied() {
        let own = weight(Weights::of(definition, at));
        let mut chains: Vec<Chain> = Vec::new();
        for need in graph.needs(at) {
            for (nth, chain) in to.get(*need).into_iter().flatten().enumerate() {
                let weight = chain.weight.saturating_add(own);
                chains.push(Chain { weight, before: Some((*need, nth)) });
            }
        }
        if graph.needs(at).is_empty() {
            chains.push(Chain { weight: own, before: None });
        }
        chains.sort_by_key(|chain| std::cmp::Reverse(chain.weight));
        chains.truncate(PATHS_MAX);
        if graph.needed_by(at).is_empty() {
            ends.extend(chains.iter().enumerate().map(|(nth, chain)| (chain.weight, at, nth)));
        }
        if let Some(place) = to.get_mut(at) {
            *place = chains;
        }
    }
    ends.sort_by_key(|(weight, ..)| std::cmp::Reverse(*weight));
    ends.truncate(PATHS_MAX);
    let back = |at: usize, nth: usize| {
        let mut steps = vec![at];
        let mut last = (at, nth);
        while let Some(before) =
            to.get(last.0).and_then(|chains| chains.get(last.1)).and_then(|chain| chain.before)
        {
            steps.push(before.0);
            last = before;
        }
        steps.reverse();
        steps
    };
    ends.into_iter().map(|(_, at, nth)| back(at, nth)).collect()
}

/// How many paths there are from a first step to a last one.
fn count(definition: &Definition) -> u64 {
    let graph = &definition.graph;
    let mut to = vec![0_u64; definition.steps.len()];
    let mut all = 0_u64;
    for at in graph.order().iter().copied() {
        let needs = graph.needs(at);
        let ways =
            needs.iter().filter_map(|need| to.get(*need)).fold(0_u64, |sum, ways| sum.saturating_add(*ways));
        let ways = if needs.is_empty() { 1 } else { ways };
        if let Some(place) = to.get_mut(at) {
            *place = ways;
        }
        if graph.needed_by(at).is_empty() {
            all = all.saturating_add(ways);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::worst_case::tests::definition;

    #[test]
    fn more_paths_than_stars_are_counted_and_the_longest_are_found() {
        // 64 levels of three steps each, each of which needs all of the level before.
        let step = |level: usize, nth: usize| {
            let needs: Vec<String> = match level.checked_sub(1) {
                Some(above) => (0..3).map(|nth| format!("s{above}-{nth}")).collect(),
                None => Vec::new(),
            };
            let timeout = format!("{}ms", 10 + nth);
            json!({"name": format!("s{level}-{nth}"), "participant": "p", "kind": "read", "needs": needs, "timeout": timeout})
        };
        let steps: Vec<_> = (0..64).flat_map(|level| (0..3).map(move |nth| step(level, nth))).collect();
        let definition = definition(json!({"name": "wide", "steps": steps}));
        let (paths, in_all) = longest(&definition);
        assert_eq!((paths.len(), in_all), (PATHS_MAX, u64::MAX));
        assert_eq!(paths.first().map(|path| path.total), Some(Millis(64 * 12)));
        assert!(paths.iter().skip(1).all(|path| path.total == Millis(64 * 12 - 1)));
        let all_different: std::collections::BTreeSet<_> = paths.iter().map(|path| &path.steps).collect();
        assert_eq!(all_different.len(), PATHS_MAX);
    }
}
