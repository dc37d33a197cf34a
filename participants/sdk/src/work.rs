//! From commands to verdicts: the transaction, the handlers in it, and what to tell.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::FutureExt as _;
use snorri_bus::headers::{self, ReceivedCommand};
use snorri_bus::{Bytes, Message};
use snorri_saga::ids::{Direction, EffectId};
use snorri_saga::json::Json;
use snorri_saga::wire::Outcome;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use crate::barrier::{self, Entered};
use crate::ctx::{Ctx, StillHeld, TxCell};
use crate::fail::{Fail, Trouble};
use crate::handler::{Call, Handler};
use crate::retention;
use crate::run::Shared;
use crate::stats::Stats;
use crate::store::{Done, Store, StoreError, Transaction};

/// The longest that a handler may run.
pub(crate) const HANDLER_TIME_MAX: Duration = Duration::from_mins(5);

/// One command to be worked on.
pub(crate) struct Job {
    pub(crate) message: Message,
    pub(crate) command: Arc<ReceivedCommand>,
    pub(crate) received: Instant,
    pub(crate) span: Option<Context>,
}

impl Job {
    fn effect(&self) -> &EffectId {
        self.command.effect()
    }
}

/// What to do about a command.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Answer. What is stored in the barrier is answered first and acknowledged then, so that a crash leads
    /// to the same answer again. What is not is acknowledged first, so that it cannot run again after
    /// the answer that it did not.
    Answer { body: Bytes, word: &'static str, stored: bool, duplicate: bool },
    /// Have it delivered again.
    Later(Duration),
}

impl Verdict {
    fn of(stats: &Stats, outcome: &Outcome, stored: bool) -> Self {
        stats.outcome(outcome);
        Self::Answer { body: headers::reply_body(outcome), word: outcome.word(), stored, duplicate: false }
    }

    fn failed(stats: &Stats, message: impl Into<String>) -> Self {
        let outcome = Outcome::Failed { message: message.into(), retry_after: None };
        Self::of(stats, &outcome, false)
    }
}

/// The transaction as a whole came to nothing.
#[derive(Debug)]
enum Broken {
    Store(StoreError),
    /// A handler asks for another delivery.
    Unavailable,
    /// A handler kept hold of the transaction.
    StillHeld,
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StillHeld> for Broken {
    fn from(_: StillHeld) -> Self {
        Self::StillHeld
    }
}

/// Works on commands of different steps, in one transaction if it can be, and says what to do about each.
pub(crate) async fn work(shared: &Shared, jobs: &[Job]) -> Vec<Verdict> {
    let Some(store) = &shared.store else {
        let mut verdicts = Vec::with_capacity(jobs.len());
        for job in jobs {
            verdicts.push(without_barrier(shared, job).await);
        }
        return verdicts;
    };
    if jobs.len() > 1 {
        match in_transaction(shared, &**store, jobs).await {
            Ok(verdicts) => return verdicts,
            Err(broken) => {
                tracing::debug!(?broken, commands = jobs.len(), "a batch failed; doing it one by one");
                Stats::count(&shared.stats.batches_undone);
            }
        }
    }
    let mut verdicts = Vec::with_capacity(jobs.len());
    for job in jobs {
        verdicts.push(match in_transaction(shared, &**store, std::slice::from_ref(job)).await {
            Ok(mut verdicts) => verdicts.pop().unwrap_or(Verdict::Later(Duration::from_secs(1))),
            Err(broken) => after_breaking(shared, &broken),
        });
    }
    verdicts
}

/// What becomes of a command whose own transaction came to nothing.
fn after_breaking(shared: &Shared, broken: &Broken) -> Verdict {
    let failed = |message: String| {
        tracing::error!(message, "a command's transaction failed");
        Verdict::failed(&shared.stats, message)
    };
    match broken {
        Broken::Store(error) => match error.trouble() {
            Trouble::Away => {
                shared.gate.shut();
                Verdict::Later(Duration::from_secs(1))
            }
            // Mostly another attempt of the same command, still at work.
            Trouble::Contended => Verdict::Later(Duration::from_millis(500)),
            Trouble::Aborted => failed("the handler went on after a statement of its failed".to_owned()),
            Trouble::Other => failed(format!("the barrier: {}", error.describe())),
        },
        // If the database is away, the next transaction will find it so.
        Broken::Unavailable => Verdict::Later(Duration::from_secs(1)),
        Broken::StillHeld => failed("the handler returned and kept hold of its transaction".to_owned()),
    }
}

async fn without_barrier(shared: &Shared, job: &Job) -> Verdict {
    let Some(handler) = shared.handler(&job.command) else { return unknown_operation(shared, job) };
    let result = call(shared, handler, job, None, None).await;
    if matches!(&result, Err(fail) if fail.is_unavailable()) {
        return Verdict::Later(Duration::from_secs(1));
    }
    let (outcome, _) = judge(job.command.effect().direction, result);
    Verdict::of(&shared.stats, &outcome, !matches!(outcome, Outcome::Failed { .. }))
}

fn unknown_operation(shared: &Shared, job: &Job) -> Verdict {
    Stats::count(&shared.stats.unknown_operation);
    let direction = job.command.effect().direction;
    let message =
        format!("no {direction} `{}` here; known: {}", job.command.operation, shared.known_operations());
    tracing::warn!(message, "a command for an operation that is not here");
    Verdict::failed(&shared.stats, message)
}

/// What a handler's result means: the outcome, and under which word it is stored, if it is.
fn judge(direction: Direction, result: Result<Json, Fail>) -> (Outcome, Option<&'static str>) {
    let outcome = match result {
        Ok(output) => Outcome::Ok { output, empty: false },
        Err(fail) => fail.into_outcome(),
    };
    let stored = match (&outcome, direction) {
        (Outcome::Ok { .. }, _) => Some("ok"),
        (Outcome::Rejected { partial: true, .. }, Direction::Action) => Some("partial"),
        (Outcome::Rejected { .. }, Direction::Action) => Some("rejected"),
        // A compensation must succeed some day, so nothing is stored that would keep it from that.
        _ => None,
    };
    (outcome, stored)
}

async fn in_transaction(shared: &Shared, store: &dyn Store, jobs: &[Job]) -> Result<Vec<Verdict>, Broken> {
    // Those that cannot run must not leave rows.
    let known: Vec<Option<&Handler>> = jobs.iter().map(|job| shared.handler(&job.command)).collect();
    let effects: Vec<&EffectId> =
        jobs.iter().zip(&known).filter(|(_, known)| known.is_some()).map(|(job, _)| job.effect()).collect();
    if effects.is_empty() {
        return Ok(jobs.iter().map(|job| unknown_operation(shared, job)).collect());
    }
    let mut tx = bounded(store.begin()).await?;
    let forgotten_before = retention::forgotten_before(store.now(), shared.retention);
    let entered = match heard(barrier::enter(&mut *tx, &effects, forgotten_before)).await? {
        Ok(entered) => entered,
        Err(error) => {
            undo(tx).await;
            return Err(Broken::Store(error));
        }
    };
    let cell = TxCell::new(tx);
    let told = match in_turns(shared, jobs, known, entered, &cell).await {
        Ok(told) => told,
        Err(broken) => {
            if let Some(tx) = cell.take_to_undo() {
                undo(tx).await;
            }
            return Err(broken);
        }
    };

    let mut tx = cell.take().await?;
    let (done, gone) = rows_to_write(jobs, &told);
    if done.is_empty() {
        // Nothing to keep: no row, no business write that counts.
        bounded(tx.rollback()).await?;
    } else {
        let written = heard(async {
            barrier::complete(&mut *tx, &done).await?;
            if gone.is_empty() { Ok(()) } else { tx.take_back(&gone).await }
        });
        if let Err(error) = written.await? {
            undo(tx).await;
            return Err(Broken::Store(error));
        }
        drop(done);
        // Given up on or not: whether it was done, the next delivery finds out.
        bounded(tx.commit()).await?;
    }
    // Only now is any of it true.
    Ok(jobs.iter().zip(told).map(|(job, told)| told.verdict(shared, job)).collect())
}

/// Runs the handlers whose turn it is, one after the other.
async fn in_turns(
    shared: &Shared,
    jobs: &[Job],
    known: Vec<Option<&Handler>>,
    entered: Vec<Entered>,
    cell: &TxCell,
) -> Result<Vec<Told>, Broken> {
    let mut entered = entered.into_iter();
    let mut turn = 0;
    let mut told: Vec<Told> = Vec::with_capacity(jobs.len());
    for (job, handler) in jobs.iter().zip(known) {
        let Some(handler) = handler else {
            told.push(Told::Unknown);
            continue;
        };
        let output = match entered.next() {
            Some(Entered::Run) => None,
            Some(Entered::Undo { output }) => output,
            Some(other) => {
                told.push(Told::Already(other));
                continue;
            }
            None => return Err(Broken::Store(StoreError::row_missing())),
        };
        let result = call(shared, handler, job, Some((cell.clone(), turn)), output).await;
        if matches!(&result, Err(fail) if fail.is_unavailable()) {
            return Err(Broken::Unavailable);
        }
        let (outcome, stored) = judge(job.effect().direction, result);
        cell.end_turn(job.effect(), matches!(outcome, Outcome::Ok { .. })).await?;
        turn += 1;
        told.push(Told::Handled(outcome, stored));
    }
    Ok(told)
}

/// The server limits its own time; this is for a server that is not heard of any more.
const SILENCE_MAX: Duration = Duration::from_secs(8);

async fn bounded<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    heard(work).await.unwrap_or_else(Err)
}

/// The same, and tells an error that the store said (inside) from its silence (outside). After silence a
/// transaction must only be dropped: its connection is closed then.
async fn heard<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<Result<T, E>, StoreError> {
    timeout(SILENCE_MAX, work).await.map_err(|_| StoreError::Away("it did not answer in time".to_owned()))
}

/// Rolls back, so that the connection can be used again. If that cannot be done, it is closed.
async fn undo(tx: Box<dyn Transaction>) {
    if let Err(error) = bounded(tx.rollback()).await {
        tracing::debug!(
            error = error.describe(),
            "a transaction was not rolled back; its connection is closed"
        );
    }
}

/// What is known of one command inside the transaction.
enum Told {
    Unknown,
    Already(Entered),
    Handled(Outcome, Option<&'static str>),
}

impl Told {
    fn verdict(self, shared: &Shared, job: &Job) -> Verdict {
        let stats = &shared.stats;
        match self {
            Self::Unknown => unknown_operation(shared, job),
            Self::Handled(outcome, stored) => Verdict::of(stats, &outcome, stored.is_some()),
            Self::Already(Entered::Forgotten) => {
                let effect = job.effect();
                tracing::error!(
                    saga = %effect.saga, step = %effect.step, direction = %effect.direction,
                    "a command of a saga that is older than the barrier remembers; a person must look"
                );
                Verdict::failed(
                    stats,
                    "the saga is older than this participant's barrier remembers, and nothing is known of this \
                     step; a person must look",
                )
            }
            Self::Already(Entered::Empty) => Verdict::of(stats, &empty(), true),
            Self::Already(Entered::Tombstoned) => Verdict::of(stats, &Outcome::Tombstoned, true),
            Self::Already(Entered::Stored(body)) => {
                Stats::count(&stats.duplicates);
                Verdict::Answer { body: Bytes::from(body), word: "stored", stored: true, duplicate: true }
            }
            Self::Already(Entered::Run | Entered::Undo { .. } | Entered::Unclear) => {
                Verdict::failed(stats, "the barrier's rows of this step make no sense")
            }
        }
    }
}

fn empty() -> Outcome {
    Outcome::Ok { output: Json::null(), empty: true }
}

/// The rows to complete, and those to take back, because their commands must be able to run again.
fn rows_to_write<'a>(jobs: &'a [Job], told: &[Told]) -> (Vec<Done<'a>>, Vec<&'a EffectId>) {
    let (mut done, mut gone) = (Vec::new(), Vec::new());
    let row = |job: &'a Job, word, outcome: &Outcome| Done {
        effect: job.effect(),
        outcome: word,
        reply: String::from_utf8_lossy(&headers::reply_body(outcome)).into_owned(),
    };
    for (job, told) in jobs.iter().zip(told) {
        match told {
            Told::Handled(outcome, Some(word)) => done.push(row(job, word, outcome)),
            Told::Handled(_, None) => gone.push(job.effect()),
            Told::Already(Entered::Empty) => done.push(row(job, "empty", &empty())),
            Told::Already(_) | Told::Unknown => {}
        }
    }
    (done, gone)
}

/// Runs one handler, within its time, its log span and its trace span.
async fn call(
    shared: &Shared,
    handler: &Handler,
    job: &Job,
    turn: Option<(TxCell, u64)>,
    output: Option<Json>,
) -> Result<Json, Fail> {
    let cx = Ctx::new(job.command.clone(), job.received, shared.bus.clone(), turn);
    let effect = job.effect();
    let log_span = tracing::info_span!(
        "command",
        saga = %effect.saga,
        step = %effect.step,
        direction = %effect.direction,
        attempt = job.command.id.attempt,
    );
    let running = handler(cx, Call { command: job.command.clone(), output }).instrument(log_span);
    let running = async {
        match &job.span {
            Some(context) => running.with_context(context.clone()).await,
            None => running.await,
        }
    };
    timeout(HANDLER_TIME_MAX, running)
        .await
        .unwrap_or_else(|_| Err(Fail::failed("the handler took longer than five minutes")))
}
