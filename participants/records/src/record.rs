//! A copy of a record: what it knows of, and the writes that nothing known has replaced. How copies are joined.
//!
//! A write replaces the siblings that its writer was shown and is a sibling itself. Copies are joined by what they know, not by what
//! came first, so the same writes make the same copy in any order and however often.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::canonical;
use crate::retired::Retired;
use crate::sibling::{Sibling, Siblings};
use crate::stamp::{Stamp, Tick};
use crate::version::Version;
use crate::wire;

/// One node's copy of a record, with all that is needed to join it with the others'. A [`RecordType`](crate::RecordType) makes,
/// writes, joins and reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub(crate) type_name: Arc<str>,
    pub(crate) id: Arc<str>,
    pub(crate) version: Version,
    pub(crate) siblings: Siblings,
}

/// What a join did to the copy.
pub(crate) struct Joined {
    pub(crate) changed: bool,
    pub(crate) siblings_changed: bool,
    /// Writes that lost their place to another write with the very same stamp: two stores share a node's name.
    pub(crate) doubles: Vec<(Stamp, Sibling)>,
}

impl Record {
    /// The name of its type.
    pub fn record_type(&self) -> &str {
        &self.type_name
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which writes this copy knows of. Nobody has written it yet if it is empty.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The time of the newest write that it knows of: what a [`Clock`](crate::Clock) observes before it is joined or written.
    pub fn newest(&self) -> Option<Tick> {
        self.version.newest()
    }

    /// Whether the record is deleted and this copy may be forgotten: each replica has confirmed that it knows of the delete.
    ///
    /// `confirmed` has the version of this record in every replica, this one among them; without any it is not known who the
    /// replicas are, and nothing may be forgotten. A replica that has nothing of the record confirms nothing. The caller also sees to it
    /// that no old state is still under way: see [the crate's page](crate#forgetting).
    ///
    /// ```
    /// use snorri_records::{Clock, RecordType, Rule, Version, Write};
    /// use serde_json::json;
    ///
    /// let customers = RecordType::new("customer", Rule::LastWriterWins)?;
    /// let mut clock = Clock::new("crm".parse()?);
    /// let mut record = customers.record("c-1")?;
    /// customers.write(&mut record, Write::put(clock.tick(1)?, "anna", json!("Egil")))?;
    /// let before = record.version().clone();
    /// customers.write(&mut record, Write::delete(clock.tick(2)?, "anna"))?;
    /// let now = record.version().clone();
    ///
    /// assert!(!record.may_collect(&[now.clone(), before]), "one replica has not heard of the delete");
    /// assert!(record.may_collect(&[now.clone(), now]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn may_collect(&self, confirmed: &[Version]) -> bool {
        let deleted = !self.siblings.is_empty() && self.siblings.values().all(|s| s.body.is_tombstone());
        deleted && !confirmed.is_empty() && confirmed.iter().all(|version| *version >= self.version)
    }

    /// Says that all writes of the retired nodes are known.
    pub(crate) fn complete(&mut self, retired: &Retired) {
        retired.complete(&mut self.version);
        let seen = self.siblings.values_mut().filter_map(|sibling| sibling.body.seen_mut());
        seen.for_each(|seen| retired.complete(seen));
    }

    /// All versions in it: its own, and what the writers of its siblings had seen.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> + Clone {
        std::iter::once(&self.version).chain(self.siblings.values().filter_map(|sibling| sibling.body.seen()))
    }

    /// Puts a write in the place of those that it replaces.
    pub(crate) fn replace(&mut self, replaced: &BTreeSet<Stamp>, stamp: Stamp, sibling: Sibling) {
        self.siblings.retain(|stamp, _| !replaced.contains(stamp));
        self.version.include(&stamp);
        self.siblings.insert(stamp, sibling);
    }

    /// Takes in what another copy knows.
    ///
    /// A sibling stays if both have it, or if the copy without it does not know of it. One that the other copy knows of and does not
    /// have was replaced there.
    pub(crate) fn join(&mut self, other: &Self) -> Joined {
        let before = self.siblings.len();
        self.siblings.retain(|stamp, _| other.siblings.contains_key(stamp) || !other.version.includes(stamp));
        let mut siblings_changed = self.siblings.len() != before;
        let mut doubles = Vec::new();
        let mut seen_grows = false;
        for (stamp, theirs) in &other.siblings {
            match self.siblings.get_mut(stamp) {
                Some(ours) => {
                    let mut theirs = theirs.clone();
                    seen_grows |= ours.body.unite_seen(&mut theirs.body);
                    if *ours == theirs {
                        continue;
                    }
                    // Never, as long as a node's name belongs to one store. If it happens all the same, all nodes choose alike.
                    if text(stamp, &theirs) > text(stamp, ours) {
                        std::mem::swap(ours, &mut theirs);
                        siblings_changed = true;
                    }
                    doubles.push((stamp.clone(), theirs));
                }
                None if self.version.includes(stamp) => {}
                None => {
                    self.siblings.insert(stamp.clone(), theirs.clone());
                    siblings_changed = true;
                }
            }
        }
        let version_grows = !self.version.covers(&other.version);
        self.version.join(&other.version);
        Joined { changed: siblings_changed || version_grows || seen_grows, siblings_changed, doubles }
    }
}

fn text(stamp: &Stamp, sibling: &Sibling) -> String {
    canonical::text(&wire::sibling(stamp, sibling, &[]))
}
