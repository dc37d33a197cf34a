//! A value field by field, each with the stamp of the write that it is from: what the field-wise rule works on.
//!
//! Merging takes the newest of everything, so it does not matter in which order or how often it is done. The same result comes
//! from applying all writes one by one in the order of their stamps.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::canonical;
use crate::stamp::Stamp;
use crate::version::Version;

/// The name of the only field of a value that is no object: such a one was written before its record type became field-wise.
const WHOLE: &str = "value";

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Fields {
    /// The newest write that said that the record is there.
    pub(crate) kept: Option<Stamp>,
    /// The newest write that removed what was older than itself.
    pub(crate) cleared: Option<Stamp>,
    /// Those that are not older than that.
    pub(crate) entries: BTreeMap<String, Field>,
    /// What the writer had been shown, and its own write: what it has overwritten knowingly.
    pub(crate) seen: Version,
}

/// What a field was set to, or that it was removed, and by which write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) stamp: Stamp,
    pub(crate) value: Option<Value>,
}

impl Fields {
    /// The fields of a value that one write set as a whole.
    pub(crate) fn of_whole(value: Option<&Value>, stamp: &Stamp) -> Self {
        let mut fields = Self { cleared: Some(stamp.clone()), ..Self::default() };
        fields.seen.include(stamp);
        match value {
            Some(Value::Object(map)) => fields.put(map, stamp),
            Some(other) => fields.put(&Map::from_iter([(WHOLE.to_owned(), other.clone())]), stamp),
            None => {}
        }
        fields
    }

    /// Whether the record is there.
    pub(crate) fn exists(&self) -> bool {
        self.kept.is_some() && self.kept >= self.cleared
    }

    /// The value, without what was removed; nothing if the record was deleted.
    pub(crate) fn value(&self) -> Option<Value> {
        let present = |(name, field): (&String, &Field)| Some((name.clone(), field.value.clone()?));
        self.exists().then(|| Value::Object(self.entries.iter().filter_map(present).collect()))
    }

    /// Takes the newest of both.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.seen.join(&other.seen);
        self.kept = self.kept.clone().max(other.kept.clone());
        self.cleared = self.cleared.clone().max(other.cleared.clone());
        for (name, theirs) in &other.entries {
            match self.entries.get(name) {
                Some(ours) if !theirs.is_newer_than(ours) => {}
                _ => _ = self.entries.insert(name.clone(), theirs.clone()),
            }
        }
        self.drop_cleared();
    }

    /// Forgets what is older than the newest delete. A field that stands in the way of that has come from elsewhere.
    pub(crate) fn drop_cleared(&mut self) {
        let Self { cleared, entries, .. } = self;
        entries.retain(|_, field| cleared.as_ref().is_none_or(|cleared| field.stamp >= *cleared));
    }

    /// Makes the value equal to this one. Only the fields that differ are changed, so that concurrent changes of others stay.
    pub(crate) fn put(&mut self, new: &Map<String, Value>, stamp: &Stamp) {
        let before = self.present();
        let gone =
            before.keys().filter(|name| !new.contains_key(**name)).map(|name| ((*name).to_owned(), None));
        let differs = |(name, value): &(&String, &Value)| before.get(name.as_str()) != Some(value);
        let changed = new.iter().filter(differs).map(|(name, value)| (name.clone(), Some(value.clone())));
        let all = gone.chain(changed).collect();
        self.set(&all, stamp);
        self.kept = Some(stamp.clone());
    }

    /// Sets and removes these fields alone.
    pub(crate) fn set(&mut self, changes: &BTreeMap<String, Option<Value>>, stamp: &Stamp) {
        for (name, value) in changes {
            self.entries.insert(name.clone(), Field { stamp: stamp.clone(), value: value.clone() });
        }
        if changes.values().any(Option::is_some) {
            self.kept = Some(stamp.clone());
        }
    }

    /// Deletes the record.
    pub(crate) fn delete(&mut self, stamp: &Stamp) {
        self.cleared = Some(stamp.clone());
        self.drop_cleared();
    }

    /// The write of what is said of a field, or without a field of whether the record is there.
    fn said(&self, field: Option<&str>) -> Option<&Stamp> {
        match field {
            Some(name) => self.entries.get(name).map(|field| &field.stamp),
            None if self.exists() => self.kept.as_ref(),
            None => self.cleared.as_ref(),
        }
    }

    fn present(&self) -> BTreeMap<&str, &Value> {
        if !self.exists() {
            return BTreeMap::new();
        }
        self.entries.iter().filter_map(|(name, field)| Some((name.as_str(), field.value.as_ref()?))).collect()
    }
}

/// What some side said and has no place in what the sides are together: the writes, with the names of the fields.
///
/// Sides also have what they took over from earlier writes. Of that, what another side had seen and said otherwise was overwritten knowingly,
/// or lost in an earlier conflict; it is not lost again.
pub(crate) fn lost(sides: &[(&Stamp, Fields)]) -> Vec<(Stamp, Option<String>)> {
    let outcome = merged(sides.iter().map(|(_, fields)| fields));
    let mut lost = Vec::new();
    for (own, side) in sides {
        let existence = (!side.exists() || !outcome.exists()).then_some(None);
        let fields = side.entries.keys().map(|name| Some(name.as_str()));
        for field in fields.chain(existence) {
            let Some(stamp) = side.said(field) else { continue };
            let overwritten = |other: &Fields| other.seen.includes(stamp) && other.said(field) != Some(stamp);
            let stands = outcome.said(field) == Some(stamp);
            if !stands && (stamp == *own || !sides.iter().any(|(_, other)| overwritten(other))) {
                lost.push((stamp.clone(), field.map(str::to_owned)));
            }
        }
    }
    lost
}

/// The newest of all.
pub(crate) fn merged<'a>(all: impl Iterator<Item = &'a Fields>) -> Fields {
    all.fold(Fields::default(), |mut merged, fields| {
        merged.merge(fields);
        merged
    })
}

impl Field {
    /// The newer one wins. One write says one thing of a field; should there be two, the nodes still agree on one.
    fn is_newer_than(&self, other: &Self) -> bool {
        let text = |field: &Self| field.value.as_ref().map(canonical::text);
        self.stamp.cmp(&other.stamp).then_with(|| text(self).cmp(&text(other))).is_gt()
    }
}
