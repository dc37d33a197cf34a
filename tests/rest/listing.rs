//! Lists: every saga once, newest first, and filters that never guess.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::support::{Hand, definition, ok, rejected};

/// The ids on all pages.
async fn all(desk: &Desk, query: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut path = format!("/v1/sagas?{query}");
    loop {
        let page = desk.get(&path).await.ok(200);
        let sagas = page["sagas"].as_array().expect("a list");
        ids.extend(sagas.iter().map(|saga| saga["id"].as_str().expect("an id").to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { return ids };
        assert!(!sagas.is_empty(), "a page before others has something");
        path = format!("/v1/sagas?{query}&cursor={cursor}");
    }
}

async fn thirty(desk: &Desk) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..30 {
        let tags =
            json!({"tier": if number % 3 == 0 { "gold" } else { "tin" }, "number": number.to_string()});
        let name = if number % 2 == 0 { "good" } else { "bad" };
        let body = json!({"definition": name, "tags": tags});
        let started = desk.post("/v1/sagas", &body).await.ok(201);
        ids.push(started["id"].as_str().expect("an id").to_owned());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_sagas_are_listed_without_a_hole_or_a_repetition() {
    let desk = Desk::open("rest_pages").await;
    for name in ["good", "bad"] {
        desk.rest.submit(&definition(name, &["a"])).await;
    }
    let mut started = thirty(&desk).await;
    // Newest first: an id carries its time in milliseconds, and sorts by that.
    started.sort();
    started.reverse();
    for limit in [1, 7, 10, 29, 30, 31, 500] {
        assert_eq!(all(&desk, &format!("limit={limit}")).await, started, "{limit} a page");
    }
    // What is started between two pages is newer, and moves nothing.
    let first = desk.get("/v1/sagas?limit=20").await.ok(200);
    desk.rest.start("good", &json!({})).await;
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let rest = desk.get(&format!("/v1/sagas?limit=20&cursor={cursor}")).await.ok(200);
    let ids: Vec<&Value> = rest["sagas"].as_array().expect("a list").iter().map(|saga| &saga["id"]).collect();
    assert_eq!(ids, started.iter().skip(20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_select_what_they_say_and_work_together() {
    let desk = Desk::open("rest_filters").await;
    let script = |command: &snorri_bus::headers::ReceivedCommand| match command.operation.as_str() {
        "b" => vec![rejected("no_stock")],
        "c" => vec![],
        _ => vec![ok()],
    };
    let _hand = Hand::play(&desk.place, "hand", script).await;
    desk.rest.submit(&definition("good", &["a"])).await;
    desk.rest.submit(&definition("bad", &["a", "b"])).await;
    // Too patient to end within this test.
    let slow = json!({"name": "slow", "steps": [{"name": "c", "participant": "hand", "compensation": "none", "timeout": "60s"}]});
    desk.rest.submit(&slow).await;
    let started = thirty(&desk).await;
    let running = desk.rest.start("slow", &json!({})).await;
    for id in &started {
        desk.rest.ended(id).await;
    }
    let of = |step: usize, from: usize| -> BTreeSet<String> {
        started.iter().skip(from).step_by(step).cloned().collect()
    };
    let (even, odd, gold) = (of(2, 0), of(2, 1), of(3, 0));
    let both = |one: &BTreeSet<String>, other: &BTreeSet<String>| -> BTreeSet<String> { one & other };
    let only = BTreeSet::from([running.clone()]);
    let sixth = started.get(6).cloned().into_iter().collect();
    for (query, expected) in [
        ("definition=good", even.clone()),
        ("definition=other", BTreeSet::new()),
        ("status=completed", even.clone()),
        ("status=compensated", odd.clone()),
        ("status=running,compensating,blocked", only.clone()),
        ("status=running&status=compensated", &only | &odd),
        ("cause=no_stock", odd.clone()),
        ("tag=tier:gold", gold.clone()),
        ("tag=tier:gold&tag=number:6", sixth),
        ("tag=tier:gold&status=compensated&definition=bad", both(&gold, &odd)),
        ("tag=tier:gold&status=running", BTreeSet::new()),
        ("until=2020-01-01T00:00:00Z", BTreeSet::new()),
        ("since=2020-01-01T00:00:00Z&status=running", only.clone()),
    ] {
        let found = all(&desk, &format!("{query}&limit=4")).await;
        assert_eq!(found.len(), expected.len(), "{query}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{query}");
    }
    // From the start of one on, up to the start of another: the end is not in it.
    let at = async |id: &String| desk.rest.saga(id).await["started_at"].as_str().expect("a time").to_owned();
    let (tenth, twentieth) = (at(&started[10]).await, at(&started[20]).await);
    let between = all(&desk, &format!("since={tenth}&until={twentieth}")).await;
    let expected: BTreeSet<String> = started[10..20].iter().cloned().collect();
    assert_eq!(between.into_iter().collect::<BTreeSet<_>>(), expected);

    let line = &desk.get("/v1/sagas?tag=number:1").await.ok(200)["sagas"][0];
    assert_eq!(
        (&line["status"], &line["cause"], &line["version"]),
        (&json!("compensated"), &json!("no_stock"), &json!(1))
    );
    assert_eq!(line["tags"], json!({"tier": "tin", "number": "1"}));
    for time in ["started_at", "deadline", "changed_at", "ended_at"] {
        assert!(line[time].is_string(), "{time}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_parameter_is_refused_by_its_name_with_what_is_allowed() {
    let desk = Desk::open("rest_bad_filters").await;
    for (query, name, part) in [
        ("status=done", "status", "running, compensating, blocked, completed"),
        ("status=", "status", "1 to 600 bytes"),
        ("tag=vip", "tag", "key:value"),
        ("tag=a:%00", "tag", "U+0000"),
        ("since=yesterday", "since", "2026-01-31T12:00:00Z"),
        ("until=1", "until", "2026-01-31T12:00:00Z"),
        ("limit=0", "limit", "1 to 500"),
        ("limit=501", "limit", "1 to 500"),
        ("limit=ten", "limit", "1 to 500"),
        ("limit=1&limit=2", "limit", "once"),
        ("cursor=next", "cursor", "earlier page"),
        ("definition=*", "definition", "name"),
        ("state=running", "state", "definition, status, tag, cause, since, until, limit, cursor"),
    ] {
        let answer = desk.get(&format!("/v1/sagas?{query}")).await;
        let detail = answer.problem(400, "bad-parameter");
        assert!(detail.contains(part), "{query}: {detail}");
        assert_eq!(answer.body["parameter"], name, "{query}");
    }
    let answer = desk.get("/v1/sagas?status=done").await;
    assert!(answer.body["allowed"].as_array().is_some_and(|allowed| allowed.contains(&json!("running"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_lists_stand_in_nobodys_way() {
    use sqlx::Connection as _;
    let desk = Desk::open("rest_slow_lists").await;
    desk.rest.submit(&definition("order", &["a"])).await;
    desk.rest.start("order", &json!({})).await;
    let mut database = sqlx::PgConnection::connect(&desk.place.database_url).await.expect("a connection");
    let slow = "ALTER TABLE snorri.sagas RENAME TO sagas_kept; \
                CREATE VIEW snorri.sagas AS SELECT s.* FROM snorri.sagas_kept s, pg_sleep(9)";
    sqlx::raw_sql(slow).execute(&mut database).await.expect("slowed down");
    let began = std::time::Instant::now();
    let lists = futures::future::join_all((0..8).map(|_| desk.get("/v1/sagas?definition=order")));
    let reads = async {
        for _ in 0..20 {
            let asked = std::time::Instant::now();
            desk.get("/v1/definitions").await.ok(200);
            assert!(asked.elapsed() < std::time::Duration::from_secs(1), "{:?}", asked.elapsed());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let (lists, ()) = tokio::join!(lists, reads);
    assert!(began.elapsed() < std::time::Duration::from_secs(7), "{:?}", began.elapsed());
    let too_slow = lists.iter().filter(|answer| answer.body["type"] == "urn:snorri:problem:list-too-slow");
    let too_slow: Vec<_> = too_slow.collect();
    assert!((2..=4).contains(&too_slow.len()), "{lists:?}");
    for answer in &too_slow {
        assert!(answer.problem(503, "list-too-slow").contains("since"));
    }
    for answer in lists.iter().filter(|answer| answer.body["type"] != "urn:snorri:problem:list-too-slow") {
        assert!(answer.problem(503, "overloaded").contains("lists"));
    }
}
