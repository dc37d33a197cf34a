//! REST, probes and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use snorri_bus::Bus;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::definitions::Definitions;
use crate::engine::{Engine, Waiters};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::store::Store;

/// What the REST API works with.
#[derive(Debug, Clone)]
pub struct Api {
    /// Moves sagas.
    pub engine: Engine,
    /// Reads them.
    pub store: Store,
    /// For readiness.
    pub bus: Bus,
    /// Postgres's time.
    pub clock: Arc<Clock>,
    /// The definitions in use.
    pub definitions: Arc<Definitions>,
    /// Limits of starts.
    pub intake: Arc<Intake>,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// For those who wait for an end.
    pub waiters: Arc<Waiters>,
    /// What the probes say.
    pub probes: Probes,
}

/// What the probes say.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    started: Arc<AtomicBool>,
}

impl Probes {
    /// The orchestrator is up.
    pub fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }
}

/// Serves the REST API until told to stop.
pub async fn serve(listener: TcpListener, _api: Api, stop: CancellationToken) {
    let router = axum::Router::new();
    let _ = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await;
}

/// Serves probes and metrics until told to stop.
pub async fn serve_admin(
    listener: TcpListener,
    _probes: Probes,
    _metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let router = axum::Router::new();
    let _ = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await;
}
