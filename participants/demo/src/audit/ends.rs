//! Whether a saga's end follows from its order, or else from a trouble that took its attempts or its time. An
//! orchestrator that undid everything would keep all books balanced: this is what it is found by.

use serde::Serialize;
use serde_json::Value;

use super::EndStatus;
use crate::order::{ATTEMPTS, Expected, expected};

/// Why a saga was turned round, as its journal tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The word for the kind of cause, such as `rejected` or `timed_out`.
    pub kind: String,
    /// The code of a rejection; nothing with other kinds.
    pub code: String,
    /// The step that brought it about.
    pub step: String,
    /// How many attempts of that step's action were sent until then.
    pub attempts: u64,
    /// The time for going forwards was over, or nearly so.
    pub is_late: bool,
}

/// What an end follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explained {
    /// From the order alone.
    ByOrder,
    /// From a trouble that took all attempts of a step, or the saga's time: the cause's kind.
    ByTrouble(String),
    /// From nothing that is known: what is wrong, in a sentence.
    Not(String),
}

/// Whether an order's payload promises that it is completed in a healthy system.
pub fn is_good(order: &Value) -> bool {
    expected(order) == Some(Expected::Completed)
}

/// What the end of an order's saga follows from. The definition is `order.yaml`, and nobody cancels.
pub fn explain(order: &Value, end: EndStatus, why: Option<&Why>) -> Explained {
    let expected = expected(order);
    match (end, why) {
        (EndStatus::Completed, None) => match expected {
            Some(Expected::Compensated { code }) => {
                Explained::Not(format!("completed, and it must be refused: {code}"))
            }
            Some(Expected::Completed) | None => Explained::ByOrder,
        },
        (EndStatus::Completed, Some(why)) => {
            Explained::Not(format!("completed, although it was turned round by `{}`", why.kind))
        }
        (EndStatus::Compensated, Some(why)) => turned_round(order, expected.as_ref(), why),
        (EndStatus::Compensated, None) => Explained::Not("compensated without a cause".to_owned()),
        (EndStatus::Open | EndStatus::Unjudged, _) => Explained::Not("has not ended".to_owned()),
    }
}

fn turned_round(order: &Value, expected: Option<&Expected>, why: &Why) -> Explained {
    let Why { kind, code, step, attempts, is_late } = why;
    match kind.as_str() {
        "rejected" => {
            let is_due = match expected {
                Some(Expected::Compensated { code: due }) => due == code,
                Some(Expected::Completed) => false,
                // What is left of the scarce article cannot be told from the order; and if there is enough, a later service
                // may refuse as it was told to.
                None => code == "out_of_stock" || is_wished(order, code),
            };
            if is_due {
                Explained::ByOrder
            } else {
                Explained::Not(format!("refused by {step} with `{code}`, expected: {expected:?}"))
            }
        }
        "failed" | "timed_out" if *attempts >= u64::from(ATTEMPTS) => Explained::ByTrouble(kind.clone()),
        "failed" | "timed_out" => {
            Explained::Not(format!("given up by `{kind}` at {step} after {attempts} attempts of {ATTEMPTS}"))
        }
        "forward_budget" if *is_late => Explained::ByTrouble(kind.clone()),
        "forward_budget" => Explained::Not(format!("given up at {step} while there was time left")),
        _ => Explained::Not(format!("turned round by `{kind}` at {step}, which nothing explains")),
    }
}

/// Whether the order has a service refuse it with this code.
fn is_wished(order: &Value, code: &str) -> bool {
    let wishes = order.get("trouble").and_then(Value::as_object);
    wishes.is_some_and(|wishes| wishes.values().any(|wish| wish.as_str() == Some(code)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({"amount_cents": 5, "lines": [], "card": "4242-4242", "address": {"town": "oddi"}})
    }

    fn refused() -> Value {
        let mut order = good();
        order["trouble"] = json!({"shipping": "carrier_refused"});
        order
    }

    fn scarce() -> Value {
        let mut order = good();
        order["lines"] = json!([{"sku": crate::world::SKU_SCARCE, "quantity": 1}]);
        order
    }

    fn why(kind: &str, code: &str, attempts: u64, is_late: bool) -> Why {
        Why { kind: kind.to_owned(), code: code.to_owned(), step: "hold".to_owned(), attempts, is_late }
    }

    fn undone(order: &Value, why: &Why) -> Explained {
        explain(order, EndStatus::Compensated, Some(why))
    }

    #[test]
    fn an_end_that_its_order_asks_for_is_explained() {
        assert!(is_good(&good()) && !is_good(&refused()) && !is_good(&scarce()));
        for order in [good(), scarce()] {
            assert_eq!(explain(&order, EndStatus::Completed, None), Explained::ByOrder);
        }
        assert_eq!(undone(&refused(), &why("rejected", "carrier_refused", 1, false)), Explained::ByOrder);
        assert_eq!(undone(&scarce(), &why("rejected", "out_of_stock", 1, false)), Explained::ByOrder);
    }

    #[test]
    fn a_trouble_explains_an_undo_once_it_took_all_attempts_or_the_time() {
        for order in [good(), refused()] {
            for (why, kind) in [
                (why("timed_out", "", 3, false), "timed_out"),
                (why("failed", "", 3, false), "failed"),
                (why("forward_budget", "", 1, true), "forward_budget"),
            ] {
                assert_eq!(undone(&order, &why), Explained::ByTrouble(kind.to_owned()));
            }
        }
    }

    #[test]
    fn nothing_else_explains_an_end() {
        let not = |explained: Explained, words: &str| match explained {
            Explained::Not(why) => assert!(why.contains(words), "{words} not in {why}"),
            other => panic!("{words}: {other:?}"),
        };
        not(explain(&refused(), EndStatus::Completed, None), "must be refused: carrier_refused");
        not(explain(&good(), EndStatus::Compensated, None), "without a cause");
        not(explain(&good(), EndStatus::Open, None), "has not ended");
        not(explain(&good(), EndStatus::Completed, Some(&why("failed", "", 3, false))), "turned round");
        not(undone(&good(), &why("rejected", "out_of_stock", 1, false)), "with `out_of_stock`");
        not(undone(&scarce(), &why("rejected", "card_refused", 1, false)), "with `card_refused`");
        not(undone(&refused(), &why("rejected", "out_of_stock", 1, false)), "with `out_of_stock`");
        not(undone(&good(), &why("timed_out", "", 2, false)), "after 2 attempts of 3");
        not(undone(&good(), &why("failed", "", 1, false)), "after 1 attempts of 3");
        not(undone(&good(), &why("forward_budget", "", 3, false)), "time left");
        for kind in ["cancelled", "tombstoned", "not_sent", "anything"] {
            not(undone(&good(), &why(kind, "", 3, true)), kind);
        }
    }

    #[test]
    fn a_scarce_article_hides_what_comes_after_it() {
        let mut order = good();
        order["lines"] = json!([{"sku": crate::world::SKU_SCARCE, "quantity": 1}]);
        order["trouble"] = json!({"shipping": "carrier_refused"});
        for code in ["out_of_stock", "carrier_refused"] {
            assert_eq!(undone(&order, &why("rejected", code, 1, false)), Explained::ByOrder);
        }
        assert!(matches!(undone(&order, &why("rejected", "card_refused", 1, false)), Explained::Not(_)));
    }
}
