//! What becomes of the last moments that an asynchronous standby does not have: decisions that were made and carried
//! out, and are in no journal any more. The participants have books of their own, which lose nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use snorri_demo::{Databases, EndStatus, Expected, Sagas, Service, World};
use snorri_stack::{Options, PostgresPair, Replication, Stack};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::rig::{Process, eventually, free_address, installation, spawn};

const SAGAS: usize = 10;

/// The order's steps up to the money, with all the time that the test may need.
fn definition() -> Value {
    let step = |name: &str, participant: &str, undo: &str| {
        // JetStream drops what is sent again within a minute under the same message id; that waits for this.
        let undo = json!({"action": undo, "timeout": "3s"});
        json!({"name": name, "participant": participant, "compensation": undo, "timeout": "60s"})
    };
    json!({"name": "order", "window": "30m", "steps": [
        step("place", "orders", "cancel"),
        step("reserve", "inventory", "release"),
        step("hold", "payments", "release_hold"),
    ]})
}

struct Api {
    http: reqwest::Client,
    base: String,
}

impl Api {
    async fn post(&self, path: &str, key: &str, body: &Value) -> Value {
        eventually("the orchestrator takes it", async || {
            let post = self.http.post(format!("{}{path}", self.base)).header("idempotency-key", key);
            let answer = post.json(body).send().await.ok()?;
            let status = answer.status();
            let body = answer.text().await.ok()?;
            assert!(!status.is_client_error(), "{path}: {status}: {body}");
            if status.is_success() { serde_json::from_str(&body).ok() } else { None }
        })
        .await
    }

    async fn start(&self, key: &str, order: &Value) -> Uuid {
        let started = self.post("/v1/sagas", key, &json!({"definition": "order", "input": order})).await;
        started["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
    }

    async fn ended(&self, id: Uuid) -> Value {
        eventually("the saga ends", async || {
            let answer = self.http.get(format!("{}/v1/sagas/{id}", self.base)).send().await.ok()?;
            let saga: Value = answer.json().await.ok()?;
            saga["ended_at"].is_string().then_some(saga)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_that_only_the_participants_remember_is_begun_again_and_applied_once() {
    let _turn = installation().await;
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tail-{}", std::process::id()));
    let options = |name: &str| Options { fsync: false, ..Options::new(dir.join(name)) };
    let (of_books, of_pair) = (options("books"), options("pair"));
    let servers = tokio::task::spawn_blocking(move || {
        let stack = Stack::start(&of_books).expect("servers for the participants");
        let pair = PostgresPair::start(&of_pair, Replication::Asynchronous).expect("a pair");
        pair.primary().create_database("snorri", None).expect("a database");
        for service in Service::all() {
            stack.postgres.create_database(service.name(), None).expect("a database");
        }
        (stack, pair)
    });
    let (stack, pair) = servers.await.expect("no panic");
    std::fs::create_dir_all(dir.join("logs")).expect("a folder for logs");
    let world = World::for_orders(1000);
    for service in Service::all() {
        snorri_demo::prepare(service, &stack.postgres.url(service.name()), &world).await.expect("books");
    }
    let (listen, admin) = (free_address(), free_address());
    let (snorri, nats) = (pair.url("snorri"), stack.nats.url());
    let orchestrator = |log: &str| {
        let words = [
            ("serve", ""),
            ("--database-url", &snorri),
            ("--nats-url", &nats),
            ("--replica", "only"),
            ("--listen", &listen),
            ("--admin-listen", &admin),
            ("--log-format", "text"),
        ];
        spawn(&dir, log, &words)
    };
    let participant = |service: Service| -> Process {
        let database = stack.postgres.url(service.name());
        let words = [("participant", service.name()), ("--database-url", &database), ("--nats-url", &nats)];
        spawn(&dir, service.name(), &words)
    };
    let mut only = orchestrator("only");
    let mut participants = vec![participant(Service::Orders), participant(Service::Inventory)];
    let http = reqwest::Client::builder().timeout(Duration::from_secs(15)).build().expect("a client");
    let api = Api { http, base: format!("http://{listen}") };
    api.post("/v1/definitions", "definition", &definition()).await;

    // The standby has them waiting for their money, and nothing of what comes after.
    let fine: Vec<Value> = (0..)
        .map(|n| snorri_demo::order(3, n, &world))
        .filter(|order| order.get("trouble").is_none())
        .filter(|order| snorri_demo::expected(order) == Some(Expected::Completed))
        .take(SAGAS + 1)
        .collect();
    let (unlucky, orders) = fine.split_last().expect("some");
    let mut ids = Vec::new();
    for (n, order) in orders.iter().enumerate() {
        ids.push(api.start(&format!("order-{n}"), order).await);
    }
    eventually("all wait for their money", async || {
        let mut connection = PgConnection::connect(&snorri).await.ok()?;
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM snorri.journal, json_array_elements(events) AS event
             WHERE event->'sent'->>'step' = 'hold'",
        )
        .fetch_one(&mut connection)
        .await
        .ok()?;
        (waiting == i64::try_from(SAGAS).ok()?).then_some(())
    })
    .await;
    let pair = with(pair, |pair| {
        pair.wait_for_commits(Replication::Asynchronous).expect("the standby is level");
        pair.standby().kill();
    })
    .await;

    // All are called off, and undone to the last; another one starts and is completed.
    for id in &ids {
        api.post(
            &format!("/v1/sagas/{id}/cancel"),
            &format!("cancel-{id}"),
            &json!({"reason": "a test", "by": "nobody"}),
        )
        .await;
    }
    participants.push(participant(Service::Payments));
    for id in &ids {
        assert_eq!(api.ended(*id).await["status"], "compensated");
    }
    let lost = api.start("unlucky", unlucky).await;
    assert_eq!(api.ended(lost).await["status"], "completed");

    // Of all this only the participants know.
    only.kill().await;
    let pair = with(pair, |pair| {
        pair.primary().kill();
        pair.standby().start_again().expect("the standby starts without its primary");
        pair.promote().expect("it is promoted");
        pair.switch();
    })
    .await;
    let only_again = orchestrator("only-again");
    let mut ends = HashMap::new();
    for id in &ids {
        let saga = api.ended(*id).await;
        assert_eq!(saga["status"], "compensated", "{saga}");
        assert_eq!(saga["cause"]["code"], "tombstoned", "the participant remembered: {saga}");
        ends.insert(*id, EndStatus::Compensated);
    }
    // The saga that began and ended in the lost moments is gone: its start, repeated, is another saga, and its effects
    // are nobody's. That is what a synchronous standby is for.
    let again = api.start("unlucky", unlucky).await;
    assert_ne!(again, lost);
    api.ended(again).await;
    let url = |service: Service| stack.postgres.url(service.name());
    let books = Databases {
        inventory: url(Service::Inventory),
        payments: url(Service::Payments),
        shipping: url(Service::Shipping),
        orders: url(Service::Orders),
    };
    // The short plan of this test is none of the audit's: what is completed is not compared with it.
    ends.insert(again, EndStatus::Unjudged);
    let audit = snorri_demo::audit(&books, &world, Some(Sagas::of("order", &ends))).await.expect("an audit");
    assert_eq!(
        audit.problems,
        [format!("saga {lost} has effects, and the orchestrator does not know it")],
        "nothing twice, nothing left"
    );
    let mut processes = participants;
    processes.push(only_again);
    for process in &mut processes {
        process.kill().await;
    }
    let ended = tokio::task::spawn_blocking(move || {
        drop((stack, pair));
        for name in ["books", "pair"] {
            Stack::wipe(&dir.join(name)).expect("the folder is deleted");
        }
        std::fs::remove_dir_all(&dir).expect("the folder is deleted");
    });
    ended.await.expect("no panic");
}

/// Does something to the pair where it may block.
async fn with(pair: PostgresPair, work: impl FnOnce(&PostgresPair) + Send + 'static) -> PostgresPair {
    let done = tokio::task::spawn_blocking(move || {
        work(&pair);
        pair
    });
    done.await.expect("no panic")
}
