//! Checking: everything that can be known of definitions before they run. Of a set of files, sub-sagas are looked for
//! among them first.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use snorri_saga::definition::{Definition, Draft, Problem};
use snorri_saga::ids::Name;

use crate::diagnostic::{Diagnostic, Severity};
use crate::explore::{Bounds, Exploration, Role, explore};
use crate::input_schema::InputSchema;
use crate::pin::{self, Child};
use crate::text::{Finding, Findings, Format, Lines, Places, Position, Reading, read, shown};
use crate::worst_case::WorstCase;
use crate::{family, lint, types};

/// A text to check.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// What it is called in messages.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
    /// What it is written in.
    pub format: Format,
}

/// What is known of some files. Its JSON is stable: fields are added, never changed.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How many errors there are in all.
    pub errors: usize,
    /// How many warnings there are in all.
    pub warnings: usize,
    /// The files, in the order in which they were given.
    pub files: Vec<FileReport>,
}

/// What is known of one file.
#[derive(Debug, Clone, Serialize)]
pub struct FileReport {
    /// The file, as it was named.
    pub file: String,
    /// The definition's name, if it can be read.
    pub name: Option<String>,
    /// What is wrong, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// How long it may take at worst; nothing when there are errors.
    pub worst_case: Option<WorstCase>,
    /// What came of exploring all that may happen to it, alone and, if another of the files has it as a sub-saga, as a part;
    /// nothing when it was not explored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub explored: Vec<Exploration>,
    /// It has the shape of a definition: what is wrong with it, if anything is, is what it says.
    #[serde(skip)]
    pub is_readable: bool,
    /// The draft, its sub-sagas pinned, if it is free of errors.
    #[serde(skip)]
    pub draft: Option<Draft>,
    /// The definition, if it is free of errors.
    #[serde(skip)]
    pub definition: Option<Definition>,
}

impl FileReport {
    /// Whether nothing of that weight was found.
    pub fn is_free_of(&self, severity: Severity) -> bool {
        self.diagnostics.iter().all(|diagnostic| diagnostic.severity != severity)
    }
}

/// Checks files. `known` gives definitions that are not among them, in the given or the newest version.
pub fn check(files: &[File<'_>], known: impl Fn(&str, Option<u32>) -> Option<Child>) -> Report {
    let mut checker = Checker { known: &known, files: Vec::new(), by_name: HashMap::new() };
    for file in files {
        checker.add(file);
    }
    for at in 0..files.len() {
        checker.check(at);
    }
    let files: Vec<FileReport> = checker.files.into_iter().map(State::report).collect();
    let count = |severity| {
        let all = files.iter().flat_map(|file| &file.diagnostics);
        all.filter(|diagnostic| diagnostic.severity == severity).count()
    };
    Report { errors: count(Severity::Error), warnings: count(Severity::Warning), files }
}

impl Report {
    /// Explores what is free of errors, each definition within the bounds. `clock` tells how much time has passed since
    /// any moment. A run that breaks a law is an error of the definition's file; that not even the runs without a fault were
    /// covered, a warning.
    pub fn explore(&mut self, bounds: &Bounds, clock: &dyn Fn() -> Duration) {
        let parts: HashSet<String> = self
            .files
            .iter()
            .filter_map(|file| file.draft.as_ref())
            .flat_map(sub_sagas)
            .map(|(name, _)| name.to_owned())
            .collect();
        for file in &mut self.files {
            let Some(definition) = &file.definition else { continue };
            let is_part = file.name.as_ref().is_some_and(|name| parts.contains(name));
            let roles: &[Role] = if is_part { &[Role::Alone, Role::Part] } else { &[Role::Alone] };
            let mut taken = Duration::ZERO;
            for role in roles.iter().copied() {
                let began = clock();
                // The time is the definition's: as a part it has what is left of it, a quarter at least.
                let left = match role {
                    Role::Alone if is_part => bounds.time * 3 / 4,
                    Role::Alone => bounds.time,
                    Role::Part => bounds.time.saturating_sub(taken).max(bounds.time / 4),
                };
                let bounds = Bounds { time: left, role, ..*bounds };
                let exploration = explore(definition, &bounds, &|| clock().saturating_sub(began));
                taken = clock().saturating_sub(began);
                if let Some(diagnostic) = of_exploration(&file.file, &exploration) {
                    match diagnostic.severity {
                        Severity::Error => self.errors += 1,
                        Severity::Warning => self.warnings += 1,
                    }
                    file.diagnostics.push(diagnostic);
                }
                file.explored.push(exploration);
            }
        }
    }
}

/// What an exploration has to say of its file as a whole, if anything.
fn of_exploration(file: &str, exploration: &Exploration) -> Option<Diagnostic> {
    let (severity, code, message, mend) = match (&exploration.violation, exploration.complete_faults) {
        (Some(story), _) => (
            Severity::Error,
            "broken-law",
            format!("a run of this definition breaks a law: {}", story.wrong),
            "this is a fault of Snorri's: please report it with the story below",
        ),
        (None, None) => (
            Severity::Warning,
            "not-explored",
            match exploration.role {
                Role::Alone => "it is not known whether each run can end: not even those without a fault were covered",
                Role::Part => {
                    "it is not known whether each run as a part of another saga can end: not even those without a fault \
                     were covered"
                }
            }
            .to_owned(),
            "explore it for longer with `snorri check --time 1m`, or take some of the steps that run beside each other into a sub-saga",
        ),
        (None, Some(_)) => return None,
    };
    let start = Position { line: 1, column: 1 };
    Some(Diagnostic {
        severity,
        code,
        file: file.to_owned(),
        line: start.line,
        column: start.column,
        end: start,
        pointer: String::new(),
        message,
        mend: Some(mend.to_owned()),
        source: String::new(),
    })
}

/// The sub-sagas that a draft names, with the version where it says one.
pub fn sub_sagas(draft: &Draft) -> Vec<(&str, Option<u32>)> {
    let named = draft.steps.iter().filter_map(|step| Some((step.saga.as_deref()?, step.version)));
    let mut named: Vec<_> = named.collect();
    named.sort_unstable();
    named.dedup();
    named
}

enum Stage {
    Read,
    UnderWay,
    Checked,
}

struct State<'a> {
    name: String,
    stage: Stage,
    lines: Lines<'a>,
    places: Places<'a>,
    findings: Findings,
    spoilt: Vec<String>,
    is_readable: bool,
    draft: Option<Draft>,
    definition: Option<Definition>,
    /// How many sagas it may become.
    family: u64,
}

/// What a sub-saga among the files is to its parent.
enum Found {
    Child(Child),
    /// It has errors of its own.
    Broken,
    /// It runs its parent in turn.
    Circle,
    Unknown,
}

struct Checker<'a, 'k> {
    known: &'k dyn Fn(&str, Option<u32>) -> Option<Child>,
    files: Vec<State<'a>>,
    by_name: HashMap<String, usize>,
}

impl<'a> Checker<'a, '_> {
    fn add(&mut self, file: &File<'a>) {
        let Reading { lines, places, draft, mut findings, spoilt } = read(file.text, file.format);
        let at = self.files.len();
        let is_readable = !findings.has_errors();
        if let Some(draft) = draft.as_ref().filter(|draft| !draft.name.is_empty()) {
            match self.by_name.get(&draft.name) {
                None => {
                    self.by_name.insert(draft.name.clone(), at);
                }
                Some(first) => {
                    let first = self.files.get(*first).map_or("", |file| &file.name);
                    let message = format!("the definition `{}` is in {first}, too", shown(&draft.name));
                    findings.add(
                        Finding::warning("duplicate-definition", places.of("/name", None), message)
                            .at("/name")
                            .mend("whichever is submitted last becomes the newest version: give one of them another name"),
                    );
                }
            }
        }
        let name = file.name.to_owned();
        let stage = Stage::Read;
        self.files.push(State {
            name,
            stage,
            lines,
            places,
            findings,
            spoilt,
            is_readable,
            draft,
            definition: None,
            family: 1,
        });
    }

    /// Checks a file, and before it those that its sub-sagas are in.
    fn check(&mut self, at: usize) {
        let Some(file) = self.files.get_mut(at) else { return };
        if !matches!(file.stage, Stage::Read) {
            return;
        }
        file.stage = Stage::UnderWay;
        if let Some(mut draft) = file.draft.take() {
            let children: Vec<(String, Option<u32>)> =
                sub_sagas(&draft).into_iter().map(|(name, version)| (name.to_owned(), version)).collect();
            let found: HashMap<(String, Option<u32>), Found> =
                children.into_iter().map(|wanted| (wanted.clone(), self.find(&wanted))).collect();
            if let Some(file) = self.files.get_mut(at) {
                let written = draft.clone();
                file.pin(&written, &mut draft, &found);
                file.problems(&written, &draft, &found);
                file.draft = Some(draft);
            }
        }
        if let Some(file) = self.files.get_mut(at) {
            file.stage = Stage::Checked;
        }
    }

    fn find(&mut self, (name, version): &(String, Option<u32>)) -> Found {
        let Some(at) = self.by_name.get(name).copied() else {
            return (self.known)(name, *version).map_or(Found::Unknown, Found::Child);
        };
        self.check(at);
        match self.files.get(at) {
            Some(State { stage: Stage::UnderWay, .. }) => Found::Circle,
            Some(State { definition: Some(definition), family, .. }) => {
                Found::Child(Child { family: *family, ..Child::of(definition, version.unwrap_or(1)) })
            }
            Some(_) | None => Found::Broken,
        }
    }
}

impl State<'_> {
    fn pin(&mut self, written: &Draft, draft: &mut Draft, found: &HashMap<(String, Option<u32>), Found>) {
        let problems = pin::pin(draft, |name, version| match found.get(&(name.to_owned(), version)) {
            Some(Found::Child(child)) => Some(child.clone()),
            _ => None,
        });
        let told: Vec<(usize, &'static str, &'static str)> = draft
            .steps
            .iter()
            .enumerate()
            .filter_map(|(nth, step)| {
                let wanted = (step.saga.clone()?, step.version);
                if wanted.0 == draft.name {
                    return None;
                }
                match found.get(&wanted) {
                    Some(Found::Broken) => Some((nth, "sub-saga-with-errors", "has errors of its own")),
                    Some(Found::Circle) => Some((nth, "sub-saga-in-a-circle", "runs this one in turn")),
                    Some(Found::Child(_) | Found::Unknown) | None => None,
                }
            })
            .collect();
        for problem in problems {
            // What is told better below.
            let is_told = told.iter().any(|(nth, ..)| problem.pointer.starts_with(&format!("/steps/{nth}/")))
                && problem.code == "unknown-sub-saga";
            if !is_told {
                self.problem(problem);
            }
        }
        for (nth, code, message) in told {
            let name =
                draft.steps.get(nth).and_then(|step| step.saga.as_deref()).map(shown).unwrap_or_default();
            let pointer = format!("/steps/{nth}/saga");
            let mend = if code == "sub-saga-with-errors" { "mend it first" } else { "break the circle" };
            self.findings.add(
                Finding::error(
                    code,
                    self.places.of(&pointer, None),
                    format!("the sub-saga `{name}` {message}"),
                )
                .at(pointer)
                .mend(mend),
            );
        }
        for (nth, step) in draft.steps.iter().enumerate() {
            let Some(name) = step.saga.as_deref() else { continue };
            if let Some(Found::Child(child)) =
                found.get(&(name.to_owned(), written.steps.get(nth).and_then(|step| step.version)))
                && let Some(each) = child.scarce_bytes()
            {
                let pointer = format!("/steps/{nth}/saga");
                let message = format!(
                    "all outputs of the sub-saga `{}` come as one, which is refused above 64 KiB: {each} bytes for each of \
                     up to {} items",
                    shown(name),
                    child.items
                );
                self.findings.add(
                    Finding::warning("sub-saga-output", self.places.of(&pointer, None), message)
                        .at(pointer)
                        .mend("lower its `max`, or give each of several sub-sagas a part of the list"),
                );
            }
        }
        // That a sub-saga which is not known has no times is a consequence.
        for (nth, step) in draft.steps.iter().enumerate().filter(|(_, step)| step.saga.is_some()) {
            if step.version.is_none() || step.timeout.is_none() {
                self.spoilt.extend(["version", "timeout"].map(|field| format!("/steps/{nth}/{field}")));
            }
        }
    }

    fn problems(&mut self, written: &Draft, draft: &Draft, found: &HashMap<(String, Option<u32>), Found>) {
        let mut told = Vec::new();
        match Definition::from_draft(draft) {
            Ok(definition) => self.definition = Some(definition),
            Err(problems) => {
                for problem in problems {
                    told.push(problem.pointer.clone());
                    self.problem(problem);
                }
            }
        }
        if RESERVED.contains(&draft.name.as_str()) {
            let message =
                format!("`{}` is no name of a definition: it is a word of the interface", draft.name);
            let finding = Finding::error("reserved-name", self.places.of("/name", None), message);
            self.findings.add(finding.at("/name").mend("give it another name"));
        }
        if let Some(schema) = draft.input.as_ref().filter(|schema| schema.is_object())
            && let Err(bad) = InputSchema::compile(schema)
        {
            let pointer = format!("/input{}", bad.pointer);
            self.problem(Problem::of_text("bad-input-schema", &pointer, None, bad.told));
        }
        for found in types::check(draft) {
            // Of what the names alone say, the types say no more.
            if !told.contains(&found.problem.pointer) {
                self.finding(found.severity, found.problem);
            }
        }
        if let Some(definition) = &self.definition {
            let children = found.iter().filter_map(|((name, _), found)| match found {
                Found::Child(child) => Some(((name.as_str(), child.version), child.family)),
                Found::Broken | Found::Circle | Found::Unknown => None,
            });
            let families: HashMap<(&str, u32), u64> = children.collect();
            let of = |name: &Name, version| families.get(&(name.as_str(), version)).copied().unwrap_or(1);
            self.family = family::size(definition, of);
            if let Some(problem) = family::problem(definition, of) {
                self.problem(problem);
            }
        }
        let definition = self.definition.as_ref();
        lint::lint(&lint::Subject { written, definition, places: &self.places }, &mut self.findings);
        if self.findings.has_errors() {
            self.definition = None;
        }
    }

    fn problem(&mut self, problem: Problem) {
        self.finding(Severity::Error, problem);
    }

    fn finding(&mut self, severity: Severity, problem: Problem) {
        let is_consequence = |spoilt: &String| {
            problem
                .pointer
                .strip_prefix(spoilt.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // The sum is that of the definition as it is meant, which is not known yet.
        let is_early = problem.code == "window-too-small" && !self.spoilt.is_empty();
        if is_early || self.spoilt.iter().any(is_consequence) {
            return;
        }
        let span = match problem.code {
            "unfitting-field" => self.places.key(&problem.pointer),
            _ => self.places.of(&problem.pointer, problem.offset),
        };
        let finding = Finding::error(problem.code, span, problem.message).at(problem.pointer);
        let mend = problem.mend;
        self.findings.add(Finding { severity, mend, ..finding });
    }

    fn report(self) -> FileReport {
        let name = self.draft.as_ref().map(|draft| draft.name.clone());
        let name = name.filter(|name| (1..=Name::LENGTH_MAX).contains(&name.len()));
        let has_errors = self.findings.has_errors();
        let lines = &self.lines;
        let file = &self.name;
        let diagnostic = |finding: Finding| {
            // Where the text ends too early, its last character is shown.
            let start = lines.position(finding.span.start.min(lines.end()));
            Diagnostic {
                severity: finding.severity,
                code: finding.code,
                file: file.clone(),
                line: start.line,
                column: start.column,
                end: lines.position(finding.span.end).max(start),
                pointer: within(finding.pointer),
                message: on_one_line(finding.message),
                mend: finding.mend.map(on_one_line),
                source: lines.line(start.line).chars().take(SOURCE_CHARS_MAX).collect(),
            }
        };
        let diagnostics = self.findings.into_sorted().into_iter().map(diagnostic).collect();
        let definition = self.definition.filter(|_| !has_errors);
        FileReport {
            name,
            worst_case: definition.as_ref().map(WorstCase::of),
            explored: Vec::new(),
            is_readable: self.is_readable,
            draft: self.draft.filter(|_| !has_errors),
            definition,
            diagnostics,
            file: self.name,
        }
    }
}

/// A message repeats what people wrote: no line break of theirs, and no escape that a terminal would follow.
fn on_one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The pointer, or that of the nearest part above it whose pointer is not longer than anybody wants to read.
fn within(pointer: String) -> String {
    if pointer.len() <= POINTER_BYTES_MAX {
        return pointer;
    }
    let slashes = pointer.match_indices('/').map(|(at, _)| at);
    let cut = slashes.take_while(|at| *at <= POINTER_BYTES_MAX).last().unwrap_or(0);
    pointer.get(..cut).unwrap_or_default().to_owned()
}

/// Definitions are read and checked at `/v1/definitions/<name>`, and at these. What was stored before they were reserved is still
/// a definition, so this is no rule of the core.
const RESERVED: [&str; 2] = ["check", "schema"];
/// The longest pointer, in bytes.
const POINTER_BYTES_MAX: usize = 500;
/// So much of a line is kept for showing it.
const SOURCE_CHARS_MAX: usize = 10_000;
