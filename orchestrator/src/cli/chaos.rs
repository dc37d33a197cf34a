//! `snorri chaos`: a whole installation under load is broken again and again, then healed, and an audit that shares no
//! code with the orchestrator says whether every promise was kept.
//!
//! ```text
//!   chaos            arguments, the run as a whole
//!   chaos/plan       which fault comes when, from a seed (chaos/dice)
//!   chaos/nemesis    does the faults and undoes them, and brings back evidence
//!   chaos/proxy      hurts a TCP link
//!   chaos/relay      repeats replies in disorder
//!   chaos/streams    JetStream's state, and its losses
//!   chaos/fleet      the processes, and their supervisor
//!   chaos/load       the orders
//!   chaos/watch      what is under way, and whether any still ends
//!   chaos/ending     the heal window, and the audit
//!   chaos/explained  whether each end follows from its order
//!   chaos/verdict    whether the run proves anything
//!   chaos/report     the page and the JSON file
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use snorri_demo::{Service, World};
use tokio::time::{Instant, sleep};

use super::demo::{Client, ORDER};
use super::folder::{claim, clear};
use super::private::{Error, Shares, own_program};

mod dice;
mod ending;
mod explained;
mod fleet;
mod load;
mod nemesis;
mod plan;
mod proxy;
mod relay;
mod report;
mod streams;
mod verdict;
mod watch;

use ending::{Healed, Played, heal, judge};
use fleet::{Fleet, REPLICAS, Wanted};
use load::{Load, Seen};
use nemesis::{Carried, Nemesis};
use plan::{Cast, Planned};
use relay::Relay;
use report::{Outcome, Report, Setting};
use streams::Streams;
use watch::{HEALTHY_AFTER, Watch};

/// A promise was not kept.
const EXIT_VIOLATED: u8 = 3;
/// The run proves nothing.
const EXIT_INVALID: u8 = 4;
/// The load runs for so long before the first fault.
const WARM_UP: Duration = Duration::from_secs(5);
/// The troubles that the participants make by themselves: the crashes are rare, since an order has six commands.
const TROUBLES: Shares = Shares { fail: 0.02, slow: 0.15, crash: 0.0001 };
/// How long the nemesis may take beyond the window until its last fault is undone.
const LATE_MAX: Duration = Duration::from_mins(3);

/// The arguments of `snorri chaos`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long faults come, in seconds [default: 90]
    #[arg(long, conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(10..=86_400))]
    seconds: Option<u64>,
    /// How long faults come, in minutes
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: Option<u64>,
    /// How long everything may take to end once all faults are over, in seconds [default: 120, and 300 from 5 minutes on]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    heal: Option<u64>,
    /// Draws the faults and the orders [default: another one each time; the report says it]
    #[arg(long)]
    seed: Option<u64>,
    /// Orders a second
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,
    /// How many orchestrators there are
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=16))]
    orchestrators: u64,
    /// The file of an older build: processes of both run mixed, and are flipped from one to the other
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// The folder of the report
    #[arg(long, default_value = "target/chaos")]
    report: PathBuf,
    /// The folder of all data; deleted at the end
    #[arg(long, default_value = ".snorri/chaos")]
    dir: PathBuf,
    /// Leave the data and the logs
    #[arg(long)]
    keep: bool,
    /// Do not install anything
    #[arg(long)]
    no_install: bool,
}

impl Args {
    fn window(&self) -> Duration {
        match (self.seconds, self.minutes) {
            (_, Some(minutes)) => Duration::from_secs(60 * minutes),
            (seconds, None) => Duration::from_secs(seconds.unwrap_or(90)),
        }
    }

    fn is_short(&self) -> bool {
        self.window() < Duration::from_mins(5)
    }

    fn heal(&self) -> Duration {
        let usual = if self.is_short() { 120 } else { 300 };
        Duration::from_secs(self.heal.unwrap_or(usual))
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    if let Err(error) = claim(&args.dir, "chaos") {
        return super::fail(error);
    }
    if let Err(error) = report::prepare(&args.report, &args.dir) {
        clear(&args.dir);
        return super::fail(error);
    }
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(error),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = chaos(args) => result,
            () = super::interrupted() => Err(Error::Api("interrupted".to_owned())),
        }
    });
    drop(runtime);
    // The logs of what failed are of use.
    let is_clean = result.as_ref().is_ok_and(|outcome| *outcome == Outcome::Clean);
    if args.keep || !is_clean {
        println!("  · data and logs are in {}", args.dir.display());
    } else {
        clear(&args.dir);
    }
    match result {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Violated) => ExitCode::from(EXIT_VIOLATED),
        Ok(Outcome::Invalid) => ExitCode::from(EXIT_INVALID),
        Err(error) => super::fail(error),
    }
}

fn say(line: &str) {
    println!("  · {line}");
}

/// What a run works with.
struct Stage {
    fleet: Arc<Fleet>,
    watch: Arc<Watch>,
    seen: Arc<Seen>,
    streams: Streams,
    world: World,
}

async fn chaos(args: &Args) -> Result<Outcome, Error> {
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let (window, orchestrators) = (args.window(), usize::try_from(args.orchestrators).unwrap_or(1));
    let previous = args.previous.as_deref().map(Previous::of).transpose()?;
    let cast = Cast {
        orchestrators,
        participants: Service::all().len() * REPLICAS,
        services: Service::all().len(),
        flips: previous.is_some(),
    };
    let plan = plan::draw(seed, window, cast);
    say(&format!("seed {seed}: {} faults in {} s, {} orders/s", plan.len(), window.as_secs(), args.rate));
    let world = World::for_orders(args.rate * (window + args.heal() + WARM_UP).as_secs());
    let wanted = Wanted {
        dir: args.dir.clone(),
        install: !args.no_install,
        orchestrators,
        world: world.clone(),
        troubles: TROUBLES,
        program: own_program()?,
        previous: previous.as_ref().map(|previous| previous.program.clone()),
    };
    let fleet = Arc::new(Fleet::start(wanted, say).await?);
    for api in fleet.apis().iter().take(1) {
        Client::new(api)?.submit(ORDER).await?;
    }
    let api = |error: &dyn std::fmt::Display| Error::Api(format!("NATS: {error}"));
    let nats = async_nats::ConnectOptions::new()
        .retry_on_initial_connect()
        .connect(fleet.stack.nats.url())
        .await
        .map_err(|error| api(&error))?;
    let setting = Setting {
        seed,
        window_seconds: window.as_secs(),
        heal_seconds: args.heal().as_secs(),
        rate: args.rate,
        orchestrators,
        participants: cast.participants,
        snorri: own_version(),
        previous: previous.map(|previous| previous.version),
        postgres: postgres_version(&fleet).await?,
        nats: nats_version(&fleet).await?,
    };
    let starts = Arc::new(Seen::default());
    let watch = Arc::new(Watch::new(fleet.clone(), starts.clone())?);
    let stage = Stage { fleet, watch, seen: starts, streams: Streams::new(nats.clone()), world };
    let outcome = tokio::select! {
        report = play(args, &stage, setting, &plan, Arc::new(Relay::new(nats))) => finish(args, &report?),
        supervised = stage.fleet.supervise() => Err(supervised.err().unwrap_or(Error::Api("no supervisor".to_owned()))),
    };
    let Stage { fleet, watch, .. } = stage;
    drop(watch);
    if let Ok(fleet) = Arc::try_unwrap(fleet) {
        fleet.stop().await;
    }
    outcome
}

/// The load, the chaos, the heal window and the audit.
async fn play(
    args: &Args,
    stage: &Stage,
    setting: Setting,
    plan: &[Planned],
    relay: Arc<Relay>,
) -> Result<Report, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let load = Load {
        apis: stage.fleet.apis(),
        rate: setting.rate,
        seed: setting.seed,
        world: stage.world.clone(),
        seen: stage.seen.clone(),
        stop: stop.clone(),
    };
    let mut ordering = tokio::task::JoinSet::new();
    ordering.spawn(load::run(load));
    let listening = relay.clone();
    let mut relaying = tokio::task::JoinSet::new();
    relaying.spawn(async move { listening.listen().await });
    let watching = stage.watch.run();
    tokio::pin!(watching);
    let mut memory_before = Vec::new();
    let faults = Mutex::new(Vec::with_capacity(plan.len()));
    let played = async {
        sleep(WARM_UP).await;
        memory_before = stage.watch.memory();
        wreak(args, stage, setting.seed, plan, relay, &faults).await?;
        say("all faults are over");
        if args.previous.is_some() {
            stage.fleet.upgrade_participants().await?;
            say("all participants run this build");
        }
        stage.watch.healed();
        // More load, on a system that is whole: in a long run for so long that its wake-ups are judged.
        sleep(if args.is_short() { WARM_UP } else { WARM_UP + HEALTHY_AFTER }).await;
        stop.store(true, Ordering::Relaxed);
        Ok::<_, Error>(heal(stage, args.heal()).await)
    };
    let (healed, stuck) = tokio::select! {
        healed = played => (healed?, None),
        why = &mut watching => (Healed { seconds: 0.0, is_whole: false }, Some(why)),
    };
    if !healed.is_whole {
        let dir = args.report.join("dump");
        say(&format!("not everything ended: what there is to see is in {}", dir.display()));
        stage.watch.dump(&dir, &stage.streams).await?;
    }
    ordering.abort_all();
    let mut faults = faults.into_inner().unwrap_or_else(PoisonError::into_inner);
    faults.sort_by_key(|fault| fault.number);
    judge(stage, Played { setting, plan, faults, healed, memory_before, stuck }).await
}

/// Carries out the plan.
async fn wreak(
    args: &Args,
    stage: &Stage,
    seed: u64,
    plan: &[Planned],
    relay: Arc<Relay>,
    carried: &Mutex<Vec<Carried>>,
) -> Result<(), Error> {
    let nemesis = Nemesis {
        fleet: stage.fleet.clone(),
        watch: stage.watch.clone(),
        relay,
        streams: stage.streams.clone(),
        seed,
    };
    let wreaking = nemesis.run(plan, Instant::now(), carried, say);
    match tokio::time::timeout(args.window() + LATE_MAX, wreaking).await {
        Ok(done) => done,
        Err(_) => Err(Error::Api("the faults could not be carried out in time".to_owned())),
    }
}

fn finish(args: &Args, report: &Report) -> Result<Outcome, Error> {
    let files = report.write(&args.report)?;
    let page = report.page();
    // The list of faults was on the screen already.
    println!("\n{}", page.split("## Faults").next().unwrap_or(&page));
    for file in files {
        say(&file.display().to_string());
    }
    Ok(report.outcome())
}

async fn postgres_version(fleet: &Fleet) -> Result<String, Error> {
    let stack = fleet.stack.clone();
    let rows =
        tokio::task::spawn_blocking(move || stack.postgres.query("postgres", "SHOW server_version")).await;
    let rows = rows.map_err(|error| Error::Api(error.to_string()))??;
    Ok(rows.into_iter().flatten().flatten().next().unwrap_or_default())
}

async fn nats_version(fleet: &Fleet) -> Result<String, Error> {
    let stack = fleet.stack.clone();
    let info = tokio::task::spawn_blocking(move || stack.nats.info()).await;
    let info = info.map_err(|error| Error::Api(error.to_string()))?.unwrap_or_default();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap_or_default();
    Ok(info.get("version").and_then(serde_json::Value::as_str).unwrap_or("?").to_owned())
}

fn own_version() -> String {
    let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    format!("snorri {} ({build})", env!("CARGO_PKG_VERSION"))
}

/// A version and the name of its file: reports are kept and shown, and the folders of a machine are nobody's business.
fn with_name(version: &str, program: &Path) -> String {
    format!("{version} ({})", file_name(program))
}

fn file_name(program: &Path) -> std::borrow::Cow<'_, str> {
    program.file_name().unwrap_or_default().to_string_lossy()
}

/// The older build.
struct Previous {
    program: PathBuf,
    version: String,
}

impl Previous {
    fn of(program: &Path) -> Result<Self, Error> {
        let failed = |why: String| Error::Api(format!("--previous {}: {why}", program.display()));
        let output = std::process::Command::new(program)
            .arg("--version")
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(format!("`--version` ended by {}", output.status)));
        }
        let program = program.canonicalize().map_err(|error| failed(error.to_string()))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { version: with_name(&version, &program), program })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_a_build_by_its_version_and_file_and_not_by_its_folder() {
        assert_eq!(with_name("snorri 0.1.0", Path::new("/some/folder/snorri-1")), "snorri 0.1.0 (snorri-1)");
        let gone = Path::new("/some/folder/snorri (deleted)");
        assert_eq!(file_name(gone), "snorri (deleted)");
    }
}
