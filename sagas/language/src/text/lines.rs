//! Lines and columns of a text, and where the characters of a quoted text stand in its source.

use super::tree::{Span, Style};

/// A place in a text: both from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Where the lines of a text begin.
#[derive(Debug, Clone)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The position of a byte.
    pub(crate) fn position(&self, byte: usize) -> Position {
        let byte = floor(self.text, byte);
        let line = self.starts.partition_point(|start| *start <= byte);
        let start = line.checked_sub(1).and_then(|at| self.starts.get(at)).copied().unwrap_or(0);
        let before = self.text.get(start..byte).unwrap_or_default();
        // A byte order mark is not seen.
        let column = before.chars().filter(|c| *c != '\u{feff}').count() + 1;
        Position { line: line.max(1), column }
    }

    /// Behind the last character that can be seen.
    pub(crate) fn end(&self) -> usize {
        self.text.trim_end().len()
    }

    /// A line's text, from 1, without its end.
    pub(crate) fn line(&self, line: usize) -> &'a str {
        let start = line.checked_sub(1).and_then(|at| self.starts.get(at)).copied();
        let Some(start) = start else { return "" };
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        let text = self.text.get(start..end).unwrap_or_default();
        text.trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}')
    }
}

/// The last place at or before the byte where a character begins.
fn floor(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

/// Where a byte of a text's value stands in the source: quotes and escapes, folded lines and indentation are in the
/// source, not in the value.
pub(crate) fn source_of(source: &str, span: Span, style: Style, value: &str, offset: usize) -> usize {
    let raw = source.get(span.start..span.end).unwrap_or_default();
    let mut at = match style {
        Style::Plain => 0,
        Style::Single | Style::Double => 1,
        // The header has a line of its own.
        Style::Block if raw.starts_with(['|', '>']) => {
            raw.find('\n').map_or(raw.len(), |end| after_blanks(raw, end + 1))
        }
        Style::Block => after_blanks(raw, 0),
    };
    for character in value.get(..floor(value, offset)).unwrap_or_default().chars() {
        let rest = raw.get(at..).unwrap_or_default();
        let next = rest.chars().next();
        at += match (next, style) {
            (Some('\\'), Style::Double) => escape_length(rest),
            (Some('\''), Style::Single) => 2,
            (Some('\n' | '\r'), _) => after_blanks(rest, rest.find('\n').map_or(0, |end| end + 1)),
            // Blanks before a folded line's end are not in the value.
            (Some(' ' | '\t'), Style::Plain | Style::Single | Style::Double)
                if character == ' ' && rest.trim_start_matches([' ', '\t']).starts_with(['\n', '\r']) =>
            {
                after_blanks(rest, rest.find('\n').map_or(0, |end| end + 1))
            }
            (Some(other), _) => other.len_utf8(),
            (None, _) => 0,
        };
    }
    floor(source, span.start + at.min(raw.len()))
}

/// The first place from `at` on that is no blank.
fn after_blanks(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + (rest.len() - rest.trim_start_matches([' ', '\t']).len())
}

/// How long an escape is in the source.
fn escape_length(rest: &str) -> usize {
    match rest.as_bytes().get(1) {
        Some(b'x') => 4,
        // What needs two of them in JSON is one character.
        Some(b'u')
            if rest.get(2..3).is_some_and(|d| d.eq_ignore_ascii_case("d"))
                && rest.get(6..8) == Some("\\u") =>
        {
            12
        }
        Some(b'u') => 6,
        Some(b'U') => 10,
        _ => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let lines = Lines::new("a: ü1\r\nb:\n\n  c");
        let at = |byte| {
            let place = lines.position(byte);
            (place.line, place.column)
        };
        assert_eq!([at(0), at(3), at(5), at(4)], [(1, 1), (1, 4), (1, 5), (1, 4)]);
        assert_eq!([at(8), at(12), at(14), at(99)], [(2, 1), (4, 1), (4, 3), (4, 4)]);
        assert_eq!((lines.line(1), lines.line(2), lines.line(3), lines.line(9)), ("a: ü1", "b:", "", ""));
        assert_eq!(Lines::new("").position(0), Position { line: 1, column: 1 });
        assert_eq!(Lines::new("\u{feff}a").position(3), Position { line: 1, column: 1 });
    }

    #[track_caller]
    fn stands(source: &str, style: Style, value: &str, what: &str) {
        let offset = value.find(what).expect("in the value");
        let span = Span::new(0, source.len());
        let at = source_of(source, span, style, value, offset);
        let first = what.chars().next();
        assert!(
            source[at..].starts_with(what) || source[at..].chars().next() == first,
            "{:?}",
            &source[at..]
        );
        assert_eq!(source[at..].chars().next(), first);
    }

    #[test]
    fn a_character_of_a_value_is_found_in_its_source() {
        stands("input.a > b", Style::Plain, "input.a > b", "b");
        stands("'it''s b'", Style::Single, "it's b", "b");
        stands(r#""a\"\u00e9\n b""#, Style::Double, "a\"é\n b", "b");
        stands(r#""\ud83d\ude00b""#, Style::Double, "😀b", "b");
        stands("|\n    a &&\n    b\n", Style::Block, "a &&\nb\n", "b");
        stands(">-\n  a &&\n  b", Style::Block, "a && b", "b");
        stands("a &&  \n   b", Style::Plain, "a && b", "b");
        stands("\"a &&\n   b\"", Style::Double, "a && b", "b");
    }
}
