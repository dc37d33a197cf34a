//! Approvals: a person says yes or no, once.

use serde_json::{Value, json};

use crate::desk::{Desk, answer, asked, send};
use crate::support::{Hand, eventually, ok};

/// `a`, then a person's yes, then `b`; and one that is asked only if the input says so.
fn reviewed(name: &str) -> Value {
    let step = |step: &str| json!({"name": step, "participant": "hand", "compensation": format!("undo-{step}"), "timeout": "20s"});
    let review = json!({"name": "review", "approval": {"timeout": "1h"}});
    let extra = json!({"name": "extra", "when": "input.extra", "approval": {"timeout": "1h"}});
    json!({"name": name, "window": "3h", "steps": [step("a"), review, extra, step("b")]})
}

async fn begun(hint: &'static str) -> (Desk, Hand, String) {
    let desk = Desk::open(hint).await;
    let hand = Hand::play(&desk.place, "hand", |_| vec![]).await;
    desk.rest.submit(&reviewed("order")).await;
    let id = desk.rest.start("order", &json!({"extra": false})).await;
    (desk, hand, id)
}

/// Waits until the person is asked.
async fn waits(desk: &Desk, id: &str) -> Value {
    eventually("it waits for a person", async || {
        let saga = desk.rest.saga(id).await;
        (saga["steps"][1]["state"] == "acting").then_some(saga)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_goes_on_and_is_not_taken_back() {
    let (desk, hand, id) = begun("rest_approve").await;
    let path = format!("/v1/sagas/{id}/approvals/review");
    let yes = json!({"approve": true, "by": "egil", "comment": "fine"});
    let early = desk.post(&path, &yes).await;
    assert!(early.problem(409, "not-awaited").contains("not come to `review` yet"), "{early:?}");
    assert_eq!(early.body["too_early"], true);
    answer(&hand, &id, "a.action", &ok()).await;
    let saga = waits(&desk, &id).await;
    assert!(
        saga["waiting_for"].as_str().is_some_and(|text| text.starts_with("a person at review (since ")),
        "{saga}"
    );
    let said = desk.post(&path, &yes).await;
    assert_eq!(said.header("idempotent-replayed"), "");
    let expected = json!({
        "id": id, "status": "running", "step": "review", "approved": true, "stopping": false, "cause": null
    });
    assert_eq!(said.ok(200), expected);
    let again = desk.post(&path, &json!({"approve": true, "by": "olaf"})).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.ok(200)["approved"], true);
    let other = desk.post(&path, &json!({"approve": false, "by": "olaf"})).await;
    other.problem(409, "decided");
    assert_eq!((&other.body["saga_id"], &other.body["current_state"]), (&json!(id), &json!("running")));
    answer(&hand, &id, "b.action", &ok()).await;
    let saga = desk.rest.ended(&id).await;
    assert_eq!(saga["steps"][1]["output"], json!({"approved": true, "by": "egil", "comment": "fine"}));
    assert_eq!(
        (&saga["steps"][2]["work"], &saga["steps"][2]["state"]),
        (&json!("approval"), &json!("skipped"))
    );
    let skipped = desk.post(&format!("/v1/sagas/{id}/approvals/extra"), &yes).await;
    skipped.problem(409, "ended");
    let metrics = desk.admin("/metrics").await.text;
    for (outcome, count) in
        [("approved", 1), ("replayed", 1), ("decided", 1), ("not_awaited", 1), ("refused", 0)]
    {
        let line = format!("snorri_decisions_total{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_undoes_everything_and_says_who_said_it() {
    let (desk, hand, id) = begun("rest_refuse").await;
    let path = format!("/v1/sagas/{id}/approvals/review");
    answer(&hand, &id, "a.action", &ok()).await;
    waits(&desk, &id).await;
    // Who says it may come in the header.
    let request = desk.http().post(desk.url(&path)).header("snorri-by", "the night shift");
    let no = send(request.json(&json!({"approve": false, "comment": "too dear"}))).await.ok(200);
    assert_eq!(
        (&no["status"], &no["approved"], &no["cause"]),
        (&json!("compensating"), &json!(false), &json!("not_approved"))
    );
    let again = desk.post(&path, &json!({"approve": false, "by": "egil"})).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    desk.post(&path, &json!({"approve": true, "by": "egil"})).await.problem(409, "decided");
    answer(&hand, &id, "a.compensation", &ok()).await;
    let saga = desk.rest.ended(&id).await;
    assert_eq!(saga["status"], "compensated");
    assert_eq!(
        saga["cause"]["message"],
        "review was rejected (not_approved): the night shift said no: too dear"
    );
    desk.post(&path, &json!({"approve": true, "by": "egil"})).await.problem(409, "decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_needs_a_step_that_waits_for_one_and_somebody_who_decides() {
    let (desk, hand, id) = begun("rest_approve_bad").await;
    let yes = json!({"approve": true, "by": "egil"});
    let nobody = "01936d3e-7f0a-7000-8000-000000000001";
    desk.post(&format!("/v1/sagas/{nobody}/approvals/review"), &yes).await.problem(404, "unknown-saga");
    desk.post("/v1/sagas/1/approvals/review", &yes).await.problem(400, "bad-parameter");
    desk.post(&format!("/v1/sagas/{id}/approvals/Review"), &yes).await.problem(400, "bad-parameter");
    for step in ["a", "nothing"] {
        let refused = desk.post(&format!("/v1/sagas/{id}/approvals/{step}"), &yes).await;
        let detail = refused.problem(409, "not-awaited");
        assert_eq!(detail, format!("`{step}` is no approval of `order`; its approvals are: extra, review"));
        assert_eq!(refused.body["too_early"], false);
    }
    let path = format!("/v1/sagas/{id}/approvals/review");
    answer(&hand, &id, "a.action", &ok()).await;
    waits(&desk, &id).await;
    for bad in [
        json!({}),
        json!({"approve": true}),
        json!({"approve": "yes", "by": "egil"}),
        json!({"approve": true, "by": " "}),
        json!({"approve": true, "by": "x".repeat(201)}),
        json!({"approve": true, "by": "egil", "comment": "x".repeat(1001)}),
        json!({"approve": true, "by": "egil", "comment": "a\u{0}b"}),
        json!({"approve": true, "by": "egil", "force": true}),
    ] {
        desk.post(&path, &bad).await.problem(400, "bad-request");
    }
    desk.post_text(&path, "application/json", "x".repeat(20_000)).await.problem(413, "too-large");
    assert_eq!(desk.rest.saga(&id).await["steps"][1]["state"], "acting", "nothing was decided");
    let skipped = desk.post(&format!("/v1/sagas/{id}/approvals/extra"), &yes).await;
    assert_eq!(skipped.body["too_early"], true);
    desk.post(&path, &yes).await.ok(200);
    asked(&hand, &id, "b.action").await;
    let skipped = desk.post(&format!("/v1/sagas/{id}/approvals/extra"), &yes).await;
    assert_eq!(skipped.problem(409, "not-awaited"), "the condition of `extra` was false: it is skipped");
}
