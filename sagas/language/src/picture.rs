//! A definition as a picture: what follows what, the way back, and the point of no return. As Mermaid for places that draw it
//! themselves, and as an SVG that needs nothing: no script, no font, no other file.
//!
//! ```text
//! scene      what is to be seen of a definition: cards, arrows, words; the same for both
//! mermaid    the scene as a flowchart's text
//! svg        the scene as shapes: sizes (cards), ranks and order (layers), places (columns), arrows (route)
//! text       people's texts: cleaned, measured, cut, escaped
//! ```
//!
//! The same definition gives the same bytes.

use crate::Subject;

mod cards;
mod columns;
mod layers;
mod mermaid;
mod route;
mod scene;
mod svg;
mod text;

use scene::Scene;

/// How it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The text of a Mermaid flowchart.
    Mermaid,
    /// A picture of its own.
    #[default]
    Svg,
}

impl Format {
    /// Both of them, by their words.
    pub const WORDS: [(&'static str, Self); 2] = [("svg", Self::Svg), ("mermaid", Self::Mermaid)];

    /// The format of that word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, format)| *format)
    }

    /// The content type of what is drawn.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Mermaid => "text/vnd.mermaid; charset=utf-8",
            Self::Svg => "image/svg+xml",
        }
    }
}

/// Draws it.
pub fn draw(subject: Subject<'_>, format: Format) -> String {
    let scene = Scene::of(subject);
    match format {
        Format::Mermaid => mermaid::text(&scene),
        Format::Svg => svg::text(&scene),
    }
}
