//! Several orchestrators on one database.

use serde_json::json;
use snorri::store::{Beat, Postgres};
use snorri_saga::ids::Name;
use sqlx::{Connection as _, PgConnection};

use crate::support::{Hand, Place, Rest, SOON, definition, eventually, ok};

#[tokio::test(flavor = "multi_thread")]
async fn any_replica_starts_reads_and_moves_sagas_of_the_same_database() {
    let place = Place::shared("equal").await;
    let (one, two) = (place.replica("one").await, place.replica("two").await);
    let _hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    let (at_one, at_two) = (Rest::of(&one), Rest::of(&two));
    at_one.submit(&definition("two-steps", &["a", "b"])).await;
    let first = at_two.start("two-steps", &json!({})).await;
    let second = at_one.start("two-steps", &json!({})).await;
    assert_eq!(at_one.ended(&first).await["status"], "completed");
    assert_eq!(at_two.ended(&second).await["status"], "completed");
    one.shut_down().await;
    two.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e14_a_cancellation_at_another_replica_than_the_sagas_own_is_obeyed() {
    let place = Place::shared("cancel").await;
    let (one, two) = (place.replica("one").await, place.replica("two").await);
    let hand = Hand::play(&place, "hand", |command| match command.effect().step.as_str() {
        "b" if command.effect().direction == snorri_saga::ids::Direction::Action => vec![],
        _ => vec![ok()],
    })
    .await;
    let (at_one, at_two) = (Rest::of(&one), Rest::of(&two));
    at_one.submit(&definition("two-steps", &["a", "b"])).await;
    let id = at_one.start("two-steps", &json!({})).await;
    eventually("b is asked for", async || hand.asked().contains_key("b.action").then_some(())).await;
    let (status, body) =
        at_two.post(&format!("/v1/sagas/{id}/cancel"), &json!({"reason": "changed my mind"})).await;
    assert_eq!(status, 200, "{body}");
    let saga = at_one.ended(&id).await;
    assert_eq!(saga["status"], "compensated", "{saga}");
    assert_eq!(saga["cause"]["code"], "cancelled");
    one.shut_down().await;
    two.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_a_replica_that_was_overtaken_sends_nothing_and_is_kept_as_a_fact() {
    let place = Place::shared("overtaken").await;
    let (one, two) = (place.replica("one").await, place.replica("two").await);
    let hand = Hand::play(&place, "hand", |command| match command.effect().step.as_str() {
        "b" if command.effect().direction == snorri_saga::ids::Direction::Action => vec![],
        _ => vec![ok()],
    })
    .await;
    let (at_one, at_two) = (Rest::of(&one), Rest::of(&two));
    at_one.submit(&definition("three-steps", &["a", "b", "c"])).await;
    let id = at_one.start("three-steps", &json!({})).await;
    eventually("b is asked for", async || hand.asked().contains_key("b.action").then_some(())).await;
    at_two.post(&format!("/v1/sagas/{id}/cancel"), &json!({"reason": "changed my mind"})).await;
    assert_eq!(at_two.ended(&id).await["status"], "compensated");
    // The first replica remembers a saga that goes forward, in which c is next. What it would append is a journal row
    // and no more, and that place of the journal is taken.
    let b = hand.seen().into_iter().find(|command| command.effect().step.as_str() == "b").expect("b");
    let late = snorri_bus::headers::reply(&b.reply_to, &b.id, &ok());
    hand.bus.publish_all(vec![late]).await;
    eventually("the late reply is journalled", async || {
        let (_, journal) = at_one.get(&format!("/v1/sagas/{id}/journal")).await;
        (journal.to_string().matches("late_reply").count() == 1).then_some(())
    })
    .await;
    assert_eq!(at_one.saga(&id).await["status"], "compensated");
    assert!(!hand.asked().contains_key("c.action"), "{:?}", hand.asked());
    one.shut_down().await;
    two.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_leaves_has_its_sagas_taken_over_at_once() {
    let place = Place::shared("leaves").await;
    let (one, two) = (place.replica("one").await, place.replica("two").await);
    // Answers nothing that the first replica sends.
    let hand = Hand::play(&place, "hand", |command| {
        if command.reply_to.split('.').next_back() == Some("one") { vec![] } else { vec![ok()] }
    })
    .await;
    let (at_one, at_two) = (Rest::of(&one), Rest::of(&two));
    let mut long = definition("long", &["a", "b"]);
    long["steps"][0]["timeout"] = json!("60s");
    at_one.submit(&long).await;
    let id = at_one.start("long", &json!({})).await;
    eventually("a is asked for", async || hand.asked().contains_key("a.action").then_some(())).await;
    one.shut_down().await;
    let saga = at_two.ended(&id).await;
    assert_eq!(saga["status"], "completed", "{saga}");
    assert_eq!(saga["steps"][0]["attempt"], 1, "a takeover burns no attempt: {saga}");
    two.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_has_come_back_keeps_its_sagas() {
    let place = Place::shared("back").await;
    let one = place.replica("one").await;
    let hand = Hand::play(&place, "hand", |_| vec![]).await;
    let rest = Rest::of(&one);
    let mut long = definition("long", &["a"]);
    long["steps"][0]["timeout"] = json!("60s");
    rest.submit(&long).await;
    rest.start("long", &json!({})).await;
    eventually("a is asked for", async || hand.asked().contains_key("a.action").then_some(())).await;
    let store = Postgres::connect(&place.database_url, 1).expect("a store");
    let (dead, taker) = (Name::new("one").expect("a name"), Name::new("two").expect("a name"));
    // Seen dead, and back before the other one comes to it.
    assert!(store.take_over(&dead, &taker, 10).await.expect("asked").is_empty());
    one.shut_down().await;
    assert_eq!(store.take_over(&dead, &taker, 10).await.expect("asked").len(), 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_comes_up_on_the_schema_of_a_newer_version() {
    let place = Place::shared("newer").await;
    place.replica("one").await.shut_down().await;
    let mut db = PgConnection::connect(&place.database_url).await.expect("connected");
    sqlx::query(
        "INSERT INTO snorri._sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of a newer version', true, '', 0)",
    )
    .execute(&mut db)
    .await
    .expect("the newer version was here");
    let again = tokio::time::timeout(SOON, place.replica("one")).await.expect("it comes up");
    let hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    let rest = Rest::of(&again);
    rest.submit(&definition("still", &["a"])).await;
    let id = rest.start("still", &json!({})).await;
    assert_eq!(rest.ended(&id).await["status"], "completed");
    assert_eq!(hand.asked()["a.action"], 1);
    again.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_holds_holds_up_its_saga_and_no_other() {
    let place = Place::shared("held").await;
    let one = place.replica("one").await;
    let rest = Rest::of(&one);
    rest.submit(&definition("held", &["a"])).await;
    // The first saga is answered at its second attempt: by then its row is held, and its end cannot be written.
    let hand = Hand::play(&place, "hand", |command| {
        let is_first = command.body.input.get().contains("first");
        if is_first && command.id.attempt == 1 { vec![] } else { vec![ok()] }
    })
    .await;
    let first = rest.start("held", &json!("first")).await;
    let mut holder = PgConnection::connect(&place.database_url).await.expect("connected");
    let hold = format!("BEGIN; SELECT 1 FROM snorri.sagas WHERE id = '{first}' FOR UPDATE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(hold)).execute(&mut holder).await.expect("held");
    eventually("the second attempt", async || hand.seen().iter().any(|of| of.id.attempt == 2).then_some(()))
        .await;
    for round in 0..3 {
        let other = rest.start("held", &json!(round)).await;
        assert_eq!(rest.ended(&other).await["status"], "completed");
    }
    assert_eq!(rest.saga(&first).await["status"], "running", "its row is still held");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.expect("let go");
    assert_eq!(rest.ended(&first).await["status"], "completed");
    one.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_waits_for_nothing_that_waits_for_sagas() {
    let place = Place::shared("beats").await;
    place.replica("one").await.shut_down().await;
    let store = Postgres::connect(&place.database_url, 1).expect("a store");
    let (name, other) = (Name::new("two").expect("a name"), Name::new("gone").expect("a name"));
    let incarnation = uuid::Uuid::from_u128(1);
    store.enter(&name, incarnation, "0").await.expect("entered");
    let beat = || {
        let announced_until = snorri_saga::time::Timestamp(0);
        store.heartbeat(Beat { name: &name, incarnation, version: "0", announced_until }, 2000)
    };
    beat().await.expect("a heartbeat");
    // Everything that has to do with sagas waits for somebody who holds their table.
    let mut holder = PgConnection::connect(&place.database_url).await.expect("connected");
    sqlx::raw_sql("BEGIN; LOCK TABLE snorri.sagas IN ACCESS EXCLUSIVE MODE")
        .execute(&mut holder)
        .await
        .expect("locked");
    let busy: Vec<_> = (0..12)
        .map(|_| {
            let (store, other) = (store.clone(), other.clone());
            tokio::spawn(async move { store.claim_due(&other, 10).await })
        })
        .collect();
    eventually("the upkeep waits", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'snorri.sagas'::regclass",
        )
        .fetch_one(&mut holder)
        .await
        .ok()?;
        (waiting >= 3).then_some(())
    })
    .await;
    let asked = tokio::time::Instant::now();
    beat().await.expect("a heartbeat");
    assert!(asked.elapsed().as_millis() < 1000, "it came after {:?}", asked.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.expect("let go");
    for one in busy {
        // Given up on, or done by now.
        let _ = one.await.expect("no panic");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_migrate_at_once_and_an_index_that_was_cut_short_is_built_anew() {
    let place = Place::shared("migrate").await;
    let stores: Vec<Postgres> =
        (0..4).map(|_| Postgres::connect(&place.database_url, 1).expect("a store")).collect();
    let at_once: Vec<_> =
        stores.iter().cloned().map(|store| tokio::spawn(async move { store.migrate().await })).collect();
    for one in at_once {
        one.await.expect("no panic").expect("migrated");
    }
    let mut database = PgConnection::connect(&place.database_url).await.expect("connected");
    // As it is left behind when the migration is killed: not valid, and not said to be applied.
    sqlx::raw_sql(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'snorri.sagas_owner'::regclass;
         DELETE FROM snorri._sqlx_migrations WHERE version = 6",
    )
    .execute(&mut database)
    .await
    .expect("cut short");
    stores[0].migrate().await.expect("migrated again");
    let is_valid: bool = sqlx::query_scalar(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'snorri.sagas_owner'::regclass",
    )
    .fetch_one(&mut database)
    .await
    .expect("it is there");
    assert!(is_valid);
    stores[0].check_schema().await.expect("up to date");
}
