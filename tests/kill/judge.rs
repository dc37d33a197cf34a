//! What must hold when all is over, read from Postgres, from NATS and from the books, without a question to the
//! orchestrator.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use snorri_bus::{ConsumerSpec, Next};
use snorri_demo::{Accepted, EndStatus, Explained, Promise, Sagas, audit, audit_records, explain, is_good};
use snorri_saga::ids::{SagaId, StepKey};
use snorri_saga::wire::header;
use sqlx::Row as _;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::case::Case;
use crate::place::Place;

/// How long the announcements of the last endings may take: somebody must first notice that their replica is gone.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(15);

/// How the sagas ended.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) completed: usize,
    pub(crate) compensated: usize,
    /// Compensated although their orders were good, because the trouble took all their attempts: which, and the causes.
    pub(crate) gave_up: Vec<String>,
    pub(crate) last: SystemTime,
}

/// How many sagas there are, and how many of them have ended.
pub(crate) async fn count(place: &Place) -> Result<(i64, i64), String> {
    let row = sqlx::query("SELECT count(*), count(ended_at) FROM snorri.sagas")
        .fetch_one(&place.db)
        .await
        .map_err(|error| error.to_string())?;
    Ok((row.get(0), row.get(1)))
}

/// What is known of the sagas that have not ended, for people.
pub(crate) async fn open(place: &Place) -> String {
    let rows = sqlx::query(
        "SELECT s.id::text, s.status, s.owner, j.seq, j.replica, j.events::text FROM snorri.sagas s
         JOIN LATERAL (SELECT * FROM snorri.journal WHERE saga_id = s.id ORDER BY seq DESC LIMIT 1) j ON true
         WHERE s.ended_at IS NULL LIMIT 5",
    )
    .fetch_all(&place.db)
    .await;
    let Ok(rows) = rows else { return "the database cannot be read".to_owned() };
    let line = |row: &sqlx::postgres::PgRow| {
        let text = |column: usize| row.get::<String, _>(column);
        format!(
            "{} {} of {}, row {} by {}: {}",
            text(0),
            text(1),
            text(2),
            row.get::<i32, _>(3),
            text(4),
            text(5)
        )
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n    ")
}

/// Judges. The error has all that is wrong. `ids` are the sagas that were started, in the order of their orders.
pub(crate) async fn judge(
    case: &Case,
    place: &Place,
    orders: &[Value],
    ids: &[Uuid],
) -> Result<Ends, String> {
    let mut wrong = Vec::new();
    let key = |order: &Value| order["order_id"].as_str().unwrap_or_default().to_owned();
    let accepted: Vec<Accepted> =
        orders.iter().zip(ids).map(|(order, saga)| Accepted { key: key(order), saga: *saga }).collect();
    let promise = Promise { accepted: &accepted, poison: None, downgraded: &[] };
    let records = audit_records(&place.of.database_url, promise).await.map_err(|error| error.to_string())?;
    wrong.extend(records.findings.problems().iter().map(|(invariant, what)| format!("{invariant}: {what}")));
    let announced = records.ends.clone();
    let (mut records, mut ids) = (records, ids.to_vec());
    if case.has_families() {
        ids = as_orders(&mut records.ends, &ids, &mut wrong);
    }
    if ids.iter().collect::<HashSet<_>>().len() != orders.len() || records.ends.len() != orders.len() {
        wrong.push(format!("{} orders are {} sagas: {ids:?}", orders.len(), records.ends.len()));
    }
    let last: Option<OffsetDateTime> = sqlx::query_scalar("SELECT max(ended_at) FROM snorri.sagas")
        .fetch_one(&place.db)
        .await
        .map_err(|error| error.to_string())?;
    let last = last.unwrap_or(OffsetDateTime::UNIX_EPOCH).into();
    let mut ends = Ends { completed: 0, compensated: 0, gave_up: Vec::new(), last };
    for (order, id) in orders.iter().zip(&ids) {
        let Some(end) = records.ends.get(id) else { continue };
        match end {
            EndStatus::Completed => ends.completed += 1,
            _ => ends.compensated += 1,
        }
        match explain(order, *end, records.whys.get(id)) {
            Explained::ByTrouble(kind) if is_good(order) => {
                ends.gave_up.push(format!("{}: {kind}", key(order)));
            }
            Explained::ByOrder | Explained::ByTrouble(_) => {}
            Explained::Not(why) => wrong.push(format!("{id} ({}): {why}", key(order))),
        }
    }
    wrong.extend(too_many(&ends.gave_up, case.gave_up_max()));

    let audited = audit(&place.books, &place.world, Some(Sagas::of("order", &records.ends)))
        .await
        .map_err(|error| error.to_string())?;
    wrong.extend(audited.problems.iter().cloned());
    if audited.holds_open + audited.orders_open > 0 {
        wrong.push(format!("{} holds and {} orders are open", audited.holds_open, audited.orders_open));
    }
    wrong.extend(announcements(place, &announced).await);
    if wrong.is_empty() { Ok(ends) } else { Err(wrong.join("\n    ")) }
}

/// The sub-sagas that carried the orders out. Each must have ended as its parent did, and there is nothing else.
fn as_orders(ends: &mut HashMap<Uuid, EndStatus>, parents: &[Uuid], wrong: &mut Vec<String>) -> Vec<Uuid> {
    let step = "order".parse::<StepKey>().expect("a step");
    let child = |parent: &Uuid| SagaId(*parent).child(&step).0;
    for parent in parents {
        let (of_parent, of_child) = (ends.remove(parent), ends.get(&child(parent)));
        if of_parent.as_ref() != of_child {
            wrong.push(format!("{parent} is {of_parent:?}, and its part {} is {of_child:?}", child(parent)));
        }
    }
    parents.iter().map(child).collect()
}

/// What is wrong when more good orders were undone than the trouble can cost.
fn too_many(gave_up: &[String], max: usize) -> Option<String> {
    let count = gave_up.len();
    (count > max).then(|| format!("{count} good orders were undone, and {max} may be: {gave_up:?}"))
}

#[test]
fn more_good_orders_undone_than_a_case_may_cost_is_wrong() {
    let gave_up = ["o-2: timed_out".to_owned(), "o-7: timed_out".to_owned()];
    assert_eq!(too_many(&gave_up, 2), None);
    assert!(too_many(&gave_up, 1).is_some_and(|why| why.starts_with("2 good orders") && why.contains("o-7")));
    assert!(too_many(&gave_up, 0).is_some() && too_many(&[], 0).is_none());
}

/// Every end is announced, as it was.
async fn announcements(place: &Place, ends: &HashMap<Uuid, EndStatus>) -> Vec<String> {
    let bus = place.of.bus("judge").await;
    let subjects = bus.subjects().clone();
    let spec = ConsumerSpec::new(subjects.endings_stream(), "judge", subjects.ended_all());
    let mut consumption = bus.consume(spec);
    let mut heard: BTreeMap<Uuid, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    let until = Instant::now() + ANNOUNCED_WITHIN;
    while heard.len() < ends.len() {
        let Ok(next) = timeout_at(until, consumption.next()).await else { break };
        let Next::Batch(messages) = next else { continue };
        for message in &messages {
            message.ack().await;
            let id = message.header(header::SAGA).and_then(|id| id.parse().ok()).unwrap_or_default();
            let status = message.subject().rsplit('.').next().unwrap_or_default().to_owned();
            if ends.get(&id) != Some(&EndStatus::from_word(&status)) {
                wrong.push(format!("{id} is announced as {status}, and is {:?}", ends.get(&id)));
            }
            heard.insert(id, status);
        }
    }
    let silent = ends.keys().filter(|id| !heard.contains_key(id)).count();
    if silent > 0 {
        wrong.push(format!("{silent} endings are not announced"));
    }
    consumption.close().await;
    bus.close().await;
    wrong
}
