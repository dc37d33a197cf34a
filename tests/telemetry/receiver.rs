//! A receiver of traces: OTLP over HTTP with protobuf, as a collector has it. One for the process, since
//! participants export through the process's global tracer; traces are told apart by their id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// A span as it came in.
#[derive(Debug, Clone)]
pub struct Seen {
    pub service: String,
    pub span: Span,
}

impl Seen {
    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// An attribute as text.
    pub fn text(&self, key: &str) -> String {
        attribute(&self.span.attributes, key)
    }
}

/// The receiver.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub endpoint: String,
    spans: Arc<Mutex<HashMap<String, Vec<Seen>>>>,
}

impl Receiver {
    /// The process's receiver, with the participants' telemetry going there.
    pub fn get() -> &'static Self {
        static RECEIVER: OnceLock<Receiver> = OnceLock::new();
        RECEIVER.get_or_init(|| {
            let receiver = Self::start();
            let guard = snorri_participant::telemetry::install("stock", Some(&receiver.endpoint)).unwrap();
            // For as long as the process lives.
            std::mem::forget(guard);
            receiver
        })
    }

    /// On a thread of its own: tests come and go with their runtimes.
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let receiver = Self { endpoint, spans: Arc::default() };
        let router = Router::new().route("/v1/traces", post(receive)).with_state(receiver.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        receiver
    }

    /// The spans of a trace, so far.
    pub fn trace(&self, id: &str) -> Vec<Seen> {
        self.spans.lock().unwrap().get(id).cloned().unwrap_or_default()
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != "application/x-protobuf") {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut spans = receiver.spans.lock().unwrap();
    for of in request.resource_spans {
        let resource = of.resource.unwrap_or_default();
        let service = attribute(&resource.attributes, "service.name");
        for span in of.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let seen = Seen { service: service.clone(), span };
            spans.entry(hex(&seen.span.trace_id)).or_default().push(seen);
        }
    }
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

fn attribute(attributes: &[KeyValue], key: &str) -> String {
    match attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone()) {
        Some(AnyValue { value: Some(value) }) => match value {
            Value::StringValue(text) => text,
            Value::IntValue(number) => number.to_string(),
            Value::BoolValue(is) => is.to_string(),
            other => format!("{other:?}"),
        },
        _ => String::new(),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
