//! Everything around the engine dies, and it goes on. These tests have servers of their own to kill.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use snorri_bus::headers::reply;
use snorri_saga::ids::Name;
use snorri_stack::{Options, Stack, StopMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::process::{free_port, spawn, up};
use crate::support::{Hand, Place, Rest, definition, eventually, ok};

pub(crate) struct Own {
    stack: Arc<Stack>,
    pub(crate) place: Place,
    dir: PathBuf,
}

impl Own {
    /// Servers of this test alone.
    pub(crate) async fn servers(hint: &'static str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{hint}-{}", std::process::id()));
        let options = Options { fsync: false, ..Options::new(&dir) };
        let stack = tokio::task::spawn_blocking(move || {
            let stack = Stack::start(&options).expect("a private stack");
            stack.postgres.create_database("snorri", None).expect("a database");
            stack
        })
        .await
        .expect("not cancelled");
        let place = Place {
            database_url: stack.postgres.url("snorri"),
            nats_url: stack.nats.url(),
            prefix: Name::new("snorri").expect("a name"),
        };
        Self { stack: Arc::new(stack), place, dir }
    }

    pub(crate) async fn with_stack(&self, work: impl FnOnce(&Stack) + Send + 'static) {
        let stack = self.stack.clone();
        tokio::task::spawn_blocking(move || work(&stack)).await.expect("not cancelled");
    }

    pub(crate) async fn end(self) {
        let (stack, dir) = (self.stack, self.dir);
        let ended = tokio::task::spawn_blocking(move || {
            drop(stack);
            Stack::wipe(&dir)
        });
        ended.await.expect("not cancelled").expect("the folder is deleted");
    }
}

/// A definition for tests that no attempt is burnt: on a busy machine a step may take longer than the usual timeout,
/// which would be the machine's fault. Shorter than the outages it is used in.
fn patient(name: &str, steps: &[&str]) -> Value {
    let mut definition = definition(name, steps);
    for step in definition["steps"].as_array_mut().expect("steps") {
        step["timeout"] = json!("10s");
    }
    definition
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stopped_for_20_seconds_loses_nothing_and_is_answered_clearly() {
    let own = Own::servers("pg-stop").await;
    let orchestrator = own.place.replica("one").await;
    // Answers nothing before Postgres is away, and everything after.
    let is_away = Arc::new(AtomicBool::new(false));
    let answers = is_away.clone();
    let hand =
        Hand::play(
            &own.place,
            "hand",
            move |_| {
                if answers.load(Ordering::Relaxed) { vec![ok()] } else { vec![] }
            },
        )
        .await;
    let rest = Rest::of(&orchestrator);
    rest.submit(&patient("three", &["a", "b", "c"])).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(rest.start("three", &json!({"n": n})).await);
    }
    eventually("all first steps are asked for", async || (hand.seen().len() >= 20).then_some(())).await;
    own.with_stack(|stack| stack.postgres.stop(StopMode::Immediate)).await;
    let stopped = tokio::time::Instant::now();
    is_away.store(true, Ordering::Relaxed);
    let replies = hand.seen().iter().map(|command| reply(&command.reply_to, &command.id, &ok())).collect();
    for result in hand.bus.publish_all(replies).await {
        result.expect("NATS takes the answers meanwhile");
    }
    let start = |key: String| {
        rest.http
            .post(format!("{}/v1/sagas", rest.base))
            .header("idempotency-key", key)
            .json(&json!({"definition": "three", "input": {}, "version": 1}))
            .send()
    };
    eventually("a start is answered 503 with the advice to come again", async || {
        let answer = start("while-away".to_owned()).await.expect("an answer");
        let has_advice = answer.headers().contains_key("retry-after");
        let is_problem = answer.headers()["content-type"]
            .to_str()
            .is_ok_and(|text| text.starts_with("application/problem+json"));
        (answer.status().as_u16() == 503 && has_advice && is_problem).then_some(())
    })
    .await;
    for n in 0..50 {
        let status = start(format!("refused-{n}")).await.expect("an answer").status().as_u16();
        assert_eq!(status, 503);
    }
    // The time without Postgres is the test's subject, not a wait for something to happen.
    tokio::time::sleep_until(stopped + Duration::from_secs(20)).await;
    own.with_stack(|stack| stack.postgres.start_again().expect("Postgres starts again")).await;
    for id in &ids {
        let saga = rest.ended(id).await;
        assert_eq!(saga["status"], "completed");
        for step in saga["steps"].as_array().expect("steps") {
            assert_eq!(step["attempt"], 1, "no attempt was burnt while Postgres was away: {saga}");
        }
    }
    eventually("starts are taken again", async || {
        let (status, _) = rest.post("/v1/sagas", &json!({"definition": "three", "input": {}})).await;
        (status == 201).then_some(())
    })
    .await;
    let (_, page) = rest.get("/v1/sagas?limit=500").await;
    let sagas = page["sagas"].as_array().expect("a list").len();
    assert_eq!(sagas, 21, "none that was answered 503 was begun behind its starter's back");
    orchestrator.shut_down().await;
    drop(hand);
    own.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_store_that_is_deleted_loses_no_saga_and_no_announcement() {
    let own = Own::servers("nats-wipe").await;
    let orchestrator = own.place.replica("one").await;
    // The first command is never answered: it is lost with the store.
    let hand =
        Hand::play(&own.place, "hand", |command| if command.id.sending == 0 { vec![] } else { vec![ok()] })
            .await;
    let rest = Rest::of(&orchestrator);
    let mut long = definition("long", &["a"]);
    long["steps"][0]["timeout"] = json!("100s");
    long["steps"][0]["compensation"] = json!({"action": "undo-a", "timeout": "5s"});
    rest.submit(&long).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(rest.start("long", &json!({"n": n})).await);
    }
    eventually("all commands are out", async || (hand.seen().len() >= 20).then_some(())).await;
    own.with_stack(|stack| {
        stack.nats.kill();
        stack.nats.wipe_store().expect("the store is deleted");
        stack.nats.start_again().expect("NATS starts again");
    })
    .await;
    for id in &ids {
        let saga = rest.ended(id).await;
        assert_eq!(saga["status"], "completed");
        assert_eq!(saga["steps"][0]["attempt"], 1, "long before the step's timeout");
    }
    let (jetstream, endings) = (hand.bus.jetstream().unwrap(), hand.bus.subjects().endings_stream());
    eventually("all endings are announced in the stream that was made anew", async || {
        let mut stream = jetstream.get_stream(&endings).await.ok()?;
        let state = &stream.info().await.ok()?.state;
        (state.messages == 20).then_some(())
    })
    .await;
    let (replies, consumer) = (hand.bus.subjects().replies_stream(), "replica-one");
    eventually("every reply is acknowledged", async || {
        let stream = jetstream.get_stream(&replies).await.ok()?;
        let info = stream.consumer_info(consumer).await.ok()?;
        (info.num_ack_pending == 0 && info.num_pending == 0).then_some(())
    })
    .await;
    orchestrator.shut_down().await;
    drop(hand);
    own.end().await;
}

/// A wire to Postgres that can swallow answers: what was asked is done, and nobody hears of it.
struct Wire {
    port: u16,
    is_mute: Arc<AtomicBool>,
}

impl Wire {
    async fn to(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let wire = Self {
            port: listener.local_addr().expect("its number").port(),
            is_mute: Arc::new(AtomicBool::new(false)),
        };
        let is_mute = wire.is_mute.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let is_mute = is_mute.clone();
                tokio::spawn(async move {
                    let Ok(server) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let asking =
                        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
                        if is_mute.load(Ordering::Relaxed)
                            || to_client.write_all(&buffer[..count]).await.is_err()
                        {
                            break;
                        }
                    }
                    asking.abort();
                });
            }
        });
        wire
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found_out_and_what_follows_from_it_is_sent() {
    let place = Place::shared("ambiguous").await;
    let port = place.database_url.rsplit(':').next().expect("a port").split('/').next().expect("a port");
    let wire = Wire::to(port.parse().expect("a number")).await;
    let through =
        Place { database_url: place.database_url.replace(port, &wire.port.to_string()), ..place.clone() };
    let orchestrator = through.replica("one").await;
    let hand = Hand::play(&place, "hand", |command| {
        let is_last = command.effect().step.as_str() == "b" || command.body.input.get().contains("first");
        if is_last { vec![ok()] } else { vec![] }
    })
    .await;
    let rest = Rest::of(&orchestrator);
    let mut steps = definition("two", &["a", "b"]);
    for step in 0..2 {
        steps["steps"][step]["timeout"] = json!("20s");
    }
    steps["window"] = json!("10m");
    rest.submit(&steps).await;
    // The statements are prepared on each connection: what is mute later would not even get as far as the commit.
    let mut first = Vec::new();
    for n in 0..20 {
        first.push(rest.start("two", &json!({"first": n})).await);
    }
    for id in &first {
        assert_eq!(rest.ended(id).await["status"], "completed");
    }
    let before = hand.seen().len();
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(rest.start("two", &json!({"n": n})).await);
    }
    eventually("all are asked for", async || (hand.seen().len() >= before + 10).then_some(())).await;
    let seen = hand.seen();
    let asked = seen.get(before..).expect("those that came last");
    wire.is_mute.store(true, Ordering::Relaxed);
    let replies = asked.iter().map(|command| reply(&command.reply_to, &command.id, &ok())).collect();
    hand.bus.publish_all(replies).await;
    // Committed, and not answered.
    let url = place.database_url.clone();
    let waiting: Vec<uuid::Uuid> = ids.iter().map(|id| id.parse().expect("an id")).collect();
    eventually("the transitions are in the journal", async || {
        let pool = sqlx::PgPool::connect(&url).await.ok()?;
        let rows: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM snorri.journal WHERE seq = 2 AND saga_id = ANY ($1::uuid[])",
        )
        .bind(&waiting)
        .fetch_one(&pool)
        .await
        .ok()?;
        pool.close().await;
        (rows > 0).then_some(())
    })
    .await;
    wire.is_mute.store(false, Ordering::Relaxed);
    let healed = tokio::time::Instant::now();
    for id in &ids {
        let saga = rest.ended(id).await;
        assert_eq!(saga["status"], "completed");
        assert_eq!(saga["steps"][1]["attempt"], 1, "b did not wait for its timeout: {saga}");
    }
    assert!(healed.elapsed() < Duration::from_secs(15), "took {:?}", healed.elapsed());
    orchestrator.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_killed_in_the_middle_of_its_work_goes_on_when_it_is_restarted() {
    let place = Place::shared("killed").await;
    let (port, admin) = (free_port(), free_port());
    let mut orchestrator = spawn(&place, "only", port, admin, None);
    let hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    let rest = Rest::at(&format!("http://127.0.0.1:{port}"));
    up(&rest).await;
    rest.submit(&patient("five", &["a", "b", "c", "d", "e"])).await;
    let mut starts = tokio::task::JoinSet::new();
    for n in 0..100 {
        let rest = rest.clone();
        starts.spawn(async move { rest.start("five", &json!({"n": n})).await });
    }
    let ids = starts.join_all().await;
    orchestrator.kill().await.expect("killed");
    let mut orchestrator = spawn(&place, "only", port, admin, None);
    up(&rest).await;
    for id in &ids {
        let saga = rest.ended(id).await;
        assert_eq!(saga["status"], "completed");
        for step in saga["steps"].as_array().expect("steps") {
            assert_eq!(step["attempt"], 1, "no attempt waited for its timeout: {saga}");
        }
    }
    assert!(hand.seen().len() >= 500);
    orchestrator.kill().await.expect("killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sagas_of_a_killed_replica_are_taken_over_by_another_within_seconds() {
    let place = Place::shared("takeover").await;
    let (port, admin) = (free_port(), free_port());
    let mut victim = spawn(&place, "victim", port, admin, None);
    let survivor = place.replica("survivor").await;
    let hand = Hand::play(&place, "hand", |command| {
        if command.reply_to.split('.').next_back() == Some("victim") { vec![] } else { vec![ok()] }
    })
    .await;
    let rest = Rest::at(&format!("http://127.0.0.1:{port}"));
    up(&rest).await;
    let mut long = definition("long", &["a", "b"]);
    long["steps"][0]["timeout"] = json!("60s");
    rest.submit(&long).await;
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(rest.start("long", &json!({"n": n})).await);
    }
    eventually("all are asked for", async || (hand.seen().len() >= 50).then_some(())).await;
    victim.kill().await.expect("killed");
    let killed = tokio::time::Instant::now();
    let rest = Rest::of(&survivor);
    for id in &ids {
        assert_eq!(rest.ended(id).await["status"], "completed");
    }
    assert!(killed.elapsed() < Duration::from_secs(15), "took {:?}", killed.elapsed());
    survivor.shut_down().await;
}
