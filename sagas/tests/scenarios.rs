//! The rows of the semantics as scenarios, each to be read as a specification: given a definition, when this
//! happens (`>`), then that is the journal (time, fact), with the commands (`->`) and the announcement (`=>`)
//! that follow from it. The little language is explained in `support/story.rs`.

#[path = "scenarios/behind.rs"]
mod behind;
#[path = "scenarios/cancelling.rs"]
mod cancelling;
#[path = "scenarios/conditions.rs"]
mod conditions;
#[path = "scenarios/deadlines.rs"]
mod deadlines;
#[path = "scenarios/family.rs"]
mod family;
#[path = "scenarios/graph.rs"]
mod graph;
#[path = "scenarios/items.rs"]
mod items;
#[path = "scenarios/late.rs"]
mod late;
#[path = "scenarios/limits.rs"]
mod limits;
#[path = "scenarios/lists.rs"]
mod lists;
#[path = "scenarios/looking.rs"]
mod looking;
#[path = "scenarios/onwards.rs"]
mod onwards;
#[path = "scenarios/parts.rs"]
mod parts;
#[path = "scenarios/resting.rs"]
mod resting;
#[path = "scenarios/siblings.rs"]
mod siblings;
#[path = "scenarios/stopping.rs"]
mod stopping;
#[path = "support/story.rs"]
mod story;
#[path = "scenarios/tombstones.rs"]
mod tombstones;
#[path = "scenarios/undoing.rs"]
mod undoing;
#[path = "scenarios/unknown.rs"]
mod unknown;
#[path = "scenarios/unsent.rs"]
mod unsent;
#[path = "scenarios/waiting.rs"]
mod waiting;
#[path = "scenarios/waits.rs"]
mod waits;

use serde_json::json;
use snorri_saga::decide::{self, Effect, Input, StartInput};
use snorri_saga::definition::Definition;
use snorri_saga::ids::SagaId;
use snorri_saga::json::{Json, fingerprint};
use snorri_saga::time::Timestamp;

// E05: the same start twice.

#[test]
fn e05_the_same_start_has_the_same_fingerprint_however_it_is_spelled() {
    let print = |text: &str| fingerprint(&serde_json::from_str(text).expect("JSON"));
    let one =
        print(r#"{"definition":"order","version":1,"key":"k","input":{"b":[1,{"y":2,"x":null}],"a":"é"}}"#);
    let same = [
        r#"{"input":{"a":"é","b":[1,{"x":null,"y":2}]},"key":"k","version":1,"definition":"order"}"#,
        "{ \"version\":1, \"definition\":\"order\", \"key\":\"k\", \"input\":{\"a\":\"\\u00e9\",\n\"b\":[1,{\"x\":null,\"y\":2}]} }",
    ];
    for text in same {
        assert_eq!(print(text), one, "{text}");
    }
    let others = [
        r#"{"definition":"order","version":2,"key":"k","input":{"b":[1,{"y":2,"x":null}],"a":"é"}}"#,
        r#"{"definition":"order","version":1,"key":"k","input":{"b":[{"y":2,"x":null},1],"a":"é"}}"#,
        r#"{"definition":"order","version":1,"key":"k","input":{"b":[1,{"y":2}],"a":"é"}}"#,
        r#"{"definition":"order","version":1,"key":"k","input":{"b":["1",{"y":2,"x":null}],"a":"é"}}"#,
    ];
    for text in others {
        assert_ne!(print(text), one, "{text}");
    }
}

#[test]
fn e05_the_fingerprint_is_of_the_canonical_text() {
    // printf '{"a":"\\"","b":[1,true]}' | sha256sum
    let print = fingerprint(&json!({"b": [1, true], "a": "\""}));
    assert_eq!(print[..4], [0x6c, 0xed, 0x12, 0x05]);
}

// E10: the definition changes while sagas run.

#[test]
fn e10_a_sub_saga_is_asked_for_in_the_version_that_its_parents_definition_names() {
    let draft = json!({"name": "order", "steps": [{"name": "ship", "saga": "shipment", "version": 3, "timeout": "10s"}]});
    let definition = Definition::from_draft(&serde_json::from_value(draft).expect("a draft")).expect("valid");
    let id = SagaId(uuid::Uuid::from_u128(7));
    let (input, tags) = (Json::null(), [].into());
    let start = StartInput { id, version: 9, input, tags, key: None, traceparent: None, parent: None };
    let begun = decide::start(&definition, start, Timestamp(1_000_000));
    let again =
        decide::decide(&definition, &begun.saga, &Input::Resend, Timestamp(2_000_000)).expect("sent again");
    let cancel = Input::Cancel { by: "ann".to_owned(), reason: "a typo".to_owned() };
    let undone = decide::decide(&definition, &again.saga, &cancel, Timestamp(3_000_000)).expect("cancelled");
    for decision in [begun, again, undone] {
        let [Effect::Ask(ask)] = decision.effects.as_slice() else { panic!("{:?}", decision.effects) };
        assert_eq!(
            (ask.definition.as_str(), ask.version, ask.child),
            ("shipment", 3, id.child(&ask.parent.step))
        );
    }
}
