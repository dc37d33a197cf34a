//! People's texts: what they wrote can be anything, and comes out as one line of harmless characters that fits into its place.

use std::fmt::Write as _;

/// The most characters of a text that are looked at: no place has room for more.
const CHARS_MAX: usize = 400;

/// One line of characters that can be shown: control characters, those that turn the direction of the text around, and those that no
/// XML may have are shown as unknown ones.
pub(super) fn clean(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars().take(CHARS_MAX) {
        let shown = match c {
            ' ' | '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
            '\u{200e}'
            | '\u{200f}'
            | '\u{61c}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fdd0}'..='\u{fdef}' => '\u{fffd}',
            c if c.is_control() || u32::from(c) & 0xfffe == 0xfffe => '\u{fffd}',
            c => c,
        };
        if shown != ' ' || !line.is_empty() && !line.ends_with(' ') {
            line.push(shown);
        }
    }
    if text.chars().nth(CHARS_MAX).is_some() {
        line.push('…');
    }
    line.truncate(line.trim_end().len());
    line
}

/// The text as it stands between two tags, or in quotes, of XML.
pub(super) fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The text as it stands in quotes in Mermaid: everything that is not a letter, a digit, a space or a harmless sign is a number.
pub(super) fn mermaid(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || matches!(c, ' ' | ',' | '_' | '/' | '(' | ')' | '…' | '·') {
            escaped.push(c);
        } else {
            let _ = write!(escaped, "#{};", u32::from(c));
        }
    }
    escaped
}

/// How the letters of a text look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Font {
    pub(super) size: f64,
    pub(super) is_bold: bool,
}

/// How wide the text is at most, in pixels: by the widest of the usual fonts, since nobody knows which one the viewer has.
pub(super) fn width(text: &str, font: Font) -> f64 {
    let ems: f64 = text.chars().map(ems).sum();
    ems * font.size * if font.is_bold { 1.1 } else { 1.0 }
}

/// The width of a character as a share of the font's size.
fn ems(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | 'I' | 'J' | '\'' => 0.29,
        ' ' | ',' | '.' | '/' | ':' | ';' | '|' | '\\' | '·' => 0.34,
        'f' | 't' | 'r' | '-' | '(' | ')' | '[' | ']' | '!' => 0.41,
        's' | 'z' | 'c' | '_' | '`' | '"' | '*' | '?' => 0.54,
        'k' | 'v' | 'x' | 'y' | 'F' | 'L' => 0.59,
        'm' | 'W' | '@' | '%' | '…' => 1.0,
        'w' | 'M' | 'G' | 'O' | 'Q' | 'D' | '#' | '+' | '<' | '=' | '>' | '^' | '~' | '&' | '→' => 0.84,
        'A'..='Z' => 0.75,
        c if c.is_ascii() => 0.64,
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0.0,
        '\u{80}'..='\u{5ff}' => 0.7,
        '\u{1f000}'..='\u{1faff}' => 1.4,
        _ => 1.05,
    }
}

/// The text, cut to a width, with an ellipsis where something is left out.
pub(super) fn fit(text: &str, font: Font, width_max: f64) -> String {
    if width(text, font) <= width_max {
        return text.to_owned();
    }
    let mut cut = String::new();
    let room = width_max - width("…", font);
    let mut used = 0.0;
    for c in text.chars() {
        used += width(c.encode_utf8(&mut [0; 4]), font);
        if used > room {
            break;
        }
        cut.push(c);
    }
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

/// The text in lines of a width, at most so many; the last is cut.
pub(super) fn wrap(text: &str, font: Font, width_max: f64, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut rest: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    rest.reverse();
    while let Some(word) = rest.pop() {
        let has_room = lines.len() < lines_max;
        match lines.last_mut() {
            None => lines.push(word.to_owned()),
            Some(line) => {
                let joined = format!("{line} {word}");
                if width(&joined, font) <= width_max {
                    *line = joined;
                } else if has_room {
                    lines.push(word.to_owned());
                } else {
                    rest.reverse();
                    *line = format!("{joined} {}", rest.join(" "));
                    rest.clear();
                }
            }
        }
    }
    lines.iter().map(|line| fit(line, font, width_max)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FONT: Font = Font { size: 10.0, is_bold: false };

    #[test]
    fn what_cannot_be_shown_or_turns_the_text_around_is_an_unknown_character() {
        assert_eq!(clean("a\0b\u{1b}[2J\u{202e}c\u{fffe}"), "a\u{fffd}b\u{fffd}[2J\u{fffd}c\u{fffd}");
        assert_eq!(clean("  two \n\t lines\u{2028}"), "two lines");
        assert_eq!(clean("é 漢字 😀"), "é 漢字 😀");
        let long = clean(&"x".repeat(1000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (401, true));
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(xml("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
        assert_eq!(mermaid("a\"]--><b>%%{`"), "a#34;#93;#45;#45;#62;#60;b#62;#37;#37;#123;#96;");
    }

    #[test]
    fn a_text_is_cut_to_its_width() {
        assert_eq!(fit("short", FONT, 100.0), "short");
        let cut = fit("a text that is too long for its place", FONT, 100.0);
        assert!(cut.ends_with('…') && width(&cut, FONT) <= 100.0, "{cut}");
        assert_eq!(fit("long", FONT, 0.0), "…");
    }

    #[test]
    fn a_text_is_broken_between_words_and_ends_where_there_is_no_more_room() {
        let lines = wrap("one two three four five six seven eight nine", FONT, 80.0, 3);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| width(line, FONT) <= 80.0), "{lines:?}");
        assert!(lines[0].starts_with("one") && lines[2].ends_with('…'), "{lines:?}");
        assert_eq!(wrap("", FONT, 80.0, 3), Vec::<String>::new());
        assert_eq!(wrap("one two", FONT, 80.0, 3), ["one two"]);
    }
}
