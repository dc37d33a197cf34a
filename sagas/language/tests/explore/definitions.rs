//! The definitions that are explored.

use serde::Deserialize;
use serde_json::{Value, json};
use snorri_saga::definition::{Definition, Draft};

/// The definition of these steps.
pub(crate) fn definition(steps: &Value) -> Definition {
    checked(&json!({"name": "it", "steps": steps}))
}

/// The same where what is in flight beside a failure is fenced off at once.
pub(crate) fn racing(steps: &Value) -> Definition {
    checked(&json!({"name": "it", "on_sibling_failure": "race", "steps": steps}))
}

fn checked(draft: &Value) -> Definition {
    let draft: Draft = Draft::deserialize(draft).expect("a draft");
    Definition::from_draft(&draft).expect("a definition")
}

/// Two steps that can be undone, the pivot, and one behind it.
pub(crate) fn order() -> Value {
    json!([
        {"name": "reserve", "participant": "stock", "compensation": "release"},
        {"name": "hold", "participant": "payments", "compensation": "let_go"},
        {"name": "capture", "participant": "payments", "kind": "pivot"},
        {"name": "confirm", "participant": "mail", "kind": "retriable"}
    ])
}

/// The pivot alone.
pub(crate) fn payment() -> Value {
    json!([{"name": "charge", "participant": "payments", "kind": "pivot"}])
}

/// Three branches behind a step; the last to begin takes the longest to undo. What is behind the pivot is asked for.
pub(crate) fn abreast() -> Value {
    let slow = json!({"action": "cancel", "timeout": "30s"});
    json!([
        {"name": "plan", "participant": "tours", "compensation": "cancel"},
        {"name": "boat", "needs": ["plan"], "participant": "boats", "compensation": "cancel"},
        {"name": "guide", "needs": ["plan"], "approval": {"timeout": "20s"}},
        {"name": "hut", "needs": ["guide"], "participant": "huts", "compensation": slow},
        {"name": "pay", "needs": ["boat", "hut"], "participant": "payments", "kind": "pivot"},
        {"name": "receipt", "participant": "payments", "kind": "read"}
    ])
}

/// What cannot be undone beside what may be refused.
pub(crate) fn notice() -> Value {
    json!([
        {"name": "notify", "needs": [], "participant": "mail", "compensation": "none"},
        {"name": "reserve", "needs": [], "participant": "stock", "compensation": "release"}
    ])
}

/// Two bookings side by side, the second perhaps, and what needs both.
pub(crate) fn travel() -> Value {
    json!([
        {"name": "hotel", "needs": [], "participant": "hotels", "action": "book", "compensation": "cancel"},
        {"name": "flight", "needs": [], "participant": "flights", "action": "book", "compensation": "cancel"},
        {"name": "car", "needs": ["hotel"], "when": "input.car", "participant": "cars", "action": "rent",
         "compensation": "cancel"},
        {"name": "pay", "needs": ["hotel", "flight", "car"], "participant": "payments", "kind": "pivot"}
    ])
}

/// A list, item by item.
pub(crate) fn import() -> Value {
    json!([
        {"name": "rows", "participant": "catalogue", "action": "put", "compensation": "remove",
         "for_each": {"items": "${{ input.rows }}", "concurrency": 1, "max": 4}},
        {"name": "publish", "participant": "catalogue", "kind": "pivot"}
    ])
}

/// A sub-saga, and what may be refused after it.
pub(crate) fn holiday() -> Value {
    json!([
        {"name": "trip", "saga": "trip", "version": 1, "timeout": "20s"},
        {"name": "pay", "participant": "payments", "compensation": "pay_back"}
    ])
}

/// A wait for a person, one for a signal, and a delay.
pub(crate) fn signup() -> Value {
    json!([
        {"name": "create", "participant": "accounts", "compensation": "remove"},
        {"name": "confirmed", "signal": {"timeout": "1m", "on_timeout": "continue"}},
        {"name": "review", "approval": {"timeout": "1m"}},
        {"name": "grace", "delay": "5s"},
        {"name": "activate", "participant": "accounts", "kind": "pivot"}
    ])
}
