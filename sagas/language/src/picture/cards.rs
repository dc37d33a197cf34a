//! How large a card is, and where its words stand in it.

use super::scene::{Card, Undo};
use super::text::{Font, fit, width};

/// The least and the most that a card is wide.
const WIDTH_MIN: f64 = 200.0;
const WIDTH_MAX: f64 = 320.0;
/// Between a card's border and its words.
pub(super) const PAD: f64 = 12.0;
/// The sheets behind a card that is run for each item: how far each sticks out, and how many they are.
pub(super) const SHEET: f64 = 5.0;
pub(super) const SHEETS: u8 = 2;
/// The part of the card that tells what reverses it.
pub(super) const UNDO_HEIGHT: f64 = 26.0;
/// The condition above a card, and the line between them.
pub(super) const WHEN_HEIGHT: f64 = 22.0;
pub(super) const WHEN_GAP: f64 = 14.0;

pub(super) const NAME: Font = Font { size: 14.0, is_bold: true };
pub(super) const KIND: Font = Font { size: 11.0, is_bold: false };
pub(super) const WHAT: Font = Font { size: 13.0, is_bold: false };
pub(super) const NOTE: Font = Font { size: 12.0, is_bold: false };
/// The arrow before what reverses a step.
pub(super) const UNDO_INDENT: f64 = 20.0;

/// A line of words on a card.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) class: &'static str,
    pub(super) text: String,
    /// Its base line, from the card's upper border.
    pub(super) y: f64,
}

/// A card with its size.
#[derive(Debug)]
pub(super) struct Laid {
    pub(super) width: f64,
    /// Without condition and sheets.
    pub(super) height: f64,
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
    /// What reverses it, and whether that is an operation.
    pub(super) undo: Option<(String, bool)>,
    /// The condition, and how wide it is.
    pub(super) when: Option<(String, f64)>,
    pub(super) sheets: u8,
}

impl Laid {
    /// How large the card is and what it says, as far as there is room.
    pub(super) fn of(card: &Card) -> Self {
        let undo = match &card.undo {
            Undo::Nothing => None,
            Undo::Stays => Some(("is not undone: its effect stays".to_owned(), false)),
            Undo::By(what) => Some((what.clone(), true)),
        };
        let kind_width = width(card.kind, KIND) + 14.0;
        let wide = [
            width(&card.name, NAME) + PAD + kind_width,
            width(&card.what, WHAT),
            undo.as_ref().map_or(0.0, |(text, _)| width(text, NOTE) + UNDO_INDENT),
            card.when.as_ref().map_or(0.0, |when| width(when, NOTE)),
        ];
        let wide =
            wide.into_iter().chain(card.notes.iter().map(|note| width(note, NOTE))).fold(0.0, f64::max);
        let width_of_it = (wide + 2.0 * PAD).clamp(WIDTH_MIN, WIDTH_MAX).ceil();
        let room = width_of_it - 2.0 * PAD;
        let mut lines = vec![Line { class: "sn-what", text: fit(&card.what, WHAT, room), y: 43.0 }];
        let mut bottom = 43.0;
        for note in &card.notes {
            bottom += 17.0;
            lines.push(Line { class: "sn-note", text: fit(note, NOTE, room), y: bottom });
        }
        let when = card.when.as_ref().map(|when| {
            let text = fit(when, NOTE, width_of_it - 2.0 * PAD);
            let wide = (width(&text, NOTE) + 2.0 * PAD).ceil();
            (text, wide)
        });
        Self {
            width: width_of_it,
            height: bottom + PAD + if undo.is_some() { UNDO_HEIGHT } else { 0.0 },
            name: fit(&card.name, NAME, room - PAD - kind_width),
            lines,
            undo: undo.map(|(text, is_done)| (fit(&text, NOTE, room - UNDO_INDENT), is_done)),
            when,
            sheets: if card.is_stacked { SHEETS } else { 0 },
        }
    }

    /// How far the condition sticks out above.
    pub(super) fn above(&self) -> f64 {
        if self.when.is_some() { WHEN_HEIGHT + WHEN_GAP } else { 0.0 }
    }

    /// How far the sheets stick out below, and to the right.
    pub(super) fn below(&self) -> f64 {
        f64::from(self.sheets) * SHEET
    }
}
