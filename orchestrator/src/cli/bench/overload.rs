//! Overload: several times as many starts as the installation can do, for a minute. It must refuse what is too
//! much, with the advice to come later, stay within its memory, and end all that it accepted.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::load::{Load, TurnedAway};
use super::process::{Who, open_files_max};
use super::report::{RowReport, float, per_second};
use super::rows::finish;
use super::stage::Stage;
use super::starters::{self, Tasks};
use super::watch::Watch;
use super::{Args, Error, say};

/// How many times the capacity.
const TIMES: f64 = 5.0;
/// How many connections. The orchestrator lets 2,000 requests wait for their commit, and refuses the others at once; so
/// some 2,000 connections are there to be refused on.
const CONNECTIONS: usize = 4096;
/// The files that are not connections.
const OTHER_FILES: usize = 128;
/// Below this share of the rate the load generator was the brake.
const OFFERED_ENOUGH: f64 = 0.95;
/// How long what was accepted may take to end: the most live sagas of a replica at a slow pace.
const DRAIN_LIMIT: Duration = Duration::from_mins(5);
/// What the orchestrator may take: its limit of live sagas in bytes (`--live-bytes-max`), and 100 MB for all else.
const MEMORY_MAX_MB: u64 = 256 + 100;
/// How often the memory of Postgres is looked at, whose peak the kernel does not keep.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What became of an overload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Overload {
    pub(super) planned_per_s: f64,
    /// What was sent of it.
    pub(super) offered_per_s: f64,
    /// The load generator could not send all of it.
    pub(super) load_generator_was_the_brake: bool,
    pub(super) connections: usize,
    pub(super) accepted_per_s: f64,
    pub(super) refused_429: u64,
    pub(super) refused_503: u64,
    pub(super) refused_without_retry_after: u64,
    /// Connections that broke, and requests without an answer.
    pub(super) unanswered: u64,
    /// From the last start until the last end.
    pub(super) all_ended_after_s: Option<f64>,
    pub(super) orchestrator_memory_max_mb: u64,
}

/// The overload's starts a second for a capacity.
pub(super) fn rate_beyond(capacity: f64) -> u64 {
    // Whole starts; far below what a float holds exactly.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
    let rate = (capacity * TIMES).round().clamp(1.0, 1_000_000.0) as u64;
    rate
}

/// So many starts a second, each tried once.
pub(super) async fn overload(args: &Args, stage: &mut Stage, rate: u64) -> Result<RowReport, Error> {
    let name = format!("overload: {rate} starts a second");
    say(format_args!("{name} …"));
    let connections = open_files_max()
        .map_or(CONNECTIONS, |files| CONNECTIONS.min(files.saturating_sub(OTHER_FILES)).max(1));
    let load = Load::begin(0)?;
    let mut tasks = Tasks::new();
    starters::listen(&mut tasks, &load, starters::endings(&stage.client, &stage.subjects).await?);
    starters::once_over_rest(&mut tasks, &load, stage.address, connections);
    let span = Duration::from_secs(args.overload_seconds);
    let mut peaks: Vec<Option<u64>> = vec![None; stage.processes().len()];
    let watch = Watch::begin(stage.processes(), &load);
    let began = Instant::now();
    let sent = offer(stage, &load, rate, span, &mut peaks).await?;
    let offered = began.elapsed();
    let accepted = load.read(|tally| tally.accepted);
    let mut row = watch.end();
    let stopped = Instant::now();
    finish(stage, &load, DRAIN_LIMIT, &mut row).await?;
    for ((_, who), peak) in stage.processes().into_iter().zip(&mut peaks) {
        *peak = who.memory_mb().max(*peak);
    }
    for (usage, peak) in row.usage.iter_mut().zip(peaks) {
        usage.memory_mb = peak;
    }
    let away = load.read(|tally| tally.turned_away);
    let planned_per_s = float(rate);
    let offered_per_s = per_second(sent, offered);
    let report = Overload {
        planned_per_s,
        offered_per_s,
        load_generator_was_the_brake: offered_per_s < planned_per_s * OFFERED_ENOUGH,
        connections,
        accepted_per_s: per_second(accepted, offered),
        refused_429: away.too_many,
        refused_503: away.unavailable,
        refused_without_retry_after: away.without_advice,
        unanswered: away.unanswered,
        all_ended_after_s: load
            .read(|tally| tally.last_end)
            .map(|last| last.saturating_duration_since(stopped).as_secs_f64()),
        orchestrator_memory_max_mb: MEMORY_MAX_MB,
    };
    row.problems.extend(judge(away, row.memory_of("orchestrator")));
    row.name = name;
    row.overload = Some(report);
    row.say();
    Ok(row)
}

/// Plans the starts, and says how many were sent.
async fn offer(
    stage: &mut Stage,
    load: &Load,
    rate: u64,
    span: Duration,
    peaks: &mut [Option<u64>],
) -> Result<u64, Error> {
    let (began, mut planned, mut left_out) = (Instant::now(), 0_u64, 0_u64);
    let mut look_at = began + LOOK_EVERY;
    let mut tick = interval(Duration::from_millis(2));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while began.elapsed() < span {
        tick.tick().await;
        let due = due_by(began.elapsed().min(span), rate);
        // At most a second's worth waits; what is beyond it was not offered.
        let room = rate.saturating_sub(u64::try_from(load.queued()).unwrap_or(u64::MAX));
        let count = due.saturating_sub(planned);
        for number in 0..count.min(room) {
            load.plan(began + Duration::from_secs_f64(float(planned + number) / float(rate)));
        }
        left_out += count.saturating_sub(room);
        planned = due;
        if Instant::now() >= look_at {
            look_at = Instant::now() + LOOK_EVERY;
            stage.orchestrator.check()?;
            stage.participants.check()?;
            for ((_, who), peak) in stage.processes().into_iter().zip(peaks.iter_mut()) {
                if let Who::Family(_) = who {
                    *peak = who.memory_mb().max(*peak);
                }
            }
        }
    }
    let waiting = u64::try_from(load.queued()).unwrap_or(u64::MAX);
    Ok(planned.saturating_sub(left_out).saturating_sub(waiting))
}

/// How many starts are due after the given time.
fn due_by(elapsed: Duration, rate: u64) -> u64 {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    micros.saturating_mul(rate) / 1_000_000
}

/// What must not be.
fn judge(away: TurnedAway, memory_mb: Option<u64>) -> Vec<String> {
    let mut problems = Vec::new();
    if away.without_advice > 0 {
        problems.push(format!("{} refusals without Retry-After", away.without_advice));
    }
    if let Some(mb) = memory_mb.filter(|mb| *mb > MEMORY_MAX_MB) {
        problems.push(format!("the orchestrator took {mb} MB, allowed are {MEMORY_MAX_MB}"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_times_the_capacity_is_offered() {
        assert_eq!(rate_beyond(4663.2), 23_316);
        assert_eq!(due_by(Duration::from_millis(1500), 23_316), 34_974);
        assert_eq!(rate_beyond(0.0), 1);
    }

    #[test]
    fn a_refusal_without_advice_and_too_much_memory_are_problems() {
        let fine = TurnedAway { too_many: 3, unavailable: 4, without_advice: 0, unanswered: 5 };
        assert_eq!(judge(fine, Some(MEMORY_MAX_MB)), Vec::<String>::new());
        assert_eq!(judge(fine, None), Vec::<String>::new());
        let bad = TurnedAway { without_advice: 1, ..fine };
        assert_eq!(judge(bad, Some(MEMORY_MAX_MB + 1)).len(), 2);
    }
}
