//! Carries out the plan: does each fault when it is due, undoes it, and brings back evidence that it hit, taken from
//! whoever was hurt and never from the intention.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use snorri_stack::{Signal, StopMode, send_signal};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::private::Error;
use super::dice::Dice;
use super::file_name;
use super::fleet::{Fleet, Member, was_killed};
use super::plan::{Deed, Kind, OVERLAP_MAX, Planned, Subject};
use super::relay::Relay;
use super::streams::{self, Streams};
use super::watch::Watch;

/// How long the servers are looked at for a sign of a fault.
const SIGN_WITHIN: Duration = Duration::from_secs(45);
const SIGN_EVERY: Duration = Duration::from_millis(100);

/// A fault that was carried out.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Carried {
    /// Its number in the plan, from 1.
    pub(super) number: usize,
    pub(super) kind: Kind,
    /// At whom.
    pub(super) at_whom: String,
    /// What exactly.
    pub(super) what: String,
    /// Seconds from the beginning of the chaos to its beginning, and to its end.
    pub(super) from: f64,
    pub(super) to: f64,
    /// Sagas that were under way when it began.
    pub(super) in_flight: u64,
    /// What shows that it hit; nothing if nothing does.
    pub(super) evidence: Option<String>,
}

/// What the faults are done with.
pub(super) struct Nemesis {
    pub(super) fleet: Arc<Fleet>,
    pub(super) watch: Arc<Watch>,
    pub(super) relay: Arc<Relay>,
    pub(super) streams: Streams,
    pub(super) seed: u64,
}

type Running<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Result<Carried, Error>> + 'a>>>;

impl Nemesis {
    /// Carries out the plan from `began` on, and writes down each fault when it is undone.
    pub(super) async fn run(
        &self,
        plan: &[Planned],
        began: Instant,
        carried: &Mutex<Vec<Carried>>,
        say: fn(&str),
    ) -> Result<(), Error> {
        let mut todo: VecDeque<(usize, &Planned)> = (1..).zip(plan).collect();
        let mut running: Running<'_> = FuturesUnordered::new();
        let mut active: Vec<(usize, &Planned)> = Vec::new();
        loop {
            // The plan takes a usual recovery for granted. Where it takes longer, the next fault waits.
            let next = todo.front().filter(|(_, next)| {
                active.len() < OVERLAP_MAX
                    && active.iter().all(|(_, fault)| fault.subject() != next.subject())
            });
            let due = next.map(|(_, fault)| began + fault.at);
            tokio::select! {
                Some(done) = running.next() => {
                    let done: Carried = done?;
                    active.retain(|(number, _)| *number != done.number);
                    say(&done.line());
                    carried.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                }
                () = sleep_until(due.unwrap_or(began)), if due.is_some() => {
                    if let Some((number, fault)) = todo.pop_front() {
                        active.push((number, fault));
                        running.push(Box::pin(self.carry_out(number, fault, began)));
                    }
                }
                else => return Ok(()),
            }
        }
    }

    async fn carry_out(&self, number: usize, fault: &Planned, began: Instant) -> Result<Carried, Error> {
        let in_flight = self.watch.in_flight().await;
        let from = began.elapsed().as_secs_f64();
        let hold = fault.hold;
        let evidence = match fault.deed {
            Deed::Kill { process } => self.on(process, async |member| self.kill(member, hold).await).await?,
            Deed::Freeze { process } => {
                self.on(process, async |member| Ok(freeze(member, hold).await)).await?
            }
            Deed::Link { process, server, harm } => {
                self.on(process, async |member| {
                    let link = member.link(server);
                    let before = link.done();
                    link.hurt(harm);
                    sleep(hold).await;
                    let after = link.done();
                    link.heal();
                    let hurt = after.hurt - before.hurt;
                    Ok((hurt > 0).then(|| format!("{hurt} connections hurt")))
                })
                .await?
            }
            Deed::Flip { process, gracefully } => {
                self.on(process, async |member| self.flip(member, gracefully).await).await?
            }
            Deed::StopPostgres => self.down(&self.watch.postgres_down, self.stop_postgres(hold)).await?,
            Deed::ReadOnly => self.down(&self.watch.postgres_down, self.read_only(hold)).await?,
            Deed::Terminate => self.terminate().await?,
            Deed::KillNats => self.down(&self.watch.nats_down, self.kill_nats(hold, false)).await?,
            Deed::WipeNats => self.down(&self.watch.nats_down, self.kill_nats(hold, true)).await?,
            Deed::Delete { lost } => self.streams.delete(lost, &self.fleet).await,
            Deed::Relay { replies } => {
                let mut dice = Dice::new(self.seed.wrapping_add(number as u64));
                let taken = self.relay.repeat(replies, hold, &mut dice).await;
                (taken > 0).then(|| format!("JetStream took {taken} of them"))
            }
        };
        let at_whom = match fault.subject() {
            Subject::Process(process) => {
                self.fleet.members.get(process).map(|member| member.name.clone()).unwrap_or_default()
            }
            Subject::Postgres => "postgres".to_owned(),
            Subject::Nats => "nats".to_owned(),
        };
        Ok(Carried {
            number,
            kind: fault.kind,
            at_whom,
            what: fault.deed.to_string(),
            from,
            to: began.elapsed().as_secs_f64(),
            in_flight,
            evidence,
        })
    }

    /// Does something to a process, which counts as hurt meanwhile.
    async fn on(
        &self,
        process: usize,
        deed: impl AsyncFnOnce(&Member) -> Result<Option<String>, Error>,
    ) -> Result<Option<String>, Error> {
        let Some(member) = self.fleet.members.get(process) else { return Ok(None) };
        member.impaired.fetch_add(1, Ordering::Relaxed);
        let evidence = deed(member).await;
        member.impaired.fetch_sub(1, Ordering::Relaxed);
        evidence
    }

    /// Does something to a server, which counts as down meanwhile.
    async fn down(
        &self,
        is_down: &AtomicBool,
        deed: impl Future<Output = Result<Option<String>, Error>>,
    ) -> Result<Option<String>, Error> {
        is_down.store(true, Ordering::Relaxed);
        let evidence = deed.await;
        is_down.store(false, Ordering::Relaxed);
        evidence
    }

    async fn kill(&self, member: &Member, away: Duration) -> Result<Option<String>, Error> {
        let build = member.build().await;
        let status = member.kill().await;
        sleep(away).await;
        self.fleet.launch(member, build).await?;
        Ok(status.filter(|status| was_killed(*status)).map(|status| format!("it ended by {status}")))
    }

    async fn flip(&self, member: &Member, gracefully: bool) -> Result<Option<String>, Error> {
        let build = member.build().await.other();
        let status = if gracefully { member.end().await } else { member.kill().await };
        self.fleet.replace(member, build).await?;
        let Some(pid) = member.pid().await else { return Ok(None) };
        // Which file the process runs is asked of the kernel, once it does.
        let program = std::fs::canonicalize(self.fleet.program(build)).ok();
        let runs = async || {
            let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
            (exe.is_some() && exe == program).then_some(exe).flatten()
        };
        let ended = status.map_or("it was gone".to_owned(), |status| format!("it ended by {status}"));
        Ok(sign(runs).await.map(|exe| format!("{ended}; now runs {}", file_name(&exe))))
    }

    async fn stop_postgres(&self, away: Duration) -> Result<Option<String>, Error> {
        const STARTED: &str = "SELECT pg_postmaster_start_time()";
        let before = self.ask(STARTED).await.ok();
        let stack = self.fleet.stack.clone();
        blocking(move || {
            stack.postgres.stop(StopMode::Immediate);
            Ok(())
        })
        .await?;
        sleep(away).await;
        let stack = self.fleet.stack.clone();
        blocking(move || stack.postgres.start_again()).await?;
        let after = self.ask(STARTED).await.ok();
        let log = self.fleet.stack.postgres.log();
        let log = tokio::fs::read(log).await.unwrap_or_default();
        let recovered = String::from_utf8_lossy(&log)
            .lines()
            .filter(|line| line.contains("database system was not properly shut down"))
            .count();
        Ok((before != after && recovered > 0).then(|| {
            format!("postmaster started at {}; {recovered} recoveries in its log", after.unwrap_or_default())
        }))
    }

    async fn read_only(&self, hold: Duration) -> Result<Option<String>, Error> {
        let set = async |word: &str| {
            self.ask(&format!("ALTER SYSTEM SET default_transaction_read_only = {word}")).await?;
            self.ask("SELECT pg_reload_conf()").await
        };
        set("on").await?;
        let refused = sign(async || match self.ask("CREATE TABLE chaos_refused (n integer)").await {
            Err(Error::Stack(snorri_stack::Error::Sql { code, .. })) if code == "25006" => Some(()),
            _ => None,
        })
        .await;
        sleep(hold).await;
        set("off").await?;
        // Postgres takes note of it a moment later.
        let back = sign(async || {
            let word = self.ask("SHOW default_transaction_read_only").await.ok()?;
            (word == "off").then_some(())
        })
        .await;
        if back.is_none() {
            return Err(Error::Api("Postgres stays read-only".to_owned()));
        }
        Ok(refused.map(|()| "a write was refused with 25006".to_owned()))
    }

    async fn terminate(&self) -> Result<Option<String>, Error> {
        let others =
            "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let pids = self.ask(&format!("SELECT string_agg(pid::text, ',') {others}")).await.unwrap_or_default();
        self.ask(&format!("SELECT count(pg_terminate_backend(pid)) {others}")).await?;
        if pids.is_empty() {
            return Ok(None);
        }
        let count = pids.split(',').count();
        let gone = sign(async || {
            let left = self.ask(&format!("SELECT count(*) {others} AND pid IN ({pids})")).await.ok()?;
            (left == "0").then_some(())
        });
        Ok(gone.await.map(|()| format!("{count} backends are gone")))
    }

    async fn kill_nats(&self, away: Duration, wipe: bool) -> Result<Option<String>, Error> {
        let server_id = async || {
            let stack = self.fleet.stack.clone();
            let info = blocking(move || Ok(stack.nats.info())).await.ok().flatten()?;
            let info: serde_json::Value = serde_json::from_str(&info).ok()?;
            Some(info.get("server_id")?.as_str()?.to_owned())
        };
        let before = server_id().await;
        let born = self.streams.born(&streams::commands()).await;
        let stack = self.fleet.stack.clone();
        blocking(move || {
            stack.nats.kill();
            if wipe { stack.nats.wipe_store() } else { Ok(()) }
        })
        .await?;
        sleep(away).await;
        let stack = self.fleet.stack.clone();
        blocking(move || stack.nats.start_again()).await?;
        let after = server_id().await;
        if before == after || after.is_none() {
            return Ok(None);
        }
        if !wipe {
            return Ok(Some("the server has another id".to_owned()));
        }
        let reborn = sign(async || {
            self.streams.born(&streams::commands()).await.filter(|now| born.as_ref() != Some(now))
        });
        Ok(reborn
            .await
            .map(|now| format!("the server has another id, and its stream of commands is of {now}")))
    }

    /// The first value of a query, as text.
    async fn ask(&self, sql: &str) -> Result<String, Error> {
        let (stack, sql) = (self.fleet.stack.clone(), sql.to_owned());
        let rows = blocking(move || stack.postgres.query("postgres", &sql)).await?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        Ok(value.unwrap_or_default())
    }
}

impl Carried {
    /// For the screen.
    pub(super) fn line(&self) -> String {
        let Self { number, at_whom, what, from, to, in_flight, .. } = self;
        let what = if what.is_empty() { String::new() } else { format!(", {what}") };
        let evidence = self.evidence.as_deref().unwrap_or("NO EVIDENCE");
        format!(
            "{number:>3}  {from:>6.1}–{to:<6.1} {}: {at_whom}{what}; {in_flight} in flight; {evidence}",
            self.kind.word()
        )
    }
}

/// Freezes a process, and shows the state that the kernel gives it.
async fn freeze(member: &Member, hold: Duration) -> Option<String> {
    let pid = member.pid().await?;
    send_signal(pid, Signal::Stop);
    let stopped = sign(async || (state_of(pid)? == 'T').then_some(())).await;
    sleep(hold).await;
    let still = state_of(pid);
    send_signal(pid, Signal::Continue);
    stopped
        .filter(|()| still == Some('T'))
        .map(|()| format!("process {pid} was in state T for {} s", hold.as_secs()))
}

/// The letter of a process's state, as the kernel gives it.
fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Looks for a sign until it is there or its time is over.
pub(super) async fn sign<T>(look: impl AsyncFn() -> Option<T>) -> Option<T> {
    let until = Instant::now() + SIGN_WITHIN;
    loop {
        if let Some(sign) = look().await {
            return Some(sign);
        }
        if Instant::now() > until {
            return None;
        }
        sleep(SIGN_EVERY).await;
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, snorri_stack::Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| Error::Api(error.to_string()))?;
    Ok(done?)
}
