//! Ranks and order: every card in a layer behind those that it waits for, arrows over several layers with a bend in each of those
//! between, and each layer in an order in which few arrows cross.

use super::scene::Scene;

/// The most rounds of putting the layers in order.
const SWEEPS_MAX: usize = 16;
/// Up to so many vertices neighbours are tried the other way round, too.
const SWAPS_UP_TO: usize = 1500;

/// What stands in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vertex {
    Start,
    End,
    Card(usize),
    /// An arrow, or several of the same step, that goes past.
    Bend,
}

/// A piece of an arrow, from one layer to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) leads_back: bool,
}

/// The vertices in their layers, and the links between them.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) vertices: Vec<Vertex>,
    pub(super) links: Vec<Link>,
    /// The vertices of each layer, from left to right.
    pub(super) layers: Vec<Vec<usize>>,
    /// To what each vertex is linked in the layer above it, and below it.
    pub(super) above: Vec<Vec<usize>>,
    pub(super) below: Vec<Vec<usize>>,
}

impl Net {
    /// The scene in layers, in an order with few crossings.
    pub(super) fn of(scene: &Scene) -> Self {
        let mut net = Self::in_layers(scene);
        net.put_in_order();
        net
    }

    fn in_layers(scene: &Scene) -> Self {
        let count = scene.cards.len();
        let (start, end) = (count, count + 1);
        let mut arrows: Vec<Link> = scene
            .arrows
            .iter()
            .map(|arrow| Link { from: arrow.from, to: arrow.to, leads_back: arrow.leads_back })
            .collect();
        let plain = |from: usize, to: usize| Link { from, to, leads_back: false };
        arrows.extend(scene.firsts().into_iter().map(|first| plain(start, first)));
        arrows.extend(scene.lasts().into_iter().map(|last| plain(last, end)));

        // The longest way from the start: there are at most as many rounds as layers.
        let mut ranks = vec![0_usize; count + 2];
        let mut has_changed = true;
        while has_changed {
            has_changed = false;
            for arrow in &arrows {
                let rank = ranks.get(arrow.from).map_or(0, |rank| rank + 1);
                if let Some(of) = ranks.get_mut(arrow.to).filter(|of| **of < rank) {
                    *of = rank;
                    has_changed = true;
                }
            }
        }
        let mut vertices: Vec<Vertex> = (0..count).map(Vertex::Card).collect();
        vertices.extend([Vertex::Start, Vertex::End]);
        let mut net = Self {
            vertices,
            links: Vec::new(),
            layers: vec![Vec::new(); ranks.iter().max().map_or(1, |last| last + 1)],
            above: vec![Vec::new(); count + 2],
            below: vec![Vec::new(); count + 2],
        };
        for vertex in std::iter::once(start).chain(0..count).chain([end]) {
            net.stand(vertex, ranks.get(vertex).copied().unwrap_or(0));
        }
        let rank = |vertex: usize| ranks.get(vertex).copied().unwrap_or(0);
        for from in (0..count).chain([start]) {
            let mut own: Vec<Link> = arrows.iter().filter(|arrow| arrow.from == from).copied().collect();
            own.sort_by_key(|arrow| rank(arrow.to));
            // All of a step's arrows that go past a layer go past it together.
            let mut tail = (from, rank(from));
            for arrow in own {
                while tail.1 + 1 < rank(arrow.to) {
                    let bend = net.bend(tail.1 + 1);
                    net.link(Link { from: tail.0, to: bend, leads_back: arrow.leads_back });
                    tail = (bend, tail.1 + 1);
                }
                net.link(Link { from: tail.0, ..arrow });
            }
        }
        net
    }

    fn stand(&mut self, vertex: usize, rank: usize) {
        if let Some(layer) = self.layers.get_mut(rank) {
            layer.push(vertex);
        }
    }

    fn bend(&mut self, rank: usize) -> usize {
        let vertex = self.vertices.len();
        self.vertices.push(Vertex::Bend);
        self.above.push(Vec::new());
        self.below.push(Vec::new());
        self.stand(vertex, rank);
        vertex
    }

    fn link(&mut self, link: Link) {
        self.links.push(link);
        if let Some(below) = self.below.get_mut(link.from) {
            below.push(link.to);
        }
        if let Some(above) = self.above.get_mut(link.to) {
            above.push(link.from);
        }
    }

    /// What stands there.
    pub(super) fn at(&self, vertex: usize) -> Vertex {
        self.vertices.get(vertex).copied().unwrap_or(Vertex::Bend)
    }

    fn put_in_order(&mut self) {
        let mut best = (self.crossings(), self.layers.clone());
        for sweep in 0..SWEEPS_MAX {
            if best.0 == 0 {
                break;
            }
            let count = self.layers.len();
            let is_down = sweep % 2 == 0;
            let ranks: Vec<usize> =
                if is_down { (1..count).collect() } else { (0..count - 1).rev().collect() };
            for rank in ranks {
                self.by_barycentre(rank, is_down);
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
        if best.0 > 0 && self.vertices.len() <= SWAPS_UP_TO {
            self.swap_neighbours();
        }
    }

    /// Where each vertex stands in its layer.
    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.vertices.len()];
        for layer in &self.layers {
            for (place, vertex) in layer.iter().enumerate() {
                if let Some(of) = places.get_mut(*vertex) {
                    *of = place;
                }
            }
        }
        places
    }

    fn by_barycentre(&mut self, rank: usize, is_down: bool) {
        let places = self.places();
        let place = |vertex: &usize| places.get(*vertex).copied().unwrap_or(0);
        let linked = if is_down { &self.above } else { &self.below };
        #[expect(clippy::cast_precision_loss, reason = "places are small")]
        let centre = |vertex: &usize| match linked.get(*vertex).filter(|linked| !linked.is_empty()) {
            Some(linked) => linked.iter().map(|other| place(other) as f64).sum::<f64>() / linked.len() as f64,
            None => place(vertex) as f64,
        };
        let Some(layer) = self.layers.get(rank) else { return };
        let mut layer: Vec<(f64, usize)> = layer.iter().map(|vertex| (centre(vertex), *vertex)).collect();
        layer.sort_by(|one, two| one.0.total_cmp(&two.0));
        if let Some(of) = self.layers.get_mut(rank) {
            *of = layer.into_iter().map(|(_, vertex)| vertex).collect();
        }
    }

    /// How many links cross.
    pub(super) fn crossings(&self) -> usize {
        let places = self.places();
        let place = |vertex: usize| places.get(vertex).copied().unwrap_or(0);
        let mut crossings = 0;
        for (rank, layer) in self.layers.iter().enumerate() {
            let width = self.layers.get(rank + 1).map_or(0, Vec::len);
            // How many ends are at each place or left of it, as sums over halves, quarters ...
            let mut sums = vec![0_usize; width + 1];
            let mut before = 0;
            for vertex in layer {
                let mut ends: Vec<usize> = self
                    .below
                    .get(*vertex)
                    .map_or(&[][..], |below| below)
                    .iter()
                    .map(|to| place(*to))
                    .collect();
                ends.sort_unstable();
                for end in &ends {
                    let (mut at, mut left) = (end + 1, 0);
                    while at > 0 {
                        left += sums.get(at).copied().unwrap_or(0);
                        at &= at - 1;
                    }
                    crossings += before - left;
                }
                for end in &ends {
                    let mut at = end + 1;
                    while let Some(sum) = sums.get_mut(at) {
                        *sum += 1;
                        at += at & at.wrapping_neg();
                    }
                }
                before += ends.len();
            }
        }
        crossings
    }

    /// Two neighbours change places where fewer links cross then.
    fn swap_neighbours(&mut self) {
        let mut places = self.places();
        let mut layers = std::mem::take(&mut self.layers);
        for _ in 0..SWEEPS_MAX {
            let mut has_changed = false;
            for layer in &mut layers {
                for left in 1..layer.len() {
                    let Some([one, two]) = layer.get_mut(left - 1..=left) else { continue };
                    if self.between(&places, *two, *one) < self.between(&places, *one, *two) {
                        std::mem::swap(one, two);
                        has_changed = true;
                        for (vertex, place) in [(*one, left - 1), (*two, left)] {
                            if let Some(of) = places.get_mut(vertex) {
                                *of = place;
                            }
                        }
                    }
                }
            }
            if !has_changed {
                break;
            }
        }
        self.layers = layers;
    }

    /// How many links of the two cross when the one stands left of the other.
    fn between(&self, places: &[usize], left: usize, right: usize) -> usize {
        let place = |vertex: usize| places.get(vertex).copied().unwrap_or(0);
        [&self.above, &self.below]
            .into_iter()
            .map(|linked| {
                let of = |vertex: usize| linked.get(vertex).map_or(&[][..], |linked| linked);
                let right = of(right);
                of(left)
                    .iter()
                    .map(|one| right.iter().filter(|two| place(**two) < place(*one)).count())
                    .sum::<usize>()
            })
            .sum()
    }
}
