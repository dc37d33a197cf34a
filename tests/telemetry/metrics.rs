//! `/metrics`: that a scraper can read it, and that the numbers move as they should.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::openmetrics::{self, Scrape};
use crate::support::{Hand, Place, Rest, SOON, definition, eventually, failed, ok, rejected};
use crate::words;

pub async fn scrape(admin: SocketAddr) -> Scrape {
    let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
    let answer = http.get(format!("http://{admin}/metrics")).send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, snorri::metrics::Metrics::CONTENT_TYPE);
    let text = answer.text().await.unwrap();
    openmetrics::read(&text).unwrap_or_else(|rule| panic!("{rule}\n{text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_move_with_the_sagas() {
    let place = Place::shared("metrics").await;
    let orchestrator = place.replica("a-1").await;
    let rest = Rest::of(&orchestrator);
    rest.submit(&definition("order", &["reserve", "charge", "ship"])).await;
    let _hand = Hand::play(&place, "hand", |command| {
        let fails = command.body.input.to_value()["fails"].as_str().unwrap_or_default().to_owned();
        let step = command.effect().step.to_string();
        let is_undo = command.operation.as_str().starts_with("undo");
        match (fails.as_str(), command.id.attempt) {
            _ if is_undo => vec![ok()],
            ("no", _) if step == "ship" => vec![rejected("declined")],
            ("once", 1) if step == "charge" => vec![failed()],
            // Twice: the second changes nothing.
            _ => vec![ok(), ok()],
        }
    })
    .await;
    for (fails, status) in [("", "completed"), ("no", "compensated"), ("once", "completed")] {
        let id = rest.start("order", &json!({"fails": fails})).await;
        assert_eq!(rest.ended(&id).await["status"], status);
    }
    let (code, _) = rest.get("/v1/sagas/00000000-0000-7000-8000-000000000000").await;
    assert_eq!(code, 404);
    // Duplicates of answers may come in last, and a lane counts after its batch.
    let seen = eventually("the numbers settle", async || {
        let seen = scrape(orchestrator.admin_address).await;
        let is_settled = seen.value("snorri_sagas_live", &[]) == Some(0.0)
            && seen.samples.iter().any(|s| s.name == "snorri_replies_ignored_total" && s.value > 0.0);
        is_settled.then_some(seen)
    })
    .await;

    for name in words::ALL {
        assert!(seen.samples.iter().any(|sample| sample.name == *name), "no sample of {name}");
    }
    let order = ("definition", "order");
    let attempts = |direction, outcome| {
        let labels = [("participant", "hand"), ("direction", direction), ("outcome", outcome)];
        seen.value("snorri_step_attempts_total", &labels).unwrap()
    };
    assert_eq!(seen.value("snorri_sagas_started_total", &[order]), Some(3.0));
    assert_eq!(seen.value("snorri_sagas_ended_total", &[order, ("status", "completed")]), Some(2.0));
    assert_eq!(seen.value("snorri_sagas_ended_total", &[order, ("status", "compensated")]), Some(1.0));
    assert_eq!(seen.value("snorri_saga_causes_total", &[order, ("cause", "rejected")]), Some(1.0));
    let completed = [order, ("status", "completed")];
    assert_eq!(seen.value("snorri_saga_duration_seconds_count", &completed), Some(2.0));
    // 3 and 3 and, of the rejected one, 2; what failed once is counted as what it was.
    assert_eq!(attempts("action", "ok"), 8.0);
    assert_eq!((attempts("action", "failed"), attempts("action", "rejected")), (1.0, 1.0));
    assert_eq!((attempts("action", "unknown"), attempts("action", "tombstoned")), (0.0, 0.0));
    assert_eq!(attempts("compensation", "ok"), 2.0);
    let actions = [("participant", "hand"), ("direction", "action")];
    assert_eq!(seen.value("snorri_step_duration_seconds_count", &actions), Some(10.0));
    assert_eq!(seen.value("snorri_postgres_up", &[]), Some(1.0));
    assert_eq!(seen.value("snorri_nats_up", &[]), Some(1.0));
    for quiet in ["snorri_saga_windows_missed_total", "snorri_quarantined_total", "snorri_races_lost_total"] {
        assert_eq!(seen.value(quiet, &[]), Some(0.0), "{quiet}");
    }
    assert!(seen.value("snorri_commit_seconds_count", &[]) >= Some(3.0));
    assert!(seen.value("snorri_commit_batch_size_sum", &[]) >= Some(10.0));
    assert!(seen.value("process_resident_memory_bytes", &[]) > Some(1e6));
    assert!(seen.value("process_cpu_seconds_total", &[]) > Some(0.0));
    assert_eq!(seen.value("snorri_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    // A request is counted by its route and never by its path.
    assert!(!format!("{:?}", seen.samples).contains("00000000-0000-7000"));
    let started = [("route", "POST /v1/sagas"), ("status", "201")];
    assert_eq!(seen.value("snorri_http_requests_seconds_count", &started), Some(3.0));
    let exemplars: Vec<_> = seen.samples.iter().filter_map(|sample| sample.exemplar.as_ref()).collect();
    assert!(exemplars.iter().any(|labels| labels["trace_id"].len() == 32), "{exemplars:?}");
    orchestrator.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_saga_is_counted_alike_by_every_replica_and_until_it_moves() {
    let place = Place::shared("blocked").await;
    let (a, b) = (place.replica("a-1").await, place.replica("b-1").await);
    let rest = Rest::of(&a);
    let mut two = definition("order", &["reserve", "charge"]);
    two["steps"][0]["compensation"] =
        json!({"action": "undo-reserve", "retry": {"attempts": 20, "backoff": "1s", "cap": "1s"}});
    let (status, body) = rest.post("/v1/definitions", &two).await;
    assert_eq!(status, 201, "{body}");
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    let _hand = Hand::play(&place, "hand", move |command| match command.operation.as_str() {
        "charge" => vec![rejected("declined")],
        "undo-reserve" if !is_mended.load(Ordering::Relaxed) => vec![rejected("will_not")],
        _ => vec![ok()],
    })
    .await;
    let id = rest.start("order", &json!({})).await;
    let counts = async || {
        let mut counts = Vec::new();
        for replica in [&a, &b] {
            counts.push(scrape(replica.admin_address).await.value("snorri_sagas_blocked", &[]).unwrap());
        }
        counts
    };
    eventually("both say one", async || (counts().await == [1.0, 1.0]).then_some(())).await;
    mended.store(true, Ordering::Relaxed);
    assert_eq!(rest.ended(&id).await["status"], "compensated");
    eventually("both say none", async || (counts().await == [0.0, 0.0]).then_some(())).await;
    a.shut_down().await;
    b.shut_down().await;
}
