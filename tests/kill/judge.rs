//! What must hold when all is over, read from Postgres, from NATS and from the books, without a question to the
//! orchestrator.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use snorri_bus::{ConsumerSpec, Next};
use snorri_demo::{EndStatus, Expected, audit, expected};
use snorri_saga::wire::header;
use sqlx::Row as _;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::place::Place;

/// How long the announcements of the last endings may take: somebody must first notice that their replica is gone.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(15);

/// How the sagas ended.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) completed: usize,
    pub(crate) compensated: usize,
    /// Compensated although their orders were good, because the trouble took all their attempts: the causes.
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

/// Judges. The error has all that is wrong.
pub(crate) async fn judge(place: &Place, orders: &[Value], ids: &[Uuid]) -> Result<Ends, String> {
    let text = |error: sqlx::Error| error.to_string();
    let mut wrong = Vec::new();
    let rows = sqlx::query("SELECT id, status, ended_at, coalesce(cause, '') FROM snorri.sagas")
        .fetch_all(&place.db)
        .await
        .map_err(text)?;
    let mut statuses: HashMap<Uuid, String> = HashMap::new();
    let mut causes: HashMap<Uuid, String> = HashMap::new();
    let mut last = OffsetDateTime::UNIX_EPOCH;
    for row in &rows {
        statuses.insert(row.get(0), row.get(1));
        last = last.max(row.get(2));
        causes.insert(row.get(0), row.get(3));
    }
    if ids.iter().collect::<HashSet<_>>().len() != orders.len() || statuses.len() != orders.len() {
        wrong.push(format!("{} orders are {} sagas: {ids:?}", orders.len(), statuses.len()));
    }
    let mut ends = Ends { completed: 0, compensated: 0, gave_up: Vec::new(), last: last.into() };
    for (order, id) in orders.iter().zip(ids) {
        let status = statuses.get(id).map_or("gone", String::as_str);
        match (status, expected(order)) {
            ("completed", Some(Expected::Completed)) => ends.completed += 1,
            ("compensated", Some(Expected::Completed)) => {
                ends.compensated += 1;
                let cause = causes.get(id).map_or("", String::as_str);
                ends.gave_up.push(format!("{}: {cause}", order["order_id"].as_str().unwrap_or_default()));
            }
            ("compensated", Some(Expected::Compensated { .. })) => ends.compensated += 1,
            (other, expected) => wrong.push(format!("{id} ended {other}, expected: {expected:?}")),
        }
    }

    // Each saga's rows are numbered from 1 without a gap, and it ended once.
    let torn: Vec<String> = sqlx::query_scalar(
        "SELECT saga_id::text FROM snorri.journal GROUP BY saga_id
         HAVING max(seq) <> count(*) OR count(*) FILTER (WHERE events::text LIKE '%\"ended\"%') <> 1",
    )
    .fetch_all(&place.db)
    .await
    .map_err(text)?;
    wrong.extend(torn.iter().map(|id| format!("the journal of {id} has a gap, or not one end")));
    let letters: Vec<String> =
        sqlx::query_scalar("SELECT concat_ws(' ', reason, subject, detail) FROM snorri.dead_letters")
            .fetch_all(&place.db)
            .await
            .map_err(text)?;
    wrong.extend(letters.iter().map(|letter| format!("a message could not be used: {letter}")));

    let ended: HashMap<Uuid, EndStatus> =
        statuses.iter().map(|(id, status)| (*id, EndStatus::from_word(status))).collect();
    let audited = audit(&place.books, &place.world, Some(&ended)).await.map_err(|error| error.to_string())?;
    wrong.extend(audited.problems.iter().cloned());
    if audited.holds_open + audited.orders_open > 0 {
        wrong.push(format!("{} holds and {} orders are open", audited.holds_open, audited.orders_open));
    }
    wrong.extend(announcements(place, &statuses).await);
    if wrong.is_empty() { Ok(ends) } else { Err(wrong.join("\n    ")) }
}

/// Every end is announced, as it was.
async fn announcements(place: &Place, statuses: &HashMap<Uuid, String>) -> Vec<String> {
    let bus = place.of.bus("judge").await;
    let subjects = bus.subjects().clone();
    let spec = ConsumerSpec::new(subjects.endings_stream(), "judge", subjects.ended_all());
    let mut consumption = bus.consume(spec);
    let mut heard: BTreeMap<Uuid, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    let until = Instant::now() + ANNOUNCED_WITHIN;
    while heard.len() < statuses.len() {
        let Ok(next) = timeout_at(until, consumption.next()).await else { break };
        let Next::Batch(messages) = next else { continue };
        for message in &messages {
            message.ack().await;
            let id = message.header(header::SAGA).and_then(|id| id.parse().ok()).unwrap_or_default();
            let status = message.subject().rsplit('.').next().unwrap_or_default().to_owned();
            if statuses.get(&id) != Some(&status) {
                wrong.push(format!("{id} is announced as {status}, and is {:?}", statuses.get(&id)));
            }
            heard.insert(id, status);
        }
    }
    let silent = statuses.keys().filter(|id| !heard.contains_key(id)).count();
    if silent > 0 {
        wrong.push(format!("{silent} endings are not announced"));
    }
    consumption.close().await;
    bus.close().await;
    wrong
}
