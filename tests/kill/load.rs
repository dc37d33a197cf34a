//! The orders of a case as a good client starts them: each with a key, repeated until it is answered, at whichever
//! replica takes it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::fleet::Fleet;

/// How long a start is repeated.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long one answer is awaited; longer than the server takes to refuse, shorter than a hang.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);
/// So many are started at once, the others one after the other.
const AT_ONCE: usize = 8;
const ONE_BY_ONE: Duration = Duration::from_millis(60);

pub(crate) struct Client<'a> {
    fleet: &'a Mutex<Fleet>,
    http: reqwest::Client,
    /// What is started.
    definition: &'static str,
    accepted: AtomicUsize,
}

impl<'a> Client<'a> {
    pub(crate) fn new(fleet: &'a Mutex<Fleet>, definition: &'static str) -> Self {
        let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).build().expect("a client");
        Self { fleet, http, definition, accepted: AtomicUsize::new(0) }
    }

    /// How many starts were answered.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Repeats a request until it succeeds, at one door after the other.
    async fn insist(
        &self,
        first: usize,
        only: Option<&str>,
        request: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> Result<Value, String> {
        let until = Instant::now() + PATIENCE;
        let mut why = "no replica was up".to_owned();
        let mut turn = first;
        while Instant::now() < until {
            let doors = self.fleet.lock().await.doors(only);
            if !doors.is_empty() {
                let door = &doors[turn % doors.len()];
                turn += 1;
                match request(&self.http, door).send().await {
                    Ok(answer) if answer.status().is_success() => {
                        // The process may die in the middle of its answer.
                        match answer.json().await {
                            Ok(body) => return Ok(body),
                            Err(error) => why = error.to_string(),
                        }
                    }
                    Ok(answer) if answer.status().is_server_error() || answer.status().as_u16() == 429 => {
                        why = answer.status().to_string();
                    }
                    Ok(answer) => {
                        return Err(format!("refused: {} {:?}", answer.status(), answer.text().await));
                    }
                    Err(error) => why = error.to_string(),
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(format!("not answered within {PATIENCE:?}: {why}"))
    }

    pub(crate) async fn submit(&self, definition: &'static str) -> Result<(), String> {
        let request = |http: &reqwest::Client, door: &str| {
            http.post(format!("{door}/v1/definitions"))
                .header("content-type", "application/yaml")
                .body(definition)
        };
        self.insist(0, None, request).await.map(drop)
    }

    async fn start(&self, order: &Value, only: Option<&str>, turn: usize) -> Result<Uuid, String> {
        let key = order["order_id"].as_str().unwrap_or_default();
        let body = json!({"definition": self.definition, "input": order});
        let answer = self
            .insist(turn, only, |http, door| {
                http.post(format!("{door}/v1/sagas")).header("idempotency-key", key).json(&body)
            })
            .await
            .map_err(|error| format!("the start of {key}: {error}"))?;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        answer["id"].as_str().and_then(|id| id.parse().ok()).ok_or_else(|| format!("no id: {answer}"))
    }

    /// Starts the orders and returns the sagas' ids in their order.
    pub(crate) async fn start_all(&self, orders: &[Value], only: Option<&str>) -> Result<Vec<Uuid>, String> {
        let mut starting: FuturesUnordered<_> = orders
            .iter()
            .enumerate()
            .map(|(n, order)| async move {
                let late = u32::try_from(n.saturating_sub(AT_ONCE)).unwrap_or(0);
                sleep(ONE_BY_ONE * late).await;
                (n, self.start(order, only, n).await)
            })
            .collect();
        let mut ids = vec![Uuid::nil(); orders.len()];
        while let Some((n, id)) = starting.next().await {
            ids[n] = id?;
        }
        Ok(ids)
    }
}
