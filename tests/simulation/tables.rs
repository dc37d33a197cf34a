//! The orchestrator's database as data: the tables of its schema with what the SQL does to them, statement by
//! statement, and the tail of the last transactions, which a failover may lose.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use snorri::store::journal::Transition;
use snorri::store::{Due, Gone, Resting, Well};
use snorri_saga::ids::{Name, SagaId};
use snorri_saga::journal::Event;
use snorri_saga::saga::Saga;
use snorri_saga::time::{Millis, Timestamp};
use uuid::Uuid;

use crate::bug::Bug;

/// How many transactions a failover may lose at most.
const TAIL: usize = 40;
/// How long after its start, or after a sweep, a live saga is looked at: as in the SQL.
const WAKE_AFTER: Millis = Millis::secs(30);
/// How much later than its owner anybody may take a saga that is due.
const OTHERS_LATER: Millis = Millis::secs(10);
/// How long after its last heartbeat a replica may be struck off.
const FORGOTTEN_AFTER: Millis = Millis::secs(40);

/// A row of the journal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JournalRow {
    pub(crate) at: Timestamp,
    pub(crate) replica: String,
    /// As the database keeps it.
    pub(crate) text: String,
    /// The same, read by the checks.
    pub(crate) events: Vec<Event>,
}

/// A row of the projection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SagaRow {
    pub(crate) definition: String,
    pub(crate) version: u32,
    pub(crate) status: String,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) cause: Option<String>,
    pub(crate) blocked_reason: Option<String>,
    pub(crate) owner: String,
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) resting: bool,
    pub(crate) quarantine: Option<String>,
}

/// A row of the replicas.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReplicaRow {
    pub(crate) incarnation: Uuid,
    pub(crate) heartbeat_at: Timestamp,
    pub(crate) announced_until: Timestamp,
    pub(crate) left: bool,
}

/// A stored definition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DefinitionRow {
    pub(crate) digest: [u8; 32],
    pub(crate) body: String,
    pub(crate) at: Timestamp,
}

/// A message that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetterRow {
    pub(crate) subject: String,
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
    pub(crate) headers: String,
}

impl DeadLetterRow {
    /// Whether it is about one of these sagas: its headers name it, or, if it has replies of several, the detail does.
    pub(crate) fn is_about(&self, sagas: &BTreeSet<SagaId>) -> bool {
        sagas.iter().map(SagaId::to_string).any(|id| self.headers.contains(&id) || self.detail.contains(&id))
    }
}

/// A start key: the fingerprint and the saga.
pub(crate) type KeyRow = (Vec<u8>, SagaId);

/// One transition, as the statement's parameters have it: it may be carried out long after its writer has gone.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) id: SagaId,
    pub(crate) seq: i32,
    pub(crate) at: Timestamp,
    pub(crate) events: String,
    pub(crate) project: bool,
    pub(crate) key: Option<(String, Vec<u8>)>,
    pub(crate) after: Saga,
}

impl Write {
    pub(crate) fn of(transition: Transition<'_>) -> Self {
        let key = match (&transition.after.key, transition.fingerprint) {
            (Some(key), Some(print)) if transition.seq == 1 => Some((key.clone(), print.to_vec())),
            _ => None,
        };
        Self {
            id: transition.after.id,
            seq: transition.seq,
            at: transition.at,
            events: transition.events,
            project: transition.project,
            key,
            after: transition.after.clone(),
        }
    }
}

/// What a row was before a transaction changed it.
#[derive(Debug, Clone)]
enum Before {
    Journal((SagaId, i32), Option<JournalRow>),
    Saga(SagaId, Option<SagaRow>),
    Key(String, Option<KeyRow>),
    Replica(String, Option<ReplicaRow>),
}

/// All tables.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) journal: BTreeMap<(SagaId, i32), JournalRow>,
    pub(crate) sagas: BTreeMap<SagaId, SagaRow>,
    pub(crate) keys: BTreeMap<String, KeyRow>,
    pub(crate) replicas: BTreeMap<String, ReplicaRow>,
    pub(crate) definitions: BTreeMap<(String, u32), DefinitionRow>,
    pub(crate) dead_letters: Vec<DeadLetterRow>,
    /// The index of the live ones: small, whatever the table's size.
    live: BTreeSet<SagaId>,
    tail: VecDeque<Vec<Before>>,
    open: Vec<Before>,
}

/// A statement that a constraint refused.
#[derive(Debug)]
pub(crate) struct Conflict;

impl Tables {
    fn end_transaction(&mut self) {
        let done = std::mem::take(&mut self.open);
        if !done.is_empty() {
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(done);
        }
    }

    fn put_journal(&mut self, key: (SagaId, i32), row: JournalRow) {
        let before = self.journal.insert(key, row);
        self.open.push(Before::Journal(key, before));
    }

    fn put_saga(&mut self, id: SagaId, row: SagaRow) {
        if row.wake_at.is_some() {
            self.live.insert(id);
        } else {
            self.live.remove(&id);
        }
        let before = self.sagas.insert(id, row);
        self.open.push(Before::Saga(id, before));
    }

    fn put_key(&mut self, key: String, row: KeyRow) {
        let before = self.keys.insert(key.clone(), row);
        self.open.push(Before::Key(key, before));
    }

    fn put_replica(&mut self, name: &str, row: Option<ReplicaRow>) {
        let before = match row {
            Some(row) => self.replicas.insert(name.to_owned(), row),
            None => self.replicas.remove(name),
        };
        self.open.push(Before::Replica(name.to_owned(), before));
    }

    /// Loses the last transactions, as a failover to a standby that lags does. Returns the sagas they touched.
    pub(crate) fn lose_tail(&mut self, transactions: usize) -> BTreeSet<SagaId> {
        let mut touched = BTreeSet::new();
        for _ in 0..transactions {
            let Some(changes) = self.tail.pop_back() else { break };
            for change in changes.into_iter().rev() {
                match change {
                    Before::Journal(key, before) => {
                        touched.insert(key.0);
                        restore(&mut self.journal, key, before);
                    }
                    Before::Saga(id, before) => {
                        if before.as_ref().is_some_and(|row| row.wake_at.is_some()) {
                            self.live.insert(id);
                        } else {
                            self.live.remove(&id);
                        }
                        restore(&mut self.sagas, id, before);
                    }
                    Before::Key(key, before) => restore(&mut self.keys, key, before),
                    Before::Replica(name, before) => restore(&mut self.replicas, name, before),
                }
            }
        }
        touched
    }

    /// `commit_fast`: all or nothing.
    pub(crate) fn commit_fast(
        &mut self,
        replica: &str,
        batch: &[Write],
    ) -> Result<BTreeSet<SagaId>, Conflict> {
        let mut keys = BTreeSet::new();
        let is_free = batch.iter().all(|write| {
            let is_key_free = write
                .key
                .as_ref()
                .is_none_or(|(key, _)| !self.keys.contains_key(key) && keys.insert(key.clone()));
            let is_id_free = write.seq != 1 || !self.sagas.contains_key(&write.id);
            is_key_free && is_id_free && !self.journal.contains_key(&(write.id, write.seq))
        });
        if !is_free {
            return Err(Conflict);
        }
        for write in batch {
            self.write(replica, write);
        }
        self.end_transaction();
        Ok(batch.iter().map(|write| write.id).collect())
    }

    /// `commit_careful`: the losers write nothing.
    pub(crate) fn commit_careful(
        &mut self,
        replica: &str,
        batch: &[Write],
        bug: Option<Bug>,
    ) -> BTreeSet<SagaId> {
        let mut won = BTreeSet::new();
        for write in batch {
            let is_key_taken = write.key.as_ref().is_some_and(|(key, _)| self.keys.contains_key(key));
            let is_place_taken = self.journal.contains_key(&(write.id, write.seq));
            let is_lost = (is_key_taken && bug != Some(Bug::KeysIgnored))
                || (is_place_taken && bug != Some(Bug::TwoWriters));
            if is_lost {
                continue;
            }
            self.write(replica, write);
            won.insert(write.id);
        }
        self.end_transaction();
        if bug == Some(Bug::LoserWins) {
            won.extend(batch.iter().map(|write| write.id));
        }
        won
    }

    fn write(&mut self, replica: &str, write: &Write) {
        if let Some((key, print)) = &write.key {
            self.put_key(key.clone(), (print.clone(), write.id));
        }
        let events = serde_json::from_str(&write.events).unwrap_or_default();
        let row =
            JournalRow { at: write.at, replica: replica.to_owned(), text: write.events.clone(), events };
        self.put_journal((write.id, write.seq), row);
        let saga = &write.after;
        let standing = self.sagas.get(&write.id).cloned();
        if write.seq == 1 {
            let fresh = SagaRow {
                definition: saga.definition.to_string(),
                version: saga.version,
                status: String::new(),
                started_at: write.at,
                ended_at: None,
                cause: None,
                blocked_reason: None,
                owner: String::new(),
                wake_at: None,
                resting: false,
                quarantine: None,
            };
            self.project(replica, write, fresh);
        } else if let Some(row) = standing
            && write.project
        {
            self.project(replica, write, row);
        }
    }

    fn project(&mut self, replica: &str, write: &Write, row: SagaRow) {
        let saga = &write.after;
        let wake_at = saga.ended_at.is_none().then(|| {
            let soon = write.at + WAKE_AFTER;
            row.wake_at.map_or(soon, |standing| standing.min(soon))
        });
        let row = SagaRow {
            status: saga.status().as_str().to_owned(),
            ended_at: saga.ended_at,
            cause: saga.cause.as_ref().map(|cause| cause.code().to_owned()),
            blocked_reason: saga.first_blocked().map(|blocked| blocked.reason.as_str().to_owned()),
            owner: replica.to_owned(),
            wake_at,
            resting: false,
            quarantine: None,
            ..row
        };
        self.put_saga(write.id, row);
    }

    /// The rows of one saga, in their order.
    pub(crate) fn rows(&self, id: SagaId) -> impl DoubleEndedIterator<Item = (i32, &JournalRow)> {
        self.journal.range((id, i32::MIN)..=(id, i32::MAX)).map(|((_, seq), row)| (*seq, row))
    }

    /// The live sagas.
    pub(crate) fn live(&self) -> impl Iterator<Item = (SagaId, &SagaRow)> {
        self.live.iter().filter_map(|id| Some((*id, self.sagas.get(id)?)))
    }

    pub(crate) fn quarantine(&mut self, id: SagaId, why: &str, now: Timestamp) {
        if let Some(row) = self.sagas.get(&id).filter(|row| row.ended_at.is_none()) {
            let row = SagaRow {
                quarantine: Some(why.to_owned()),
                status: "blocked".to_owned(),
                blocked_reason: Some("quarantined".to_owned()),
                wake_at: Some(now + Millis::secs(60)),
                resting: false,
                ..row.clone()
            };
            self.put_saga(id, row);
            self.end_transaction();
        }
    }

    pub(crate) fn submit_definition(
        &mut self,
        name: &str,
        digest: [u8; 32],
        body: &str,
        at: Timestamp,
    ) -> (u32, bool) {
        let newest = self.definitions.range((name.to_owned(), 0)..=(name.to_owned(), u32::MAX)).next_back();
        if let Some(((_, version), row)) = newest
            && row.digest == digest
        {
            return (*version, false);
        }
        let version = newest.map_or(0, |((_, version), _)| *version) + 1;
        let row = DefinitionRow { digest, body: body.to_owned(), at };
        self.definitions.insert((name.to_owned(), version), row);
        (version, true)
    }

    pub(crate) fn definition(&self, name: &str, version: Option<u32>) -> Option<(u32, &DefinitionRow)> {
        let (from, to) = version.map_or((0, u32::MAX), |version| (version, version));
        self.definitions
            .range((name.to_owned(), from)..=(name.to_owned(), to))
            .next_back()
            .map(|((_, version), row)| (*version, row))
    }

    pub(crate) fn enter(&mut self, name: &str, incarnation: Uuid, now: Timestamp) -> Option<Timestamp> {
        let predecessor = self.replicas.get(name).map(|row| row.announced_until);
        let announced_until = predecessor.unwrap_or(now);
        let row = ReplicaRow { incarnation, heartbeat_at: now, announced_until, left: false };
        self.put_replica(name, Some(row));
        self.end_transaction();
        predecessor
    }

    /// Says whether it is usurped, and who is dead.
    pub(crate) fn heartbeat(
        &mut self,
        name: &str,
        incarnation: Uuid,
        announced_until: Timestamp,
        dead_after: Millis,
        now: Timestamp,
    ) -> (bool, Vec<Gone>) {
        let is_mine = self.replicas.get(name).is_none_or(|row| row.incarnation == incarnation);
        // What a statement reads besides what it returns is from before it.
        let dead = self
            .replicas
            .iter()
            .filter(|(other, row)| {
                other.as_str() != name && (row.left || row.heartbeat_at < now - dead_after)
            })
            .filter_map(|(other, row)| {
                let name = Name::new(other).ok()?;
                Some(Gone {
                    name,
                    last_seen: row.heartbeat_at,
                    announced_until: row.announced_until,
                    is_final: row.left || row.heartbeat_at < now - FORGOTTEN_AFTER,
                })
            })
            .collect();
        if is_mine {
            let row = ReplicaRow { incarnation, heartbeat_at: now, announced_until, left: false };
            self.put_replica(name, Some(row));
            self.end_transaction();
        }
        (!is_mine, dead)
    }

    pub(crate) fn leave(&mut self, name: &str, incarnation: Uuid) {
        if let Some(row) = self.replicas.get(name).filter(|row| row.incarnation == incarnation) {
            self.put_replica(name, Some(ReplicaRow { left: true, ..row.clone() }));
            self.end_transaction();
        }
    }

    pub(crate) fn take_over(&mut self, dead: &str, taker: &str, limit: usize, now: Timestamp) -> Vec<SagaId> {
        let is_back = |row: &ReplicaRow| !row.left && row.heartbeat_at >= now - Millis::secs(2);
        if self.replicas.get(dead).is_some_and(is_back) {
            return Vec::new();
        }
        let theirs: Vec<(SagaId, SagaRow)> = self
            .live()
            .filter(|(_, row)| row.owner == dead && !row.resting)
            .map(|(id, row)| (id, row.clone()))
            .take(limit)
            .collect();
        let ids = theirs.iter().map(|(id, _)| *id).collect();
        for (id, row) in theirs {
            self.put_saga(id, SagaRow { owner: taker.to_owned(), ..row });
        }
        self.end_transaction();
        ids
    }

    pub(crate) fn owned(
        &self,
        owner: &str,
        started_before: Timestamp,
        after: Option<SagaId>,
        limit: usize,
    ) -> Vec<SagaId> {
        self.live()
            .filter(|(id, row)| {
                let is_next = after.is_none_or(|after| *id > after) && row.started_at < started_before;
                row.owner == owner && is_next && !row.resting
            })
            .map(|(id, _)| id)
            .take(limit)
            .collect()
    }

    pub(crate) fn ended(
        &self,
        owner: &str,
        after: (Timestamp, SagaId),
        before: Timestamp,
        limit: usize,
    ) -> Vec<(Timestamp, SagaId)> {
        let mut ended: Vec<(Timestamp, SagaId)> = self
            .sagas
            .iter()
            .filter(|(_, row)| row.owner == owner)
            .filter_map(|(id, row)| Some((row.ended_at?, *id)))
            .filter(|ended| *ended > after && ended.0 < before)
            .collect();
        ended.sort_unstable();
        ended.truncate(limit);
        ended
    }

    pub(crate) fn forget(&mut self, dead: &str, now: Timestamp) -> bool {
        let is_over =
            self.replicas.get(dead).is_some_and(|row| row.left || row.heartbeat_at < now - FORGOTTEN_AFTER);
        if !is_over || self.live().any(|(_, row)| row.owner == dead && !row.resting) {
            return false;
        }
        self.put_replica(dead, None);
        self.end_transaction();
        true
    }

    pub(crate) fn rest(&mut self, sagas: &[Resting]) {
        for Resting { id, seq, wake_at } in sagas {
            let newest = self.rows(*id).next_back().map(|(seq, _)| seq);
            let row = self.sagas.get(id).filter(|row| row.wake_at.is_some() && row.quarantine.is_none());
            if let Some(row) = row.filter(|_| newest == Some(*seq)).cloned() {
                self.put_saga(*id, SagaRow { wake_at: Some(*wake_at), resting: true, ..row });
            }
        }
        self.end_transaction();
    }

    pub(crate) fn claim_due(&mut self, replica: &str, limit: usize, now: Timestamp) -> Vec<Due> {
        let mut due: Vec<(Timestamp, SagaId)> = self
            .live()
            .filter_map(|(id, row)| {
                let at = row.wake_at?;
                let is_due = at <= now && (row.owner == replica || at <= now - OTHERS_LATER);
                is_due.then_some((at, id))
            })
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        let mut claimed = Vec::new();
        for (_, id) in &due {
            if let Some(row) = self.sagas.get(id).cloned() {
                claimed.push(Due { id: *id, is_aside: row.quarantine.is_some() });
                let owner = if row.resting { replica.to_owned() } else { row.owner.clone() };
                self.put_saga(*id, SagaRow { wake_at: Some(now + WAKE_AFTER), resting: false, owner, ..row });
            }
        }
        self.end_transaction();
        claimed
    }

    pub(crate) fn take_back(&mut self, sagas: &[Well]) {
        for Well { id, seq, status, blocked } in sagas {
            let newest = self.rows(*id).next_back().map(|(seq, _)| seq);
            let row = self.sagas.get(id).filter(|row| row.ended_at.is_none() && row.quarantine.is_some());
            if let Some(row) = row.filter(|_| newest == Some(*seq)).cloned() {
                let (status, blocked_reason) = (status.as_str().to_owned(), blocked.map(str::to_owned));
                self.put_saga(*id, SagaRow { quarantine: None, status, blocked_reason, ..row });
            }
        }
        self.end_transaction();
    }
}

fn restore<K: Ord, V>(table: &mut BTreeMap<K, V>, key: K, before: Option<V>) {
    match before {
        Some(row) => drop(table.insert(key, row)),
        None => drop(table.remove(&key)),
    }
}

#[test]
fn a_dead_letter_is_explained_by_its_own_saga_and_by_no_other() {
    let id = |n: u128| SagaId(Uuid::from_u128(n));
    let letter = DeadLetterRow {
        subject: "snorri.reply.p0".to_owned(),
        reason: "unknown_saga",
        detail: String::new(),
        headers: format!("Snorri-Saga: {}", id(7)),
    };
    assert!(letter.is_about(&BTreeSet::from([id(1), id(7)])));
    assert!(!letter.is_about(&BTreeSet::from([id(1)])) && !letter.is_about(&BTreeSet::new()));
    let of_several = DeadLetterRow {
        detail: format!("no command {}.s0.action.1.0 was sent", id(8)),
        headers: "Snorri-Replies: 3".to_owned(),
        ..letter
    };
    assert!(of_several.is_about(&BTreeSet::from([id(8)])) && !of_several.is_about(&BTreeSet::from([id(7)])));
}
