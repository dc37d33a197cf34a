//! What a record refuses. The record is then as it was.

use crate::stamp::{Stamp, Tick};

/// Why a write, a decision or a join was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record type's name is used in subjects and tables.
    #[error("`{0}` names no record type: 1 to 64 letters, digits, `-` and `_` do")]
    InvalidType(String),
    /// A record's id.
    #[error("a record's id has 1 to 256 bytes and no control characters; this one does not: {0:?}")]
    InvalidId(String),
    /// The record is of another type, or the other copy is of another record.
    #[error("this is {expected}, and that is {found}")]
    OtherRecord {
        /// The type or the record that was to be written or joined.
        expected: String,
        /// What came.
        found: String,
    },
    /// The stamp is not later than what the record has: the clock has not observed it.
    #[error(
        "the stamp {stamp} is not later than the record, whose newest write is of {newest}: observe `Record::newest` first"
    )]
    NotLater {
        /// The write's stamp.
        stamp: Stamp,
        /// The time of the newest write that the record knows of.
        newest: Tick,
    },
    /// The writing node is retired.
    #[error("the node of the stamp {0} is retired: a node that writes again takes a new name")]
    RetiredNode(Stamp),
    /// None of the writes that a decision is about is there any more.
    #[error("all that this decision is about has been replaced since: look at the record anew")]
    AlreadySettled,
    /// The record type has another rule than `manual`.
    #[error("conflicts of this record type settle themselves: there is nothing to decide, write instead")]
    NotManual,
    /// Single fields can be set in an object only.
    #[error("the value is no object: its fields cannot be set, and a field-wise record has nothing else")]
    NotAnObject,
    /// Something is larger than its limit.
    #[error("{what}: {found}, and at most {limit} are allowed")]
    TooLarge {
        /// What is too large, and what helps.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// The limit.
        limit: usize,
    },
}

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// More bytes than any record has.
    #[error("{found} bytes are no record: it has at most {limit}")]
    TooLarge {
        /// How many there are.
        found: usize,
        /// How many may be.
        limit: usize,
    },
    /// Not JSON, or not of this shape.
    #[error("this is no record: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Made by a later version of this crate.
    #[error("the record has format {0}, and this version reads format {known}: upgrade this node", known = crate::wire::FORMAT)]
    UnknownFormat(u64),
    /// The record is of another type, or has an id that no record has.
    #[error(transparent)]
    Identity(#[from] Error),
    /// The parts contradict each other: no node makes such a record.
    #[error("the record contradicts itself: {0}")]
    Contradiction(String),
    /// The record's version leaves out nodes that this node does not know to be retired.
    #[error(
        "the record counts on {needed} retired nodes, and {known} are known here: take the list of retired nodes first"
    )]
    UnknownRetirement {
        /// How many the record counts on.
        needed: usize,
        /// How many are known here.
        known: usize,
    },
}
