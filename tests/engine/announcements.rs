//! Announcements of ends outlive the replica that owes them.

use futures::StreamExt as _;
use serde_json::json;
use snorri::store::{Beat, Postgres};
use snorri_saga::ids::Name;
use snorri_saga::time::{Millis, Timestamp};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::support::{Hand, Place, Rest, SOON, definition, eventually, ok};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_that_is_gone_owes_is_announced_and_then_it_is_forgotten() {
    let place = Place::shared("owed").await;
    let one = place.replica("one").await;
    let _hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    let rest = Rest::of(&one);
    rest.submit(&definition("short", &["a"])).await;
    let announced = rest.start("short", &json!({})).await;
    let owed = rest.start("short", &json!({})).await;
    for id in [&announced, &owed] {
        assert_eq!(rest.ended(id).await["status"], "completed");
    }
    one.shut_down().await;
    // As if NATS had been away for an hour, and then the replica was gone: longer ago than its last heartbeat.
    let mut db = PgConnection::connect(&place.database_url).await.expect("connected");
    let sql = format!(
        "UPDATE snorri.sagas SET ended_at = now() - interval '30 minutes' WHERE id = '{owed}';
         UPDATE snorri.sagas SET ended_at = now() - interval '2 hours' WHERE id = '{announced}';
         UPDATE snorri.replicas SET announced_until = now() - interval '1 hour' WHERE name = 'one'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut db).await.expect("as it would be");
    // Streams of its own: the ones above know the announcements already, and would swallow them.
    let elsewhere = Place { prefix: Name::new(&format!("{}-2", place.prefix)).expect("a prefix"), ..place };
    let bus = elsewhere.bus("listener").await;
    let subject = bus.subjects().ended(&Name::new("short").expect("a name"), "*");
    let mut heard = bus.client().expect("a client").subscribe(subject).await.expect("subscribed");
    let two = elsewhere.replica("two").await;
    let message = tokio::time::timeout(SOON, heard.next()).await.expect("in time").expect("an announcement");
    let body = String::from_utf8_lossy(&message.payload).into_owned();
    assert!(body.contains(&owed), "{body}");
    eventually("the one that is gone is struck off", async || {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM snorri.replicas WHERE name = 'one'")
            .fetch_one(&mut db)
            .await
            .expect("counted");
        (count == 0).then_some(())
    })
    .await;
    two.shut_down().await;
    while let Ok(Some(message)) = tokio::time::timeout(std::time::Duration::ZERO, heard.next()).await {
        let body = String::from_utf8_lossy(&message.payload).into_owned();
        assert!(!body.contains(&announced), "announced before, and long ago: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_is_forgotten_by_a_heartbeat_and_by_no_restart() {
    let place = Place::shared("debts").await;
    let store = Postgres::connect(&place.database_url, 1).expect("a store");
    store.migrate().await.expect("migrated");
    let (one, two) = (Name::new("one").expect("a name"), Name::new("two").expect("a name"));
    let (first, second, other) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    assert_eq!(store.enter(&one, first, "1").await.expect("entered").predecessor, None);
    let entered = store.enter(&two, other, "1").await.expect("entered");
    let owed = Timestamp(entered.now.0 - 3_600_000_000);
    let beat = |name, incarnation, announced_until| Beat { name, incarnation, version: "1", announced_until };
    store.heartbeat(beat(&one, first, owed), 60_000).await.expect("a heartbeat");
    for _ in 0..2 {
        let again = store.enter(&one, second, "1").await.expect("entered");
        assert_eq!(again.predecessor, Some(owed), "entering may be repeated, and pays nothing");
    }
    let usurped = store.heartbeat(beat(&one, first, entered.now), 60_000).await.expect("a heartbeat");
    assert!(usurped.is_usurped, "the first one is no more, and says nothing for the second");
    store.leave(&one, second).await.expect("left");
    let seen = store.heartbeat(beat(&two, other, entered.now), 60_000).await.expect("a heartbeat");
    let gone: Vec<_> = seen.dead.iter().map(|gone| (gone.name.as_str(), gone.announced_until)).collect();
    assert_eq!(gone, [("one", owed)]);

    let paid = entered.now + Millis(1);
    store.heartbeat(beat(&one, second, paid), 60_000).await.expect("a heartbeat");
    // A build that does not know of it enters, beats, and leaves: its heartbeat counts.
    let mut db = PgConnection::connect(&place.database_url).await.expect("connected");
    sqlx::raw_sql(
        "UPDATE snorri.replicas SET incarnation = gen_random_uuid(), heartbeat_at = '2026-01-02', left_at = now()
         WHERE name = 'one'",
    )
    .execute(&mut db)
    .await
    .expect("as an older build does");
    let seen = store.heartbeat(beat(&two, other, entered.now), 60_000).await.expect("a heartbeat");
    let gone = seen.dead.first().expect("one is gone");
    assert_eq!(gone.announced_until, gone.last_seen);
    assert!(gone.is_final, "it said goodbye");
    assert!(gone.last_seen < owed, "{gone:?}");
    store.close().await;
}
