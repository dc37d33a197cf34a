//! Cancelling: idempotent, refused past the pivot and after the end, and never of an undo.

use serde_json::json;

use crate::desk::{Desk, answer, asked, send};
use crate::support::{Hand, ok};

async fn begun(hint: &'static str) -> (Desk, Hand, String) {
    let desk = Desk::open(hint).await;
    let hand = Hand::play(&desk.place, "hand", |_| vec![]).await;
    desk.submit_with_pivot("order").await;
    let id = desk.rest.start("order", &json!({})).await;
    (desk, hand, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_pivot_everything_done_is_undone_however_often_it_is_asked() {
    let (desk, hand, id) = begun("rest_cancel").await;
    answer(&hand, &id, "a.action", &ok()).await;
    asked(&hand, &id, "b.action").await;
    let path = format!("/v1/sagas/{id}/cancel");
    let body = json!({"reason": "ordered twice", "by": "anna"});
    // The action under way is awaited first; asking again changes nothing.
    for _ in 0..2 {
        let stopping = desk.post(&path, &body).await.ok(200);
        assert_eq!(stopping, json!({"id": id, "status": "running", "stopping": true, "cause": null}));
    }
    let saga = desk.rest.saga(&id).await;
    assert_eq!(saga["stopping"]["message"], "cancelled by anna: ordered twice");
    answer(&hand, &id, "b.action", &ok()).await;
    asked(&hand, &id, "b.compensation").await;
    let undoing = desk.post(&path, &json!({"reason": "again"})).await.ok(200);
    assert_eq!(undoing, json!({"id": id, "status": "compensating", "stopping": false, "cause": "cancelled"}));
    let saga = desk.rest.saga(&id).await;
    let undo = &saga["steps"][1]["compensation"];
    assert_eq!((&undo["action"], &undo["attempt"]), (&json!("undo-b"), &json!(1)));
    answer(&hand, &id, "b.compensation", &ok()).await;
    answer(&hand, &id, "a.compensation", &ok()).await;
    let saga = desk.rest.ended(&id).await;
    assert_eq!((&saga["status"], &saga["cause"]["code"]), (&json!("compensated"), &json!("cancelled")));
    assert_eq!(saga["cause"]["message"], "cancelled by anna: ordered twice");
    let late = desk.post(&path, &body).await;
    late.problem(409, "ended");
    assert_eq!((&late.body["current_state"], &late.body["saga_id"]), (&json!("compensated"), &json!(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_pivot_a_saga_only_goes_forwards() {
    let (desk, hand, id) = begun("rest_cancel_pivot").await;
    answer(&hand, &id, "a.action", &ok()).await;
    answer(&hand, &id, "b.action", &ok()).await;
    asked(&hand, &id, "p.action").await;
    let refused = desk.post(&format!("/v1/sagas/{id}/cancel"), &json!({"reason": "too late"})).await;
    refused.problem(409, "past-pivot");
    assert_eq!(refused.body["current_state"], "running");
    answer(&hand, &id, "p.action", &ok()).await;
    assert_eq!(desk.rest.ended(&id).await["status"], "completed");
    let refused = desk.post(&format!("/v1/sagas/{id}/cancel"), &json!({"reason": "too late"})).await;
    refused.problem(409, "ended");
    assert_eq!(refused.body["current_state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_is_taken_from_the_body_or_the_header() {
    let (desk, hand, id) = begun("rest_cancel_by").await;
    asked(&hand, &id, "a.action").await;
    let request =
        desk.http().post(desk.url(&format!("/v1/sagas/{id}/cancel"))).header("snorri-by", "the night shift");
    send(request.json(&json!({"reason": "alarm"}))).await.ok(200);
    let saga = desk.rest.saga(&id).await;
    assert_eq!(saga["stopping"]["message"], "cancelled by the night shift: alarm");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_needs_a_saga_and_a_reason() {
    let (desk, _hand, id) = begun("rest_cancel_bad").await;
    let body = json!({"reason": "x"});
    let nobody = "01936d3e-7f0a-7000-8000-000000000001";
    desk.post(&format!("/v1/sagas/{nobody}/cancel"), &body).await.problem(404, "unknown-saga");
    desk.post("/v1/sagas/1/cancel", &body).await.problem(400, "bad-parameter");
    let path = format!("/v1/sagas/{id}/cancel");
    for bad in [
        json!({}),
        json!({"reason": " "}),
        json!({"reason": "x".repeat(1001)}),
        json!({"reason": "a\u{0}b"}),
        json!({"reason": "x", "by": ""}),
        json!({"reason": "x", "force": true}),
        json!("x"),
    ] {
        desk.post(&path, &bad).await.problem(400, "bad-request");
    }
    desk.post_text(&path, "application/json", "").await.problem(400, "bad-request");
    desk.post_text(&path, "application/json", "x".repeat(20_000)).await.problem(413, "too-large");
    assert_eq!(desk.rest.saga(&id).await["stopping"], json!(null));
}
