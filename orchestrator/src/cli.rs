//! The commands, a file each.

pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod health;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod participant;
pub(crate) mod private;
pub(crate) mod serve;

use std::process::ExitCode;

/// Says an error and gives the exit code that goes with it.
pub(crate) fn fail(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// A runtime for a command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, std::io::Error> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
