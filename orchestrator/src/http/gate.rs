//! What every request passes: the cap on those in flight, the limit of time, panics, metrics.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;

use super::Rest;
use crate::problem::Problem;

/// The most requests in flight. More are turned away at once, which costs less than serving them late.
const IN_FLIGHT_MAX: usize = 2000;
/// The route whose refusals are counted apart.
pub(super) const STARTS: &str = "POST /v1/sagas";
/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Counts what is under way, up to a limit.
#[derive(Debug, Default)]
pub(super) struct Gate {
    in_flight: AtomicUsize,
}

/// A place among those under way, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a place, if there is one.
pub(super) fn place(count: &AtomicUsize, places_max: usize) -> Option<Place<'_>> {
    let place = Place(count);
    // Counted first and given back if it was one too many: never over the limit, and no loop.
    let before = count.fetch_add(1, Ordering::Relaxed);
    (before < places_max).then_some(place)
}

/// Runs a handler within the common limits.
pub(super) async fn run(
    rest: &Rest,
    route: &'static str,
    work: impl Future<Output = Result<Response, Problem>>,
) -> Response {
    let began = Instant::now();
    let response = match place(&rest.gate.in_flight, IN_FLIGHT_MAX) {
        None => {
            if route == STARTS {
                rest.api.metrics.refused("requests");
            }
            Problem::overloaded("requests").into_response()
        }
        Some(_place) => limited(route, REQUEST_TIMEOUT, work).await,
    };
    rest.api.metrics.http(route, response.status().as_u16(), began.elapsed().as_secs_f64());
    response
}

/// The same for a request that waits for something: it has a limit of its own and takes no place from others.
pub(super) async fn run_waiting(
    rest: &Rest,
    route: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<Response, Problem>>,
) -> Response {
    let began = Instant::now();
    let response = limited(route, limit, work).await;
    rest.api.metrics.http(route, response.status().as_u16(), began.elapsed().as_secs_f64());
    response
}

async fn limited(
    route: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<Response, Problem>>,
) -> Response {
    // What a panic leaves half-done is local to the request: all shared state is behind its own locks.
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(problem))) => problem.into_response(),
        Ok(Err(panic)) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(route, panic = text, "a request's handler panicked");
            Problem::internal("the request could not be handled; the log of this replica has the reason")
                .into_response()
        }
        Err(_) => {
            tracing::warn!(route, limit_ms = limit.as_millis(), "a request was given up");
            Problem::timed_out(limit).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_places_are_given_and_each_comes_back() {
        let count = AtomicUsize::new(0);
        let held: Vec<_> = (0..5).filter_map(|_| place(&count, 3)).collect();
        assert_eq!((held.len(), count.load(Ordering::Relaxed)), (3, 3));
        drop(held);
        assert!(place(&count, 1).is_some());
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_document() {
        let response = limited("test", REQUEST_TIMEOUT, async { panic!("on purpose") }).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_hangs_is_given_up() {
        let response = limited("test", REQUEST_TIMEOUT, std::future::pending()).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
    }
}
