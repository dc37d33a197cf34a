//! Watches a run from outside: how many sagas are under way, whether any still ends, whether wake-ups are kept, what the
//! processes use. When nothing ends any more, it says so at once and writes down what there is to see.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use snorri_demo::{Findings, Invariant};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::{Instant, sleep, timeout};

use super::super::private::{Error, io};
use super::fleet::{Fleet, Member, Role};
use super::load::Seen;
use super::streams::Streams;

/// How often Postgres is asked.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Nothing ended for so long although the servers and enough processes were there: the run has failed.
const STUCK_AFTER: Duration = Duration::from_mins(1);
/// So long after the last fault the system counts as healthy, and every wake-up is kept.
pub(super) const HEALTHY_AFTER: Duration = Duration::from_secs(20);
/// The most live sagas that are written down.
const DUMP_SAGAS: u32 = 200;

/// What was seen last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latest {
    pub(super) live: u64,
    pub(super) ended: u64,
    pub(super) overdue: u64,
}

/// The watch.
#[derive(Debug)]
pub(super) struct Watch {
    pool: PgPool,
    fleet: Arc<Fleet>,
    seen: Arc<Seen>,
    /// Set while a fault keeps the server from working.
    pub(super) postgres_down: AtomicBool,
    pub(super) nats_down: AtomicBool,
    latest: Mutex<Latest>,
    healed_at: Mutex<Option<Instant>>,
    wakes: Mutex<Findings>,
    connections_max: AtomicU64,
    memory_max: Mutex<Vec<Memory>>,
}

/// What a process uses.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Memory {
    pub(super) process: String,
    pub(super) megabytes: u64,
}

impl Watch {
    pub(super) fn new(fleet: Arc<Fleet>, seen: Arc<Seen>) -> Result<Self, Error> {
        let options: sqlx::postgres::PgConnectOptions = fleet
            .stack
            .postgres
            .url("snorri")
            .parse()
            .map_err(|error: sqlx::Error| Error::Api(error.to_string()))?;
        let pool = PgPoolOptions::new()
            .max_connections(3)
            .acquire_timeout(ANSWER_WITHIN)
            .connect_lazy_with(options.application_name("snorri-chaos"));
        Ok(Self {
            pool,
            fleet,
            seen,
            postgres_down: AtomicBool::new(false),
            nats_down: AtomicBool::new(false),
            latest: Mutex::default(),
            healed_at: Mutex::default(),
            wakes: Mutex::default(),
            connections_max: AtomicU64::new(0),
            memory_max: Mutex::default(),
        })
    }

    async fn look(&self) -> Option<Latest> {
        let counts = sqlx::query_as::<_, (i64, i64, i64, i64)>(
            "SELECT count(*) FILTER (WHERE wake_at IS NOT NULL), count(*) FILTER (WHERE ended_at IS NOT NULL),
                    count(*) FILTER (WHERE wake_at < now() - interval '10 seconds'),
                    (SELECT count(*) FROM pg_stat_activity
                     WHERE backend_type = 'client backend' AND application_name <> 'snorri-chaos')
             FROM snorri.sagas",
        )
        .fetch_one(&self.pool);
        let (live, ended, overdue, connections) = timeout(ANSWER_WITHIN, counts).await.ok()?.ok()?;
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        self.connections_max.fetch_max(number(connections), Ordering::Relaxed);
        let latest = Latest { live: number(live), ended: number(ended), overdue: number(overdue) };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = latest;
        Some(latest)
    }

    pub(super) fn latest(&self) -> Latest {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most connections of ours that Postgres had.
    pub(super) fn connections_max(&self) -> u64 {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// Sagas under way just now, and starts that wait for an answer.
    pub(super) async fn in_flight(&self) -> u64 {
        let live = match self.look().await {
            Some(latest) => latest.live,
            None => self.latest().live,
        };
        live + self.seen.waiting()
    }

    /// All faults are over.
    pub(super) fn healed(&self) {
        *self.healed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// What the wake-ups of the healed system were like.
    pub(super) fn wakes(&self) -> Findings {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watches for as long as it is polled; resolves when nothing ends any more.
    pub(super) async fn run(&self) -> String {
        let (mut ended, mut idle, mut last) = (0, Duration::ZERO, Instant::now());
        loop {
            sleep(LOOK_EVERY).await;
            self.weigh();
            let looked = self.look().await;
            let spent = last.elapsed();
            last = Instant::now();
            let Some(latest) = looked else { continue };
            if latest.ended != ended || latest.live == 0 {
                (ended, idle) = (latest.ended, Duration::ZERO);
            }
            let is_down =
                self.postgres_down.load(Ordering::Relaxed) || self.nats_down.load(Ordering::Relaxed);
            if !is_down && self.fleet.can_work() {
                idle += spent;
            }
            if idle > STUCK_AFTER {
                return format!(
                    "{} sagas are live and none ended for {} s",
                    latest.live,
                    STUCK_AFTER.as_secs()
                );
            }
            let healed_at = *self.healed_at.lock().unwrap_or_else(PoisonError::into_inner);
            if healed_at.is_some_and(|at| at.elapsed() > HEALTHY_AFTER) {
                let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
                wakes.checked(Invariant::LiveHasWake, usize::try_from(latest.live).unwrap_or(usize::MAX));
                if latest.overdue > 0 {
                    let what = format!("{} live sagas were overdue by more than 10 s", latest.overdue);
                    wakes.wrong(Invariant::LiveHasWake, what);
                }
            }
        }
    }

    /// The resident memory of all processes that run.
    pub(super) fn memory(&self) -> Vec<Memory> {
        let of = |member: &Member| {
            let megabytes = resident_mb(member.pid_now()?)?;
            Some(Memory { process: member.name.clone(), megabytes })
        };
        self.fleet.members.iter().filter_map(of).collect()
    }

    fn weigh(&self) {
        let mut most = self.memory_max.lock().unwrap_or_else(PoisonError::into_inner);
        keep_most(&mut most, self.memory());
    }

    /// The most that each process used at any moment, whichever of its lives that was in.
    pub(super) fn memory_max(&self) -> Vec<Memory> {
        self.weigh();
        self.memory_max.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Dead rows of the table that changes most.
    pub(super) async fn dead_rows(&self) -> Option<i64> {
        sqlx::query_scalar(
            "SELECT n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'snorri' AND relname = 'sagas'",
        )
        .fetch_one(&self.pool)
        .await
        .ok()
    }

    /// Writes down all that helps to find out why sagas do not end.
    pub(super) async fn dump(&self, dir: &Path, streams: &Streams) -> Result<(), Error> {
        std::fs::create_dir_all(dir).map_err(io(format!("cannot make {}", dir.display())))?;
        let live = format!(
            "SELECT id FROM snorri.sagas WHERE wake_at IS NOT NULL ORDER BY started_at LIMIT {DUMP_SAGAS}"
        );
        for (name, sql) in [
            ("sagas", format!("SELECT *, now() FROM snorri.sagas WHERE id IN ({live})")),
            (
                "journals",
                format!("SELECT * FROM snorri.journal WHERE saga_id IN ({live}) ORDER BY saga_id, seq"),
            ),
            ("replicas", "SELECT *, now() FROM snorri.replicas".to_owned()),
            ("activity", "SELECT * FROM pg_stat_activity".to_owned()),
            ("locks", "SELECT * FROM pg_locks".to_owned()),
        ] {
            let sql = format!("SELECT coalesce(json_agg(of), '[]')::text FROM ({sql}) AS of");
            let rows = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql)).fetch_one(&self.pool);
            let text = match timeout(ANSWER_WITHIN * 3, rows).await {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => Value::String(error.to_string()).to_string(),
                Err(_) => Value::String("Postgres did not answer".to_owned()).to_string(),
            };
            write(dir, name, &text)?;
        }
        let held = timeout(ANSWER_WITHIN * 3, streams.held()).await.ok().flatten();
        write(dir, "streams", &serde_json::to_string_pretty(&held).unwrap_or_default())?;
        let mut processes = Vec::new();
        for member in &self.fleet.members {
            let role = match member.role {
                Role::Orchestrator { listen, .. } => listen.to_string(),
                Role::Participant(service) => service.to_string(),
            };
            let (pid, build) = (member.pid().await, member.build().await);
            processes.push(serde_json::json!({
                "name": member.name, "role": role, "pid": pid, "build": build,
                "impaired": member.impaired.load(Ordering::Relaxed),
            }));
        }
        write(dir, "processes", &serde_json::to_string_pretty(&processes).unwrap_or_default())
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let file = dir.join(format!("{name}.json"));
    std::fs::write(&file, text).map_err(io(format!("cannot write {}", file.display())))
}

/// A process that is killed takes its memory with it; what it used stays known.
fn keep_most(most: &mut Vec<Memory>, now: Vec<Memory>) {
    for of in now {
        match most.iter_mut().find(|known| known.process == of.process) {
            Some(known) => known.megabytes = known.megabytes.max(of.megabytes),
            None => most.push(of),
        }
    }
}

fn resident_mb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes.div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_used_before_it_was_killed_stays_known() {
        let of = |process: &str, megabytes| Memory { process: process.to_owned(), megabytes };
        let mut most = Vec::new();
        for now in
            [vec![of("a", 40), of("b", 10)], vec![of("a", 300)], vec![], vec![of("a", 30), of("b", 11)]]
        {
            keep_most(&mut most, now);
        }
        let most: Vec<(&str, u64)> = most.iter().map(|of| (of.process.as_str(), of.megabytes)).collect();
        assert_eq!(most, [("a", 300), ("b", 11)]);
        assert!(resident_mb(std::process::id()).is_some_and(|megabytes| megabytes > 0));
    }
}
