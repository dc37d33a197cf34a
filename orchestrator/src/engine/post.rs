//! What sagas say to each other: a parent asks its sub-sagas, and they answer it. Both may be in any lane of this
//! replica, so what is said is put here after the commit and handed over by a task of its own: a lane never waits for
//! another lane. What is lost with the process is said again: by who takes the saga over, and by who follows what was owed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use snorri_saga::decide::{Ask, AskKind};
use snorri_saga::ids::{CommandId, Direction, EffectId, SagaId};
use snorri_saga::wire::{Outcome, Reply};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{BATCH_MAX, Debt, Engine, Item, Shared};
use crate::definitions::{self, Versioned};
use crate::metrics::Metrics;

/// The most letters that wait. More are dropped, oldest first, and said so: what they say is said again at the next sweep or at
/// the step's timeout, or asked for by the sub-saga that misses it.
const WAITING_MAX: usize = 65_536;
/// How soon a letter is tried again that could not be handed over.
const AGAIN: Duration = Duration::from_millis(200);
/// How many letters are seen to at once that need a look at the store, or a long one at their input. The others are handed
/// over meanwhile.
const SLOW_MAX: usize = 16;

/// What one saga says to another.
#[derive(Debug)]
pub(super) enum Letter {
    Ask(Ask),
    Answer(Reply),
    /// To this sub-saga: its parent is not there.
    Orphan(SagaId),
}

/// Whom a letter is for, and what it is about. A newer one stands for an older one.
type About = (SagaId, SagaId, String, u8);

impl Letter {
    fn about(&self) -> About {
        match self {
            Self::Ask(ask) => {
                let kind = match ask.kind {
                    AskKind::Run(_) => 0,
                    AskKind::Undo(_) => 1,
                    AskKind::Release => 2,
                };
                (ask.child, ask.parent.saga, ask.parent.step.to_string(), kind)
            }
            Self::Answer(reply) => {
                let EffectId { saga, step, direction } = &reply.command.effect;
                let kind = match direction {
                    Direction::Action => 3,
                    Direction::Compensation => 4,
                };
                (*saga, *saga, step.to_string(), kind)
            }
            Self::Orphan(child) => (*child, *child, String::new(), 5),
        }
    }
}

/// A letter, and the announcements that are owed until it is seen to.
type Waiting = (Letter, Vec<Arc<Debt>>);

/// What waits to be handed over.
#[derive(Debug)]
pub(crate) struct Post {
    inner: Mutex<Inner>,
    filled: Notify,
    metrics: Arc<Metrics>,
}

/// Where a letter waits.
#[derive(Debug, Clone, Copy)]
enum Queue {
    /// For its turn.
    Ready,
    /// For one of the few that are seen to at once because they take time.
    Slow,
    /// For room for the sub-saga that it would begin.
    Held,
}

#[derive(Debug, Default)]
struct Inner {
    letters: HashMap<About, Waiting>,
    ready: VecDeque<About>,
    slow: VecDeque<About>,
    held: VecDeque<About>,
}

impl Inner {
    fn queue(&mut self, queue: Queue) -> &mut VecDeque<About> {
        match queue {
            Queue::Ready => &mut self.ready,
            Queue::Slow => &mut self.slow,
            Queue::Held => &mut self.held,
        }
    }
}

impl Post {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { inner: Mutex::default(), filled: Notify::new(), metrics }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Never half-written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A parent asks a sub-saga. What is owed is paid when it is seen to.
    pub(super) fn ask(&self, ask: Ask, owed: &[Arc<Debt>]) {
        self.put(Queue::Ready, Letter::Ask(ask), owed);
    }

    /// A sub-saga answers its parent. What is owed is paid when it is seen to.
    pub(super) fn answer(&self, reply: Reply, owed: &[Arc<Debt>]) {
        self.put(Queue::Ready, Letter::Answer(reply), owed);
    }

    /// A sub-saga's parent is not there.
    pub(super) fn orphan(&self, child: SagaId) {
        self.put(Queue::Ready, Letter::Orphan(child), &[]);
    }

    /// There is no room for what the letter would begin.
    pub(super) fn hold(&self, letter: Letter, owed: &[Arc<Debt>]) {
        self.put(Queue::Held, letter, owed);
    }

    fn put(&self, queue: Queue, letter: Letter, owed: &[Arc<Debt>]) {
        let about = letter.about();
        let mut inner = self.lock();
        if let Some((waiting, debts)) = inner.letters.get_mut(&about) {
            *waiting = letter;
            debts.extend(owed.iter().cloned());
        } else {
            inner.letters.insert(about.clone(), (letter, owed.to_vec()));
            inner.queue(queue).push_back(about);
        }
        let excess = inner.letters.len().saturating_sub(WAITING_MAX);
        for _ in 0..excess {
            // What would only add to the load goes first.
            let Inner { letters, ready, slow, held } = &mut *inner;
            let oldest = held.pop_front().or_else(|| slow.pop_front()).or_else(|| ready.pop_front());
            if let Some(about) = oldest {
                letters.remove(&about);
            }
        }
        self.metrics.letters_waiting(inner.letters.len());
        drop(inner);
        if excess > 0 {
            self.metrics.letters_dropped(excess);
            tracing::error!(excess, "too much waits to be said between sagas; the oldest is dropped");
        }
        self.filled.notify_one();
    }

    fn take(&self, queue: Queue) -> Option<Waiting> {
        let mut inner = self.lock();
        let about = inner.queue(queue).pop_front()?;
        let waiting = inner.letters.remove(&about);
        self.metrics.letters_waiting(inner.letters.len());
        waiting
    }

    /// Has up to so many of those that are held back tried again.
    fn release(&self, count: usize) {
        let Inner { ready, held, .. } = &mut *self.lock();
        let count = count.min(held.len());
        ready.extend(held.drain(..count));
    }

    fn holds_some(&self) -> bool {
        !self.lock().held.is_empty()
    }
}

/// Puts a letter back that could not be seen to just now.
pub(super) fn later(shared: &Arc<Shared>, after: Duration, letter: Letter, owed: Vec<Arc<Debt>>) {
    let shared = shared.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        shared.post.put(Queue::Ready, letter, &owed);
    });
}

/// Hands letters over until told to stop.
pub(super) async fn run(engine: Engine, stop: CancellationToken) {
    let hand_over = async {
        let post = &engine.shared.post;
        // Ends with this task.
        let mut slow = JoinSet::new();
        let mut held_at = tokio::time::interval(AGAIN);
        held_at.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // First, or letters that never cease would keep it from coming.
                _ = held_at.tick(), if post.holds_some() => {
                    // One is tried in any case: see `room.rs`.
                    post.release(engine.shared.room_for_sub_sagas().clamp(1, BATCH_MAX));
                }
                () = post.filled.notified() => {}
                Some(_) = slow.join_next() => {}
            }
            while let Some((letter, owed)) = post.take(Queue::Ready) {
                snorri_kill::point!(LetterTaken, {
                    later(&engine.shared, AGAIN, letter, owed);
                    continue;
                });
                hand_over_at_once(&engine, letter, owed).await;
            }
            while slow.len() < SLOW_MAX
                && let Some((letter, owed)) = post.take(Queue::Slow)
            {
                let engine = engine.clone();
                slow.spawn(async move { deliver(&engine, letter, owed).await });
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = hand_over => {}
    }
}

/// Hands over what needs no more than its lane. The rest waits for those that take time.
async fn hand_over_at_once(engine: &Engine, letter: Letter, owed: Vec<Arc<Debt>>) {
    let shared = &engine.shared;
    match letter {
        Letter::Answer(reply) => {
            engine.hand_over(reply.command.effect.saga, Item::Answer(Box::new(reply), owed)).await;
        }
        Letter::Orphan(child) => engine.hand_over(child, Item::Orphan(child)).await,
        Letter::Ask(ask) => {
            let input = matches!(ask.kind, AskKind::Run(_)).then_some(&ask.input);
            match shared.definitions.fitting_at_once(&ask.definition, ask.version, input) {
                Some(of) => engine.hand_over(ask.child, Item::Ask(Box::new(ask), of, owed)).await,
                None => shared.post.put(Queue::Slow, Letter::Ask(ask), &owed),
            }
        }
    }
}

async fn deliver(engine: &Engine, letter: Letter, owed: Vec<Arc<Debt>>) {
    let ask = match letter {
        Letter::Answer(_) | Letter::Orphan(_) => return hand_over_at_once(engine, letter, owed).await,
        Letter::Ask(ask) => ask,
    };
    loop {
        match engine.shared.definitions.get(ask.definition.as_str(), Some(ask.version)).await {
            Ok(versioned) => {
                if let Some(message) = unfitting(engine, &ask, &versioned).await {
                    refuse(engine, &ask, "invalid_input", message).await;
                } else {
                    engine.hand_over(ask.child, Item::Ask(Box::new(ask), versioned, owed)).await;
                }
                return;
            }
            Err(definitions::Error::Store(error)) if error.is_transient() => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => {
                tracing::error!(
                    saga_id = %ask.parent.saga, step = %ask.parent.step, %error, "a sub-saga's definition cannot be had"
                );
                // What is not there nobody can have begun. One that cannot be read here may have been begun by another
                // build: the step's timeout sees to it.
                if matches!(error, definitions::Error::Unknown { .. }) {
                    refuse(engine, &ask, "unknown_definition", error.to_string()).await;
                }
                return;
            }
        }
    }
}

/// Why a sub-saga cannot be begun with its input, unless it is there: then it was begun, whatever is said of its input now.
async fn unfitting(engine: &Engine, ask: &Ask, versioned: &Arc<Versioned>) -> Option<String> {
    let definitions = &engine.shared.definitions;
    if !matches!(ask.kind, AskKind::Run(_))
        || definitions.fitting_at_once(&ask.definition, ask.version, Some(&ask.input)).is_some()
    {
        return None;
    }
    // It is asked again and again while its parent waits: what is there is not checked once more.
    loop {
        match engine.shared.store.load(&[ask.child]).await {
            Ok(loaded) if loaded.is_empty() => break,
            Err(error) if error.is_transient() => tokio::time::sleep(AGAIN).await,
            // It is there. Or its journal cannot be read: its lane will find that too, and say so.
            Ok(_) | Err(_) => return None,
        }
    }
    let mismatches = definitions.mismatches_of_begun(versioned, &ask.input).await;
    let first = mismatches.first()?;
    let place = if first.pointer.is_empty() { "the input" } else { &first.pointer };
    let more = mismatches.len() - 1;
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    Some(format!("{place}: {}{more}", first.message))
}

/// A sub-saga that cannot be: its parent is told, and is undone.
async fn refuse(engine: &Engine, ask: &Ask, code: &str, message: String) {
    if !matches!(ask.kind, AskKind::Run(_)) {
        return;
    }
    let (saga, step) = (ask.parent.saga, ask.parent.step.clone());
    let command =
        CommandId { effect: EffectId { saga, step, direction: Direction::Action }, attempt: 1, sending: 0 };
    let outcome = Outcome::Rejected { code: code.to_owned(), message, partial: false };
    engine.hand_over(saga, Item::Answer(Box::new(Reply { command, outcome }), Vec::new())).await;
}
