//! Postgres is away for a while: the answers say so at once, and afterwards everything is as if nothing had been.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use snorri_saga::ids::Name;
use snorri_stack::{Options, Stack, StopMode};

use crate::desk::{Answer, Desk};
use crate::support::{Hand, Place, definition, eventually, ok};

async fn own_servers(hint: &str) -> (Arc<Stack>, Place, PathBuf) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{hint}-{}", std::process::id()));
    let options = Options { fsync: false, ..Options::new(&dir) };
    let starting = tokio::task::spawn_blocking(move || {
        let stack = Stack::start(&options).expect("a private stack");
        stack.postgres.create_database("snorri", None).expect("a database");
        stack
    });
    let stack = starting.await.expect("not cancelled");
    let place = Place {
        database_url: stack.postgres.url("snorri"),
        nats_url: stack.nats.url(),
        prefix: Name::new("snorri").expect("a name"),
    };
    (Arc::new(stack), place, dir)
}

async fn with(stack: &Arc<Stack>, work: impl FnOnce(&Stack) + Send + 'static) {
    let stack = stack.clone();
    tokio::task::spawn_blocking(move || work(&stack)).await.expect("not cancelled");
}

async fn timed(ask: impl Future<Output = Answer>) -> (Answer, Duration) {
    let began = Instant::now();
    (ask.await, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_requests_are_told_to_come_again_and_then_they_can() {
    let (stack, place, dir) = own_servers("rest-outage").await;
    let desk = Desk::at(place.clone(), "one", |_| {}).await;
    let hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    desk.rest.submit(&definition("order", &["a"])).await;
    let before = desk.rest.start("order", &json!({})).await;
    desk.rest.ended(&before).await;
    eventually("ready", async || (desk.admin("/readyz").await.status == 200).then_some(())).await;

    with(&stack, |stack| stack.postgres.stop(StopMode::Fast)).await;
    let body = json!({"definition": "order", "input": {"order": 7}});
    let (first, took) = timed(desk.start_with_key("through-the-outage", &body)).await;
    first.problem(503, "unavailable");
    assert!(took < Duration::from_secs(9), "{took:?}");
    // Once it is known, nobody waits to hear it: not one in twenty, whatever the version asked for.
    let mut slow = 0;
    for number in 0..20 {
        let body =
            json!({"definition": "order", "version": if number % 2 == 0 { json!(1) } else { json!(null) }});
        let (answer, took) = timed(desk.post("/v1/sagas", &body)).await;
        answer.problem(503, "unavailable");
        slow += usize::from(took > Duration::from_secs(1));
    }
    assert!(slow <= 3, "{slow} of 20 starts waited for an answer that was known");
    desk.get(&format!("/v1/sagas/{before}")).await.problem(503, "unavailable");
    desk.get("/v1/sagas").await.problem(503, "unavailable");
    desk.get("/v1/definitions").await.problem(503, "unavailable");
    desk.post(&format!("/v1/sagas/{before}/cancel"), &json!({"reason": "x"}))
        .await
        .problem(503, "unavailable");
    let signal = desk.post(&format!("/v1/sagas/{before}/signals/paid"), &json!({})).await;
    signal.problem(503, "unavailable");
    assert!(signal.body["key"].as_str().is_some_and(|key| key.len() == 36), "{}", signal.body);
    assert_eq!(
        desk.admin("/livez").await.status,
        200,
        "a database that is away is no reason to be restarted"
    );
    let unready = eventually("not ready", async || {
        Some(desk.admin("/readyz").await).filter(|answer| answer.status == 503)
    })
    .await;
    assert_eq!(unready.body["checks"], json!({"started": true, "postgres": false, "nats": true}));

    with(&stack, |stack| stack.postgres.start_again().expect("postgres again")).await;
    let after = eventually("a start", async || {
        let answer = desk.start_with_key("through-the-outage", &body).await;
        if !matches!(answer.status, 200 | 201) {
            answer.problem(503, "unavailable");
        }
        matches!(answer.status, 200 | 201).then(|| answer.body["id"].as_str().expect("an id").to_owned())
    })
    .await;
    assert_eq!(desk.rest.ended(&after).await["status"], "completed");
    assert_eq!(desk.start_with_key("through-the-outage", &body).await.ok(200)["id"], after);
    let input =
        async |id: &serde_json::Value| desk.rest.saga(id.as_str().expect("an id")).await["input"].clone();
    let listed = desk.get("/v1/sagas").await.ok(200);
    let mut with_key = 0;
    for line in listed["sagas"].as_array().expect("a list") {
        with_key += usize::from(input(&line["id"]).await == body["input"]);
    }
    assert_eq!(with_key, 1, "the start that was repeated is one saga");
    eventually("ready", async || (desk.admin("/readyz").await.status == 200).then_some(())).await;

    desk.replica.shut_down().await;
    drop(hand);
    let ended = tokio::task::spawn_blocking(move || {
        drop(stack);
        Stack::wipe(&dir)
    });
    ended.await.expect("not cancelled").expect("the folder is deleted");
}
