//! Merge functions, and the check of their laws.

use proptest::prelude::*;
use serde_json::{Value, json};
use snorri_records::laws::{self, Law};
use snorri_records::{RecordType, Rule, Write};

use super::{config, greatest, stamp};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_lawful_merge_passes(values in prop::collection::vec(prop::collection::btree_map("[a-c]", 0..5_u8, 0..3), 0..5)) {
        let values: Vec<Value> = values.iter().map(|value| json!(value)).collect();
        prop_assert_eq!(laws::check(greatest, &values), Ok(()));
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

#[test]
fn each_law_that_is_broken_is_named_with_the_values_that_show_it() {
    let values = [json!(0), json!(1), json!(3)];
    let check = |merge: fn(&Value, &Value) -> Value| laws::check(merge, &values).unwrap_err();

    let sum = check(|a, b| json!(number(a) + number(b)));
    assert_eq!(
        (sum.law, sum.to_string().as_str()),
        (Law::Idempotent, "the merge is not idempotent: merge(1, 1) = 2")
    );
    let first = check(|a, _| a.clone());
    assert_eq!(first.law, Law::Commutative);
    assert_eq!(first.to_string(), "the merge is not commutative: merge(0, 1) = 0, and merge(1, 0) = 1");
    let middle = check(|a, b| json!(i64::midpoint(number(a), number(b))));
    assert_eq!(middle.law, Law::Idempotent);
    assert_eq!(
        middle.to_string(),
        "the merge is not idempotent: merge(0, 3) = 1, and merging 3 once more = 2"
    );
    // Rock, paper, scissors: whoever beats the other.
    let beats = check(|a, b| match (number(a), number(b)) {
        (0, 1) | (1, 0) => json!(1),
        (1, 3) | (3, 1) => json!(3),
        (0, 3) | (3, 0) => json!(0),
        _ => a.clone(),
    });
    assert_eq!(beats.law, Law::Associative);
    assert_eq!(
        beats.to_string(),
        "the merge is not associative: merge(merge(0, 1), 3) = 3, and merge(0, merge(1, 3)) = 0"
    );
}

#[test]
fn a_merge_that_depends_on_more_than_its_arguments_is_found() {
    let calls = std::cell::Cell::new(0);
    let counts = |a: &Value, b: &Value| {
        calls.set(calls.get() + 1);
        if a == b { a.clone() } else { json!(calls.get()) }
    };
    let broken = laws::check(counts, &[json!(0), json!(1)]).unwrap_err();
    assert_eq!(broken.law, Law::Deterministic);
    assert!(broken.to_string().contains("the next time"), "{broken}");
}

#[test]
fn siblings_are_merged_from_the_oldest_to_the_newest_and_a_delete_does_not_count() {
    // Not commutative, to see the order.
    let chained = |a: &Value, b: &Value| json!(format!("{}{}", a.as_str().unwrap(), b.as_str().unwrap()));
    let kind = RecordType::new("tags", Rule::merge(chained)).unwrap();
    let written = |at: &str, value: Option<&str>| {
        let mut record = kind.record("t").unwrap();
        let write = match value {
            Some(value) => Write::put(stamp(at), "x", json!(value)),
            None => Write::delete(stamp(at), "x"),
        };
        let _ = kind.write(&mut record, write).unwrap();
        record
    };
    let mut all = written("9-0@d", None);
    for other in [written("2-0@a", Some("2")), written("3-0@b", Some("3")), written("1-0@c", Some("1"))] {
        let _ = kind.join(&mut all, &other).unwrap();
    }
    assert_eq!(kind.read(&all).unwrap().value, Some(json!("123")));
    let conflict = kind.conflict(&all).unwrap();
    assert_eq!((conflict.lost.len(), conflict.lost[0].stamp.clone()), (1, stamp("9-0@d")), "the delete");

    let mut gone = written("1-0@a", None);
    let _ = kind.join(&mut gone, &written("2-0@b", None)).unwrap();
    assert_eq!(kind.read(&gone).unwrap().value, None);
    assert_eq!(kind.conflict(&gone).unwrap().lost, []);
}
