//! Where everything stands: each card's place, each arrow's course.

use super::cards::Laid;
use super::columns::columns;
use super::layers::{Net, Vertex};
use super::scene::Scene;

/// How large a point at the start or the end is.
pub(super) const POINT: f64 = 14.0;
/// How wide an arrow is that goes past a layer.
const BEND: f64 = 4.0;
/// Between two layers: at least, for each pixel that an arrow has to go sideways, and at most.
const GAP_MIN: f64 = 46.0;
const GAP_SHARE: f64 = 0.09;
const GAP_MAX: f64 = 150.0;
/// What the line of no return takes behind the pivot, and where in it the line is.
const NO_RETURN: f64 = 46.0;
const NO_RETURN_LINE: f64 = 30.0;
/// How far the way there and the way back are from the middle between them.
const TWIN: f64 = 6.0;
/// Between two arrows at the same card, at most.
const PORT_GAP: f64 = 30.0;
/// How much of a card's border, left and right, has no arrows.
const PORT_MARGIN: f64 = 28.0;
/// Arrows that go sideways by less than this go straight.
const STRAIGHT: f64 = 16.0;

/// A place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A piece of an arrow: straight down, over to the next column, straight down.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) from: Point,
    /// Where it leaves its layer, and where it comes to the next one.
    pub(super) leaves: f64,
    pub(super) comes: f64,
    pub(super) to: Point,
    pub(super) is_way_back: bool,
    /// It has a head: forwards at its end, on the way back at its beginning.
    pub(super) has_head: bool,
}

/// The whole picture, its upper left corner at nothing.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) cards: Vec<Laid>,
    /// The upper left corner of each card, without its condition.
    pub(super) corners: Vec<Point>,
    /// The middle of the start and of the end.
    pub(super) start: Point,
    pub(super) end: Point,
    pub(super) courses: Vec<Course>,
    /// How far down the line of no return is.
    pub(super) no_return: Option<f64>,
}

/// How high each layer is, from where to where.
#[derive(Debug, Clone, Copy, Default)]
struct Band {
    top: f64,
    bottom: f64,
    /// Where arrows may turn aside below it.
    leave: f64,
}

fn get(values: &[f64], at: usize) -> f64 {
    values.get(at).copied().unwrap_or(0.0)
}

impl Plan {
    /// Gives everything its place.
    pub(super) fn of(scene: &Scene) -> Self {
        let cards: Vec<Laid> = scene.cards.iter().map(Laid::of).collect();
        let net = Net::of(scene);
        let size = |vertex: &Vertex| match vertex {
            Vertex::Start | Vertex::End => (POINT, POINT),
            Vertex::Card(at) => cards.get(*at).map_or((0.0, 0.0), |card| {
                (card.width + 2.0 * card.below(), card.above() + card.height + card.below())
            }),
            Vertex::Bend => (BEND, 0.0),
        };
        let (widths, heights): (Vec<f64>, Vec<f64>) = net.vertices.iter().map(size).unzip();
        let mut columns = columns(&net, &widths);
        let left = columns.iter().zip(&widths).map(|(x, width)| x - width / 2.0).fold(f64::MAX, f64::min);
        for x in &mut columns {
            *x = (*x - left).round();
        }
        let width = columns.iter().zip(&widths).map(|(x, width)| x + width / 2.0).fold(0.0, f64::max);
        let ports = ports(&net, &columns, &widths);
        let (bands, no_return) = bands(&net, scene, &heights, &ports);
        let mut plan = Self {
            width,
            height: bands.last().map_or(0.0, |band| band.bottom),
            cards,
            corners: vec![Point { x: 0.0, y: 0.0 }; scene.cards.len()],
            start: Point { x: 0.0, y: 0.0 },
            end: Point { x: 0.0, y: 0.0 },
            courses: Vec::new(),
            no_return,
        };
        let tops = plan.stand(&net, &bands, &columns, &heights);
        plan.draw(&net, &bands, &ports, &tops, &heights);
        plan
    }

    /// Puts the cards into the middle of their bands. Returns the top of each vertex.
    fn stand(&mut self, net: &Net, bands: &[Band], columns: &[f64], heights: &[f64]) -> Vec<f64> {
        let mut tops = vec![0.0; net.vertices.len()];
        for (layer, band) in net.layers.iter().zip(bands) {
            for vertex in layer {
                let middle = f64::midpoint(band.top, band.bottom);
                let top = (middle - get(heights, *vertex) / 2.0).round();
                let x = get(columns, *vertex);
                if let Some(of) = tops.get_mut(*vertex) {
                    *of = top;
                }
                match net.at(*vertex) {
                    Vertex::Start => self.start = Point { x, y: top + POINT / 2.0 },
                    Vertex::End => self.end = Point { x, y: top + POINT / 2.0 },
                    Vertex::Bend => {}
                    Vertex::Card(at) => {
                        if let (Some(corner), Some(card)) = (self.corners.get_mut(at), self.cards.get(at)) {
                            *corner = Point { x: x - card.width / 2.0, y: top + card.above() };
                        }
                    }
                }
            }
        }
        tops
    }

    fn draw(&mut self, net: &Net, bands: &[Band], ports: &[(f64, f64)], tops: &[f64], heights: &[f64]) {
        let ranks = ranks(net);
        let band =
            |vertex: usize| ranks.get(vertex).and_then(|rank| bands.get(*rank)).copied().unwrap_or_default();
        for (link, (from_x, to_x)) in net.links.iter().zip(ports) {
            let (above, below) = (band(link.from), band(link.to));
            let from_y = match net.at(link.from) {
                Vertex::Bend => above.top,
                Vertex::Start | Vertex::End | Vertex::Card(_) => {
                    get(tops, link.from) + get(heights, link.from)
                }
            };
            let is_bend = net.at(link.to) == Vertex::Bend;
            let to_y = if is_bend { below.top } else { get(tops, link.to) };
            let mut course = |aside: f64, is_way_back: bool, has_head: bool| {
                self.courses.push(Course {
                    from: Point { x: from_x + aside, y: from_y },
                    leaves: above.leave,
                    comes: below.top,
                    to: Point { x: to_x + aside, y: to_y },
                    is_way_back,
                    has_head,
                });
            };
            course(if link.leads_back { -TWIN } else { 0.0 }, false, !is_bend);
            if link.leads_back {
                course(TWIN, true, net.at(link.from) != Vertex::Bend);
            }
        }
    }
}

fn ranks(net: &Net) -> Vec<usize> {
    let mut ranks = vec![0; net.vertices.len()];
    for (rank, layer) in net.layers.iter().enumerate() {
        for vertex in layer {
            if let Some(of) = ranks.get_mut(*vertex) {
                *of = rank;
            }
        }
    }
    ranks
}

fn bands(net: &Net, scene: &Scene, heights: &[f64], ports: &[(f64, f64)]) -> (Vec<Band>, Option<f64>) {
    let ranks = ranks(net);
    let mut sideways = vec![0.0_f64; net.layers.len()];
    for (link, (from, to)) in net.links.iter().zip(ports) {
        if let Some(of) = ranks.get(link.from).and_then(|rank| sideways.get_mut(*rank)) {
            *of = of.max((from - to).abs());
        }
    }
    let mut bands = Vec::with_capacity(net.layers.len());
    let mut no_return = None;
    let mut top = 0.0;
    for (layer, sideways) in net.layers.iter().zip(sideways) {
        let height = layer.iter().map(|vertex| get(heights, *vertex)).fold(0.0, f64::max);
        let bottom = top + height;
        let is_pivots =
            scene.pivot.is_some_and(|pivot| layer.iter().any(|at| net.at(*at) == Vertex::Card(pivot)));
        let leave = if is_pivots {
            no_return = Some(bottom + NO_RETURN_LINE);
            bottom + NO_RETURN
        } else {
            bottom
        };
        bands.push(Band { top, bottom, leave });
        top = leave + (GAP_MIN + GAP_SHARE * sideways).min(GAP_MAX).round();
    }
    (bands, no_return)
}

/// Where each link begins and ends, from left to right: side by side at the same card, in the order of where they lead.
fn ports(net: &Net, columns: &[f64], widths: &[f64]) -> Vec<(f64, f64)> {
    let mut ports = vec![(0.0, 0.0); net.links.len()];
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); net.vertices.len()];
    let mut coming = leaving.clone();
    for (at, link) in net.links.iter().enumerate() {
        if let Some(of) = leaving.get_mut(link.from) {
            of.push(at);
        }
        if let Some(of) = coming.get_mut(link.to) {
            of.push(at);
        }
    }
    for (vertex, (leaving, coming)) in leaving.iter_mut().zip(&mut coming).enumerate() {
        let x = |at: &usize, is_leaving: bool| {
            net.links.get(*at).map_or(0.0, |link| get(columns, if is_leaving { link.to } else { link.from }))
        };
        leaving.sort_by(|one, two| x(one, true).total_cmp(&x(two, true)));
        coming.sort_by(|one, two| x(one, false).total_cmp(&x(two, false)));
        // A condition is one place, in the middle.
        for (place, at) in spread(net, columns, widths, vertex, leaving.len()).zip(leaving.iter()) {
            if let Some(port) = ports.get_mut(*at) {
                port.0 = place;
            }
        }
        for (place, at) in spread(net, columns, widths, vertex, coming.len()).zip(coming.iter()) {
            if let Some(port) = ports.get_mut(*at) {
                port.1 = place;
            }
        }
    }
    for (port, link) in ports.iter_mut().zip(&net.links) {
        if (port.0 - port.1).abs() < STRAIGHT {
            let x = match (net.at(link.from), net.at(link.to)) {
                (Vertex::Card(_), Vertex::Card(_)) => f64::midpoint(port.0, port.1).round(),
                (Vertex::Card(_), _) => port.1,
                (_, Vertex::Card(_)) => port.0,
                _ => continue,
            };
            *port = (x, x);
        }
    }
    ports
}

/// The places of so many arrows at a vertex.
fn spread(
    net: &Net,
    columns: &[f64],
    widths: &[f64],
    vertex: usize,
    count: usize,
) -> impl Iterator<Item = f64> + use<> {
    let middle = get(columns, vertex);
    #[expect(clippy::cast_precision_loss, reason = "at most some thousand arrows")]
    let gaps = count.saturating_sub(1) as f64;
    let room = match net.at(vertex) {
        Vertex::Card(_) => get(widths, vertex) - 2.0 * PORT_MARGIN,
        Vertex::Start | Vertex::End | Vertex::Bend => 0.0,
    };
    let gap = if gaps > 0.0 { PORT_GAP.min(room / gaps) } else { 0.0 };
    (0..count).scan(middle - gap * gaps / 2.0, move |x, _| {
        let at = x.round();
        *x += gap;
        Some(at)
    })
}
