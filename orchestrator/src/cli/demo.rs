//! `snorri demo`: a private installation, one order that fails and is undone before the reader's eyes, a
//! stream of orders, and what became of them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use snorri_demo::World;

use super::folder::{claim, clear};
use super::private::{Error, Plan, Private, Shares};

mod api;
mod orders;
mod story;
mod summary;

pub(crate) use api::Client;

/// The definition that the demo runs.
pub(crate) const ORDER: &str = include_str!("../../../sagas/definitions/order.yaml");

/// A share, from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a share is from 0 to 1".to_owned()) }
}

/// A time in seconds, from 0.1 to 3600.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("from 0.1 to 3600 seconds".to_owned()) }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many orders
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    orders: u64,
    /// How many orders are under way at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1000))]
    in_flight: u64,
    /// Draws the orders
    #[arg(long, default_value_t = 1179)]
    seed: u64,
    /// Kill the orchestrator (-9) so often during the run, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    kill_every: Option<f64>,
    /// Kill nats-server and delete its store so many times during the run
    #[arg(long, default_value_t = 0, value_name = "TIMES")]
    wipe_nats: u64,
    /// The share of actions that fail and are tried again
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    fail: f64,
    /// The share of actions that are slow
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    slow: f64,
    /// The share of actions that kill their participant
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    crash: f64,
    /// The folder of all data; deleted at the end
    #[arg(long, default_value = ".snorri/demo")]
    dir: PathBuf,
    /// Leave the folder when the demo ends
    #[arg(long)]
    keep: bool,
    /// Do not install anything
    #[arg(long)]
    no_install: bool,
    /// Where traces go, such as http://127.0.0.1:4318
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    if let Err(error) = claim(&args.dir, "demo") {
        return super::fail(error);
    }
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(error),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = demo(args) => result,
            () = super::interrupted() => Err(Error::Api("interrupted".to_owned())),
        }
    });
    // Its children and servers end with the runtime; then the folder can go.
    drop(runtime);
    if !args.keep {
        clear(&args.dir);
    }
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => super::fail("the audit found problems: see above"),
        Err(error) => super::fail(error),
    }
}

fn say(line: &str) {
    println!("  · {line}");
}

async fn demo(args: &Args) -> Result<bool, Error> {
    println!("\n  Snorri: one business transaction over several services, finished or undone.\n");
    let plan = Plan {
        dir: args.dir.clone(),
        install: !args.no_install,
        listen: Some(8080),
        admin: Some(9090),
        postgres: None,
        nats: None,
        world: World::for_orders(args.orders),
        troubles: Shares { fail: args.fail, slow: args.slow, crash: args.crash },
        otlp_endpoint: args.otlp_endpoint.clone(),
    };
    let began = std::time::Instant::now();
    let world = plan.world.clone();
    let mut private = Private::start(plan, say).await?;
    println!(
        "  · up in {:.1} s: Postgres, NATS, the orchestrator, and four participants\n",
        began.elapsed().as_secs_f64()
    );
    println!("    REST     {}/v1/sagas", private.api);
    println!("    metrics  {}/metrics", private.admin);
    println!("    data     {} (deleted at the end)\n", args.dir.display());
    let client = api::Client::new(&private.api)?;
    client.submit(ORDER).await?;
    let first = story::tell(&client, args.seed).await?;
    let faults = orders::Faults {
        kill_every: args.kill_every.map(Duration::from_secs_f64),
        wipe_nats: args.wipe_nats,
    };
    let mut run = orders::run(&mut private, &client, args, &world, faults).await?;
    run.ended.push(first);
    let is_clean = summary::show(&private, &world, &run).await?;
    private.stop().await;
    Ok(is_clean)
}
