//! The REST API as the demo uses it, with the patience of a good client: a request that could not be
//! answered is repeated with the same idempotency key.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Error;

/// How long a request is repeated before the demo gives up.
const PATIENCE: Duration = Duration::from_mins(2);

/// A saga as the API tells it, as far as the demo looks.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SagaView {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) cause: Option<CauseView>,
    pub(crate) duration_ms: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CauseView {
    pub(crate) code: String,
    pub(crate) step: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    base: String,
    http: reqwest::Client,
}

fn failed(what: &str, why: impl std::fmt::Display) -> Error {
    Error::Api(format!("{what}: {why}"))
}

impl Client {
    pub(crate) fn new(base: &str) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(40))
            .build()
            .map_err(|error| failed("cannot make an HTTP client", error))?;
        Ok(Self { base: base.to_owned(), http })
    }

    pub(crate) async fn submit(&self, definition: &str) -> Result<(), Error> {
        let answer = self
            .http
            .post(format!("{}/v1/definitions", self.base))
            .header("content-type", "application/yaml")
            .body(definition.to_owned())
            .send()
            .await
            .map_err(|error| failed("cannot submit the definition", error))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(failed("the definition was refused", answer.text().await.unwrap_or_default()))
    }

    /// Starts an order and returns the saga's id. Repeated until it is answered: the key makes it one saga.
    pub(crate) async fn start(&self, key: &str, input: &Value) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Started {
            id: String,
        }
        let url = format!("{}/v1/sagas", self.base);
        let body = serde_json::json!({"definition": "order", "input": input});
        let until = Instant::now() + PATIENCE;
        loop {
            let request = self.http.post(&url).header("idempotency-key", key).json(&body);
            let why = match request.send().await {
                Ok(answer) if answer.status().is_success() => match answer.json::<Started>().await {
                    Ok(started) => return Ok(started.id),
                    Err(error) => error.to_string(),
                },
                Ok(answer) if answer.status().is_client_error() && answer.status().as_u16() != 429 => {
                    return Err(failed("the start was refused", answer.text().await.unwrap_or_default()));
                }
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.to_string(),
            };
            if Instant::now() > until {
                return Err(failed("the start was not answered", why));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the saga has ended.
    pub(crate) async fn ended(&self, id: &str) -> Result<SagaView, Error> {
        let url = format!("{}/v1/sagas/{id}/wait?timeout=30s", self.base);
        let until = Instant::now() + Duration::from_mins(10);
        loop {
            let why = match self.http.get(&url).send().await {
                Ok(answer) if answer.status().as_u16() == 200 => match answer.json::<SagaView>().await {
                    Ok(saga) => return Ok(saga),
                    Err(error) => error.to_string(),
                },
                Ok(answer) if answer.status().as_u16() == 202 => "it has not ended".to_owned(),
                Ok(answer) if answer.status().as_u16() == 404 => {
                    return Err(Error::Api(format!("the saga {id} was accepted and is gone")));
                }
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.to_string(),
            };
            if Instant::now() > until {
                return Err(failed(&format!("the saga {id} did not end within 10 minutes"), why));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The journal's rows after the given one.
    pub(crate) async fn journal(&self, id: &str, after: i64) -> Result<Vec<Value>, Error> {
        #[derive(Deserialize)]
        struct Page {
            rows: Vec<Value>,
        }
        let url = format!("{}/v1/sagas/{id}/journal?after={after}", self.base);
        let answer =
            self.http.get(&url).send().await.map_err(|error| failed("cannot read the journal", error))?;
        let page: Page = answer.json().await.map_err(|error| failed("cannot read the journal", error))?;
        Ok(page.rows)
    }
}
