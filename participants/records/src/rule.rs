//! The rules by which concurrent writes become one visible value. Each is a function of the siblings alone, so copies that know the
//! same writes show the same value.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::error::Error;
use crate::fields::{self, Fields};
use crate::node::Node;
use crate::sibling::{Sibling, Siblings};
use crate::stamp::Stamp;
use crate::write::Write;

/// What becomes of concurrent writes, declared for each record type, alike on all nodes.
///
/// | rule | the visible value | what is lost |
/// |---|---|---|
/// | [`LastWriterWins`](Self::LastWriterWins) | that of the greatest stamp | the others' writes, as the conflict says |
/// | [`FieldWise`](Self::FieldWise) | the newest of each field | older writes of the same field |
/// | [`merge`](Self::merge) | what your function makes of them | what your function leaves out; a delete beside a write |
/// | [`Manual`](Self::Manual) | the provisional one, until somebody decides | what the decision leaves out |
///
/// ```
/// use snorri_records::{Provisional, Rule};
/// use serde_json::json;
///
/// let price = Rule::LastWriterWins;
/// let address = Rule::FieldWise;
/// let high_score = Rule::merge(|one, other| if one.as_u64() >= other.as_u64() { one.clone() } else { other.clone() });
/// let credit_limit = Rule::Manual(Provisional::Fixed(Some(json!({"limit": 0}))));
/// # let _ = (price, address, high_score, credit_limit);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Rule {
    /// The write with the greatest stamp wins, a delete too.
    LastWriterWins,
    /// Each field has a stamp of its own, and the newest one of each wins. A delete removes the fields that are older than it; a
    /// later write of one field brings back that field alone. Values are objects.
    FieldWise,
    /// A function of two values: see [`Rule::merge`].
    Merge(Merge),
    /// Concurrent writes stay side by side until somebody [decides](crate::RecordType::decide).
    ///
    /// Meanwhile the visible value is the provisional one, and services may go on writing: such a write replaces the side that it was shown
    /// and leaves the others, so the conflict goes on with a new side.
    Manual(Provisional),
}

/// A user's merge function.
#[derive(Clone)]
pub struct Merge(Arc<Function>);

type Function = dyn Fn(&Value, &Value) -> Value + Send + Sync;

/// What is visible while a conflict waits for a person.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Provisional {
    /// The write with the greatest stamp.
    LastWriterWins,
    /// The newest write of this node, or the newest of all if it has none among them.
    Keep(Node),
    /// This value, or a record that is not there. Each node's writes then replace its own earlier ones.
    Fixed(Option<Value>),
}

/// What is visible of some siblings.
pub(crate) struct Resolved<'a> {
    pub(crate) value: Option<Value>,
    /// The one sibling that is shown, if the value is that of one.
    pub(crate) shown: Option<(&'a Stamp, &'a Sibling)>,
}

impl Rule {
    /// Merges concurrent values by a function, which must be commutative, associative and idempotent:
    /// [`laws::check`](crate::laws::check) finds out. It depends on its arguments alone and is the same on all nodes.
    ///
    /// With more than two values it is called from the oldest to the newest. A delete beside a concurrent write does not count: the write
    /// stays.
    pub fn merge(function: impl Fn(&Value, &Value) -> Value + Send + Sync + 'static) -> Self {
        Self::Merge(Merge(Arc::new(function)))
    }

    /// The rule's name, as conflicts and settings have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LastWriterWins => "last_writer_wins",
            Self::FieldWise => "field_wise",
            Self::Merge(_) => "merge",
            Self::Manual(_) => "manual",
        }
    }

    /// The visible value.
    pub(crate) fn resolve<'a>(&self, siblings: &'a Siblings) -> Resolved<'a> {
        match self {
            Self::FieldWise => of_all(fold(siblings).value()),
            Self::Merge(Merge(function)) => {
                let values = siblings.values().filter_map(|sibling| sibling.body.value());
                of_all(values.reduce(|one, other| function(&one, &other)))
            }
            Self::Manual(provisional) if siblings.len() > 1 => match provisional {
                Provisional::LastWriterWins => one(newest(siblings)),
                Provisional::Keep(node) => {
                    one(siblings.iter().rfind(|(stamp, _)| stamp.node() == node).or(newest(siblings)))
                }
                Provisional::Fixed(value) => of_all(value.clone()),
            },
            Self::LastWriterWins | Self::Manual(_) => one(newest(siblings)),
        }
    }

    /// Which siblings an ordinary write of a node replaces: those that it was shown.
    pub(crate) fn replaced_by(&self, writer: &Node, siblings: &Siblings) -> BTreeSet<Stamp> {
        let all = siblings.keys();
        match self {
            Self::Manual(_) if siblings.len() > 1 => match self.resolve(siblings).shown {
                Some((shown, _)) => BTreeSet::from([shown.clone()]),
                None => all.filter(|stamp| stamp.node() == writer).cloned().collect(),
            },
            _ => all.cloned().collect(),
        }
    }

    /// What a write makes of the siblings that it replaces. `visible` is what its writer saw.
    pub(crate) fn apply(
        &self,
        write: Write,
        replaced: &Siblings,
        visible: Option<Value>,
    ) -> Result<Sibling, Error> {
        match self {
            Self::FieldWise => write.onto_fields(fold(replaced)),
            _ => write.onto_whole(visible),
        }
    }

    /// Which writes, or which of their fields, have no place in the visible value.
    pub(crate) fn losers(&self, siblings: &Siblings) -> Vec<(Stamp, Option<String>)> {
        let whole = |stamp: &Stamp| (stamp.clone(), None);
        match self {
            Self::LastWriterWins => siblings
                .keys()
                .filter(|stamp| Some(*stamp) != siblings.keys().next_back())
                .map(whole)
                .collect(),
            Self::FieldWise => {
                let sides = siblings.iter().map(|(stamp, sibling)| (stamp, sibling.body.fields(stamp)));
                fields::lost(&sides.collect::<Vec<_>>())
            }
            Self::Merge(_) if siblings.values().all(|sibling| sibling.body.is_tombstone()) => Vec::new(),
            Self::Merge(_) => siblings
                .iter()
                .filter(|(_, s)| s.body.is_tombstone())
                .map(|(stamp, _)| whole(stamp))
                .collect(),
            Self::Manual(_) => Vec::new(),
        }
    }
}

fn newest(siblings: &Siblings) -> Option<(&Stamp, &Sibling)> {
    siblings.last_key_value()
}

fn fold(siblings: &Siblings) -> Fields {
    let all: Vec<Fields> = siblings.iter().map(|(stamp, sibling)| sibling.body.fields(stamp)).collect();
    fields::merged(all.iter())
}

fn one<'a>(shown: Option<(&'a Stamp, &'a Sibling)>) -> Resolved<'a> {
    Resolved { value: shown.and_then(|(_, sibling)| sibling.body.value()), shown }
}

fn of_all<'a>(value: Option<Value>) -> Resolved<'a> {
    Resolved { value, shown: None }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manual(provisional) => f.debug_tuple("manual").field(provisional).finish(),
            _ => f.write_str(self.name()),
        }
    }
}

impl fmt::Debug for Merge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("merge")
    }
}
