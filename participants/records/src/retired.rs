//! Nodes that will never write again, and how versions get rid of them.
//!
//! Who has *all* writes of a retired node may say so in every version: the node's entry becomes its very last write. Then the entry is
//! the same everywhere, and the number of such nodes stands for all of them in a record's bytes.

use serde::{Deserialize, Serialize};

use crate::stamp::Stamp;
use crate::version::Version;

/// The retired nodes in the order of their retirement, each by its last write of any record. All nodes have the same list; it only
/// grows, at its end.
///
/// ```
/// use snorri_records::Retired;
///
/// let mut retired = Retired::default();
/// retired.retire("1763948258123-0@old-billing".parse()?)?;
/// assert!(retired.contains(&"old-billing".parse()?));
/// assert!(retired.retire("1763948258999-0@old-billing".parse()?).is_err(), "once");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Stamp>", into = "Vec<Stamp>")]
pub struct Retired(Vec<Stamp>);

/// The node is retired already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}`: this node is retired already, and a node does that once")]
pub struct AlreadyRetired(pub Stamp);

impl Retired {
    /// Adds a node by the stamp of its last write of any record.
    pub fn retire(&mut self, last: Stamp) -> Result<(), AlreadyRetired> {
        if self.contains(last.node()) {
            return Err(AlreadyRetired(last));
        }
        self.0.push(last);
        Ok(())
    }

    /// Whether the node is retired.
    pub fn contains(&self, node: &crate::Node) -> bool {
        self.0.iter().any(|last| last.node() == node)
    }

    /// The last writes of the retired nodes, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &Stamp> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says in a version that all writes of the retired nodes are known.
    pub(crate) fn complete(&self, version: &mut Version) {
        for last in &self.0 {
            version.include(last);
        }
    }

    /// The nodes, from the beginning of the list, whose last writes these versions know: their number stands for them in bytes.
    pub(crate) fn implied<'a>(&self, versions: &(impl Iterator<Item = &'a Version> + Clone)) -> &[Stamp] {
        let known = |last: &&Stamp| versions.clone().all(|version| version.includes(last));
        &self.0[..self.0.iter().take_while(known).count()]
    }

    /// So many nodes from the beginning; nothing if the list is shorter.
    pub(crate) fn first(&self, count: usize) -> Option<&[Stamp]> {
        self.0.get(..count)
    }
}

impl TryFrom<Vec<Stamp>> for Retired {
    type Error = AlreadyRetired;

    fn try_from(list: Vec<Stamp>) -> Result<Self, AlreadyRetired> {
        let mut retired = Self::default();
        list.into_iter().try_for_each(|last| retired.retire(last))?;
        Ok(retired)
    }
}

impl From<Retired> for Vec<Stamp> {
    fn from(retired: Retired) -> Self {
        retired.0
    }
}
