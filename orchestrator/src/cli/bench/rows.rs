//! What is measured, row by row.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::error::Elapsed;
use tokio::time::{Instant, interval, sleep, timeout};

use super::load::{Load, Tally};
use super::process::{Who, machine_cpu};
use super::report::{Latency, Report, RowReport, Usage, per_second};
use super::stage::Stage;
use super::starters::{self, Tasks};
use super::{Args, Error, Row, say};

/// How long the load runs before it is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long what was begun may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(90);
/// How long the first saga after a change of the stage may take.
const FIRST_LIMIT: Duration = Duration::from_secs(30);
/// How many are in flight when the orchestrator is killed.
const KILL_IN_FLIGHT: usize = 500;
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

/// Measures all rows that are asked for.
pub(super) async fn measure(args: &Args, stage: &mut Stage) -> Result<Report, Error> {
    let (postgres, nats) = stage.versions().await?;
    let mut report = Report::new(postgres, nats);
    let wants = |row| args.rows.contains(&row);
    first(stage).await?;
    // Before the others have filled the servers' memory and logs: the rate that must always be held is measured
    // on a system that is not just behind a storm.
    if wants(Row::Open) {
        report.add(in_time(timeout(ROW_LIMIT, open(args, stage)).await, stage)?);
    }
    if wants(Row::Throughput) {
        for in_flight in &args.in_flight {
            let row = in_time(timeout(ROW_LIMIT, closed(args, stage, *in_flight, By::Rest)).await, stage)?;
            report.add(row);
        }
    }
    if wants(Row::Kill) {
        report.add(in_time(timeout(ROW_LIMIT, kill(stage)).await, stage)?);
    }
    let best = report.best_in_flight().unwrap_or(IN_FLIGHT_USUAL);
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
    }
    let (all, live) = stage.sagas_in_postgres().await?;
    report.audit(all, live);
    Ok(report)
}

fn in_time<T>(row: Result<Result<T, Error>, Elapsed>, stage: &Stage) -> Result<T, Error> {
    row.unwrap_or_else(|_| Err(stage.late("a row", ROW_LIMIT)))
}

/// One saga, so that streams, consumers and connections are there before anything is measured.
async fn first(stage: &mut Stage) -> Result<(), Error> {
    let load = Load::begin(0)?;
    let mut tasks = Tasks::new();
    starters::listen(&mut tasks, &load, starters::endings(&stage.client, &stage.subjects).await?);
    let keys = run_key("first");
    starters::over_rest(&mut tasks, &load, stage.address, 1, Some(&keys));
    load.plan(Instant::now());
    if load.drain(FIRST_LIMIT).await {
        return Ok(());
    }
    stage.orchestrator.check()?;
    stage.participants.check()?;
    Err(stage.late("the first saga", FIRST_LIMIT))
}

fn run_key(row: &str) -> String {
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
    finish(stage, &load, &mut row).await?;
    row.name = name;
    row.in_flight = (by == By::Rest).then_some(in_flight);
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
    let (planner, every) = (load.clone(), Duration::from_secs(1).div_f64(rate_of(args)));
    let planner = tasks.spawn_local(async move {
        let mut plan = interval(every);
        loop {
            // The plan's time, not the time of waking up: a late start counts as late.
            let intended = plan.tick().await;
            planner.plan(intended);
        }
    });
    sleep(WARM_UP).await;
    let mut row = watch(stage, &load, Duration::from_secs(args.seconds * 2)).await?;
    planner.abort();
    finish(stage, &load, &mut row).await?;
    row.name = name;
    row.is_open_loop = true;
    row.say();
    Ok(row)
}

fn rate_of(args: &Args) -> f64 {
    f64::from(u32::try_from(args.rate).unwrap_or(u32::MAX))
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
    finish(stage, &load, &mut row).await?;
    row.all_ended_s =
        load.read(|tally| tally.last_end).map(|last| last.saturating_duration_since(restarted).as_secs_f64());
    row.all_committed_s = stage.last_end_after(restarted_at).await?;
    row.under_way_at_kill = Some(in_flight);
    row.say();
    Ok(row)
}

/// Measures for a while.
async fn watch(stage: &mut Stage, load: &Load, span: Duration) -> Result<RowReport, Error> {
    let processes = stage.processes();
    for (_, who) in processes {
        who.forget_peak();
    }
    let cpu_of = |who: Who| who.cpu();
    let before = processes.map(|(_, who)| cpu_of(who));
    let (machine, began) = (machine_cpu(), Instant::now());
    let ended_before = load.read(Tally::ended);
    load.measure(true);
    sleep(span).await;
    load.measure(false);
    let (span, after) = (began.elapsed(), processes.map(|(_, who)| cpu_of(who)));
    let machine = machine_cpu().zip(machine).map(|(after, before)| after.saturating_sub(before));
    let ended = load.read(Tally::ended) - ended_before;
    stage.orchestrator.check()?;
    stage.participants.check()?;

    let mut row = RowReport::new(String::new());
    row.sagas_per_s = Some(per_second(ended, span));
    row.end_to_end = Some(load.read(|tally| Latency::of(&tally.end_to_end)));
    row.start = Some(load.read(|tally| Latency::of(&tally.start)));
    let mut own = Duration::ZERO;
    for ((name, who), (before, after)) in processes.into_iter().zip(before.into_iter().zip(after)) {
        let cpu = after.zip(before).map(|(after, before)| after.saturating_sub(before));
        own += cpu.unwrap_or_default();
        row.usage.push(Usage::new(name, cpu, ended, who.memory_mb()));
    }
    row.cores_used = Some(own.as_secs_f64() / span.as_secs_f64());
    row.cores_used_by_others = machine.map(|all| all.saturating_sub(own).as_secs_f64() / span.as_secs_f64());
    Ok(row)
}

/// Lets everything end, and checks that it did as it must.
async fn finish(stage: &mut Stage, load: &Load, row: &mut RowReport) -> Result<(), Error> {
    load.stop();
    let has_ended = load.drain(DRAIN_LIMIT).await;
    stage.orchestrator.check()?;
    stage.participants.check()?;
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
                DRAIN_LIMIT.as_secs()
            ));
        }
        if tally.wrong > 0 {
            row.problems.push(format!("{} ended otherwise than they must", tally.wrong));
        }
        if tally.failed > 0 {
            row.problems.push(format!("{} starts failed: {}", tally.failed, tally.complaints.join("; ")));
        }
    });
    let (_, live) = stage.sagas_in_postgres().await?;
    if live > 0 {
        row.problems.push(format!("{live} sagas have not ended in Postgres"));
    }
    Ok(())
}
