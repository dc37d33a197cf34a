//! The journal as it stands in the database. Rows outlive versions: what an older version wrote must be read for ever, and
//! what this one writes is read by the older ones beside it during an upgrade. So a line here is added, never changed.

use serde_json::Value;
use snorri_saga::ids::SagaId;
use snorri_saga::journal::Event;
use snorri_saga::saga::{BadJournal, Saga, Status};
use snorri_saga::time::Timestamp;

const EVENTS: [&str; 29] = [
    r#"{"started":{"definition":"order","version":2,"window":"1m","forward_deadline":"2025-11-23T12:00:50Z","deadline":"2025-11-23T12:01:00Z","input":{"order":7}}}"#,
    r#"{"started":{"definition":"order","version":2,"window":"1m","forward_deadline":"2025-11-23T12:00:50Z","deadline":"2025-11-23T12:01:00Z","input":null,"tags":{"customer":"7"},"key":"k","traceparent":"00-01936d3e7f0a70008000000000000001-00000000000000ab-01"}}"#,
    r#"{"sent":{"step":"pay","direction":"action","attempt":1,"until":"2025-11-23T12:00:01Z"}}"#,
    r#"{"sent":{"step":"pay","direction":"action","attempt":1,"until":"2025-11-23T12:00:01Z","request":null,"pivot":true}}"#,
    r#"{"sent_again":{"step":"pay"}}"#,
    r#"{"working":{"step":"pay","until":"2025-11-23T12:00:01Z"}}"#,
    r#"{"succeeded":{"step":"pay","direction":"action","attempt":1,"output":{"id":9}}}"#,
    r#"{"succeeded":{"step":"pay","direction":"compensation","attempt":1,"empty":true}}"#,
    r#"{"rejected":{"step":"pay","direction":"action","attempt":1,"code":"no_funds","message":"sorry"}}"#,
    r#"{"rejected":{"step":"pay","direction":"action","attempt":1,"code":"no_funds","message":"sorry","partial":true}}"#,
    r#"{"failed":{"step":"pay","direction":"compensation","attempt":3,"message":"busy"}}"#,
    r#"{"timed_out":{"step":"pay","direction":"action","attempt":1}}"#,
    r#"{"retry_planned":{"step":"pay","at":"2025-11-23T12:00:01.1Z"}}"#,
    r#"{"tombstoned":{"step":"pay"}}"#,
    r#"{"not_sent":{"step":"pay","code":"bad_mapping","message":"sorry"}}"#,
    r#"{"not_sent":{"step":"pay","code":"bad_mapping","message":"sorry","again":"2025-11-23T12:00:30Z"}}"#,
    r#"{"gave_up":{"step":"pay","in_doubt":true}}"#,
    r#"{"cancel_requested":{"by":"ann","reason":"a typo"}}"#,
    r#"{"compensation_began":{"cause":{"rejected":{"step":"pay","code":"no_funds","message":"sorry"}}}}"#,
    r#"{"compensation_began":{"cause":{"failed":{"step":"pay","message":"busy"}}}}"#,
    r#"{"compensation_began":{"cause":{"timed_out":{"step":"pay"}}}}"#,
    r#"{"compensation_began":{"cause":{"forward_budget":{"step":"pay"}}}}"#,
    r#"{"compensation_began":{"cause":{"cancelled":{"by":"ann","reason":"a typo"}}}}"#,
    r#"{"blocked":{"step":"pay","reason":"compensation_fails","message":"sorry"}}"#,
    r#"{"unblocked":{"step":"pay"}}"#,
    r#"{"late_reply":{"step":"pay","attempt":1,"output":null,"neutralised":true}}"#,
    r#""window_at_risk""#,
    r#""window_missed""#,
    r#"{"ended":{"end":"compensated"}}"#,
];

#[test]
fn each_event_is_written_as_it_was_read() {
    for text in EVENTS {
        let event: Event = serde_json::from_str(text).expect(text);
        assert_eq!(serde_json::to_string(&event).expect("JSON"), text);
    }
}

#[test]
fn an_event_that_a_newer_version_wrote_is_read_without_what_is_not_known_here() {
    let newer = r#"{"timed_out":{"step":"pay","direction":"action","attempt":1,"waited":"1s"}}"#;
    let event: Event = serde_json::from_str(newer).expect("an event");
    let written: Value = serde_json::to_value(&event).expect("JSON");
    assert_eq!(
        written,
        serde_json::json!({"timed_out": {"step": "pay", "direction": "action", "attempt": 1}})
    );
}

#[test]
fn a_journal_begins_with_the_start() {
    let (id, at) = (SagaId(uuid::Uuid::nil()), Timestamp(1_763_899_200_000_000));
    let event = |text: &str| serde_json::from_str::<Event>(text).expect(text);
    let (started, missed) = (event(EVENTS[1]), event(r#""window_missed""#));
    assert_eq!(Saga::replay(id, []), Err(BadJournal::Empty));
    assert_eq!(Saga::replay(id, [(at, &missed), (at, &started)]), Err(BadJournal::NoStart));
    let saga = Saga::replay(id, [(at, &started), (at, &missed)]).expect("a saga");
    assert_eq!((saga.status(), saga.window_missed, saga.started_at), (Status::Running, true, at));
    assert_eq!((saga.key.as_deref(), saga.version, saga.input.get()), (Some("k"), 2, "null"));
}
