//! A replica is killed at each commit and at each letter between a saga and its part, and another one goes on.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::family::{child, end_alike, is_action, order, shipment};
use crate::process::{free_port, spawn, up};
use crate::support::{Hand, Place, Rest, eventually, ok, rejected};

/// How many places are at work at once.
const SIDE_BY_SIDE: usize = 3;

/// Starts the order at the first door, or at the second if that one dies over it: with the same key it is begun once.
async fn start(first: &Rest, second: &Rest) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    let mut doors = [first, second].into_iter().cycle();
    while let Some(door) = doors.next().filter(|_| Instant::now() < until) {
        let request = door.http.post(format!("{}/v1/sagas", door.base)).header("idempotency-key", "only");
        let sent = request.json(&json!({"definition": "order", "input": {}})).send();
        if let Ok(Ok(answer)) = timeout(Duration::from_secs(5), sent).await
            && answer.status().is_success()
            && let Ok(body) = answer.json::<Value>().await
        {
            return body["id"].as_str().expect("an id").to_owned();
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the start is not answered");
}

/// One order, one death. `true`: it came to that.
async fn killed_at(point: &str, hit: u32, status: &'static str) -> bool {
    let place = Place::shared("family-killed").await;
    let two = place.replica("two").await;
    let at_two = Rest::of(&two);
    at_two.submit(&shipment()).await;
    at_two.submit(&order()).await;
    let hand = Hand::play(&place, "hand", move |command| {
        if is_action(command, "bill") && status == "compensated" {
            vec![rejected("no_way")]
        } else {
            vec![ok()]
        }
    })
    .await;
    let (port, admin) = (free_port(), free_port());
    let mut one = spawn(&place, "one", port, admin, Some(&format!("{point}:kill:{hit}")));
    let at_one = Rest::at(&format!("http://127.0.0.1:{port}"));
    up(&at_one).await;
    let id = start(&at_one, &at_two).await;

    end_alike(&at_two, &id, "ship", status).await;
    let of_saga: Vec<String> = hand.seen().iter().map(|command| command.effect().saga.to_string()).collect();
    assert!(
        of_saga.iter().all(|saga| *saga == id || *saga == child(&id, "ship")),
        "no third saga: {of_saga:?}"
    );
    let undone: &[&str] = if status == "compensated" { &["load", "pack", "reserve"] } else { &[] };
    assert_eq!(hand.order("compensation"), undone, "{point} {hit}");
    let (jetstream, endings) =
        (hand.bus.jetstream().expect("jetstream"), hand.bus.subjects().endings_stream());
    eventually("both ends are announced", async || {
        let mut stream = jetstream.get_stream(&endings).await.ok()?;
        (stream.info().await.ok()?.state.messages == 2).then_some(())
    })
    .await;
    let died = one.try_wait().expect("a process").is_some_and(|ended| ended.signal() == Some(9));
    let _ = one.kill().await;
    two.shut_down().await;
    died
}

/// At how many of these hits somebody died.
async fn deaths(point: &str, hits: std::ops::RangeInclusive<u32>, status: &'static str) -> usize {
    let deaths: Vec<bool> = futures::stream::iter(hits)
        .map(|hit| killed_at(point, hit, status))
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    deaths.iter().filter(|died| **died).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn at_any_letter_of_an_order_that_is_completed() {
    // To run, done, to end.
    assert_eq!(deaths("letter-taken", 1..=3, "completed").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_any_letter_of_an_order_that_is_undone() {
    // To run, done, to be undone, undone.
    assert_eq!(deaths("letter-taken", 1..=4, "compensated").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_any_commit_of_an_order_that_is_completed() {
    let deaths = deaths("committed", 1..=7, "completed").await;
    assert!(deaths >= 6, "only {deaths} of 7: two commits may be one");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_any_commit_of_an_order_that_is_undone() {
    let deaths = deaths("committed", 2..=11, "compensated").await;
    assert!(deaths >= 8, "only {deaths} of 10: two commits may be one");
}
