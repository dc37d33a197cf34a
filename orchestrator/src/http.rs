//! REST, probes and metrics.
//!
//! A handler is a function from a request to a response or a [`Problem`]; [`gate::run`] stands around each
//! and sees to what all have in common: the cap on requests in flight, the limit of time, panics, metrics.
//! It is a function and not a stack of middleware because starts go through it thousands of times a second.
//!
//! [`Problem`]: crate::problem::Problem

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use snorri_bus::Bus;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::acts::Acts;
use crate::clock::Clock;
use crate::definitions::Definitions;
use crate::engine::{Engine, Waiters};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::store::Postgres;

mod approvals;
mod body;
mod breaker;
mod cancel;
mod connections;
mod dead_letters;
mod definitions;
mod errors;
mod gate;
mod list;
mod params;
mod pictures;
mod probes;
mod sagas;
mod said;
mod signals;
mod starts;
mod turns;
mod versions;
mod view;
mod wait;

pub use probes::Probes;

/// What the REST API works with.
#[derive(Debug, Clone)]
pub struct Api {
    /// Moves sagas.
    pub engine: Engine,
    /// Reads them.
    pub store: Postgres,
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

/// What the handlers share: one allocation, so that a request costs one counter and not ten.
#[derive(Debug)]
struct Rest {
    api: Api,
    gate: gate::Gate,
    polls: wait::Polls,
    breaker: breaker::Breaker,
    /// Turns at making a list.
    listing: Arc<Semaphore>,
    /// Turns at what takes long with definitions.
    turns: turns::Turns,
    stop: CancellationToken,
}

impl Rest {
    /// What speaks to sagas that wait.
    fn acts(&self) -> Acts<'_> {
        let Api { engine, definitions, metrics, .. } = &self.api;
        Acts { engine, definitions, metrics }
    }
}

/// Serves the REST API until told to stop.
pub async fn serve(listener: TcpListener, api: Api, stop: CancellationToken) {
    let rest = Arc::new(Rest {
        api,
        gate: gate::Gate::default(),
        polls: wait::Polls::default(),
        breaker: breaker::Breaker::default(),
        listing: Arc::new(Semaphore::new(list::LISTING_MAX)),
        turns: turns::Turns::default(),
        stop: stop.clone(),
    });
    let polling = rest.clone();
    tokio::join!(
        connections::serve(listener, router(rest), connections::API_MAX, stop.clone()),
        async move { polling.polls.run(&polling.api, &stop).await },
    );
}

/// Serves probes and metrics until told to stop.
pub async fn serve_admin(
    listener: TcpListener,
    probes: Probes,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    connections::serve(listener, probes::router(probes, metrics), connections::ADMIN_MAX, stop).await;
}

fn router(rest: Arc<Rest>) -> Router {
    Router::new()
        .route("/v1/definitions", post(definitions::submit).get(definitions::list))
        .route("/v1/definitions/check", post(definitions::check).get(definitions::newest_check))
        .route("/v1/definitions/schema", get(pictures::schema))
        .route("/v1/definitions/{name}", get(definitions::newest))
        .route("/v1/definitions/{name}/versions", get(versions::list))
        .route("/v1/definitions/{name}/diff", get(versions::diff))
        .route("/v1/definitions/{name}/graph", get(pictures::newest))
        .route("/v1/definitions/{name}/{version}", get(definitions::version).delete(versions::remove))
        .route("/v1/definitions/{name}/{version}/graph", get(pictures::version))
        .route("/v1/sagas", post(starts::start).get(list::list))
        .route("/v1/sagas/{id}", get(sagas::saga))
        .route("/v1/sagas/{id}/journal", get(sagas::journal))
        .route("/v1/sagas/{id}/wait", get(wait::wait))
        .route("/v1/sagas/{id}/cancel", post(cancel::cancel))
        .route("/v1/sagas/{id}/signals/{name}", post(signals::signal))
        .route("/v1/sagas/{id}/approvals/{step}", post(approvals::decide))
        .route("/v1/dead-letters", get(dead_letters::list))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(rest)
}

async fn unknown_route(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let problem = Problem::unknown_route(request.uri().path());
    gate::run(&rest, "unknown", async { Err(problem) }).await
}

async fn method_not_allowed(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let problem = Problem::method_not_allowed(request.method().as_str());
    gate::run(&rest, "unknown", async { Err(problem) }).await
}
