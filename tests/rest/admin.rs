//! The admin port: probes and metrics, apart from the API.

use serde_json::json;

use crate::desk::Desk;
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_up_says_so() {
    let desk = Desk::open("rest_admin").await;
    assert_eq!(desk.admin("/livez").await.ok(200), json!({"live": true}));
    assert_eq!(desk.admin("/startupz").await.ok(200), json!({"started": true}));
    let ready = eventually("ready", async || {
        let answer = desk.admin("/readyz").await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(
        ready.body,
        json!({"ready": true, "checks": {"started": true, "postgres": true, "nats": true}})
    );
    desk.admin("/v1/sagas").await.problem(404, "unknown-route");
    desk.get("/metrics").await.problem(404, "unknown-route");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_their_route_and_not_by_their_path() {
    let desk = Desk::open("rest_metrics").await;
    desk.get("/v1/sagas/01936d3e-7f0a-7000-8000-000000000001").await.problem(404, "unknown-saga");
    let metrics = desk.admin("/metrics").await;
    assert_eq!(metrics.status, 200);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(metrics.header("content-type"), kind);
    assert!(metrics.text.contains("GET /v1/sagas/{id}"), "{}", metrics.text);
    assert!(!metrics.text.contains("01936d3e"), "a path is no label");
    assert!(metrics.text.trim_end().ends_with("# EOF"));
}
