//! `snorri bench`: one workload through a whole installation that it starts itself, measured from outside.
//!
//! ```text
//!   bench           arguments, the run as a whole
//!   bench/rows      what is measured, and in which order; the plain rows
//!   bench/floor     the same reads and writes without the product
//!   bench/one_of_three  one of three orchestrators is killed
//!   bench/overload  more than it can do
//!   bench/soak      an hour of the same
//!   bench/watch     what processes use, and a load does, for a while
//!   bench/stage     the installation: servers, orchestrator, participants
//!   bench/questions what Postgres is asked
//!   bench/load      the sagas of a row: begun, ended, how long it took
//!   bench/starters  how starts go out and endings come in
//!   bench/http      the least HTTP that starts a saga
//!   bench/process   child processes, and what `/proc` says of them
//!   bench/report    the JSON file
//!   bench/table     the tables
//!   bench/median    several runs in one report
//! ```
//!
//! The load generator shares the machine with what it measures, so it runs on one thread and does little.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

pub(crate) mod floor;
mod http;
mod load;
mod median;
mod one_of_three;
mod overload;
pub(crate) mod participant;
mod process;
mod questions;
mod report;
mod rows;
mod soak;
mod stage;
mod starters;
mod table;
mod watch;

use report::Report;
use stage::Stage;

/// The definition's name.
const DEFINITION: &str = "bench";
/// The participant's name.
const PARTICIPANT: &str = "bench";
/// The steps in their order.
const STEPS: [&str; 3] = ["s1", "s2", "s3"];

fn steps() -> impl DoubleEndedIterator<Item = &'static str> + ExactSizeIterator {
    STEPS.into_iter()
}

fn compensation_of(step: &str) -> String {
    format!("undo-{step}")
}

/// A number of sagas in flight.
fn in_flight(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=100_000) => Ok(count),
        _ => Err("from 1 to 100000".to_owned()),
    }
}

/// The arguments of `snorri bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long each closed loop is measured, in seconds; the open loop is measured twice as long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The closed loops' numbers of sagas in flight
    #[arg(long, value_delimiter = ',', default_values_t = [16, 64, 256, 1024], value_parser = in_flight)]
    in_flight: Vec<usize>,
    /// The starts a second of the open loop, and of the soak
    #[arg(long, default_value_t = 167, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Row::USUAL)]
    rows: Vec<Row>,
    /// How often the whole set is measured, each time on fresh servers; the table shows medians
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    runs: u32,
    /// The overload's starts a second [default: five times the best closed loop]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    overload_rate: Option<u64>,
    /// How long the overload lasts, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    overload_seconds: u64,
    /// How long the soak lasts, in minutes
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    soak_minutes: u64,
    /// Every start carries an idempotency key
    #[arg(long)]
    keys: bool,
    /// How many batches the orchestrator commits side by side (its `--lanes`)
    #[arg(long)]
    lanes: Option<u32>,
    /// The JSON file; the servers' folder stands beside it
    #[arg(long, default_value = "target/bench.json")]
    out: PathBuf,
    /// An empty database to use, instead of a private server; with `--nats-url`
    #[arg(long, requires = "nats_url")]
    postgres_url: Option<String>,
    /// A NATS server to use, instead of a private one; with `--postgres-url`
    #[arg(long, requires = "postgres_url")]
    nats_url: Option<String>,
    /// How many replicas the streams have, on a NATS cluster
    #[arg(long, default_value_t = 1)]
    stream_replicas: usize,
    /// Leave the servers' folder and the logs
    #[arg(long)]
    keep: bool,
}

/// The groups of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    /// Closed loops, starts over REST
    Throughput,
    /// An open loop at a fixed rate
    Open,
    /// The closed loops without the product: the same reads and writes and nothing else
    Floor,
    /// `kill -9` of the orchestrator, and its restart
    Kill,
    /// `kill -9` of one of three orchestrators, which stays away
    KillOneOfThree,
    /// A closed loop, starts over NATS
    Nats,
    /// A closed loop, participants with the barrier in their own database
    Barrier,
    /// Several times as many starts as can be done
    Overload,
    /// A steady load for an hour; not measured unless it is asked for
    Soak,
}

impl Row {
    const USUAL: [Self; 8] = [
        Self::Open,
        Self::Throughput,
        Self::Floor,
        Self::Kill,
        Self::KillOneOfThree,
        Self::Nats,
        Self::Barrier,
        Self::Overload,
    ];
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// Why nothing, or not everything, could be measured.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The private servers.
    #[error(transparent)]
    Stack(#[from] snorri_stack::Error),
    /// The system.
    #[error("could not {what}: {source}")]
    Io { what: String, source: std::io::Error },
    /// Postgres.
    #[error("postgres: {0}")]
    Postgres(#[from] sqlx::Error),
    /// NATS.
    #[error("nats: {0}")]
    Nats(String),
    /// The bus of the floor.
    #[error(transparent)]
    Bus(#[from] snorri_bus::Error),
    /// The floor.
    #[error("the floor: {0}")]
    Floor(String),
    /// Arguments that do not go together.
    #[error("{0}")]
    Args(&'static str),
    /// Several runs that cannot be put together.
    #[error("the runs cannot be put together: {0}")]
    Combine(#[from] serde_json::Error),
    /// The participants.
    #[error(transparent)]
    Participant(#[from] snorri_participant::Error),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] snorri_saga::ids::NotAName),
    /// A histogram.
    #[error(transparent)]
    Histogram(#[from] hdrhistogram::CreationError),
    /// A process ended by itself.
    #[error("the {name} ended ({status}). The end of its log:\n{tail}")]
    Ended { name: &'static str, status: String, tail: String },
    /// Something did not happen in time.
    #[error("{what} took longer than {seconds} s. The end of the orchestrator's log:\n{tail}")]
    Late { what: String, seconds: u64, tail: String },
    /// The orchestrator said no.
    #[error("the orchestrator answered {status} to {what}: {body}")]
    Refused { what: &'static str, status: u16, body: String },
    /// Ctrl-C or a termination signal.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    fn nats(error: impl std::fmt::Display) -> Self {
        Self::Nats(error.to_string())
    }
}

/// A line for whoever watches.
fn say(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

pub(crate) fn run(args: &Args) -> ExitCode {
    super::logs::init(super::logs::Format::Text, "warn");
    match whole(args) {
        Ok(report) => {
            println!("{}", report.table());
            say(format_args!("written to {}", args.out.display()));
            let problems = report.problems();
            for problem in &problems {
                say(format_args!("PROBLEM: {problem}"));
            }
            if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => super::fail(error),
    }
}

fn whole(args: &Args) -> Result<Report, Error> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Io { what, source }
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("start a runtime"))?;
    let beside = args.out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    std::fs::create_dir_all(beside).map_err(io("make the folder of the JSON file"))?;
    let local = LocalSet::new();
    let report = local.block_on(&runtime, async {
        let interrupt = interrupted()?;
        tokio::select! {
            report = stage_and_measure(args, beside) => report,
            () = interrupt => Err(Error::Interrupted),
        }
    })?;
    std::fs::write(&args.out, report.json()).map_err(io("write the JSON file"))?;
    Ok(report)
}

async fn stage_and_measure(args: &Args, beside: &Path) -> Result<Report, Error> {
    let mut found = rows::Found::default();
    let mut reports = Vec::new();
    for run in 1..=args.runs {
        if args.runs > 1 {
            say(format_args!("run {run} of {}", args.runs));
        }
        let mut stage = Stage::set(args, beside, run).await?;
        let result = rows::measure(args, &mut stage, &mut found).await;
        stage.strike().await;
        reports.push(result?);
    }
    Ok(median::combine(reports)?)
}

/// Resolves when the user has had enough.
fn interrupted() -> Result<impl Future<Output = ()>, Error> {
    let io = |source| Error::Io { what: "listen to signals".to_owned(), source };
    let mut term = signal(SignalKind::terminate()).map_err(io)?;
    let mut int = signal(SignalKind::interrupt()).map_err(io)?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
