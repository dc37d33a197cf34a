//! `snorri graph`: a picture of a definition.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use snorri_language::picture;

use super::files::{Definite, TROUBLE, put};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The definition, YAML or JSON; `-` is the standard input, as YAML
    file: PathBuf,
    /// The definition of a sub-saga; may be repeated
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// How it is drawn [default: by the name of the output, or svg]
    #[arg(long)]
    format: Option<Format>,
    /// Write it into this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A picture for browsers
    Svg,
    /// A text for places that draw it themselves
    Mermaid,
}

/// The format that a file's name says.
fn by_name(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "svg" => Some(Format::Svg),
        "mmd" | "mermaid" => Some(Format::Mermaid),
        _ => None,
    }
}

/// Whether the file's name promises what cannot be drawn.
fn is_of_another_kind(file: &Path) -> bool {
    file.extension().is_some() && by_name(file).is_none()
}

pub(crate) fn run(args: &Args) -> ExitCode {
    if let Some(file) =
        args.output.as_deref().filter(|file| args.format.is_none() && is_of_another_kind(file))
    {
        super::fail(format!(
            "{}: a picture is drawn as SVG or Mermaid: name the file `.svg` or `.mmd`, or say `--format`",
            file.display()
        ));
        return ExitCode::from(TROUBLE);
    }
    let named = args.output.as_deref().and_then(by_name);
    let format = match args.format.or(named).unwrap_or(Format::Svg) {
        Format::Svg => picture::Format::Svg,
        Format::Mermaid => picture::Format::Mermaid,
    };
    let drawn = Definite::read(&args.file, &args.with).map(|read| picture::draw(read.subject(), format));
    match drawn.and_then(|text| put(&text, args.output.as_deref())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            super::fail(error);
            ExitCode::from(TROUBLE)
        }
    }
}
