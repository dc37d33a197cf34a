//! `snorri dev`: a private installation that stays up, for a user's own work.

use std::path::PathBuf;
use std::process::ExitCode;

use snorri_demo::World;
use tokio::signal::unix::{SignalKind, signal};

use super::private::{Error, Plan, Private, Shares};

mod examples;

use examples::{DEFINITIONS, Examples};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of all data; it stays, delete it to begin anew
    #[arg(long, default_value = ".snorri/dev")]
    dir: PathBuf,
    /// The port of the REST API, if it is free
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The port of probes and metrics, if it is free
    #[arg(long, default_value_t = 9090)]
    admin_port: u16,
    /// The port of Postgres, if it is free
    #[arg(long, default_value_t = 54329)]
    postgres_port: u16,
    /// The port of NATS, if it is free
    #[arg(long, default_value_t = 4222)]
    nats_port: u16,
    /// Do not install anything
    #[arg(long)]
    no_install: bool,
    /// Where traces go, such as http://127.0.0.1:4318
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

pub(crate) fn run(args: Args) -> ExitCode {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(error),
    };
    match runtime.block_on(dev(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(error),
    }
}

fn say(line: &str) {
    println!("  · {line}");
}

async fn dev(args: Args) -> Result<(), Error> {
    let no_signal = |error: std::io::Error| Error::Api(format!("cannot listen for signals: {error}"));
    let mut term = signal(SignalKind::terminate()).map_err(no_signal)?;
    let mut int = signal(SignalKind::interrupt()).map_err(no_signal)?;
    let began = std::time::Instant::now();
    let plan = Plan {
        dir: args.dir.clone(),
        install: !args.no_install,
        listen: Some(args.port),
        admin: Some(args.admin_port),
        postgres: Some(args.postgres_port),
        nats: Some(args.nats_port),
        world: World::default(),
        troubles: Shares::default(),
        otlp_endpoint: args.otlp_endpoint,
    };
    println!();
    let mut private = tokio::select! {
        private = Private::start(plan, say) => private?,
        _ = term.recv() => return Ok(()),
        _ = int.recv() => return Ok(()),
    };
    let client = super::demo::Client::new(&private.api)?;
    let examples = Examples::open(&private, &client).await?;
    println!(
        "  · up in {:.1} s. Ctrl-C stops it; the data stays in {}\n",
        began.elapsed().as_secs_f64(),
        args.dir.display()
    );
    println!("    REST       {}", private.api);
    println!("    probes     {}/readyz   metrics {}/metrics", private.admin, private.admin);
    println!("    Postgres   {}", private.database("snorri"));
    println!("    NATS       {}", private.stack.nats.url());
    println!("    logs       {}/logs", args.dir.display());
    println!("    sagas      {}", DEFINITIONS.map(|(name, _)| name).join(", "));
    println!("               of sagas/definitions; an input for each stands at the head of its file\n");
    println!("  Try:");
    println!(
        "    curl -s {}/v1/sagas -H 'idempotency-key: try-1' -H 'content-type: application/json' \\",
        private.api
    );
    println!(
        "      -d '{}'",
        serde_json::json!({"definition": "order", "input": snorri_demo::order(1, 1, &World::default())})
    );
    println!("    curl -s '{}/v1/sagas?limit=5'\n", private.api);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = tick.tick() => {
                if private.revive_orchestrator()? {
                    println!("  · the orchestrator ended (see {}/logs/orchestrator.log) and is started anew", args.dir.display());
                }
                let revived = private.revive_participants()?;
                if revived > 0 {
                    println!("  · started {revived} participant(s) anew");
                }
            }
        }
    }
    println!("\n  · stopping");
    examples.stop().await;
    private.stop().await;
    Ok(())
}
