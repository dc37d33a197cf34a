//! Definitions in files, for the commands that only look at them: read and checked, or everything that is wrong with them told as
//! `snorri check` tells it.

use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use snorri_language::Subject;
use snorri_language::check::{File, check};
use snorri_language::diagnostic::{Paint, Severity};
use snorri_language::text::{Format, TEXT_BYTES_MAX};
use snorri_saga::definition::{Definition, Draft};

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
            texts.push((path.display().to_string(), text(path)?));
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
        Err(format!("{} is not a definition that can be submitted", path.display()))
    }

    /// As the language's looks take it.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { draft: &self.draft, definition: &self.definition, version: None }
    }
}

/// The text of a file, up to the largest that a definition may have and one byte more, which is refused with its reason.
fn text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(TEXT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("{shown}: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        format!("{shown}: the text is not UTF-8 from byte {} on", error.utf8_error().valid_up_to())
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
