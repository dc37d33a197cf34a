//! From commands to verdicts: the transaction, the handlers in it, and what to tell.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::FutureExt as _;
use snorri_bus::headers::{self, ReceivedCommand};
use snorri_bus::{Bytes, Message};
use snorri_saga::ids::{CommandId, Direction, EffectId};
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
    /// to the same answer again. What is not (a failure without a database, rows that make no sense) is
    /// acknowledged first, which is all that can be done there to keep it from running after the answer that it
    /// did not.
    Answer { body: Bytes, word: &'static str, stored: bool, duplicate: bool },
    /// Have it delivered again.
    Later(Duration),
}

impl Verdict {
    fn of(stats: &Stats, outcome: &Outcome, stored: bool) -> Self {
        stats.outcome(outcome);
        Self::Answer { body: headers::reply_body(outcome), word: outcome.word(), stored, duplicate: false }
    }
}

fn failed(message: impl Into<String>) -> Outcome {
    Outcome::Failed { message: message.into(), retry_after: None }
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

impl Broken {
    /// For the log: no values.
    fn describe(&self) -> String {
        match self {
            Self::Store(error) => error.describe(),
            Self::Unavailable => "a handler asks for another delivery".to_owned(),
            Self::StillHeld => "the handler returned and kept hold of its transaction".to_owned(),
        }
    }

    /// What to tell of it, when it is a failure of the command and not just a bad moment.
    fn failure(&self) -> Option<String> {
        match self {
            Self::Store(error) => match error.trouble() {
                Trouble::Away | Trouble::Contended => None,
                Trouble::Aborted => Some("the handler went on after a statement of its failed".to_owned()),
                Trouble::Other => Some(format!("the barrier: {}", error.describe())),
            },
            Self::Unavailable => None,
            Self::StillHeld => Some(self.describe()),
        }
    }

    /// What a kill point fails with: a connection that was lost.
    #[cfg(debug_assertions)]
    fn injected() -> Self {
        Self::Store(StoreError::Sql(snorri_kill::error().into()))
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
        match in_transaction(shared, &**store, jobs, None).await {
            Ok(verdicts) => return verdicts,
            Err(broken) => {
                tracing::debug!(?broken, commands = jobs.len(), "a batch failed; doing it one by one");
                Stats::count(&shared.stats.batches_undone);
            }
        }
    }
    let mut verdicts = Vec::with_capacity(jobs.len());
    for job in jobs {
        verdicts.push(match alone(shared, &**store, job, None).await {
            Ok(verdict) => verdict,
            Err(broken) => after_breaking(shared, &**store, job, &broken).await,
        });
    }
    verdicts
}

/// Works on one command. With a failure given, that is told in the place of its handler's result.
async fn alone(
    shared: &Shared,
    store: &dyn Store,
    job: &Job,
    failure: Option<&str>,
) -> Result<Verdict, Broken> {
    let mut verdicts = in_transaction(shared, store, std::slice::from_ref(job), failure).await?;
    Ok(verdicts.pop().unwrap_or(Verdict::Later(AWAY)))
}

/// How soon a command comes again while the database is away,
const AWAY: Duration = Duration::from_secs(1);
/// while another transaction is in the way, mostly another attempt of the same command that is still at work,
const CONTENDED: Duration = Duration::from_millis(500);
/// and when the barrier cannot keep its failure, for a reason that may not go away by itself.
const UNKEPT: Duration = Duration::from_secs(5);

/// What becomes of a command whose own transaction came to nothing. Where it has failed, the barrier is told so by a
/// transaction that does nothing else, before anybody hears of it: it may be delivered again.
async fn after_breaking(shared: &Shared, store: &dyn Store, job: &Job, broken: &Broken) -> Verdict {
    let Some(message) = broken.failure() else { return later(shared, broken) };
    tracing::error!(message, "a command's transaction failed");
    match alone(shared, store, job, Some(&message)).await {
        Ok(verdict) => verdict,
        Err(broken) => {
            tracing::warn!(
                why = broken.describe(),
                "the failure could not be kept, so it is not told; the command comes again"
            );
            later(shared, &broken)
        }
    }
}

/// When a command comes again that nothing can be said of.
fn later(shared: &Shared, broken: &Broken) -> Verdict {
    Verdict::Later(match broken {
        Broken::Store(error) => match error.trouble() {
            Trouble::Away => {
                shared.gate.shut();
                AWAY
            }
            Trouble::Contended => CONTENDED,
            Trouble::Aborted | Trouble::Other => UNKEPT,
        },
        // If the database is away, the next transaction will find it so.
        Broken::Unavailable => AWAY,
        Broken::StillHeld => UNKEPT,
    })
}

async fn without_barrier(shared: &Shared, job: &Job) -> Verdict {
    let Some(handler) = shared.handler(&job.command) else { return unknown_operation(shared, job, false) };
    let result = call(shared, handler, job, None, None).await;
    if matches!(&result, Err(fail) if fail.is_unavailable()) {
        return Verdict::Later(Duration::from_secs(1));
    }
    let (outcome, _) = judge(job.command.effect().direction, result);
    Verdict::of(&shared.stats, &outcome, !matches!(outcome, Outcome::Failed { .. }))
}

/// The answer to a command for which there is no handler.
fn unknown_outcome(shared: &Shared, job: &Job) -> Outcome {
    let direction = job.effect().direction;
    failed(format!("no {direction} `{}` here; known: {}", job.command.operation, shared.known_operations()))
}

fn unknown_operation(shared: &Shared, job: &Job, stored: bool) -> Verdict {
    Stats::count(&shared.stats.unknown_operation);
    let outcome = unknown_outcome(shared, job);
    tracing::warn!(?outcome, "a command for an operation that is not here");
    Verdict::of(&shared.stats, &outcome, stored)
}

/// What only a later attempt may do.
const FAILED: &str = "failed";

/// What a handler's result means: the outcome, and under which word it is stored.
fn judge(direction: Direction, result: Result<Json, Fail>) -> (Outcome, &'static str) {
    let outcome = match result {
        Ok(output) => Outcome::Ok { output, empty: false },
        Err(fail) => fail.into_outcome(),
    };
    let stored = match (&outcome, direction) {
        (Outcome::Ok { .. }, _) => "ok",
        (Outcome::Rejected { partial: true, .. }, Direction::Action) => "partial",
        (Outcome::Rejected { .. }, Direction::Action) => "rejected",
        // A compensation must succeed some day: whatever it said, its next attempt runs.
        _ => FAILED,
    };
    (outcome, stored)
}

async fn in_transaction(
    shared: &Shared,
    store: &dyn Store,
    jobs: &[Job],
    failure: Option<&str>,
) -> Result<Vec<Verdict>, Broken> {
    let commands: Vec<&CommandId> = jobs.iter().map(|job| &job.command.id).collect();
    let mut tx = bounded(store.begin()).await?;
    let forgotten_before = retention::forgotten_before(store.now(), shared.retention);
    let entered = match heard(barrier::enter(&mut *tx, &commands, forgotten_before)).await? {
        Ok(entered) => entered,
        Err(error) => {
            undo(tx).await;
            return Err(Broken::Store(error));
        }
    };
    snorri_kill::point!(BarrierEntered, return Err(Broken::injected()));
    let lost = tx.lost();
    let cell = TxCell::new(tx);
    let told = tokio::select! {
        biased;
        told = in_turns(shared, jobs, failure, entered, &cell) => told,
        // There is nothing to roll back, and nobody to ask for it.
        () = lost => return Err(Broken::Store(StoreError::Away("the session is gone".to_owned()))),
    };
    let told = match told {
        Ok(told) => told,
        Err(broken) => {
            if let Some(tx) = cell.take_to_undo() {
                undo(tx).await;
            }
            return Err(broken);
        }
    };

    snorri_kill::point!(HandlerDone, return Err(Broken::injected()));
    let mut tx = cell.take().await?;
    let done = rows_to_write(shared, jobs, &told);
    if done.is_empty() {
        // Nothing to keep: no row, no business write that counts.
        bounded(tx.rollback()).await?;
    } else {
        if let Err(error) = heard(barrier::complete(&mut *tx, &done)).await? {
            undo(tx).await;
            return Err(Broken::Store(error));
        }
        #[cfg(debug_assertions)]
        let has_failed = done.iter().any(|done| done.outcome == FAILED);
        drop(done);
        snorri_kill::point!(UndoStored if is_undo(jobs), return Err(Broken::injected()));
        snorri_kill::point!(ActionStored if !is_undo(jobs), return Err(Broken::injected()));
        // Given up on or not: whether it was done, the next delivery finds out.
        bounded(tx.commit()).await?;
        snorri_kill::point!(UndoCommitted if is_undo(jobs), return Err(Broken::injected()));
        snorri_kill::point!(FailureCommitted if has_failed, return Err(Broken::injected()));
        snorri_kill::point!(ActionCommitted if !is_undo(jobs), return Err(Broken::injected()));
    }
    // Only now is any of it true.
    Ok(jobs.iter().zip(told).map(|(job, told)| told.verdict(shared, job)).collect())
}

/// Whether there is a compensation among them.
#[cfg(debug_assertions)]
fn is_undo(jobs: &[Job]) -> bool {
    jobs.iter().any(|job| job.effect().direction == Direction::Compensation)
}

/// Runs the handlers whose turn it is, one after the other.
async fn in_turns(
    shared: &Shared,
    jobs: &[Job],
    failure: Option<&str>,
    entered: Vec<Entered>,
    cell: &TxCell,
) -> Result<Vec<Told>, Broken> {
    let mut turn = 0;
    let mut told: Vec<Told> = Vec::with_capacity(jobs.len());
    for (job, entered) in jobs.iter().zip(entered) {
        let output = match entered {
            Entered::Run => None,
            Entered::Undo { output } => output,
            other => {
                told.push(Told::Already(other));
                continue;
            }
        };
        if let Some(failure) = failure {
            told.push(Told::Handled(failed(failure), FAILED));
            continue;
        }
        let Some(handler) = shared.handler(&job.command) else {
            told.push(Told::Unknown);
            continue;
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
    /// With the word under which it is stored.
    Handled(Outcome, &'static str),
}

impl Told {
    fn verdict(self, shared: &Shared, job: &Job) -> Verdict {
        let stats = &shared.stats;
        match self {
            Self::Unknown => unknown_operation(shared, job, true),
            Self::Handled(outcome, _) => Verdict::of(stats, &outcome, true),
            Self::Already(Entered::Forgotten) => {
                let effect = job.effect();
                tracing::error!(
                    saga = %effect.saga, step = %effect.step, direction = %effect.direction,
                    "a command of a saga that is older than the barrier remembers; a person must look"
                );
                let outcome = failed(
                    "the saga is older than this participant's barrier remembers, and nothing is known of this \
                     step; a person must look",
                );
                // Not stored, but sagas do not get younger: it is the answer to the next delivery too.
                Verdict::of(stats, &outcome, true)
            }
            Self::Already(Entered::Empty) => Verdict::of(stats, &empty(), true),
            Self::Already(Entered::Tombstoned) => Verdict::of(stats, &Outcome::Tombstoned, true),
            Self::Already(Entered::Stored(body)) => {
                Stats::count(&stats.duplicates);
                Verdict::Answer { body: Bytes::from(body), word: "stored", stored: true, duplicate: true }
            }
            Self::Already(Entered::Unclear { mine }) => Verdict::of(stats, &senseless(), mine),
            Self::Already(Entered::Run | Entered::Undo { .. }) => Verdict::of(stats, &senseless(), false),
        }
    }
}

fn empty() -> Outcome {
    Outcome::Ok { output: Json::null(), empty: true }
}

fn senseless() -> Outcome {
    failed("the barrier's rows of this step make no sense")
}

/// The rows to complete.
fn rows_to_write<'a>(shared: &Shared, jobs: &'a [Job], told: &[Told]) -> Vec<Done<'a>> {
    let row = |job: &'a Job, word, outcome: &Outcome| Done {
        effect: job.effect(),
        outcome: word,
        reply: String::from_utf8_lossy(&headers::reply_body(outcome)).into_owned(),
    };
    jobs.iter()
        .zip(told)
        .filter_map(|(job, told)| match told {
            Told::Handled(outcome, word) => Some(row(job, word, outcome)),
            Told::Unknown => Some(row(job, FAILED, &unknown_outcome(shared, job))),
            Told::Already(Entered::Empty) => Some(row(job, "empty", &empty())),
            Told::Already(Entered::Unclear { mine: true }) => Some(row(job, FAILED, &senseless())),
            Told::Already(_) => None,
        })
        .collect()
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
