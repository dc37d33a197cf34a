//! The commands, a file each.

pub(crate) mod bench;
pub(crate) mod chaos;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod folder;
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

/// Resolves when the user asks for the end.
pub(crate) async fn interrupted() {
    let term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    match term {
        Ok(mut term) => {
            tokio::select! {
                _ = term.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            // Then only the other one is listened for.
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
