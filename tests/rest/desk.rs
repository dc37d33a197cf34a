//! A replica with its API in front of it, and answers as they come over the wire.

use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use snorri::Orchestrator;
use snorri::config::Config;
use snorri_bus::headers::{ReceivedCommand, reply};
use snorri_saga::wire::Outcome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Hand, Place, Rest, eventually};

pub struct Desk {
    pub place: Place,
    pub replica: Orchestrator,
    pub rest: Rest,
    pub admin: String,
}

/// An answer with all that a client can see of it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Desk {
    pub async fn open(hint: &'static str) -> Self {
        Self::with(hint, |_| {}).await
    }

    pub async fn with(hint: &'static str, change: impl FnOnce(&mut Config)) -> Self {
        let place = Place::shared(hint).await;
        Self::at(place, "one", change).await
    }

    pub async fn at(place: Place, name: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = place.config(name);
        change(&mut config);
        let replica = Orchestrator::start(config).await.expect("an orchestrator");
        let rest = Rest::of(&replica);
        let admin = format!("http://{}", replica.admin_address);
        Self { place, replica, rest, admin }
    }

    pub fn http(&self) -> &Client {
        &self.rest.http
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.rest.base)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.http().get(self.url(path))).await
    }

    pub async fn admin(&self, path: &str) -> Answer {
        send(self.http().get(format!("{}{path}", self.admin))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.http().post(self.url(path)).json(body)).await
    }

    /// A body of any kind, even one that is no JSON.
    pub async fn post_text(&self, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
        send(self.http().post(self.url(path)).header("content-type", kind).body(body)).await
    }

    /// What the server answers to these very bytes, up to the end of the connection.
    pub async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.replica.address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    pub async fn start_with_key(&self, key: &str, body: &Value) -> Answer {
        send(self.http().post(self.url("/v1/sagas")).header("idempotency-key", key).json(body)).await
    }

    /// A definition whose steps `a` and `b` can be undone, and whose pivot is `p`.
    pub async fn submit_with_pivot(&self, name: &str) {
        let step = |step: &str| json!({"name": step, "participant": "hand", "compensation": format!("undo-{step}"), "timeout": "20s"});
        let pivot = json!({"name": "p", "participant": "hand", "kind": "pivot", "timeout": "20s"});
        self.rest.submit(&json!({"name": name, "steps": [step("a"), step("b"), pivot]})).await;
    }

    /// How many sagas there are.
    pub async fn count(&self) -> usize {
        let answer = self.get("/v1/sagas?limit=500").await;
        answer.body["sagas"].as_array().expect("a list").len()
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { status, headers, text, body }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Checks that it is a problem document of the given kind, and returns its detail.
    #[track_caller]
    pub fn problem(&self, status: u16, word: &str) -> &str {
        let Self { body, .. } = self;
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(body["type"], format!("urn:snorri:problem:{word}"), "{self:?}");
        assert_eq!(body["status"], status, "{self:?}");
        assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{self:?}");
        let comes_again = matches!(status, 429 | 503);
        let secs: Option<u64> = self.header("retry-after").parse().ok();
        assert_eq!(
            secs.is_some_and(|secs| secs >= 1),
            comes_again,
            "Retry-After goes with 429 and 503: {self:?}"
        );
        assert_eq!(body["retry_after_ms"].is_u64(), comes_again, "{self:?}");
        body["detail"].as_str().expect("a detail")
    }

    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        self.body
    }
}

/// Waits until a participant that answers nothing by itself was asked for an operation, such as `a.action`.
pub async fn asked(hand: &Hand, saga: &str, operation: &str) -> ReceivedCommand {
    let suffix = format!("{saga}.{operation}");
    eventually(&format!("the command {operation}"), async || {
        hand.seen().into_iter().find(|command| command.effect().to_string() == suffix)
    })
    .await
}

/// Answers it.
pub async fn answer(hand: &Hand, saga: &str, operation: &str, outcome: &Outcome) {
    let command = asked(hand, saga, operation).await;
    let results = hand.bus.publish_all(vec![reply(&command.reply_to, &command.id, outcome)]).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}
