//! Records as bytes: one spelling, read back the same, and whatever else comes is refused and not a panic.

use proptest::prelude::*;
use serde_json::{Value, json};
use snorri_records::limits::{MAX_DEPTH, MAX_RECORD_BYTES};
use snorri_records::{DecodeError, Error, Record, RecordType, Rule, Write};

use super::join::{kind, records};
use super::{config, stamp};

/// Any JSON value, with keys and texts that need care.
fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-c]{0,2}", r#"["\\\u{0}\u{1F600}é/]{0,3}"#];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop_oneof![Just("1.10"), Just("1e400"), Just("-0"), Just("12345678901234567890123.5")]
            .prop_map(|number| serde_json::from_str(number).unwrap()),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_encoded_is_decoded_the_same(record in records(), value in values(), whole: bool) {
        let kind = if whole { RecordType::new("thing", Rule::LastWriterWins).unwrap() } else { kind() };
        let mut record = record;
        let value = if whole { value } else { json!({ "f": value }) };
        let _ = kind.write(&mut record, Write::put(stamp("9-0@d"), "é\"", value.clone())).unwrap();
        prop_assert_eq!(kind.read(&record).unwrap().value, Some(value));
        let bytes = kind.encode(&record);
        let again = kind.decode(&bytes).unwrap();
        prop_assert_eq!(&again, &record);
        prop_assert_eq!(kind.encode(&again), bytes);
    }

    /// Bytes in which something was changed: refused, or a record that can be joined, read and encoded.
    #[test]
    fn garbage_is_no_panic(
        record in records(), other in records(), noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = kind().encode(&record);
        for (at, byte) in noise {
            let at = at.index(bytes.len());
            // Digits and quotes turn up sense more often than others.
            bytes[at] = if byte < 128 { b"0123456789\"{}[],:-@abc"[usize::from(byte) % 22] } else { byte };
        }
        if let Ok(changed) = kind().decode(&bytes) {
            let mut joined = other;
            let outcome = kind().join(&mut joined, &changed);
            prop_assert_eq!(outcome.is_ok(), changed.id() == "t-1");
            let _ = (kind().read(&joined), kind().conflict(&joined), kind().leaf(&joined));
            prop_assert_eq!(kind().decode(&kind().encode(&joined)).unwrap(), joined);
        }
    }

    #[test]
    fn any_bytes_are_no_panic(bytes: Vec<u8>) {
        prop_assert!(kind().decode(&bytes).is_err());
    }
}

fn decode(value: &Value) -> Result<Record, DecodeError> {
    kind().decode(&serde_json::to_vec(value).unwrap())
}

fn plain() -> Value {
    json!({"format": 1, "type": "thing", "id": "t-1", "version": {"a": "1-0"},
           "siblings": [{"stamp": "1-0@a", "by": "x", "value": {"z": 1, "b": null}}]})
}

#[test]
fn the_bytes_are_these() {
    let record = decode(&plain()).unwrap();
    assert_eq!(
        String::from_utf8(kind().encode(&record)).unwrap(),
        r#"{"format":1,"id":"t-1","siblings":[{"by":"x","stamp":"1-0@a","value":{"b":null,"z":1}}],"type":"thing","version":{"a":"1-0"}}"#
    );
    let mut fields = kind().record("t-1").unwrap();
    let _ = kind().write(&mut fields, Write::put(stamp("1-0@a"), "x", json!({"n": null, "m": 1}))).unwrap();
    let _ = kind().write(&mut fields, Write::set(stamp("2-0@b"), "y", [("m", None)])).unwrap();
    assert_eq!(
        String::from_utf8(kind().encode(&fields)).unwrap(),
        concat!(
            r#"{"format":1,"id":"t-1","siblings":[{"by":"y","fields":{"kept":"1-0@a","seen":{"a":"1-0","b":"2-0"},"#,
            r#""set":{"m":{"deleted":true,"stamp":"2-0@b"},"n":{"stamp":"1-0@a","value":null}}},"stamp":"2-0@b"}],"#,
            r#""type":"thing","version":{"a":"1-0","b":"2-0"}}"#
        )
    );
    let _ = kind().write(&mut fields, Write::delete(stamp("3-0@b"), "y")).unwrap();
    assert_eq!(decode(&serde_json::from_slice(&kind().encode(&fields)).unwrap()).unwrap(), fields);
}

#[test]
fn what_a_later_version_adds_is_ignored() {
    let mut value = plain();
    value["colour"] = json!("red");
    value["siblings"][0]["mood"] = json!([1]);
    assert_eq!(decode(&value).unwrap(), decode(&plain()).unwrap());
    value["format"] = json!(2);
    let error = decode(&value).unwrap_err();
    assert!(matches!(error, DecodeError::UnknownFormat(2)), "{error}");
    assert!(error.to_string().contains("upgrade this node"), "{error}");
}

#[test]
fn null_is_a_value_and_no_delete() {
    let mut value = plain();
    value["siblings"][0]["value"] = Value::Null;
    let kind = RecordType::new("thing", Rule::LastWriterWins).unwrap();
    let shown = kind.read(&decode(&value).unwrap()).unwrap();
    assert_eq!(shown.value, Some(Value::Null));
    assert_eq!(
        serde_json::to_string(&shown).unwrap(),
        r#"{"id":"t-1","value":null,"version":{"a":"1-0"},"last_updated":"1-0@a","last_updated_by":"x","provisional":false,"deleted":false}"#
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    let own = json!({"stamp": "1-0@a", "by": "x"});
    let fields = |fields: Value| {
        let mut sibling = own.clone();
        sibling["fields"] = fields;
        sibling
    };
    let with = |name: &str, value: Value| {
        let mut sibling = own.clone();
        sibling[name] = value;
        sibling
    };
    let wrong = [
        (json!([own]), "not one of"),
        (json!([with("deleted", json!(false))]), "not one of"),
        (json!([{"stamp": "1-0@a", "by": "x", "deleted": true, "value": 1}]), "not one of"),
        (json!([{"stamp": "1-0@a", "by": "x", "value": 1, "fields": {"seen": {"a": "1-0"}}}]), "not one of"),
        (json!([with("value", json!(1)), with("value", json!(1))]), "twice"),
        (json!([{"stamp": "2-0@a", "by": "x", "value": 1}]), "not in its version"),
        (json!([{"stamp": "1-0@b", "by": "x", "value": 1}]), "not in its version"),
        (json!([{"stamp": "1-0@a", "by": "x".repeat(257), "value": 1}]), "longer `by`"),
        (json!([fields(json!({"seen": {"a": "1-0"}, "kept": "2-0@a"}))]), "newer than itself"),
        (json!([fields(json!({"seen": {"a": "1-0"}, "kept": "0-0@b"}))]), "had not seen"),
        (json!([fields(json!({"seen": {}}))]), "or not itself"),
        (json!([fields(json!({"seen": {"a": "1-0", "b": "1-0"}}))]), "not in the record's version"),
        (json!([fields(json!({"seen": {"a": "1-0"}, "set": {"f": {"stamp": "1-0@a"}}}))]), "or neither"),
        (
            json!([fields(
                json!({"seen": {"a": "1-0"}, "set": {"f": {"stamp": "1-0@a", "value": 1, "deleted": true}}})
            )]),
            "both",
        ),
    ];
    for (siblings, why) in wrong {
        let mut value = plain();
        value["siblings"] = siblings;
        let error = decode(&value).unwrap_err();
        assert!(
            matches!(error, DecodeError::Contradiction(_)) && error.to_string().contains(why),
            "{value}: {error}"
        );
    }
}

#[test]
fn what_is_of_another_type_or_no_record_is_refused() {
    let with = |name: &str, to: Value| {
        let mut value = plain();
        value[name] = to;
        decode(&value).unwrap_err()
    };
    assert!(matches!(with("type", json!("other")), DecodeError::Identity(Error::OtherRecord { .. })));
    assert!(matches!(with("id", json!("")), DecodeError::Identity(Error::InvalidId(_))));
    assert!(matches!(with("siblings", json!({})), DecodeError::Malformed(_)));
    assert!(matches!(with("version", json!({"a": "x"})), DecodeError::Malformed(_)));
    assert!(matches!(with("retired", json!(1)), DecodeError::UnknownRetirement { needed: 1, known: 0 }));
    let huge = kind().decode(&vec![b' '; MAX_RECORD_BYTES + 1]).unwrap_err();
    assert!(matches!(huge, DecodeError::TooLarge { .. }));
}

/// What may be written can be read, at the limit of its depth too.
#[test]
fn the_deepest_value_comes_through() {
    let deepest = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
    for (kind, value) in [
        (RecordType::new("thing", Rule::LastWriterWins).unwrap(), deepest.clone()),
        (kind(), json!({ "f": deepest })),
    ] {
        let mut record = kind.record("t-1").unwrap();
        let _ = kind.write(&mut record, Write::put(stamp("1-0@a"), "x", value)).unwrap();
        assert_eq!(kind.decode(&kind.encode(&record)).unwrap(), record);
    }
}
