//! The loop: pull, work, answer, acknowledge.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use snorri_bus::headers::{ReceivedCommand, parse_command};
use snorri_bus::{Bus, ConsumerSpec, Consumption, Message, Next};
use snorri_saga::ids::{Direction, EffectId, Name, SagaId, StepKey};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::alive::alive;
use crate::answers::{self, Answer, Answers};
use crate::gate::Gate;
use crate::handler::Handler;
use crate::retention;
use crate::stats::Stats;
use crate::store::Store;
use crate::telemetry::{self, Spans};
use crate::work::{Job, Verdict, work};

/// How long a command may remain unacknowledged.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// The most unacknowledged commands of all replicas of a participant together.
const UNACKNOWLEDGED_MAX: i64 = 4096;
/// How long what is running may take after the shutdown began.
const GRACE: Duration = Duration::from_secs(10);
/// How long the last answers may take after that: longer than one flight of them may.
const TELLING_MAX: Duration = Duration::from_secs(5);
/// How many batches are under way at once: one in the database while the other's replies go out.
const BATCHES_AT_ONCE: usize = 2;

/// How commands are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each in a transaction of its own, so many at once.
    Singly(usize),
    /// So many in one transaction at most.
    Batches(usize),
}

/// What all commands of a running participant share.
pub(crate) struct Shared {
    pub(crate) name: Name,
    pub(crate) bus: Bus,
    pub(crate) handlers: BTreeMap<(Direction, Name), Handler>,
    pub(crate) store: Option<Arc<dyn Store>>,
    /// How long the barrier remembers.
    pub(crate) retention: Duration,
    pub(crate) stats: Arc<Stats>,
    pub(crate) gate: Gate,
    pub(crate) spans: Spans,
}

impl Shared {
    pub(crate) fn handler(&self, command: &ReceivedCommand) -> Option<&Handler> {
        self.handlers.get(&(command.effect().direction, command.operation.clone()))
    }

    /// The operations, for people.
    pub(crate) fn known_operations(&self) -> String {
        let mut names: Vec<String> =
            self.handlers.keys().map(|(direction, name)| format!("{direction} `{name}`")).collect();
        names.sort_unstable();
        names.join(", ")
    }
}

/// Runs until the shutdown, or until the bus is closed by somebody else; says which.
pub(crate) async fn run(shared: Arc<Shared>, mode: Mode, shutdown: CancellationToken) {
    let subjects = shared.bus.subjects();
    let (at_once, each) = match mode {
        Mode::Singly(at_once) => (at_once.max(1), 1),
        Mode::Batches(max) => (BATCHES_AT_ONCE, max.max(1)),
    };
    let spec = ConsumerSpec {
        batch_max: at_once * each,
        // What is pulled and waits here is kept from the other replicas, so not much of it.
        prefetch: at_once * each,
        ack_wait: ACK_WAIT,
        max_ack_pending: UNACKNOWLEDGED_MAX,
        ..ConsumerSpec::new(
            subjects.commands_stream(),
            subjects.participant_consumer(&shared.name),
            subjects.commands_of(&shared.name),
        )
    };
    let mut consumption = shared.bus.consume(spec);
    // Like the commands at work it ends with this future, also when that is dropped.
    let cleaner = shared
        .store
        .clone()
        .map(|store| AbortOnDropHandle::new(tokio::spawn(retention::forget_old(store, shared.retention))));
    let (answers, telling) = answers::channel(shared.clone());
    let mut telling = AbortOnDropHandle::new(tokio::spawn(telling));
    let mut is_telling = true;
    let mut tasks = JoinSet::new();
    let stopped = shutdown.cancelled_owned();
    tokio::pin!(stopped);
    loop {
        let free = at_once - tasks.len().min(at_once);
        let limit = match mode {
            Mode::Singly(_) => free,
            Mode::Batches(_) => each,
        };
        tokio::select! {
            biased;
            () = &mut stopped => break,
            // Only a panic ends it: without it everything is done and nothing answered.
            ended = &mut telling => {
                tracing::error!(?ended, "answers are told no more; the participant ends");
                is_telling = false;
                break;
            }
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            next = pull(&shared, &mut consumption, limit), if free > 0 => match next {
                Next::Batch(messages) => {
                    let mut messages = messages.into_iter().peekable();
                    while messages.peek().is_some() {
                        let some: Vec<_> = messages.by_ref().take(each).collect();
                        tasks.spawn(handle(shared.clone(), answers.clone(), some));
                    }
                    // Those that have ended meanwhile, all at once: each alone would begin the loop anew.
                    while tasks.try_join_next().is_some() {}
                }
                Next::Recreated => {
                    tracing::warn!("the stream of commands was lost; what was in it will be sent again");
                }
                Next::Closed => break,
            },
        }
    }
    drop(cleaner);
    // Others may have at once what was pulled and not begun.
    consumption.close().await;
    let finish = async { while tasks.join_next().await.is_some() {} };
    if timeout(GRACE, finish).await.is_err() {
        tracing::warn!(commands = tasks.len(), "shutting down over commands at work; they will come again");
    }
    tasks.shutdown().await;
    // Nobody has anything more to tell; what was told goes out, whatever became of the others.
    drop(answers);
    if is_telling && timeout(TELLING_MAX, &mut telling).await.is_err() {
        tracing::warn!("not every answer was told; their commands will come again");
    }
    if let Err(error) = shared.bus.flush().await {
        tracing::debug!(%error, "not everything may have been sent");
    }
}

/// Pulls, but not while the database is away. Cancel-safe.
async fn pull(shared: &Shared, consumption: &mut Consumption, limit: usize) -> Next {
    if let Some(store) = &shared.store {
        shared.gate.pass(&**store).await;
    }
    consumption.next_up_to(limit).await
}

/// Works on some messages to the end.
async fn handle(shared: Arc<Shared>, answers: Answers, messages: Vec<Message>) {
    snorri_kill::point!(CommandFetched, return);
    let mut rest = Vec::with_capacity(messages.len());
    for message in messages {
        if let Some(job) = read(&shared, message).await {
            rest.push(job);
        }
    }
    // Of one step, one command at a time: the barrier takes turns between transactions, not inside one.
    while !rest.is_empty() {
        let mut steps: HashSet<(SagaId, StepKey)> = HashSet::new();
        let (round, later): (Vec<Job>, Vec<Job>) = rest.into_iter().partition(|job| {
            let EffectId { saga, step, .. } = job.command.effect();
            steps.insert((*saga, step.clone()))
        });
        rest = later;
        let verdicts = alive(&shared, &round, Box::pin(work(&shared, &round))).await;
        settle(&shared, &answers, round, verdicts).await;
    }
}

async fn read(shared: &Shared, message: Message) -> Option<Job> {
    let parsed = parse_command(
        shared.bus.subjects(),
        &shared.name,
        message.subject(),
        message.headers(),
        message.payload(),
    );
    match parsed {
        Ok(command) => {
            let span = shared.spans.begin(&command, message.subject());
            Some(Job { command: Arc::new(command), message, received: Instant::now(), span })
        }
        Err(bad) => {
            Stats::count(&shared.stats.malformed);
            tracing::warn!(%bad, subject = message.subject(), "a message that is no command");
            message.term().await;
            None
        }
    }
}

/// Hands the verdicts over to be told.
async fn settle(shared: &Shared, answers: &Answers, jobs: Vec<Job>, verdicts: Vec<Verdict>) {
    for (job, verdict) in jobs.into_iter().zip(verdicts) {
        let Job { message, command, span, .. } = job;
        match verdict {
            Verdict::Later(delay) => {
                Stats::count(&shared.stats.postponed);
                telemetry::end(span.as_ref(), "postponed", false);
                message.nak_with_delay(delay).await;
            }
            Verdict::Answer { body, word, stored, duplicate } => {
                telemetry::end(span.as_ref(), word, duplicate);
                // Without its acknowledgement it will run again, so it must not be said that it did not.
                if !stored && !message.ack().await {
                    continue;
                }
                answers.tell(Answer { command, body, message: stored.then_some(message) }).await;
            }
        }
    }
}
