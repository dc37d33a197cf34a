//! `snorri diff`: what changed between two definitions, and what it means.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use snorri_language::diff::Diff;

use super::files::{Definite, TROUBLE, put};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The definition as it was; `-`, for one of the two, is the standard input, as YAML
    old: PathBuf,
    /// The definition as it is now
    new: PathBuf,
    /// The definition of a sub-saga; may be repeated
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// How it is told
    #[arg(long, default_value = "text")]
    format: Format,
    /// Exit with 1 if anything changed
    #[arg(long)]
    exit_code: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let compared = || -> Result<Diff, String> {
        let (old, new) = (Definite::read(&args.old, &args.with)?, Definite::read(&args.new, &args.with)?);
        let diff = Diff::between(old.subject(), new.subject());
        let text = match args.format {
            Format::Text => diff.to_string(),
            Format::Json => serde_json::to_string_pretty(&diff).map_err(|error| error.to_string())? + "\n",
        };
        put(&text, None)?;
        Ok(diff)
    };
    match compared() {
        Ok(diff) if args.exit_code && !diff.same => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            super::fail(error);
            ExitCode::from(TROUBLE)
        }
    }
}
