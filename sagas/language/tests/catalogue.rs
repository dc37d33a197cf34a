//! The catalogue: broken definitions with what is said of each, definitions with warnings, and good ones of which nothing
//! is said. A folder is checked as one set of files. The messages are judged by reading `tests/*/expected`.
#![expect(clippy::disallowed_methods, reason = "a catalogue is a folder of files")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use snorri_language::check::{File, Report, check};
use snorri_language::diagnostic::{Paint, Severity};
use snorri_language::explore::Bounds;
use snorri_language::text::Format;

/// The files and folders of a part of the catalogue.
fn entries(part: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(part);
    let all = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut all: Vec<PathBuf> = all.map(|entry| entry.expect("an entry").path()).collect();
    all.retain(|path| path.file_name().is_some_and(|name| name != "expected"));
    all.sort();
    all
}

fn checked(path: &Path) -> Report {
    let paths = if path.is_dir() {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    } else {
        vec![path.to_owned()]
    };
    let texts: Vec<(String, String)> = paths
        .iter()
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).expect("a text"))
        })
        .collect();
    let files: Vec<File<'_>> =
        texts.iter().map(|(name, text)| File { name, text, format: Format::of(name) }).collect();
    check(&files, |_, _| None)
}

fn shown(report: &Report) -> String {
    let all = report.files.iter().flat_map(|file| &file.diagnostics);
    all.map(|diagnostic| diagnostic.render(Paint::PLAIN)).collect::<Vec<_>>().join("\n")
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Whether each diagnostic has a place that is in the text, and a mend or a message that says one.
fn is_placed(path: &Path, report: &Report) {
    for diagnostic in report.files.iter().flat_map(|file| &file.diagnostics) {
        let at = format!("{}: {diagnostic:?}", path.display());
        assert!(diagnostic.line >= 1 && diagnostic.column >= 1, "no place: {at}");
        let end = (diagnostic.end.line, diagnostic.end.column);
        assert!(end >= (diagnostic.line, diagnostic.column), "ends before it begins: {at}");
        assert!(diagnostic.message.len() < 1000, "endless: {at}");
        assert!(diagnostic.code.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{at}");
    }
}

#[test]
fn each_broken_definition_is_refused_with_its_messages() {
    let entries = entries("broken");
    assert!(entries.len() >= 60, "{} broken definitions", entries.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("broken/expected");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in entries {
            let report = checked(&path);
            assert!(report.errors > 0, "{} passes", path.display());
            is_placed(&path, &report);
            assert!(
                report.files.iter().all(|file| file.definition.is_none() || file.is_free_of(Severity::Error))
            );
            insta::assert_snapshot!(name(&path), shown(&report));
        }
    });
}

#[test]
fn each_doubtful_definition_is_warned_of() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("warned/expected");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in entries("warned") {
            let report = checked(&path);
            assert!(report.warnings > 0, "{} has no warning", path.display());
            is_placed(&path, &report);
            insta::assert_snapshot!(name(&path), shown(&report));
        }
    });
}

#[test]
fn of_good_definitions_nothing_is_said() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../definitions");
    for path in entries("good").into_iter().chain([examples]) {
        let report = checked(&path);
        assert!(report.errors + report.warnings == 0, "{}\n{}", path.display(), shown(&report));
        assert!(report.files.iter().all(|file| file.definition.is_some() && file.worst_case.is_some()));
    }
}

/// A second reader, which knows nothing of places, reads the same.
#[test]
fn good_definitions_are_read_as_another_reader_reads_them() {
    let files = entries("good").into_iter().filter(|path| path.is_file());
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a text");
        let expected: snorri_saga::definition::Draft =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let read = checked(&path).files.into_iter().next().and_then(|file| file.draft);
        assert_eq!(read, Some(expected), "{}", path.display());
    }
}

/// What can be said, is said in the catalogue, and is explained in the documentation.
#[test]
fn every_code_is_documented() {
    let codes: BTreeSet<&str> = ["broken", "warned"]
        .into_iter()
        .flat_map(entries)
        .flat_map(|path| checked(&path).files)
        .flat_map(|file| file.diagnostics)
        .map(|diagnostic| diagnostic.code)
        .collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/check.md");
    let page = std::fs::read_to_string(page).expect("the page");
    // The first column.
    let table: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    let missing: Vec<_> =
        codes.iter().filter(|code| !table.iter().any(|cell| cell.contains(&format!("`{code}`")))).collect();
    assert!(missing.is_empty(), "not in docs/check.md: {missing:?}");
}

/// A warning of the whole file, which counts like any other.
#[test]
fn an_exploration_that_covers_nothing_is_a_warning() {
    let text = "{name: order, steps: [{name: pay, participant: payments, compensation: refund}]}";
    let explored = |states: usize| {
        let mut report = check(&[File { name: "order.yaml", text, format: Format::Yaml }], |_, _| None);
        report.explore(&Bounds { states, faults: 1, ..Bounds::default() }, &|| Duration::ZERO);
        let codes: Vec<&str> = report.files[0].diagnostics.iter().map(|found| found.code).collect();
        (report.errors, report.warnings, codes)
    };
    assert_eq!(explored(5), (0, 1, vec!["not-explored"]));
    assert_eq!(explored(100_000), (0, 0, vec![]));
}
