//! Whether the ends of the sagas follow from their orders: an orchestrator that undid every order would keep the books in
//! balance, and must not pass.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use snorri_demo::{Accepted, EndStatus, Explained, Findings, Invariant, Records, explain, is_good};
use uuid::Uuid;

/// Of a hundred good orders, the most that may be undone because a trouble took their attempts or their time.
const GAVE_UP_PERCENT: u64 = 20;

/// What became of the good orders: those that a healthy system completes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Good {
    pub(super) orders: u64,
    /// Undone all the same, by the kind of cause.
    pub(super) gave_up: BTreeMap<String, u64>,
}

/// Compares the end of each saga that was answered for with its order, which `order_of` tells from the key.
pub(super) fn ends(
    accepted: &[Accepted],
    order_of: impl Fn(&str) -> Option<Value>,
    records: &Records,
    findings: &mut Findings,
) -> Good {
    // A start that was repeated is here several times.
    let sagas: HashMap<Uuid, &str> = accepted.iter().map(|of| (of.saga, of.key.as_str())).collect();
    let mut good = Good::default();
    for (saga, key) in sagas {
        // What is gone is told of by another invariant.
        let Some(end) = records.ends.get(&saga).filter(|end| **end != EndStatus::Open) else { continue };
        findings.checked(Invariant::EndsExplained, 1);
        let Some(order) = order_of(key) else {
            findings.wrong(Invariant::EndsExplained, format!("saga {saga} has the key {key}, of no order"));
            continue;
        };
        let is_good = is_good(&order);
        good.orders += u64::from(is_good);
        match explain(&order, *end, records.whys.get(&saga)) {
            Explained::ByTrouble(kind) if is_good => *good.gave_up.entry(kind).or_default() += 1,
            Explained::ByOrder | Explained::ByTrouble(_) => {}
            Explained::Not(why) => {
                findings.wrong(Invariant::EndsExplained, format!("saga {saga} ({key}): {why}"));
            }
        }
    }
    let gave_up: u64 = good.gave_up.values().sum();
    if gave_up * 100 > good.orders * GAVE_UP_PERCENT {
        findings.wrong(
            Invariant::EndsExplained,
            format!(
                "{gave_up} of {} good orders were undone, more than {GAVE_UP_PERCENT} %: {:?}",
                good.orders, good.gave_up
            ),
        );
    }
    good
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use snorri_demo::Why;

    use super::*;

    /// Ten sagas: the first `undone` of them compensated for this reason, the others completed.
    fn run(undone: u128, why: &Why, order: &Value) -> (Good, Findings) {
        let mut records = Records::default();
        let mut accepted = Vec::new();
        for n in 0..10 {
            let saga = Uuid::from_u128(n);
            let is_undone = n < undone;
            let end = if is_undone { EndStatus::Compensated } else { EndStatus::Completed };
            records.ends.insert(saga, end);
            if is_undone {
                records.whys.insert(saga, why.clone());
            }
            // Each was answered twice.
            accepted.extend([(); 2].map(|()| Accepted { key: format!("k{n}"), saga }));
        }
        let mut findings = Findings::default();
        let good = ends(&accepted, |_| Some(order.clone()), &records, &mut findings);
        (good, findings)
    }

    fn good_order() -> Value {
        json!({"amount_cents": 5, "lines": [], "card": "4242-4242", "address": {"town": "oddi"}})
    }

    fn timed_out() -> Why {
        Why { kind: "timed_out".to_owned(), step: "hold".to_owned(), attempts: 3, ..Why::default() }
    }

    #[test]
    fn a_fifth_of_the_good_orders_may_be_lost_to_troubles_and_no_more() {
        let (good, findings) = run(2, &timed_out(), &good_order());
        assert_eq!(good, Good { orders: 10, gave_up: BTreeMap::from([("timed_out".to_owned(), 2)]) });
        assert_eq!((findings.count(Invariant::EndsExplained), findings.problems().len()), (10, 0));
        for undone in [3, 10] {
            let (_, findings) = run(undone, &timed_out(), &good_order());
            let found: Vec<&str> = findings.of(Invariant::EndsExplained).collect();
            let words = format!("{undone} of 10 good orders were undone, more than 20 %");
            assert!(found.len() == 1 && found[0].starts_with(&words), "{found:?}");
        }
    }

    #[test]
    fn a_good_order_that_is_undone_for_no_reason_is_found_each_time() {
        let why = Why { kind: "rejected".to_owned(), code: "card_refused".to_owned(), ..timed_out() };
        let (good, findings) = run(4, &why, &good_order());
        assert!(good.gave_up.is_empty());
        assert_eq!(findings.of(Invariant::EndsExplained).count(), 4);
    }

    #[test]
    fn a_bad_order_that_is_completed_is_found_and_one_that_a_trouble_undid_is_not() {
        let mut order = good_order();
        order["trouble"] = json!({"shipping": "carrier_refused"});
        let (good, findings) = run(4, &timed_out(), &order);
        assert_eq!(good, Good::default());
        assert_eq!(findings.of(Invariant::EndsExplained).count(), 6, "{findings:?}");
    }

    #[test]
    fn a_key_of_no_order_is_found() {
        let records = Records {
            ends: HashMap::from([(Uuid::from_u128(1), EndStatus::Completed)]),
            ..Records::default()
        };
        let accepted = [Accepted { key: "whose".to_owned(), saga: Uuid::from_u128(1) }];
        let mut findings = Findings::default();
        ends(&accepted, |_| None, &records, &mut findings);
        assert_eq!(findings.of(Invariant::EndsExplained).count(), 1);
    }
}
