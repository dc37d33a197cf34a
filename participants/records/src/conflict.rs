//! Conflicts: what was written concurrently, by whom, and what became of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;
use crate::stamp::Stamp;

/// What taking in another copy, or a write, did to a record.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a conflict is recorded by the caller, in the same transaction as the record"]
pub enum Outcome {
    /// Nothing: all of it was known. There is nothing to store.
    Known,
    /// The record has changed: store it.
    Applied,
    /// The record has changed, and in it stand writes side by side that had not seen each other: store it, and the conflict with it.
    Conflict(Box<Conflict>),
}

impl Outcome {
    /// The conflict, if it came to one.
    pub fn conflict(&self) -> Option<&Conflict> {
        match self {
            Self::Conflict(conflict) => Some(conflict),
            _ => None,
        }
    }
}

/// Concurrent writes of one record, and what the rule made of them.
///
/// Every node that sees the same writes side by side makes the same conflict, under the same id: kept under its id, each is counted
/// once over all nodes. Which combinations are seen depends on what arrives when: of three concurrent writes one node may see
/// two first, and another one two others.
///
/// It serializes to JSON, to be kept and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// Its id, made of the record and the sides' stamps.
    pub id: ConflictId,
    /// The name of the record's type.
    pub record_type: String,
    /// The record's id.
    pub record_id: String,
    /// Who wrote what when, the oldest first.
    pub sides: Vec<Side>,
    /// The name of the rule of the record type.
    pub rule: String,
    /// What the rule made of it.
    pub fate: Fate,
    /// The record's value from now on; nothing if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::wire::present")]
    pub value: Option<Value>,
    /// What has no place in that value.
    pub lost: Vec<Lost>,
}

/// One of the concurrent writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// When and on which node it was written.
    pub stamp: Stamp,
    /// By whom.
    pub by: String,
    /// The record's value as its writer left it; nothing if it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::wire::present")]
    pub value: Option<Value>,
}

/// What became of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// This side's value is the record's.
    Won(Stamp),
    /// The value is made of several sides.
    Merged,
    /// It waits for a decision. The value is provisional.
    Waits,
}

/// A write, or what it said about one field, whose place another write has taken.
///
/// With the field-wise rule a side also has fields that it took over from earlier writes. These are named by the stamps of those
/// writes, unless another side had seen them and said otherwise: then they were overwritten, and not lost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lost {
    /// The write.
    pub stamp: Stamp,
    /// The field; without one it is the whole write, or its word on whether the record is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// The id of a conflict: the same on every node that sees the same conflict. As text 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConflictId(u128);

/// A text that is no id of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no id of a conflict: it has 32 hexadecimal digits")]
pub struct InvalidConflictId(String);

impl ConflictId {
    /// The id for these sides, which are sorted.
    pub(crate) fn of(record_type: &str, record_id: &str, sides: &[Side]) -> Self {
        let stamps: Vec<String> = sides.iter().map(|side| side.stamp.to_string()).collect();
        let mut parts: Vec<&[u8]> = vec![b"snorri conflict 1", record_type.as_bytes(), record_id.as_bytes()];
        parts.extend(stamps.iter().map(String::as_bytes));
        Self(canonical::hash(&parts))
    }
}

impl fmt::Display for ConflictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for ConflictId {
    type Err = InvalidConflictId;

    fn from_str(text: &str) -> Result<Self, InvalidConflictId> {
        let digits =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
        digits
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten()
            .map(Self)
            .ok_or_else(|| InvalidConflictId(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for ConflictId {
    type Error = InvalidConflictId;

    fn try_from(text: String) -> Result<Self, InvalidConflictId> {
        text.parse()
    }
}

impl From<ConflictId> for String {
    fn from(id: ConflictId) -> Self {
        id.to_string()
    }
}
