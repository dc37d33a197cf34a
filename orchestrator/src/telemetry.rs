//! Traces, derived from committed facts: the saga's id is the trace's id, and a span's id is the hash of
//! what it stands for. No span is ever open here. A crash loses at most what was not exported yet, and
//! a span that two replicas export is the same one.
//!
//! [`Tracer::committed`] makes the spans that a transition ended and hands them to a queue; a thread of
//! the queue's own sends them. The collector may be slow or away: then spans are lost, and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor};
use snorri_saga::definition::Definition;
use snorri_saga::ids::SagaId;
use snorri_saga::journal::Event;
use snorri_saga::saga::Saga;
use snorri_saga::time::Timestamp;
use snorri_saga::wire::Subjects;

pub(crate) mod answers;
mod export;
mod sampler;
mod spans;

use crate::metrics::LostSpans;
use export::Queue;
use sampler::Sampler;

/// How long the end waits for what is left in the queue.
const SHUTDOWN_MAX: Duration = Duration::from_secs(3);
/// Of how many sagas it is remembered when they turned round. Of more it is told from their state.
const TURNED_MAX: usize = 100_000;

/// Exports the spans of committed transitions. Cheap when no endpoint is set.
#[derive(Debug, Default)]
pub struct Tracer {
    on: Option<On>,
    subjects: Subjects,
}

#[derive(Debug)]
struct On {
    processor: Arc<BatchSpanProcessor>,
    queue: Arc<Queue>,
    sampler: Sampler,
    /// When the sagas that are being undone turned round, which their state does not tell. Only for the
    /// sagas that turned here; see [`spans::turned_at`] for the others.
    turned: Mutex<HashMap<SagaId, Timestamp>>,
}

impl Tracer {
    /// A tracer that exports to the endpoint, if there is one. Which sagas are traced is taken from
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`; all, when they are not set.
    pub fn new(endpoint: Option<&str>) -> Result<Self, crate::Error> {
        let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.trim().is_empty()) else {
            return Ok(Self::default());
        };
        let wrong = |why: String| crate::Error::Telemetry(export::without_secrets(endpoint), why);
        let sampler = Sampler::from_env().map_err(wrong)?;
        let (processor, queue) = export::start(endpoint).map_err(wrong)?;
        let on = On { processor: Arc::new(processor), queue, sampler, turned: Mutex::default() };
        Ok(Self { on: Some(on), subjects: Subjects::default() })
    }

    /// With the subjects that spans name.
    #[must_use]
    pub fn with_subjects(mut self, subjects: Subjects) -> Self {
        self.subjects = subjects;
        self
    }

    /// Has lost spans counted there.
    #[must_use]
    pub fn counting(self, lost: Arc<LostSpans>) -> Self {
        if let Some(on) = &self.on {
            on.queue.count_into(lost);
        }
        self
    }

    /// Exports what is left.
    pub async fn shut_down(&self) {
        let Some(on) = &self.on else { return };
        let processor = on.processor.clone();
        // It blocks until the exporting thread is done or the time is up.
        let done = tokio::task::spawn_blocking(move || processor.shutdown_with_timeout(SHUTDOWN_MAX));
        if let Ok(Err(error)) = done.await {
            tracing::debug!(%error, "the last spans may not have been exported");
        }
    }

    /// A transition was committed: export the spans that it ended.
    pub fn committed(
        &self,
        before: Option<&Saga>,
        after: &Saga,
        definition: &Definition,
        events: &[Event],
        at: Timestamp,
    ) {
        let Some(on) = &self.on else { return };
        if !on.sampler.is_sampled(after.id) {
            return;
        }
        let turned_at = on.turned_at(before, after, events, at);
        let facts = spans::Facts { before, after, definition, events, at, turned_at };
        spans::ended(&facts, &self.subjects, |span| {
            if on.queue.enter() {
                on.processor.on_end(span);
            }
        });
    }

    /// Whether anything is traced.
    pub fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// Whether commands of this saga carry a sampled trace context. The same on every replica that has the
    /// same settings.
    pub fn is_sampled(&self, saga: SagaId) -> bool {
        self.on.as_ref().is_some_and(|on| on.sampler.is_sampled(saga))
    }
}

impl On {
    /// When compensation began, for a saga that ends with this transition.
    fn turned_at(
        &self,
        before: Option<&Saga>,
        after: &Saga,
        events: &[Event],
        at: Timestamp,
    ) -> Option<Timestamp> {
        let mut found = None;
        for event in events {
            match event {
                Event::CompensationBegan { .. } => {
                    found = Some(at);
                    let mut turned = self.turned();
                    if turned.len() >= TURNED_MAX {
                        // Sagas that ended elsewhere are never taken out one by one.
                        turned.clear();
                    }
                    turned.insert(after.id, at);
                }
                Event::Ended { .. } if after.cause.is_some() => {
                    found = self.turned().remove(&after.id).or(found);
                    found = found.or_else(|| before.map(spans::turned_at));
                }
                _ => {}
            }
        }
        found
    }

    fn turned(&self) -> std::sync::MutexGuard<'_, HashMap<SagaId, Timestamp>> {
        // The map is never half-written.
        self.turned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;
