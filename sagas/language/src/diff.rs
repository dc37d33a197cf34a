//! What changed between two versions of a definition: by step name, in effect and not in spelling, and what it means for people.
//!
//! A default that is written out changes nothing, nor does the order of a list whose steps say what they need. A step that was given
//! another name is one that is gone and one that is new: the name is its key in the journal.
//!
//! ```text
//! fields     what a definition and a step say in effect, field by field
//! meaning    what follows for those who run sagas, call them and answer them
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use snorri_saga::time::Millis;

use crate::Subject;

mod fields;
mod meaning;

pub use meaning::Meaning;

/// The most changes of one step, or of the definition itself, that are told one by one.
const CHANGES_MAX: usize = 100;
/// The most characters of a value in the text for people.
const VALUE_CHARS_MAX: usize = 100;

/// A field that is not what it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The field, as a path: `retry.attempts`.
    pub field: String,
    /// What it was in effect; nothing: it was not there.
    pub before: Option<Value>,
    /// What it is now.
    pub after: Option<Value>,
}

/// A step that is new, or gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Whole {
    /// Its name.
    pub name: String,
    /// What it does, in words.
    pub what: String,
    /// What it needs.
    pub needs: Vec<String>,
}

/// A step that is in both and not the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// What changed.
    pub changes: Vec<Change>,
}

/// The longest that a saga may take, before and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WorstCases {
    /// Before.
    pub before: Millis,
    /// Now.
    pub after: Millis,
    /// It is longer now.
    pub grew: bool,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    /// The definition.
    pub name: String,
    /// The version before, where there is one.
    pub from: Option<u32>,
    /// The version now.
    pub to: Option<u32>,
    /// Nothing changed.
    pub same: bool,
    /// What changed in the definition itself.
    pub changes: Vec<Change>,
    /// Steps that are new.
    pub added: Vec<Whole>,
    /// Steps that are gone.
    pub removed: Vec<Whole>,
    /// Steps that are in both and not the same.
    pub changed: Vec<Changed>,
    /// The steps that are in both are listed in another order. What they need is told with each step.
    pub listed_otherwise: bool,
    /// The longest that a saga may take.
    pub worst_case: WorstCases,
    /// What it means.
    pub meaning: Vec<Meaning>,
}

impl Diff {
    /// Compares two definitions.
    pub fn between(old: Subject<'_>, new: Subject<'_>) -> Self {
        let (before, after) = (fields::steps(old), fields::steps(new));
        let own = changes(&fields::definition(old), &fields::definition(new));
        let is_in =
            |steps: &[(Whole, fields::Fields)], name: &str| steps.iter().any(|(step, _)| step.name == name);
        let only = |steps: &[(Whole, fields::Fields)], others: &[(Whole, fields::Fields)]| -> Vec<Whole> {
            steps
                .iter()
                .filter(|(step, _)| !is_in(others, &step.name))
                .map(|(step, _)| step.clone())
                .collect()
        };
        let changed: Vec<Changed> = before
            .iter()
            .filter_map(|(step, old)| {
                let (_, new) = after.iter().find(|(other, _)| other.name == step.name)?;
                let changes = changes(old, new);
                (!changes.is_empty()).then(|| Changed { name: step.name.clone(), changes })
            })
            .collect();
        let common = |steps: &[(Whole, fields::Fields)], others: &[(Whole, fields::Fields)]| -> Vec<String> {
            steps.iter().map(|(step, _)| step.name.clone()).filter(|name| is_in(others, name)).collect()
        };
        let totals = (old.definition.worst_case().total(), new.definition.worst_case().total());
        let mut diff = Self {
            name: new.definition.name.to_string(),
            from: old.version,
            to: new.version,
            same: false,
            changes: own,
            added: only(&after, &before),
            removed: only(&before, &after),
            changed,
            listed_otherwise: common(&before, &after) != common(&after, &before),
            worst_case: WorstCases { before: totals.0, after: totals.1, grew: totals.1 > totals.0 },
            meaning: Vec::new(),
        };
        diff.same = diff.changes.is_empty()
            && diff.added.is_empty()
            && diff.removed.is_empty()
            && diff.changed.is_empty()
            && !diff.listed_otherwise;
        diff.meaning = meaning::of(&diff, old, new);
        diff
    }
}

/// The fields of two that are not the same, in the order of the fields.
fn changes(before: &fields::Fields, after: &fields::Fields) -> Vec<Change> {
    let old: BTreeMap<&str, &Value> = before.iter().map(|(field, value)| (field.as_str(), value)).collect();
    let new: BTreeMap<&str, &Value> = after.iter().map(|(field, value)| (field.as_str(), value)).collect();
    let fields = before.iter().chain(after.iter().filter(|(field, _)| !old.contains_key(field.as_str())));
    let mut changes = Vec::new();
    for (field, _) in fields {
        let (before, after) = (old.get(field.as_str()).copied(), new.get(field.as_str()).copied());
        if before != after {
            compare(field, before, after, &mut changes);
        }
    }
    if changes.len() > CHANGES_MAX {
        changes.truncate(CHANGES_MAX);
        let rest = Value::from("more changed than is told here");
        changes.push(Change { field: "...".to_owned(), before: None, after: Some(rest) });
    }
    changes
}

/// What is not the same in two values, as far down as both are objects.
fn compare(at: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let fields = old.keys().chain(new.keys().filter(|field| !old.contains_key(*field)));
            for field in fields.filter(|field| old.get(*field) != new.get(*field)) {
                if changes.len() > CHANGES_MAX {
                    return;
                }
                compare(&format!("{at}.{field}"), old.get(field), new.get(field), changes);
            }
        }
        _ => changes.push(Change { field: at.to_owned(), before: before.cloned(), after: after.cloned() }),
    }
}

/// A value in one line for people.
fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => return "-".to_owned(),
        Some(Value::String(text)) => text.escape_debug().to_string(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
        }
        Some(other) => other.to_string(),
    };
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match (self.from, self.to) {
            (Some(from), Some(to)) => writeln!(f, ": version {from} -> {to}")?,
            _ => writeln!(f)?,
        }
        let list = |f: &mut fmt::Formatter<'_>, changes: &[Change]| -> fmt::Result {
            for change in changes {
                let (before, after) = (shown(change.before.as_ref()), shown(change.after.as_ref()));
                writeln!(f, "    {}: {before} -> {after}", change.field)?;
            }
            Ok(())
        };
        list(f, &self.changes)?;
        if self.worst_case.before != self.worst_case.after {
            writeln!(f, "    worst case: {} -> {}", self.worst_case.before, self.worst_case.after)?;
        }
        if self.listed_otherwise {
            writeln!(f, "    steps: listed in another order")?;
        }
        for (sign, steps) in [('+', &self.added), ('-', &self.removed)] {
            for step in steps {
                let needs = if step.needs.is_empty() {
                    String::new()
                } else {
                    format!(", needs {}", step.needs.join(", "))
                };
                writeln!(f, "  {sign} {} ({}{needs})", step.name, step.what)?;
            }
        }
        for step in &self.changed {
            writeln!(f, "  ~ {}", step.name)?;
            list(f, &step.changes)?;
        }
        writeln!(f)?;
        for meaning in &self.meaning {
            writeln!(f, "{}", meaning.text)?;
        }
        Ok(())
    }
}
