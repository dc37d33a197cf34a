//! One saga, read: what was done, what it waits for, why it went wrong, and its journal.

use serde_json::{Value, json};
use snorri_saga::wire::Outcome;

use crate::desk::{Desk, answer, asked, send};
use crate::support::{Hand, definition, eventually, ok, rejected};

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_saga_shows_every_step() {
    let desk = Desk::open("rest_completed").await;
    let _hand = Hand::play(&desk.place, "hand", |_| vec![ok()]).await;
    desk.rest.submit(&definition("order", &["a", "b"])).await;
    let id = desk.rest.start("order", &json!({"order": 1})).await;
    let waited = desk.rest.ended(&id).await;
    let saga = desk.get(&format!("/v1/sagas/{id}")).await;
    let etag = saga.header("etag").to_owned();
    let saga = saga.ok(200);
    assert_eq!(saga, waited, "waiting answers the same as asking");
    assert_eq!(
        (&saga["status"], &saga["definition"], &saga["version"]),
        (&json!("completed"), &json!("order"), &json!(1))
    );
    assert!(
        saga["duration_ms"].is_u64() && saga["started_at"].as_str() < saga["ended_at"].as_str(),
        "{saga}"
    );
    assert!(saga["forward_deadline"].as_str() < saga["deadline"].as_str(), "{saga}");
    assert_eq!(saga["trace_id"], id.replace('-', ""));
    for nothing in ["cause", "stopping", "blocked", "waiting_for"] {
        assert_eq!(saga[nothing], Value::Null, "{nothing}");
    }
    assert_eq!((&saga["at_risk"], &saga["window_missed"]), (&json!(false), &json!(false)));
    for (position, name) in ["a", "b"].into_iter().enumerate() {
        let step = &saga["steps"][position];
        assert_eq!(
            (&step["name"], &step["participant"], &step["action"]),
            (&json!(name), &json!("hand"), &json!(name))
        );
        assert_eq!((&step["kind"], &step["state"]), (&json!("compensatable"), &json!("done")));
        assert_eq!((&step["attempt"], &step["output"]), (&json!(1), &json!({"done": true})));
        assert!(step["begun_at"].as_str() <= step["changed_at"].as_str() && step["begun_at"].is_string());
        assert_eq!(step["compensation"]["action"], format!("undo-{name}"));
    }

    let known = desk.http().get(desk.url(&format!("/v1/sagas/{id}"))).header("if-none-match", &etag);
    let unchanged = send(known).await;
    assert_eq!((unchanged.status, unchanged.text.as_str()), (304, ""));
    let other = desk.http().get(desk.url(&format!("/v1/sagas/{id}"))).header("if-none-match", "\"0\"");
    send(other).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_saga_says_in_plain_words_what_it_waits_for() {
    let desk = Desk::open("rest_running").await;
    let hand = Hand::play(&desk.place, "hand", |_| vec![]).await;
    desk.submit_with_pivot("order").await;
    let id = desk.rest.start("order", &json!({})).await;
    asked(&hand, &id, "a.action").await;
    let saga = desk.rest.saga(&id).await;
    assert_eq!(
        (&saga["status"], &saga["ended_at"], &saga["duration_ms"]),
        (&json!("running"), &Value::Null, &Value::Null)
    );
    let words = saga["waiting_for"].as_str().expect("words");
    assert!(words.starts_with("hand to answer the action of a (attempt 1, sent "), "{words}");
    let [a, b, p] = [0, 1, 2].map(|position| saga["steps"][position].clone());
    assert_eq!((&a["state"], &a["under_way"]["attempt"]), (&json!("acting"), &json!(1)));
    assert!(a["under_way"]["awaited_until"].is_string() && a["under_way"]["retry_at"].is_null(), "{a}");
    for step in [&b, &p] {
        assert_eq!(
            (&step["state"], &step["attempt"], &step["begun_at"]),
            (&json!("pending"), &json!(0), &Value::Null)
        );
    }
    assert_eq!((&p["kind"], &p["compensation"]), (&json!("pivot"), &Value::Null));

    let before = desk.get(&format!("/v1/sagas/{id}")).await.header("etag").to_owned();
    answer(&hand, &id, "a.action", &ok()).await;
    asked(&hand, &id, "b.action").await;
    assert_ne!(desk.get(&format!("/v1/sagas/{id}")).await.header("etag"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_was_undone_says_why() {
    let desk = Desk::open("rest_undone").await;
    let hand = Hand::play(&desk.place, "hand", |command| match command.effect().step.as_str() {
        "b" => vec![rejected("out_of_stock")],
        _ => vec![ok()],
    });
    let _hand = hand.await;
    desk.rest.submit(&definition("order", &["a", "b", "c"])).await;
    let id = desk.rest.start("order", &json!({})).await;
    let saga = desk.rest.ended(&id).await;
    assert_eq!(saga["status"], "compensated");
    let cause = json!({"code": "out_of_stock", "step": "b", "message": "b was rejected (out_of_stock): no"});
    assert_eq!(saga["cause"], cause);
    let states: Vec<&Value> = [0, 1, 2].map(|position| &saga["steps"][position]["state"]).to_vec();
    assert_eq!(states, ["undone", "not_done", "pending"]);
    assert_eq!(saga["steps"][1]["failure"], json!({"code": "out_of_stock", "message": "no"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_needs_a_person_says_what_for() {
    let desk = Desk::open("rest_blocked").await;
    let script =
        |command: &snorri_bus::headers::ReceivedCommand| match command.effect().to_string().split_once('.') {
            Some((_, "a.compensation" | "b.action")) => vec![rejected("broken")],
            _ => vec![ok()],
        };
    let _hand = Hand::play(&desk.place, "hand", script).await;
    desk.rest.submit(&definition("order", &["a", "b"])).await;
    let id = desk.rest.start("order", &json!({})).await;
    let saga = eventually("blocked", async || {
        Some(desk.rest.saga(&id).await).filter(|saga| saga["status"] == "blocked")
    })
    .await;
    assert_eq!(
        (&saga["blocked"]["step"], &saga["blocked"]["reason"]),
        (&json!("a"), &json!("compensation_rejected"))
    );
    assert!(saga["blocked"]["since"].is_string() && saga["blocked"]["message"].is_string(), "{saga}");
    let listed = desk.get("/v1/sagas?status=blocked").await.ok(200);
    assert_eq!(
        (&listed["sagas"][0]["id"], &listed["sagas"][0]["blocked_reason"]),
        (&json!(id), &json!("compensation_rejected"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_read_page_by_page() {
    let desk = Desk::open("rest_journal").await;
    let _hand = Hand::play(&desk.place, "hand", |_| vec![Outcome::Working, ok()]).await;
    desk.rest.submit(&definition("order", &["a", "b"])).await;
    let id = desk.rest.start("order", &json!({"order": 1})).await;
    desk.rest.ended(&id).await;
    let whole = desk.get(&format!("/v1/sagas/{id}/journal")).await.ok(200);
    let rows = whole["rows"].as_array().expect("rows");
    assert_eq!(whole["next_after"], Value::Null);
    assert_eq!(rows[0]["events"][0]["started"]["input"], json!({"order": 1}));
    assert_eq!(rows[0]["replica"], "one");
    let last = rows.last().and_then(|row| row["events"].as_array()).and_then(|events| events.last());
    assert_eq!(last, Some(&json!({"ended": {"end": "completed"}})));

    let mut paged = Vec::new();
    let mut path = format!("/v1/sagas/{id}/journal?limit=2");
    loop {
        let page = desk.get(&path).await.ok(200);
        paged.extend(page["rows"].as_array().expect("rows").clone());
        let Some(after) = page["next_after"].as_i64() else { break };
        path = format!("/v1/sagas/{id}/journal?limit=2&after={after}");
    }
    assert_eq!(&paged, rows);
    let seqs: Vec<i64> = rows.iter().map(|row| row["seq"].as_i64().expect("a number")).collect();
    assert_eq!(seqs, (1..=i64::try_from(rows.len()).expect("few")).collect::<Vec<_>>());
    let beyond = desk.get(&format!("/v1/sagas/{id}/journal?after=1000")).await.ok(200);
    assert_eq!(beyond, json!({"rows": [], "next_after": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_is_not_there_is_not_found_and_an_id_that_is_none_is_refused() {
    let desk = Desk::open("rest_no_saga").await;
    let nobody = "01936d3e-7f0a-7000-8000-000000000001";
    for tail in ["", "/journal", "/journal?after=3", "/wait"] {
        desk.get(&format!("/v1/sagas/{nobody}{tail}")).await.problem(404, "unknown-saga");
        for bad in ["1", "01936d3e-7f0a-7000-8000", "%27%3B--"] {
            let answer = desk.get(&format!("/v1/sagas/{bad}{tail}")).await;
            answer.problem(400, "bad-parameter");
            assert_eq!(answer.body["parameter"], "id");
        }
    }
    for bad in ["after=-1", "after=x", "limit=0", "limit=1001", "before=3"] {
        desk.get(&format!("/v1/sagas/{nobody}/journal?{bad}")).await.problem(400, "bad-parameter");
    }
}
