//! What a copy of a record knows of.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::stamp::{Stamp, Tick};

/// A version vector: for each node, its latest write to the record that this copy knows of.
///
/// A node writes a record at ever later times, so who knows a node's latest write knows of all its earlier ones. Two versions are
/// equal, or one is after the other (`<`, `>`), or neither: then each knows of a write that the other does not, the copies are
/// *concurrent*, and [`partial_cmp`](PartialOrd::partial_cmp) is `None`.
///
/// ```
/// use snorri_records::{Stamp, Version};
///
/// let knows = |stamps: &[&str]| stamps.iter().map(|s| s.parse::<Stamp>().unwrap()).collect::<Version>();
/// let one = knows(&["10-0@orders"]);
/// let two = knows(&["10-0@orders", "12-0@billing"]);
/// let other = knows(&["11-0@orders"]);
///
/// assert!(two > one, "it knows of billing's write too");
/// assert_eq!(two.partial_cmp(&other), None, "concurrent");
///
/// let mut both = two.clone();
/// both.join(&other);
/// assert_eq!(both, knows(&["11-0@orders", "12-0@billing"]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(BTreeMap<Node, Tick>);

impl Version {
    /// The node's latest write that is known, if any is.
    pub fn get(&self, node: &Node) -> Option<Tick> {
        self.0.get(node).copied()
    }

    /// Whether this write is known.
    pub fn includes(&self, write: &Stamp) -> bool {
        self.get(write.node()).is_some_and(|latest| latest >= write.tick())
    }

    /// Takes note of a write, and so of all earlier ones of its node.
    pub fn include(&mut self, write: &Stamp) {
        let latest = self.0.entry(write.node().clone()).or_default();
        *latest = write.tick().max(*latest);
    }

    /// Takes note of all that the other knows of: the least version that is not before either.
    pub fn join(&mut self, other: &Self) {
        for write in other.iter() {
            self.include(&write);
        }
    }

    /// Each node's latest write, by the nodes' names.
    pub fn iter(&self) -> impl Iterator<Item = Stamp> {
        self.0.iter().map(|(node, tick)| Stamp::new(*tick, node.clone()))
    }

    /// How many nodes have written.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody has written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time of the latest write of all.
    pub fn newest(&self) -> Option<Tick> {
        self.0.values().max().copied()
    }

    /// Whether everything that `other` knows of is known here.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.iter().all(|write| self.includes(&write))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

impl FromIterator<Stamp> for Version {
    fn from_iter<T: IntoIterator<Item = Stamp>>(writes: T) -> Self {
        let mut version = Self::default();
        writes.into_iter().for_each(|write| version.include(&write));
        version
    }
}
