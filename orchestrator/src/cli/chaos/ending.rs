//! The end of a run: everything is healed and waited for, then counted and audited, and the report is made.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

use snorri_demo::{Findings, Invariant, Promise, Sagas, audit, audit_records};
use tokio::time::{Instant, sleep};

use super::super::private::Error;
use super::explained::{self, Good};
use super::load::{all_answered, order_of};
use super::nemesis::Carried;
use super::plan::Planned;
use super::report::{Counts, Parts, Report, Setting, Used};
use super::streams::Held;
use super::verdict::{Run, invalid_because};
use super::watch::Memory;
use super::{Stage, relay};

/// How long what is still in the streams may take to be taken, once all sagas have ended.
const DRAINED_WITHIN: Duration = Duration::from_mins(1);
/// The most connections of all processes together; Postgres has 200.
const CONNECTIONS_MAX: u64 = 190;
/// The most dead rows of the table that changes most.
const DEAD_ROWS_MAX: i64 = 50_000;
/// A process may at any moment use twice what it did before the chaos, and this in any case.
const MEMORY_FLOOR_MB: u64 = 128;

/// How the heal window went.
#[derive(Debug)]
pub(super) struct Healed {
    /// From the last order to the last saga's end.
    pub(super) seconds: f64,
    /// All starts were answered and all sagas ended.
    pub(super) is_whole: bool,
}

/// Waits until all starts are answered, all sagas have ended and the streams are worked off.
pub(super) async fn heal(stage: &Stage, within: Duration) -> Healed {
    let began = Instant::now();
    let mut is_whole = all_answered(&stage.seen, within).await;
    let mut seconds = began.elapsed().as_secs_f64();
    while is_whole {
        // The watch's own look may be of before the last answer.
        if stage.watch.in_flight().await == 0 {
            seconds = began.elapsed().as_secs_f64();
            break;
        }
        is_whole = began.elapsed() < within;
        sleep(Duration::from_millis(100)).await;
    }
    Healed { seconds, is_whole }
}

/// Waits until nothing is left in the streams for the processes that run.
async fn drained(stage: &Stage) -> Option<Vec<Held>> {
    let until = Instant::now() + DRAINED_WITHIN;
    loop {
        let held = stage.streams.held().await;
        let is_drained = held.as_ref().is_some_and(|held| left_over(held).next().is_none());
        if is_drained || Instant::now() > until {
            return held;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Consumers that have something left to do.
fn left_over(held: &[Held]) -> impl Iterator<Item = String> {
    held.iter().flat_map(|held| &held.consumers).filter(|of| of.pending > 0 || of.unacknowledged > 0).map(
        |of| {
            format!(
                "the consumer {} has {} messages left and {} unacknowledged",
                of.consumer, of.pending, of.unacknowledged
            )
        },
    )
}

/// What the run is judged by, besides the books.
#[derive(Debug)]
pub(super) struct Played<'a> {
    pub(super) setting: Setting,
    pub(super) plan: &'a [Planned],
    pub(super) faults: Vec<Carried>,
    pub(super) healed: Healed,
    pub(super) memory_before: Vec<Memory>,
    /// Why the watch gave up, if it did.
    pub(super) stuck: Option<String>,
}

/// Audits everything and makes the report.
pub(super) async fn judge(stage: &Stage, played: Played<'_>) -> Result<Report, Error> {
    let Played { setting, plan, faults, healed, memory_before, stuck } = played;
    let mut findings = Findings::default();
    let held = drained(stage).await;
    let accepted = stage.seen.accepted();
    let url = stage.fleet.stack.postgres.url("snorri");
    let downgraded = stage.fleet.downgraded();
    let promise = Promise { accepted: &accepted, poison: Some(relay::POISON), downgraded: &downgraded };
    let records = audit_records(&url, promise).await?;
    let order_of = |key: &str| order_of(key, setting.seed, &stage.world);
    let Good { orders: good, gave_up: good_undone } =
        explained::ends(&accepted, order_of, &records, &mut findings);
    let books =
        audit(&stage.fleet.databases(), &stage.world, Some(Sagas::of("order", &records.ends))).await?;
    findings.merge(records.findings);
    findings.merge(books.findings);
    findings.merge(stage.watch.wakes());
    for refused in stage.seen.refused() {
        findings.wrong(Invariant::AllEnded, refused);
    }
    let waiting = stage.seen.waiting();
    if waiting > 0 {
        findings.wrong(Invariant::AllEnded, format!("{waiting} starts were not answered"));
    }
    let used = Used {
        memory_before,
        memory_max: stage.watch.memory_max(),
        connections_max: stage.watch.connections_max(),
        dead_rows: stage.watch.dead_rows().await,
        streams: held.unwrap_or_default(),
    };
    bounds(&used, &mut findings);
    let panics = stage.fleet.panics().into_iter().map(|name| format!("{name} panicked: see its log"));
    let mut failures: Vec<String> = stuck.into_iter().map(|why| format!("stuck: {why}")).collect();
    failures.extend(panics);
    failures.extend(stage.fleet.unwanted_ends());
    let of = |percent: usize| {
        let last = records.seconds.len().saturating_sub(1);
        records.seconds.get((records.seconds.len() * percent / 100).min(last)).copied().unwrap_or(0.0)
    };
    let own: BTreeMap<String, u64> = stage
        .fleet
        .members
        .iter()
        .map(|member| (member.name.clone(), member.own_ends().len() as u64))
        .filter(|(_, ends)| *ends > 0)
        .collect();
    let counts = Counts {
        begun: stage.seen.begun.load(Ordering::Relaxed),
        accepted: stage.seen.answered.load(Ordering::Relaxed),
        repeated: stage.seen.repeated.load(Ordering::Relaxed),
        held_back: stage.seen.held_back.load(Ordering::Relaxed),
        sagas: records.ends.len() as u64,
        completed: records.completed,
        compensated: records.compensated,
        good,
        good_undone,
        missed_window: records.missed_window,
        journal_rows: records.journal_rows,
        effects: books.actions,
        undone: books.compensations,
        dead_letters: records.dead_letters,
        unread_batches: records.unread_batches,
        processes_ended_by_themselves: own,
        median_seconds: of(50),
        p99_seconds: of(99),
        slowest_seconds: of(100),
        slowest: records.slowest.map(|saga| saga.to_string()),
        ended_after_last_order_seconds: healed.is_whole.then_some(healed.seconds),
    };
    let run = Run {
        plan,
        carried: &faults,
        rate: setting.rate,
        ended: counts.completed + counts.compensated,
        compensated: counts.compensated,
        findings: &findings,
    };
    let invalid_because = invalid_because(run);
    Ok(Report::new(Parts {
        setting,
        counts,
        used,
        findings: &findings,
        failures,
        invalid_because,
        plan,
        faults,
    }))
}

fn bounds(used: &Used, findings: &mut Findings) {
    let mut most = |is_over: bool, what: String| {
        findings.checked(Invariant::Bounded, 1);
        if is_over {
            findings.wrong(Invariant::Bounded, what);
        }
    };
    let before: HashMap<&str, u64> =
        used.memory_before.iter().map(|of| (of.process.as_str(), of.megabytes)).collect();
    for of in &used.memory_max {
        let before = before.get(of.process.as_str()).copied().unwrap_or(0);
        let bound = (before * 2).max(MEMORY_FLOOR_MB);
        let what = format!("{} used {} MB, and {before} before the chaos", of.process, of.megabytes);
        most(of.megabytes > bound, what);
    }
    let connections = used.connections_max;
    most(connections > CONNECTIONS_MAX, format!("Postgres had {connections} connections"));
    most(
        used.dead_rows.is_none_or(|rows| rows > DEAD_ROWS_MAX),
        format!("the dead rows of sagas: {:?}", used.dead_rows),
    );
    most(used.streams.is_empty(), "the streams could not be read".to_owned());
    for held in &used.streams {
        let bound = u64::try_from(held.bytes_max).unwrap_or(0);
        most(held.bytes > bound, format!("{} holds {} bytes of {bound}", held.stream, held.bytes));
    }
    let left: Vec<String> = left_over(&used.streams).collect();
    most(!left.is_empty(), left.join("; "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(megabytes: u64) -> Vec<Memory> {
        vec![Memory { process: "orchestrator-1".to_owned(), megabytes }]
    }

    fn wrong(before: u64, most: u64) -> Vec<String> {
        let used = Used {
            memory_before: memory(before),
            memory_max: memory(most),
            connections_max: 10,
            dead_rows: Some(0),
            streams: vec![Held {
                stream: "s".to_owned(),
                messages: 1,
                bytes: 1,
                bytes_max: 2,
                consumers: Vec::new(),
            }],
        };
        let mut findings = Findings::default();
        bounds(&used, &mut findings);
        findings.of(Invariant::Bounded).map(str::to_owned).collect()
    }

    #[test]
    fn a_process_that_ever_used_more_than_twice_as_much_is_wrong() {
        assert_eq!((wrong(100, 200), wrong(10, MEMORY_FLOOR_MB)), (vec![], vec![]));
        assert_eq!(wrong(100, 201), ["orchestrator-1 used 201 MB, and 100 before the chaos"]);
        assert_eq!(wrong(10, MEMORY_FLOOR_MB + 1).len(), 1);
    }
}
