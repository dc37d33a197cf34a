//! Payloads. A payload is kept as the JSON text it came in and shared, never copied and seldom parsed:
//! the orchestrator passes it on and looks inside only where a definition refers into it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// A JSON payload, valid and immutable. Its `Debug` shows the size only: payloads stay out of logs.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// The text `null`.
    pub fn null() -> Self {
        Self(Arc::from(RawValue::NULL.to_owned()))
    }

    /// Checks that the text is JSON and keeps it.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Box<RawValue>>(text).map(|raw| Self(raw.into()))
    }

    /// Keeps a value's compact text.
    pub fn from_value(value: &Value) -> Self {
        serde_json::value::to_raw_value(value).map_or_else(|_| Self::null(), |raw| Self(raw.into()))
    }

    /// The JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The size of the text, in bytes.
    pub fn len(&self) -> usize {
        self.get().len()
    }

    /// Never: a JSON text has at least one character. There for the lint that wants it beside `len`.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether both are the same value, whatever the spelling. Texts that have no value (half a surrogate pair has none)
    /// are the same only if they are spelt alike.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let value = |json: &Self| serde_json::from_str::<Value>(json.get()).ok();
        self == other || value(self).zip(value(other)).is_some_and(|(one, other)| one == other)
    }

    /// The parsed value.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(self.get()).unwrap_or(Value::Null)
    }
}

/// For an optional payload: a field that is there is a payload, even when it is `null`, and only a field
/// that is not there is none. (An `Option` alone would read `null` as nothing, and a saga replayed from its
/// journal would differ from the live one.)
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.get() == other.get()
    }
}

impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.len())
    }
}

/// Whether objects and lists nest deeper than `depth_max`. Reads the text once, without recursion, so
/// that it can stand before the parser.
pub fn deeper_than(text: &[u8], depth_max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        if in_string {
            match (escaped, byte) {
                (true, _) => escaped = false,
                (false, b'\\') => escaped = true,
                (false, b'"') => in_string = false,
                (false, _) => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The SHA-256 of the value's canonical text (object keys sorted, no white space), so that two
/// spellings of one value have one fingerprint.
pub fn fingerprint(value: &Value) -> [u8; 32] {
    let mut text = String::new();
    canonical(value, &mut text);
    Sha256::digest(text.as_bytes()).into()
}

/// Sorts the keys itself: whether serde_json's map does depends on the features of all crates of a build.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (i, (key, item)) in fields.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                canonical(item, text);
            }
            text.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
}

/// A field's name as a part of a JSON pointer (RFC 6901).
pub fn pointer_part(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_say_the_same() {
        let json = |text: &str| Json::parse(text).expect("json");
        assert!(json(r#"{"a": 1, "b": [2]}"#).says_the_same_as(&json(r#"{"b":[2],"a":1}"#)));
        assert!(json(r#""\ud800""#).says_the_same_as(&json(r#""\ud800""#)));
        for (one, other) in
            [("1", "1.0"), ("null", r#""\ud800""#), (r#""\ud800""#, r#""\ud801""#), ("[1,2]", "[2,1]")]
        {
            assert!(!json(one).says_the_same_as(&json(other)), "{one} {other}");
        }
    }

    #[test]
    fn two_spellings_of_one_value_have_one_fingerprint() {
        let print = |text: &str| fingerprint(&serde_json::from_str(text).expect("json"));
        assert_eq!(print(r#"{"a":1,"b":[true,null]}"#), print("{ \"b\" : [true, null], \"a\": 1 }"));
        assert_ne!(print(r#"{"a":1}"#), print(r#"{"a":"1"}"#));
    }

    #[test]
    fn depth_is_counted_outside_of_strings_only() {
        assert!(!deeper_than(br#"{"a":"[[[[[[","b":"\"[[["}"#, 1));
        assert!(deeper_than(b"[[[]]]", 2));
        assert!(!deeper_than(b"[[[]]]", 3));
    }

    #[test]
    fn a_payload_is_not_shown_in_debug_output() {
        assert_eq!(format!("{:?}", Json::parse(r#"{"card":"4111"}"#).expect("json")), "Json(15 bytes)");
    }

    #[test]
    fn depth_is_that_of_the_deepest_place_and_not_the_number_of_brackets() {
        let flat = br#"[{},{},[],[],{"a":[]},{"b":{}}]"#;
        assert!(deeper_than(flat, 2));
        assert!(!deeper_than(flat, 3));
    }

    #[test]
    fn payloads_are_equal_when_their_texts_are() {
        let json = |text: &str| Json::parse(text).expect("JSON");
        assert_eq!(json(r#"{"a":1}"#), json(r#"{"a":1}"#));
        assert_ne!(json(r#"{"a":1}"#), json(r#"{"a":2}"#));
        assert_ne!(json("null"), json("0"));
        assert!(!Json::null().is_empty(), "`null` is a payload");
    }
}
