//! `holiday.yaml` with its children `trip.yaml` and `payment.yaml`: sub-sagas, one for each traveller, and one that is
//! the pivot.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use snorri_demo::CARD_REFUSED;
use snorri_demo::examples::{Service, TOWN_WITHOUT_FLIGHTS};

use crate::fair::Fair;
use crate::support::eventually;

const SERVICES: [Service; 5] =
    [Service::Hotels, Service::Flights, Service::Cars, Service::Payments, Service::Mail];

fn holiday(booking: &str, change: &Value) -> Value {
    let mut input = json!({
        "booking": booking, "customer": "customer-0001", "email": "anna@example.org", "town": "oddi", "days": 7,
        "price_cents_each": 1_000, "travellers": [{"name": "anna"}, {"name": "egil", "car": true}, {"name": "olaf"}]
    });
    for (field, value) in change.as_object().expect("an object") {
        input[field] = value.clone();
    }
    input
}

async fn open() -> Fair {
    let fair = Fair::open("holiday", &SERVICES).await;
    for name in ["trip", "payment", "holiday"] {
        fair.submit(name).await;
    }
    fair
}

/// The sagas that the outputs of a saga's steps name.
fn children(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| children(item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(id) if name == "saga_id" => found.push(id.clone()),
                    value => children(value, found),
                }
            }
        }
        _ => {}
    }
}

/// How many sagas of each definition have each status, once all have ended.
async fn ends(fair: &Fair) -> BTreeMap<(String, String), usize> {
    eventually("all sagas end", async || {
        let (_, body) = fair.rest.get("/v1/sagas?limit=500").await;
        let sagas = body["sagas"].as_array().expect("a list");
        let mut ends = BTreeMap::new();
        for saga in sagas {
            saga["ended_at"].as_str()?;
            let text = |field: &str| saga[field].as_str().expect("a text").to_owned();
            *ends.entry((text("definition"), text("status"))).or_default() += 1;
        }
        Some(ends)
    })
    .await
}

fn are(expected: &[(&str, &str, usize)]) -> BTreeMap<(String, String), usize> {
    expected.iter().map(|(name, end, count)| (((*name).to_owned(), (*end).to_owned()), *count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holiday_is_completed_with_all_its_children() {
    let fair = open().await;
    let saga = fair.completes("holiday", &holiday("b-1", &json!({}))).await;
    let mut ids = Vec::new();
    children(&saga["steps"], &mut ids);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{saga:#}");
    for id in &ids {
        fair.is_completed(id).await;
    }
    let expected = [("holiday", "completed", 1), ("payment", "completed", 1), ("trip", "completed", 3)];
    assert_eq!(ends(&fair).await, are(&expected));
    let paid: i64 =
        fair.read("SELECT sum(amount_cents)::bigint FROM payments.holds WHERE state = 'captured'").await;
    assert_eq!(paid, 3_000);
    let subject: String = fair.read("SELECT subject FROM mail.letters").await;
    assert!(subject.starts_with("Your holiday, receipt r-"), "{subject}");
    assert_eq!(fair.close().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_refused_undoes_the_trips_that_were_done() {
    let fair = open().await;
    fair.is_undone_for("card_refused", "holiday", &holiday("b-1", &json!({"card": CARD_REFUSED}))).await;
    let expected = [("holiday", "compensated", 1), ("payment", "compensated", 1), ("trip", "compensated", 3)];
    assert_eq!(ends(&fair).await, are(&expected));
    assert_eq!(fair.read::<i64>("SELECT count(*) FROM hotels.bookings WHERE state = 'cancelled'").await, 3);
    assert_eq!(fair.close().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trip_that_is_refused_undoes_the_others_and_nothing_is_paid() {
    let fair = open().await;
    fair.is_undone_for("full", "holiday", &holiday("b-1", &json!({"town": TOWN_WITHOUT_FLIGHTS}))).await;
    let ends = ends(&fair).await;
    assert_eq!(ends[&("holiday".to_owned(), "compensated".to_owned())], 1);
    assert!(ends.keys().all(|(_, end)| end == "compensated"), "{ends:?}");
    assert_eq!(fair.read::<i64>("SELECT count(*) FROM payments.holds").await, 0);
    fair.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trip_is_a_saga_that_can_be_started_alone() {
    let fair = open().await;
    let trip = json!({"booking": "alone", "customer": "anna", "town": "oddi", "days": 2, "car": true});
    fair.completes("trip", &trip).await;
    assert_eq!(fair.close().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_is_refused_before_its_children_are_known() {
    let fair = Fair::open("holiday", &[]).await;
    let (status, body) = fair.try_submit("holiday").await;
    assert_eq!(status, 422, "{body}");
    assert!(body.contains("trip") && body.contains("payment"), "{body}");
    assert_eq!(fair.close().await, 0);
}
