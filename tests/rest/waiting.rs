//! Waiting for an end by a long poll.

use std::time::{Duration, Instant};

use serde_json::json;
use snorri_stack::TestStack;

use crate::desk::{Desk, answer, asked};
use crate::support::{Hand, Place, SOON, definition, eventually, ok};

/// Returns once somebody waits: from then on the replica asks Postgres now and then who has ended.
async fn waits(place: &Place) {
    let database = place.database_url.rsplit('/').next().expect("a name").to_owned();
    eventually("somebody waits", async || {
        let database = database.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let sql = format!(
                "SELECT 1 FROM pg_stat_activity WHERE datname = '{database}' AND query LIKE '-- ended_among%'"
            );
            TestStack::get().expect("the test servers").query("postgres", &sql).expect("an answer")
        });
        (!looking.await.expect("not cancelled").is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_at_once_when_it_ends() {
    let desk = Desk::open("rest_wait").await;
    let hand = Hand::play(&desk.place, "hand", |_| vec![]).await;
    desk.rest.submit(&definition("order", &["a"])).await;
    let id = desk.rest.start("order", &json!({})).await;
    asked(&hand, &id, "a.action").await;
    let path = format!("/v1/sagas/{id}/wait?timeout=60s");
    let waiting = async { (desk.get(&path).await, Instant::now()) };
    let answering = async {
        waits(&desk.place).await;
        answer(&hand, &id, "a.action", &ok()).await;
        Instant::now()
    };
    let ((waited, told_at), answered_at) = tokio::join!(waiting, answering);
    assert_eq!(waited.ok(200)["status"], "completed");
    let late = told_at.saturating_duration_since(answered_at);
    assert!(late < SOON, "told {late:?} after the end, and not by the wait's timeout");
    // Of one that has ended the end is told without waiting.
    assert_eq!(desk.get(&path).await.ok(200)["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_is_told_how_it_stands() {
    let desk = Desk::open("rest_wait_vain").await;
    let _hand = Hand::play(&desk.place, "hand", |_| vec![]).await;
    desk.submit_with_pivot("order").await;
    let id = desk.rest.start("order", &json!({})).await;
    let began = Instant::now();
    let waited = desk.get(&format!("/v1/sagas/{id}/wait?timeout=300ms")).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(waited.header("etag").starts_with('"'));
    let saga = waited.ok(202);
    assert_eq!((&saga["status"], &saga["steps"][0]["state"]), (&json!("running"), &json!("acting")));
    assert_eq!(desk.get(&format!("/v1/sagas/{id}/wait?timeout=0s")).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_at_another_replica_is_told_too() {
    let one = Desk::open("rest_wait_other").await;
    let two = Desk::at(one.place.clone(), "two", |_| {}).await;
    let hand = Hand::play(&one.place, "hand", |_| vec![]).await;
    one.rest.submit(&definition("order", &["a"])).await;
    let id = one.rest.start("order", &json!({})).await;
    asked(&hand, &id, "a.action").await;
    let path = format!("/v1/sagas/{id}/wait?timeout=60s");
    let done = ok();
    let answering = async {
        waits(&one.place).await;
        answer(&hand, &id, "a.action", &done).await;
    };
    let began = Instant::now();
    let (waited, ()) = tokio::join!(two.get(&path), answering);
    assert!(began.elapsed() < SOON, "told by the bell, and not by the wait's timeout");
    assert_eq!(waited.ok(200)["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_that_is_none_is_refused() {
    let desk = Desk::open("rest_wait_bad").await;
    desk.rest.submit(&definition("order", &["a"])).await;
    let id = desk.rest.start("order", &json!({})).await;
    for bad in ["61s", "10", "soon", "-1s", "1h"] {
        let answer = desk.get(&format!("/v1/sagas/{id}/wait?timeout={bad}")).await;
        assert!(answer.problem(400, "bad-parameter").contains("at most 1m"));
        assert_eq!(answer.body["parameter"], "timeout");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_lets_those_who_wait_go() {
    let desk = Desk::open("rest_wait_stop").await;
    let _hand = Hand::play(&desk.place, "hand", |_| vec![]).await;
    desk.submit_with_pivot("order").await;
    let id = desk.rest.start("order", &json!({})).await;
    let Desk { place, replica, rest, .. } = desk;
    let path = format!("/v1/sagas/{id}/wait?timeout=60s");
    let waiting = tokio::spawn(async move { rest.get(&path).await.0 });
    waits(&place).await;
    let began = Instant::now();
    replica.shut_down().await;
    assert_eq!(waiting.await.expect("an answer"), 202);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
