//! Where each vertex stands from left to right: as near to what it is linked to as its neighbours let it.

use super::layers::{Net, Vertex};

/// How often the layers are gone through, down and up.
const ROUNDS: usize = 24;
/// Between two cards.
const GAP: f64 = 36.0;
/// Between a card and an arrow that goes past it, and between two of these.
const GAP_BEND: f64 = 22.0;

/// The middle of each vertex, given how wide each is.
pub(super) fn columns(net: &Net, widths: &[f64]) -> Vec<f64> {
    let mut columns = vec![0.0; net.vertices.len()];
    for layer in &net.layers {
        let offsets = offsets(net, widths, layer);
        let middle = offsets.last().copied().unwrap_or(0.0) / 2.0;
        for (vertex, offset) in layer.iter().zip(&offsets) {
            set(&mut columns, *vertex, offset - middle);
        }
    }
    for round in 0..ROUNDS {
        // At first only what is above counts on the way down, and what is below on the way up: whole branches move at once then.
        let is_early = round < ROUNDS / 2;
        for layer in &net.layers {
            settle(net, widths, &mut columns, layer, (1.0, if is_early { 0.0 } else { 1.0 }), &[]);
        }
        for layer in net.layers.iter().rev() {
            settle(net, widths, &mut columns, layer, (if is_early { 0.0 } else { 1.0 }, 1.0), &[]);
        }
    }
    let mut is_pinned = vec![false; net.vertices.len()];
    for run in runs(net) {
        straighten(net, widths, &mut columns, &run, &mut is_pinned);
    }
    for _ in 0..ROUNDS {
        for layer in net.layers.iter().chain(net.layers.iter().rev()) {
            settle(net, widths, &mut columns, layer, (1.0, 1.0), &is_pinned);
        }
    }
    columns
}

/// Vertices of which each is linked to the next one alone, the longest runs first.
fn runs(net: &Net) -> Vec<Vec<usize>> {
    let only = |linked: &[Vec<usize>], vertex: usize| match linked.get(vertex).map(Vec::as_slice) {
        Some([only]) => Some(*only),
        _ => None,
    };
    let follower =
        |vertex: usize| only(&net.below, vertex).filter(|below| only(&net.above, *below).is_some());
    let is_first = |vertex: &usize| only(&net.above, *vertex).and_then(follower) != Some(*vertex);
    let firsts = net.layers.iter().flatten().copied().filter(is_first);
    let mut runs: Vec<Vec<usize>> = firsts
        .map(|first| std::iter::successors(Some(first), |vertex| follower(*vertex)).collect())
        .filter(|run: &Vec<usize>| run.len() > 1)
        .collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
    runs
}

/// Puts a run into one column, if its neighbours leave it one.
fn straighten(net: &Net, widths: &[f64], columns: &mut [f64], run: &[usize], is_pinned: &mut [bool]) {
    let (mut least, mut most, mut sum) = (f64::MIN, f64::MAX, 0.0);
    for vertex in run {
        let Some((layer, at)) = net
            .layers
            .iter()
            .find_map(|layer| layer.iter().position(|one| one == vertex).map(|at| (layer, at)))
        else {
            return;
        };
        if let Some(left) = at.checked_sub(1).and_then(|left| layer.get(left)) {
            least = least.max(get(columns, *left) + between(net, widths, *left, *vertex));
        }
        if let Some(right) = layer.get(at + 1) {
            most = most.min(get(columns, *right) - between(net, widths, *vertex, *right));
        }
        sum += get(columns, *vertex);
    }
    if least <= most {
        #[expect(clippy::cast_precision_loss, reason = "at most some hundred layers")]
        let column = (sum / run.len() as f64).clamp(least, most);
        for vertex in run {
            set(columns, *vertex, column);
            if let Some(is_pinned) = is_pinned.get_mut(*vertex) {
                *is_pinned = true;
            }
        }
    }
}

fn set(values: &mut [f64], at: usize, value: f64) {
    if let Some(of) = values.get_mut(at) {
        *of = value;
    }
}

fn get(values: &[f64], at: usize) -> f64 {
    values.get(at).copied().unwrap_or(0.0)
}

/// How far the middles of two neighbours are from each other at least.
fn between(net: &Net, widths: &[f64], left: usize, right: usize) -> f64 {
    let is_bend = |vertex: usize| net.at(vertex) == Vertex::Bend;
    let gap = if is_bend(left) || is_bend(right) { GAP_BEND } else { GAP };
    f64::midpoint(get(widths, left), get(widths, right)) + gap
}

/// How far each vertex of a layer is at least from the first one.
fn offsets(net: &Net, widths: &[f64], layer: &[usize]) -> Vec<f64> {
    let gaps = layer.windows(2).map(|pair| match pair {
        [left, right] => between(net, widths, *left, *right),
        _ => 0.0,
    });
    std::iter::once(0.0)
        .chain(gaps)
        .scan(0.0, |offset, gap| {
            *offset += gap;
            Some(*offset)
        })
        .take(layer.len())
        .collect()
}

/// Moves the vertices of a layer to where their links pull them, none nearer to its neighbour than it may be. Of all such places the
/// ones with the least sum of squares: vertices that would run into each other become a block, whose place is the mean of theirs.
fn settle(
    net: &Net,
    widths: &[f64],
    columns: &mut [f64],
    layer: &[usize],
    (above, below): (f64, f64),
    is_pinned: &[bool],
) {
    struct Block {
        place: f64,
        weight: f64,
        count: usize,
    }
    let offsets = offsets(net, widths, layer);
    let mut blocks: Vec<Block> = Vec::with_capacity(layer.len());
    for (vertex, offset) in layer.iter().zip(&offsets) {
        // What is pinned stays where it is; anything else does so only if nothing pulls it.
        let stay = if is_pinned.get(*vertex).is_some_and(|is_pinned| *is_pinned) { 1e9 } else { 1e-3 };
        let (mut pull, mut weight) = (get(columns, *vertex) * stay, stay);
        for (linked, share) in [(&net.above, above), (&net.below, below)] {
            for other in linked.get(*vertex).into_iter().flatten() {
                let share = share * stiffness(net.at(*vertex), net.at(*other));
                pull += get(columns, *other) * share;
                weight += share;
            }
        }
        let mut block = Block { place: pull / weight - offset, weight, count: 1 };
        while let Some(left) = blocks.pop_if(|left| left.place > block.place) {
            let sum = left.weight + block.weight;
            block = Block {
                place: (left.place * left.weight + block.place * block.weight) / sum,
                weight: sum,
                count: left.count + block.count,
            };
        }
        blocks.push(block);
    }
    let places = blocks.iter().flat_map(|block| std::iter::repeat_n(block.place, block.count));
    for ((vertex, offset), place) in layer.iter().zip(&offsets).zip(places) {
        set(columns, *vertex, place + offset);
    }
}

/// How strongly a link pulls: an arrow that goes past many layers goes straight.
fn stiffness(one: Vertex, other: Vertex) -> f64 {
    match (one, other) {
        (Vertex::Bend, Vertex::Bend) => 8.0,
        (Vertex::Bend, _) | (_, Vertex::Bend) => 2.0,
        _ => 1.0,
    }
}
