//! The orchestrator's store over a model of its database: real SQL semantics, real serialisation, and every way in which a
//! database answers wrongly, late or not at all.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use snorri::store::dead_letters::DeadLetter;
use snorri::store::definitions::Stored;
use snorri::store::journal::{JournalRow, Loaded, Transition, replay};
use snorri::store::{Beat, Due, Entered, Error, Heartbeat, Resting, Store, Well};
use snorri_saga::ids::{Name, SagaId};
use snorri_saga::time::{Millis, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::bug::Bug;
use crate::check::Checks;
use crate::fault::Fault;
use crate::process::Process;
use crate::tables::{DeadLetterRow, Tables, Write};
use crate::world::World;

/// How long the real store waits for one unit of work.
const UNIT_TIMEOUT: Duration = Duration::from_secs(8);
/// Some day in 2025: when every simulation begins.
const BEGIN: i64 = 1_750_000_000_000_000;

/// The database server.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) world: Arc<World>,
    pub(crate) tables: Mutex<Tables>,
    pub(crate) checks: Checks,
    weather: Mutex<Weather>,
}

#[derive(Debug, Default)]
struct Weather {
    away_until: Option<Instant>,
    read_only_until: Option<Instant>,
    /// How far the clock has jumped, in microseconds.
    jumped: i64,
    /// How far it has jumped backwards in all, in milliseconds.
    back_ms: u64,
    /// Which server it is: one more with each failover.
    server: u64,
}

impl Database {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            tables: Mutex::default(),
            checks: Checks::new(world.clone()),
            weather: Mutex::default(),
        })
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's clock.
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.world.elapsed().as_micros()).unwrap_or(0);
        Timestamp(BEGIN + elapsed + self.weather().jumped)
    }

    pub(crate) fn jump(&self, ms: i64) {
        self.world.say(format_args!("the database's clock jumps by {ms} ms"));
        let mut weather = self.weather();
        weather.jumped += ms * 1000;
        weather.back_ms += u64::try_from(-ms).unwrap_or(0);
    }

    /// By how much in all the clock went backwards: for so long planned attempts may wait in vain.
    pub(crate) fn jumped_back(&self) -> Duration {
        Duration::from_millis(self.weather().back_ms)
    }

    pub(crate) fn go_away(&self, time: Duration) {
        self.world.say(format_args!("the database is away for {} ms", time.as_millis()));
        self.weather().away_until = Some(Instant::now() + time);
    }

    pub(crate) fn go_read_only(&self, time: Duration) {
        self.world.say(format_args!("the database is read-only for {} ms", time.as_millis()));
        self.weather().read_only_until = Some(Instant::now() + time);
    }

    /// A standby that lags becomes the primary: the last transactions are lost.
    pub(crate) fn fail_over(&self, transactions: usize) {
        let touched = self.tables().lose_tail(transactions);
        self.weather().server += 1;
        self.world.say(format_args!(
            "failover: the last {transactions} transactions are lost, {} sagas touched",
            touched.len()
        ));
        self.checks.tail_lost(&self.tables(), touched);
    }

    pub(crate) fn heal(&self) {
        let mut weather = self.weather();
        weather.away_until = None;
        weather.read_only_until = None;
    }

    fn server(&self) -> u64 {
        self.weather().server
    }

    fn is_away(&self) -> bool {
        self.weather().away_until.is_some_and(|until| until > Instant::now())
    }

    fn is_read_only(&self) -> bool {
        self.weather().read_only_until.is_some_and(|until| until > Instant::now())
    }
}

/// One process's connections to it.
#[derive(Debug, Clone)]
pub(crate) struct StorePort {
    database: Arc<Database>,
    process: Arc<Process>,
    /// The server that the connections lead to.
    server: Arc<AtomicU64>,
}

fn away(after: Duration) -> Error {
    Error::Timeout(after)
}

impl StorePort {
    pub(crate) fn new(database: &Arc<Database>, process: &Arc<Process>) -> Arc<Self> {
        Arc::new(Self {
            database: database.clone(),
            process: process.clone(),
            server: Arc::new(AtomicU64::new(database.server())),
        })
    }

    /// One unit of work. What `work` does to the tables it does at once, when the server comes to it. Everything that may
    /// go wrong on the way goes wrong here.
    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        is_write: bool,
        work: impl FnOnce(&Database) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let Self { database, process, .. } = self;
        let world = &database.world;
        process.enter(name).await;
        sleep(world.ms(0, world.plan.store_latency_ms)).await;
        if database.is_away() || process.is_store_cut() {
            // Refused at once, or not heard of at all.
            let patience = if world.chance(0.3) { UNIT_TIMEOUT } else { Duration::from_millis(5) };
            sleep(patience).await;
            process.leave(name).await;
            return Err(away(patience));
        }
        if is_write && database.is_read_only() {
            process.leave(name).await;
            return Err(away(Duration::ZERO));
        }
        // A failover breaks all connections to the old server; new ones lead to the new one.
        let server = database.server();
        if self.server.swap(server, Ordering::Relaxed) != server {
            world.say(format_args!("{}: {name} finds its connection broken", process.name));
            process.leave(name).await;
            return Err(away(Duration::ZERO));
        }
        if world.strikes(Fault::StoreError) {
            world.say(format_args!("{}: {name} fails", process.name));
            sleep(world.ms(0, 200)).await;
            process.leave(name).await;
            return Err(away(Duration::ZERO));
        }
        if world.strikes(Fault::StoreLate) {
            // Given up on by the caller, and carried out all the same: the server does not know of it.
            // Often just while the caller looks whether it was done, and tries again.
            let late = if world.chance(0.5) { world.ms(8_000, 8_100) } else { world.ms(8_000, 20_000) };
            world.say(format_args!("{}: {name} is done late, in {} ms", process.name, late.as_millis()));
            let (database, at) = (database.clone(), Instant::now() + late);
            tokio::spawn(async move {
                sleep_until(at).await;
                if !database.is_away() && database.server() == server {
                    work(&database);
                }
            });
            sleep(UNIT_TIMEOUT).await;
            process.leave(name).await;
            return Err(away(UNIT_TIMEOUT));
        }
        if world.strikes(Fault::StoreSlow) {
            sleep(world.ms(50, 7_000)).await;
        }
        // What a paused process asked for is done meanwhile; the dead have no effects any more.
        if process.is_dead() {
            process.alive().await;
        }
        if database.server() != server {
            process.leave(name).await;
            return Err(away(Duration::ZERO));
        }
        let done = work(database);
        if world.strikes(Fault::StoreAmbiguous) {
            world.say(format_args!("{}: {name} is done, and says that it is not", process.name));
            sleep(world.ms(0, 200)).await;
            process.leave(name).await;
            return Err(away(Duration::ZERO));
        }
        sleep(world.ms(0, world.plan.store_latency_ms)).await;
        process.leave(name).await;
        // Done by a server whose answer does not come any more, and lost with it or not.
        if database.server() == server { Ok(done) } else { Err(away(Duration::ZERO)) }
    }
}

fn row(seq: i32, row: &crate::tables::JournalRow) -> Result<JournalRow, Error> {
    let events =
        serde_json::from_str(&row.text).map_err(|error| Error::Corrupt(format!("journal: {error}")))?;
    Ok(JournalRow { seq, at: row.at, replica: row.replica.clone(), events })
}

fn limited(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(0)
}

#[async_trait]
impl Store for StorePort {
    async fn commit(&self, replica: &Name, batch: Vec<Transition<'_>>) -> Result<HashSet<SagaId>, Error> {
        let mut batch: Vec<Write> = batch.into_iter().map(Write::of).collect();
        let (replica, process) = (replica.to_string(), self.process.clone());
        let world = &self.database.world;
        if world.bug == Some(Bug::CommitLies) && world.chance(0.01) {
            return Ok(batch.iter().map(|write| write.id).collect());
        }
        if world.bug == Some(Bug::FieldLost) {
            for write in &mut batch {
                write.events = write.events.replace(r#""empty":true,"#, "").replace(r#","empty":true"#, "");
            }
        }
        // When it is carried out late, it may have hung in its first statement, and then there is no second.
        let is_second_said = world.chance(0.5);
        let began = Instant::now();
        let won = self
            .call("commit", true, move |database| {
                let bug = database.world.bug;
                let mut tables = database.tables();
                let was_there = tables.journal.len();
                let is_abandoned = began.elapsed() >= UNIT_TIMEOUT;
                let won = match tables.commit_fast(&replica, &batch) {
                    Ok(won) => won,
                    Err(_) if is_abandoned && !is_second_said => BTreeSet::new(),
                    Err(_) => tables.commit_careful(&replica, &batch, bug),
                };
                database.checks.committed(&tables, &process, &batch, &won);
                debug_assert!(tables.journal.len() >= was_there, "a commit adds rows");
                won
            })
            .await?;
        Ok(won.into_iter().collect())
    }

    async fn load(&self, ids: &[SagaId]) -> Result<BTreeMap<SagaId, Result<Loaded, Error>>, Error> {
        let ids = ids.to_vec();
        self.call("load", false, move |database| {
            let tables = database.tables();
            let mut found = BTreeMap::new();
            for id in ids {
                let rows: Result<Vec<JournalRow>, Error> =
                    tables.rows(id).map(|(seq, one)| row(seq, one)).collect();
                match rows {
                    Ok(rows) if rows.is_empty() => {}
                    rows => drop(found.insert(id, rows.and_then(|rows| replay(id, &rows)))),
                }
            }
            found
        })
        .await
    }

    async fn start_key(&self, key: &str) -> Result<Option<(SagaId, Vec<u8>)>, Error> {
        let key = key.to_owned();
        self.call("start_key", false, move |database| {
            database.tables().keys.get(&key).map(|(print, id)| (*id, print.clone()))
        })
        .await
    }

    async fn quarantine(&self, id: SagaId, why: &str) -> Result<(), Error> {
        let why = why.to_owned();
        self.call("quarantine", true, move |database| {
            database.world.say(format_args!("{id} is put aside: {why}"));
            if !database.checks.is_torn(id) {
                database.world.violated("I10", format!("the saga {id} is put aside: {why}"));
            }
            let now = database.now();
            database.tables().quarantine(id, &why, now);
        })
        .await
    }

    async fn submit_definition(
        &self,
        name: &Name,
        digest: &[u8; 32],
        body: &str,
    ) -> Result<(u32, bool), Error> {
        let (name, digest, body) = (name.to_string(), *digest, body.to_owned());
        self.call("submit_definition", true, move |database| {
            let now = database.now();
            database.tables().submit_definition(&name, digest, &body, now)
        })
        .await
    }

    async fn definition(&self, name: &str, version: Option<u32>) -> Result<Option<Stored>, Error> {
        let name = name.to_owned();
        self.call("definition", false, move |database| {
            let tables = database.tables();
            let (version, row) = tables.definition(&name, version)?;
            Some(Stored { name, version, body: row.body.clone(), submitted_at: row.at, removed_at: None })
        })
        .await
    }

    async fn keep_aside(&self, letters: &[DeadLetter]) -> Result<(), Error> {
        let letters: Vec<DeadLetterRow> = letters
            .iter()
            .map(|letter| DeadLetterRow {
                subject: letter.subject.clone(),
                reason: letter.reason,
                detail: letter.detail.clone(),
                headers: letter.headers.clone(),
            })
            .collect();
        self.call("keep_aside", true, move |database| {
            for letter in &letters {
                database.world.say(format_args!("put aside: {} {}", letter.reason, letter.detail));
            }
            database.tables().dead_letters.extend(letters);
        })
        .await
    }

    async fn forget_dead_letters(&self) -> Result<u64, Error> {
        // Seven days are not over in a simulation.
        self.call("forget_dead_letters", true, |_| 0).await
    }

    async fn enter(&self, name: &Name, incarnation: Uuid, _version: &str) -> Result<Entered, Error> {
        let name = name.to_string();
        self.call("enter", true, move |database| {
            let now = database.now();
            let predecessor = database.tables().enter(&name, incarnation, now);
            Entered { now, predecessor }
        })
        .await
    }

    async fn heartbeat(&self, beat: Beat<'_>, dead_after_ms: i64) -> Result<Heartbeat, Error> {
        let (name, incarnation, announced) = (beat.name.to_string(), beat.incarnation, beat.announced_until);
        self.call("heartbeat", true, move |database| {
            let now = database.now();
            let dead_after = Millis(u64::try_from(dead_after_ms).unwrap_or(0));
            let announced = if database.world.bug == Some(Bug::DebtsForgotten) { now } else { announced };
            let (is_usurped, dead) =
                database.tables().heartbeat(&name, incarnation, announced, dead_after, now);
            Heartbeat { now, is_usurped, dead }
        })
        .await
    }

    async fn leave(&self, name: &Name, incarnation: Uuid) -> Result<(), Error> {
        let name = name.to_string();
        self.call("leave", true, move |database| database.tables().leave(&name, incarnation)).await
    }

    async fn take_over(&self, dead: &Name, taker: &Name, limit: i64) -> Result<Vec<SagaId>, Error> {
        let (dead, taker) = (dead.to_string(), taker.to_string());
        self.call("take_over", true, move |database| {
            let now = database.now();
            let ids = database.tables().take_over(&dead, &taker, limited(limit), now);
            if !ids.is_empty() {
                database.world.say(format_args!("{taker} takes {} sagas of {dead}", ids.len()));
                database.checks.taken_over(ids.len());
            }
            if database.world.bug == Some(Bug::ClaimsSwallowed) { Vec::new() } else { ids }
        })
        .await
    }

    async fn owned(
        &self,
        owner: &Name,
        started_before: Timestamp,
        after: Option<SagaId>,
        limit: i64,
    ) -> Result<Vec<SagaId>, Error> {
        let owner = owner.to_string();
        self.call("owned", false, move |database| {
            if database.world.bug == Some(Bug::ClaimsSwallowed) {
                return Vec::new();
            }
            database.tables().owned(&owner, started_before, after, limited(limit))
        })
        .await
    }

    async fn ended(
        &self,
        owner: &Name,
        after: (Timestamp, SagaId),
        before: Timestamp,
        limit: i64,
    ) -> Result<Vec<(Timestamp, SagaId)>, Error> {
        let owner = owner.to_string();
        self.call("ended", false, move |database| {
            database.tables().ended(&owner, after, before, limited(limit))
        })
        .await
    }

    async fn forget(&self, dead: &Name) -> Result<bool, Error> {
        let dead = dead.to_string();
        self.call("forget", true, move |database| {
            let now = database.now();
            database.tables().forget(&dead, now)
        })
        .await
    }

    async fn take_back(&self, sagas: &[Well]) -> Result<(), Error> {
        let sagas = sagas.to_vec();
        self.call("take_back", true, move |database| {
            database.world.say(format_args!("{} sagas that were put aside are well", sagas.len()));
            database.tables().take_back(&sagas);
        })
        .await
    }

    async fn claim_due(&self, replica: &Name, limit: i64) -> Result<Vec<Due>, Error> {
        let replica = replica.to_string();
        self.call("claim_due", true, move |database| {
            let now = database.now();
            let ids = database.tables().claim_due(&replica, limited(limit), now);
            if !ids.is_empty() {
                database.world.say(format_args!("{replica} sweeps {} sagas", ids.len()));
            }
            if database.world.bug == Some(Bug::ClaimsSwallowed) { Vec::new() } else { ids }
        })
        .await
    }

    async fn rest(&self, sagas: &[Resting]) -> Result<(), Error> {
        let sagas = sagas.to_vec();
        self.call("rest", true, move |database| {
            database.world.say(format_args!("{} sagas are at rest", sagas.len()));
            database.tables().rest(&sagas);
        })
        .await
    }
}
