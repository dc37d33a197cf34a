//! A write that no other known write has replaced.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fields::Fields;
use crate::stamp::Stamp;
use crate::version::Version;

/// A write, without its stamp, by which it is found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sibling {
    pub(crate) by: String,
    pub(crate) body: Body,
}

/// Siblings in the one order that all nodes share, the newest last.
pub(crate) type Siblings = BTreeMap<Stamp, Sibling>;

/// What a write left behind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// A value as a whole; none is a tombstone.
    Whole(Option<Value>),
    /// A value field by field, with what it inherited.
    Fields(Fields),
}

impl Body {
    /// The value; nothing if the record was deleted.
    pub(crate) fn value(&self) -> Option<Value> {
        match self {
            Self::Whole(value) => value.clone(),
            Self::Fields(fields) => fields.value(),
        }
    }

    /// The same field by field, whatever the rule was when it was written.
    pub(crate) fn fields(&self, stamp: &Stamp) -> Fields {
        match self {
            Self::Whole(value) => Fields::of_whole(value.as_ref(), stamp),
            Self::Fields(fields) => fields.clone(),
        }
    }

    /// What its writer had seen, if that is kept.
    pub(crate) fn seen(&self) -> Option<&Version> {
        match self {
            Self::Whole(_) => None,
            Self::Fields(fields) => Some(&fields.seen),
        }
    }

    pub(crate) fn seen_mut(&mut self) -> Option<&mut Version> {
        match self {
            Self::Whole(_) => None,
            Self::Fields(fields) => Some(&mut fields.seen),
        }
    }

    /// Of the same write in two copies: one may have been pruned of retired nodes, so what was seen is what both say. Says whether that is
    /// more than this one said.
    pub(crate) fn unite_seen(&mut self, other: &mut Self) -> bool {
        let (Some(ours), Some(theirs)) = (self.seen_mut(), other.seen_mut()) else { return false };
        let grows = !ours.covers(theirs);
        ours.join(theirs);
        theirs.clone_from(ours);
        grows
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            Self::Whole(value) => value.is_none(),
            Self::Fields(fields) => !fields.exists(),
        }
    }
}
