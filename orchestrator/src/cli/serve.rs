//! `snorri serve`.

use std::process::ExitCode;

use snorri::Orchestrator;
use snorri::config::Config;
use tokio::signal::unix::{SignalKind, signal};

use super::{logs, private};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) config: Config,
    /// How logs look
    #[arg(long, env = "SNORRI_LOG_FORMAT", value_enum, default_value = "json")]
    pub(crate) log_format: logs::Format,
    /// End when standard input closes
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

pub(crate) fn run(args: Args) -> ExitCode {
    logs::init(args.log_format, "info");
    let runtime = match super::relay_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(error),
    };
    runtime.block_on(serve(args.config, args.until_stdin_closes))
}

async fn serve(config: Config, until_stdin_closes: bool) -> ExitCode {
    let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => return super::fail(error),
    };
    let closed = async {
        if until_stdin_closes {
            private::stdin_closed().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(closed);
    let start = Orchestrator::start(config);
    let mut orchestrator = tokio::select! {
        started = start => match started {
            Ok(orchestrator) => orchestrator,
            Err(error) => {
                let error = snorri::chain(&error);
                tracing::error!(error, "the orchestrator cannot start");
                return super::fail(error);
            }
        },
        _ = term.recv() => return ExitCode::SUCCESS,
        _ = int.recv() => return ExitCode::SUCCESS,
        () = &mut closed => return ExitCode::SUCCESS,
    };
    let failure = tokio::select! {
        error = orchestrator.failed() => Some(error),
        _ = term.recv() => None,
        _ = int.recv() => None,
        () = &mut closed => None,
    };
    orchestrator.shut_down().await;
    match failure {
        Some(error) => super::fail(snorri::chain(&error)),
        None => ExitCode::SUCCESS,
    }
}
