//! The load: orders that come at a fixed rate whether the system answers or not, as customers do. A start that is not
//! answered is repeated with the same idempotency key, at the next orchestrator.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use snorri_demo::{Accepted, World};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

/// How long a start may take to be answered before it is repeated.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// The most starts that wait for an answer; beyond it the load waits too, which the report says.
const WAITING_MAX: usize = 4000;
/// One in so many orders is refused by the carrier, on top of those that are drawn to be refused.
const REFUSED_EVERY: u64 = 10;
/// One in so many accepted starts is repeated all the same, at another orchestrator.
const REPEATED_EVERY: u64 = 20;

/// What the load has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// All answers with 2xx.
    pub(super) accepted: Mutex<Vec<Accepted>>,
    /// Orders begun, whether they were answered or not.
    pub(super) begun: AtomicU64,
    /// Orders accepted.
    pub(super) answered: AtomicU64,
    /// Requests that were not answered, or with a 429 or 5xx, and repeated.
    pub(super) repeated: AtomicU64,
    /// Refusals that a good start must not get.
    pub(super) refused: Mutex<Vec<String>>,
    /// Moments at which too many starts were waiting.
    pub(super) held_back: AtomicU64,
}

impl Seen {
    /// Starts that wait for an answer.
    pub(super) fn waiting(&self) -> u64 {
        self.begun.load(Ordering::Relaxed).saturating_sub(self.answered.load(Ordering::Relaxed))
    }

    pub(super) fn accepted(&self) -> Vec<Accepted> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is to be ordered.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) apis: Vec<String>,
    pub(super) rate: u64,
    pub(super) seed: u64,
    pub(super) world: World,
    pub(super) seen: Arc<Seen>,
    /// No further orders are begun once this is set.
    pub(super) stop: Arc<AtomicBool>,
}

/// Orders until told to stop, then until all starts are answered.
pub(super) async fn run(load: Load) -> Result<(), reqwest::Error> {
    // Connections to a process that was killed are of no use, and a new one on this machine costs nothing.
    let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).pool_max_idle_per_host(16).build()?;
    let load = Arc::new(load);
    let mut tick = interval(Duration::from_micros(1_000_000 / load.rate.max(1)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut waiting = JoinSet::new();
    let mut n = 0;
    while !load.stop.load(Ordering::Relaxed) {
        tokio::select! {
            biased;
            Some(_) = waiting.join_next() => {}
            _ = tick.tick() => {
                if waiting.len() >= WAITING_MAX {
                    load.seen.held_back.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                n += 1;
                load.seen.begun.fetch_add(1, Ordering::Relaxed);
                waiting.spawn(order(load.clone(), http.clone(), n));
            }
        }
    }
    while waiting.join_next().await.is_some() {}
    Ok(())
}

/// The n-th order of a seed.
fn nth(seed: u64, n: u64, world: &World) -> Value {
    let mut order = snorri_demo::order(seed, n, world);
    if n.is_multiple_of(REFUSED_EVERY)
        && let Some(fields) = order.as_object_mut()
    {
        fields.insert("trouble".to_owned(), json!({"shipping": "carrier_refused"}));
    }
    order
}

fn key_of(seed: u64, n: u64) -> String {
    format!("chaos-{seed}-{n}")
}

/// The order that was started with a key.
pub(super) fn order_of(key: &str, seed: u64, world: &World) -> Option<Value> {
    let n = key.rsplit('-').next()?.parse().ok()?;
    (key == key_of(seed, n)).then(|| nth(seed, n, world))
}

async fn order(load: Arc<Load>, http: reqwest::Client, n: u64) {
    let input = nth(load.seed, n, &load.world);
    let key = key_of(load.seed, n);
    start(&load, &http, &key, &input, n).await;
    load.seen.answered.fetch_add(1, Ordering::Relaxed);
    if n.is_multiple_of(REPEATED_EVERY) {
        // As a client does whose connection broke after the answer: it must be given the same saga.
        start(&load, &http, &key, &input, n + 1).await;
    }
}

/// Repeats a start until it is answered.
async fn start(load: &Load, http: &reqwest::Client, key: &str, input: &Value, n: u64) {
    #[derive(Deserialize)]
    struct Started {
        id: Uuid,
    }
    let body = json!({"definition": "order", "input": input});
    let mut place = usize::try_from(n).unwrap_or(0);
    let mut pause = Duration::from_millis(100);
    loop {
        let Some(api) = load.apis.get(place % load.apis.len().max(1)) else { return };
        place += 1;
        let request = http.post(format!("{api}/v1/sagas")).header("idempotency-key", key).json(&body);
        if let Ok(answer) = request.send().await {
            let status = answer.status();
            if status.is_success() {
                // An answer that broke off in the middle is none.
                if let Ok(Started { id }) = answer.json().await {
                    let accepted = Accepted { key: key.to_owned(), saga: id };
                    load.seen.accepted.lock().unwrap_or_else(PoisonError::into_inner).push(accepted);
                    return;
                }
            } else if status.is_client_error() && status.as_u16() != 429 {
                let why = answer.text().await.unwrap_or_default();
                let refused = format!("the start with the key {key} was refused: {status}: {why}");
                load.seen.refused.lock().unwrap_or_else(PoisonError::into_inner).push(refused);
                return;
            }
        }
        load.seen.repeated.fetch_add(1, Ordering::Relaxed);
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Waits until all orders are answered, at most so long. Tells whether they are.
pub(super) async fn all_answered(seen: &Seen, within: Duration) -> bool {
    let until = Instant::now() + within;
    while seen.waiting() > 0 {
        if Instant::now() > until {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_told_from_its_key() {
        let world = World::for_orders(100);
        let refused = order_of(&key_of(7, 20), 7, &world).expect("an order");
        assert_eq!(refused, nth(7, 20, &world));
        assert_eq!(refused["trouble"]["shipping"], "carrier_refused");
        assert_eq!(order_of(&key_of(7, 21), 7, &world), Some(snorri_demo::order(7, 21, &world)));
        for key in ["", "chaos-7-", "chaos-8-20", "chaos-7-020"] {
            assert_eq!(order_of(key, 7, &world), None, "{key}");
        }
    }
}
