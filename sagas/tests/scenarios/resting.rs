//! At rest: what only waits has nothing out that could be lost. The shell lets such a saga go from memory.

use serde_json::{Value, json};
use snorri_saga::decide::{Ask, AskKind, Input, StartInput, decide, start};
use snorri_saga::definition::Definition;
use snorri_saga::ids::SagaId;
use snorri_saga::journal::Parent;
use snorri_saga::json::Json;
use snorri_saga::saga::{Phase, Saga};
use snorri_saga::time::{Millis, Timestamp};

const NOW: Timestamp = Timestamp(1_000_000_000_000_000);

fn definition(steps: &Value) -> Definition {
    let draft = json!({"name": "one", "window": "10h", "steps": steps});
    Definition::from_draft(&serde_json::from_value(draft).expect("a draft")).expect("a definition")
}

fn begun(definition: &Definition, parent: Option<Parent>) -> Saga {
    let id = SagaId(uuid::Uuid::from_u128(7));
    let (input, tags) = (Json::null(), std::collections::BTreeMap::default());
    start(definition, StartInput { id, version: 1, input, tags, key: None, traceparent: None, parent }, NOW)
        .saga
}

fn wait(name: &str, timeout: &str) -> Value {
    json!({"name": name, "needs": [], "signal": {"name": "paid", "timeout": timeout}})
}

#[test]
fn what_waits_rests_until_the_first_of_it_is_due() {
    let of = definition(
        &json!([wait("a", "2h"), wait("b", "1h"), {"name": "c", "needs": [], "approval": {"timeout": "3h"}}]),
    );
    let saga = begun(&of, None);
    assert_eq!(saga.rests_until(), Some(NOW + Millis::secs(3600)));
    // Nine tenths of the window are nearer than the end of the wait.
    let of = definition(&json!([{"name": "d", "delay": "570m"}]));
    assert_eq!(begun(&of, None).rests_until(), Some(NOW + Millis::secs(9 * 3600)));
}

#[test]
fn while_anything_is_out_nothing_is_at_rest() {
    let call = json!({"name": "call", "needs": [], "participant": "p", "compensation": "u"});
    assert_eq!(begun(&definition(&json!([wait("a", "1h"), call])), None).rests_until(), None);
}

#[test]
fn what_is_undone_or_over_is_not_at_rest() {
    let of = definition(&json!([wait("a", "1h")]));
    let no = Input::Cancel { by: "anna".to_owned(), reason: "x".to_owned() };
    let saga = decide(&of, &begun(&of, None), &no, NOW).expect("cancelled").saga;
    assert!(saga.ended_at.is_some());
    assert_eq!(saga.rests_until(), None);
}

#[test]
fn a_part_that_is_held_rests_until_it_asks() {
    let of = definition(&json!([{"name": "d", "delay": "1s"}]));
    let parent = Parent { saga: SagaId(uuid::Uuid::from_u128(1)), step: "part".parse().expect("a step") };
    let later = NOW + Millis::secs(2);
    let saga = decide(&of, &begun(&of, Some(parent.clone())), &Input::Woke, later).expect("woken").saga;
    assert_eq!((saga.phase, saga.rests_until()), (Phase::Held, Some(saga.ask_at())));
    let kind = AskKind::Release;
    let (child, definition, input) = (saga.id, saga.definition.clone(), Json::null());
    let ask = Ask { child, definition, version: 1, parent, input, kind };
    let released = decide(&of, &saga, &Input::Asked(ask), later).expect("released").saga;
    assert_eq!((released.phase == Phase::Held, released.rests_until()), (false, None));
}
