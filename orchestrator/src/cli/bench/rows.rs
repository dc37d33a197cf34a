//! What is measured, row by row.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::AbortHandle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, interval, sleep, timeout};

use super::floor::{self, sizes};
use super::load::{Load, REJECTED_EVERY};
use super::report::{Report, RowReport};
use super::stage::Stage;
use super::starters::{self, Tasks};
use super::watch::Watch;
use super::{Args, Error, Row, one_of_three, overload, say, soak};

/// How long the load runs before it is measured.
pub(super) const WARM_UP: Duration = Duration::from_secs(2);
/// How long what was begun may take to end.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(90);
/// How long the first saga after a change of the stage may take.
pub(super) const FIRST_LIMIT: Duration = Duration::from_secs(30);
/// How many are in flight when the orchestrator is killed.
pub(super) const KILL_IN_FLIGHT: usize = 500;
/// In flight where no closed loop has told what is best.
const IN_FLIGHT_USUAL: usize = 256;
/// The slowest row's own limits are below this; it ends what would hang against all reason.
const ROW_LIMIT: Duration = Duration::from_mins(15);

/// How starts are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rest,
    Nats,
}

/// What an earlier run of the same set has found out, so that all runs measure the same rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// The best number in flight.
    best: Option<usize>,
    /// The starts a second of the overload.
    overload: Option<u64>,
}

/// Measures all rows that are asked for.
pub(super) async fn measure(args: &Args, stage: &mut Stage, found: &mut Found) -> Result<Report, Error> {
    let (postgres, nats) = stage.versions().await?;
    let mut report = Report::new(postgres, nats);
    let wants = |row| args.rows.contains(&row);
    first(stage).await?;
    let shape = if wants(Row::Floor) { Some(sizes::look(stage).await?) } else { None };
    // Before the others have filled the servers' memory and logs: the rate that must always be held is measured
    // on a system that is not just behind a storm.
    if wants(Row::Open) {
        report.add(in_time(timeout(ROW_LIMIT, open(args, stage)).await, stage)?);
    }
    if wants(Row::Soak) {
        report.add(soak::soak(args, stage).await?);
    }
    if wants(Row::Throughput) {
        for in_flight in &args.in_flight {
            let row = in_time(timeout(ROW_LIMIT, closed(args, stage, *in_flight, By::Rest)).await, stage)?;
            report.add(row);
        }
    }
    let best = *found.best.get_or_insert(report.best_in_flight().unwrap_or(IN_FLIGHT_USUAL));
    if let Some(shape) = shape {
        let span = Duration::from_secs(args.seconds);
        for in_flight in floors(args, best) {
            let floor = floor::row::floor(stage, &shape, in_flight, span);
            report.add(in_time(timeout(ROW_LIMIT, floor).await, stage)?);
        }
    }
    if wants(Row::Kill) {
        report.add(in_time(timeout(ROW_LIMIT, kill(stage)).await, stage)?);
    }
    if wants(Row::KillOneOfThree) {
        report.add(in_time(timeout(ROW_LIMIT, one_of_three::kill(stage)).await, stage)?);
    }
    if wants(Row::Nats) {
        report.add(in_time(timeout(ROW_LIMIT, closed(args, stage, best, By::Nats)).await, stage)?);
    }
    if wants(Row::Barrier) {
        stage.replace_participants(true)?;
        first(stage).await?;
        let mut row = in_time(timeout(ROW_LIMIT, closed(args, stage, best, By::Rest)).await, stage)?;
        row.in_flight = None;
        row.name = format!("{best} in flight, participants with the barrier in their own Postgres");
        report.add(row);
        stage.replace_participants(false)?;
        first(stage).await?;
    }
    // Last: it leaves the servers fuller than any other.
    if wants(Row::Overload) {
        let measured = report.best_rate().map(overload::rate_beyond);
        let rate = args.overload_rate.or(found.overload).or(measured);
        let Some(rate) = rate else {
            return Err(Error::Args("`overload` alone needs --overload-rate: nothing has told the capacity"));
        };
        found.overload = Some(rate);
        report.add(in_time(timeout(ROW_LIMIT, overload::overload(args, stage, rate)).await, stage)?);
    }
    report.compare_with_floor();
    let (all, live) = stage.sagas_in_postgres().await?;
    report.audit(all, live);
    Ok(report)
}

/// The numbers in flight of the floor: the best one and 16, or those asked for where no closed loop tells the best.
fn floors(args: &Args, best: usize) -> Vec<usize> {
    if !args.rows.contains(&Row::Throughput) {
        return args.in_flight.clone();
    }
    let few = if args.in_flight.contains(&16) { 16 } else { best };
    if few == best { vec![best] } else { vec![few, best] }
}

fn in_time<T>(row: Result<Result<T, Error>, Elapsed>, stage: &Stage) -> Result<T, Error> {
    row.unwrap_or_else(|_| Err(stage.late("a row", ROW_LIMIT)))
}

/// Ten sagas, one of which is rejected, so that streams, consumers and connections are there before anything is
/// measured.
async fn first(stage: &mut Stage) -> Result<(), Error> {
    let load = Load::begin(0)?;
    let mut tasks = Tasks::new();
    starters::listen(&mut tasks, &load, starters::endings(&stage.client, &stage.subjects).await?);
    let keys = run_key("first");
    starters::over_rest(&mut tasks, &load, stage.address, 1, Some(&keys));
    for _ in 0..REJECTED_EVERY {
        load.plan(Instant::now());
    }
    if load.drain(FIRST_LIMIT).await {
        return Ok(());
    }
    stage.orchestrator.check()?;
    stage.participants.check()?;
    Err(stage.late("the end of the first sagas", FIRST_LIMIT))
}

pub(super) fn run_key(row: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{row}-{}-{}", std::process::id(), since.as_millis())
}

/// So many in flight, each end begins the next.
async fn closed(args: &Args, stage: &mut Stage, in_flight: usize, by: By) -> Result<RowReport, Error> {
    let name = match by {
        By::Rest => format!("{in_flight} in flight"),
        By::Nats => format!("{in_flight} in flight, starts over NATS"),
    };
    say(format_args!("{name} …"));
    let load = Load::begin(in_flight)?;
    let mut tasks = Tasks::new();
    starters::listen(&mut tasks, &load, starters::endings(&stage.client, &stage.subjects).await?);
    let keys = run_key(&format!("closed-{in_flight}"));
    match by {
        By::Rest => {
            let keys = args.keys.then_some(keys.as_str());
            starters::over_rest(&mut tasks, &load, stage.address, in_flight, keys);
        }
        By::Nats => {
            starters::over_nats(&mut tasks, &load, &stage.client, &stage.subjects, &keys).await?;
        }
    }
    sleep(WARM_UP).await;
    let mut row = watch(stage, &load, Duration::from_secs(args.seconds)).await?;
    finish(stage, &load, DRAIN_LIMIT, &mut row).await?;
    row.name = name;
    row.in_flight = (by == By::Rest).then_some(in_flight);
    row.loop_in_flight = Some(in_flight);
    row.say();
    Ok(row)
}

/// So many starts a second, whatever becomes of them.
async fn open(args: &Args, stage: &mut Stage) -> Result<RowReport, Error> {
    let name = format!("{} starts a second", args.rate);
    say(format_args!("{name} …"));
    let load = Load::begin(0)?;
    let mut tasks = Tasks::new();
    starters::listen(&mut tasks, &load, starters::endings(&stage.client, &stage.subjects).await?);
    let keys = run_key("open");
    let keys = args.keys.then_some(keys.as_str());
    starters::over_rest(&mut tasks, &load, stage.address, usize::MAX, keys);
    let planner = plan(&mut tasks, &load, args.rate);
    sleep(WARM_UP).await;
    let mut row = watch(stage, &load, Duration::from_secs(args.seconds * 2)).await?;
    planner.abort();
    finish(stage, &load, DRAIN_LIMIT, &mut row).await?;
    row.name = name;
    row.is_open_loop = true;
    row.say();
    Ok(row)
}

/// Plans so many starts a second.
pub(super) fn plan(tasks: &mut Tasks, load: &Load, rate: u64) -> AbortHandle {
    let rate = f64::from(u32::try_from(rate).unwrap_or(u32::MAX));
    let (load, every) = (load.clone(), Duration::from_secs(1).div_f64(rate));
    tasks.spawn_local(async move {
        let mut plan = interval(every);
        loop {
            // The plan's time, not the time of waking up: a late start counts as late.
            let intended = plan.tick().await;
            load.plan(intended);
        }
    })
}

/// The orchestrator is killed with 500 in flight and started again at once.
async fn kill(stage: &mut Stage) -> Result<RowReport, Error> {
    let name = format!("kill -9 with {KILL_IN_FLIGHT} in flight");
    say(format_args!("{name} …"));
    let load = Load::begin(KILL_IN_FLIGHT)?;
    let mut tasks = Tasks::new();
    starters::listen(&mut tasks, &load, starters::endings(&stage.client, &stage.subjects).await?);
    let keys = run_key("kill");
    starters::over_rest(&mut tasks, &load, stage.address, KILL_IN_FLIGHT, Some(&keys));
    sleep(WARM_UP + Duration::from_secs(1)).await;
    load.stop();
    let in_flight = load.under_way();
    stage.orchestrator.kill();
    let (restarted, restarted_at) = (Instant::now(), SystemTime::now());
    stage.restart_orchestrator()?;
    let mut row = RowReport::new(name);
    finish(stage, &load, DRAIN_LIMIT, &mut row).await?;
    row.all_ended_s =
        load.read(|tally| tally.last_end).map(|last| last.saturating_duration_since(restarted).as_secs_f64());
    row.all_committed_s = stage.last_end_after(restarted_at).await?;
    row.under_way_at_kill = Some(in_flight);
    row.say();
    Ok(row)
}

/// Measures for a while.
async fn watch(stage: &mut Stage, load: &Load, span: Duration) -> Result<RowReport, Error> {
    let watch = Watch::begin(stage.processes(), load);
    sleep(span).await;
    let row = watch.end();
    stage.orchestrator.check()?;
    stage.participants.check()?;
    Ok(row)
}

/// Lets everything end, and checks that it did as it must.
pub(super) async fn finish(
    stage: &mut Stage,
    load: &Load,
    limit: Duration,
    row: &mut RowReport,
) -> Result<(), Error> {
    load.stop();
    let has_ended = load.drain(limit).await;
    stage.orchestrator.check()?;
    stage.participants.check()?;
    account(load, has_ended, limit, row);
    let (_, live) = stage.sagas_in_postgres().await?;
    if live > 0 {
        row.problems.push(format!("{live} sagas have not ended in Postgres"));
    }
    Ok(())
}

/// Writes down what became of the sagas, and what should not have.
pub(super) fn account(load: &Load, has_ended: bool, limit: Duration, row: &mut RowReport) {
    load.read(|tally| {
        row.accepted = tally.accepted;
        row.completed = tally.completed;
        row.compensated = tally.compensated;
        row.refused = tally.refused;
        if !has_ended || tally.accepted != tally.ended() {
            row.problems.push(format!(
                "{} accepted, {} seen to end; {} under way after {} s",
                tally.accepted,
                tally.ended(),
                load.under_way(),
                limit.as_secs()
            ));
        }
        if tally.wrong > 0 {
            row.problems.push(format!("{} ended otherwise than they must", tally.wrong));
        }
        if tally.failed > 0 {
            row.problems.push(format!("{} starts failed: {}", tally.failed, tally.complaints.join("; ")));
        }
    });
}
