//! The admin port: is it alive, is it ready, did it start, and what does it count.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Serialize;
use snorri_bus::Bus;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::body;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::store::Postgres;

/// For how long an answer of readiness is given again: probes of many must not become load.
const READY_FOR: Duration = Duration::from_secs(1);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the probes say.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    started: AtomicBool,
    watched: OnceLock<(Postgres, Bus)>,
    last: Mutex<Option<(Instant, Checks)>>,
}

/// What readiness is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Checks {
    started: bool,
    /// Postgres answers and takes writes.
    postgres: bool,
    /// NATS is connected.
    nats: bool,
}

impl Probes {
    /// What readiness is asked of, from now on.
    pub fn watch(&self, store: Postgres, bus: Bus) {
        // A second call changes nothing: one process has one store and one bus.
        let _ = self.inner.watched.set((store, bus));
    }

    /// The orchestrator is up.
    pub fn started(&self) {
        self.inner.started.store(true, Ordering::Relaxed);
    }

    fn is_started(&self) -> bool {
        self.inner.started.load(Ordering::Relaxed)
    }

    async fn checks(&self) -> Checks {
        // One asks and the others wait for the answer.
        let mut last = self.inner.last.lock().await;
        if let Some((at, checks)) = *last
            && at.elapsed() < READY_FOR
        {
            return Checks { started: self.is_started(), ..checks };
        }
        let (postgres, nats) = match self.inner.watched.get() {
            Some((store, bus)) => (store.is_writable().await, bus.is_connected()),
            None => (false, false),
        };
        let checks = Checks { started: self.is_started(), postgres, nats };
        *last = Some((Instant::now(), checks));
        checks
    }
}

#[derive(Debug, Clone)]
struct Admin {
    probes: Probes,
    metrics: Arc<Metrics>,
}

/// The routes of the admin port.
pub(super) fn router(probes: Probes, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/startupz", get(startup))
        .route("/metrics", get(count))
        .fallback(|request: Request| async move { Problem::unknown_route(request.uri().path()) })
        .method_not_allowed_fallback(|request: Request| async move {
            Problem::method_not_allowed(request.method().as_str())
        })
        .with_state(Admin { probes, metrics })
}

/// That it answers is the answer. A database that is away is no reason to be restarted.
async fn live() -> Response {
    body::json_bytes(StatusCode::OK, br#"{"live":true}"#.to_vec())
}

#[derive(Debug, Serialize)]
struct ReadyView {
    ready: bool,
    checks: Checks,
}

async fn ready(State(admin): State<Admin>) -> Response {
    let checks = admin.probes.checks().await;
    let ready = checks.started && checks.postgres && checks.nats;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    body::json(status, &ReadyView { ready, checks }).unwrap_or_else(Problem::into_response)
}

async fn startup(State(admin): State<Admin>) -> Response {
    let started = admin.probes.is_started();
    let status = if started { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    body::json_bytes(status, format!(r#"{{"started":{started}}}"#).into_bytes())
}

async fn count(State(admin): State<Admin>) -> Response {
    let mut response = admin.metrics.render().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
    response
}
