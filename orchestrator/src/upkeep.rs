//! A replica's upkeep: its heartbeat, the takeover of the dead, and the sweep under everything else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use snorri_saga::ids::{Name, SagaId};
use snorri_saga::time::{Millis, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::engine::{Debt, Engine, Item, Owed, Recall, Shared};
use crate::store::{self, Beat, Gone};

/// This binary's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How often a replica says that it is alive.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);
/// After how long without a heartbeat its sagas are taken over.
const DEAD_AFTER: Duration = Duration::from_secs(2);
/// How often live sagas are looked for whose wake-up is due.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How many sagas one takeover or sweep takes at a time.
const PAGE: i64 = 500;
/// Ends so long before the time up to which a replica that is gone has announced everything are announced again, too: for
/// clocks that went back a little.
const ENDS_BEFORE: Millis = Millis(1500);
/// How long after a replica's death a commit of its own may still come in.
const COMMITS_UNDER_WAY: Duration = Duration::from_secs(10);
/// So much time one look for such ends covers: a query is short, whatever ended since.
const ENDS_SPAN: Millis = Millis::secs(600);
/// So many are looked up at once: each look reads all that ended lately.
const ENDS_PAGE: i64 = 10_000;
/// So many are handed over at once, and then there is a pause, so that what is under way is not kept waiting.
const ENDS_AT_ONCE: usize = 500;
/// That pause.
const ENDS_PAUSE: Duration = Duration::from_millis(10);
/// Announcements that are owed for so long are said aloud.
const OWED_LONG: Millis = Millis::secs(60);
/// How soon it is tried again when a replica cannot go on with what its predecessor left.
const RESUME_AGAIN: Duration = Duration::from_millis(500);
/// How often the streams are looked after.
const STREAMS_EVERY: Duration = Duration::from_secs(5);
/// A heartbeat that took longer says too little about Postgres's clock.
const CLOCK_SAMPLE_MAX: Duration = Duration::from_millis(250);
/// After a jump of Postgres's clock no timeout counts for so long.
const CLOCK_DOUBT: Duration = Duration::from_secs(30);
/// A jump of Postgres's clock by more than this is said aloud.
const JUMP_MS: i64 = 5000;

/// Why the upkeep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to.
    Stopped,
    /// Another process runs under the same replica name: this one must not go on.
    Usurped,
}

/// Runs the upkeep until told to stop.
pub(crate) async fn run(
    engine: Engine,
    shared: Arc<Shared>,
    incarnation: Uuid,
    inherited: Option<Inherited>,
    lost: Arc<Notify>,
    stop: CancellationToken,
) -> Ended {
    // Heartbeats wait for nothing but Postgres: a takeover that waits for a busy lane must not make this
    // replica look dead in its turn.
    let (tell, told) = watch::channel(Dead::new());
    let beat = beat(&shared, incarnation, &tell, &stop);
    let take_over = take_over_the_dead(&engine, &shared, &lost, told);
    let streams = keep_streams(&shared, &lost);
    let sweep = sweep(&engine, &shared, &stop);
    let resend = resend_when_lost(&engine, &shared, &lost);
    let announce = announce_inherited(&engine, &shared, inherited);
    tokio::select! {
        biased;
        () = stop.cancelled() => Ended::Stopped,
        ended = beat => ended,
        () = take_over => Ended::Stopped,
        () = streams => Ended::Stopped,
        () = sweep => Ended::Stopped,
        () = resend => Ended::Stopped,
        () = announce => Ended::Stopped,
    }
}

type Dead = Vec<Gone>;

async fn beat(
    shared: &Shared,
    incarnation: Uuid,
    dead: &watch::Sender<Dead>,
    stop: &CancellationToken,
) -> Ended {
    let dead_after = i64::try_from(DEAD_AFTER.as_millis()).unwrap_or(i64::MAX);
    // Since when our own heartbeats have been coming through. When Postgres was away, everybody's are old.
    let mut steady_since: Option<Instant> = None;
    let mut last = Instant::now();
    let (mut is_away, mut is_owing_long) = (false, false);
    while !stop.is_cancelled() {
        let asked = Instant::now();
        let (now, announced_until) = (shared.clock.now(), shared.owed.until(shared.clock.now()));
        // From then on letters between sagas are let go, and what is owed with them.
        if stop.is_cancelled() {
            break;
        }
        let owed_for = now.since(announced_until);
        shared.metrics.announcements_owed(owed_for);
        if owed_for < OWED_LONG {
            is_owing_long = false;
        } else if !std::mem::replace(&mut is_owing_long, true) {
            tracing::warn!(since = %announced_until, "ends are not announced since then; NATS does not take them");
        }
        let beat = Beat { name: &shared.replica, incarnation, version: VERSION, announced_until };
        match shared.store.heartbeat(beat, dead_after).await {
            Ok(heartbeat) if heartbeat.is_usurped => {
                tracing::error!(
                    replica = %shared.replica,
                    "another process runs under this replica's name; give each replica a name of its own"
                );
                return Ended::Usurped;
            }
            Ok(heartbeat) => {
                shared.metrics.postgres_up(true);
                if std::mem::take(&mut is_away) {
                    shared.is_postgres_down.store(false, Ordering::Relaxed);
                }
                if asked.elapsed() <= CLOCK_SAMPLE_MAX {
                    let off = shared.clock.sync(heartbeat.now, asked);
                    if off.abs() > JUMP_MS {
                        tracing::warn!(off_ms = off, "postgres's clock jumped; no timeout counts for 30 s");
                        if let Ok(mut until) = shared.clock_doubted_until.lock() {
                            *until = Some(Instant::now() + CLOCK_DOUBT);
                        }
                    }
                }
                if last.elapsed() > DEAD_AFTER {
                    steady_since = None;
                }
                let steady = steady_since.get_or_insert_with(Instant::now).elapsed();
                last = Instant::now();
                if steady >= DEAD_AFTER && !heartbeat.dead.is_empty() {
                    dead.send_replace(heartbeat.dead);
                }
            }
            Err(error) => {
                steady_since = None;
                shared.metrics.postgres_up(false);
                // An idle replica has no commit that would tell it.
                is_away = true;
                if error.is_of_the_connection() {
                    shared.store_generation.fetch_add(1, Ordering::AcqRel);
                }
                shared.is_postgres_down.store(true, Ordering::Relaxed);
                tracing::debug!(error = error.chain(), "no heartbeat");
            }
        }
        shared.metrics.nats_up(shared.bus.is_connected());
        sleep(HEARTBEAT_EVERY).await;
    }
    Ended::Stopped
}

/// Makes streams that are missing, for as long as it takes: after a store was lost, or when NATS came late.
async fn keep_streams(shared: &Shared, lost: &Notify) {
    let commands = shared.bus.subjects().commands_stream();
    loop {
        shared.bus.connected().await;
        let link = shared.bus.link_epoch();
        let made = match shared.bus.ensure_streams().await {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(
                    error = crate::chain(&error),
                    "not all streams can be made; it is tried again"
                );
                error.streams_made()
            }
        };
        if made.contains(&commands) {
            tracing::warn!(?made, "streams were missing and are made anew; sending again what is under way");
            lost.notify_one();
        } else if !made.is_empty() {
            tracing::warn!(?made, "streams were missing and are made anew");
        }
        tokio::select! {
            biased;
            () = shared.streams_wanted.notified() => sleep(Duration::from_millis(50)).await,
            () = shared.bus.link_changed(link) => {}
            () = sleep(STREAMS_EVERY) => {}
        }
    }
}

/// What this replica announces for one that is gone.
#[derive(Debug)]
struct Announced {
    last_seen: Timestamp,
    /// It was looked for when nothing could be added to it any more.
    is_final: bool,
    owed: Arc<Owed>,
}

async fn take_over_the_dead(
    engine: &Engine,
    shared: &Shared,
    lost: &Notify,
    mut told: watch::Receiver<Dead>,
) {
    // Whose last ends were announced again, so that it is done once a death.
    let mut announced: HashMap<Name, Announced> = HashMap::new();
    while told.changed().await.is_ok() {
        let dead = told.borrow_and_update().clone();
        announced.retain(|name, _| dead.iter().any(|gone| gone.name == *name));
        for gone in dead {
            if let Err(error) = follow(engine, shared, &gone, &mut announced).await {
                tracing::warn!(error = error.chain(), dead = %gone.name, "a takeover failed; it is tried again");
                // It may have been committed all the same: then the sagas are ours, and nobody knows.
                lost.notify_one();
            }
        }
    }
}

/// Does what a replica that is gone left to do, and strikes it off when nothing of it is left.
async fn follow(
    engine: &Engine,
    shared: &Shared,
    gone: &Gone,
    announced: &mut HashMap<Name, Announced>,
) -> Result<(), store::Error> {
    take_over(engine, shared, &gone.name).await?;
    let seen = announced.get(&gone.name).map(|of| (of.last_seen, of.is_final));
    if seen != Some((gone.last_seen, gone.is_final)) {
        let owed = Arc::new(Owed::default());
        let debt = owed.owe(gone.announced_until);
        let range = (gone.announced_until, shared.clock.now());
        announce_again(engine, shared, &gone.name, range, debt).await?;
        let of = Announced { last_seen: gone.last_seen, is_final: gone.is_final, owed };
        announced.insert(gone.name.clone(), of);
    }
    // Not before it can owe no more, and NATS has it all: when this replica dies too, the next one must find that it is owed.
    let is_paid = announced.get(&gone.name).is_some_and(|of| of.is_final && of.owed.is_nothing());
    if !is_paid || !shared.store.forget(&gone.name).await? {
        return Ok(());
    }
    let subjects = shared.bus.subjects();
    let consumer = subjects.replica_consumer(&gone.name);
    if let Err(error) = shared.bus.delete_consumer(&subjects.replies_stream(), &consumer).await {
        tracing::debug!(%error, dead = %gone.name, "its consumer could not be deleted");
    }
    Ok(())
}

/// Takes over all live sagas of a dead replica that are not at rest and that no other taker has got.
async fn take_over(engine: &Engine, shared: &Shared, dead: &Name) -> Result<(), store::Error> {
    let mut total = 0;
    loop {
        let ids = shared.store.take_over(dead, &shared.replica, PAGE).await?;
        if ids.is_empty() {
            break;
        }
        snorri_kill::point!(TakeoverClaimed, return Err(store::Error::injected()));
        total += ids.len();
        for id in ids {
            engine.hand_over(id, Item::Resend(id)).await;
        }
    }
    if total > 0 {
        shared.metrics.taken_over(total);
        tracing::warn!(%dead, sagas = total, "took over the sagas of a replica that is gone");
    }
    Ok(())
}

/// Sends everything of this replica that is under way and was started before now once more.
async fn resend_owned(engine: &Engine, shared: &Shared) -> Result<usize, store::Error> {
    let started_before = shared.clock.now();
    let mut after: Option<SagaId> = None;
    let mut total = 0;
    loop {
        let ids = shared.store.owned(&shared.replica, started_before, after, PAGE).await?;
        let Some(last) = ids.last() else { return Ok(total) };
        after = Some(*last);
        total += ids.len();
        for id in ids {
            engine.hand_over(id, Item::Resend(id)).await;
        }
    }
}

/// Announces the last ends of a replica that is gone once more: it may have died between its commit and the announcement.
/// Their message ids are the same, so JetStream drops those that it has. They are owed until it has them all.
async fn announce_again(
    engine: &Engine,
    shared: &Shared,
    gone: &Name,
    (from, to): (Timestamp, Timestamp),
    debt: Arc<Debt>,
) -> Result<(), store::Error> {
    let mut total = 0;
    // The clock may have gone back since, by more than passed between its last heartbeat and its last end. There is nothing to be
    // read in the time that has not come yet.
    let (mut after, to) = ((from - ENDS_BEFORE, SagaId(Uuid::nil())), to.max(from + ENDS_SPAN));
    while after.0 < to {
        let before = to.min(after.0 + ENDS_SPAN);
        let page = shared.store.ended(gone, after, before, ENDS_PAGE).await?;
        let is_full = i64::try_from(page.len()).is_ok_and(|len| len >= ENDS_PAGE);
        total += page.len();
        after = match page.last() {
            Some(last) if is_full => *last,
            _ => (before, SagaId(Uuid::nil())),
        };
        for some in page.chunks(ENDS_AT_ONCE) {
            for (_, id) in some {
                engine.hand_over(*id, Item::Announce(*id, Recall::of(debt.clone()))).await;
            }
            sleep(ENDS_PAUSE).await;
        }
    }
    if total > 0 {
        tracing::info!(replica = %gone, sagas = total, "announces the last ends of a replica that is gone once more");
    }
    Ok(())
}

/// Goes on with the sagas that a predecessor of the same name left under way. To be awaited before the doors open, so
/// that it finds nothing of this process's own. What the predecessor owes is owed by this replica from then on.
pub(crate) async fn resume(
    engine: &Engine,
    shared: &Shared,
    predecessor: Option<Timestamp>,
) -> Option<Inherited> {
    let announced_until = predecessor?;
    let debt = shared.owed.owe(announced_until);
    let ended = (announced_until, shared.clock.now());
    resend_patiently(engine, shared, "went on with the sagas of a predecessor of the same name").await;
    Some(Inherited { ended, debt })
}

/// What a replica owes for a predecessor of the same name.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// When what it owes ended: from then on, and before this one began.
    ended: (Timestamp, Timestamp),
    debt: Arc<Debt>,
}

/// Announces what the predecessor owes, for as long as it takes, and once more when nothing that was under way in the database
/// when it died can still come in. Then waits for ever.
async fn announce_inherited(engine: &Engine, shared: &Shared, inherited: Option<Inherited>) {
    let Some(Inherited { ended, debt }) = inherited else { return std::future::pending().await };
    for pause in [Duration::ZERO, COMMITS_UNDER_WAY] {
        sleep(pause).await;
        while let Err(error) = announce_again(engine, shared, &shared.replica, ended, debt.clone()).await {
            tracing::warn!(
                error = error.chain(),
                "the predecessor's last ends are not announced yet; it is tried again"
            );
            sleep(RESUME_AGAIN).await;
        }
    }
    drop(debt);
    std::future::pending::<()>().await;
}

/// Sends again whenever NATS lost messages.
async fn resend_when_lost(engine: &Engine, shared: &Shared, lost: &Notify) {
    loop {
        lost.notified().await;
        resend_patiently(engine, shared, "sent again what was under way").await;
    }
}

async fn resend_patiently(engine: &Engine, shared: &Shared, what: &str) {
    loop {
        match resend_owned(engine, shared).await {
            Ok(0) => return,
            Ok(sagas) => {
                tracing::info!(sagas, "{what}");
                return;
            }
            Err(error) => tracing::warn!(error = error.chain(), "sending again failed; it is tried again"),
        }
        sleep(RESUME_AGAIN).await;
    }
}

async fn sweep(engine: &Engine, shared: &Shared, stop: &CancellationToken) {
    let mut is_full = false;
    while !stop.is_cancelled() {
        // Not in step with the others.
        let share = shared.dice.range(0.7..1.3);
        // Where many are due at once, the lanes' queues say how fast.
        if !is_full {
            sleep(SWEEP_EVERY.mul_f64(share)).await;
        }
        is_full = false;
        match shared.store.claim_due(&shared.replica, PAGE).await {
            Ok(due) => {
                is_full = i64::try_from(due.len()).is_ok_and(|count| count >= PAGE);
                snorri_kill::point!(SweepClaimed if !due.is_empty(), continue);
                for due in due {
                    engine.hand_over(due.id, Item::Swept(due)).await;
                }
            }
            Err(error) => tracing::debug!(error = error.chain(), "no sweep"),
        }
    }
}
