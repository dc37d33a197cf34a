//! The versions of a definition: which one is started, what changed between two, and the removal of one that nobody needs.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use snorri_bus::{Bytes, HeaderMap, Outgoing};
use snorri_saga::wire::header;

use crate::desk::{Answer, Desk, answer, send};
use crate::support::{Hand, SOON, definition, eventually, ok};

impl Desk {
    async fn remove(&self, name: &str, version: u32) -> Answer {
        send(self.http().delete(self.url(&format!("/v1/definitions/{name}/{version}")))).await
    }

    /// Submits versions of `order`, as many as there are lists of steps.
    async fn submit_order(&self, versions: &[&[&str]]) {
        for steps in versions {
            self.rest.submit(&definition("order", steps)).await;
        }
    }

    async fn start_order(&self, version: u32) -> String {
        let body = json!({"definition": "order", "version": version});
        let started = self.post("/v1/sagas", &body).await.ok(201);
        assert_eq!(started["version"], version);
        started["id"].as_str().expect("an id").to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_on_which_a_saga_runs_is_not_removed_before_its_end() {
    let desk = Desk::open("rest_remove_live").await;
    let hand = Hand::play(&desk.place, "hand", |_| vec![]).await;
    desk.submit_order(&[&["a"], &["a", "b"]]).await;
    let (first, second) = (desk.start_order(1).await, desk.start_order(1).await);

    let refused = desk.remove("order", 1).await;
    let detail = refused.problem(409, "definition-in-use");
    assert!(detail.starts_with("2 sagas run on version 1 of `order`, such as "), "{detail}");
    assert_eq!(refused.body["live_sagas"], 2);
    let example = refused.body["saga_id"].as_str().expect("an example");
    assert!([&first, &second].contains(&&example.to_owned()), "{example}");

    for id in [&first, &second] {
        answer(&hand, id, "a.action", &ok()).await;
        assert_eq!(desk.rest.ended(id).await["status"], "completed");
    }
    let removed = desk.remove("order", 1).await.ok(200);
    assert_eq!((&removed["name"], &removed["version"]), (&json!("order"), &json!(1)));
    assert_eq!(desk.remove("order", 1).await.ok(200), removed, "once more changes nothing");

    // It is still there for those who look back.
    let old = desk.get("/v1/definitions/order/1").await.ok(200);
    assert_eq!(old["removed_at"], removed["removed_at"]);
    assert_eq!(desk.get("/v1/definitions/order").await.ok(200)["removed_at"], Value::Null);
    assert_eq!(desk.rest.saga(&first).await["steps"][0]["state"], "done");
    assert_eq!(desk.get("/v1/definitions/order/1/graph").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_version_is_not_started_and_not_the_newest_and_its_number_is_not_used_again() {
    let desk = Desk::open("rest_removed").await;
    let _hand = Hand::play(&desk.place, "hand", |_| vec![ok()]).await;
    desk.submit_order(&[&["a"], &["a", "b"]]).await;
    let newest = desk.post("/v1/sagas", &json!({"definition": "order"})).await.ok(201);
    assert_eq!(newest["version"], 2, "and it is in memory now");
    desk.rest.ended(newest["id"].as_str().expect("an id")).await;
    desk.remove("order", 2).await.ok(200);

    let refused = desk.post("/v1/sagas", &json!({"definition": "order", "version": 2})).await;
    assert!(
        refused
            .problem(410, "removed-definition")
            .contains("version 2 of the definition `order` was removed")
    );
    assert_eq!(desk.post("/v1/sagas", &json!({"definition": "order"})).await.ok(201)["version"], 1);
    assert_eq!(desk.get("/v1/definitions/order").await.ok(200)["version"], 1);
    assert_eq!(desk.get("/v1/definitions").await.ok(200)["definitions"][0]["version"], 1);

    // What the removed one said is the next version, and what the newest in force says is no new one.
    let same = desk.post("/v1/definitions", &definition("order", &["a"])).await.ok(200);
    assert_eq!((&same["version"], &same["new"]), (&json!(1), &json!(false)));
    let again = desk.post("/v1/definitions", &definition("order", &["a", "b"])).await.ok(201);
    assert_eq!(again["version"], 3);
    assert_eq!(desk.post("/v1/sagas", &json!({"definition": "order"})).await.ok(201)["version"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_last_version_a_definition_is_gone() {
    let desk = Desk::open("rest_removed_all").await;
    desk.submit_order(&[&["a"]]).await;
    desk.remove("order", 1).await.ok(200);
    desk.get("/v1/definitions/order").await.problem(404, "unknown-definition");
    desk.post("/v1/sagas", &json!({"definition": "order"})).await.problem(404, "unknown-definition");
    assert_eq!(desk.get("/v1/definitions").await.ok(200)["definitions"], json!([]));
    assert_eq!(desk.get("/v1/definitions/order/versions").await.ok(200)["versions"][0]["version"], 1);
    desk.submit_order(&[&["a"]]).await;
    assert_eq!(desk.get("/v1/definitions/order").await.ok(200)["version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_learns_of_a_removal() {
    let desk = Desk::open("rest_removed_elsewhere").await;
    let other = Desk::at(desk.place.clone(), "two", |_| {}).await;
    let _hand = Hand::play(&desk.place, "hand", |_| vec![ok()]).await;
    desk.submit_order(&[&["a"], &["a", "b"]]).await;
    // Both versions are in the other one's memory.
    for version in [1, 2] {
        let id = other.start_order(version).await;
        other.rest.ended(&id).await;
    }
    for version in [2, 1] {
        // A saga may have been started by a check of the round before.
        eventually("the version is removed", async || {
            (desk.remove("order", version).await.status == 200).then_some(())
        })
        .await;
        eventually("a start that names it is refused", async || {
            let answer = other.post("/v1/sagas", &json!({"definition": "order", "version": version})).await;
            (answer.status == 410).then_some(())
        })
        .await;
        let newest = eventually("the newest is another one", async || {
            let answer = other.post("/v1/sagas", &json!({"definition": "order"})).await;
            (answer.body["version"] != version).then_some(answer)
        })
        .await;
        if version == 2 {
            assert_eq!(newest.ok(201)["version"], 1);
        } else {
            newest.problem(404, "unknown-definition");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_came_before_the_removal_can_be_repeated() {
    let desk = Desk::open("rest_removed_replay").await;
    let _hand = Hand::play(&desk.place, "hand", |_| vec![ok()]).await;
    desk.submit_order(&[&["a"], &["a", "b"]]).await;
    let body = json!({"definition": "order", "version": 1, "input": {"n": 1}});
    let first = desk.start_with_key("k", &body).await.ok(201);
    let id = first["id"].as_str().expect("an id");
    desk.rest.ended(id).await;
    desk.remove("order", 1).await.ok(200);
    let again = desk.start_with_key("k", &body).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    let again = again.ok(200);
    assert_eq!((&again["id"], &again["status"]), (&first["id"], &json!("completed")));
    let other = json!({"definition": "order", "version": 1, "input": {"n": 2}});
    desk.start_with_key("k", &other).await.problem(422, "key-reused");
    desk.start_with_key("another", &body).await.problem(410, "removed-definition");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_nats_a_version_is_started_by_its_number_too_and_a_removed_one_is_not() {
    use futures::StreamExt as _;
    let desk = Desk::open("rest_version_nats").await;
    let hand = Hand::play(&desk.place, "hand", |_| vec![ok()]).await;
    desk.submit_order(&[&["a"], &["a", "b"]]).await;
    let inbox = hand.bus.client().expect("a client").new_inbox();
    let mut answers = hand.bus.client().expect("a client").subscribe(inbox.clone()).await.expect("answers");
    let mut start = async |key: &str, body: Value| {
        let mut headers = HeaderMap::new();
        headers.insert(header::KEY, key);
        headers.insert(header::REPLY_TO, inbox.as_str());
        let subject = hand.bus.subjects().start(&"order".parse().expect("a name"));
        let message = Outgoing { subject, headers: Some(headers), payload: Bytes::from(body.to_string()) };
        for result in hand.bus.publish_all(vec![message]).await {
            result.expect("taken by the stream");
        }
        let answer = tokio::time::timeout(SOON, answers.next()).await.expect("in time").expect("an answer");
        serde_json::from_slice::<Value>(&answer.payload).expect("JSON")
    };
    assert_eq!(start("newest", json!({})).await["version"], 2);
    let first = start("first", json!({"version": 1})).await;
    assert_eq!(first["version"], 1, "{first}");
    let id = first["saga_id"].as_str().expect("an id");
    let saga = desk.rest.ended(id).await;
    assert_eq!((&saga["version"], saga["steps"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    let unknown = start("unknown", json!({"version": 7})).await;
    assert_eq!(unknown["type"], "urn:snorri:problem:unknown-definition", "{unknown}");

    desk.remove("order", 1).await.ok(200);
    let removed = start("removed", json!({"version": 1})).await;
    assert_eq!(removed["type"], "urn:snorri:problem:removed-definition", "{removed}");
    let again = start("first", json!({"version": 1})).await;
    assert_eq!((&again["saga_id"], &again["replayed"]), (&first["saga_id"], &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_a_sub_saga_of_one_in_force_is_not_removed() {
    let desk = Desk::open("rest_removed_child").await;
    desk.rest.submit(&definition("child", &["a"])).await;
    desk.rest.submit(&definition("child", &["a", "b"])).await;
    let step = json!({"name": "c", "saga": "child", "version": 1, "timeout": "5m", "compensation": {"timeout": "1m"}});
    desk.rest.submit(&json!({"name": "parent", "window": "1h", "steps": [step]})).await;
    let refused = desk.remove("child", 1).await;
    assert!(refused.problem(409, "definition-in-use").contains("version 1 of `parent`"));
    assert_eq!(refused.body["pinned_by"], json!({"definition": "parent", "version": 1}));
    desk.remove("child", 2).await.ok(200);
    desk.remove("parent", 1).await.ok(200);
    desk.remove("child", 1).await.ok(200);
}

/// Waits until somebody waits for a row that this connection holds.
async fn waited_for(database: &mut PgConnection) {
    eventually("somebody waits", async || {
        let waiting = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))";
        let is_so: bool = sqlx::query_scalar(waiting).fetch_one(&mut *database).await.expect("locks");
        is_so.then_some(())
    })
    .await;
}

const PARENT: &str = r#"{"name": "parent", "window": "1h", "steps": [
    {"name": "c", "saga": "child", "version": 1, "timeout": "5m", "compensation": {"timeout": "1m"}}]}"#;

/// A parent that is submitted at the moment at which its part is removed: one of the two is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_not_removed_while_its_parent_is_submitted() {
    let desk = Desk::open("rest_remove_race").await;
    desk.rest.submit(&definition("child", &["a"])).await;
    let mut database = PgConnection::connect(&desk.place.database_url).await.expect("a connection");

    // The parent first: as its submission does it, half way.
    sqlx::raw_sql("BEGIN; SELECT FROM snorri.definitions WHERE name = 'child' FOR SHARE")
        .execute(&mut database)
        .await
        .expect("held");
    let insert = format!(
        "INSERT INTO snorri.definitions (name, version, digest, body) VALUES ('parent', 1, '\\x00', '{PARENT}'); COMMIT"
    );
    let (refused, ()) = tokio::join!(desk.remove("child", 1), async {
        waited_for(&mut database).await;
        sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut database).await.expect("committed");
    });
    assert!(refused.problem(409, "definition-in-use").contains("version 1 of `parent`"));

    // The removal first.
    desk.remove("parent", 1).await.ok(200);
    sqlx::raw_sql("BEGIN; UPDATE snorri.definitions SET removed_at = now() WHERE name = 'child'")
        .execute(&mut database)
        .await
        .expect("held");
    let (refused, ()) = tokio::join!(desk.post_text("/v1/definitions", "application/json", PARENT), async {
        waited_for(&mut database).await;
        sqlx::raw_sql("COMMIT").execute(&mut database).await.expect("committed");
    });
    refused.problem(422, "invalid-definition");
    assert_eq!(refused.body["violations"][0]["code"], "unknown-sub-saga", "{}", refused.body);
    desk.get("/v1/definitions/parent").await.problem(404, "unknown-definition");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_at_that_moment_is_submitted_anew() {
    let desk = Desk::open("rest_remove_same").await;
    desk.submit_order(&[&["a"]]).await;
    let mut database = PgConnection::connect(&desk.place.database_url).await.expect("a connection");
    sqlx::raw_sql("BEGIN; UPDATE snorri.definitions SET removed_at = now()")
        .execute(&mut database)
        .await
        .expect("held");
    let order = definition("order", &["a"]);
    let (submitted, ()) = tokio::join!(desk.post("/v1/definitions", &order), async {
        waited_for(&mut database).await;
        sqlx::raw_sql("COMMIT").execute(&mut database).await.expect("committed");
    });
    assert_eq!(submitted.ok(201)["version"], 2);
    assert_eq!(desk.get("/v1/definitions/order").await.ok(200)["version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_that_takes_too_long_is_told_and_an_index_makes_it_short() {
    let desk = Desk::open("rest_versions_slow").await;
    desk.submit_order(&[&["a"]]).await;
    let mut database = PgConnection::connect(&desk.place.database_url).await.expect("a connection");
    // A plan without a look at statistics: that the index can answer.
    let plan: Vec<String> = {
        sqlx::raw_sql("SET enable_seqscan = off; SET enable_bitmapscan = off")
            .execute(&mut database)
            .await
            .expect("set");
        let asked = "EXPLAIN SELECT id FROM snorri.sagas WHERE definition = 'order' AND version = 1 AND wake_at IS NOT NULL";
        sqlx::query_scalar(asked).fetch_all(&mut database).await.expect("a plan")
    };
    assert!(plan.join("\n").contains("sagas_versions"), "{plan:?}");

    sqlx::raw_sql("BEGIN; LOCK TABLE snorri.sagas IN ACCESS EXCLUSIVE MODE")
        .execute(&mut database)
        .await
        .expect("held");
    let listed = desk.get("/v1/definitions/order/versions").await;
    assert!(listed.problem(503, "list-too-slow").contains("very many sagas run on its versions"));
    sqlx::raw_sql("ROLLBACK").execute(&mut database).await.expect("let go");
    assert_eq!(desk.get("/v1/definitions/order/versions").await.ok(200)["versions"][0]["live_sagas"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_none_of_is_not_removed() {
    let desk = Desk::open("rest_remove_none").await;
    desk.submit_order(&[&["a"]]).await;
    desk.remove("order", 2).await.problem(404, "unknown-definition");
    desk.remove("other", 1).await.problem(404, "unknown-definition");
    desk.remove("order", 0).await.problem(400, "bad-parameter");
    send(desk.http().delete(desk.url("/v1/definitions/order"))).await.problem(405, "method-not-allowed");
    desk.get("/v1/definitions/order/1").await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_with_how_many_sagas_run_on_each() {
    let desk = Desk::open("rest_version_list").await;
    desk.submit_order(&[&["a"], &["a", "b"], &["b"]]).await;
    for version in [1, 1, 3] {
        desk.start_order(version).await;
    }
    desk.remove("order", 2).await.ok(200);
    let page = desk.get("/v1/definitions/order/versions?limit=2").await.ok(200);
    let told = |page: &Value| -> Vec<(i64, i64, bool)> {
        let versions = page["versions"].as_array().expect("a list").iter();
        versions
            .map(|line| {
                let number = |name: &str| line[name].as_i64().expect("a number");
                (number("version"), number("live_sagas"), line["removed_at"].is_string())
            })
            .collect()
    };
    assert_eq!(told(&page), [(3, 1, false), (2, 0, true)]);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let page = desk.get(&format!("/v1/definitions/order/versions?limit=2&cursor={cursor}")).await.ok(200);
    assert_eq!((told(&page), &page["next_cursor"]), (vec![(1, 2, false)], &Value::Null));
    desk.get("/v1/definitions/other/versions").await.problem(404, "unknown-definition");
    desk.get("/v1/definitions/order/versions?cursor=x").await.problem(400, "bad-parameter");
}

/// E10: running sagas stay on their version, and whoever publishes the next one is told of them.
#[tokio::test(flavor = "multi_thread")]
async fn e10_publishing_tells_how_many_sagas_run_on_older_versions() {
    let desk = Desk::open("rest_publish").await;
    let first = desk.post("/v1/definitions", &definition("order", &["a"])).await.ok(201);
    assert_eq!(first["running_on_older"], json!([]));
    for _ in 0..2 {
        desk.start_order(1).await;
    }
    let second = desk.post("/v1/definitions", &definition("order", &["a", "b"])).await.ok(201);
    assert_eq!(second["running_on_older"], json!([{"version": 1, "live_sagas": 2}]));
    desk.start_order(2).await;
    let third = desk.post("/v1/definitions", &definition("order", &["b"])).await.ok(201);
    let expected = json!([{"version": 1, "live_sagas": 2}, {"version": 2, "live_sagas": 1}]);
    assert_eq!(third["running_on_older"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_are_compared() {
    let desk = Desk::open("rest_diff").await;
    desk.submit_order(&[&["a"], &["a", "b"], &["b"]]).await;
    let diff = desk.get("/v1/definitions/order/diff?from=1&to=2").await.ok(200);
    assert_eq!((&diff["from"], &diff["to"], &diff["same"]), (&json!(1), &json!(2), &json!(false)));
    assert_eq!((&diff["added"][0]["name"], &diff["removed"]), (&json!("b"), &json!([])));
    assert_eq!(diff["worst_case"]["grew"], true, "{diff}");
    assert_eq!(diff["meaning"][0]["code"], "running");
    assert!(diff["meaning"][0]["text"].as_str().is_some_and(|text| text.contains("version 1")), "{diff}");

    // The newest and the one before it.
    let newest = desk.get("/v1/definitions/order/diff").await.ok(200);
    assert_eq!((&newest["from"], &newest["to"]), (&json!(2), &json!(3)));
    let back = desk.get("/v1/definitions/order/diff?from=2&to=1").await.ok(200);
    assert_eq!(back["removed"][0]["name"], "b");
    let same = desk.get("/v1/definitions/order/diff?from=2&to=2").await.ok(200);
    assert_eq!(same["same"], true);

    let text = desk.get("/v1/definitions/order/diff?from=1&to=2&format=text").await;
    assert_eq!((text.status, text.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert!(text.text.starts_with("order: version 1 -> 2\n"), "{}", text.text);

    desk.get("/v1/definitions/order/diff?from=1&to=9").await.problem(404, "unknown-definition");
    desk.get("/v1/definitions/other/diff").await.problem(404, "unknown-definition");
    for bad in ["from=0", "to=x", "format=xml", "form=1", "to=1"] {
        desk.get(&format!("/v1/definitions/order/diff?{bad}")).await.problem(400, "bad-parameter");
    }
}
