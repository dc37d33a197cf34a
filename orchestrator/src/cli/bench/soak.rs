//! The long run: a steady load for an hour, a look at everything each ten seconds, and a verdict on whether
//! it stays as it was after the first ten minutes.
//!
//! ```text
//!   soak          the row: the load, the looks, the file of samples
//!   soak/sample   one look, and its line in the file
//!   soak/verdict  windows of ten minutes, and what counts as a drift
//! ```

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval_at};

use super::load::{Load, Tally};
use super::report::RowReport;
use super::rows::{DRAIN_LIMIT, WARM_UP, finish, plan};
use super::stage::Stage;
use super::starters::{self, Tasks};
use super::watch::Watch;
use super::{Args, Error, say};

mod sample;
mod verdict;

use sample::Sample;
use verdict::{Judgement, Window};

/// How often everything is looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// A window of the table; that of a short run is a sixth of it.
const WINDOW_MAX: Duration = Duration::from_mins(10);
/// The windows of a run that is shorter than an hour.
const WINDOWS_MIN: u32 = 6;
/// Shorter ones are shown and judged, and a drift is no problem of the row: streams keep messages for 15 minutes, so
/// the servers are still filling.
const COUNTS_FROM: Duration = Duration::from_mins(30);

/// What a long run showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Soak {
    pub(super) minutes: u64,
    /// The file of samples.
    pub(super) samples: PathBuf,
    pub(super) windows: Vec<Window>,
    pub(super) judgements: Vec<Judgement>,
}

/// A steady load for some minutes.
pub(super) async fn soak(args: &Args, stage: &mut Stage) -> Result<RowReport, Error> {
    let name = format!("soak: {} starts a second for {} minutes", args.rate, args.soak_minutes);
    say(format_args!("{name} …"));
    let samples = args.out.with_extension("soak.csv");
    let io = |source| Error::Io { what: format!("write {}", samples.display()), source };
    let mut file = File::create(&samples).map_err(io)?;
    let load = Load::begin(0)?;
    let mut tasks = Tasks::new();
    starters::listen(&mut tasks, &load, starters::endings(&stage.client, &stage.subjects).await?);
    starters::over_rest(&mut tasks, &load, stage.address, usize::MAX, None);
    let planner = plan(&mut tasks, &load, args.rate);
    tokio::time::sleep(WARM_UP).await;

    let length = Duration::from_secs(args.soak_minutes * 60);
    let window = (length / WINDOWS_MIN).min(WINDOW_MAX);
    let watch = Watch::begin(stage.processes(), &load);
    let began = Instant::now();
    let mut tick = interval_at(began + SAMPLE_EVERY, SAMPLE_EVERY);
    let mut before = Sample::take(stage, &load, began.elapsed()).await?;
    let base = before.clone();
    let mut all: Vec<Sample> = Vec::new();
    while began.elapsed() < length {
        tick.tick().await;
        stage.orchestrator.check()?;
        stage.participants.check()?;
        let sample = Sample::take(stage, &load, began.elapsed()).await?;
        if all.is_empty() {
            writeln!(file, "{}", sample.header()).map_err(io)?;
        }
        writeln!(file, "{}", sample.line(&before)).map_err(io)?;
        before = sample.clone();
        all.push(sample);
    }
    let mut row = watch.end();
    planner.abort();
    finish(stage, &load, DRAIN_LIMIT, &mut row).await?;
    let windows = verdict::windows(&base, &all, window);
    let judgements = verdict::judge(&windows);
    if length >= COUNTS_FROM {
        let drifts = judgements.iter().filter(|judgement| judgement.has_drifted);
        row.problems.extend(drifts.map(Judgement::to_string));
    }
    // The samples took the latencies; the row's own are those of all its windows.
    (row.end_to_end, row.start) = verdict::latencies(&windows);
    row.name = name;
    row.soak = Some(Soak { minutes: args.soak_minutes, samples, windows, judgements });
    row.say();
    Ok(row)
}

fn ended(load: &Load) -> u64 {
    load.read(Tally::ended)
}
