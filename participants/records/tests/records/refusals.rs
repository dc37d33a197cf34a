//! What is refused, with the record as it was.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use snorri_records::limits::{
    MAX_BY_BYTES, MAX_DEPTH, MAX_FIELDS, MAX_ID_BYTES, MAX_SIBLINGS, MAX_VALUE_BYTES, MAX_WRITERS,
};
use snorri_records::{Error, Node, Provisional, Record, RecordType, Retired, Rule, Write};

use super::stamp;

fn lww() -> RecordType {
    RecordType::new("thing", Rule::LastWriterWins).unwrap()
}

fn field_wise() -> RecordType {
    RecordType::new("thing", Rule::FieldWise).unwrap()
}

fn put(at: &str, value: Value) -> Write {
    Write::put(stamp(at), "x", value)
}

/// A write that is refused changes nothing.
fn refused(kind: &RecordType, record: &Record, write: Write) -> Error {
    let mut tried = record.clone();
    let error = kind.write(&mut tried, write).unwrap_err();
    assert_eq!(&tried, record);
    error
}

fn too_large(error: Error) -> (usize, usize) {
    match error {
        Error::TooLarge { found, limit, .. } => (found, limit),
        other => panic!("{other}"),
    }
}

#[test]
fn a_stamp_that_is_not_later() {
    let mut record = lww().record("t-1").unwrap();
    let _ = lww().write(&mut record, put("5-0@b", json!(1))).unwrap();
    for at in ["4-0@a", "5-0@a", "5-0@c", "5-0@b"] {
        let error = refused(&lww(), &record, put(at, json!(2)));
        assert!(matches!(error, Error::NotLater { .. }), "{error}");
    }
    let _ = lww().write(&mut record, put("5-1@a", json!(2))).unwrap();
}

#[test]
fn a_node_that_is_retired() {
    let mut retired = Retired::default();
    retired.retire(stamp("9-0@old")).unwrap();
    let kind = lww().with_retired(retired);
    let error = refused(&kind, &kind.record("t-1").unwrap(), put("10-0@old", json!(1)));
    assert_eq!(error, Error::RetiredNode(stamp("10-0@old")));
}

#[test]
fn another_record_and_another_type() {
    let mut record = lww().record("t-1").unwrap();
    let other = lww().record("t-2").unwrap();
    assert!(matches!(lww().join(&mut record, &other), Err(Error::OtherRecord { .. })));
    let kind = RecordType::new("other", Rule::LastWriterWins).unwrap();
    let foreign = kind.record("t-1").unwrap();
    assert!(matches!(lww().join(&mut record, &foreign), Err(Error::OtherRecord { .. })));
    assert!(matches!(kind.join(&mut record, &foreign), Err(Error::OtherRecord { .. })));
    assert!(matches!(refused(&kind, &record, put("1-0@a", json!(1))), Error::OtherRecord { .. }));
}

#[test]
fn names_and_ids_that_are_none() {
    for name in ["", "two words", "a.b", &"x".repeat(65)] {
        assert!(matches!(RecordType::new(name, Rule::FieldWise), Err(Error::InvalidType(_))), "{name}");
    }
    assert_eq!(RecordType::new(&"x".repeat(64), Rule::FieldWise).unwrap().name().len(), 64);
    for id in ["", "a\nb", "a\0", &"x".repeat(MAX_ID_BYTES + 1)] {
        assert!(matches!(lww().record(id), Err(Error::InvalidId(_))), "{id}");
    }
    assert_eq!(lww().record(&"é".repeat(MAX_ID_BYTES / 2)).unwrap().id().len(), MAX_ID_BYTES);
    for node in ["", "a b", "a@b", "é", &"x".repeat(65)] {
        assert!(node.parse::<Node>().is_err(), "{node}");
    }
}

#[test]
fn fields_of_what_has_none() {
    let mut record = lww().record("t-1").unwrap();
    let set = || Write::set(stamp("2-0@a"), "x", [("f", Some(json!(1)))]);
    let _ = lww().write(&mut record, put("1-0@a", json!([1]))).unwrap();
    assert_eq!(refused(&lww(), &record, set()), Error::NotAnObject);
    let mut new = lww().record("t-1").unwrap();
    let _ = lww().write(&mut new, set()).unwrap();
    assert_eq!(
        lww().read(&new).unwrap().value,
        Some(json!({"f": 1})),
        "nothing yet is an object without fields"
    );
    let new = field_wise().record("t-1").unwrap();
    assert_eq!(refused(&field_wise(), &new, put("1-0@a", json!(1))), Error::NotAnObject);
}

#[test]
fn what_is_too_large() {
    for kind in [lww(), field_wise()] {
        let new = kind.record("t-1").unwrap();
        let refused = |write| too_large(refused(&kind, &new, write));
        let text = |bytes: usize| json!({ "f": "x".repeat(bytes) });
        assert_eq!(refused(put("1-0@a", text(MAX_VALUE_BYTES))).1, MAX_VALUE_BYTES);
        let _ = kind.write(&mut new.clone(), put("1-0@a", text(MAX_VALUE_BYTES - 200))).unwrap();

        let nested = |depth| json!({"f": (1..depth).fold(json!([]), |inner, _| json!([inner]))});
        assert_eq!(refused(put("1-0@a", nested(MAX_DEPTH + 1))).1, MAX_DEPTH);

        let by = Write::put(stamp("1-0@a"), "x".repeat(MAX_BY_BYTES + 1), json!({}));
        assert_eq!(refused(by), (MAX_BY_BYTES + 1, MAX_BY_BYTES));
    }
    let kind = field_wise();
    let new = kind.record("t-1").unwrap();
    let fields = |count: usize| json!((0..count).map(|n| (n.to_string(), 0)).collect::<BTreeMap<_, _>>());
    assert_eq!(
        too_large(refused(&kind, &new, put("1-0@a", fields(MAX_FIELDS + 1)))),
        (MAX_FIELDS + 1, MAX_FIELDS)
    );
    // Removed ones count until the record is deleted.
    let mut full = new;
    let _ = kind.write(&mut full, put("1-0@a", fields(MAX_FIELDS))).unwrap();
    let _ = kind.write(&mut full, put("2-0@a", json!({}))).unwrap();
    let more = |at| Write::set(stamp(at), "x", [("more", Some(json!(1)))]);
    assert_eq!(too_large(refused(&kind, &full, more("3-0@a"))).0, MAX_FIELDS + 1);
    let _ = kind.write(&mut full, Write::delete(stamp("4-0@a"), "x")).unwrap();
    let _ = kind.write(&mut full, more("5-0@a")).unwrap();
}

#[test]
fn too_many_nodes_that_are_not_retired() {
    let at = |n: usize| format!("{}-0@n{n}", n + 1);
    let mut record = lww().record("t-1").unwrap();
    for n in 0..MAX_WRITERS {
        let _ = lww().write(&mut record, put(&at(n), json!(n))).unwrap();
    }
    let error = refused(&lww(), &record, put(&at(MAX_WRITERS), json!(1)));
    assert_eq!(too_large(error), (MAX_WRITERS + 1, MAX_WRITERS));
    let again = format!("{}-0@n0", MAX_WRITERS + 1);
    let _ = lww().write(&mut record.clone(), put(&again, json!(1))).unwrap();
    let mut retired = Retired::default();
    retired.retire(stamp(&at(0))).unwrap();
    let _ = lww().with_retired(retired).write(&mut record, put(&at(MAX_WRITERS), json!(1))).unwrap();
}

#[test]
fn too_many_concurrent_writes() {
    let kind = RecordType::new("thing", Rule::Manual(Provisional::Fixed(None))).unwrap();
    let mut all = kind.record("t-1").unwrap();
    for n in 0..MAX_SIBLINGS {
        let mut one = kind.record("t-1").unwrap();
        let _ = kind.write(&mut one, put(&format!("{}-0@n{n}", n + 1), json!(n))).unwrap();
        let _ = kind.join(&mut all, &one).unwrap();
    }
    let mut retired = Retired::default();
    retired.retire(stamp("1-0@n0")).unwrap();
    let kind = kind.with_retired(retired);
    let error = refused(&kind, &all, put("100-0@new", json!(1)));
    assert_eq!(too_large(error), (MAX_SIBLINGS + 1, MAX_SIBLINGS));
    let _ = kind.write(&mut all, put("100-0@n1", json!(1))).unwrap();
}
