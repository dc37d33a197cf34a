//! The orchestrator's own records, read by plain SQL: whether they keep what the starters were promised, and
//! whether they agree with themselves.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt as _;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use uuid::Uuid;

use super::journal::{JournalRow, SagaRow, Story};
use super::{EndStatus, Findings, Invariant, Why};
use crate::Error;

/// A start that was answered with 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// The idempotency key.
    pub key: String,
    /// The saga that the answer named.
    pub saga: Uuid,
}

/// What the starters know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Promise<'a> {
    /// Every answer that a start got; a start that was repeated may be here several times.
    pub accepted: &'a [Accepted],
    /// Text that only messages contain which were made to be dead letters.
    pub poison: Option<&'a str>,
    /// Replicas that an older build replaced under their name: one from before there were several replies in one message
    /// finds those that its predecessor had asked for, and puts them aside. No other replica may.
    pub downgraded: &'a [String],
}

/// What the orchestrator's records say.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// How every saga ended.
    pub ends: HashMap<Uuid, EndStatus>,
    /// Why each saga was turned round that was.
    pub whys: HashMap<Uuid, Why>,
    /// Completed sagas.
    pub completed: u64,
    /// Compensated sagas.
    pub compensated: u64,
    /// Sagas that ended after their window, or did not end.
    pub missed_window: u64,
    /// Seconds from start to end, of those that ended, in order.
    pub seconds: Vec<f64>,
    /// The slowest saga.
    pub slowest: Option<Uuid>,
    /// Rows of the journal.
    pub journal_rows: u64,
    /// Dead letters, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// Those of them that are messages of several replies which a downgraded replica could not read.
    pub unread_batches: u64,
    /// What is wrong.
    pub findings: Findings,
}

/// A live saga that nobody looks at is one whose wake-up is this old: two sweeps and five seconds, and a little
/// for a saga whose owner is just being replaced.
const OVERDUE: &str = "interval '10 seconds'";

/// Audits the records. Nothing may be under way any more: what has not ended is wrong.
pub async fn audit_records(url: &str, promise: Promise<'_>) -> Result<Records, Error> {
    let options: PgConnectOptions = url.parse()?;
    let mut connection = options.connect().await?;
    let mut tx = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let mut records = Records::default();
    let mut rows = sagas(&mut tx, &mut records).await?;
    let keys = journals(&mut tx, &mut rows, &mut records).await?;
    accepted(&mut tx, promise.accepted, &keys, &mut records).await?;
    wakes(&mut tx, &mut records.findings).await?;
    dead_letters(&mut tx, promise, &mut records).await?;
    tx.rollback().await?;
    connection.close().await?;
    Ok(records)
}

async fn sagas(db: &mut PgConnection, records: &mut Records) -> Result<HashMap<Uuid, SagaRow>, Error> {
    let mut sagas = HashMap::new();
    let mut rows = sqlx::query_as::<_, SagaRow>(
        "SELECT id, definition, version, status, started_at, deadline, ended_at FROM snorri.sagas",
    )
    .fetch(db);
    let mut slowest = f64::MIN;
    while let Some(row) = rows.try_next().await? {
        records.findings.checked(Invariant::AllEnded, 1);
        let status = EndStatus::from_word(&row.status);
        match (status, row.ended_at) {
            (EndStatus::Open, _) | (_, None) => {
                records.findings.wrong(
                    Invariant::AllEnded,
                    format!("saga {} has not ended: it is {}, since {}", row.id, row.status, row.started_at),
                );
            }
            (_, Some(ended_at)) => {
                let seconds = (ended_at - row.started_at).as_seconds_f64();
                records.seconds.push(seconds);
                if seconds > slowest {
                    (slowest, records.slowest) = (seconds, Some(row.id));
                }
            }
        }
        match status {
            EndStatus::Completed => records.completed += 1,
            EndStatus::Compensated => records.compensated += 1,
            EndStatus::Unjudged | EndStatus::Open => {}
        }
        if row.ended_at.is_none_or(|ended_at| ended_at > row.deadline) {
            records.missed_window += 1;
        }
        records.ends.insert(row.id, status);
        sagas.insert(row.id, row);
    }
    records.seconds.sort_by(f64::total_cmp);
    Ok(sagas)
}

/// Reads all journals, compares each with its saga's row, and gives back whose each key is.
async fn journals(
    db: &mut PgConnection,
    rows: &mut HashMap<Uuid, SagaRow>,
    records: &mut Records,
) -> Result<HashMap<String, Uuid>, Error> {
    let Records { findings, journal_rows, whys, .. } = records;
    let mut keys = HashMap::new();
    let mut finish = |saga: Uuid, story: &Story, findings: &mut Findings| {
        if let Some(why) = &story.why {
            whys.insert(saga, why.clone());
        }
        match rows.remove(&saga) {
            Some(row) => story.agrees(&row, findings),
            None => findings.wrong(Invariant::JournalAgrees, format!("saga {saga} has a journal and no row")),
        }
        if let Some(key) = &story.key
            && let Some(other) = keys.insert(key.clone(), saga)
        {
            findings
                .wrong(Invariant::OneKeyOneSaga, format!("the key {key} began saga {other} and saga {saga}"));
        }
    };
    let mut stream = sqlx::query_as::<_, JournalRow>(
        "SELECT saga_id, seq, at, events::text AS events FROM snorri.journal ORDER BY saga_id, seq",
    )
    .fetch(db);
    let mut current: Option<(Uuid, Story)> = None;
    while let Some(row) = stream.try_next().await? {
        *journal_rows += 1;
        if let Some((saga, story)) = current.take_if(|(saga, _)| *saga != row.saga_id) {
            finish(saga, &story, findings);
        }
        let (_, story) = current.get_or_insert_with(|| (row.saga_id, Story::default()));
        story.read(&row, findings);
    }
    if let Some((saga, story)) = current {
        finish(saga, &story, findings);
    }
    for saga in rows.keys() {
        findings.wrong(Invariant::JournalAgrees, format!("saga {saga} has a row and no journal"));
    }
    Ok(keys)
}

async fn accepted(
    db: &mut PgConnection,
    accepted: &[Accepted],
    keys: &HashMap<String, Uuid>,
    records: &mut Records,
) -> Result<(), Error> {
    let findings = &mut records.findings;
    let stored: Vec<(String, Uuid)> =
        sqlx::query_as("SELECT key, saga_id FROM snorri.start_keys").fetch_all(db).await?;
    let stored: HashMap<String, Uuid> = stored.into_iter().collect();
    findings.checked(Invariant::OneKeyOneSaga, stored.len());
    for (key, saga) in &stored {
        if keys.get(key) != Some(saga) {
            findings.wrong(
                Invariant::OneKeyOneSaga,
                format!("the key {key} stands for saga {saga}, whose journal does not name it"),
            );
        }
    }
    for key in keys.keys().filter(|key| !stored.contains_key(*key)) {
        findings.wrong(Invariant::OneKeyOneSaga, format!("the key {key} began a saga and is forgotten"));
    }
    for Accepted { key, saga } in accepted {
        findings.checked(Invariant::AcceptedExists, 1);
        if !records.ends.contains_key(saga) {
            findings.wrong(
                Invariant::AcceptedExists,
                format!("saga {saga} ({key}) was accepted and does not exist"),
            );
        }
        match stored.get(key) {
            Some(of) if of == saga => {}
            Some(of) => findings.wrong(
                Invariant::OneKeyOneSaga,
                format!(
                    "a start with the key {key} was answered with saga {saga}; the key stands for saga {of}"
                ),
            ),
            None => findings.wrong(
                Invariant::OneKeyOneSaga,
                format!("a start with the key {key} was answered with saga {saga}; the key is unknown"),
            ),
        }
    }
    Ok(())
}

async fn wakes(db: &mut PgConnection, findings: &mut Findings) -> Result<(), Error> {
    let guards: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_constraint WHERE conrelid = 'snorri.sagas'::regclass AND contype = 'c'
            AND convalidated AND conname IN ('live_sagas_wake', 'ended_sagas_have_an_end')",
    )
    .fetch_one(&mut *db)
    .await?;
    findings.checked(Invariant::LiveHasWake, 2);
    if guards != 2 {
        findings.wrong(
            Invariant::LiveHasWake,
            "snorri.sagas has lost a check: live_sagas_wake or ended_sagas_have_an_end",
        );
    }
    let odd: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, status FROM snorri.sagas WHERE (ended_at IS NULL) <> (wake_at IS NOT NULL) ORDER BY id",
    )
    .fetch_all(&mut *db)
    .await?;
    for (saga, status) in odd {
        findings.wrong(
            Invariant::LiveHasWake,
            format!("saga {saga} is {status}, and its wake-up says otherwise"),
        );
    }
    // The text is a constant of this file.
    let sql = format!("SELECT id, owner FROM snorri.sagas WHERE wake_at < now() - {OVERDUE} ORDER BY id");
    let overdue: Vec<(Uuid, String)> = sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *db).await?;
    for (saga, owner) in overdue {
        findings.wrong(
            Invariant::LiveHasWake,
            format!("saga {saga} of {owner} should have been looked at more than 10 s ago"),
        );
    }
    Ok(())
}

/// A dead letter as it is kept.
#[derive(Debug, sqlx::FromRow)]
struct Letter {
    id: i64,
    subject: String,
    reason: String,
    detail: String,
    headers: String,
    payload: Vec<u8>,
}

impl Letter {
    fn is_poisoned(&self, poison: &str) -> bool {
        String::from_utf8_lossy(&self.payload).contains(poison)
    }

    /// A build that does not know of several replies in one message misses the header that names the one command.
    fn is_unread_batch(&self, downgraded: &[String]) -> bool {
        let mut names = self.headers.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name);
        let replica = self.subject.strip_prefix("snorri.reply.").and_then(|rest| rest.split_once('.'));
        self.reason == "malformed_header"
            && names.any(|name| name.eq_ignore_ascii_case("Snorri-Replies"))
            && self.payload.starts_with(b"[")
            && replica.is_some_and(|(_, replica)| downgraded.iter().any(|of| of == replica))
    }
}

async fn dead_letters(
    db: &mut PgConnection,
    promise: Promise<'_>,
    records: &mut Records,
) -> Result<(), Error> {
    let letters: Vec<Letter> = sqlx::query_as(
        "SELECT id, subject, reason, detail, headers, payload FROM snorri.dead_letters ORDER BY id",
    )
    .fetch_all(db)
    .await?;
    for letter in letters {
        records.findings.checked(Invariant::DeadLettersExplained, 1);
        let is_ours = promise.poison.is_some_and(|poison| letter.is_poisoned(poison));
        if letter.is_unread_batch(promise.downgraded) {
            records.unread_batches += 1;
        } else if !is_ours {
            let Letter { id, subject, reason, detail, .. } = &letter;
            records.findings.wrong(
                Invariant::DeadLettersExplained,
                format!("dead letter {id} on {subject}: {reason}: {detail}"),
            );
        }
        *records.dead_letters.entry(letter.reason).or_default() += 1;
    }
    Ok(())
}
