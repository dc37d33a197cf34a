//! What is checked while it happens: each commit against the journal before it, each message against the journal that it
//! must follow from. None of it asks the orchestrator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snorri_bus::Outgoing;
use snorri_saga::decide::forward_deadline;
use snorri_saga::definition::{Definition, Draft};
use snorri_saga::ids::{CommandId, Direction, SagaId};
use snorri_saga::journal::{Event, Started};
use snorri_saga::saga::{Phase, Saga};

use crate::process::Process;
use crate::tables::{Tables, Write};
use crate::world::World;

/// The checks, and what they remember.
#[derive(Debug)]
pub(crate) struct Checks {
    world: Arc<World>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Each saga's journal so far, folded from what the database keeps.
    folds: BTreeMap<SagaId, (Saga, i32)>,
    tainted: BTreeSet<SagaId>,
    torn: BTreeSet<SagaId>,
    /// The whole that each part belongs to, and its whole if it is a part itself.
    wholes: BTreeMap<SagaId, SagaId>,
    /// As they are known by now.
    definitions: BTreeMap<(String, u32), Option<Arc<Definition>>>,
    announced: BTreeSet<SagaId>,
    ended: BTreeMap<SagaId, Ending>,
    seen: Seen,
}

/// An end as it was committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// Who decided it was dead by then.
    pub(crate) is_posthumous: bool,
}

/// What happened besides faults.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) commits: u64,
    pub(crate) transitions: u64,
    pub(crate) races_lost: u64,
    pub(crate) taken_over: u64,
    pub(crate) commands: u64,
}

impl Inner {
    /// The saga that this one is a part of, if it is one.
    fn whole(&self, id: SagaId) -> SagaId {
        self.wholes.get(&id).copied().unwrap_or(id)
    }

    fn definition(&mut self, tables: &Tables, started: &Started) -> Option<Arc<Definition>> {
        let key = (started.definition.to_string(), started.version);
        let read = || {
            let (_, row) = tables.definition(&key.0, Some(key.1))?;
            let draft: Draft = serde_json::from_str(&row.body).ok()?;
            Definition::from_draft(&draft).ok().map(Arc::new)
        };
        self.definitions.entry(key.clone()).or_insert_with(read).clone()
    }
}

impl Checks {
    pub(crate) fn new(world: Arc<World>) -> Self {
        Self { world, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.inner().seen
    }

    /// The sagas of which, or of whose family, a lossy failover lost something: of them less is promised.
    pub(crate) fn tainted(&self) -> BTreeSet<SagaId> {
        let inner = self.inner();
        let families: BTreeSet<SagaId> = inner.tainted.iter().map(|id| inner.whole(*id)).collect();
        let others = inner.wholes.iter().filter(|(_, whole)| families.contains(whole)).map(|(id, _)| *id);
        inner.tainted.iter().copied().chain(families.iter().copied()).chain(others).collect()
    }

    /// Of these, the journal has a gap since a lossy failover: nobody can read them any more. Their families wait for them
    /// for ever.
    pub(crate) fn is_torn(&self, id: SagaId) -> bool {
        let inner = self.inner();
        let whole = inner.whole(id);
        inner.torn.iter().any(|torn| inner.whole(*torn) == whole)
    }

    pub(crate) fn was_announced(&self, id: SagaId) -> bool {
        self.inner().announced.contains(&id)
    }

    pub(crate) fn ending(&self, id: SagaId) -> Option<Ending> {
        self.inner().ended.get(&id).copied()
    }

    pub(crate) fn taken_over(&self, sagas: usize) {
        self.inner().seen.taken_over += sagas as u64;
    }

    /// A batch was carried out, and its writer will be told who won.
    pub(crate) fn committed(
        &self,
        tables: &Tables,
        process: &Process,
        batch: &[Write],
        won: &BTreeSet<SagaId>,
    ) {
        let incarnation = &process.name;
        let mut inner = self.inner();
        inner.seen.commits += 1;
        for write in batch {
            let id = write.id;
            if !won.contains(&id) {
                inner.seen.races_lost += 1;
                self.world.say(format_args!("{incarnation} loses {id} {}", write.seq));
                continue;
            }
            inner.seen.transitions += 1;
            let words: Vec<&str> =
                write.events.split(['"', '{', '[']).filter(|word| is_event(word)).collect();
            self.world.say(format_args!("{incarnation} commits {id} {} {}", write.seq, words.join(" ")));
            let stored = tables.journal.get(&(id, write.seq));
            let Some(row) = stored.filter(|row| row.text == write.events && row.at == write.at) else {
                self.world.violated(
                    "I11",
                    format!("{incarnation} is told that it won {id} {}, and lost", write.seq),
                );
                continue;
            };
            if row.events.is_empty() {
                self.world
                    .violated("I9", format!("{id} {}: a row that nobody can read: {}", write.seq, row.text));
                continue;
            }
            let before = inner.folds.remove(&id);
            if inner.tainted.contains(&id) && before.as_ref().map_or(0, |(_, seq)| *seq) + 1 != write.seq {
                // A writer that did not hear of the failover goes on after rows that are lost.
                inner.torn.insert(id);
            }
            if inner.tainted.contains(&id) && !is_continued(before.as_ref(), write, &row.events) {
                // A writer goes on from what the failover has lost, and the journal tells of something else by now.
                inner.torn.insert(id);
            }
            if inner.torn.contains(&id) {
                continue;
            }
            let definition = match tables.journal.get(&(id, 1)).and_then(|row| row.events.first()) {
                Some(Event::Started(started)) => {
                    if let Some(parent) = &started.parent {
                        let whole = inner.whole(parent.saga);
                        inner.wholes.insert(id, whole);
                    }
                    inner.definition(tables, started)
                }
                _ => None,
            };
            let folded = fold(&self.world, definition.as_deref(), before, write, &row.events);
            if let Some(saga) = folded {
                if saga.ended_at.is_some()
                    && row.events.iter().any(|event| matches!(event, Event::Ended { .. }))
                {
                    inner.ended.insert(id, Ending { is_posthumous: process.is_dead() });
                }
                self.check_projection(tables, &saga);
                inner.folds.insert(id, (saga, write.seq));
            }
        }
    }

    fn check_projection(&self, tables: &Tables, saga: &Saga) {
        let Some(row) = tables.sagas.get(&saga.id) else {
            self.world.violated("I9", format!("{} has a journal and no row", saga.id));
            return;
        };
        if (row.ended_at.is_none()) != row.wake_at.is_some() {
            self.world.violated("I10", format!("{}: {row:?}", saga.id));
        }
        // What is out must be looked after.
        if row.resting && saga.rests_until().is_none() {
            self.world.violated("I10", format!("{} is not at rest: {row:?}", saga.id));
        }
        if row.quarantine.is_none() && row.status != saga.status().as_str() {
            let (id, status) = (saga.id, saga.status());
            self.world.violated("I9", format!("{id} is {status}, its row says {}", row.status));
        }
    }

    /// A failover lost the tail: what is left is the truth now.
    pub(crate) fn tail_lost(&self, tables: &Tables, touched: BTreeSet<SagaId>) {
        let mut inner = self.inner();
        for id in touched {
            inner.folds.remove(&id);
            inner.ended.remove(&id);
            let rows: Vec<_> = tables.rows(id).collect();
            let events = rows.iter().flat_map(|(_, row)| row.events.iter().map(|event| (row.at, event)));
            if let (Ok(saga), Some((seq, _))) = (Saga::replay(id, events), rows.last()) {
                inner.folds.insert(id, (saga, *seq));
            }
            inner.tainted.insert(id);
        }
    }

    /// A message is in its stream: it must follow from the journal.
    pub(crate) fn stored(&self, tables: &Tables, by: &str, message: &Outgoing) {
        let header = |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name));
        if message.subject.starts_with("snorri.command.") {
            let Some(Ok(id)) = header("Nats-Msg-Id").map(|id| id.as_str().parse::<CommandId>()) else {
                return;
            };
            self.inner().seen.commands += 1;
            if !was_sent(tables, &id) && !self.inner().tainted.contains(&id.effect.saga) {
                self.world.violated("I11", format!("{by} publishes {id}, which no journal knows"));
            }
        } else if message.subject.starts_with("snorri.ended.") {
            let Some(Ok(id)) = header("Snorri-Saga").map(|id| id.as_str().parse::<SagaId>()) else { return };
            let status = message.subject.rsplit('.').next().unwrap_or_default();
            let mut inner = self.inner();
            let is_true = inner
                .folds
                .get(&id)
                .is_some_and(|(saga, _)| saga.status().is_end() && saga.status().as_str() == status);
            if !is_true && !inner.tainted.contains(&id) {
                self.world
                    .violated("I11", format!("{by} announces {id} as {status}, which no journal knows"));
            }
            inner.announced.insert(id);
        }
    }
}

fn is_event(word: &str) -> bool {
    matches!(
        word,
        "started"
            | "sent"
            | "sent_again"
            | "working"
            | "succeeded"
            | "rejected"
            | "failed"
            | "timed_out"
            | "retry_planned"
            | "tombstoned"
            | "not_sent"
            | "gave_up"
            | "cancel_requested"
            | "compensation_began"
            | "blocked"
            | "unblocked"
            | "late_reply"
            | "window_at_risk"
            | "window_missed"
            | "skipped"
            | "listed"
            | "waiting"
            | "signalled"
            | "signal_taken"
            | "decided"
            | "curtailed"
            | "stopping"
            | "held"
            | "asked_parent"
            | "undo_asked"
            | "ended"
    )
}

/// Whether a row goes on from the journal before it, in the state that its writer has.
fn is_continued(before: Option<&(Saga, i32)>, write: &Write, events: &[Event]) -> bool {
    let Some((saga, _)) = before else { return write.seq == 1 };
    let mut saga = saga.clone();
    for event in events {
        saga.evolve(write.at, event);
    }
    saga == write.after
}

/// Folds a row in, and compares with what the writer thought.
fn fold(
    world: &World,
    definition: Option<&Definition>,
    before: Option<(Saga, i32)>,
    write: &Write,
    events: &[Event],
) -> Option<Saga> {
    let id = write.id;
    let mut events = events.iter();
    let mut saga = match (before, write.seq) {
        (None, 1) => {
            let Some(Event::Started(started)) = events.next() else {
                world.violated("I9", format!("{id} does not begin with its start"));
                return None;
            };
            Saga::started(id, write.at, started)
        }
        (Some((saga, last)), seq) if last + 1 == seq => saga,
        (before, seq) => {
            let last = before.map(|(_, seq)| seq);
            world.violated("I9", format!("{id}: row {seq} is written after row {last:?}"));
            return None;
        }
    };
    for event in events {
        let was_ended = matches!(saga.phase, Phase::Ended(_));
        if was_ended && !matches!(event, Event::LateReply { .. }) {
            world.violated("I9", format!("{id} has ended, and then: {event:?}"));
        }
        saga.evolve(write.at, event);
        if let Event::Sent { direction: Direction::Action, attempt: 1, step, .. } = event
            && !saga.pivot_sent
            && definition.is_some_and(|definition| write.at >= forward_deadline(definition, &saga))
        {
            world.violated("I13", format!("{id} begins {step} after its forward deadline"));
        }
    }
    if saga != write.after {
        world.violated(
            "I9",
            format!("{id} {}: the journal tells another state than its writer has", write.seq),
        );
    }
    Some(saga)
}

/// Whether the journal has the sending that a command stands for. Read from its end: commands are mostly new.
fn was_sent(tables: &Tables, id: &CommandId) -> bool {
    let of = &id.effect;
    let mut again = 0;
    for event in tables.rows(of.saga).rev().flat_map(|(_, row)| row.events.iter().rev()) {
        match event {
            Event::Sent { step, direction, attempt, .. } if *step == of.step => {
                if *direction == of.direction && *attempt == id.attempt {
                    return again >= id.sending;
                }
                again = 0;
            }
            Event::SentAgain { step } if *step == of.step => again += 1,
            _ => {}
        }
    }
    false
}
