//! The field-wise rule, case by case.

use serde_json::{Value, json};
use snorri_records::{Conflict, Lost, Record, RecordType, Rule, Write};

use super::stamp;

fn kind() -> RecordType {
    RecordType::new("customer", Rule::FieldWise).unwrap()
}

fn put(record: &mut Record, at: &str, value: Value) {
    let _ = kind().write(record, Write::put(stamp(at), "x", value)).unwrap();
}

fn set(record: &mut Record, at: &str, field: &str, value: Option<Value>) {
    let _ = kind().write(record, Write::set(stamp(at), "x", [(field, value)])).unwrap();
}

fn delete(record: &mut Record, at: &str) {
    let _ = kind().write(record, Write::delete(stamp(at), "x")).unwrap();
}

fn value(record: &Record) -> Option<Value> {
    kind().read(record).unwrap().value
}

/// Two copies that have both seen the first write, joined both ways after each went on by itself.
fn after(first: Value, here: impl Fn(&mut Record), there: impl Fn(&mut Record)) -> (Option<Value>, Conflict) {
    let mut one = kind().record("c-1").unwrap();
    put(&mut one, "1-0@a", first);
    let mut other = one.clone();
    here(&mut one);
    there(&mut other);
    let back = one.clone();
    let mine = kind().join(&mut one, &other).unwrap();
    let theirs = kind().join(&mut other, &back).unwrap();
    assert_eq!(one, other);
    assert_eq!(mine, theirs);
    (value(&one), mine.conflict().unwrap().clone())
}

fn lost(at: &str, field: Option<&str>) -> Lost {
    Lost { stamp: stamp(at), field: field.map(str::to_owned) }
}

#[test]
fn changes_of_different_fields_both_stand_and_nothing_is_lost() {
    let (value, conflict) = after(
        json!({"name": "Egil", "town": "Borg", "tax": 1}),
        |here| put(here, "2-0@a", json!({"name": "Egil", "town": "Mosfell", "tax": 1})),
        |there| put(there, "3-0@b", json!({"name": "Egil S.", "town": "Borg"})),
    );
    assert_eq!(value, Some(json!({"name": "Egil S.", "town": "Mosfell"})));
    assert_eq!(conflict.lost, []);
    assert_eq!(conflict.value, value);
}

#[test]
fn of_the_same_field_the_newer_change_stands_and_the_older_is_lost() {
    let (value, conflict) = after(
        json!({"n": 0, "m": 0}),
        |here| put(here, "2-0@a", json!({"n": 1, "m": 1})),
        |there| set(there, "3-0@b", "n", Some(json!(2))),
    );
    assert_eq!(value, Some(json!({"n": 2, "m": 1})));
    assert_eq!(conflict.lost, [lost("2-0@a", Some("n"))]);
}

#[test]
fn what_a_side_took_over_is_lost_too_if_the_winner_had_not_seen_it() {
    let (value, conflict) = after(
        json!({"n": 0}),
        |here| {
            set(here, "2-0@a", "n", Some(json!(1)));
            set(here, "4-0@a", "m", Some(json!(1)));
        },
        |there| set(there, "3-0@b", "n", Some(json!(2))),
    );
    assert_eq!(value, Some(json!({"n": 2, "m": 1})));
    assert_eq!(
        conflict.lost,
        [lost("2-0@a", Some("n"))],
        "and not what the first write said, which both had seen"
    );
}

#[test]
fn removing_a_field_is_a_change_like_another() {
    let older = after(
        json!({"n": 0, "m": 0}),
        |here| set(here, "2-0@a", "n", None),
        |there| set(there, "3-0@b", "n", Some(json!(2))),
    );
    assert_eq!((older.0, older.1.lost), (Some(json!({"n": 2, "m": 0})), vec![lost("2-0@a", Some("n"))]));
    let newer = after(
        json!({"n": 0, "m": 0}),
        |here| set(here, "4-0@a", "n", None),
        |there| set(there, "3-0@b", "n", Some(json!(2))),
    );
    assert_eq!((newer.0, newer.1.lost), (Some(json!({"m": 0})), vec![lost("3-0@b", Some("n"))]));
}

#[test]
fn a_delete_removes_what_is_older_and_a_newer_field_comes_back_alone() {
    let (value, conflict) = after(
        json!({"n": 0, "m": 0}),
        |here| delete(here, "3-0@a"),
        |there| {
            set(there, "2-0@b", "m", Some(json!(2)));
            set(there, "4-0@b", "n", Some(json!(4)));
        },
    );
    assert_eq!(value, Some(json!({"n": 4})));
    assert_eq!(conflict.lost, [lost("2-0@b", Some("m")), lost("3-0@a", None)]);
    let (value, conflict) = after(
        json!({"n": 0, "m": 0}),
        |here| delete(here, "3-0@a"),
        |there| set(there, "2-0@b", "m", Some(json!(2))),
    );
    assert_eq!(value, None);
    assert_eq!(conflict.lost, [lost("2-0@b", None), lost("2-0@b", Some("m"))]);
}

#[test]
fn of_two_deletes_the_newer_takes_the_place_of_the_older() {
    let (value, conflict) =
        after(json!({"n": 0}), |here| delete(here, "2-0@a"), |there| delete(there, "3-0@b"));
    assert_eq!((value, conflict.lost), (None, vec![lost("2-0@a", None)]));
}

#[test]
fn removing_a_field_does_not_bring_a_deleted_record_back() {
    let (value, _) =
        after(json!({"n": 0}), |here| delete(here, "2-0@a"), |there| set(there, "3-0@b", "n", None));
    assert_eq!(value, None);
    let (value, _) =
        after(json!({"n": 0}), |here| delete(here, "2-0@a"), |there| put(there, "3-0@b", json!({})));
    assert_eq!(value, Some(json!({})), "saying that it is there does");
}

#[test]
fn a_delete_that_was_seen_is_final_for_what_was_before() {
    let mut record = kind().record("c-1").unwrap();
    put(&mut record, "1-0@a", json!({"n": 1, "m": 1}));
    let old = record.clone();
    delete(&mut record, "2-0@a");
    assert_eq!(value(&record), None);
    set(&mut record, "3-0@b", "m", Some(json!(3)));
    assert_eq!(value(&record), Some(json!({"m": 3})));
    let _ = kind().join(&mut record, &old).unwrap();
    assert_eq!(value(&record), Some(json!({"m": 3})));
}

/// A record type may become field-wise later: what was written before counts as all its fields at once.
#[test]
fn values_from_before_the_rule_was_field_wise_are_taken_over() {
    let before = RecordType::new("customer", Rule::LastWriterWins).unwrap();
    let mut record = before.record("c-1").unwrap();
    let _ = before.write(&mut record, Write::put(stamp("1-0@a"), "x", json!({"n": 1, "m": 1}))).unwrap();
    assert_eq!(value(&record), Some(json!({"n": 1, "m": 1})));
    set(&mut record, "2-0@b", "m", Some(json!(2)));
    assert_eq!(value(&record), Some(json!({"n": 1, "m": 2})));
    let _ = before.write(&mut record, Write::delete(stamp("3-0@a"), "x")).unwrap();
    assert_eq!(value(&record), None);
    let _ = before.write(&mut record, Write::put(stamp("4-0@a"), "x", json!(7))).unwrap();
    assert_eq!(value(&record), Some(json!({"value": 7})), "what is no object is a field");
    assert_eq!(before.read(&record).unwrap().value, Some(json!(7)));
}
