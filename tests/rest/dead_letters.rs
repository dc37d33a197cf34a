//! Dead letters: what came over the bus and could not be used.

use serde_json::json;
use snorri_bus::{Bytes, HeaderMap, Outgoing};
use snorri_saga::ids::Name;
use snorri_saga::wire::header;
use sqlx::Connection as _;

use crate::desk::Desk;
use crate::support::{definition, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_cannot_be_used_are_listed_newest_first() {
    let desk = Desk::open("rest_dead").await;
    let empty = desk.get("/v1/dead-letters").await.ok(200);
    assert_eq!(empty, json!({"dead_letters": [], "next_cursor": null}));
    let bus = desk.place.bus("hand").await;
    let (hand, one) = (Name::new("hand").expect("a name"), Name::new("one").expect("a name"));
    let subject = bus.subjects().reply(&hand, &one);
    for number in 0..5 {
        let letter = Outgoing {
            subject: subject.clone(),
            headers: None,
            payload: Bytes::from("x".repeat(number + 1)),
        };
        eventually("the stream of replies", async || {
            bus.publish_all(vec![letter.clone()]).await.iter().all(Result::is_ok).then_some(())
        })
        .await;
    }
    let mut sizes = eventually("all five", async || {
        let page = desk.get("/v1/dead-letters").await.ok(200);
        let letters = page["dead_letters"].as_array().expect("a list").clone();
        (letters.len() >= 5).then_some(letters)
    })
    .await;
    assert!(
        sizes.iter().all(|letter| letter["subject"] == subject && letter["reason"] == "malformed_header")
    );
    assert!(sizes.iter().all(|letter| letter["at"].is_string() && letter["detail"].is_string()));

    let mut paged = Vec::new();
    let mut path = "/v1/dead-letters?limit=2".to_owned();
    loop {
        let page = desk.get(&path).await.ok(200);
        paged.extend(page["dead_letters"].as_array().expect("a list").clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/dead-letters?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, sizes);
    sizes.sort_by_key(|letter| std::cmp::Reverse(letter["id"].as_i64()));
    assert_eq!(paged, sizes);
    for bad in ["cursor=zz", "cursor=-1", "limit=0"] {
        desk.get(&format!("/v1/dead-letters?{bad}")).await.problem(400, "bad-parameter");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_wants_its_answer_elsewhere_is_put_aside_and_orders_nothing() {
    let desk = Desk::open("rest_reply_to").await;
    desk.rest.submit(&definition("order", &["a"])).await;
    let bus = desk.place.bus("hand").await;
    let start = |reply_to: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::REPLY_TO, reply_to);
        let subject = bus.subjects().start(&"order".parse().expect("a name"));
        Outgoing { subject, headers: Some(headers), payload: Bytes::from("{}") }
    };
    let purge = format!("$JS.API.STREAM.PURGE.{}", bus.subjects().starts_stream());
    let mine = bus.subjects().reply(&"hand".parse().expect("a name"), &"one".parse().expect("a name"));
    for to in [purge.as_str(), mine.as_str(), "_INBOX.*"] {
        eventually("the stream of starts", async || {
            bus.publish_all(vec![start(to)]).await.iter().all(Result::is_ok).then_some(())
        })
        .await;
    }
    let letters = eventually("all three", async || {
        let page = desk.get("/v1/dead-letters").await.ok(200);
        let letters = page["dead_letters"].as_array().expect("a list").clone();
        (letters.len() >= 3).then_some(letters)
    })
    .await;
    assert!(letters.iter().all(|letter| letter["reason"] == "bad_reply_to"), "{letters:?}");
    assert_eq!(desk.count().await, 0, "nothing was started");
    // One without a key, and with an inbox, is started once.
    assert!(bus.publish_all(vec![start("_INBOX.nobody")]).await.iter().all(Result::is_ok));
    eventually("its saga", async || (desk.count().await == 1).then_some(())).await;
    let metrics = desk.admin("/metrics").await.text;
    assert!(metrics.contains(r#"snorri_dead_letters_total{reason="bad_reply_to"} 3"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_dead_letters_and_those_beyond_the_most_are_forgotten() {
    let desk = Desk::open("rest_forget").await;
    let mut database = sqlx::PgConnection::connect(&desk.place.database_url).await.expect("a connection");
    sqlx::query(
        "INSERT INTO snorri.dead_letters (at, subject, reason, detail, headers, payload, bytes)
        SELECT now() - make_interval(days => CASE WHEN n <= 4500 THEN 8 ELSE 1 END), 's', 'r', 'd', '', '', 0
        FROM generate_series(1, 105000) AS n ORDER BY n",
    )
    .execute(&mut database)
    .await
    .expect("written");
    let store = snorri::store::Postgres::connect(&desk.place.database_url, 1).expect("a store");
    assert_eq!(store.forget_dead_letters().await.expect("deleted"), 5000);
    assert_eq!(store.forget_dead_letters().await.expect("deleted"), 0);
    let newest = desk.get("/v1/dead-letters?limit=1").await.ok(200);
    assert_eq!(newest["dead_letters"][0]["id"], 105_000);
}
