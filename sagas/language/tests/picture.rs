//! Pictures: those of the examples and of some definitions made for it are kept and compared; of any others it is tried that
//! everything is there, that nothing overlaps, and that no text gets out of its place.

#[path = "support/golden.rs"]
mod golden;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use golden::{examples, is_kept, read};
use roxmltree::{Document, Node};
use snorri_language::Subject;
use snorri_language::picture::{Format, draw};
use snorri_saga::definition::{Definition, Draft};

fn picture(text: &str, format: Format) -> String {
    let draft: Draft = serde_saphyr::from_str(text).expect("YAML");
    let definition = Definition::from_draft(&draft).unwrap_or_else(|problems| panic!("{problems:?}"));
    draw(Subject { draft: &draft, definition: &definition, version: Some(3) }, format)
}

const MADE_FOR_IT: [&str; 4] = ["everything", "travel", "lanes", "hostile"];

#[test]
fn pictures_are_those_that_are_kept() {
    let mut texts = examples();
    texts.retain(|(name, _)| ["order.yaml", "pickup.yaml", "transfer.yaml"].contains(&name.as_str()));
    texts
        .extend(MADE_FOR_IT.map(|name| {
            (format!("{name}.yaml"), read(&format!("sagas/language/tests/picture/{name}.yaml")))
        }));
    for (name, text) in texts {
        let name = name.trim_end_matches(".yaml");
        is_kept(&format!("sagas/language/tests/pictures/{name}.svg"), &picture(&text, Format::Svg));
        is_kept(&format!("sagas/language/tests/pictures/{name}.mmd"), &picture(&text, Format::Mermaid));
    }
}

/// A card as it stands in an SVG.
#[derive(Debug, Clone, Copy)]
struct Place {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Place {
    fn overlaps(self, other: Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

fn number(node: Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).unwrap_or("0").parse().unwrap_or_else(|_| panic!("{name} of {node:?}"))
}

/// Where the cards are: the outermost of the rectangles of each step.
fn cards(document: &Document<'_>) -> Vec<(String, Place)> {
    let steps = document.descendants().filter_map(|node| {
        let name = node.attribute("id")?.strip_prefix("step-")?;
        Some((node, name))
    });
    steps
        .map(|(node, name)| {
            let shift = node.attribute("transform").expect("a place");
            let shift = shift.trim_start_matches("translate(").trim_end_matches(')');
            let (x, y) = shift.split_once(' ').expect("two numbers");
            let card = node.children().find(|child| child.has_tag_name("rect")).expect("a card");
            let place = Place {
                x: x.parse().expect("a number"),
                y: y.parse().expect("a number"),
                width: number(card, "width") + number(card, "x"),
                height: number(card, "height") + number(card, "y"),
            };
            (name.to_owned(), place)
        })
        .collect()
}

/// What must hold of any picture.
fn is_sound(text: &str) {
    let draft: Draft = serde_saphyr::from_str(text).expect("YAML");
    let svg = picture(text, Format::Svg);
    assert_eq!(svg, picture(text, Format::Svg), "the same definition gives the same picture");
    let document = Document::parse(&svg).unwrap_or_else(|error| panic!("{error}: {svg}"));
    let root = document.root_element();
    assert!(root.has_tag_name("svg") && root.attribute("role") == Some("img"));
    let (wide, high) = (number(root, "width"), number(root, "height"));

    let known = ["svg", "title", "desc", "style", "rect", "g", "text", "path", "circle"];
    let mut ids = BTreeSet::new();
    for node in document.descendants().filter(Node::is_element) {
        assert!(known.contains(&node.tag_name().name()), "{node:?}");
        for attribute in node.attributes() {
            let name = attribute.name();
            assert!(!name.starts_with("on") && !name.contains("href") && name != "style", "{node:?}");
            assert!(!attribute.value().contains("url("), "{node:?}");
            assert!(!attribute.value().contains("NaN") && !attribute.value().contains("inf"), "{node:?}");
        }
        if let Some(id) = node.attribute("id") {
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
        }
    }
    for name in root.attribute("aria-labelledby").expect("labels").split(' ') {
        assert!(ids.contains(name), "nothing is called {name}");
    }
    let description = document.descendants().find(|node| node.has_tag_name("desc")).expect("a description");
    let description = description.text().expect("words");

    let cards = cards(&document);
    assert_eq!(cards.len(), draft.steps.len());
    for (step, (name, place)) in draft.steps.iter().zip(&cards) {
        assert_eq!(*name, step.name);
        assert!(description.contains(&format!(" {name} (")), "{name} is not in {description}");
        // The margins are around what they are moved by.
        assert!(place.x >= 0.0 && place.x + place.width <= wide - 64.0 + 0.5, "{name}: {place:?} of {wide}");
        assert!(place.y >= 0.0 && place.y + place.height <= high, "{name}: {place:?} of {high}");
    }
    for (at, (name, one)) in cards.iter().enumerate() {
        for (other_name, other) in &cards[at + 1..] {
            assert!(!one.overlaps(*other), "{name} {one:?} and {other_name} {other:?}");
        }
    }
    // Whoever is waited for stands above.
    let place =
        |name: &str| cards.iter().find(|(known, _)| known == name).map(|(_, place)| *place).expect("a card");
    for (at, step) in draft.steps.iter().enumerate() {
        let before = draft.steps[..at].last().map(|before| before.name.clone());
        for need in step.needs.clone().unwrap_or_else(|| before.into_iter().collect()) {
            let (above, below) = (place(&need), place(&step.name));
            assert!(
                above.y + above.height < below.y,
                "{need} {above:?} is not above {} {below:?}",
                step.name
            );
        }
    }

    let mermaid = picture(text, Format::Mermaid);
    assert_eq!(mermaid, picture(text, Format::Mermaid));
    assert!(mermaid.starts_with("flowchart TB\n"));
    for line in mermaid
        .lines()
        .skip(1)
        .filter(|line| !["classDef", "%%"].iter().any(|word| line.trim_start().starts_with(word)))
    {
        let mut is_label = false;
        for part in line.split('"') {
            let tags = part.replace("<b>", "").replace("</b>", "").replace("<br/>", "");
            let is_safe = |c: char| c.is_alphanumeric() || " ,_/()…·#;".contains(c);
            assert!(!is_label || tags.chars().all(is_safe), "{part}");
            let is_syntax = |c: char| c.is_ascii_alphanumeric() || " _[]{}()|:<->.,#".contains(c);
            assert!(is_label || part.chars().all(is_syntax), "{part}");
            is_label = !is_label;
        }
    }
    for at in 0..draft.steps.len() {
        assert!(mermaid.lines().any(|line| line.trim_start().starts_with(&format!("s{at}"))), "{at}");
    }
}

#[test]
fn the_kept_pictures_are_sound() {
    for name in MADE_FOR_IT {
        is_sound(&read(&format!("sagas/language/tests/picture/{name}.yaml")));
    }
}

/// Steps that need some of the ones before them, by a chance that is the same each time.
fn by_chance(seed: u64, count: usize, has_pivot: bool) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut dice = |sides: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % sides as u64).expect("small")
    };
    let pivot = has_pivot.then(|| count * 2 / 3);
    let name = |at: usize| format!("s{at}{}", "x".repeat(at % 50));
    let mut text = "name: chance\nwindow: 30d\nsteps:\n".to_owned();
    for at in 0..count {
        let mut needs: Vec<usize> = match pivot {
            Some(pivot) if at == pivot => (0..at).collect(),
            Some(pivot) if at > pivot => vec![pivot],
            _ => Vec::new(),
        };
        let first = pivot.filter(|pivot| at > *pivot).unwrap_or(0);
        if Some(at) != pivot && at > first {
            needs.extend((0..dice(4)).map(|_| first + dice(at - first)));
        }
        needs.sort_unstable();
        needs.dedup();
        let needs: Vec<String> = needs.into_iter().map(name).collect();
        let is_behind = pivot.is_some_and(|pivot| at > pivot);
        let rest = match dice(5) {
            _ if Some(at) == pivot => "participant: p, kind: pivot".to_owned(),
            0 if is_behind => "participant: p, kind: retriable, for_each: {items: [1], max: 3}".to_owned(),
            _ if is_behind => "participant: p, kind: retriable".to_owned(),
            0 => "delay: 1s".to_owned(),
            1 => "participant: p, kind: read".to_owned(),
            2 => "participant: p, compensation: u, for_each: {items: [1], max: 3}".to_owned(),
            3 => "participant: p, compensation: none, when: 'true'".to_owned(),
            _ => "participant: p, compensation: u".to_owned(),
        };
        let needs = needs.join(", ");
        writeln!(text, "- {{name: {}, needs: [{needs}], {rest}}}", name(at)).expect("a text");
    }
    text
}

#[test]
fn any_graph_gives_a_sound_picture() {
    for seed in 0..60 {
        let count = 1 + usize::try_from(seed).expect("small") % 23;
        is_sound(&by_chance(seed, count, seed % 3 == 0));
    }
}

#[test]
fn two_hundred_steps_give_a_sound_picture_whatever_their_shape() {
    let step = |at: usize, needs: &[usize]| {
        let needs: Vec<String> = needs.iter().map(|need| format!("s{need}")).collect();
        format!("- {{name: s{at}, participant: p, compensation: u, needs: [{}]}}\n", needs.join(", "))
    };
    let all = |needs: &dyn Fn(usize) -> Vec<usize>| {
        let steps: String = (0..200).map(|at| step(at, &needs(at))).collect();
        format!("name: large\nwindow: 30d\nsteps:\n{steps}")
    };
    let chain = |at: usize| at.checked_sub(1).into_iter().collect::<Vec<_>>();
    is_sound(&all(&chain));
    is_sound(&all(&|_| Vec::new()));
    is_sound(&all(&|at| (0..at).collect()));
    // Everything of one half waits for everything of the other.
    is_sound(&all(&|at| if at < 100 { Vec::new() } else { (0..100).collect() }));
    // The longest arrows: fifty steps at the start are waited for by fifty at the end of a long chain.
    is_sound(&all(&|at| match at {
        0..=50 => Vec::new(),
        51..150 => vec![at - 1],
        _ => (0..50).chain([149]).collect(),
    }));
    is_sound(&by_chance(7, 200, true));
    is_sound(&by_chance(8, 200, false));
}

#[test]
fn what_follows_from_others_is_not_drawn() {
    let text = "name: x\nsteps:\n\
                - {name: a, participant: p, compensation: u}\n\
                - {name: b, participant: p, compensation: u}\n\
                - {name: c, participant: p, compensation: u, needs: [a, b]}\n";
    let mermaid = picture(text, Format::Mermaid);
    assert!(mermaid.contains("s0 --> s1") && mermaid.contains("s1 --> s2"), "{mermaid}");
    assert!(!mermaid.contains("s0 --> s2"), "{mermaid}");
}

#[test]
fn no_way_back_leads_over_the_pivot() {
    let mermaid = picture(&read("sagas/definitions/order.yaml"), Format::Mermaid);
    // The pivot may be refused; what stands behind it may not.
    assert!(mermaid.contains("s3 <-.-> s4"), "{mermaid}");
    assert!(!mermaid.contains("s4 <-.-> s5"), "{mermaid}");
    let svg = picture(&read("sagas/definitions/order.yaml"), Format::Svg);
    let document = Document::parse(&svg).expect("XML");
    let back =
        document.descendants().find(|node| node.attribute("class") == Some("sn-back")).expect("a way back");
    let heads = back.children().filter(|node| node.attribute("class") == Some("sn-head")).count();
    assert_eq!(heads, 4, "from the pivot to the first step");
}

#[test]
fn a_format_has_a_word_and_a_content_type() {
    assert_eq!(Format::of_word("svg"), Some(Format::Svg));
    assert_eq!(Format::of_word("mermaid"), Some(Format::Mermaid));
    assert_eq!(Format::of_word("png"), None);
    assert_eq!(Format::Svg.content_type(), "image/svg+xml");
}
