//! Dead letters: what came over the bus and could not be used.

use serde_json::json;
use snorri_bus::{Bytes, Outgoing};
use snorri_saga::ids::Name;

use crate::desk::Desk;
use crate::support::eventually;

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
