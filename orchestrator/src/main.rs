//! The one binary: `snorri`. It parses, sets up logs, runs one command, and turns its end into an exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Snorri: a saga orchestrator that people can trust
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the orchestrator
    Serve(Box<cli::serve::Args>),
    /// Apply the database's migrations, then exit
    Migrate(cli::migrate::Args),
    /// Ask a running orchestrator whether it is ready; exit code 0 if it is
    Health(cli::health::Args),
    /// Check definitions: everything that is wrong with them, with its place and the mend, and how long their sagas may take
    Check(cli::check::Args),
    /// Draw a definition: what follows what, the way back, the point of no return
    Graph(cli::graph::Args),
    /// Tell what changed between two definitions, and what it means
    Diff(cli::diff::Args),
    /// Print the JSON Schema of definitions, for editors
    Schema(cli::schema::Args),
    /// Run a private stack and 200 orders through it, and show what happened
    Demo(cli::demo::Args),
    /// Keep a private stack up for your own work
    Dev(cli::dev::Args),
    /// Measure: throughput, latency, recovery; a table and a JSON file
    Bench(cli::bench::Args),
    /// Break a whole installation again and again under load, heal it, and audit what became of every saga
    Chaos(cli::chaos::Args),
    /// Run the participant of `bench`
    #[command(hide = true)]
    BenchParticipant(cli::bench::participant::Args),
    /// Run one of the two processes of `bench`'s floor
    #[command(hide = true)]
    BenchFloor(cli::bench::floor::Args),
    /// Run one of the demo's participants
    #[command(hide = true)]
    Participant(cli::participant::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        Command::Serve(args) => cli::serve::run(*args),
        Command::Migrate(args) => cli::migrate::run(&args),
        Command::Health(args) => cli::health::run(&args),
        Command::Check(args) => cli::check::run(&args),
        Command::Graph(args) => cli::graph::run(&args),
        Command::Diff(args) => cli::diff::run(&args),
        Command::Schema(args) => cli::schema::run(&args),
        Command::Demo(args) => cli::demo::run(&args),
        Command::Dev(args) => cli::dev::run(args),
        Command::Bench(args) => cli::bench::run(&args),
        Command::Chaos(args) => cli::chaos::run(&args),
        Command::BenchParticipant(args) => cli::bench::participant::run(args),
        Command::BenchFloor(args) => cli::bench::floor::run(&args),
        Command::Participant(args) => cli::participant::run(args),
    }
}
