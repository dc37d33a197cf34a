//! The commands, a file each.

pub(crate) mod bench;
pub(crate) mod chaos;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod diff;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod graph;
pub(crate) mod health;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod participant;
pub(crate) mod private;
pub(crate) mod schema;
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

/// A runtime for a process that passes messages on: one thread for each two processors, or as many as
/// `TOKIO_WORKER_THREADS` says. What is under way is seldom more than one thread can do, and with more of them most of what
/// comes wakes one that sleeps, takes it from the broker and the database beside it, and is done alone.
pub(crate) fn relay_runtime() -> Result<tokio::runtime::Runtime, std::io::Error> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        builder.worker_threads(processors.div_ceil(2));
    }
    builder.enable_all().build()
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
