//! How many sub-sagas are in a replica's memory: no more than there is room for, and none that is another replica's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use snorri::Orchestrator;

use crate::family::{child, is_action, order, part, shipment};
use crate::support::{Hand, Place, Rest, definition, eventually, ok};
use crate::waits::{metric, sweep};

#[tokio::test(flavor = "multi_thread")]
async fn sub_sagas_for_which_there_is_no_room_wait_and_are_begun_by_and_by() {
    let place = Place::shared("room").await;
    let replica = Orchestrator::start(snorri::config::Config { live_sagas_max: 4, ..place.config("one") })
        .await
        .expect("started");
    let may_pack = Arc::new(AtomicBool::new(false));
    let packs = may_pack.clone();
    let hand = Hand::play(&place, "hand", move |command| {
        if is_action(command, "pack") && !packs.load(Ordering::Relaxed) { vec![] } else { vec![ok()] }
    })
    .await;
    let rest = Rest::of(&replica);
    rest.submit(&shipment()).await;
    let mut order = order();
    order["steps"][1]["for_each"] = json!({"items": "${{ input.rows }}", "concurrency": 12, "max": 12});
    rest.submit(&order).await;
    let rows: Vec<u32> = (0..12).collect();
    let id = rest.start("order", &json!({"rows": rows})).await;
    eventually("some are held back", async || {
        (metric(&replica, "snorri_sub_sagas_held_back_total").await > 0).then_some(())
    })
    .await;
    // Five may be live, with their parent; one a second is begun without room.
    assert!(metric(&replica, "snorri_sagas_live").await < 12);
    assert!(metric(&replica, "snorri_letters_waiting").await > 0);
    assert_eq!(metric(&replica, "snorri_letters_dropped_total").await, 0);
    may_pack.store(true, Ordering::Relaxed);
    let whole = rest.ended(&id).await;
    assert_eq!(whole["status"], "completed", "{whole:#}");
    assert_eq!(hand.asked()["load.action"], 12, "each once");
    eventually("nothing waits", async || {
        (metric(&replica, "snorri_letters_waiting").await == 0).then_some(())
    })
    .await;
    replica.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_only_has_the_parent_does_not_keep_its_sub_saga_in_memory() {
    let place = Place::shared("onlyparent").await;
    let (one, two) = (place.replica("one").await, place.replica("two").await);
    let hand =
        Hand::play(&place, "hand", |command| if is_action(command, "pack") { vec![] } else { vec![ok()] })
            .await;
    let (at_one, at_two) = (Rest::of(&one), Rest::of(&two));
    let mut slow = shipment();
    slow["window"] = json!("10m");
    slow["steps"][0]["timeout"] = json!("60s");
    at_one.submit(&slow).await;
    let mut order = definition("order", &["bill"]);
    order["window"] = json!("1h");
    let mut paid = json!({"name": "paid", "needs": [], "signal": {"timeout": "30m"}});
    paid["needs"] = json!([]);
    let mut ship = part("ship", "shipment");
    ship["needs"] = json!([]);
    order["steps"][0]["needs"] = json!(["ship", "paid"]);
    order["steps"].as_array_mut().expect("steps").splice(0..0, [ship, paid]);
    at_one.submit(&order).await;
    let id = at_one.start("order", &json!({})).await;
    eventually("its part is begun", async || hand.asked().contains_key("pack.action").then_some(())).await;
    // The parent moves to the other replica, and asks from there how its part is.
    let (status, body) = at_two.post(&format!("/v1/sagas/{id}/signals/paid"), &json!({"payload": 1})).await;
    assert!(status < 300, "{status} {body}");
    let ignored = r#"snorri_replies_ignored_total{reason="duplicate"}"#;
    let before = metric(&two, ignored).await;
    eventually("the part is asked for again from there", async || {
        sweep(&place, &id).await;
        (metric(&two, ignored).await > before).then_some(())
    })
    .await;
    // The gauge is set after each round; the next question comes after that.
    let before = metric(&two, ignored).await;
    eventually("once more", async || {
        sweep(&place, &id).await;
        (metric(&two, ignored).await > before).then_some(())
    })
    .await;
    assert_eq!(metric(&two, "snorri_sagas_live").await, 1, "the parent alone");
    assert_eq!(at_two.saga(&child(&id, "ship")).await["status"], "running");
    one.shut_down().await;
    two.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_that_could_grow_too_large_is_refused_when_it_is_submitted() {
    let place = Place::shared("large").await;
    let replica = place.replica("one").await;
    let rest = Rest::of(&replica);
    let mut parcel = definition("parcel", &["wrap"]);
    parcel["window"] = json!("1m");
    rest.submit(&parcel).await;
    let list = |of: &str, name: &str, window: &str, max: u32| {
        let mut each = part("each", of);
        each["for_each"] = json!({"items": "${{ input.rows }}", "concurrency": 100, "max": max});
        each["input"] = json!({"rows": [1]});
        json!({"name": name, "window": window, "steps": [each]})
    };
    rest.submit(&list("parcel", "shipment", "30m", 200)).await;
    rest.submit(&list("shipment", "order", "10h", 49)).await;
    let (status, body) = rest.post("/v1/definitions", &list("shipment", "order", "10h", 50)).await;
    assert_eq!(status, 422, "{body:#}");
    let text = body.to_string();
    assert!(text.contains("family-too-large") && text.contains("/steps/0/for_each"), "{body:#}");
    assert!(text.contains("10051"), "1 + 50 x (1 + 200): {body:#}");
    replica.shut_down().await;
}
