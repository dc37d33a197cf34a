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
use tokio_util::sync::CancellationToken;

use super::{Debt, Engine, Item, Shared};
use crate::definitions::{self, Versioned};

/// The most letters that wait. More are dropped, oldest first, and said so: what they say is said again at the step's timeout.
const WAITING_MAX: usize = 65_536;
/// How soon a letter is tried again that could not be handed over.
const AGAIN: Duration = Duration::from_millis(200);

/// What one saga says to another.
#[derive(Debug)]
pub(super) enum Letter {
    Ask(Ask),
    Answer(Reply),
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
        }
    }
}

/// A letter, and the announcements that are owed until it is seen to.
type Waiting = (Letter, Vec<Arc<Debt>>);

/// What waits to be handed over.
#[derive(Debug, Default)]
pub(crate) struct Post {
    inner: Mutex<Inner>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    letters: HashMap<About, Waiting>,
    order: VecDeque<About>,
}

impl Post {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Never half-written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A parent asks a sub-saga. What is owed is paid when it is seen to.
    pub(super) fn ask(&self, ask: Ask, owed: &[Arc<Debt>]) {
        self.put(Letter::Ask(ask), owed);
    }

    /// A sub-saga answers its parent. What is owed is paid when it is seen to.
    pub(super) fn answer(&self, reply: Reply, owed: &[Arc<Debt>]) {
        self.put(Letter::Answer(reply), owed);
    }

    fn put(&self, letter: Letter, owed: &[Arc<Debt>]) {
        let about = letter.about();
        let mut inner = self.lock();
        if let Some((waiting, debts)) = inner.letters.get_mut(&about) {
            *waiting = letter;
            debts.extend(owed.iter().cloned());
        } else {
            inner.letters.insert(about.clone(), (letter, owed.to_vec()));
            inner.order.push_back(about);
        }
        let excess = inner.order.len().saturating_sub(WAITING_MAX);
        if excess > 0 {
            for _ in 0..excess {
                if let Some(about) = inner.order.pop_front() {
                    inner.letters.remove(&about);
                }
            }
            tracing::error!(excess, "too much waits to be said between sagas; the oldest is dropped");
        }
        drop(inner);
        self.filled.notify_one();
    }

    fn take(&self) -> Option<Waiting> {
        let mut inner = self.lock();
        let about = inner.order.pop_front()?;
        inner.letters.remove(&about)
    }
}

/// Puts a letter back that could not be seen to just now.
pub(super) fn later(shared: &Arc<Shared>, after: Duration, letter: Letter, owed: Vec<Arc<Debt>>) {
    let shared = shared.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        shared.post.put(letter, &owed);
    });
}

/// Hands letters over until told to stop.
pub(super) async fn run(engine: Engine, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = engine.shared.post.filled.notified() => {}
        }
        while let Some((letter, owed)) = engine.shared.post.take() {
            snorri_kill::point!(LetterTaken, {
                later(&engine.shared, AGAIN, letter, owed);
                continue;
            });
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = deliver(&engine, letter, owed) => {}
            }
        }
    }
}

async fn deliver(engine: &Engine, letter: Letter, owed: Vec<Arc<Debt>>) {
    let ask = match letter {
        Letter::Answer(reply) => {
            engine.hand_over(reply.command.effect.saga, Item::Answer(Box::new(reply), owed)).await;
            return;
        }
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
    if !matches!(ask.kind, AskKind::Run(_)) {
        return None;
    }
    let mismatches = engine.shared.definitions.mismatches(versioned, &ask.input).await;
    let first = mismatches.first()?;
    let place = if first.pointer.is_empty() { "the input" } else { &first.pointer };
    let more = mismatches.len() - 1;
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    let message = format!("{place}: {}{more}", first.message);
    loop {
        match engine.shared.store.load(&[ask.child]).await {
            Ok(loaded) => return loaded.is_empty().then_some(message),
            Err(error) if error.is_transient() => tokio::time::sleep(AGAIN).await,
            // Its lane will find that too, and say so.
            Err(_) => return None,
        }
    }
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
