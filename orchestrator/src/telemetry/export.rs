//! The way out: a bounded queue, a thread of its own, and OTLP over HTTP. Nothing here waits, and nothing
//! that goes wrong here is more than a count and a line in the log a minute.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor as _,
};

use crate::metrics::LostSpans;

/// The most spans that wait to be sent, near a kilobyte each. More are lost.
const QUEUE_MAX: usize = 16 * 1024;
/// The most spans of one request.
const BATCH_MAX: usize = 1024;
/// How long a span waits for others.
const DELAY: Duration = Duration::from_millis(500);
/// How long one request may take, its repetitions included.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often trouble is logged.
const LOG_EVERY_SECS: i64 = 60;
/// Where a collector takes traces.
const PATH: &str = "/v1/traces";

/// How full the queue is, and what was lost.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: AtomicUsize,
    lost: OnceLock<Arc<LostSpans>>,
    logged_at: AtomicI64,
}

impl Queue {
    /// Room for one more span? If not, it is lost.
    pub(super) fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < QUEUE_MAX {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.lose(1, "the collector does not keep up");
        false
    }

    pub(super) fn count_into(&self, lost: Arc<LostSpans>) {
        let _ = self.lost.set(lost);
    }

    fn lose(&self, count: usize, why: &str) {
        let lost = self.lost.get_or_init(Arc::default);
        let before = lost.add(count as u64);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(since).unwrap_or(0);
        let logged_at = self.logged_at.load(Ordering::Relaxed);
        // One of the threads that come here at once wins, and says it for all.
        if now - logged_at >= LOG_EVERY_SECS
            && self.logged_at.compare_exchange(logged_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(lost = before + count as u64, why, "spans are lost; sagas are not disturbed");
        }
    }
}

/// The exporter, watched.
#[derive(Debug)]
struct Watched {
    exporter: opentelemetry_otlp::SpanExporter,
    queue: Arc<Queue>,
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.queue.waiting.fetch_sub(count, Ordering::Relaxed);
        let result = self.exporter.export(batch).await;
        if let Err(error) = &result {
            self.queue.lose(count, &error.to_string());
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Starts the exporting thread. Says what is wrong with the endpoint, but not that nobody listens there:
/// a collector may come later.
pub(super) fn start(endpoint: &str) -> Result<(BatchSpanProcessor, Arc<Queue>), String> {
    let url = traces_url(endpoint)?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| error.to_string())?;
    let queue = Arc::new(Queue::default());
    let settings = BatchConfigBuilder::default()
        // The queue itself turns away what is too much, since it counts it; the channel only has to hold it.
        .with_max_queue_size(QUEUE_MAX)
        .with_max_export_batch_size(BATCH_MAX)
        .with_scheduled_delay(DELAY)
        .build();
    let watched = Watched { exporter, queue: queue.clone() };
    let mut processor = BatchSpanProcessor::new(watched, settings);
    processor.set_resource(&resource());
    Ok((processor, queue))
}

fn resource() -> Resource {
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("snorri");
    }
    resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build()
}

/// The endpoint is a base address, as OpenTelemetry has it.
fn traces_url(endpoint: &str) -> Result<String, String> {
    let mend = "write the collector's base address, such as http://jaeger:4318";
    let url = reqwest::Url::parse(endpoint.trim()).map_err(|error| format!("{error}: {mend}"))?;
    match url.scheme() {
        "http" => {}
        "https" => {
            return Err(format!(
                "traces are sent without TLS only: {mend}, of a collector on this machine or network"
            ));
        }
        other => return Err(format!("`{other}` is not a scheme for OTLP over HTTP: {mend}")),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("it has a query or a fragment: {mend}"));
    }
    let base = url.as_str().trim_end_matches('/');
    Ok(if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") })
}

/// The endpoint as it may be shown: without what stands before the host.
pub(super) fn without_secrets(endpoint: &str) -> String {
    let shown = match endpoint.rsplit_once('@') {
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://…@{host}"),
            None => format!("…@{host}"),
        },
        None => endpoint.to_owned(),
    };
    shown.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_appended_once() {
        for endpoint in
            ["http://h:4318", "http://h:4318/", " http://h:4318/v1/traces ", "http://h:4318/v1/traces/"]
        {
            assert_eq!(traces_url(endpoint).as_deref(), Ok("http://h:4318/v1/traces"), "{endpoint}");
        }
        assert_eq!(traces_url("http://h/otel/").as_deref(), Ok("http://h/otel/v1/traces"));
    }

    #[test]
    fn a_wrong_endpoint_is_refused_with_the_mend() {
        for endpoint in ["jaeger:4318", "jaeger", "http://", "grpc://h:4317", "https://h", "http://h/?a=b"] {
            let error = traces_url(endpoint).expect_err(endpoint);
            assert!(error.contains("http://jaeger:4318"), "{endpoint}: {error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_secrets("http://me:secret@h:4318"), "http://…@h:4318");
        assert_eq!(without_secrets("me:secret@h"), "…@h");
        assert_eq!(without_secrets("http://h"), "http://h");
    }

    #[test]
    fn a_full_queue_turns_spans_away_and_counts_them() {
        let (queue, lost) = (Queue::default(), Arc::new(LostSpans::default()));
        queue.count_into(lost.clone());
        assert!((0..QUEUE_MAX).all(|_| queue.enter()));
        assert!(!queue.enter() && !queue.enter());
        assert_eq!(lost.get(), 2);
        queue.waiting.fetch_sub(1, Ordering::Relaxed);
        assert!(queue.enter());
    }
}
