//! The names of nodes: who writes.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name of a node, in bytes.
const MAX_BYTES: usize = 64;

/// The name of a node: one store that records are written in, mostly one service with its database.
///
/// Letters, digits, `-`, `_` and `.`, at most 64 of them. Several processes that share one database are one node. Two databases
/// must never share a name, also not one after the other: see [the crate's page](crate#what-is-not-promised).
///
/// ```
/// use snorri_records::Node;
///
/// let billing: Node = "billing".parse()?;
/// assert_eq!(billing.as_str(), "billing");
/// assert!("two words".parse::<Node>().is_err());
/// # Ok::<(), snorri_records::InvalidNode>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Node(Arc<str>);

/// A text that names no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no node: 1 to {MAX_BYTES} letters, digits, `-`, `_` and `.` do")]
pub struct InvalidNode(String);

impl Node {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Node {
    type Err = InvalidNode;

    fn from_str(text: &str) -> Result<Self, InvalidNode> {
        let fits = (1..=MAX_BYTES).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Ok(Self(text.into()));
        }
        Err(InvalidNode(text.chars().take(MAX_BYTES).collect()))
    }
}

impl TryFrom<String> for Node {
    type Error = InvalidNode;

    fn try_from(text: String) -> Result<Self, InvalidNode> {
        text.parse()
    }
}

impl From<Node> for String {
    fn from(node: Node) -> Self {
        node.0.as_ref().into()
    }
}

impl Borrow<str> for Node {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
