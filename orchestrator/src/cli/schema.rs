//! `snorri schema`: the JSON Schema of definitions, for editors.

use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write it into this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match super::files::put(&snorri_language::schema::text(), args.output.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(error),
    }
}
