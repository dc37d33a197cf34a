//! Reading: from the text of a definition, YAML or JSON, to a draft, with everything that is wrong with its shape and the
//! place of each part.

use snorri_saga::definition::Draft;

mod decode;
mod findings;
mod json;
mod lines;
mod scalar;
mod tree;
mod yaml;

pub use lines::Position;

pub(crate) use findings::{Finding, Findings};
pub(crate) use lines::Lines;
pub(crate) use tree::{Id, Span, Tree};

/// The largest text of a definition, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The most values in one text.
const VALUES_MAX: usize = 250_000;
/// The most characters of a text of people's in a message.
const SHOWN_MAX: usize = 80;

/// What a definition is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2. JSON is YAML, too, apart from some rarities.
    Yaml,
    /// JSON.
    Json,
}

impl Format {
    /// By a file's name: `.json` is JSON.
    pub fn of(file: &str) -> Self {
        let extension = file.rsplit_once('.').map(|(_, extension)| extension);
        if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            Self::Json
        } else {
            Self::Yaml
        }
    }
}

/// A text that was read.
pub(crate) struct Reading<'a> {
    pub(crate) lines: Lines<'a>,
    pub(crate) places: Places<'a>,
    pub(crate) draft: Option<Draft>,
    pub(crate) findings: Findings,
    /// Places where the draft is not what the text says: what else is found there is a consequence.
    pub(crate) spoilt: Vec<String>,
}

/// Where the parts of a text stand.
pub(crate) struct Places<'a> {
    text: &'a str,
    tree: Option<(Tree<'a>, Id)>,
}

impl Places<'_> {
    /// Where the value stands that a JSON pointer leads to, from that byte of its text on.
    pub(crate) fn of(&self, pointer: &str, offset: Option<usize>) -> Span {
        let Some((tree, root)) = &self.tree else { return Span::default() };
        let whole = tree.place(*root, pointer);
        let inside = offset.and_then(|offset| {
            let node = tree.node(tree.at(*root, pointer)?);
            let tree::Data::Text(value, style) = &node.data else { return None };
            let at = lines::source_of(self.text, node.span, *style, value, offset);
            Some(Span::new(at, self.word(at).min(node.span.end)))
        });
        inside.unwrap_or(whole)
    }

    /// Whether the text has a value there, be it nothing.
    pub(crate) fn has(&self, pointer: &str) -> bool {
        self.tree.as_ref().is_some_and(|(tree, root)| tree.at(*root, pointer).is_some())
    }

    /// Where the key of a field stands.
    pub(crate) fn key(&self, pointer: &str) -> Span {
        self.tree.as_ref().map_or_else(Span::default, |(tree, root)| tree.key_place(*root, pointer))
    }

    /// The end of the word that begins there, or of the one character.
    fn word(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or_default().trim_end_matches('.');
        let first = rest.chars().next().map_or(0, char::len_utf8);
        at + word.len().max(first)
    }
}

/// Reads a text.
pub(crate) fn read(text: &str, format: Format) -> Reading<'_> {
    let mut findings = Findings::default();
    let reading = |tree, draft, findings, spoilt| Reading {
        lines: Lines::new(text),
        places: Places { text, tree },
        draft,
        findings,
        spoilt,
    };
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the text has {} bytes", text.len());
        let mend = format!("at most {TEXT_BYTES_MAX}");
        findings.add(Finding::error("too-large", Span::default(), message).mend(mend));
        return reading(None, None, findings, Vec::new());
    }
    let tree = match format {
        Format::Yaml => yaml::read(text, &mut findings),
        Format::Json => json::read(text, &mut findings),
    };
    let Some((tree, root)) = tree else { return reading(None, None, findings, Vec::new()) };
    nul(&tree, &mut findings);
    let (draft, spoilt) = {
        let mut decoder =
            decode::Decoder { tree: &tree, text, format, findings: &mut findings, spoilt: Vec::new() };
        (decode::definition(&mut decoder, root), decoder.spoilt)
    };
    reading(Some((tree, root)), draft, findings, spoilt)
}

/// Postgres and people's terminals take no U+0000, and no definition needs one.
fn nul(tree: &Tree<'_>, findings: &mut Findings) {
    for node in &tree.nodes {
        if let tree::Data::Text(text, _) = &node.data
            && text.contains('\0')
        {
            findings.add(
                Finding::error("nul-character", node.span, "the text has the character U+0000")
                    .mend("leave it out"),
            );
        }
    }
}

/// A text of people's, cut to what fits into a message, on one line.
pub(crate) fn shown(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    if text.chars().nth(SHOWN_MAX).is_some() {
        text.chars().take(SHOWN_MAX).map(clean).chain(['…']).collect()
    } else {
        text.chars().map(clean).collect()
    }
}
