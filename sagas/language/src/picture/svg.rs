//! The plan as an SVG: light and dark by what the viewer prefers, readable without seeing it, nothing in it that runs or is fetched.

use std::fmt::{self, Write as _};

use snorri_saga::definition::Zone;

use super::cards::{KIND, Laid, NOTE, PAD, SHEET, UNDO_HEIGHT, UNDO_INDENT, WHEN_GAP, WHEN_HEIGHT};
use super::route::{Course, POINT, Plan, Point};
use super::scene::{Card, Look, Scene};
use super::text::{Font, fit, width, wrap, xml};

const STYLE: &str = include_str!("style.css");

/// Around everything.
const MARGIN: f64 = 32.0;
/// The least that the picture is wide, without the margins: the words beside the line of no return need room.
const WIDTH_MIN: f64 = 480.0;
const TITLE: Font = Font { size: 20.0, is_bold: true };
const ABOUT: Font = Font { size: 13.0, is_bold: false };
const ABOUT_LINES_MAX: usize = 3;
/// How long an arrow's head is, and half of how wide.
const HEAD: (f64, f64) = (8.0, 4.0);
const CORNER: f64 = 8.0;

/// The SVG.
pub(super) fn text(scene: &Scene) -> String {
    // Writing to a text cannot fail.
    let mut out = String::new();
    let _ = write(&mut out, scene, &Plan::of(scene));
    out
}

fn write(out: &mut String, scene: &Scene, plan: &Plan) -> fmt::Result {
    let inner = plan.width.max(WIDTH_MIN);
    let about = wrap(&scene.about, ABOUT, inner, ABOUT_LINES_MAX);
    let about_height = about.iter().fold(0.0, |height, _| height + 18.0);
    let head = 48.0 + about_height + 28.0;
    let legend = legend(scene);
    let foot = 28.0 + 22.0 * rows(&legend, inner);
    let (wide, high) = (inner + 2.0 * MARGIN, MARGIN + head + plan.height + foot + MARGIN);
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"sn\" role=\"img\" aria-labelledby=\"saga-title saga-description\" \
         width=\"{wide}\" height=\"{high}\" viewBox=\"0 0 {wide} {high}\">"
    )?;
    writeln!(out, "<title id=\"saga-title\">The saga {}</title>", xml(&scene.title))?;
    writeln!(out, "<desc id=\"saga-description\">{}</desc>", xml(&scene.in_words()))?;
    writeln!(out, "<style>\n{STYLE}</style>")?;
    writeln!(out, "<rect class=\"sn-paper\" width=\"{wide}\" height=\"{high}\" rx=\"12\"/>")?;

    writeln!(out, "<g transform=\"translate({MARGIN} {MARGIN})\">")?;
    let name = fit(&scene.title, TITLE, inner);
    writeln!(out, "<text class=\"sn-title\" y=\"18\">{}</text>", xml(&name))?;
    writeln!(out, "<text class=\"sn-facts\" y=\"40\">{}</text>", xml(&scene.facts))?;
    let mut y = 62.0;
    for line in &about {
        writeln!(out, "<text class=\"sn-about\" y=\"{y}\">{}</text>", xml(line))?;
        y += 18.0;
    }
    writeln!(out, "</g>")?;

    if let Some(line) = plan.no_return {
        let y = MARGIN + head + line;
        let height = high - foot - MARGIN + 20.0 - y;
        writeln!(out, "<g class=\"sn-no-return\" id=\"no-return\">")?;
        writeln!(out, "<rect x=\"1\" y=\"{y}\" width=\"{}\" height=\"{height}\"/>", wide - 2.0)?;
        writeln!(out, "<path d=\"M1 {y}H{}\"/>", wide - 1.0)?;
        writeln!(out, "<text x=\"{MARGIN}\" y=\"{}\">point of no return</text>", y - 7.0)?;
        writeln!(out, "</g>")?;
    }

    let left = MARGIN + ((inner - plan.width) / 2.0).round();
    writeln!(out, "<g transform=\"translate({left} {})\">", MARGIN + head)?;
    for is_way_back in [true, false] {
        writeln!(out, "<g class=\"{}\">", if is_way_back { "sn-back" } else { "sn-next" })?;
        for course in plan.courses.iter().filter(|course| course.is_way_back == is_way_back) {
            write_course(out, course)?;
        }
        writeln!(out, "</g>")?;
    }
    write_points(out, plan)?;
    for ((card, laid), corner) in scene.cards.iter().zip(&plan.cards).zip(&plan.corners) {
        write_card(out, card, laid, *corner)?;
    }
    writeln!(out, "</g>")?;
    write_legend(out, &legend, inner, high - foot - MARGIN + 50.0)?;
    writeln!(out, "</svg>")
}

fn write_points(out: &mut String, plan: &Plan) -> fmt::Result {
    let radius = POINT / 2.0;
    let Point { x, y } = plan.start;
    writeln!(out, "<g class=\"sn-point\" id=\"start\"><circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"/>")?;
    writeln!(out, "<text x=\"{}\" y=\"{}\">start</text></g>", x + 14.0, y + 4.0)?;
    let Point { x, y } = plan.end;
    writeln!(
        out,
        "<g class=\"sn-point\" id=\"end\"><circle class=\"sn-ring\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"/>"
    )?;
    writeln!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{}\"/>", radius - 3.5)?;
    writeln!(out, "<text x=\"{}\" y=\"{}\">completed</text></g>", x + 14.0, y + 4.0)
}

fn write_course(out: &mut String, course: &Course) -> fmt::Result {
    let Course { from, leaves, comes, to, is_way_back, has_head } = course;
    let mut from = *from;
    let mut to = *to;
    let (head, half) = HEAD;
    let tip = if *is_way_back { from } else { to };
    if *has_head && *is_way_back {
        from.y += head;
    } else if *has_head {
        to.y -= head;
    }
    // What leaves its layer is beneath its own card at least.
    let leaves = leaves.max(from.y);
    let comes = comes.min(to.y);
    write!(out, "<path d=\"M{} {}", from.x, from.y)?;
    if (from.x - to.x).abs() < 0.5 {
        write!(out, "V{}", to.y)?;
    } else {
        let middle = f64::midpoint(leaves, comes);
        if leaves > from.y {
            write!(out, "V{leaves}")?;
        }
        write!(out, "C{} {middle} {} {middle} {} {comes}", from.x, to.x, to.x)?;
        if comes < to.y {
            write!(out, "V{}", to.y)?;
        }
    }
    writeln!(out, "\"/>")?;
    if *has_head {
        let base = if *is_way_back { tip.y + head } else { tip.y - head };
        writeln!(
            out,
            "<path class=\"sn-head\" d=\"M{} {}L{} {base}H{}Z\"/>",
            tip.x,
            tip.y,
            tip.x - half,
            tip.x + half
        )?;
    }
    Ok(())
}

fn write_card(out: &mut String, card: &Card, laid: &Laid, corner: Point) -> fmt::Result {
    let class = match card.zone {
        Zone::Pivot => "sn-pivot",
        Zone::Before | Zone::Behind if card.look == Look::Wait => "sn-wait",
        Zone::Before | Zone::Behind => "sn-step",
    };
    let Laid { width: wide, height, .. } = laid;
    let round = if card.look == Look::Wait { 20.0 } else { CORNER };
    writeln!(
        out,
        "<g class=\"{class}\" id=\"step-{name}\" transform=\"translate({} {})\">\n<title>{name}: {}</title>",
        corner.x,
        corner.y,
        xml(&card.what),
        name = xml(&card.name),
    )?;
    for sheet in (1..=laid.sheets).rev() {
        let aside = f64::from(sheet) * SHEET;
        writeln!(
            out,
            "<rect class=\"sn-card\" x=\"{aside}\" y=\"{aside}\" width=\"{wide}\" height=\"{height}\" rx=\"{round}\"/>"
        )?;
    }
    writeln!(out, "<rect class=\"sn-card\" width=\"{wide}\" height=\"{height}\" rx=\"{round}\"/>")?;
    if let Some((text, is_done)) = &laid.undo {
        let top = height - UNDO_HEIGHT;
        let class = if *is_done { "sn-undo" } else { "sn-stays" };
        let side = if card.look == Look::Saga { 4.0 } else { 1.0 };
        writeln!(out, "<g class=\"{class}\"><path d=\"M{side} {top}H{}\"/>", wide - side)?;
        if *is_done {
            // An arrow that turns back.
            let y = top + 13.0;
            writeln!(
                out,
                "<path class=\"sn-turn\" d=\"M{x} {y}h8a3.5 3.5 0 0 1 0 7h-4m-4 -7l3.5 -3.5m-3.5 3.5l3.5 3.5\"/>",
                x = PAD + 1.0,
                y = y - 2.0
            )?;
        }
        let x = if *is_done { PAD + UNDO_INDENT } else { PAD };
        writeln!(out, "<text class=\"sn-note\" x=\"{x}\" y=\"{}\">{}</text></g>", top + 17.5, xml(text))?;
    }
    if card.look == Look::Saga {
        let (wide, height) = (wide - 8.0, height - 8.0);
        writeln!(
            out,
            "<rect class=\"sn-frame\" x=\"4\" y=\"4\" width=\"{wide}\" height=\"{height}\" rx=\"5\"/>"
        )?;
    }
    writeln!(out, "<text class=\"sn-name\" x=\"{PAD}\" y=\"24\">{}</text>", xml(&laid.name))?;
    let end = wide - PAD;
    if card.zone == Zone::Pivot {
        let chip = width(card.kind, KIND) + 14.0;
        writeln!(
            out,
            "<rect class=\"sn-chip\" x=\"{}\" y=\"10\" width=\"{chip}\" height=\"19\" rx=\"9.5\"/>",
            end - chip
        )?;
        writeln!(
            out,
            "<text class=\"sn-kind\" x=\"{}\" y=\"23.5\" text-anchor=\"middle\">pivot</text>",
            end - chip / 2.0
        )?;
    } else {
        writeln!(
            out,
            "<text class=\"sn-kind\" x=\"{end}\" y=\"23.5\" text-anchor=\"end\">{}</text>",
            card.kind
        )?;
    }
    for line in &laid.lines {
        writeln!(
            out,
            "<text class=\"{}\" x=\"{PAD}\" y=\"{}\">{}</text>",
            line.class,
            line.y,
            xml(&line.text)
        )?;
    }
    if let Some((text, wide_of_it)) = &laid.when {
        let (middle, top) = (wide / 2.0, -(WHEN_HEIGHT + WHEN_GAP));
        writeln!(out, "<g class=\"sn-when\"><path d=\"M{middle} {}V-1\"/>", -WHEN_GAP)?;
        writeln!(
            out,
            "<rect x=\"{}\" y=\"{top}\" width=\"{wide_of_it}\" height=\"{WHEN_HEIGHT}\" rx=\"{}\"/>",
            middle - wide_of_it / 2.0,
            WHEN_HEIGHT / 2.0
        )?;
        writeln!(
            out,
            "<text class=\"sn-note\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text></g>",
            top + 15.5,
            xml(text)
        )?;
    }
    writeln!(out, "</g>")
}

/// What the signs mean, as far as they are there: a class, and the words.
fn legend(scene: &Scene) -> Vec<(&'static str, &'static str)> {
    let mut legend = vec![("sn-next", "what follows")];
    if scene.leads_back() {
        legend.push(("sn-back", "the way back, if something fails"));
    }
    if scene.cards.iter().any(|card| card.is_stacked) {
        legend.push(("sn-many", "for each item"));
    }
    if scene.cards.iter().any(|card| card.look == Look::Saga) {
        legend.push(("sn-double", "a saga of its own"));
    }
    if scene.cards.iter().any(|card| card.look == Look::Wait) {
        legend.push(("sn-round", "waits"));
    }
    legend
}

/// How wide an entry of the legend is.
fn entry_width(words: &str) -> f64 {
    38.0 + width(words, NOTE) + 22.0
}

fn rows(legend: &[(&str, &str)], inner: f64) -> f64 {
    let (mut rows, mut used) = (1.0, 0.0);
    for (_, words) in legend {
        if used > 0.0 && used + entry_width(words) > inner {
            rows += 1.0;
            used = 0.0;
        }
        used += entry_width(words);
    }
    rows
}

fn write_legend(out: &mut String, legend: &[(&str, &str)], inner: f64, top: f64) -> fmt::Result {
    writeln!(out, "<g class=\"sn-legend\" aria-hidden=\"true\" transform=\"translate({MARGIN} {top})\">")?;
    let (mut x, mut y) = (0.0, 0.0);
    for (class, words) in legend {
        if x > 0.0 && x + entry_width(words) > inner {
            x = 0.0;
            y += 22.0;
        }
        writeln!(out, "<g class=\"{class}\" transform=\"translate({x} {y})\">")?;
        out.push_str(match *class {
            "sn-next" => "<path d=\"M0 -4H20\"/><path class=\"sn-head\" d=\"M28 -4L20 -8V0Z\"/>",
            "sn-back" => "<path d=\"M8 -4H28\"/><path class=\"sn-head\" d=\"M0 -4L8 -8V0Z\"/>",
            "sn-many" => {
                "<rect class=\"sn-card\" x=\"4\" y=\"-9\" width=\"24\" height=\"12\" rx=\"3\"/>\
                 <rect class=\"sn-card\" y=\"-12\" width=\"24\" height=\"12\" rx=\"3\"/>"
            }
            "sn-double" => {
                "<rect class=\"sn-card\" y=\"-12\" width=\"28\" height=\"16\" rx=\"3\"/>\
                 <rect class=\"sn-frame\" x=\"3\" y=\"-9\" width=\"22\" height=\"10\" rx=\"2\"/>"
            }
            _ => "<rect class=\"sn-card\" y=\"-12\" width=\"28\" height=\"16\" rx=\"8\"/>",
        });
        writeln!(out, "<text class=\"sn-note\" x=\"38\">{words}</text></g>")?;
        x += entry_width(words);
    }
    writeln!(out, "</g>")
}
