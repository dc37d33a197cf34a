//! Traces: one consumer span for each command, a child of the saga's own span for the attempt.
//!
//! The SDK uses the process's global OpenTelemetry tracer provider and nothing else, so a service that has
//! set one up already sees these spans there. A service that has not can call [`install`]. Without either,
//! and for sagas that are not sampled, no span is made.

use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use snorri_bus::headers::ReceivedCommand;
use snorri_saga::ids::Direction;

/// Exports what is left when it is dropped (or [`TelemetryGuard::shutdown`] is called). Keep it until the
/// end of `main`.
#[derive(Debug)]
#[must_use = "dropping it ends the export"]
pub struct TelemetryGuard(Option<SdkTracerProvider>);

impl TelemetryGuard {
    /// Exports what is left, 5 seconds at most. It blocks the thread for that long.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown_with_timeout(Duration::from_secs(5))
        {
            tracing::warn!(%error, "some spans were not exported");
        }
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        self.end();
    }
}

/// The exporter could not be made.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported: {0}")]
pub struct TelemetryError(String);

/// Sets up the export of traces by OTLP over HTTP with protobuf, in a thread of its own, and makes it the
/// process's global one. Does nothing without an endpoint. The endpoint is the collector's address, such
/// as `http://localhost:4318`; `/v1/traces` is added when it is not there.
///
/// Call it before [`Participant::run`](crate::Participant::run).
pub fn install(service_name: &str, otlp_endpoint: Option<&str>) -> Result<TelemetryGuard, TelemetryError> {
    let Some(endpoint) = otlp_endpoint.filter(|endpoint| !endpoint.is_empty()) else {
        return Ok(TelemetryGuard(None));
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(traces_endpoint(endpoint))
        .with_timeout(Duration::from_secs(5))
        .build()
        .map_err(|error| TelemetryError(error.to_string()))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service_name.to_owned()).build())
        .build();
    global::set_tracer_provider(provider.clone());
    Ok(TelemetryGuard(Some(provider)))
}

fn traces_endpoint(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v1/traces") { endpoint.to_owned() } else { format!("{endpoint}/v1/traces") }
}

/// Reads a W3C `traceparent`. Nothing when it is malformed, all zeros, or says "not sampled".
fn sampled_parent(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex =
        |text: &str, len| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !(hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2)) || version == "ff" {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags & TraceFlags::SAMPLED, true, TraceState::default());
    (context.is_valid() && context.is_sampled()).then_some(context)
}

/// Makes the spans of commands.
pub(crate) struct Spans(global::BoxedTracer);

impl std::fmt::Debug for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spans")
    }
}

impl Spans {
    pub(crate) fn new() -> Self {
        Self(global::tracer("snorri-participant"))
    }

    /// Begins the span of one command, when its saga is sampled and somebody records spans.
    pub(crate) fn begin(&self, command: &ReceivedCommand, subject: &str) -> Option<Context> {
        let parent = sampled_parent(command.traceparent.as_deref()?)?;
        let parent = Context::new().with_remote_span_context(parent);
        let span = self
            .0
            .span_builder(format!("process {subject}"))
            .with_kind(SpanKind::Consumer)
            .start_with_context(&self.0, &parent);
        let context = parent.with_span(span);
        let span = context.span();
        if !span.is_recording() {
            return None;
        }
        let effect = command.effect();
        let phase = match effect.direction {
            Direction::Action => "forward",
            Direction::Compensation => "compensate",
        };
        span.set_attributes([
            KeyValue::new("messaging.system", "nats"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", subject.to_owned()),
            KeyValue::new("saga.id", effect.saga.to_string()),
            KeyValue::new("saga.step", effect.step.as_str().to_owned()),
            KeyValue::new("saga.phase", phase),
            KeyValue::new("saga.attempt", i64::from(command.id.attempt)),
        ]);
        Some(context)
    }
}

/// Ends a command's span.
pub(crate) fn end(context: Option<&Context>, outcome: &'static str, duplicate: bool) {
    let Some(context) = context else { return };
    let span = context.span();
    span.set_attribute(KeyValue::new("saga.outcome", outcome));
    if duplicate {
        span.set_attribute(KeyValue::new("saga.duplicate", true));
    }
    if matches!(outcome, "failed" | "postponed") {
        span.set_status(Status::error(outcome));
        span.set_attribute(KeyValue::new("error.type", outcome));
    }
    span.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_and_sampled_parent_counts() {
        let trace = "01936d3e7f0a70008000000000000001";
        let good = format!("00-{trace}-00f067aa0ba902b7-01");
        let parent = sampled_parent(&good).expect("a parent");
        assert_eq!(parent.trace_id().to_string(), trace);
        assert!(parent.is_remote());
        for bad in [
            String::new(),
            "garbage".to_owned(),
            format!("00-{trace}-00f067aa0ba902b7-00"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
        ] {
            assert!(sampled_parent(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_path_of_traces_is_added_once() {
        for endpoint in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(traces_endpoint(endpoint), "http://c:4318/v1/traces");
        }
    }
}
