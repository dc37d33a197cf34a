//! One text for each JSON value, and hashes of texts: what makes copies comparable byte for byte.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The value's compact text with the keys of its objects sorted. Numbers keep their digits.
pub(crate) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                separate(at, out);
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (at, (key, item)) in entries.into_iter().enumerate() {
                separate(at, out);
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn separate(at: usize, out: &mut String) {
    if at > 0 {
        out.push(',');
    }
}

/// Whether the value is nested no deeper than that. A scalar has depth 0.
pub(crate) fn is_within_depth(value: &Value, depth: usize) -> bool {
    let inner = |item: &Value| depth > 0 && is_within_depth(item, depth - 1);
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(inner),
        Value::Object(map) => depth > 0 && map.values().all(inner),
        _ => true,
    }
}

/// 128 bits of the SHA-256 of the parts, each with its length before it, so that no two lists of parts are alike.
pub(crate) fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().take(16).fold(0, |hash, byte| (hash << 8) | u128::from(*byte))
}
