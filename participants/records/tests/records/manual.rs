//! The rule `manual`: conflicts that wait, go on, and are decided.

use serde_json::{Value, json};
use snorri_records::{Conflict, Error, Fate, Outcome, Provisional, Record, RecordType, Rule, Stamp, Write};

use super::stamp;

fn kind(provisional: Provisional) -> RecordType {
    RecordType::new("limit", Rule::Manual(provisional)).unwrap()
}

fn put(at: &str, value: i64) -> Write {
    Write::put(stamp(at), format!("by {at}"), json!(value))
}

fn written(kind: &RecordType, at: &str, value: i64) -> Record {
    let mut record = kind.record("c-1").unwrap();
    assert_eq!(kind.write(&mut record, put(at, value)), Ok(Outcome::Applied));
    record
}

fn conflict(outcome: Result<Outcome, Error>) -> Conflict {
    outcome.unwrap().conflict().expect("a conflict").clone()
}

fn sides(conflict: &Conflict) -> Vec<Stamp> {
    conflict.sides.iter().map(|side| side.stamp.clone()).collect()
}

fn shown(kind: &RecordType, record: &Record) -> (Option<Value>, bool) {
    let shown = kind.read(record).unwrap();
    (shown.value, shown.provisional)
}

#[test]
fn the_provisional_value_is_the_declared_one() {
    let values = [
        (Provisional::LastWriterWins, json!(3), "3-0@c"),
        (Provisional::Keep("b".parse().unwrap()), json!(2), "2-0@b"),
        (Provisional::Keep("nobody".parse().unwrap()), json!(3), "3-0@c"),
        (Provisional::Fixed(Some(json!(0))), json!(0), "3-0@c"),
    ];
    for (provisional, value, at) in values {
        let kind = kind(provisional);
        let mut record = written(&kind, "1-0@a", 1);
        let _ = kind.join(&mut record, &written(&kind, "2-0@b", 2)).unwrap();
        let conflict = conflict(kind.join(&mut record, &written(&kind, "3-0@c", 3)));
        assert_eq!(conflict.fate, Fate::Waits);
        assert_eq!((conflict.value.as_ref(), conflict.lost.as_slice()), (Some(&value), [].as_slice()));
        assert_eq!(sides(&conflict), ["1-0@a", "2-0@b", "3-0@c"].map(stamp));
        assert_eq!(conflict.sides[1].by, "by 2-0@b");
        assert_eq!(conflict.sides[1].value, Some(json!(2)));
        let shown = kind.read(&record).unwrap();
        assert_eq!((shown.value, shown.provisional, shown.last_updated), (Some(value), true, stamp(at)));
    }
}

#[test]
fn a_decision_settles_what_was_looked_at_and_no_more() {
    let kind = kind(Provisional::LastWriterWins);
    let mut record = written(&kind, "1-0@a", 1);
    let looked_at = conflict(kind.join(&mut record, &written(&kind, "2-0@b", 2)));
    // Meanwhile a third write arrives.
    let _ = kind.join(&mut record, &written(&kind, "3-0@c", 3)).unwrap();
    let rest = conflict(kind.decide(&mut record, &sides(&looked_at), put("5-0@a", 5)));
    assert_eq!(sides(&rest), ["3-0@c", "5-0@a"].map(stamp));
    assert_eq!(shown(&kind, &record), (Some(json!(5)), true));
    // And it is settled for good.
    assert_eq!(kind.decide(&mut record, &sides(&rest), put("6-0@b", 6)), Ok(Outcome::Applied));
    assert_eq!(shown(&kind, &record), (Some(json!(6)), false));
    assert_eq!(kind.decide(&mut record, &sides(&looked_at), put("7-0@a", 7)), Err(Error::AlreadySettled));
    // Old copies change nothing any more.
    assert_eq!(kind.join(&mut record, &written(&kind, "1-0@a", 1)), Ok(Outcome::Known));
}

#[test]
fn two_decisions_at_once_are_a_conflict_again() {
    let kind = kind(Provisional::LastWriterWins);
    let mut one = written(&kind, "1-0@a", 1);
    let looked_at = conflict(kind.join(&mut one, &written(&kind, "2-0@b", 2)));
    let mut other = one.clone();
    let _ = kind.decide(&mut one, &sides(&looked_at), put("3-0@a", 3)).unwrap();
    let _ = kind.decide(&mut other, &sides(&looked_at), put("4-0@b", 4)).unwrap();
    let again = conflict(kind.join(&mut one, &other));
    assert_eq!(sides(&again), ["3-0@a", "4-0@b"].map(stamp));
    assert_ne!(again.id, looked_at.id);
}

#[test]
fn services_that_go_on_writing_replace_what_they_are_shown() {
    let latest = kind(Provisional::LastWriterWins);
    let mut record = written(&latest, "1-0@a", 1);
    let _ = latest.join(&mut record, &written(&latest, "2-0@b", 2)).unwrap();
    let next = conflict(latest.write(&mut record, put("3-0@a", 3)));
    assert_eq!(sides(&next), ["1-0@a", "3-0@a"].map(stamp), "two of one node, and none of them is lost");

    let keep = kind(Provisional::Keep("a".parse().unwrap()));
    let mut record = written(&keep, "1-0@a", 1);
    let _ = keep.join(&mut record, &written(&keep, "2-0@b", 2)).unwrap();
    let next = conflict(keep.write(&mut record, put("3-0@a", 3)));
    assert_eq!(sides(&next), ["2-0@b", "3-0@a"].map(stamp));

    let fixed = kind(Provisional::Fixed(None));
    let mut record = written(&fixed, "1-0@a", 1);
    let _ = fixed.join(&mut record, &written(&fixed, "2-0@b", 2)).unwrap();
    let next = conflict(fixed.write(&mut record, put("3-0@c", 3)));
    assert_eq!(sides(&next), ["1-0@a", "2-0@b", "3-0@c"].map(stamp), "it was shown none of them");
    let next = conflict(fixed.write(&mut record, put("4-0@c", 4)));
    assert_eq!(sides(&next), ["1-0@a", "2-0@b", "4-0@c"].map(stamp), "and replaces its own");
    assert_eq!(shown(&fixed, &record), (None, true));
}

#[test]
fn where_nothing_waits_there_is_nothing_to_decide() {
    let kind = RecordType::new("limit", Rule::LastWriterWins).unwrap();
    let mut record = written(&kind, "1-0@a", 1);
    let refused = kind.decide(&mut record, &[stamp("1-0@a")], put("2-0@a", 2));
    assert_eq!(refused, Err(Error::NotManual));
}

#[test]
fn a_conflict_is_kept_as_json_and_read_back() {
    let kind = kind(Provisional::LastWriterWins);
    let mut record = written(&kind, "1-0@a", 1);
    let mut gone = kind.record("c-1").unwrap();
    let _ = kind.write(&mut gone, Write::delete(stamp("2-0@b"), "x")).unwrap();
    let conflict = conflict(kind.join(&mut record, &gone));
    let text = serde_json::to_string(&conflict).unwrap();
    assert_eq!(serde_json::from_str::<Conflict>(&text).unwrap(), conflict);
    // The id is what accounts are kept by: it must never change.
    assert_eq!(conflict.id.to_string(), "36b0a0a9a97441fc8ee7bf77b40e67a5");
    assert_eq!(
        text,
        concat!(
            r#"{"id":"36b0a0a9a97441fc8ee7bf77b40e67a5","record_type":"limit","record_id":"c-1","sides":["#,
            r#"{"stamp":"1-0@a","by":"by 1-0@a","value":1},{"stamp":"2-0@b","by":"x"}],"#,
            r#""rule":"manual","fate":"waits","lost":[]}"#
        )
    );
    for wrong in ["", "xyz", &conflict.id.to_string().to_uppercase(), &format!("{}0", conflict.id)] {
        assert!(wrong.parse::<snorri_records::ConflictId>().is_err(), "{wrong}");
    }
}
