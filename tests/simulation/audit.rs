//! What is checked when a simulation is over: the raw journals against the participants' own books, by code that shares
//! nothing with the orchestrator but the words of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use snorri_saga::ids::{Direction, EffectId, SagaId, StepKey};
use snorri_saga::journal::{End, Event, Started};
use snorri_saga::time::Timestamp;

use crate::clients::Clients;
use crate::fault::Fault;
use crate::ledger::Entry;
use crate::participants::{LOOK, PEEK, Services};
use crate::plan::Mode;
use crate::shape::{Shape, Step, Work};
use crate::store::Database;
use crate::tables::Tables;
use crate::world::World;
use crate::{effects, families};

/// All that is looked at.
pub(crate) struct Audit<'a> {
    pub(crate) world: &'a Arc<World>,
    pub(crate) database: &'a Arc<Database>,
    pub(crate) services: &'a Arc<Services>,
    pub(crate) clients: &'a Arc<Clients>,
    /// All was given its time to end.
    pub(crate) is_over: bool,
}

/// What a simulation came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) sagas: u64,
    pub(crate) completed: u64,
    pub(crate) compensated: u64,
    pub(crate) not_ended: u64,
    pub(crate) windows_missed: u64,
    pub(crate) effects: u64,
    pub(crate) dead_letters: u64,
    /// Journals with a gap, after a failover that lost the tail.
    pub(crate) torn: u64,
    /// Sagas that are parts of others, and those of them that were done and undone with their whole.
    pub(crate) parts: u64,
    pub(crate) parts_undone: u64,
    /// Lists that were worked on, steps that were skipped, signals and decisions that came.
    pub(crate) lists: u64,
    pub(crate) skipped: u64,
    pub(crate) acts: u64,
}

impl Totals {
    /// Adds what another simulation came to.
    pub(crate) fn add(&mut self, of: &Self) {
        self.sagas += of.sagas;
        self.completed += of.completed;
        self.compensated += of.compensated;
        self.not_ended += of.not_ended;
        self.windows_missed += of.windows_missed;
        self.effects += of.effects;
        self.dead_letters += of.dead_letters;
        self.torn += of.torn;
        self.parts += of.parts;
        self.parts_undone += of.parts_undone;
        self.lists += of.lists;
        self.skipped += of.skipped;
        self.acts += of.acts;
    }

    fn count(&mut self, story: &Story<'_>) {
        let size = |length: usize| length as u64;
        self.sagas += 1;
        self.windows_missed += u64::from(story.is_missed);
        self.parts += u64::from(story.started.parent.is_some());
        self.parts_undone += u64::from(story.was_held_and_undone);
        self.lists += size(story.items.len());
        self.skipped += size(story.skipped.len());
        self.acts += size(story.signals.len() + story.decisions.len());
        match story.end {
            Some((End::Completed, _)) => self.completed += 1,
            Some((End::Compensated, _)) => self.compensated += 1,
            None => self.not_ended += 1,
        }
    }
}

/// A saga's journal, as it reads.
pub(crate) struct Story<'a> {
    pub(crate) id: SagaId,
    pub(crate) started: &'a Started,
    pub(crate) end: Option<(End, Timestamp)>,
    status: &'static str,
    is_missed: bool,
    /// The end of its window; of a part that is to be undone, that of this.
    deadline: Timestamp,
    /// A part that was done, and then waited for its whole.
    was_held: bool,
    was_held_and_undone: bool,
    /// Steps whose condition was false.
    pub(crate) skipped: BTreeSet<&'a str>,
    /// The items of its lists.
    pub(crate) items: BTreeMap<&'a str, Vec<Value>>,
    /// The ids of the signals that came, and the steps on which a person decided, with what they said.
    signals: BTreeSet<&'a str>,
    decisions: BTreeMap<&'a str, bool>,
}

/// The books of all participants together.
pub(crate) struct Books {
    pub(crate) entries: BTreeMap<EffectId, Vec<Entry>>,
    outcomes: BTreeMap<EffectId, Vec<Option<String>>>,
    pub(crate) left: BTreeMap<EffectId, u64>,
}

impl Books {
    pub(crate) fn of(&self, id: SagaId, step: &str, direction: Direction) -> &[Entry] {
        let Ok(step) = step.parse() else { return &[] };
        let effect = EffectId { saga: id, step, direction };
        self.entries.get(&effect).map_or(&[], Vec::as_slice)
    }
}

impl Audit<'_> {
    /// Checks everything.
    pub(crate) fn run(&self) -> Totals {
        let tables = self.database.tables();
        let tainted = self.database.checks.tainted();
        let books = self.books();
        let mut totals = Totals::default();
        let mut ids: BTreeSet<SagaId> = tables.journal.keys().map(|(id, _)| *id).collect();
        ids.extend(tables.sagas.keys());
        let mut keys: BTreeMap<&str, Vec<SagaId>> = BTreeMap::new();
        let (mut expected, mut found) = (0_i64, 0_i64);
        let mut told = Vec::new();
        for id in &ids {
            if self.database.checks.is_torn(*id) {
                totals.torn += 1;
                continue;
            }
            let Some(story) = self.read(&tables, *id) else { continue };
            totals.count(&story);
            if let Some(key) = &story.started.key {
                keys.entry(key).or_default().push(*id);
            }
            let definition =
                tables.definition(story.started.definition.as_str(), Some(story.started.version));
            let Some((_, definition)) = definition else {
                self.world.violated("I9", format!("{id} has no definition"));
                continue;
            };
            let shape = Shape::of(&definition.body);
            if tainted.contains(id) {
                // Less is promised of what they did, but they end all the same.
                if self.is_over && story.end.is_none() {
                    self.check_end(&tables, &story);
                }
                continue;
            }
            let (should, is) = effects::check(self.world, &story, &shape, &books);
            expected += should;
            found += is;
            self.check_end(&tables, &story);
            self.check_acts(&story);
            told.push((story, shape));
        }
        families::check(self.world, &told, &books, &tainted, self.is_over);
        if expected != found {
            self.world.violated("I8", format!("the books have {found}, and should have {expected}"));
        }
        for (key, ids) in keys {
            if ids.len() > 1 && !ids.iter().any(|id| tainted.contains(id)) {
                self.world.violated("I12", format!("the key {key} began {ids:?}"));
            }
        }
        self.check_books(&tables, &books);
        self.check_clients(&tables, &tainted);
        totals.effects = books.entries.values().map(|entries| entries.len() as u64).sum();
        totals.dead_letters = tables.dead_letters.len() as u64;
        // Of a saga that lost its tail messages come back that its journal does not know; of no other.
        let unexplained: Vec<_> =
            tables.dead_letters.iter().filter(|letter| !letter.is_about(&tainted)).collect();
        if let Some(letter) = unexplained.first() {
            self.world.violated("I14", format!("{} messages were put aside: {letter:?}", unexplained.len()));
        }
        totals
    }

    fn books(&self) -> Books {
        let mut entries: BTreeMap<EffectId, Vec<Entry>> = BTreeMap::new();
        let mut outcomes: BTreeMap<EffectId, Vec<Option<String>>> = BTreeMap::new();
        for ledger in &self.services.ledgers {
            for (effect, entry) in ledger.model.ledger() {
                entries.entry(effect).or_default().push(entry);
            }
            for (effect, row) in ledger.model.rows() {
                outcomes.entry(effect).or_default().push(row.outcome);
            }
        }
        // A rejection whose transaction came to nothing was never said: it will be said again, or the action done.
        let mut left = self.services.left();
        left.retain(|effect, _| {
            outcomes.get(effect).is_some_and(|rows| rows.iter().any(|row| row.as_deref() == Some("partial")))
        });
        Books { entries, outcomes, left }
    }

    /// Reads a journal by itself.
    fn read<'a>(&self, tables: &'a Tables, id: SagaId) -> Option<Story<'a>> {
        let rows: Vec<_> = tables.rows(id).collect();
        let is_dense = rows.iter().zip(1..).all(|((seq, _), place)| *seq == place);
        let first = rows.first().and_then(|(_, row)| row.events.first());
        let Some(Event::Started(started)) = first.filter(|_| is_dense) else {
            self.world.violated("I9", format!("the journal of {id} has a gap, or no beginning"));
            return None;
        };
        let (mut end, mut is_backward, mut is_missed) = (None, false, false);
        let (mut deadline, mut was_held, mut was_held_and_undone) = (started.deadline, false, false);
        let (mut skipped, mut items) = (BTreeSet::new(), BTreeMap::new());
        let (mut signals, mut decisions) = (BTreeSet::new(), BTreeMap::new());
        let mut blocked: BTreeSet<&StepKey> = BTreeSet::new();
        for (_, row) in &rows {
            for event in &row.events {
                match event {
                    Event::CompensationBegan { .. } => {
                        is_backward = true;
                        blocked.clear();
                    }
                    Event::Blocked { step, .. } => {
                        blocked.insert(step);
                    }
                    Event::Unblocked { step } => {
                        blocked.remove(step);
                    }
                    Event::WindowMissed => is_missed = true,
                    Event::Held => was_held = true,
                    Event::UndoAsked { deadline: until } => {
                        was_held_and_undone = was_held;
                        (deadline, was_held) = (*until, false);
                    }
                    Event::Skipped { step } => {
                        skipped.insert(step.as_str());
                    }
                    Event::Listed { step, items: list } => {
                        items.insert(step.as_str(), serde_json::from_str(list.get()).unwrap_or_default());
                    }
                    Event::Signalled { id, .. } => {
                        signals.insert(id.as_str());
                    }
                    Event::Decided { step, approve, .. } => {
                        decisions.insert(step.as_str(), *approve);
                    }
                    Event::Ended { .. } if end.is_some() => {
                        self.world.violated("I9", format!("{id} ends twice"));
                    }
                    Event::Ended { end: how } => end = Some((*how, row.at)),
                    _ => {}
                }
            }
        }
        let status = match (end, blocked.first(), is_backward) {
            (Some((End::Completed, _)), ..) => "completed",
            (Some((End::Compensated, _)), ..) => "compensated",
            (None, Some(_), _) => "blocked",
            (None, None, true) => "compensating",
            (None, None, false) => "running",
        };
        Some(Story {
            id,
            started,
            end,
            status,
            is_missed,
            deadline,
            was_held,
            was_held_and_undone,
            skipped,
            items,
            signals,
            decisions,
        })
    }

    /// The end of one saga: its row, its window, its announcement; and that there is one.
    fn check_end(&self, tables: &Tables, story: &Story<'_>) {
        let (id, world) = (story.id, self.world);
        let Some(row) = tables.sagas.get(&id) else { return };
        if row.quarantine.is_none() && row.status != story.status {
            world
                .violated("I9", format!("the journal of {id} says {}, its row {}", story.status, row.status));
        }
        let Some((_, at)) = story.end else {
            if self.is_over {
                let tail: Vec<String> = tables
                    .rows(id)
                    .flat_map(|(seq, row)| row.events.iter().map(move |event| format!("{seq}: {event:?}")))
                    .collect();
                let tail = tail.iter().rev().take(6).rev().cloned().collect::<Vec<_>>().join("\n      ");
                world.violated(
                    "I2",
                    format!("{id} has not ended, now {}: {row:?}\n      {tail}", self.database.now()),
                );
            }
            return;
        };
        if at > story.deadline && !story.is_missed && !story.was_held {
            world.violated("I9", format!("{id} ended after its window, and nobody says so"));
        }
        if story.is_missed && world.plan.is_calm() {
            world.violated("I2", format!("{id} missed its window without any fault"));
        }
        if self.is_over && !self.database.checks.was_announced(id) && !self.may_be_unannounced(id) {
            world.violated("A1", format!("{id} has ended, and it was never announced"));
        }
    }

    /// What was answered to those who sent a signal or decided on something.
    fn check_acts(&self, story: &Story<'_>) {
        let told = self.clients.told();
        for signal in told.signals.get(&story.id).into_iter().flatten() {
            if !story.signals.contains(signal.as_str()) {
                self.world
                    .violated("I1", format!("{}: the signal {signal} was taken, and is not there", story.id));
            }
        }
        for (step, approve) in told.decisions.get(&story.id).into_iter().flatten() {
            // A yes may have been the answer to silence already.
            let is_kept = match story.decisions.get(step.as_str()) {
                Some(kept) => kept == approve,
                None => *approve,
            };
            if !is_kept {
                let said = if *approve { "yes" } else { "no" };
                self.world
                    .violated("I1", format!("{}: {said} to {step} was taken, and is not there", story.id));
            }
        }
        let is_refused = story.decisions.values().any(|approve| !approve);
        if is_refused && matches!(story.end, Some((End::Completed, _))) {
            self.world.violated("I4", format!("{} is completed, and somebody said no to it", story.id));
        }
    }

    /// An announcement may be lost only if the end came into the database after its writer had died: nobody may have looked
    /// for it since.
    fn may_be_unannounced(&self, id: SagaId) -> bool {
        self.database.checks.ending(id).is_none_or(|ending| ending.is_posthumous)
    }

    /// The participants' books by themselves: each effect once, none after its undo, none undone that was never done,
    /// and the barrier's rows say what the books say.
    fn check_books(&self, tables: &Tables, books: &Books) {
        let world = self.world;
        let reads = self.reads(tables);
        for (effect, entries) in &books.entries {
            if entries.len() > 1 {
                world.violated("I3", format!("{effect} took effect {} times", entries.len()));
            }
            let rows = books.outcomes.get(effect).map_or(&[][..], Vec::as_slice);
            if !rows.iter().any(|row| row.as_deref() == Some("ok")) {
                world.violated("B1", format!("{effect} took effect, and its barrier says {rows:?}"));
            }
            if effect.direction == Direction::Action {
                continue;
            }
            let action = EffectId { direction: Direction::Action, ..effect.clone() };
            let done = books.entries.get(&action);
            let left = books.left.get(&action);
            if done.is_none() && left.is_none() {
                world.violated("I7", format!("{effect} undid what was never done"));
            }
            let undone_at = entries.first().map_or(0, |entry| entry.order);
            if done.into_iter().flatten().any(|entry| entry.order > undone_at) {
                world.violated("I6", format!("{action} took effect after it was undone"));
            }
        }
        for (effect, rows) in &books.outcomes {
            let is_ok = rows.iter().any(|row| row.as_deref() == Some("ok"));
            let is_fenced = rows.iter().any(|row| row.as_deref() == Some("tombstone"));
            let has_entry = books.entries.contains_key(effect);
            let is_read = reads.contains(&(effect.saga, effect.step.step().to_owned()));
            if is_ok && !has_entry && !is_read {
                world
                    .violated("B1", format!("the barrier says that {effect} was done, and the books do not"));
            }
            if is_fenced && has_entry {
                world.violated("I6", format!("{effect} was fenced off, and took effect"));
            }
            if rows.iter().any(Option::is_none) {
                world.violated(
                    "B1",
                    format!("the barrier's row of {effect} was committed without an outcome"),
                );
            }
            let undo = EffectId { direction: Direction::Compensation, ..effect.clone() };
            let is_empty = books
                .outcomes
                .get(&undo)
                .is_some_and(|rows| rows.iter().any(|row| row.as_deref() == Some("empty")));
            if effect.direction == Direction::Action && is_empty && has_entry {
                world.violated("I6", format!("{effect} took effect, and its undo found nothing"));
            }
        }
    }

    /// The steps that have no effect.
    fn reads(&self, tables: &Tables) -> BTreeSet<(SagaId, String)> {
        let mut reads = BTreeSet::new();
        for (id, row) in &tables.sagas {
            if let Some((_, definition)) = tables.definition(&row.definition, Some(row.version)) {
                let is_read = |step: &Step| match &step.work {
                    Work::Participant(action) => [LOOK, PEEK].contains(&action.as_str()),
                    Work::Part(_) | Work::Signal | Work::Approval | Work::Delay => false,
                };
                let steps = Shape::of(&definition.body).steps.into_iter().filter(is_read);
                reads.extend(steps.map(|step| (*id, step.name)));
            }
        }
        // Of a saga that a failover lost nothing is known; its steps may have been reads.
        let lost = self.database.checks.tainted();
        for effect in self.services.ledgers.iter().flat_map(|ledger| ledger.model.rows().into_keys()) {
            if lost.contains(&effect.saga) && !tables.sagas.contains_key(&effect.saga) {
                reads.insert((effect.saga, effect.step.step().to_owned()));
            }
        }
        reads
    }

    /// What clients were told.
    fn check_clients(&self, tables: &Tables, tainted: &BTreeSet<SagaId>) {
        let world = self.world;
        let told = self.clients.told();
        for (id, key) in &told.accepted {
            if !tainted.contains(id) && !tables.journal.contains_key(&(*id, 1)) {
                world.violated("I1", format!("{id} ({key:?}) was accepted, and is not there"));
            }
        }
        for (key, ids) in &told.keys {
            if ids.len() > 1 && !ids.iter().any(|id| tainted.contains(id)) {
                world.violated("I12", format!("the key {key} was answered with {ids:?}"));
            }
        }
        let is_lossy = [Fault::BusTailLost, Fault::BusWiped, Fault::BusStreamDeleted, Fault::StoreFailover]
            .iter()
            .any(|fault| world.plan.has(*fault));
        if self.is_over && world.plan.mode == Mode::Liveness && !is_lossy {
            for key in &told.kept {
                if !tables.keys.contains_key(key) {
                    world.violated("I1", format!("the start {key} was kept by the bus, and never begun"));
                }
            }
        }
    }
}
