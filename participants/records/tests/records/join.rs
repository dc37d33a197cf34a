//! The laws of the join, over records that need not come from one history: whatever can be decoded can be joined.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use snorri_records::{Outcome, Record, RecordType, Rule, Version};

use super::{config, stamp};

pub(crate) const STAMPS: [&str; 8] = ["1-0@a", "2-0@a", "3-0@a", "1-0@b", "2-0@b", "4-0@b", "2-0@c", "5-0@c"];

/// A field or a sibling: with what, and by whom. Two records may say different things under the same stamp.
type Said = (Option<i8>, bool);

pub(crate) fn kind() -> RecordType {
    RecordType::new("thing", Rule::FieldWise).unwrap()
}

/// A record with some of these stamps as siblings, some with values as a whole and some field by field.
pub(crate) fn records() -> impl Strategy<Value = Record> {
    let said = (prop::option::of(0..3_i8), any::<bool>());
    let siblings = prop::collection::btree_map(0..STAMPS.len(), said, 0..4);
    let known = prop::collection::btree_set(0..STAMPS.len(), 0..4);
    (siblings, known).prop_map(|(siblings, known)| {
        kind().decode(&serde_json::to_vec(&record(&siblings, &known)).unwrap()).unwrap()
    })
}

fn record(siblings: &BTreeMap<usize, Said>, known: &BTreeSet<usize>) -> Value {
    let version: Version = known.iter().chain(siblings.keys()).map(|at| stamp(STAMPS[*at])).collect();
    let sibling = |(at, (value, whole)): (&usize, &Said)| {
        let own = STAMPS[*at];
        // One of two copies of a write may have been pruned, and then it says that more was seen.
        let seen: Version = known.iter().map(|at| stamp(STAMPS[*at])).chain([stamp(own)]).collect();
        match (whole, value) {
            (true, Some(value)) => json!({"stamp": own, "by": "x", "value": {"f": value}}),
            (true, None) => json!({"stamp": own, "by": "x", "deleted": true}),
            (false, Some(value)) => {
                let set = json!({"f": {"stamp": own, "value": value}});
                json!({"stamp": own, "by": "x", "fields": {"seen": seen, "kept": own, "set": set}})
            }
            (false, None) => json!({"stamp": own, "by": "x", "fields": {"seen": seen, "cleared": own}}),
        }
    };
    let siblings: Vec<Value> = siblings.iter().map(sibling).collect();
    json!({"format": 1, "type": "thing", "id": "t-1", "version": version, "siblings": siblings})
}

fn joined(one: &Record, other: &Record) -> Record {
    let mut both = one.clone();
    let _ = kind().join(&mut both, other).unwrap();
    both
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn it_is_commutative(a in records(), b in records()) {
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
    }

    #[test]
    fn it_is_associative(a in records(), b in records(), c in records()) {
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
    }

    #[test]
    fn it_is_idempotent(a in records(), b in records()) {
        let mut same = a.clone();
        prop_assert_eq!(kind().join(&mut same, &a).unwrap(), Outcome::Known);
        prop_assert_eq!(&same, &a);
        let both = joined(&a, &b);
        prop_assert_eq!(joined(&both, &b), both);
    }

    /// By definition, for each stamp.
    #[test]
    fn what_stays_is_what_neither_has_seen_replaced(a in records(), b in records()) {
        let stands = |record: &Record, text: &str| {
            let bytes: Value = serde_json::from_slice(&kind().encode(record)).unwrap();
            bytes["siblings"].as_array().unwrap().iter().any(|sibling| sibling["stamp"] == text)
        };
        let both = joined(&a, &b);
        for text in STAMPS {
            let (in_a, in_b) = (stands(&a, text), stands(&b, text));
            let (a_knows, b_knows) = (a.version().includes(&stamp(text)), b.version().includes(&stamp(text)));
            let stays = match (in_a, in_b) {
                (true, true) => true,
                (true, false) => !b_knows,
                (false, true) => !a_knows,
                (false, false) => false,
            };
            prop_assert_eq!(stands(&both, text), stays);
            prop_assert_eq!(both.version().includes(&stamp(text)), a_knows || b_knows);
        }
    }

    /// The outcome says whether there is something to store.
    #[test]
    fn known_is_what_changes_nothing(a in records(), b in records()) {
        let mut both = a.clone();
        let outcome = kind().join(&mut both, &b).unwrap();
        match outcome {
            Outcome::Known => prop_assert_eq!(both, a),
            Outcome::Applied => prop_assert_ne!(both, a),
            Outcome::Conflict(conflict) => prop_assert!(conflict.sides.len() > 1),
        }
    }
}

/// Two stores under one name is what must not be. Then it is at least seen, on both.
#[test]
fn two_writes_under_one_stamp_are_reported_as_a_conflict_everywhere() {
    let copy = |value: i8| {
        let siblings = BTreeMap::from([(0, (Some(value), true))]);
        kind().decode(&serde_json::to_vec(&record(&siblings, &BTreeSet::new())).unwrap()).unwrap()
    };
    let (mut one, mut other) = (copy(1), copy(2));
    let (first, second) = (one.clone(), other.clone());
    let here = kind().join(&mut one, &second).unwrap();
    let there = kind().join(&mut other, &first).unwrap();
    assert_eq!(one, other);
    assert_eq!(kind().read(&one).unwrap().value, Some(json!({"f": 2})));
    let conflict = here.conflict().expect("one of the writes is lost");
    assert_eq!(Some(conflict), there.conflict());
    assert_eq!(
        conflict.sides.iter().map(|side| side.value.clone().unwrap()["f"].clone()).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(conflict.lost.len(), 1);
    assert_eq!(conflict.lost[0].stamp, stamp("1-0@a"));
}
