//! Structured logs on standard error, without payloads.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Sets logs up. `RUST_LOG` says how much; without it, what matters.
pub(crate) fn init(format: Format, default: &str) {
    // What the pool says of single connections, we say once of all.
    let quiet = format!("{default},sqlx_core::pool=off");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = match format {
        Format::Json => builder.json().flatten_event(true).try_init(),
        Format::Text => builder.with_target(false).try_init(),
    };
    if let Err(error) = result {
        eprintln!("logs could not be set up: {error}");
    }
}
