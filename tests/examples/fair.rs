//! A replica, the services that an example needs, and the audit at the end.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use snorri::Orchestrator;
use snorri_demo::examples::{Databases, Ended, Service, World, audit, prepare, run};
use snorri_demo::{EndStatus, Error, ServiceConfig, Troubles};
use snorri_participant::{BusOptions, CancellationToken};
use snorri_saga::wire::Subjects;
use snorri_stack::TestStack;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::task::JoinSet;

use crate::support::{Place, Rest, eventually};

pub(crate) struct Fair {
    pub(crate) rest: Rest,
    replica: Orchestrator,
    /// The database of all the books.
    books: String,
    world: World,
    services: JoinSet<Result<(), Error>>,
    stop: CancellationToken,
}

/// The text of an example.
pub(crate) fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../sagas/definitions/{name}.yaml"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An example as data, to be changed.
pub(crate) fn example_value(name: &str) -> Value {
    serde_saphyr::from_str(&example(name)).expect("YAML")
}

impl Fair {
    /// Opens with the services that make no trouble.
    pub(crate) async fn open(hint: &'static str, services: &[Service]) -> Self {
        Self::with(hint, services, Troubles::default()).await
    }

    pub(crate) async fn with(hint: &'static str, services: &[Service], troubles: Troubles) -> Self {
        let place = Place::shared(hint).await;
        let made = tokio::task::spawn_blocking(|| {
            TestStack::get().expect("the test servers").database("books").expect("a database")
        });
        let books = made.await.expect("not cancelled");
        let world = World::default();
        // All of them, since the audit reads all of them.
        for service in Service::all() {
            prepare(service, &books, &world).await.expect("the books are opened");
        }
        let replica = place.replica("one").await;
        let (mut running, stop) = (JoinSet::new(), CancellationToken::new());
        for service in services {
            let config = ServiceConfig {
                database_url: books.clone(),
                bus: BusOptions {
                    subjects: Subjects::new(place.prefix.clone()),
                    ..BusOptions::new(&place.nats_url, service.name())
                },
                troubles: troubles.clone(),
                batch: None,
                concurrency: 4,
            };
            running.spawn(run(*service, config, stop.clone()));
        }
        let rest = Rest::of(&replica);
        Self { rest, replica, books, world, services: running, stop }
    }

    /// Submits an example as it stands in its file.
    pub(crate) async fn submit(&self, name: &str) {
        let (status, body) = self.try_submit(name).await;
        assert_eq!(status, 201, "{name}: {body}");
    }

    pub(crate) async fn try_submit(&self, name: &str) -> (u16, String) {
        let request = self.rest.http.post(format!("{}/v1/definitions", self.rest.base));
        let request = request.header("content-type", "application/yaml").body(example(name));
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// Runs a saga to its end, which must be completion.
    pub(crate) async fn completes(&self, definition: &str, input: &Value) -> Value {
        let id = self.rest.start(definition, input).await;
        self.is_completed(&id).await
    }

    pub(crate) async fn is_completed(&self, id: &str) -> Value {
        let saga = self.rest.ended(id).await;
        assert_eq!(saga["status"], "completed", "{saga:#}");
        saga
    }

    /// Runs a saga to its end, which must be that it was undone, for this reason.
    pub(crate) async fn is_undone_for(&self, code: &str, definition: &str, input: &Value) -> Value {
        let id = self.rest.start(definition, input).await;
        self.is_undone(code, &id).await
    }

    pub(crate) async fn is_undone(&self, code: &str, id: &str) -> Value {
        let saga = self.rest.ended(id).await;
        assert_eq!(
            (&saga["status"], &saga["cause"]["code"]),
            (&json!("compensated"), &json!(code)),
            "{saga:#}"
        );
        saga
    }

    /// Tries to start a saga with an input that does not fit, and expects to be told of all these places.
    pub(crate) async fn refuses_input(&self, definition: &str, input: &Value, pointers: &[&str]) {
        let (status, body) =
            self.rest.post("/v1/sagas", &json!({"definition": definition, "input": input})).await;
        assert_eq!(status, 422, "{body}");
        let places: BTreeSet<&str> = body["violations"]
            .as_array()
            .expect("violations")
            .iter()
            .map(|violation| violation["pointer"].as_str().expect("a pointer"))
            .collect();
        assert_eq!(places, pointers.iter().copied().collect(), "{body}");
    }

    pub(crate) async fn signal(&self, id: &str, name: &str, key: &str, payload: &Value) -> (u16, Value) {
        let url = format!("{}/v1/sagas/{id}/signals/{name}", self.rest.base);
        let request = self.rest.http.post(url).header("idempotency-key", key);
        let answer = request.json(&json!({"payload": payload})).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("a body"))
    }

    /// Says yes or no as soon as somebody asks.
    pub(crate) async fn decide(&self, id: &str, step: &str, approve: bool) {
        let path = format!("/v1/sagas/{id}/approvals/{step}");
        let body = json!({"approve": approve, "by": "egil", "comment": "as agreed"});
        eventually("the approval is asked for", async || match self.rest.post(&path, &body).await {
            (200..=299, _) => Some(()),
            // Not yet: the saga is still on its way there.
            (409, _) => None,
            (status, body) => panic!("{status}: {body}"),
        })
        .await;
    }

    /// One value out of the books.
    pub(crate) async fn read<T>(&self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let mut db = PgConnection::connect(&self.books).await.expect("connected");
        let found = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut db).await.expect("read");
        db.close().await.expect("closed");
        found
    }

    /// All sagas, as the list has them.
    async fn list(&self) -> Vec<Value> {
        let (status, body) = self.rest.get("/v1/sagas?limit=500").await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["next_cursor"], Value::Null, "more sagas than a page has");
        body["sagas"].as_array().expect("a list").clone()
    }

    /// Waits until all sagas have ended, the children after their parents; stops everything; and audits. Returns how
    /// many sagas there were.
    pub(crate) async fn close(mut self) -> usize {
        let all = eventually("all sagas end", async || {
            let all = self.list().await;
            all.iter().all(|saga| !saga["ended_at"].is_null()).then_some(all)
        })
        .await;
        let mut sagas = Vec::new();
        for row in &all {
            let saga = self.rest.saga(row["id"].as_str().expect("an id")).await;
            let text = |field: &str| saga[field].as_str().expect("a text");
            let status = EndStatus::from_word(text("status"));
            assert_ne!(status, EndStatus::Open, "{saga:#}");
            sagas.push(Ended {
                id: text("id").parse().expect("an id"),
                definition: text("definition").to_owned(),
                status,
                input: saga["input"].clone(),
            });
        }
        self.stop.cancel();
        while let Some(ended) = self.services.join_next().await {
            ended.expect("no panic").expect("a service that ends well");
        }
        self.replica.shut_down().await;
        let audit = audit(&Databases::one(&self.books), &self.world, &sagas).await.expect("audited");
        assert!(audit.is_clean(), "{audit}");
        sagas.len()
    }
}
