//! The spans that a participant makes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use snorri_saga::ids::Direction;
use snorri_saga::trace;

use crate::rig::{Command, How, Rig, ok, saga, undone};

/// Keeps the spans that ended.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Kept {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().expect("the spans").push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn attribute(span: &SpanData, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn each_command_has_a_consumer_span_below_the_attempt_of_its_saga() {
    let kept = Kept::default();
    opentelemetry::global::set_tracer_provider(
        SdkTracerProvider::builder().with_span_processor(kept.clone()).build(),
    );
    let mut rig = Rig::new("traces").await;
    let running = rig.start();
    let command = Command::action(saga(), "pay", 5, How::Well);
    assert_eq!(rig.ask(&command).await, ok(5));
    assert_eq!(rig.ask(&command.undo()).await, undone(false));
    running.stop().await;

    // Other tests of this process may make spans too; the saga's id is the trace's.
    let trace_id = command.saga().0.simple().to_string();
    let spans = kept.0.lock().expect("the spans");
    let mine: Vec<&SpanData> =
        spans.iter().filter(|span| span.span_context.trace_id().to_string() == trace_id).collect();
    assert_eq!(mine.len(), 2, "{mine:?}");
    let [act, undo] = mine[..] else { panic!("two spans") };
    let parent = trace::attempt_span(command.saga(), "pay", Direction::Action, 1);
    assert_eq!(act.parent_span_id.to_bytes(), parent);
    assert!(act.parent_span_is_remote);
    assert_eq!(act.span_kind, SpanKind::Consumer);
    let subject = format!("{}.command.ledger.write", rig.bus.subjects().prefix());
    assert_eq!(act.name, format!("process {subject}"));
    for (name, value) in [
        ("messaging.system", "nats"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", subject.as_str()),
        ("saga.id", &command.saga().to_string()),
        ("saga.step", "pay"),
        ("saga.phase", "forward"),
        ("saga.attempt", "1"),
        ("saga.outcome", "ok"),
    ] {
        assert_eq!(attribute(act, name), value, "{name}");
    }
    assert_eq!(attribute(undo, "saga.phase"), "compensate");
}
