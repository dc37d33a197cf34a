//! A record type: its name and its rule. The one door to a record: all writes, joins, reads and bytes go through it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::canonical;
use crate::conflict::{Conflict, ConflictId, Fate, Lost, Outcome, Side};
use crate::digest::Leaf;
use crate::error::{DecodeError, Error};
use crate::limits::{MAX_ID_BYTES, MAX_SIBLINGS, MAX_WRITERS};
use crate::node::Node;
use crate::record::Record;
use crate::retired::Retired;
use crate::rule::Rule;
use crate::sibling::{Sibling, Siblings};
use crate::stamp::Stamp;
use crate::version::Version;
use crate::wire;
use crate::write::Write;

/// A kind of record that several services share, with the rule for its conflicts. It is declared alike on all nodes.
///
/// ```
/// use snorri_records::{Clock, Outcome, RecordType, Rule, Write};
/// use serde_json::json;
///
/// let customers = RecordType::new("customer", Rule::FieldWise)?;
/// let (mut crm, mut billing) = (Clock::new("crm".parse()?), Clock::new("billing".parse()?));
///
/// let mut at_crm = customers.record("c-1")?;
/// let _ = customers.write(&mut at_crm, Write::put(crm.tick(1_000)?, "anna", json!({"name": "Egil", "town": "Borg"})))?;
///
/// // Billing takes it in: observe the time, then join.
/// let event = customers.encode(&at_crm);
/// let incoming = customers.decode(&event)?;
/// billing.observe(incoming.newest().unwrap_or_default(), 1_005)?;
/// let mut at_billing = customers.record("c-1")?;
/// assert_eq!(customers.join(&mut at_billing, &incoming)?, Outcome::Applied);
/// assert_eq!(customers.join(&mut at_billing, &incoming)?, Outcome::Known, "the same event again");
///
/// // Both write without having seen the other.
/// let _ = customers.write(&mut at_crm, Write::set(crm.tick(2_000)?, "anna", [("town", Some(json!("Mosfell")))]))?;
/// let _ = customers.write(&mut at_billing, Write::set(billing.tick(2_001)?, "job 7", [("vat", Some(json!("IS-7")))]))?;
///
/// let one = customers.join(&mut at_crm, &at_billing)?;
/// let other = customers.join(&mut at_billing, &at_crm)?;
/// assert_eq!(one.conflict(), other.conflict(), "both see the same conflict");
/// assert_eq!(one.conflict().unwrap().lost, [], "and nothing is lost in it");
/// assert_eq!(customers.encode(&at_crm), customers.encode(&at_billing));
/// let visible = customers.read(&at_crm).unwrap();
/// assert_eq!(visible.value, Some(json!({"name": "Egil", "town": "Mosfell", "vat": "IS-7"})));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RecordType {
    name: Arc<str>,
    rule: Rule,
    retired: Arc<Retired>,
}

/// A record as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataRecord {
    /// Its id.
    pub id: String,
    /// Its value; nothing if it is deleted.
    pub value: Option<Value>,
    /// Which writes are in it.
    pub version: Version,
    /// The stamp of the write that is shown, or of the newest if the value is made of several.
    pub last_updated: Stamp,
    /// Who made that write.
    pub last_updated_by: String,
    /// Whether a conflict waits for a decision: the value is provisional.
    pub provisional: bool,
    /// Whether it is deleted. In JSON that tells a missing value from the value `null`.
    pub deleted: bool,
}

impl RecordType {
    /// Declares a record type. Its name has letters, digits, `-` and `_`, at most 64 of them.
    pub fn new(name: &str, rule: Rule) -> Result<Self, Error> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            return Err(Error::InvalidType(name.chars().take(64).collect()));
        }
        Ok(Self { name: name.into(), rule, retired: Arc::default() })
    }

    /// The same record type with this list of retired nodes: see [`prune`](Self::prune).
    #[must_use]
    pub fn with_retired(mut self, retired: Retired) -> Self {
        self.retired = Arc::new(retired);
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// A record that this node knows nothing of yet. It is not there until it is written or joined.
    pub fn record(&self, id: &str) -> Result<Record, Error> {
        check_id(id)?;
        Ok(Record {
            type_name: self.name.clone(),
            id: id.into(),
            version: Version::default(),
            siblings: Siblings::new(),
        })
    }

    /// Writes on this node's copy. The write replaces what its writer was shown: everything, or while a conflict waits for a decision
    /// the side that is shown.
    pub fn write(&self, record: &mut Record, write: Write) -> Result<Outcome, Error> {
        let replaced = self.rule.replaced_by(write.stamp.node(), &record.siblings);
        let visible = self.rule.resolve(&record.siblings).value;
        self.put(record, write, &replaced, visible)
    }

    /// Decides a conflict: the write replaces these sides, mostly those of a [`Conflict`] that was shown to somebody, and no others. What
    /// has been written concurrently since then stays, and the outcome is a new conflict.
    ///
    /// To all other nodes it is a write like any other. A decision that comes too late, since all its sides have been replaced, is refused, and so
    /// is one where nothing waits for it, with another rule than `manual`.
    ///
    /// ```
    /// use snorri_records::{Clock, Provisional, RecordType, Rule, Write};
    /// use serde_json::json;
    ///
    /// let limits = RecordType::new("credit-limit", Rule::Manual(Provisional::LastWriterWins))?;
    /// let (mut crm, mut billing) = (Clock::new("crm".parse()?), Clock::new("billing".parse()?));
    /// let (mut one, mut other) = (limits.record("c-1")?, limits.record("c-1")?);
    /// let _ = limits.write(&mut one, Write::put(crm.tick(1)?, "anna", json!(500)))?;
    /// let _ = limits.write(&mut other, Write::put(billing.tick(2)?, "risk", json!(100)))?;
    ///
    /// let outcome = limits.join(&mut one, &other)?;
    /// let conflict = outcome.conflict().expect("neither had seen the other");
    /// let shown = limits.read(&one).unwrap();
    /// assert_eq!((shown.value, shown.provisional), (Some(json!(100)), true));
    ///
    /// crm.observe(one.newest().unwrap(), 3)?;
    /// let decision = Write::put(crm.tick(3)?, "the boss", json!(250));
    /// let _ = limits.decide(&mut one, conflict.sides.iter().map(|side| &side.stamp), decision)?;
    /// let _ = limits.join(&mut other, &one)?;
    /// let shown = limits.read(&other).unwrap();
    /// assert_eq!((shown.value, shown.provisional), (Some(json!(250)), false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decide<'a>(
        &self,
        record: &mut Record,
        sides: impl IntoIterator<Item = &'a Stamp>,
        decision: Write,
    ) -> Result<Outcome, Error> {
        self.check(record)?;
        if !matches!(self.rule, Rule::Manual(_)) {
            return Err(Error::NotManual);
        }
        let live = sides.into_iter().filter(|stamp| record.siblings.contains_key(stamp));
        let replaced: BTreeSet<Stamp> = live.cloned().collect();
        if replaced.is_empty() {
            return Err(Error::AlreadySettled);
        }
        let visible = self.rule.resolve(&only(&record.siblings, &replaced)).value;
        self.put(record, decision, &replaced, visible)
    }

    /// Takes in another copy of the same record. Copies that know the same writes are equal, in whatever order and however often these came.
    ///
    /// The caller's [`Clock`](crate::Clock) observes the other copy's [`newest`](Record::newest) time before.
    pub fn join(&self, record: &mut Record, other: &Record) -> Result<Outcome, Error> {
        self.check(record)?;
        self.check(other)?;
        if record.id != other.id {
            return Err(Error::OtherRecord { expected: record.id().into(), found: other.id().into() });
        }
        let joined = record.join(other);
        let conflict = if joined.siblings_changed || !joined.doubles.is_empty() {
            self.conflict_of(record, &joined.doubles)
        } else {
            None
        };
        Ok(match conflict {
            Some(conflict) => Outcome::Conflict(Box::new(conflict)),
            None if joined.changed => Outcome::Applied,
            None => Outcome::Known,
        })
    }

    /// The record as it is shown; nothing if nobody has written it.
    pub fn read(&self, record: &Record) -> Option<DataRecord> {
        let resolved = self.rule.resolve(&record.siblings);
        let (stamp, sibling) = resolved.shown.or(record.siblings.last_key_value())?;
        Some(DataRecord {
            id: record.id().to_owned(),
            deleted: resolved.value.is_none(),
            value: resolved.value,
            version: record.version.clone(),
            last_updated: stamp.clone(),
            last_updated_by: sibling.by.clone(),
            provisional: self.waits(&record.siblings),
        })
    }

    /// The concurrent writes that stand side by side in the record now, if any do. With rules other than `manual` they stand there, settled,
    /// until the next write.
    pub fn conflict(&self, record: &Record) -> Option<Conflict> {
        self.conflict_of(record, &[])
    }

    /// The record as bytes: JSON, with one spelling. Copies that know the same writes have the same bytes.
    pub fn encode(&self, record: &Record) -> Vec<u8> {
        wire::encode(record, &self.retired)
    }

    /// A record from bytes, whoever sent them: what cannot be joined is refused. Unknown fields are ignored.
    pub fn decode(&self, bytes: &[u8]) -> Result<Record, DecodeError> {
        let record = wire::decode(bytes, &self.retired)?;
        check_id(&record.id)?;
        self.check(&record)?;
        Ok(record)
    }

    /// What the record adds to [`Digests`](crate::Digests). It is the same for pruned and other copies.
    pub fn leaf(&self, record: &Record) -> Leaf {
        Leaf::new(&record.id, wire::hash(record, &self.retired))
    }

    /// Takes the retired nodes out of the record's version; says whether it changed, and is to be stored.
    ///
    /// Only a node that has *all* writes of the retired nodes may do so: see [the crate's page](crate#forgetting).
    pub fn prune(&self, record: &mut Record) -> bool {
        if record.version.is_empty() {
            return false;
        }
        let before = record.clone();
        record.complete(&self.retired);
        *record != before
    }

    fn put(
        &self,
        record: &mut Record,
        write: Write,
        replaced: &BTreeSet<Stamp>,
        visible: Option<Value>,
    ) -> Result<Outcome, Error> {
        self.check(record)?;
        let stamp = write.stamp.clone();
        if self.retired.contains(stamp.node()) {
            return Err(Error::RetiredNode(stamp));
        }
        if let Some(newest) = record.newest().filter(|newest| *newest >= stamp.tick()) {
            return Err(Error::NotLater { stamp, newest });
        }
        let mut writers: BTreeSet<Node> = record.version.iter().map(|write| write.node().clone()).collect();
        writers.insert(stamp.node().clone());
        writers.retain(|node| !self.retired.contains(node));
        let siblings = record.siblings.len() - replaced.len() + 1;
        limit("writing nodes (retire those that are gone)", writers.len(), MAX_WRITERS)?;
        limit("concurrent writes (decide them first)", siblings, MAX_SIBLINGS.max(record.siblings.len()))?;
        let sibling = self.rule.apply(write, &only(&record.siblings, replaced), visible)?;
        record.replace(replaced, stamp, sibling);
        Ok(match self.conflict(record) {
            Some(conflict) => Outcome::Conflict(Box::new(conflict)),
            None => Outcome::Applied,
        })
    }

    fn waits(&self, siblings: &Siblings) -> bool {
        matches!(self.rule, Rule::Manual(_)) && siblings.len() > 1
    }

    /// The conflict between the siblings, and with the doubles, which are none any more.
    fn conflict_of(&self, record: &Record, doubles: &[(Stamp, Sibling)]) -> Option<Conflict> {
        if record.siblings.len() + doubles.len() < 2 {
            return None;
        }
        let resolved = self.rule.resolve(&record.siblings);
        let fate = match resolved.shown {
            _ if self.waits(&record.siblings) => Fate::Waits,
            Some((stamp, _)) => Fate::Won(stamp.clone()),
            None => Fate::Merged,
        };
        let whole = doubles.iter().map(|(stamp, _)| (stamp.clone(), None));
        let lost: BTreeSet<Lost> = self
            .rule
            .losers(&record.siblings)
            .into_iter()
            .chain(whole)
            .map(|(stamp, field)| Lost { stamp, field })
            .collect();
        let side = |(stamp, s): (&Stamp, &Sibling)| Side {
            stamp: stamp.clone(),
            by: s.by.clone(),
            value: s.body.value(),
        };
        let doubles = doubles.iter().map(|(stamp, sibling)| (stamp, sibling));
        let mut sides: Vec<Side> = record.siblings.iter().chain(doubles).map(side).collect();
        sides.sort_by_key(|side| (side.stamp.clone(), side.value.as_ref().map(canonical::text)));
        Some(Conflict {
            id: ConflictId::of(record.record_type(), record.id(), &sides),
            record_type: record.record_type().into(),
            record_id: record.id().into(),
            sides,
            rule: self.rule.name().into(),
            fate,
            value: resolved.value,
            lost: lost.into_iter().collect(),
        })
    }

    fn check(&self, record: &Record) -> Result<(), Error> {
        if record.type_name == self.name {
            return Ok(());
        }
        Err(Error::OtherRecord { expected: self.name().into(), found: record.record_type().into() })
    }
}

fn check_id(id: &str) -> Result<(), Error> {
    if (1..=MAX_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::InvalidId(id.chars().take(64).collect()))
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), Error> {
    if found > limit { Err(Error::TooLarge { what, found, limit }) } else { Ok(()) }
}

fn only(siblings: &Siblings, these: &BTreeSet<Stamp>) -> Siblings {
    siblings.iter().filter(|(stamp, _)| these.contains(*stamp)).map(|(t, s)| (t.clone(), s.clone())).collect()
}
