//! `GET /v1/sagas/{id}/wait`: a long poll for the end of a saga.
//!
//! Whoever waits is woken at once when this replica commits the end. Another replica may commit it, so there is
//! a question to Postgres twice a second besides: one for all who wait, not one for each.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use snorri_saga::ids::SagaId;
use snorri_saga::time::Millis;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;

use super::gate::Place;
use super::params::{Params, saga_id};
use super::sagas::{Found, Segment, segment};
use super::{Api, Rest, gate};
use crate::problem::Problem;

const TIMEOUT_DEFAULT: Millis = Millis::secs(30);
const TIMEOUT_MAX: Millis = Millis::secs(60);
/// What the look-ups before and after the waiting may take on top.
const LOOK_UPS: Duration = Duration::from_secs(20);
/// The most who wait at once.
const WAITING_MAX: usize = 10_000;
/// How often Postgres is asked.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// The most sagas of one question.
const POLLED_MAX: usize = 1000;

/// The sagas whose end somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Polls {
    sagas: Mutex<HashMap<SagaId, usize>>,
    count: AtomicUsize,
}

/// One who waits. Dropping it strikes it off.
struct Polled<'a> {
    polls: &'a Polls,
    id: SagaId,
    _place: Place<'a>,
}

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        let mut sagas = self.polls.lock();
        if let Some(count) = sagas.get_mut(&self.id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                sagas.remove(&self.id);
            }
        }
    }
}

impl Polls {
    fn on(&self, id: SagaId) -> Option<Polled<'_>> {
        let place = gate::place(&self.count, WAITING_MAX)?;
        *self.lock().entry(id).or_default() += 1;
        Some(Polled { polls: self, id, _place: place })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SagaId, usize>> {
        // The map is never half-written.
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks Postgres for the ends that other replicas committed, until told to stop.
    pub(super) async fn run(&self, api: &Api, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(POLL_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let ids: Vec<SagaId> = self.lock().keys().copied().collect();
            for some in ids.chunks(POLLED_MAX) {
                match api.store.ended_among(some).await {
                    Ok(ended) => ended.into_iter().for_each(|id| api.waiters.ended(id)),
                    // Those who wait look for themselves at the end of their time, and say what they find.
                    Err(error) => tracing::debug!(error = error.chain(), "could not ask who has ended"),
                }
            }
        }
    }
}

/// Waits for the end of a saga.
pub(super) async fn wait(State(rest): State<Arc<Rest>>, id: Segment, uri: Uri) -> Response {
    let limit = TIMEOUT_MAX.to_std() + LOOK_UPS;
    gate::run_waiting(&rest, "GET /v1/sagas/{id}/wait", limit, until_ended(&rest, id, &uri)).await
}

async fn until_ended(rest: &Rest, id: Segment, uri: &Uri) -> Result<Response, Problem> {
    let api = &rest.api;
    let id = saga_id(&segment(id)?)?;
    let params = Params::of(uri, &["timeout"])?;
    let parse = |text: &str| Millis::parse(text).ok().filter(|timeout| *timeout <= TIMEOUT_MAX);
    let expected = format!("a duration of at most {TIMEOUT_MAX}, such as 30s or 500ms");
    let timeout = params.parsed("timeout", parse, &expected)?.unwrap_or(TIMEOUT_DEFAULT);
    let until = Instant::now() + timeout.to_std();
    let Some(_polled) = rest.polls.on(id) else {
        return Err(Problem::overloaded("waits"));
    };
    let found = loop {
        // First the bell, then the look: an end in between is not missed.
        let waiting = api.waiters.on(id);
        let ended = waiting.ended();
        let found = Found::look_up(api, id).await?;
        if found.is_ended() || Instant::now() >= until || rest.stop.is_cancelled() {
            break found;
        }
        tokio::select! {
            () = ended => {}
            () = sleep_until(until) => {}
            // Whoever waits asks another replica.
            () = rest.stop.cancelled() => {}
        }
    };
    found.respond(if found.is_ended() { StatusCode::OK } else { StatusCode::ACCEPTED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_struck_off_at_the_end() {
        let polls = Polls::default();
        let id = SagaId(uuid::Uuid::nil());
        let first = polls.on(id);
        let second = polls.on(id);
        drop(first);
        assert_eq!(polls.lock().get(&id), Some(&1));
        drop(second);
        assert!(polls.lock().is_empty());
        assert_eq!(polls.count.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}
