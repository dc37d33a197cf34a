//! What the suites share: an orchestrator of this process on a real Postgres and a real nats-server, and a
//! participant played by hand, which answers exactly what a test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use snorri::Orchestrator;
use snorri::config::{Config, Migrate};
use snorri_bus::headers::{ReceivedCommand, parse_command, reply};
use snorri_bus::{Bus, BusOptions, ConsumerSpec, Next, Outgoing};
use snorri_saga::ids::Name;
use snorri_saga::json::Json;
use snorri_saga::wire::{Outcome, Subjects};
use snorri_stack::TestStack;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a test waits for what must happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A place of its own for one test: a database, a prefix of subjects.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) database_url: String,
    pub(crate) nats_url: String,
    pub(crate) prefix: Name,
}

impl Place {
    /// On the servers that all tests of the run share.
    pub(crate) async fn shared(hint: &'static str) -> Self {
        tokio::task::spawn_blocking(move || {
            let stack = TestStack::get().expect("the test servers");
            Self {
                database_url: stack.database(hint).expect("a database"),
                nats_url: stack.nats_url.clone(),
                prefix: Name::new(&stack.prefix(hint).to_lowercase()).expect("a prefix"),
            }
        })
        .await
        .expect("not cancelled")
    }

    /// The settings of a replica at this place.
    pub(crate) fn config(&self, replica: &str) -> Config {
        Config {
            database_url: self.database_url.clone(),
            nats_url: vec![self.nats_url.clone()],
            nats_creds: None,
            listen: "127.0.0.1:0".parse().expect("an address"),
            admin_listen: "127.0.0.1:0".parse().expect("an address"),
            replica: Some(replica.to_owned()),
            namespace: self.prefix.to_string(),
            stream_replicas: 1,
            // Many tests share one small server.
            stream_bytes: 8 * 1024 * 1024,
            live_sagas_max: 10_000,
            live_bytes_max: 256 * 1024 * 1024,
            starts_per_second_max: 0,
            lanes: 2,
            migrate: Migrate::On,
            otlp_endpoint: None,
        }
    }

    /// A replica of this process.
    pub(crate) async fn replica(&self, name: &str) -> Orchestrator {
        Orchestrator::start(self.config(name)).await.expect("an orchestrator")
    }

    /// A connection to the bus.
    pub(crate) async fn bus(&self, name: &str) -> Bus {
        let options = BusOptions {
            servers: vec![self.nats_url.clone()],
            credentials: None,
            client_name: name.to_owned(),
            subjects: Subjects::new(self.prefix.clone()),
            stream_replicas: 1,
        };
        let bus = Bus::connect(options).await.expect("a bus");
        bus.limit_streams(8 * 1024 * 1024);
        bus.connected().await;
        bus
    }
}

/// What a participant played by hand does with a command: the answers to send, in order.
pub(crate) type Script = dyn Fn(&ReceivedCommand) -> Vec<Outcome> + Send + Sync;

/// A participant played by hand. It remembers every command that it was delivered.
pub(crate) struct Hand {
    pub(crate) bus: Bus,
    seen: Arc<Mutex<Vec<ReceivedCommand>>>,
    task: JoinHandle<()>,
}

impl Hand {
    pub(crate) async fn play(
        place: &Place,
        name: &str,
        script: impl Fn(&ReceivedCommand) -> Vec<Outcome> + Send + Sync + 'static,
    ) -> Self {
        let bus = place.bus(name).await;
        let name = Name::new(name).expect("a name");
        let seen: Arc<Mutex<Vec<ReceivedCommand>>> = Arc::default();
        let task = tokio::spawn(play(bus.clone(), name, seen.clone(), Arc::new(script)));
        Self { bus, seen, task }
    }

    /// All commands so far, in the order of their delivery.
    pub(crate) fn seen(&self) -> Vec<ReceivedCommand> {
        self.seen.lock().expect("no panic while held").clone()
    }

    /// How often each effect was asked for.
    pub(crate) fn asked(&self) -> BTreeMap<String, usize> {
        let mut asked = BTreeMap::new();
        for command in self.seen() {
            let effect = command.effect();
            *asked.entry(format!("{}.{}", effect.step, effect.direction)).or_default() += 1;
        }
        asked
    }

    /// The steps of one direction in the order in which they were first asked for.
    pub(crate) fn order(&self, direction: &str) -> Vec<String> {
        let mut order: Vec<String> = Vec::new();
        for command in self.seen() {
            let effect = command.effect();
            if effect.direction.as_str() == direction && !order.contains(&effect.step.to_string()) {
                order.push(effect.step.to_string());
            }
        }
        order
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(bus: Bus, name: Name, seen: Arc<Mutex<Vec<ReceivedCommand>>>, script: Arc<Script>) {
    let subjects = bus.subjects().clone();
    let mut commands = bus.consume(ConsumerSpec::new(
        subjects.commands_stream(),
        subjects.participant_consumer(&name),
        subjects.commands_of(&name),
    ));
    loop {
        let Next::Batch(messages) = commands.next().await else { continue };
        for message in messages {
            let command =
                parse_command(&subjects, &name, message.subject(), message.headers(), message.payload())
                    .expect("the orchestrator sends commands that can be read");
            seen.lock().expect("no panic while held").push(command.clone());
            let replies: Vec<Outgoing> = script(&command)
                .into_iter()
                .map(|outcome| reply(&command.reply_to, &command.id, &outcome))
                .collect();
            bus.publish_all(replies).await;
            message.ack().await;
        }
    }
}

pub(crate) fn ok() -> Outcome {
    Outcome::Ok { output: Json::from_value(&json!({"done": true})), empty: false }
}

pub(crate) fn rejected(code: &str) -> Outcome {
    Outcome::Rejected { code: code.to_owned(), message: "no".to_owned(), partial: false }
}

pub(crate) fn failed() -> Outcome {
    Outcome::Failed { message: "not now".to_owned(), retry_after: None }
}

/// A definition with the given steps, all compensatable, at the participant `hand`.
pub(crate) fn definition(name: &str, steps: &[&str]) -> Value {
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| {
            json!({
                "name": step, "participant": "hand", "compensation": format!("undo-{step}"), "timeout": "2s",
                "retry": {"attempts": 3, "backoff": "50ms"}
            })
        })
        .collect();
    json!({"name": name, "steps": steps})
}

/// The REST API of a replica.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
}

impl Rest {
    pub(crate) fn of(orchestrator: &Orchestrator) -> Self {
        Self::at(&format!("http://{}", orchestrator.address))
    }

    pub(crate) fn at(base: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(70)).build().expect("a client");
        Self { base: base.to_owned(), http }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        read(self.http.get(format!("{}{path}", self.base)).send().await.expect("an answer")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        read(self.http.post(format!("{}{path}", self.base)).json(body).send().await.expect("an answer")).await
    }

    pub(crate) async fn submit(&self, definition: &Value) {
        let (status, body) = self.post("/v1/definitions", definition).await;
        assert!((200..300).contains(&status), "{status}: {body}");
    }

    /// Starts a saga and returns its id.
    pub(crate) async fn start(&self, definition: &str, input: &Value) -> String {
        let (status, body) = self.post("/v1/sagas", &json!({"definition": definition, "input": input})).await;
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().expect("an id").to_owned()
    }

    /// Waits for the saga's end.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let until = Instant::now() + SOON;
        loop {
            let (status, body) = self.get(&format!("/v1/sagas/{id}/wait?timeout=30s")).await;
            if status == 200 {
                return body;
            }
            assert!(Instant::now() < until, "the saga {id} did not end: {status} {body}");
        }
    }

    pub(crate) async fn saga(&self, id: &str) -> Value {
        let (status, body) = self.get(&format!("/v1/sagas/{id}")).await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

async fn read(answer: reqwest::Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Looks again and again until it is so.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
