//! Definitions in files, for the commands that only look at them: read and checked, or everything that is wrong with them told as
//! `snorri check` tells it.

use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use snorri_language::Subject;
use snorri_language::check::{File, check};
use snorri_language::diagnostic::{Paint, Severity};
use snorri_language::text::{Format, TEXT_BYTES_MAX};
use snorri_saga::definition::{Definition, Draft};

/// What went wrong leaves this exit code in all of these commands, so that it is not taken for a finding or a difference.
pub(crate) const TROUBLE: u8 = 2;

/// A definition that was read.
#[derive(Debug)]
pub(crate) struct Definite {
    draft: Draft,
    definition: Definition,
}

impl Definite {
    /// Reads the definition of a file. `with` are the files of its sub-sagas.
    pub(crate) fn read(path: &Path, with: &[PathBuf]) -> Result<Self, String> {
        let mut texts = Vec::with_capacity(1 + with.len());
        for path in std::iter::once(path).chain(with.iter().map(PathBuf::as_path)) {
            texts.push((name(path), text(path)?));
        }
        let files: Vec<File<'_>> =
            texts.iter().map(|(name, text)| File { name, text, format: Format::of(name) }).collect();
        let report = check(&files, |_, _| None).files.into_iter().next();
        let (draft, definition, diagnostics) = match report {
            Some(report) => (report.draft, report.definition, report.diagnostics),
            None => (None, None, Vec::new()),
        };
        if let (Some(draft), Some(definition)) = (draft, definition) {
            return Ok(Self { draft, definition });
        }
        let paint = if std::io::stderr().is_terminal() { Paint::COLOURED } else { Paint::PLAIN };
        for diagnostic in diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error) {
            eprintln!("{}", diagnostic.render(paint));
        }
        Err(format!("{} is not a definition that can be submitted", name(path)))
    }

    /// As the language's looks take it.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { draft: &self.draft, definition: &self.definition, version: None }
    }
}

/// The name of the standard input.
const STDIN: &str = "-";

/// What a file is called in messages.
pub(crate) fn name(path: &Path) -> String {
    if path == Path::new(STDIN) { "stdin".to_owned() } else { path.display().to_string() }
}

/// The text of a file, or of the standard input, up to the largest that a definition may have and a byte more: that it is too large
/// is told in its place.
pub(crate) fn text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let most = u64::try_from(TEXT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let took = if path == Path::new(STDIN) {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    took.map_err(|error| format!("{}: {error}", name(path)))?;
    let is_cut = bytes.len() > TEXT_BYTES_MAX;
    String::from_utf8(bytes).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        // What was cut in the middle of a character is too large, and that is told.
        if is_cut && valid + 4 > TEXT_BYTES_MAX {
            return Ok(" ".repeat(TEXT_BYTES_MAX + 1));
        }
        Err(format!("{}: the text is not UTF-8 from byte {valid} on", name(path)))
    })
}

/// Writes to the file, or to the standard output. A reader that has gone away has read enough.
pub(crate) fn put(text: &str, file: Option<&Path>) -> Result<(), String> {
    match file {
        Some(path) => std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display())),
        None => match std::io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
            Ok(()) | Err(_) => Ok(()),
        },
    }
}
