//! Version vectors: a partial order, and joins that are least upper bounds.

use std::cmp::Ordering;

use proptest::prelude::*;
use snorri_records::{Stamp, Tick, Version};

use super::{config, stamp};

fn stamps() -> impl Strategy<Value = Vec<Stamp>> {
    let one = (0..4_u64, 0..2_u16, prop::sample::select(vec!["a", "b", "c"]));
    let one = one.prop_map(|(millis, count, node)| {
        Stamp::new(Tick::new(millis, count).unwrap(), node.parse().unwrap())
    });
    prop::collection::vec(one, 0..5)
}

fn versions() -> impl Strategy<Value = Version> {
    stamps().prop_map(|stamps| stamps.into_iter().collect())
}

fn joined(one: &Version, other: &Version) -> Version {
    let mut both = one.clone();
    both.join(other);
    both
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn it_is_a_partial_order(a in versions(), b in versions(), c in versions()) {
        prop_assert!(a <= a);
        prop_assert_eq!(a <= b && b <= a, a == b);
        prop_assert!(!(a <= b && b <= c) || a <= c);
        prop_assert_eq!(a.partial_cmp(&b), b.partial_cmp(&a).map(Ordering::reverse));
    }

    /// By definition: who knows of a write knows of all earlier ones of its node.
    #[test]
    fn it_knows_what_it_was_told(told in stamps(), asked in stamps()) {
        let version: Version = told.iter().cloned().collect();
        for write in &asked {
            let known = told.iter().any(|t| t.node() == write.node() && t.tick() >= write.tick());
            prop_assert_eq!(version.includes(write), known);
        }
        let other: Version = asked.iter().cloned().collect();
        prop_assert_eq!(other <= version, asked.iter().all(|write| version.includes(write)));
        prop_assert_eq!(version.newest(), told.iter().map(Stamp::tick).max());
        prop_assert_eq!(version.iter().collect::<Version>(), version.clone());
        prop_assert_eq!(version.is_empty(), told.is_empty());
        prop_assert_eq!(version.iter().count(), version.len());
    }

    #[test]
    fn a_join_is_the_least_upper_bound(a in versions(), b in versions(), other in versions()) {
        let both = joined(&a, &b);
        prop_assert!(a <= both && b <= both);
        let above = joined(&both, &other);
        prop_assert!(both <= above);
        prop_assert!(!(a <= other && b <= other) || both <= other, "no smaller one is above both");
        prop_assert_eq!(joined(&b, &a), both.clone());
        prop_assert_eq!(joined(&both, &both), both.clone());
        prop_assert_eq!(joined(&a, &joined(&b, &other)), above);
    }
}

#[test]
fn two_that_each_know_something_are_concurrent() {
    let version = |texts: &[&str]| texts.iter().map(|text| stamp(text)).collect::<Version>();
    let (one, other) = (version(&["2-0@a", "1-0@b"]), version(&["1-0@a", "1-1@b"]));
    assert_eq!(one.partial_cmp(&other), None);
    assert_eq!(joined(&one, &other), version(&["2-0@a", "1-1@b"]));
    assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"a":"2-0","b":"1-0"}"#);
}
