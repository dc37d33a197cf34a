//! A write: who changes what, and when.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::canonical;
use crate::error::Error;
use crate::fields::Fields;
use crate::limits::{MAX_BY_BYTES, MAX_DEPTH, MAX_FIELDS, MAX_VALUE_BYTES};
use crate::sibling::{Body, Sibling};
use crate::stamp::Stamp;
use crate::wire;

/// A change of a record by somebody, with its stamp: [`put`](Self::put), [`set`](Self::set) or [`delete`](Self::delete).
///
/// The stamp comes from the node's [`Clock`](crate::Clock). `by` is who or what made the change, a person, a service, a saga; it is
/// shown as `last_updated_by`.
///
/// ```
/// use snorri_records::{Clock, Write};
/// use serde_json::json;
///
/// let mut clock = Clock::new("crm".parse()?);
/// let _whole = Write::put(clock.tick(1_000)?, "anna", json!({"name": "Egil", "town": "Borg"}));
/// let _one_field = Write::set(clock.tick(1_001)?, "anna", [("town", Some(json!("Mosfell")))]);
/// let _gone = Write::delete(clock.tick(1_002)?, "anna");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    pub(crate) stamp: Stamp,
    by: String,
    change: Change,
}

#[derive(Debug, Clone, PartialEq)]
enum Change {
    Put(Value),
    Set(BTreeMap<String, Option<Value>>),
    Delete,
}

impl Write {
    /// The record gets this value. A field-wise record changes in the fields that differ from what the writer saw, and in no others.
    pub fn put(stamp: Stamp, by: impl Into<String>, value: Value) -> Self {
        Self { stamp, by: by.into(), change: Change::Put(value) }
    }

    /// These fields get these values, or are removed (`None`), and the others stay.
    pub fn set<F: Into<String>>(
        stamp: Stamp,
        by: impl Into<String>,
        fields: impl IntoIterator<Item = (F, Option<Value>)>,
    ) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Self { stamp, by: by.into(), change: Change::Set(fields) }
    }

    /// The record is deleted. It leaves a tombstone, so that the others hear of it.
    pub fn delete(stamp: Stamp, by: impl Into<String>) -> Self {
        Self { stamp, by: by.into(), change: Change::Delete }
    }

    /// What it makes of a value as a whole.
    pub(crate) fn onto_whole(self, seen: Option<Value>) -> Result<Sibling, Error> {
        let value = match self.change {
            Change::Put(value) => Some(value),
            Change::Delete => None,
            Change::Set(fields) => {
                let Value::Object(mut map) = seen.unwrap_or_else(|| Value::Object(serde_json::Map::new()))
                else {
                    return Err(Error::NotAnObject);
                };
                for (name, value) in fields {
                    match value {
                        Some(value) => _ = map.insert(name, value),
                        None => _ = map.remove(&name),
                    }
                }
                Some(Value::Object(map))
            }
        };
        Sibling { by: self.by, body: Body::Whole(value) }.within_limits()
    }

    /// What it makes of fields with stamps of their own.
    pub(crate) fn onto_fields(self, mut fields: Fields) -> Result<Sibling, Error> {
        match self.change {
            Change::Put(Value::Object(map)) => fields.put(&map, &self.stamp),
            Change::Put(_) => return Err(Error::NotAnObject),
            Change::Set(changes) => fields.set(&changes, &self.stamp),
            Change::Delete => fields.delete(&self.stamp),
        }
        fields.seen.include(&self.stamp);
        Sibling { by: self.by, body: Body::Fields(fields) }.within_limits()
    }
}

impl Sibling {
    fn within_limits(self) -> Result<Self, Error> {
        let check = |what, found, limit| {
            if found > limit { Err(Error::TooLarge { what, found, limit }) } else { Ok(()) }
        };
        check("bytes in `last_updated_by`", self.by.len(), MAX_BY_BYTES)?;
        match &self.body {
            Body::Whole(value) => check_depth(value.as_ref())?,
            Body::Fields(fields) => {
                fields.entries.values().try_for_each(|field| check_depth(field.value.as_ref()))?;
                let what = "fields, with those that were removed (deleting the record forgets them)";
                check(what, fields.entries.len(), MAX_FIELDS)?;
            }
        }
        check("bytes in the value", canonical::text(&wire::body(&self.body, &[])).len(), MAX_VALUE_BYTES)?;
        Ok(self)
    }
}

fn check_depth(value: Option<&Value>) -> Result<(), Error> {
    if value.is_none_or(|value| canonical::is_within_depth(value, MAX_DEPTH)) {
        return Ok(());
    }
    Err(Error::TooLarge { what: "values are nested too deep", found: MAX_DEPTH + 1, limit: MAX_DEPTH })
}
