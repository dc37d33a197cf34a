//! Some nodes, a record of theirs, and a post that delivers late, twice, out of order and not at all; beside each real copy the set of writes
//! that its node knows, and what follows from such sets by definition.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use snorri_records::{
    Clock, Conflict, ConflictId, Error, Outcome, Provisional, Record, RecordType, Rule, Stamp, Version, Write,
};

use super::{clock, greatest};

/// What happens next. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write {
        node: usize,
        change: Change,
    },
    /// Somebody who looked at the node's record some time ago decides.
    Decide {
        node: usize,
        looked: usize,
        value: i8,
    },
    Send {
        from: usize,
        to: usize,
    },
    Deliver {
        which: usize,
        again: bool,
    },
    /// Time goes on, and each node's wall clock is off by this much, in either direction.
    Pass {
        millis: u16,
        off: i16,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    Put(BTreeMap<&'static str, i8>),
    Set(BTreeMap<&'static str, Option<i8>>),
    Delete,
}

pub(crate) fn changes() -> impl Strategy<Value = Change> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        3 => prop::collection::btree_map(name(), 0..9_i8, 0..3).prop_map(Change::Put),
        4 => prop::collection::btree_map(name(), prop::option::weighted(0.8, 0..9_i8), 0..3).prop_map(Change::Set),
        2 => Just(Change::Delete),
    ]
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let node = || 0..5_usize;
    prop::collection::vec(
        prop_oneof![
            4 => (node(), changes()).prop_map(|(node, change)| Op::Write { node, change }),
            2 => (node(), 0..100_usize, 0..9_i8)
                .prop_map(|(node, looked, value)| Op::Decide { node, looked, value }),
            6 => (node(), node()).prop_map(|(from, to)| Op::Send { from, to }),
            5 => (0..100_usize, any::<bool>()).prop_map(|(which, again)| Op::Deliver { which, again }),
            1 => (0..3_000_u16, -1_900..1_900_i16).prop_map(|(millis, off)| Op::Pass { millis, off }),
        ],
        0..60,
    )
}

/// What a write said, what it replaced, what its writer was shown, and what its node knew.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    said: Said,
    replaced: BTreeSet<Stamp>,
    shown: BTreeSet<Stamp>,
    known: BTreeSet<Stamp>,
}

#[derive(Debug, Clone)]
enum Said {
    /// The value as a whole.
    Whole(Option<Value>),
    /// Field by field, and whether it said that the record is there.
    Fields(BTreeMap<String, Option<Value>>, bool),
    Delete,
}

pub(crate) struct Node {
    clock: Clock,
    pub(crate) record: Record,
    known: BTreeSet<Stamp>,
}

pub(crate) struct World {
    pub(crate) kind: RecordType,
    pub(crate) nodes: Vec<Node>,
    now: u64,
    off: i16,
    log: BTreeMap<Stamp, Fact>,
    post: Vec<(usize, Vec<u8>, BTreeSet<Stamp>)>,
    looked_at: Vec<BTreeSet<Stamp>>,
    conflicts: BTreeMap<ConflictId, Conflict>,
    expected: BTreeSet<BTreeSet<Stamp>>,
}

impl World {
    pub(crate) fn new(rule: Rule, nodes: usize) -> Self {
        let kind = RecordType::new("thing", rule).unwrap();
        let node = |n| Node {
            clock: clock(&format!("n{n}")),
            record: kind.record("t-1").unwrap(),
            known: BTreeSet::new(),
        };
        let nodes = (0..nodes).map(node).collect();
        Self {
            kind,
            nodes,
            now: 1_000_000,
            off: 0,
            log: BTreeMap::new(),
            post: Vec::new(),
            looked_at: Vec::new(),
            conflicts: BTreeMap::new(),
            expected: BTreeSet::new(),
        }
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        let count = self.nodes.len();
        match op {
            Op::Write { node, change } => self.write(node % count, change),
            Op::Decide { node, looked, value } => self.decide(node % count, *looked, *value),
            Op::Send { from, to } => {
                let from = &self.nodes[from % count];
                self.post.push((to % count, self.kind.encode(&from.record), from.known.clone()));
                self.looked_at.push(self.live(&from.known));
            }
            Op::Deliver { which, again } if !self.post.is_empty() => {
                let which = which % self.post.len();
                let (to, bytes, known) = self.post[which].clone();
                if !again {
                    self.post.swap_remove(which);
                }
                self.deliver(to, &bytes, &known);
            }
            Op::Deliver { .. } => {}
            Op::Pass { millis, off } => {
                self.now += u64::from(*millis);
                self.off = *off;
            }
        }
        for node in &self.nodes {
            self.check(node);
        }
    }

    /// Everybody hears from everybody.
    pub(crate) fn heal(&mut self) {
        for _ in 0..2 {
            for from in 0..self.nodes.len() {
                for to in 0..self.nodes.len() {
                    let from = &self.nodes[from];
                    let (bytes, known) = (self.kind.encode(&from.record), from.known.clone());
                    self.deliver(to, &bytes, &known);
                }
            }
        }
    }

    /// The wall clock of a node: each is off by another amount.
    fn wall(&self, node: usize) -> u64 {
        let off = if node.is_multiple_of(2) { self.off } else { -self.off };
        self.now.saturating_add_signed(i64::from(off))
    }

    fn tick(&mut self, node: usize) -> Stamp {
        let wall = self.wall(node);
        self.nodes[node].clock.tick(wall).expect("clocks differ by less than the bound")
    }

    fn write(&mut self, at: usize, change: &Change) {
        let stamp = self.tick(at);
        let known = self.nodes[at].known.clone();
        let live = self.live(&known);
        let (replaced, shown) = self.replaced_and_shown(&live, at);
        let visible = self.visible(&known);
        let object = |fields: &BTreeMap<&str, i8>| json!(fields);
        let write = match change {
            Change::Put(fields) => Write::put(stamp.clone(), "somebody", object(fields)),
            Change::Set(fields) => {
                let fields = fields.iter().map(|(name, value)| (*name, value.map(Value::from)));
                Write::set(stamp.clone(), "somebody", fields)
            }
            Change::Delete => Write::delete(stamp.clone(), "somebody"),
        };
        let said = self.said(change, visible);
        let outcome = self.kind.write(&mut self.nodes[at].record, write).expect("nothing wrong with it");
        self.written(at, &stamp, &outcome, Fact { said, replaced, shown, known });
    }

    fn decide(&mut self, at: usize, looked: usize, value: i8) {
        let Some(sides) = self.looked_at.get(looked % self.looked_at.len().max(1)).cloned() else { return };
        let stamp = self.tick(at);
        let known = self.nodes[at].known.clone();
        let replaced: BTreeSet<Stamp> = self.live(&known).intersection(&sides).cloned().collect();
        let decision = Write::put(stamp.clone(), "the boss", json!({ "a": value }));
        let outcome = self.kind.decide(&mut self.nodes[at].record, &sides, decision);
        if !matches!(self.kind.rule(), Rule::Manual(_)) {
            assert_eq!(outcome, Err(Error::NotManual));
            return;
        }
        if replaced.is_empty() {
            assert_eq!(outcome, Err(Error::AlreadySettled));
            return;
        }
        let said = Said::Whole(Some(json!({ "a": value })));
        let fact = Fact { said, shown: replaced.clone(), replaced, known };
        self.written(at, &stamp, &outcome.expect("one of the sides is live"), fact);
    }

    fn written(&mut self, at: usize, stamp: &Stamp, outcome: &Outcome, fact: Fact) {
        assert!(fact.known.iter().all(|known| known < stamp), "what it had seen has lesser stamps");
        self.nodes[at].known.insert(stamp.clone());
        assert!(self.log.insert(stamp.clone(), fact).is_none(), "a stamp names one write");
        let live = self.live(&self.nodes[at].known);
        self.expect(outcome, &live, true, true);
    }

    fn deliver(&mut self, to: usize, bytes: &[u8], known: &BTreeSet<Stamp>) {
        let incoming = self.kind.decode(bytes).unwrap();
        assert_eq!(self.kind.encode(&incoming), bytes);
        let wall = self.wall(to);
        let node = &mut self.nodes[to];
        if let Some(newest) = incoming.newest() {
            node.clock.observe(newest, wall).expect("clocks differ by less than the bound");
        }
        let outcome = self.kind.join(&mut node.record, &incoming).unwrap();
        let before = node.known.clone();
        node.known.extend(known.iter().cloned());
        let (before, after) = (before, node.known.clone());
        let live = self.live(&after);
        self.expect(&outcome, &live, before != after, live != self.live(&before));
    }

    /// An outcome is a conflict exactly if other writes than before stand side by side now.
    fn expect(&mut self, outcome: &Outcome, live: &BTreeSet<Stamp>, grew: bool, moved: bool) {
        match outcome {
            Outcome::Conflict(conflict) => {
                assert!(live.len() > 1 && moved, "{live:?} is no conflict, or no new one");
                let sides: Vec<&Stamp> = conflict.sides.iter().map(|side| &side.stamp).collect();
                assert!(sides.into_iter().eq(live), "{conflict:?} is not between {live:?}");
                self.expected.insert(live.clone());
                let first = self.conflicts.entry(conflict.id).or_insert_with(|| (**conflict).clone());
                assert_eq!(first, &**conflict, "one id, one conflict");
            }
            Outcome::Applied => assert!(grew && !(moved && live.len() > 1), "nothing new, or a conflict"),
            Outcome::Known => assert!(!grew, "something new"),
        }
    }

    fn live(&self, known: &BTreeSet<Stamp>) -> BTreeSet<Stamp> {
        let replaced: BTreeSet<&Stamp> = known.iter().flat_map(|stamp| &self.log[stamp].replaced).collect();
        known.iter().filter(|stamp| !replaced.contains(stamp)).cloned().collect()
    }

    /// Whether a write is one of these or was, however indirectly, replaced by one.
    fn in_history(&self, stamp: &Stamp, of: &BTreeSet<Stamp>) -> bool {
        of.iter().any(|later| later == stamp || self.in_history(stamp, &self.log[later].replaced))
    }

    fn replaced_and_shown(&self, live: &BTreeSet<Stamp>, at: usize) -> (BTreeSet<Stamp>, BTreeSet<Stamp>) {
        let newest: BTreeSet<Stamp> = live.last().cloned().into_iter().collect();
        let by = |node: &str| live.iter().filter(|s| s.node().as_str() == node).cloned().collect::<Vec<_>>();
        match self.kind.rule() {
            Rule::LastWriterWins => (live.clone(), newest),
            Rule::Manual(_) if live.len() < 2 => (live.clone(), live.clone()),
            Rule::Manual(Provisional::Fixed(_)) => {
                let own: BTreeSet<Stamp> = by(&format!("n{at}")).into_iter().collect();
                (own.clone(), own)
            }
            Rule::Manual(Provisional::Keep(node)) => {
                let kept = by(node.as_str()).last().cloned().map_or(newest, |stamp| BTreeSet::from([stamp]));
                (kept.clone(), kept)
            }
            Rule::Manual(_) => (newest.clone(), newest),
            Rule::FieldWise => (live.clone(), live.clone()),
            _ => {
                let present = |stamp: &&Stamp| matches!(self.log[stamp].said, Said::Whole(Some(_)));
                let values: BTreeSet<Stamp> = live.iter().filter(present).cloned().collect();
                (live.clone(), if values.is_empty() { live.clone() } else { values })
            }
        }
    }

    fn said(&self, change: &Change, visible: Option<Value>) -> Said {
        let before: Map<String, Value> = visible.and_then(|v| v.as_object().cloned()).unwrap_or_default();
        let field_wise = matches!(self.kind.rule(), Rule::FieldWise);
        match change {
            Change::Delete if field_wise => Said::Delete,
            Change::Delete => Said::Whole(None),
            Change::Put(fields) if field_wise => {
                let new = fields.iter().map(|(name, value)| ((*name).to_owned(), Some(json!(value))));
                let gone = before.keys().map(|name| (name.clone(), None));
                let mut all: BTreeMap<String, Option<Value>> = gone.collect();
                all.extend(new);
                all.retain(|name, value| before.get(name) != value.as_ref());
                Said::Fields(all, true)
            }
            Change::Put(fields) => Said::Whole(Some(json!(fields))),
            Change::Set(fields) => {
                let fields: BTreeMap<String, Option<Value>> =
                    fields.iter().map(|(name, value)| ((*name).to_owned(), value.map(Value::from))).collect();
                if field_wise {
                    let keeps = fields.values().any(Option::is_some);
                    return Said::Fields(fields, keeps);
                }
                let mut all = before;
                for (name, value) in fields {
                    match value {
                        Some(value) => _ = all.insert(name, value),
                        None => _ = all.remove(&name),
                    }
                }
                Said::Whole(Some(Value::Object(all)))
            }
        }
    }

    /// What a set of writes shows, by definition.
    pub(crate) fn visible(&self, known: &BTreeSet<Stamp>) -> Option<Value> {
        let live = self.live(known);
        let whole = |stamp: &Stamp| match &self.log[stamp].said {
            Said::Whole(value) => value.clone(),
            _ => None,
        };
        match self.kind.rule() {
            Rule::FieldWise => {
                Self::replay(&known.iter().map(|stamp| (stamp, &self.log[stamp])).collect::<Vec<_>>())
            }
            Rule::Merge(_) => live.iter().filter_map(whole).reduce(|one, other| greatest(&one, &other)),
            Rule::Manual(Provisional::Fixed(value)) if live.len() > 1 => value.clone(),
            _ => self.replaced_and_shown(&live, 0).1.last().and_then(whole),
        }
    }

    /// The field-wise rule, by definition: all writes one after the other in the order of their stamps.
    fn replay(writes: &[(&Stamp, &Fact)]) -> Option<Value> {
        let mut there = false;
        let mut fields = Map::new();
        for (_, fact) in writes {
            match &fact.said {
                Said::Delete => {
                    there = false;
                    fields.clear();
                }
                Said::Fields(changes, keeps) => {
                    there |= keeps;
                    for (name, value) in changes {
                        match value {
                            Some(value) => _ = fields.insert(name.clone(), value.clone()),
                            None => _ = fields.remove(name),
                        }
                    }
                }
                Said::Whole(_) => {}
            }
        }
        there.then_some(Value::Object(fields))
    }

    /// A copy is what the writes that its node knows make it.
    fn check(&self, node: &Node) {
        let version: Version = node.known.iter().cloned().collect();
        assert_eq!(node.record.version(), &version);
        let shown = self.kind.read(&node.record);
        assert_eq!(shown.is_some(), !node.known.is_empty());
        assert_eq!(shown.as_ref().and_then(|shown| shown.value.clone()), self.visible(&node.known));
        let live = self.live(&node.known);
        let standing = self.kind.conflict(&node.record);
        let sides = standing.iter().flat_map(|conflict| &conflict.sides).map(|side| &side.stamp);
        assert!(sides.eq(live.iter().filter(|_| live.len() > 1)));
        if let ([only], Some(shown)) = (Vec::from_iter(&live).as_slice(), &shown) {
            assert_eq!(&&shown.last_updated, only);
        }
        let waits = matches!(self.kind.rule(), Rule::Manual(_)) && live.len() > 1;
        assert_eq!(shown.is_some_and(|shown| shown.provisional), waits);
    }

    /// After all have heard of everything: equal copies, and an account of every write.
    pub(crate) fn audit(&self) {
        let all: BTreeSet<Stamp> = self.log.keys().cloned().collect();
        let bytes = self.kind.encode(&self.nodes[0].record);
        for node in &self.nodes {
            assert_eq!(node.known, all);
            self.check(node);
            assert_eq!(self.kind.encode(&node.record), bytes, "copies that know the same are the same bytes");
        }
        assert_eq!(
            self.conflicts.len(),
            self.expected.len(),
            "each combination has one id, each id one combination"
        );
        let lost: BTreeSet<(Stamp, Option<String>)> = self
            .conflicts
            .values()
            .flat_map(|c| &c.lost)
            .map(|l| (l.stamp.clone(), l.field.clone()))
            .collect();
        let live = self.live(&all);
        let (_, visible) = self.replaced_and_shown(&live, 0);
        let waits = matches!(self.kind.rule(), Rule::Manual(_));
        let there = self.visible(&all).is_some();
        for (stamp, fact) in &self.log {
            // Those that had been shown this one, or what had replaced it.
            let later: Vec<&Fact> =
                self.log.values().filter(|later| self.in_history(stamp, &later.replaced)).collect();
            match &fact.said {
                Said::Whole(_) => {
                    let replaced = later.iter().any(|later| later.shown.contains(stamp));
                    let is_shown = visible.contains(stamp) || (waits && live.contains(stamp));
                    assert!(
                        is_shown || replaced || lost.contains(&(stamp.clone(), None)),
                        "{stamp} vanished"
                    );
                }
                Said::Delete => {
                    let kept =
                        later.iter().any(|later| matches!(later.said, Said::Fields(_, true) | Said::Delete));
                    assert!(
                        !there || kept || lost.contains(&(stamp.clone(), None)),
                        "the delete {stamp} vanished"
                    );
                }
                Said::Fields(changes, _) => {
                    for name in changes.keys() {
                        let says = |said: &Said| match said {
                            Said::Fields(changes, _) => changes.contains_key(name),
                            Said::Delete | Said::Whole(_) => true,
                        };
                        let newest =
                            self.log.iter().rfind(|(_, fact)| says(&fact.said)).map(|(stamp, _)| stamp);
                        let overwritten = later.iter().any(|later| says(&later.said));
                        let told = lost.contains(&(stamp.clone(), Some(name.clone())));
                        assert!(newest == Some(stamp) || overwritten || told, "{name} of {stamp} vanished");
                    }
                }
            }
        }
    }
}
