//! What is told of a text: what is wrong, where, and the mend; for people as a compiler says it, for machines as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::text::Position;

/// How much a diagnostic weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The definition is refused.
    Error,
    /// It is accepted, but probably not what was meant.
    Warning,
}

/// What is wrong with a text, where, and what to do about it. Its JSON is stable: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How much it weighs.
    pub severity: Severity,
    /// What kind of finding it is, in a word that does not change: see `docs/check.md`.
    pub code: &'static str,
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The place behind the last character that it is about.
    pub end: Position,
    /// The same place as a JSON pointer into the definition; empty for the whole, or where there is no definition yet.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// The line of the text, to show.
    #[serde(skip)]
    pub(crate) source: String,
}

/// The most characters of a source line that are shown.
const WIDTH_MAX: usize = 120;
/// How many of them stand before the place, when the line is longer.
const BEFORE: usize = 40;

/// Colours of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    is_on: bool,
}

impl Paint {
    /// Text alone.
    pub const PLAIN: Self = Self { is_on: false };
    /// With escapes for colours.
    pub const COLOURED: Self = Self { is_on: true };

    fn with(self, code: &str, text: &str) -> String {
        if self.is_on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// What stands out.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What steps back.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn severity(self, severity: Severity, text: &str) -> String {
        match severity {
            Severity::Error => self.with("1;31", text),
            Severity::Warning => self.with("1;33", text),
        }
    }
}

impl Diagnostic {
    /// As a compiler says it: what is wrong, the place, the line with the place underlined, the mend.
    pub fn render(&self, paint: Paint) -> String {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut text = String::new();
        let head = paint.severity(self.severity, &format!("{word}[{}]", self.code));
        let _ = writeln!(text, "{head}{}", paint.bold(&format!(": {}", self.message)));
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let (file, line, column) = (&self.file, self.line, self.column);
        let _ = writeln!(text, "{margin}{} {file}:{line}:{column}", paint.dim("-->"));
        let bar = paint.dim("|");
        if !self.source.trim().is_empty() {
            let (source, before, length) = self.excerpt();
            let marks = paint.severity(self.severity, &"^".repeat(length));
            let _ = writeln!(text, "{margin} {bar}");
            let _ = writeln!(text, "{} {bar} {source}", paint.dim(&number));
            let _ = writeln!(text, "{margin} {bar} {before}{marks}");
        }
        if let Some(mend) = &self.mend {
            let _ = writeln!(text, "{margin} {} {}: {mend}", paint.dim("="), paint.bold("mend"));
        }
        text
    }

    /// The source line as it is shown, what stands before the marks, and how many marks there are.
    fn excerpt(&self) -> (String, String, usize) {
        let clean = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
        let line: Vec<char> = self.source.chars().map(clean).collect();
        let from = self.column.saturating_sub(1).min(line.len());
        let to = if self.end.line == self.line { self.end.column.saturating_sub(1) } else { line.len() };
        let start = if line.len() > WIDTH_MAX { from.saturating_sub(BEFORE) } else { 0 };
        let end = line.len().min(start + WIDTH_MAX);
        let part = |from: usize, to: usize| line.get(from..to).unwrap_or_default().iter().collect::<String>();
        let mut source = part(start, end);
        let mut before: String =
            part(start, from).chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        if start > 0 {
            source.insert(0, '…');
            before.insert(0, ' ');
        }
        if end < line.len() {
            source.push('…');
        }
        (source.trim_end().to_owned(), before, to.min(end).saturating_sub(from).max(1))
    }
}
