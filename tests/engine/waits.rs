//! Waiting for a signal, a person or the clock: across restarts, at several replicas, and for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use snorri::store::{Postgres, Resting};
use snorri_saga::ids::{Name, SagaId};
use snorri_saga::time::{Millis, Timestamp};
use sqlx::{Connection as _, PgConnection};

use crate::support::{Hand, Place, Rest, eventually, ok};

/// A wait for two days, then `b`.
fn patient(wait: &Value) -> Value {
    let b = json!({"name": "b", "participant": "hand", "compensation": "undo-b", "timeout": "20s"});
    json!({"name": "patient", "window": "5d", "steps": [wait, b]})
}

fn signal_wait() -> Value {
    json!({"name": "payment", "signal": {"name": "paid", "timeout": "2d"}})
}

/// Gives the signal `paid`.
async fn pay(rest: &Rest, id: &str, key: &str) -> (u16, Value) {
    let request = rest.http.post(format!("{}/v1/sagas/{id}/signals/paid", rest.base));
    let answer = request.header("idempotency-key", key).json(&json!({"payload": key})).send().await;
    let answer = answer.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("json"))
}

async fn waits(rest: &Rest, id: &str) {
    eventually("it waits", async || (rest.saga(id).await["steps"][0]["state"] == "acting").then_some(()))
        .await;
}

/// Seconds until the saga is looked at.
async fn wakes_in(place: &Place, id: &str) -> f64 {
    let mut database = PgConnection::connect(&place.database_url).await.expect("connected");
    let sql = "SELECT extract(epoch FROM wake_at - now())::float8 FROM snorri.sagas WHERE id = $1::uuid";
    sqlx::query_scalar(sql).bind(id).fetch_one(&mut database).await.expect("a row")
}

/// Has the saga swept now, and not in half a minute.
pub(crate) async fn sweep(place: &Place, id: &str) {
    let mut database = PgConnection::connect(&place.database_url).await.expect("connected");
    let sql = "UPDATE snorri.sagas SET wake_at = now() WHERE id = $1::uuid";
    let done = sqlx::query(sql).bind(id).execute(&mut database).await.expect("written");
    assert_eq!(done.rows_affected(), 1);
}

const DAY: f64 = 86_400.0;

/// Has the saga swept and put to rest.
async fn put_to_rest(place: &Place, id: &str) {
    sweep(place, id).await;
    eventually("it is at rest", async || (wakes_in(place, id).await > DAY).then_some(())).await;
}

/// The value of a metric without labels.
pub(crate) async fn metric(replica: &snorri::Orchestrator, name: &str) -> u64 {
    let url = format!("http://{}/metrics", replica.admin_address);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("a client");
    let text = client.get(url).send().await.expect("an answer").text().await.expect("a body");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {text}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_waits_through_a_restart_and_its_signal_is_kept_through_one_too() {
    let place = Place::shared("waitrestart").await;
    let answers = Arc::new(AtomicBool::new(false));
    let is_open = answers.clone();
    let _hand = Hand::play(
        &place,
        "hand",
        move |_| {
            if is_open.load(Ordering::Relaxed) { vec![ok()] } else { vec![] }
        },
    )
    .await;
    let a = json!({"name": "a", "participant": "hand", "compensation": "undo-a", "timeout": "2s"});
    let b = json!({"name": "b", "participant": "hand", "compensation": "undo-b"});
    let review = json!({"name": "review", "approval": {"timeout": "2d"}});
    let definition = json!({"name": "long", "window": "9d", "steps": [a, signal_wait(), review, b]});
    let replica = place.replica("one").await;
    let rest = Rest::of(&replica);
    rest.submit(&definition).await;
    let id = rest.start("long", &json!({})).await;
    let (status, kept) = pay(&rest, &id, "k-1").await;
    assert_eq!((status, &kept["taken_by"]), (202, &Value::Null));
    replica.shut_down().await;
    answers.store(true, Ordering::Relaxed);

    let replica = place.replica("one").await;
    let rest = Rest::of(&replica);
    let decide = async |rest: &Rest| {
        let body = json!({"approve": true, "by": "egil"});
        eventually("it waits for a person", async || {
            match rest.post(&format!("/v1/sagas/{id}/approvals/review"), &body).await {
                (200, body) => Some(body),
                (409, _) => None,
                (status, body) => panic!("{status}: {body}"),
            }
        })
        .await
    };
    eventually("it waits for a person", async || {
        (rest.saga(&id).await["steps"][2]["state"] == "acting").then_some(())
    })
    .await;
    let (status, again) = pay(&rest, &id, "k-1").await;
    assert_eq!((status, &again["taken_by"], &again["replayed"]), (200, &json!("payment"), &json!(true)));
    replica.shut_down().await;

    // And under another name.
    let replica = place.replica("two").await;
    let rest = Rest::of(&replica);
    decide(&rest).await;
    let saga = rest.ended(&id).await;
    assert_eq!((&saga["status"], &saga["steps"][1]["output"]), (&json!("completed"), &json!("k-1")));
    replica.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e14_of_one_signal_that_comes_at_once_everywhere_one_counts() {
    let place = Place::shared("waittwo").await;
    let (one, two) = (place.replica("one").await, place.replica("two").await);
    let _hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    let doors = [Rest::of(&one), Rest::of(&two)];
    doors[0].submit(&patient(&signal_wait())).await;
    for round in 0..5 {
        let id = doors[0].start("patient", &json!({})).await;
        waits(&doors[1], &id).await;
        let key = format!("k-{round}");
        let answers = join_all((0..10).map(|n| pay(&doors[n % 2], &id, &key))).await;
        assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
        let news = answers.iter().filter(|(_, answer)| answer["replayed"] == false).count();
        assert_eq!(news, 1, "{answers:?}");
        let saga = doors[1].ended(&id).await;
        assert_eq!((&saga["status"], &saga["signals"][1]), (&json!("completed"), &Value::Null));
    }
    one.shut_down().await;
    two.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_yes_and_a_no_at_two_replicas_one_counts() {
    let place = Place::shared("waitdecide").await;
    let (one, two) = (place.replica("one").await, place.replica("two").await);
    let _hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    let doors = [Rest::of(&one), Rest::of(&two)];
    doors[0].submit(&patient(&json!({"name": "review", "approval": {"timeout": "2d"}}))).await;
    for _ in 0..5 {
        let id = doors[0].start("patient", &json!({})).await;
        waits(&doors[1], &id).await;
        let path = format!("/v1/sagas/{id}/approvals/review");
        let (yes, no) = (json!({"approve": true, "by": "anna"}), json!({"approve": false, "by": "egil"}));
        let (first, second) = tokio::join!(doors[0].post(&path, &yes), doors[1].post(&path, &no));
        let mut statuses = [first.0, second.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{first:?} {second:?}");
        let saga = doors[0].ended(&id).await;
        let expected = if first.0 == 200 { "completed" } else { "compensated" };
        assert_eq!(saga["status"], expected, "{saga}");
    }
    one.shut_down().await;
    two.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_long_is_let_go_from_memory_and_goes_on_when_its_signal_comes() {
    let place = Place::shared("waitrest").await;
    let one = place.replica("one").await;
    let _hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    let rest = Rest::of(&one);
    rest.submit(&patient(&signal_wait())).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(rest.start("patient", &json!({})).await);
    }
    for id in &ids {
        waits(&rest, id).await;
        put_to_rest(&place, id).await;
        let wakes = wakes_in(&place, id).await;
        assert!((2.0 * DAY - 60.0..2.0 * DAY).contains(&wakes), "shortly before its time: {wakes}");
    }
    eventually("none is in memory", async || (metric(&one, "snorri_sagas_live").await == 0).then_some(()))
        .await;
    eventually("they are counted", async || (metric(&one, "snorri_sagas_resting").await == 3).then_some(()))
        .await;
    // What is asked of it in vain does not keep it in memory.
    let (status, _) = rest
        .post(&format!("/v1/sagas/{}/approvals/payment", ids[0]), &json!({"approve": true, "by": "x"}))
        .await;
    assert_eq!(status, 409);
    assert!(wakes_in(&place, &ids[0]).await > DAY);
    eventually("none is in memory", async || (metric(&one, "snorri_sagas_live").await == 0).then_some(()))
        .await;
    for id in &ids {
        let (status, taken) = pay(&rest, id, "k").await;
        assert_eq!((status, &taken["taken_by"]), (200, &json!("payment")));
        assert_eq!(rest.ended(id).await["status"], "completed");
    }
    one.shut_down().await;
}

/// Makes the saga, which is in no memory, one that began so much earlier.
async fn shift_back(place: &Place, rest: &Rest, id: &str, by: Millis) {
    let until = rest.saga(id).await["steps"][0]["under_way"]["awaited_until"].clone();
    let earlier: Timestamp = serde_json::from_value(until.clone()).expect("an instant");
    let earlier = serde_json::to_value(earlier - by).expect("json");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut database = PgConnection::connect(&place.database_url).await.expect("connected");
    let sql = "UPDATE snorri.journal SET at = at - $4 * interval '1 millisecond',
        events = replace(events::text, $2, $3)::json WHERE saga_id = $1::uuid";
    let by = i64::try_from(by.0).expect("a duration");
    let query = sqlx::query(sql).bind(id).bind(text(&until)).bind(text(&earlier)).bind(by);
    assert_eq!(query.execute(&mut database).await.expect("written").rows_affected(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_rest_is_back_before_its_time_and_on_time() {
    let place = Place::shared("waitback").await;
    let one = place.replica("one").await;
    let rest = Rest::of(&one);
    rest.submit(&patient(&signal_wait())).await;
    let id = rest.start("patient", &json!({})).await;
    waits(&rest, &id).await;
    put_to_rest(&place, &id).await;
    eventually("it is let go", async || (metric(&one, "snorri_sagas_live").await == 0).then_some(())).await;
    // All but five seconds of the two days are gone, and its wake-up comes.
    shift_back(&place, &rest, &id, Millis::secs(2 * 86_400 - 5)).await;
    sweep(&place, &id).await;
    eventually("it is back", async || (metric(&one, "snorri_sagas_live").await == 1).then_some(())).await;
    let saga = rest.ended(&id).await;
    assert_eq!(
        (&saga["status"], &saga["cause"]["code"]),
        (&json!("compensated"), &json!("signal_timed_out"))
    );
    let at = |value: &Value| serde_json::from_value::<Timestamp>(value.clone()).expect("an instant");
    let took = at(&saga["ended_at"]).since(at(&saga["steps"][0]["begun_at"]));
    let late = took.minus(Millis::secs(2 * 86_400));
    assert!(late <= Millis::secs(2), "by its timer and not by a sweep: {late} late");
    one.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_rest_needs_no_taking_over_and_moves_at_any_replica() {
    let place = Place::shared("waittaken").await;
    let (one, two) = (place.replica("one").await, place.replica("two").await);
    let hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    let (at_one, at_two) = (Rest::of(&one), Rest::of(&two));
    at_one.submit(&patient(&signal_wait())).await;
    let id = at_one.start("patient", &json!({})).await;
    waits(&at_one, &id).await;
    put_to_rest(&place, &id).await;
    one.shut_down().await;
    let mut database = PgConnection::connect(&place.database_url).await.expect("connected");
    eventually("nothing else is left of the first", async || {
        let sql = "SELECT count(*) FROM snorri.replicas WHERE name = 'one'";
        let left: i64 = sqlx::query_scalar(sql).fetch_one(&mut database).await.ok()?;
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(metric(&two, "snorri_sagas_taken_over_total").await, 0);
    assert!(wakes_in(&place, &id).await > DAY);
    assert_eq!(metric(&two, "snorri_sagas_live").await, 0);
    // It moves: from then on it is looked after as any other.
    hand.bus.client().expect("a client").flush().await.expect("flushed");
    drop(hand);
    let (status, _) = pay(&at_two, &id, "k").await;
    assert_eq!(status, 200);
    assert!(wakes_in(&place, &id).await <= 31.0, "its command is out");
    let owner: String =
        sqlx::query_scalar("SELECT owner FROM snorri.sagas").fetch_one(&mut database).await.expect("one");
    assert_eq!(owner, "two");
    let _hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    assert_eq!(at_two.ended(&id).await["status"], "completed");
    two.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_has_not_moved_is_put_to_rest() {
    let place = Place::shared("waitmoved").await;
    let one = place.replica("one").await;
    let rest = Rest::of(&one);
    rest.submit(&patient(&signal_wait())).await;
    let id = rest.start("patient", &json!({})).await;
    waits(&rest, &id).await;
    let store = Postgres::connect(&place.database_url, 1).expect("a store");
    let saga: SagaId = id.parse().expect("an id");
    let seq = store.saga(saga).await.expect("read").expect("there").seq;
    let wake_at = Timestamp(4_000_000_000_000_000);
    let later = |seq: i32| [Resting { id: saga, seq, wake_at }];
    // Somebody knows an older row.
    store.rest(&later(seq - 1)).await.expect("done");
    assert!(wakes_in(&place, &id).await < 31.0);
    // Somebody is writing the row: the saga moves, and nobody waits for that.
    let mut writer = PgConnection::connect(&place.database_url).await.expect("connected");
    sqlx::raw_sql("BEGIN; SELECT 1 FROM snorri.sagas FOR UPDATE").execute(&mut writer).await.expect("locked");
    store.rest(&later(seq)).await.expect("done");
    sqlx::raw_sql("ROLLBACK").execute(&mut writer).await.expect("rolled back");
    assert!(wakes_in(&place, &id).await < 31.0);
    store.rest(&later(seq)).await.expect("done");
    assert!(wakes_in(&place, &id).await > DAY);
    // A restart does not load it.
    let name: Name = "one".parse().expect("a name");
    assert_eq!(store.owned(&name, wake_at, None, 10).await.expect("read"), []);
    one.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e18_what_was_put_aside_and_is_well_is_no_longer_blocked() {
    let place = Place::shared("waitaside").await;
    let one = place.replica("one").await;
    let rest = Rest::of(&one);
    rest.submit(&patient(&signal_wait())).await;
    let id = rest.start("patient", &json!({})).await;
    waits(&rest, &id).await;
    // As a build does that does not know what the definition says.
    let store = snorri::store::Postgres::connect(&place.database_url, 1).expect("a store");
    store.quarantine(id.parse().expect("an id"), "an older build").await.expect("put aside");
    let saga = rest.saga(&id).await;
    assert_eq!((&saga["status"], &saga["blocked"]["reason"]), (&json!("blocked"), &json!("quarantined")));
    sweep(&place, &id).await;
    eventually("its mark is taken away", async || {
        let saga = rest.saga(&id).await;
        (saga["status"] == "running" && saga["blocked"].is_null()).then_some(())
    })
    .await;
    put_to_rest(&place, &id).await;
    let (status, _) = pay(&rest, &id, "k").await;
    assert_eq!(status, 200);
    store.close().await;
    one.shut_down().await;
}
