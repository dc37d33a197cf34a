//! Digests: equal if and only if the sets are, and the way down to what differs.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;
use snorri_records::{Bucket, DigestError, Digests, Leaf, RecordType, Rule, Stamp, Summary, Tick, Write};

use super::{clock, config};

/// A set of records by their ids, each with the time of its write.
type Set = BTreeMap<u8, u64>;

fn sets() -> impl Strategy<Value = Set> {
    prop::collection::btree_map(0..60_u8, 1..3_u64, 0..30)
}

fn leaf(id: u8, at: u64) -> Leaf {
    let kind = RecordType::new("thing", Rule::LastWriterWins).unwrap();
    let mut record = kind.record(&format!("t-{id}")).unwrap();
    let stamp = Stamp::new(Tick::new(at, 0).unwrap(), "a".parse().unwrap());
    let _ = kind.write(&mut record, Write::put(stamp, "x", json!(id))).unwrap();
    kind.leaf(&record)
}

fn digests(set: &Set, depth: u8) -> Digests {
    let mut digests = Digests::new(depth).unwrap();
    for (id, at) in set {
        digests.add(&leaf(*id, *at));
    }
    digests
}

/// All the way down, as two nodes do it, with what they send each other.
fn differing(nodes: &[&Digests]) -> Vec<Bucket> {
    let mut differ = vec![Bucket::ALL];
    for _ in 0..nodes[0].depth() {
        let sent = nodes.iter().map(|digests| serde_json::to_string(&digests.summary(&differ)).unwrap());
        let received: Vec<Summary> = sent.map(|text| serde_json::from_str(&text).unwrap()).collect();
        differ = Summary::differing(&received).unwrap();
    }
    differ
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn they_are_equal_if_and_only_if_the_sets_are(one in sets(), other in sets(), depth in 1..=3_u8) {
        let (a, b) = (digests(&one, depth), digests(&other, depth));
        prop_assert_eq!(a == b, one == other);
        prop_assert_eq!(a.root() == b.root(), one == other);
    }

    /// The way down leads to the buckets of the records that differ, and to no others.
    #[test]
    fn what_differs_is_found(sets in prop::collection::vec(sets(), 2..4), depth in 1..=3_u8) {
        let nodes: Vec<Digests> = sets.iter().map(|set| digests(set, depth)).collect();
        let ids: BTreeSet<u8> = sets.iter().flat_map(BTreeMap::keys).copied().collect();
        let differs = |id: &u8| sets.iter().any(|set| set.get(id) != sets[0].get(id));
        let found = differing(&nodes.iter().collect::<Vec<_>>());
        for id in &ids {
            prop_assert!(!differs(id) || found.iter().any(|bucket| bucket.contains(&leaf(*id, 1))), "{} is not found", id);
        }
        for bucket in &found {
            prop_assert_eq!(bucket.depth(), depth);
            prop_assert!(ids.iter().any(|id| differs(id) && bucket.contains(&leaf(*id, 1))), "{} is the same", bucket);
        }
    }

    /// Changed one by one, in any order, they are as if made at once.
    #[test]
    fn changes_add_up(before in sets(), after in sets(), seed: u64) {
        let mut digests = digests(&before, 2);
        let mut changes: Vec<(bool, Leaf)> = Vec::new();
        for id in 0..60 {
            if before.get(&id) != after.get(&id) {
                changes.extend(before.get(&id).map(|at| (false, leaf(id, *at))));
                changes.extend(after.get(&id).map(|at| (true, leaf(id, *at))));
            }
        }
        changes.sort_by_key(|(_, leaf)| leaf.hash() ^ u128::from(seed));
        for (is_new, leaf) in changes {
            let leaf = Leaf::from_parts(leaf.place(), leaf.hash());
            if is_new { digests.add(&leaf) } else { digests.remove(&leaf) }
        }
        prop_assert_eq!(digests, super::digests::digests(&after, 2));
    }
}

#[test]
fn a_single_difference_costs_one_bucket_of_each_level() {
    let all: Set = (0..250).map(|id| (id, 1)).collect();
    let mut other = all.clone();
    other.insert(77, 2);
    let (here, there) = (digests(&all, 4), digests(&other, 4));
    let found = differing(&[&here, &there]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), format!("{:08x}", leaf(77, 1).place())[..4]);
    assert_eq!(found[0].to_string().parse(), Ok(found[0]));
    assert_eq!(
        Summary::differing(&[here.summary(&found), there.summary(&found)]),
        Ok(found),
        "the last level"
    );
}

#[test]
fn the_same_content_in_another_record_is_another_leaf() {
    let (a, b) = (leaf(1, 1), leaf(2, 1));
    assert_ne!((a.place(), a.hash()), (b.place(), b.hash()));
    let mut clock = clock("a");
    let stamp = clock.tick(1).unwrap();
    let of = |name: &str| {
        let kind = RecordType::new(name, Rule::LastWriterWins).unwrap();
        let mut record = kind.record("t-1").unwrap();
        let _ = kind.write(&mut record, Write::put(stamp.clone(), "x", json!(1))).unwrap();
        kind.leaf(&record)
    };
    assert_ne!(of("thing").hash(), of("other").hash());
}

#[test]
fn what_cannot_be_compared_is_refused() {
    assert_eq!(Digests::new(0), Err(DigestError::Depth(0)));
    assert_eq!(Digests::new(6), Err(DigestError::Depth(6)));
    let (two, three) = (Digests::new(2).unwrap(), Digests::new(3).unwrap());
    let (a, b) = (two.summary(&[Bucket::ALL]), three.summary(&[Bucket::ALL]));
    assert_eq!(Summary::differing(&[a.clone(), b]), Err(DigestError::Buckets));
    let elsewhere = two.summary(&["1".parse().unwrap()]);
    assert_eq!(Summary::differing(&[a.clone(), elsewhere]), Err(DigestError::Buckets));
    let newer = serde_json::to_string(&a).unwrap().replace(r#""format":1"#, r#""format":2"#);
    let newer = serde_json::from_str(&newer).unwrap();
    assert_eq!(Summary::differing(&[a, newer]), Err(DigestError::Formats(1, 2)));
    assert_eq!(Summary::differing(&[]), Ok(vec![]));
    for wrong in ["0123456", "G", "A", "-1"] {
        assert!(wrong.parse::<Bucket>().is_err(), "{wrong}");
    }
    assert_eq!(two.summary(&["abc".parse().unwrap()]), two.summary(&[]), "deeper than the tree");
}
