//! `snorri participant`: one of the demo's services as a process.

use std::process::ExitCode;

use snorri_demo::{Service, ServiceConfig, Troubles};
use snorri_participant::BusOptions;
use snorri_saga::ids::Name;
use snorri_saga::wire::Subjects;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{logs, private};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// inventory, payments, shipping or orders
    service: Service,
    /// The service's own database
    #[arg(long, env = "SNORRI_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Where NATS is
    #[arg(long, env = "SNORRI_NATS_URL", value_delimiter = ',', required = true)]
    nats_url: Vec<String>,
    /// The first token of all subjects and streams
    #[arg(long, env = "SNORRI_NAMESPACE", default_value = "snorri")]
    namespace: String,
    /// The share of actions that fail and are to be tried again
    #[arg(long, default_value_t = 0.0)]
    fail: f64,
    /// The share of actions that are slow
    #[arg(long, default_value_t = 0.0)]
    slow: f64,
    /// The share of actions that kill the process
    #[arg(long, default_value_t = 0.0)]
    crash: f64,
    /// How many commands go into one transaction
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Where traces go
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// End when standard input closes
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

pub(crate) fn run(args: Args) -> ExitCode {
    logs::init(logs::Format::Json, "info");
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(error),
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the participant ended");
            super::fail(error)
        }
    }
}

async fn serve(args: Args) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut term = signal(SignalKind::terminate()).map_err(|error| text(&error))?;
    let mut int = signal(SignalKind::interrupt()).map_err(|error| text(&error))?;
    let service_name = format!("snorri-demo-{}", args.service);
    let telemetry = snorri_participant::telemetry::install(&service_name, args.otlp_endpoint.as_deref())
        .map_err(|error| text(&error))?;
    let namespace = Name::new(&args.namespace).map_err(|error| text(&error))?;
    let config = ServiceConfig {
        database_url: args.database_url,
        bus: BusOptions {
            servers: args.nats_url,
            credentials: None,
            client_name: service_name,
            subjects: Subjects::new(namespace),
            stream_replicas: 1,
        },
        // A process of its own: it may really die.
        troubles: Troubles {
            fail: args.fail,
            slow: args.slow,
            crash: args.crash,
            abort: true,
            ..Troubles::default()
        },
        batch: (args.batch > 1).then_some(args.batch),
        concurrency: 32,
    };
    let stop = CancellationToken::new();
    let running = snorri_demo::run(args.service, config, stop.clone());
    let closed = async {
        if args.until_stdin_closes {
            private::stdin_closed().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended.map_err(|error| text(&error)),
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = closed => {}
    }
    stop.cancel();
    let ended = running.await.map_err(|error| text(&error));
    drop(telemetry);
    ended
}
