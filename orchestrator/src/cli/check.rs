//! `snorri check`: definitions in files, before any saga of them runs. Exit codes: 0 nothing to mend, 1 something to mend, 2 it
//! could not be checked (a file cannot be read, an option is not known).

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;
use snorri_language::check::{File, FileReport, Report, check};
use snorri_language::diagnostic::Paint;
use snorri_language::explore::Bounds;
use snorri_language::text::Format;
use snorri_saga::time::Millis;

use super::files;

/// Something is to be mended.
const TO_MEND: u8 = 1;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Sub-sagas are looked for among the files.

Exit codes:
  0  nothing to mend
  1  errors, or warnings with --deny-warnings
  2  not all was checked: a file cannot be read (the others are), an option is not known")]
pub(crate) struct Args {
    /// Definitions, YAML or JSON; `-` is the standard input, as YAML
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the findings are told
    #[arg(long, value_enum, default_value_t = Output::Text)]
    format: Output,
    /// Warnings are to be mended, too
    #[arg(long)]
    deny_warnings: bool,
    /// Do not explore what may happen to a saga
    #[arg(long)]
    no_explore: bool,
    /// So many faults in one run are explored at most
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=9))]
    faults: u8,
    /// No further fault is begun with when that would probably take longer than this, for each definition
    #[arg(long, value_name = "SPAN", default_value = "1500ms", value_parser = Millis::parse)]
    time: Millis,
    /// Colours; `auto`: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    color: Colour,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For machines: one JSON document
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

/// What machines are told.
#[derive(Debug, serde::Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// The files that could not be read, each with the reason.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unread: &'a [String],
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut texts = Vec::with_capacity(args.files.len());
    let mut unread = Vec::new();
    for path in &args.files {
        match files::text(path) {
            Ok(text) => texts.push((files::name(path), text)),
            Err(error) => {
                eprintln!("error: {error}");
                unread.push(error);
            }
        }
    }
    let files: Vec<File<'_>> =
        texts.iter().map(|(name, text)| File { name, text, format: Format::of(name) }).collect();
    let mut report = check(&files, |_, _| None);
    if !args.no_explore {
        let began = Instant::now();
        let bounds = Bounds { faults: args.faults, time: args.time.to_std(), ..Bounds::default() };
        report.explore(&bounds, &|| began.elapsed());
    }
    let shown = match args.format {
        // It would be a report of nothing.
        Output::Text if texts.is_empty() => String::new(),
        Output::Text => text(&report, paint(args.color)),
        Output::Json => match serde_json::to_string_pretty(&Told { report: &report, unread: &unread }) {
            Ok(json) => json + "\n",
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(files::TROUBLE);
            }
        },
    };
    match std::io::stdout().lock().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: {error}");
            return ExitCode::from(files::TROUBLE);
        }
        // Who closes the pipe has read enough.
        Ok(()) | Err(_) => {}
    }
    if !unread.is_empty() {
        ExitCode::from(files::TROUBLE)
    } else if report.errors > 0 || (args.deny_warnings && report.warnings > 0) {
        ExitCode::from(TO_MEND)
    } else {
        ExitCode::SUCCESS
    }
}

fn paint(colour: Colour) -> Paint {
    let is_on = match colour {
        Colour::Always => true,
        Colour::Never => false,
        // https://no-color.org: any value that is not empty.
        Colour::Auto => {
            std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    };
    if is_on { Paint::COLOURED } else { Paint::PLAIN }
}

fn text(report: &Report, paint: Paint) -> String {
    let files: Vec<String> = report.files.iter().map(|file| told(file, paint)).collect();
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!(
        "{}\n{}, {} in {}\n",
        files.join("\n"),
        count(report.errors, "error"),
        count(report.warnings, "warning"),
        count(report.files.len(), "file")
    )
}

/// A file's findings, then how long its sagas may take.
fn told(file: &FileReport, paint: Paint) -> String {
    let mut parts: Vec<String> = file.diagnostics.iter().map(|diagnostic| diagnostic.render(paint)).collect();
    if let Some(worst) = &file.worst_case {
        let name = file.name.as_deref().unwrap_or_default();
        parts.push(format!("{} {}\n{}", paint.bold(name), paint.dim(&file.file), worst.render(paint)));
    }
    for explored in &file.explored {
        let told = explored.to_string();
        let lines: Vec<String> = told.lines().map(|line| format!("  {line}")).collect();
        parts.push(lines.join("\n") + "\n");
    }
    parts.join("\n")
}
