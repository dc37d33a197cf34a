//! Spans of sagas that are driven by hand and at random.

use std::collections::{HashMap, HashSet};

use opentelemetry::Value;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use proptest::prelude::*;
use snorri_saga::decide::{self, Decision, Input, StartInput};
use snorri_saga::definition::Definition;
use snorri_saga::ids::{CommandId, Direction, EffectId, SagaId, StepKey};
use snorri_saga::journal::Event;
use snorri_saga::json::Json;
use snorri_saga::saga::{Phase, Saga};
use snorri_saga::time::{Millis, Timestamp};
use snorri_saga::trace;
use snorri_saga::wire::{Outcome, Reply, Subjects};

use super::spans;

const ORDER: &str = "
name: order
window: 5m
steps:
  - {name: reserve, participant: inventory, compensation: release, retry: {attempts: 3}}
  - {name: charge, participant: payments, compensation: refund, timeout: 5s}
  - {name: check, participant: rates, kind: read}
  - {name: ship, participant: shipping, kind: pivot}
  - {name: notify, participant: mail, kind: retriable}
";
const SECRET: &str = "secret-4111-1111";
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A saga that is driven, and everything that was seen of it.
pub(crate) struct Driven {
    pub(crate) definition: Definition,
    pub(crate) saga: Saga,
    pub(crate) now: Timestamp,
    pub(crate) spans: Vec<SpanData>,
    pub(crate) transitions: Vec<(Option<Saga>, Saga, Vec<Event>, Timestamp)>,
    /// Every attempt that was sent.
    sent: Vec<(StepKey, Direction, u32)>,
    turned_at: Option<Timestamp>,
}

impl Driven {
    pub(crate) fn start() -> Self {
        let (_, definition) = crate::definitions::Definitions::check(ORDER).expect("a definition");
        let input = StartInput {
            id: SagaId(uuid::Uuid::now_v7()),
            version: 7,
            input: Json::parse(&format!(r#"{{"card":"{SECRET}"}}"#)).expect("json"),
            tags: std::collections::BTreeMap::default(),
            key: None,
            traceparent: Some(CALLER.to_owned()),
            parent: None,
        };
        let now = Timestamp(1_800_000_000_000_000);
        let decision = decide::start(&definition, input, now);
        let mut driven = Self {
            saga: decision.saga.clone(),
            definition,
            now,
            spans: Vec::new(),
            transitions: Vec::new(),
            sent: Vec::new(),
            turned_at: None,
        };
        driven.take(None, decision);
        driven
    }

    fn take(&mut self, before: Option<Saga>, decision: Decision) {
        for event in &decision.events {
            match event {
                Event::Sent { step, direction, attempt, .. } => {
                    self.sent.push((step.clone(), *direction, *attempt));
                }
                Event::CompensationBegan { .. } => self.turned_at = Some(self.now),
                _ => {}
            }
        }
        let facts = spans::Facts {
            before: before.as_ref(),
            after: &decision.saga,
            definition: &self.definition,
            events: &decision.events,
            at: self.now,
            turned_at: self.turned_at,
        };
        spans::ended(&facts, &Subjects::default(), |span| self.spans.push(span));
        self.saga = decision.saga.clone();
        self.transitions.push((before, decision.saga, decision.events, self.now));
    }

    pub(crate) fn input(&mut self, input: &Input) -> bool {
        let before = self.saga.clone();
        match decide::decide(&self.definition, &before, input, self.now) {
            Ok(decision) => {
                self.take(Some(before), decision);
                true
            }
            Err(_) => false,
        }
    }

    /// An answer to the step under way, so many attempts back.
    pub(crate) fn reply(&mut self, outcome: Outcome, back: u32) -> bool {
        let Some((step, flight)) = self.saga.in_flight().next() else { return false };
        let effect = EffectId { saga: self.saga.id, step: step.key.clone(), direction: flight.direction };
        let attempt = flight.attempt.saturating_sub(back).max(1);
        let command = CommandId { effect, attempt, sending: 0 };
        self.input(&Input::Reply(Reply { command, outcome }))
    }

    pub(crate) fn later(&mut self, ms: u64) {
        self.now = self.now + Millis(ms);
    }

    /// Lets time pass until something is due.
    fn wake(&mut self) -> bool {
        if let Some(due) = self.saga.due_at() {
            self.now = self.now.max(due);
        }
        self.input(&Input::Woke)
    }

    fn is_over(&self) -> bool {
        matches!(self.saga.phase, Phase::Ended(_))
    }

    fn names(&self) -> Vec<&str> {
        self.spans.iter().map(|span| span.name.as_ref()).collect()
    }

    fn span(&self, name: &str) -> &SpanData {
        self.spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span `{name}`"))
    }
}

pub(crate) fn ok() -> Outcome {
    Outcome::Ok { output: Json::parse(&format!(r#"{{"token":"{SECRET}"}}"#)).expect("json"), empty: false }
}

pub(crate) fn rejected(partial: bool) -> Outcome {
    Outcome::Rejected { code: "declined".to_owned(), message: format!("the card {SECRET}"), partial }
}

pub(crate) fn failed() -> Outcome {
    Outcome::Failed { message: format!("not now, {SECRET}"), retry_after: None }
}

fn attribute<'a>(span: &'a SpanData, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|found| &found.value)
}

fn text(span: &SpanData, key: &str) -> String {
    attribute(span, key).map(|value| value.as_str().into_owned()).unwrap_or_default()
}

fn id(id: trace::SpanId) -> SpanId {
    SpanId::from_bytes(id)
}

/// What holds of every trace of an ended saga.
fn check(driven: &Driven) {
    let saga = driven.saga.id;
    let mut ids = HashMap::new();
    for span in &driven.spans {
        assert_eq!(span.span_context.trace_id().to_bytes(), *saga.0.as_bytes());
        assert!(span.start_time <= span.end_time, "{} ends before it starts", span.name);
        let twice = ids.insert(span.span_context.span_id(), span.name.clone());
        assert_eq!(twice, None, "{} has the id of another span", span.name);
        let shown = format!("{span:?}");
        assert!(!shown.contains(SECRET), "a payload or a sentence in {shown}");
        let keys: HashSet<_> = span.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert_eq!(keys.len(), span.attributes.len(), "{} says something twice", span.name);
    }
    let root = id(trace::saga_span(saga));
    for span in &driven.spans {
        let is_root = span.span_context.span_id() == root;
        assert_eq!(is_root, span.parent_span_id == SpanId::INVALID, "{}", span.name);
        assert!(is_root || ids.contains_key(&span.parent_span_id), "{} is an orphan", span.name);
    }
    // What a participant hangs its span on is there.
    for (step, direction, attempt) in &driven.sent {
        let of = id(trace::attempt_span(saga, step.as_str(), *direction, *attempt));
        assert!(ids.contains_key(&of), "attempt {attempt} of {direction} of {step} has no span");
    }
}

#[test]
fn a_saga_that_completes_is_one_tree() {
    let mut driven = Driven::start();
    for _ in 0..5 {
        driven.later(20);
        assert!(driven.reply(ok(), 0));
    }
    assert!(driven.is_over());
    check(&driven);
    let names = [
        "saga started",
        "step reserve",
        "step charge",
        "step check",
        "step ship",
        "step notify",
        "saga order",
    ];
    assert_eq!(driven.names(), names);
    let root = driven.span("saga order");
    assert_eq!(root.status, Status::Ok);
    assert_eq!(text(root, "saga.status"), "completed");
    assert_eq!(attribute(root, "saga.definition.version"), Some(&Value::I64(7)));
    let took = root.end_time.duration_since(root.start_time).expect("in order");
    assert_eq!(took.as_millis(), 100);
    for name in ["saga order", "saga started"] {
        let links = &driven.span(name).links;
        assert_eq!(links.len(), 1);
        assert_eq!(links[0].span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    }
    let charge = driven.span("step charge");
    assert_eq!(charge.span_kind, SpanKind::Producer);
    assert_eq!(text(charge, "messaging.destination.name"), "snorri.command.payments.charge");
    assert_eq!(text(charge, "saga.outcome"), "ok");
    assert_eq!(charge.end_time.duration_since(charge.start_time).expect("in order").as_millis(), 20);
}

#[test]
fn a_rejection_shows_why_and_what_was_undone() {
    let mut driven = Driven::start();
    for outcome in [ok(), ok(), rejected(false), ok(), ok()] {
        driven.later(10);
        assert!(driven.reply(outcome, 0));
    }
    assert!(driven.is_over());
    check(&driven);
    assert_eq!(driven.span("saga order").status, Status::error("declined at check"));
    let check = driven.span("step check");
    assert_eq!(check.status, Status::error("rejected"));
    assert_eq!(text(check, "error.type"), "declined");
    let compensate = driven.span("compensate");
    for name in ["undo charge", "undo reserve"] {
        let undo = driven.span(name);
        assert_eq!(undo.parent_span_id, compensate.span_context.span_id());
        assert!(compensate.start_time <= undo.start_time && undo.end_time <= compensate.end_time);
        assert_eq!(text(undo, "saga.phase"), "compensate");
    }
    assert_eq!(
        text(driven.span("undo charge"), "messaging.destination.name"),
        "snorri.command.payments.refund"
    );
    assert_eq!(compensate.end_time.duration_since(compensate.start_time).expect("in order").as_millis(), 20);
}

#[test]
fn retries_are_siblings_and_a_gap_is_a_gap() {
    let mut driven = Driven::start();
    driven.later(10);
    assert!(driven.reply(failed(), 0));
    assert!(driven.wake());
    driven.later(10);
    assert!(driven.reply(ok(), 0));
    let steps: Vec<_> = driven.spans.iter().filter(|span| span.name == "step reserve").collect();
    let [first, second] = steps[..] else { panic!("{:?}", driven.names()) };
    assert_eq!((text(first, "saga.outcome"), text(second, "saga.outcome")), ("failed".into(), "ok".into()));
    assert_eq!(attribute(second, "saga.attempt"), Some(&Value::I64(2)));
    assert_eq!(first.parent_span_id, second.parent_span_id);
    assert!(first.end_time < second.start_time);
    assert_eq!(first.status, Status::error("failed"));
}

#[test]
fn an_answer_to_an_earlier_attempt_ends_the_one_under_way() {
    let mut driven = Driven::start();
    assert!(driven.wake(), "the first attempt times out");
    assert!(driven.wake(), "the second is sent");
    driven.later(5);
    assert!(driven.reply(ok(), 1));
    let second = driven.spans.iter().rfind(|span| span.name == "step reserve").expect("a span");
    assert_eq!(attribute(second, "saga.attempt"), Some(&Value::I64(2)));
    assert_eq!(attribute(second, "saga.answered.attempt"), Some(&Value::I64(1)));
}

#[test]
fn an_answer_between_two_attempts_is_a_child_of_the_one_it_answers() {
    let mut driven = Driven::start();
    assert!(driven.wake(), "the first attempt times out");
    driven.later(5);
    assert!(driven.reply(ok(), 0));
    let late = driven.span("late answer reserve");
    let first = trace::attempt_span(driven.saga.id, "reserve", Direction::Action, 1);
    assert_eq!(late.parent_span_id, id(first));
    assert_eq!(text(late, "saga.outcome"), "ok");
}

#[test]
fn when_it_turned_is_told_from_the_state_after_a_takeover() {
    let mut driven = Driven::start();
    for outcome in [ok(), ok(), rejected(false)] {
        driven.later(10);
        assert!(driven.reply(outcome, 0));
    }
    let turned = driven.turned_at.expect("it turned");
    assert_eq!(spans::turned_at(&driven.saga), turned);
    driven.later(10);
    assert!(driven.reply(ok(), 0));
    assert_eq!(spans::turned_at(&driven.saga), turned, "the step that failed has not changed since");
}

#[derive(Debug, Clone)]
enum Move {
    Reply(Outcome, u32),
    Wake,
    Resend,
    Cancel,
}

fn moves() -> impl Strategy<Value = Move> {
    let outcome = prop_oneof![
        5 => Just(ok()),
        1 => Just(rejected(false)),
        1 => Just(rejected(true)),
        2 => Just(failed()),
        1 => Just(Outcome::Tombstoned),
        1 => Just(Outcome::Working),
    ];
    prop_oneof![
        6 => (outcome, 0_u32..3).prop_map(|(outcome, back)| Move::Reply(outcome, back)),
        3 => Just(Move::Wake),
        1 => Just(Move::Resend),
        1 => Just(Move::Cancel),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_no_span_is_an_orphan(moves in prop::collection::vec(moves(), 1..60)) {
        let mut driven = Driven::start();
        for one in moves {
            driven.later(3);
            match one {
                Move::Reply(outcome, back) => driven.reply(outcome, back),
                Move::Wake => driven.wake(),
                Move::Resend => driven.input(&Input::Resend),
                Move::Cancel => {
                    let (by, reason) = (SECRET.to_owned(), SECRET.to_owned());
                    driven.input(&Input::Cancel { by, reason })
                }
            };
        }
        for _ in 0..200 {
            driven.later(3);
            if driven.is_over() {
                break;
            }
            if !driven.reply(ok(), 0) {
                driven.wake();
            }
        }
        prop_assert!(driven.is_over(), "{:?}", driven.saga);
        // Late successes of everything.
        for (step, direction, attempt) in driven.sent.clone() {
            let effect = EffectId { saga: driven.saga.id, step, direction };
            let command = CommandId { effect, attempt, sending: 0 };
            driven.input(&Input::Reply(Reply { command, outcome: ok() }));
        }
        check(&driven);
    }
}
