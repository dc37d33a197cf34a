//! One of three orchestrators is killed and stays away: the other two take over what it had.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::load::Load;
use super::report::RowReport;
use super::rows::{DRAIN_LIMIT, KILL_IN_FLIGHT, WARM_UP, finish, run_key};
use super::stage::Stage;
use super::starters::{self, Tasks};
use super::{Error, say};

/// After how long without a heartbeat a replica is taken for dead: the orchestrator's own limit.
const DEAD_AFTER: Duration = Duration::from_secs(2);

/// What became of the sagas of a replica that was killed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Takeover {
    /// How many live sagas it had, by Postgres.
    pub(super) sagas: usize,
    /// From the kill until all of them had been announced as ended.
    pub(super) announced_s: Option<f64>,
    /// From the kill until all of them had ended in Postgres.
    pub(super) committed_s: Option<f64>,
    /// How long before the kill its last heartbeat was.
    pub(super) silent_before_s: f64,
    /// A replica counts as dead so long after its last heartbeat.
    pub(super) dead_after_s: f64,
    /// The time until all were announced, without that.
    pub(super) beyond_dead_after_s: Option<f64>,
}

/// A closed loop over three orchestrators, one of which is killed.
pub(super) async fn kill(stage: &mut Stage) -> Result<RowReport, Error> {
    let name = format!("kill -9 of one of three with {KILL_IN_FLIGHT} in flight");
    say(format_args!("{name} …"));
    let mut others = stage.more_orchestrators().await?;
    let load = Load::begin(KILL_IN_FLIGHT)?;
    let mut tasks = Tasks::new();
    starters::listen(&mut tasks, &load, starters::endings(&stage.client, &stage.subjects).await?);
    let mut addresses = vec![stage.address];
    addresses.extend(others.iter().map(|replica| replica.address));
    starters::over_replicas(&mut tasks, &load, &addresses, KILL_IN_FLIGHT, &run_key("three"));
    // A replica begins to look for dead ones when it has lived as long as that itself.
    sleep(WARM_UP + DEAD_AFTER).await;
    let mut row = RowReport::new(name);
    let Some(mut victim) = others.pop() else {
        return Err(Error::Args("there is nobody to be killed"));
    };
    load.remember_ends();
    row.under_way_at_kill = Some(load.under_way());
    let (killed, killed_at) = (Instant::now(), SystemTime::now());
    victim.child.kill();
    // A start of its last commit may come to light after this; that it ends is seen to below, with all others.
    let had = stage.live_of(victim.name).await?;
    let silent = stage.silent_at(victim.name, killed_at).await?;
    let last = wait_for_ends(&load, &had, killed + DRAIN_LIMIT).await;
    stage.orchestrator.check()?;
    for other in &mut others {
        other.child.check()?;
    }
    finish(stage, &load, DRAIN_LIMIT, &mut row).await?;
    let announced = last.map(|last| last.saturating_duration_since(killed).as_secs_f64());
    let committed = stage.last_end_of(&had, killed_at).await?;
    if had.is_empty() {
        row.problems.push("the replica that was killed had no live saga".to_owned());
    } else if announced.is_none() {
        row.problems.push(format!("not all of its {} sagas were seen to end", had.len()));
    }
    row.takeover = Some(Takeover {
        sagas: had.len(),
        announced_s: announced,
        committed_s: committed,
        silent_before_s: silent,
        dead_after_s: DEAD_AFTER.as_secs_f64(),
        beyond_dead_after_s: announced.map(|seconds| (seconds - DEAD_AFTER.as_secs_f64()).max(0.0)),
    });
    row.say();
    Ok(row)
}

/// Waits until all of these have been announced, and says when the last one was.
async fn wait_for_ends(load: &Load, sagas: &[Uuid], deadline: Instant) -> Option<Instant> {
    loop {
        let last = load.last_end_of(sagas);
        if last.is_some() || sagas.is_empty() || Instant::now() >= deadline {
            return last;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
