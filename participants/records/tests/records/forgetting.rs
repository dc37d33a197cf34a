//! Forgetting: retired nodes leave the versions, deleted records go, and nothing else is lost by it.

use proptest::prelude::*;
use serde_json::{Value, json};
use snorri_records::{
    AlreadyRetired, Clock, DecodeError, Outcome, Record, RecordType, Retired, Rule, Stamp, Tick, Version,
    Write,
};

use super::{clock, config, greatest, stamp};

/// Write, delete, or hear from another: `(what, node, other)`.
type Step = (u8, usize, usize);

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..8_u8, 0..3_usize, 0..3_usize), 0..most)
}

/// Three nodes, of which the last will retire, and copies from on the way.
struct Three {
    kind: RecordType,
    clocks: Vec<Clock>,
    copies: Vec<Record>,
    now: u64,
    old: Vec<Record>,
    newest: Option<(Stamp, Option<Value>)>,
}

impl Three {
    fn new(rule: Rule) -> Self {
        let kind = RecordType::new("thing", rule).unwrap();
        let copies = vec![kind.record("t-1").unwrap(); 3];
        let clocks = ["a", "b", "r"].map(clock).into();
        Self { kind, clocks, copies, now: 10, old: Vec::new(), newest: None }
    }

    fn step(&mut self, (what, node, other): Step, writers: usize) {
        self.now += 1;
        self.old.push(self.copies[node].clone());
        match what {
            0..=2 if node < writers => self.write(node, Some(json!({ "f": self.now, "g": node }))),
            3 if node < writers => self.write(node, None),
            4 if node < writers => {
                let stamp = self.clocks[node].tick(self.now).unwrap();
                let write = Write::set(stamp, "x", [(["f", "g"][other % 2], Some(json!(self.now)))]);
                let _ = self.kind.write(&mut self.copies[node], write).unwrap();
            }
            _ => self.hear(node, other),
        }
    }

    fn write(&mut self, node: usize, value: Option<Value>) {
        let stamp = self.clocks[node].tick(self.now).unwrap();
        let write = match &value {
            Some(value) => Write::put(stamp.clone(), "x", value.clone()),
            None => Write::delete(stamp.clone(), "x"),
        };
        let _ = self.kind.write(&mut self.copies[node], write).unwrap();
        self.newest = self.newest.take().max_by_stamp((stamp, value));
    }

    fn hear(&mut self, node: usize, other: usize) {
        let incoming = self.copies[other].clone();
        self.clocks[node].observe(incoming.newest().unwrap_or_default(), self.now).unwrap();
        let _ = self.kind.join(&mut self.copies[node], &incoming).unwrap();
    }

    fn heal(&mut self) {
        for (node, other) in (0..18).map(|n| (n % 3, n / 3 % 3)) {
            self.hear(node, other);
        }
    }
}

trait MaxByStamp {
    fn max_by_stamp(self, other: (Stamp, Option<Value>)) -> Self;
}

impl MaxByStamp for Option<(Stamp, Option<Value>)> {
    fn max_by_stamp(self, other: (Stamp, Option<Value>)) -> Self {
        Some(self.filter(|this| this.0 > other.0).unwrap_or(other))
    }
}

fn whole_or_fields() -> impl Strategy<Value = Rule> {
    prop_oneof![Just(Rule::LastWriterWins), Just(Rule::FieldWise), Just(Rule::merge(greatest))]
}

proptest! {
    #![proptest_config(config())]

    /// A node retires, the others have all its writes, and one of them prunes: whatever it then hears, late copies too, it is what it
    /// would be without.
    #[test]
    fn a_pruned_copy_is_an_unpruned_one(rule in whole_or_fields(), before in steps(30), after in steps(15), late: usize) {
        let mut three = Three::new(rule);
        for step in &before {
            three.step(*step, 3);
        }
        three.heal();
        let mut retired = Retired::default();
        // Its last write may be one of another record.
        retired.retire(Stamp::new(Tick::new(three.now, 7).unwrap(), "r".parse().unwrap())).unwrap();
        three.now += 1;
        let kind = three.kind.clone().with_retired(retired);
        let whole = three.copies[0].clone();
        let changed = kind.prune(&mut three.copies[0]);
        prop_assert_eq!(changed, !whole.version().is_empty());
        let pruned = three.copies[0].clone();
        prop_assert!(!kind.prune(&mut three.copies[0].clone()), "once is enough");
        prop_assert_eq!(kind.leaf(&pruned), kind.leaf(&whole), "digests do not see it");
        prop_assert_eq!(kind.read(&pruned).map(|r| r.value), kind.read(&whole).map(|r| r.value));
        prop_assert!(kind.encode(&pruned).len() <= kind.encode(&whole).len() + r#","retired":1"#.len());
        prop_assert_eq!(kind.decode(&kind.encode(&pruned)).unwrap(), pruned.clone());
        // One is news to the other and no conflict, since both know the same writes.
        let mut joined = pruned.clone();
        prop_assert_eq!(kind.join(&mut joined, &whole).unwrap(), Outcome::Known);
        let mut joined = whole.clone();
        let news = if changed { Outcome::Applied } else { Outcome::Known };
        prop_assert_eq!(kind.join(&mut joined, &pruned).unwrap(), news);
        prop_assert_eq!(&joined, &pruned);
        for node in [0, 1] {
            let last = three.kind.decode(&three.kind.encode(&three.copies[node])).unwrap().newest();
            three.clocks[node].observe(last.unwrap_or_default(), three.now).unwrap();
        }

        // Both go on, with and without pruning.
        let mut plain = Three { copies: vec![whole.clone(), three.copies[1].clone(), three.copies[2].clone()],
            clocks: three.clocks.clone(), kind: kind.clone(), now: three.now, old: Vec::new(), newest: None };
        let old = three.old.clone();
        three.kind = kind.clone();
        for step in &after {
            three.step(*step, 2);
            plain.step(*step, 2);
        }
        for (one, other) in three.copies.iter().zip(&plain.copies) {
            prop_assert_eq!(kind.leaf(one), kind.leaf(other));
            prop_assert_eq!(&kind.decode(&kind.encode(one)).unwrap(), one);
            prop_assert_eq!(kind.read(one).map(|r| r.value), kind.read(other).map(|r| r.value));
        }
        // A late copy, from before: of the one who knows of everything it changes nothing.
        if let Some(late) = old.get(late % old.len().max(1)) {
            let mut joined = three.copies[0].clone();
            let _ = kind.join(&mut joined, late).unwrap();
            prop_assert_eq!(&joined, &three.copies[0]);
            let mut joined = late.clone();
            let _ = kind.join(&mut joined, &three.copies[0]).unwrap();
            prop_assert_eq!(&joined, &three.copies[0]);
        }
    }

    /// Deleted records are forgotten at one node after the other, while writes go on: the newest write of all is what is visible in the end.
    #[test]
    fn a_record_that_was_forgotten_can_be_written_anew(
        steps in prop::collection::vec((0..8_u8, 0..3_usize, 0..3_usize, 0..4_u8), 0..60),
    ) {
        let mut three = Three::new(Rule::LastWriterWins);
        let mut confirmed: Vec<Option<Version>> = vec![None; 3];
        for (what, node, other, forget) in steps {
            if what != 4 {
                three.step((what, node, other), 3);
            }
            let versions: Vec<Version> = three.copies.iter().map(|copy| copy.version().clone()).collect();
            if three.copies[node].may_collect(&versions) {
                // All have confirmed to all. Each forgets when it comes to it, if it has not been written since.
                confirmed = vec![Some(versions[node].clone()); 3];
            }
            let copy = &mut three.copies[other];
            if forget == 0 && confirmed[other].as_ref() == Some(copy.version()) {
                *copy = three.kind.record("t-1").unwrap();
                confirmed[other] = None;
            }
        }
        three.heal();
        prop_assert_eq!(&three.copies[0], &three.copies[1]);
        prop_assert_eq!(&three.copies[0], &three.copies[2]);
        let visible = three.kind.read(&three.copies[0]).and_then(|shown| shown.value);
        prop_assert_eq!(visible, three.newest.and_then(|(_, value)| value));
    }
}

#[test]
fn only_what_everybody_knows_to_be_deleted_may_be_forgotten() {
    let kind = RecordType::new("thing", Rule::FieldWise).unwrap();
    let mut record = kind.record("t-1").unwrap();
    assert!(!record.may_collect(&[record.version().clone()]), "there is nothing");
    let _ = kind.write(&mut record, Write::put(stamp("1-0@a"), "x", json!({"f": 1}))).unwrap();
    assert!(!record.may_collect(&[record.version().clone()]), "it is not deleted");
    let mut other = record.clone();
    let _ = kind.write(&mut record, Write::delete(stamp("2-0@a"), "x")).unwrap();
    let version = record.version().clone();
    assert!(record.may_collect(&[version.clone(), version.clone()]));
    assert!(!record.may_collect(&[]), "nobody has confirmed");
    assert!(!record.may_collect(&[version.clone(), Version::default()]), "one has not confirmed");
    let _ = kind.write(&mut other, Write::set(stamp("3-0@b"), "x", [("f", Some(json!(2)))])).unwrap();
    assert!(
        !record.may_collect(&[version.clone(), other.version().clone()]),
        "one knows of another write instead"
    );
    let _ = kind.join(&mut record, &other).unwrap();
    assert!(!record.may_collect(&[record.version().clone()]), "a field is there again");
}

#[test]
fn a_shorter_list_of_retired_nodes_is_asked_for_first() {
    let plain = RecordType::new("thing", Rule::FieldWise).unwrap();
    let mut record = plain.record("t-1").unwrap();
    let _ = plain.write(&mut record, Write::put(stamp("1-0@r"), "x", json!({"f": 1}))).unwrap();
    let mut retired = Retired::default();
    retired.retire(stamp("5-0@r")).unwrap();
    assert_eq!(retired.retire(stamp("6-0@r")), Err(AlreadyRetired(stamp("6-0@r"))));
    let kind = plain.clone().with_retired(retired.clone());
    assert!(kind.prune(&mut record));
    let bytes = kind.encode(&record);
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(r#""retired":1"#) && text.contains(r#""version":{}"#), "{text}");
    let error = plain.decode(&bytes).unwrap_err();
    assert!(matches!(error, DecodeError::UnknownRetirement { needed: 1, known: 0 }), "{error}");
    // A list travels as JSON.
    let list = serde_json::to_string(&retired).unwrap();
    assert_eq!(list, r#"["5-0@r"]"#);
    let again: Retired = serde_json::from_str(&list).unwrap();
    assert_eq!(plain.with_retired(again).decode(&bytes).unwrap(), record);
    assert!(serde_json::from_str::<Retired>(r#"["5-0@r","6-0@r"]"#).is_err());
}

/// A record that nobody has written is not made known by pruning it.
#[test]
fn nothing_is_pruned_of_nothing() {
    let mut retired = Retired::default();
    retired.retire(stamp("5-0@r")).unwrap();
    let kind = RecordType::new("thing", Rule::LastWriterWins).unwrap().with_retired(retired);
    let mut record = kind.record("t-1").unwrap();
    assert!(!kind.prune(&mut record));
    assert!(record.version().is_empty());
}
