//! Facts as spans. Pure. What a participant or a caller wrote (payloads, sentences) is in none of them: the
//! words are names, statuses and the codes of rejections.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use snorri_saga::definition::{Definition, Step, Work};
use snorri_saga::ids::{CommandId, Direction, EffectId, SagaId, StepKey};
use snorri_saga::journal::{Cause, End, Event};
use snorri_saga::saga::{Saga, StepState};
use snorri_saga::time::Timestamp;
use snorri_saga::trace;
use snorri_saga::wire::Subjects;

use super::answers::{Answer, Answers};

/// The longest code of a participant's that a span has.
const CODE_CHARS_MAX: usize = 100;
/// What makes the ids of an attempt's late answers out of its own: of one that still counted, and of one
/// that came after compensation began. An attempt may have both.
const LATE_ANSWER: u64 = 0x6c61_7465_616e_7377;
const LATE_SUCCESS: u64 = 0x6c61_7465_7375_6363;
/// The attempt of an action that could not be sent. Real ones begin with 1.
const NOT_SENT: u32 = 0;

/// One committed transition.
pub(super) struct Facts<'a> {
    pub(super) before: Option<&'a Saga>,
    pub(super) after: &'a Saga,
    pub(super) definition: &'a Definition,
    pub(super) events: &'a [Event],
    pub(super) at: Timestamp,
    /// When compensation began, if the saga ends compensated with this transition.
    pub(super) turned_at: Option<Timestamp>,
}

/// Makes the spans that a transition ended, parents last.
pub(super) fn ended(facts: &Facts<'_>, subjects: &Subjects, mut emit: impl FnMut(SpanData)) {
    let mut answers = Answers::new(facts.before);
    for event in facts.events {
        if let Some(answer) = answers.next(event, facts.at)
            && let Some((_, step)) = facts.definition.step(answer.step.step())
        {
            emit(attempt(facts, step, &answer, subjects));
        }
        match event {
            Event::Started(_) => emit(started(facts.after)),
            Event::LateReply { step, attempt, .. } => emit(late_success(facts, step, *attempt)),
            Event::NotSent { step, code, .. } => emit(not_sent(facts, step, code)),
            Event::Ended { end } => {
                if *end == End::Compensated {
                    emit(compensate(facts));
                }
                emit(root(facts, *end));
            }
            _ => {}
        }
    }
}

/// When a saga that is being undone turned round, as far as its state tells. Exact while the first
/// compensation is under way, and when the step that failed left nothing to undo; otherwise it is when the
/// first compensation was done. Asked only of sagas that another replica turned round.
pub(super) fn turned_at(saga: &Saga) -> Timestamp {
    let Some(last) = saga.steps.last() else { return saga.started_at };
    match (last.state, last.flight) {
        (StepState::Undoing, Some(flight)) => flight.since,
        _ => last.changed_at,
    }
}

fn root(facts: &Facts<'_>, end: End) -> SpanData {
    let saga = facts.after;
    let mut attributes = identity(saga);
    let status = match end {
        End::Completed => Status::Ok,
        End::Compensated => Status::error(saga.cause.as_ref().map_or(Cow::Borrowed("compensated"), describe)),
    };
    attributes.push(KeyValue::new("saga.status", saga.status().as_str()));
    if let Some(cause) = &saga.cause {
        attributes.push(KeyValue::new("saga.cause", code(cause.code())));
    }
    if saga.window_missed {
        attributes.push(KeyValue::new("saga.window.missed", true));
    }
    SpanData {
        attributes,
        status,
        links: caller(saga),
        ..span(
            saga.id,
            trace::saga_span(saga.id),
            None,
            format!("saga {}", saga.definition),
            saga.started_at,
            facts.at,
        )
    }
}

/// The root is exported last; until then this one makes the trace findable, and says whose it is.
fn started(saga: &Saga) -> SpanData {
    SpanData {
        attributes: identity(saga),
        links: caller(saga),
        ..span(
            saga.id,
            trace::started_span(saga.id),
            Some(trace::saga_span(saga.id)),
            "saga started",
            saga.started_at,
            saga.started_at,
        )
    }
}

fn compensate(facts: &Facts<'_>) -> SpanData {
    let saga = facts.after;
    let mut attributes = vec![KeyValue::new("saga.id", saga.id.to_string())];
    if let Some(cause) = &saga.cause {
        attributes.push(KeyValue::new("saga.cause", code(cause.code())));
        if let Some(step) = cause.step() {
            attributes.push(KeyValue::new("saga.cause.step", step.to_string()));
        }
    }
    SpanData {
        attributes,
        ..span(
            saga.id,
            trace::compensate_span(saga.id),
            Some(trace::saga_span(saga.id)),
            "compensate",
            facts.turned_at.unwrap_or(facts.at),
            facts.at,
        )
    }
}

fn attempt(facts: &Facts<'_>, step: &Step, answer: &Answer<'_>, subjects: &Subjects) -> SpanData {
    let saga = facts.after.id;
    let key = answer.step;
    let own = trace::attempt_span(saga, key.as_str(), answer.direction, answer.attempt);
    let (verb, parent, operation) = match (answer.direction, &step.compensation) {
        (Direction::Compensation, Some(undo)) => ("undo", trace::compensate_span(saga), Some(&undo.action)),
        (Direction::Compensation, None) => ("undo", trace::compensate_span(saga), step.action()),
        (Direction::Action, _) if step.work.is_wait() => ("wait", trace::saga_span(saga), None),
        (Direction::Action, _) => ("step", trace::saga_span(saga), step.action()),
    };
    let mut attributes = of_attempt(facts.after, key, answer.direction, answer.attempt);
    attributes.push(KeyValue::new("saga.outcome", answer.outcome.as_str()));
    if let Some(participant) = step.participant() {
        attributes.push(KeyValue::new("saga.participant", participant.to_string()));
    }
    if answer.empty {
        attributes.push(KeyValue::new("saga.empty", true));
    }
    if let Some(earlier) = answer.earlier {
        attributes.push(KeyValue::new("saga.answered.attempt", i64::from(earlier)));
    }
    if answer.sending > 0 {
        attributes.push(KeyValue::new("saga.sent.again", i64::from(answer.sending)));
    }
    let status = match answer.error {
        Some(error) => {
            attributes.push(KeyValue::new("error.type", code(error)));
            Status::error(answer.outcome.as_str())
        }
        None => Status::Unset,
    };
    let Some(sent_at) = answer.sent_at else {
        // The attempt's own span is exported already: it had timed out.
        return SpanData {
            attributes,
            status,
            ..span(saga, late(own, LATE_ANSWER), Some(own), format!("late answer {key}"), facts.at, facts.at)
        };
    };
    let name = format!("{verb} {key}");
    let (Some(participant), Some(operation)) = (step.participant(), operation) else {
        // A wait, or a sub-saga, which has a trace of its own.
        if let Work::Saga { .. } = step.work {
            attributes.push(KeyValue::new("saga.child", saga.child(key).to_string()));
        }
        return SpanData { attributes, status, ..span(saga, own, Some(parent), name, sent_at, facts.at) };
    };
    let effect = EffectId { saga, step: key.clone(), direction: answer.direction };
    let command = CommandId { effect, attempt: answer.attempt, sending: answer.sending };
    attributes.extend([
        KeyValue::new("messaging.system", "nats"),
        KeyValue::new("messaging.operation.name", "publish"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", subjects.command(participant, operation)),
        KeyValue::new("messaging.message.id", command.to_string()),
        KeyValue::new("messaging.message.conversation_id", saga.to_string()),
    ]);
    SpanData {
        attributes,
        status,
        span_kind: SpanKind::Producer,
        ..span(saga, own, Some(parent), name, sent_at, facts.at)
    }
}

/// An action that succeeded after compensation began. Its attempt's span has been exported as what it
/// was then: without an answer, or failed.
fn late_success(facts: &Facts<'_>, step: &StepKey, attempt: u32) -> SpanData {
    let saga = facts.after.id;
    let of = trace::attempt_span(saga, step.as_str(), Direction::Action, attempt);
    let mut attributes = of_attempt(facts.after, step, Direction::Action, attempt);
    attributes.push(KeyValue::new("saga.outcome", "ok"));
    SpanData {
        attributes,
        ..span(saga, late(of, LATE_SUCCESS), Some(of), format!("late answer {step}"), facts.at, facts.at)
    }
}

fn not_sent(facts: &Facts<'_>, step: &StepKey, why: &str) -> SpanData {
    let saga = facts.after.id;
    let own = trace::attempt_span(saga, step.as_str(), Direction::Action, NOT_SENT);
    let mut attributes = of_attempt(facts.after, step, Direction::Action, NOT_SENT);
    attributes.push(KeyValue::new("error.type", code(why)));
    SpanData {
        attributes,
        status: Status::error("not sent"),
        ..span(saga, own, Some(trace::saga_span(saga)), format!("step {step}"), facts.at, facts.at)
    }
}

/// Who the saga is.
fn identity(saga: &Saga) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(8);
    attributes.push(KeyValue::new("saga.id", saga.id.to_string()));
    attributes.push(KeyValue::new("saga.definition", saga.definition.to_string()));
    attributes.push(KeyValue::new("saga.definition.version", i64::from(saga.version)));
    attributes
}

fn of_attempt(saga: &Saga, step: &StepKey, direction: Direction, attempt: u32) -> Vec<KeyValue> {
    let phase = match direction {
        Direction::Action => "forward",
        Direction::Compensation => "compensate",
    };
    // Room for what comes: an attempt's span is the most frequent one.
    let mut attributes = Vec::with_capacity(16);
    attributes.extend([
        KeyValue::new("saga.id", saga.id.to_string()),
        KeyValue::new("saga.definition", saga.definition.to_string()),
        KeyValue::new("saga.step", step.to_string()),
        KeyValue::new("saga.phase", phase),
        KeyValue::new("saga.attempt", i64::from(attempt)),
    ]);
    attributes
}

/// The caller's context as a link. The caller's trace does not swallow the saga's: a job that starts ten
/// thousand sagas keeps a readable trace.
fn caller(saga: &Saga) -> SpanLinks {
    let mut links = SpanLinks::default();
    if let Some(context) = saga.traceparent.as_deref().and_then(context) {
        links.links.push(Link::new(context, Vec::new(), 0));
    }
    links
}

/// Reads a W3C `traceparent`. A caller may write anything.
fn context(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.trim().split('-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let is_well_formed =
        is_hex(version, 2) && is_hex(trace_id, 32) && is_hex(span_id, 16) && is_hex(flags, 2);
    // A later version may have more parts; this one has not.
    if !is_well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

/// Why a saga was undone, in words of ours. The sentence that a participant or an operator wrote stays in
/// the journal.
fn describe(cause: &Cause) -> Cow<'static, str> {
    let code = code(cause.code());
    Cow::Owned(match cause.step() {
        Some(step) => format!("{code} at {step}"),
        None => code,
    })
}

fn code(text: &str) -> String {
    text.chars().take(CODE_CHARS_MAX).collect()
}

fn late(attempt: trace::SpanId, kind: u64) -> trace::SpanId {
    (u64::from_be_bytes(attempt) ^ kind).max(1).to_be_bytes()
}

fn span(
    saga: SagaId,
    id: trace::SpanId,
    parent: Option<trace::SpanId>,
    name: impl Into<Cow<'static, str>>,
    start: Timestamp,
    end: Timestamp,
) -> SpanData {
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(*saga.0.as_bytes()),
            SpanId::from_bytes(id),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: time(start),
        end_time: time(end.max(start)),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("snorri")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

fn time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.micros()).unwrap_or(0))
}
