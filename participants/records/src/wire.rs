//! Records as bytes: one text for each record, the same on every node that knows the same writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::canonical;
use crate::error::DecodeError;
use crate::fields::{Field, Fields};
use crate::limits::{MAX_BY_BYTES, MAX_RECORD_BYTES};
use crate::record::Record;
use crate::retired::Retired;
use crate::sibling::{Body, Sibling, Siblings};
use crate::stamp::Stamp;
use crate::version::Version;

/// The format that is written. A reader ignores fields that it does not know; a change that it must not ignore gets the next number.
pub(crate) const FORMAT: u64 = 1;

/// The bytes of a record.
pub(crate) fn encode(record: &Record, retired: &Retired) -> Vec<u8> {
    let implied = retired.implied(&record.versions());
    let mut value = content(record, implied);
    value["format"] = FORMAT.into();
    if !implied.is_empty() {
        value["retired"] = implied.len().into();
    }
    canonical::text(&value).into_bytes()
}

/// A hash of the record, the same whether or not the copy has been pruned of the retired nodes.
pub(crate) fn hash(record: &Record, retired: &Retired) -> u128 {
    let mut pruned = record.clone();
    pruned.complete(retired);
    let content = content(&pruned, retired.implied(&pruned.versions()));
    canonical::hash(&[b"snorri record 1", canonical::text(&content).as_bytes()])
}

fn content(record: &Record, implied: &[Stamp]) -> Value {
    let siblings: Vec<Value> = record.siblings.iter().map(|(stamp, s)| sibling(stamp, s, implied)).collect();
    let version = without(&record.version, implied);
    json!({"type": record.record_type(), "id": &*record.id, "version": version, "siblings": siblings})
}

/// The version without the entries that go without saying.
fn without(version: &Version, implied: &[Stamp]) -> Value {
    let said = version.iter().filter(|write| !implied.contains(write));
    said.map(|write| (write.node().to_string(), Value::from(write.tick().to_string())))
        .collect::<Map<_, _>>()
        .into()
}

pub(crate) fn sibling(stamp: &Stamp, sibling: &Sibling, implied: &[Stamp]) -> Value {
    let mut value = body(&sibling.body, implied);
    value["stamp"] = stamp.to_string().into();
    value["by"] = sibling.by.clone().into();
    value
}

pub(crate) fn body(body: &Body, implied: &[Stamp]) -> Value {
    match body {
        Body::Whole(Some(value)) => json!({ "value": value }),
        Body::Whole(None) => json!({ "deleted": true }),
        Body::Fields(fields) => {
            let entry = |(name, field): (&String, &Field)| {
                let stamp = field.stamp.to_string();
                let entry = match &field.value {
                    Some(value) => json!({ "stamp": stamp, "value": value }),
                    None => json!({ "stamp": stamp, "deleted": true }),
                };
                (name.clone(), entry)
            };
            let set: Map<String, Value> = fields.entries.iter().map(entry).collect();
            let mut value = json!({ "set": set, "seen": without(&fields.seen, implied) });
            let marks = [("kept", &fields.kept), ("cleared", &fields.cleared)];
            for (name, stamp) in marks.into_iter().filter_map(|(name, stamp)| Some((name, stamp.as_ref()?))) {
                value[name] = stamp.to_string().into();
            }
            json!({ "fields": value })
        }
    }
}

/// A value that is there, though it may be `null`.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Head {
    format: u64,
}

#[derive(Deserialize)]
struct WireRecord {
    #[serde(rename = "type")]
    record_type: String,
    id: String,
    #[serde(default)]
    retired: usize,
    version: Version,
    siblings: Vec<WireSibling>,
}

#[derive(Deserialize)]
struct WireSibling {
    stamp: Stamp,
    by: String,
    #[serde(default)]
    deleted: bool,
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
    fields: Option<WireFields>,
}

#[derive(Deserialize)]
struct WireFields {
    kept: Option<Stamp>,
    cleared: Option<Stamp>,
    seen: Version,
    #[serde(default)]
    set: BTreeMap<String, WireField>,
}

#[derive(Deserialize)]
struct WireField {
    stamp: Stamp,
    #[serde(default)]
    deleted: bool,
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
}

/// The record of these bytes. What it says of itself is checked, so that whatever comes can be joined.
pub(crate) fn decode(bytes: &[u8], retired: &Retired) -> Result<Record, DecodeError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(DecodeError::TooLarge { found: bytes.len(), limit: MAX_RECORD_BYTES });
    }
    let head: Head = serde_json::from_slice(bytes)?;
    if head.format != FORMAT {
        return Err(DecodeError::UnknownFormat(head.format));
    }
    let wire: WireRecord = serde_json::from_slice(bytes)?;
    let known = retired.len();
    let implied =
        retired.first(wire.retired).ok_or(DecodeError::UnknownRetirement { needed: wire.retired, known })?;
    let mut version = wire.version;
    for write in implied {
        version.include(write);
    }
    let mut siblings = Siblings::new();
    for sibling in wire.siblings {
        let (stamp, sibling) = sibling.checked(&version, implied)?;
        if siblings.insert(stamp.clone(), sibling).is_some() {
            return Err(DecodeError::Contradiction(format!("the write {stamp} is in it twice")));
        }
    }
    Ok(Record { type_name: wire.record_type.into(), id: wire.id.into(), version, siblings })
}

impl WireSibling {
    fn checked(self, version: &Version, implied: &[Stamp]) -> Result<(Stamp, Sibling), DecodeError> {
        let stamp = self.stamp;
        let wrong = |what: &str| Err(DecodeError::Contradiction(format!("the write {stamp} {what}")));
        if !version.includes(&stamp) {
            return wrong("is not in its version");
        }
        if self.by.len() > MAX_BY_BYTES {
            return wrong("has a longer `by` than any write");
        }
        let body = match (self.deleted, self.value, self.fields) {
            (true, None, None) => Body::Whole(None),
            (false, Some(value), None) => Body::Whole(Some(value)),
            (false, None, Some(fields)) => {
                let Some(mut fields) = fields.into_fields() else {
                    return wrong("has a field that is both deleted and set, or neither");
                };
                for write in implied {
                    fields.seen.include(write);
                }
                if !fields.stamps().all(|part| *part <= stamp && fields.seen.includes(part)) {
                    return wrong("has fields that are newer than itself, or that its writer had not seen");
                }
                if !fields.seen.includes(&stamp) || !version.covers(&fields.seen) {
                    return wrong("has seen what is not in the record's version, or not itself");
                }
                Body::Fields(fields)
            }
            _ => return wrong("is not one of deleted, a value, and fields"),
        };
        Ok((stamp, Sibling { by: self.by, body }))
    }
}

impl WireFields {
    fn into_fields(self) -> Option<Fields> {
        let entries = self.set.into_iter().map(|(name, field)| {
            let field = match (field.deleted, field.value) {
                (true, None) => Field { stamp: field.stamp, value: None },
                (false, Some(value)) => Field { stamp: field.stamp, value: Some(value) },
                _ => return None,
            };
            Some((name, field))
        });
        let entries = entries.collect::<Option<_>>()?;
        let mut fields = Fields { kept: self.kept, cleared: self.cleared, entries, seen: self.seen };
        fields.drop_cleared();
        Some(fields)
    }
}

impl Fields {
    fn stamps(&self) -> impl Iterator<Item = &Stamp> {
        self.entries.values().map(|field| &field.stamp).chain(&self.kept).chain(&self.cleared)
    }
}
