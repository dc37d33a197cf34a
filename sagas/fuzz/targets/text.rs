//! Any text as a definition, in YAML and in JSON: checked with everything that `snorri check` says of it. Whatever is said has a
//! place in the text; the answer has a size; and what is accepted is the same definition when it is written down again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snorri_language::check::{File, FileReport, check};
use snorri_language::diagnostic::Paint;
use snorri_language::text::Format;

const BYTES_MAX: usize = 16 * 1024;
const ANSWER_MAX: usize = 1024 * 1024;

fn checked(text: &str, format: Format) -> FileReport {
    let report = check(&[File { name: "fuzz", text, format }], |_, _| None);
    let answer = serde_json::to_string(&report).expect("JSON");
    assert!(answer.len() < ANSWER_MAX, "an answer of {} bytes", answer.len());
    let file = report.files.into_iter().next().expect("a file");
    assert_eq!(report.errors == 0, file.definition.is_some(), "what is free of errors is a definition, and only that");
    file
}

/// A place is a character of the text, or its end.
fn is_placed(text: &str, file: &FileReport) {
    let lines: Vec<&str> = text.split('\n').collect();
    for found in &file.diagnostics {
        let line = lines.get(found.line - 1).expect("a line of the text");
        assert!(found.column >= 1 && found.column <= line.chars().count() + 1, "{found:?}");
        assert!((found.end.line, found.end.column) >= (found.line, found.column), "{found:?}");
        assert!(found.end.line <= lines.len(), "{found:?}");
        let shown = found.render(Paint::PLAIN);
        assert!(shown.lines().count() <= 6, "{shown}");
    }
}

fuzz_target!(|text: &str| {
    if text.len() > BYTES_MAX {
        return;
    }
    for format in [Format::Yaml, Format::Json] {
        let file = checked(text, format);
        is_placed(text, &file);
        let Some(draft) = file.draft else { continue };
        let written = serde_json::to_string(&draft).expect("JSON");
        for format in [Format::Json, Format::Yaml] {
            let again = checked(&written, format);
            // A key of YAML that is longer than 1024 characters needs a question mark, which JSON does not know.
            let is_long = |found: &snorri_language::diagnostic::Diagnostic| found.code == "syntax";
            if format == Format::Yaml && again.diagnostics.iter().any(is_long) {
                continue;
            }
            assert_eq!(again.draft.as_ref(), Some(&draft), "{written}");
        }
    }
});
