//! The journal and its projection: loading sagas, and committing a batch of transitions.

use std::collections::{BTreeMap, HashMap, HashSet};

use snorri_saga::ids::{Name, SagaId};
use snorri_saga::journal::Event;
use snorri_saga::saga::{Saga, Status};
use snorri_saga::time::Timestamp;
use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Postgres, with_connection};

/// A saga as it was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The fold of its journal.
    pub saga: Saga,
    /// The sequence number of its last row.
    pub seq: i32,
    /// The replica that wrote its last row.
    pub replica: String,
    /// When its last row was written.
    pub at: Timestamp,
}

/// One row of the journal.
#[derive(Debug, Clone)]
pub struct JournalRow {
    /// Its place, from 1.
    pub seq: i32,
    /// When it was written, by Postgres's clock as the writer knew it.
    pub at: Timestamp,
    /// Who wrote it.
    pub replica: String,
    /// The facts.
    pub events: Vec<Event>,
}

/// One transition of one saga, to be committed with others in one batch.
#[derive(Debug)]
pub struct Transition<'a> {
    /// The state after it.
    pub after: &'a Saga,
    /// Its place in the journal, from 1.
    pub seq: i32,
    /// When.
    pub at: Timestamp,
    /// The facts, as a JSON list.
    pub events: String,
    /// The projection must be written: the status changed, the saga changed hands, or it was at rest and may have a wake-up
    /// that is far away.
    pub project: bool,
    /// The fingerprint of a start that has an idempotency key.
    pub fingerprint: Option<[u8; 32]>,
}

/// How long after the start, or after a sweep, a live saga is looked at whatever else happens.
pub const WAKE_AFTER: &str = "30 seconds";

/// The same as [`COMMIT_FAST`] where no saga is new and none changes its status, which is so for most steps of most sagas: half
/// of the work of a small batch is in the parts that would have nothing to do.
const COMMIT_APPEND: &str =
    "-- commit_append: nobody else moved any of these sagas, and their rows stay as they are
INSERT INTO snorri.journal (saga_id, seq, at, replica, events)
SELECT u.saga_id, u.seq, u.at, $1, u.events::json
FROM UNNEST($2::uuid[], $3::int4[], $4::timestamptz[], $5::text[]) AS u (saga_id, seq, at, events)";

const COMMIT_FAST: &str = "-- commit_fast: nobody else moved any of these sagas
WITH k AS (
    INSERT INTO snorri.start_keys (key, fingerprint, saga_id)
    SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::uuid[])
), j AS (
    INSERT INTO snorri.journal (saga_id, seq, at, replica, events)
    SELECT u.saga_id, u.seq, u.at, $4, u.events::json
    FROM UNNEST($5::uuid[], $6::int4[], $7::timestamptz[], $8::text[]) AS u (saga_id, seq, at, events)
), s AS (
    INSERT INTO snorri.sagas (id, definition, version, status, tags, started_at, deadline, changed_at, ended_at,
                              cause, blocked_reason, owner, wake_at)
    SELECT u.id, u.definition, u.version, u.status, u.tags::jsonb, u.at, u.deadline, u.at, u.ended_at,
           u.cause, u.blocked_reason, $4, CASE WHEN u.ended_at IS NULL THEN u.at + interval '30 seconds' END
    FROM UNNEST($9::uuid[], $10::text[], $11::int4[], $12::text[], $13::text[], $14::timestamptz[],
                $15::timestamptz[], $16::timestamptz[], $17::text[], $18::text[])
         AS u (id, definition, version, status, tags, at, deadline, ended_at, cause, blocked_reason)
)
UPDATE snorri.sagas AS t
SET status = u.status, changed_at = u.at, ended_at = u.ended_at, cause = u.cause,
    blocked_reason = u.blocked_reason, quarantine = NULL, owner = $4, resting = false,
    wake_at = CASE WHEN u.ended_at IS NULL THEN least(t.wake_at, u.at + interval '30 seconds') END
FROM UNNEST($19::uuid[], $20::text[], $21::timestamptz[], $22::timestamptz[], $23::text[], $24::text[])
     AS u (id, status, at, ended_at, cause, blocked_reason)
WHERE t.id = u.id";

const COMMIT_CAREFUL: &str = "-- commit_careful: somebody else may have moved some of them; the losers write nothing
WITH k AS (
    INSERT INTO snorri.start_keys (key, fingerprint, saga_id)
    SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::uuid[])
    ON CONFLICT (key) DO NOTHING
    RETURNING saga_id
), j AS (
    INSERT INTO snorri.journal (saga_id, seq, at, replica, events)
    SELECT u.saga_id, u.seq, u.at, $4, u.events::json
    FROM UNNEST($5::uuid[], $6::int4[], $7::timestamptz[], $8::text[]) AS u (saga_id, seq, at, events)
    WHERE u.saga_id <> ALL ($3::uuid[]) OR u.saga_id IN (SELECT saga_id FROM k)
    ON CONFLICT (saga_id, seq) DO NOTHING
    RETURNING saga_id
), s AS (
    INSERT INTO snorri.sagas (id, definition, version, status, tags, started_at, deadline, changed_at, ended_at,
                              cause, blocked_reason, owner, wake_at)
    SELECT u.id, u.definition, u.version, u.status, u.tags::jsonb, u.at, u.deadline, u.at, u.ended_at,
           u.cause, u.blocked_reason, $4, CASE WHEN u.ended_at IS NULL THEN u.at + interval '30 seconds' END
    FROM UNNEST($9::uuid[], $10::text[], $11::int4[], $12::text[], $13::text[], $14::timestamptz[],
                $15::timestamptz[], $16::timestamptz[], $17::text[], $18::text[])
         AS u (id, definition, version, status, tags, at, deadline, ended_at, cause, blocked_reason)
    WHERE u.id IN (SELECT saga_id FROM j)
), p AS (
    UPDATE snorri.sagas AS t
    SET status = u.status, changed_at = u.at, ended_at = u.ended_at, cause = u.cause,
        blocked_reason = u.blocked_reason, quarantine = NULL, owner = $4, resting = false,
        wake_at = CASE WHEN u.ended_at IS NULL THEN least(t.wake_at, u.at + interval '30 seconds') END
    FROM UNNEST($19::uuid[], $20::text[], $21::timestamptz[], $22::timestamptz[], $23::text[], $24::text[])
         AS u (id, status, at, ended_at, cause, blocked_reason)
    WHERE t.id = u.id AND u.id IN (SELECT saga_id FROM j)
)
SELECT saga_id FROM j";

/// The arrays of one batch, column by column: always one plan, and no limit of parameters.
#[derive(Default)]
struct Columns {
    keys: Vec<String>,
    fingerprints: Vec<Vec<u8>>,
    key_sagas: Vec<Uuid>,
    ids: Vec<Uuid>,
    seqs: Vec<i32>,
    ats: Vec<OffsetDateTime>,
    events: Vec<String>,
    new: Rows,
    new_definitions: Vec<String>,
    new_versions: Vec<i32>,
    new_tags: Vec<String>,
    new_deadlines: Vec<OffsetDateTime>,
    moved: Rows,
}

/// The columns that both a new and a changed row of `sagas` have.
#[derive(Default)]
struct Rows {
    ids: Vec<Uuid>,
    statuses: Vec<&'static str>,
    ats: Vec<OffsetDateTime>,
    ended: Vec<Option<OffsetDateTime>>,
    causes: Vec<Option<String>>,
    blocked: Vec<Option<&'static str>>,
}

impl Rows {
    fn push(&mut self, saga: &Saga, at: OffsetDateTime) {
        self.ids.push(saga.id.0);
        self.statuses.push(saga.status().as_str());
        self.ats.push(at);
        self.ended.push(saga.ended_at.map(Timestamp::to_offset));
        self.causes.push(saga.cause.as_ref().map(|cause| cause.code().to_owned()));
        self.blocked.push(saga.first_blocked().map(|blocked| blocked.reason.as_str()));
    }
}

impl Columns {
    fn of(batch: Vec<Transition<'_>>) -> Self {
        let mut columns = Self::default();
        for transition in batch {
            let saga = transition.after;
            let at = transition.at.to_offset();
            columns.ids.push(saga.id.0);
            columns.seqs.push(transition.seq);
            columns.ats.push(at);
            columns.events.push(transition.events);
            if transition.seq == 1 {
                columns.new.push(saga, at);
                columns.new_definitions.push(saga.definition.to_string());
                columns.new_versions.push(i32::try_from(saga.version).unwrap_or(i32::MAX));
                columns.new_tags.push(serde_json::to_string(&saga.tags).unwrap_or_else(|_| "{}".to_owned()));
                columns.new_deadlines.push(saga.deadline.to_offset());
                if let (Some(key), Some(fingerprint)) = (&saga.key, transition.fingerprint) {
                    columns.keys.push(key.clone());
                    columns.fingerprints.push(fingerprint.to_vec());
                    columns.key_sagas.push(saga.id.0);
                }
            } else if transition.project {
                columns.moved.push(saga, at);
            }
        }
        columns
    }

    /// Nothing but journal rows. Only what is new has an idempotency key.
    fn are_journal_only(&self) -> bool {
        self.new.ids.is_empty() && self.moved.ids.is_empty()
    }
}

impl Postgres {
    /// Commits a batch as one statement, which is one transaction, and tells which sagas' transitions are
    /// in. The others lost a race and wrote nothing. An error leaves it open whether it was committed:
    /// load the sagas again.
    pub async fn commit(&self, replica: &Name, batch: Vec<Transition<'_>>) -> Result<HashSet<SagaId>, Error> {
        let columns = Columns::of(batch);
        let fast = if columns.are_journal_only() {
            bind_append(replica, &columns)
        } else {
            bind(COMMIT_FAST, replica, &columns)
        };
        let done = with_connection!(self, |connection| snorri_kill::under_way!(
            CommitUnderWay,
            fast.execute(&mut *connection)
        ));
        match done {
            Ok(_) => return Ok(columns.ids.iter().map(|id| SagaId(*id)).collect()),
            Err(error) if error.is_unique_violation() => {}
            Err(error) => return Err(error),
        }
        let careful = bind(COMMIT_CAREFUL, replica, &columns);
        let rows = with_connection!(self, |connection| careful.fetch_all(&mut *connection))?;
        rows.iter().map(|row| Ok(SagaId(row.try_get(0)?))).collect()
    }

    /// Loads sagas by replaying their journals. A saga whose journal cannot be read comes as an error of
    /// its own and holds nobody else up.
    pub async fn load(&self, ids: &[SagaId]) -> Result<BTreeMap<SagaId, Result<Loaded, Error>>, Error> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let select = sqlx::query(
            "-- load
            SELECT saga_id, seq, at, replica, events::text FROM snorri.journal
            WHERE saga_id = ANY ($1) ORDER BY saga_id, seq",
        )
        .bind(ids);
        let rows = with_connection!(self, |connection| select.fetch_all(&mut *connection))?;
        let mut journals: BTreeMap<SagaId, Vec<_>> = BTreeMap::new();
        for row in &rows {
            let id = SagaId(row.try_get(0)?);
            journals.entry(id).or_default().push(row);
        }
        Ok(journals
            .into_iter()
            .map(|(id, rows)| {
                let rows = rows.into_iter().map(journal_row).collect::<Result<Vec<_>, Error>>();
                (id, rows.and_then(|rows| replay(id, &rows)))
            })
            .collect())
    }

    /// One saga, for people.
    pub async fn saga(&self, id: SagaId) -> Result<Option<Loaded>, Error> {
        let rows = self.journal(id, 0, i64::MAX).await?;
        if rows.is_empty() { Ok(None) } else { replay(id, &rows).map(Some) }
    }

    /// The journal of one saga, in order, after the given row.
    pub async fn journal(&self, id: SagaId, after: i32, limit: i64) -> Result<Vec<JournalRow>, Error> {
        self.within(async {
            let rows = sqlx::query(
                "-- journal
                SELECT saga_id, seq, at, replica, events::text FROM snorri.journal
                WHERE saga_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            )
            .bind(id.0)
            .bind(after)
            .bind(limit)
            .fetch_all(&self.api)
            .await?;
            rows.iter().map(journal_row).collect()
        })
        .await
    }

    /// The saga and the fingerprint that an idempotency key stands for.
    pub async fn start_key(&self, key: &str) -> Result<Option<(SagaId, Vec<u8>)>, Error> {
        let select =
            sqlx::query("SELECT saga_id, fingerprint FROM snorri.start_keys WHERE key = $1").bind(key);
        let row = with_connection!(self, |connection| select.fetch_optional(&mut *connection))?;
        row.map(|row| Ok((SagaId(row.try_get(0)?), row.try_get(1)?))).transpose()
    }

    /// Puts a saga that cannot be read or decided aside, for a person. It is looked at again by and by.
    pub async fn quarantine(&self, id: SagaId, why: &str) -> Result<(), Error> {
        self.within(async {
            sqlx::query(
                "-- quarantine
                UPDATE snorri.sagas SET quarantine = $2, status = 'blocked', blocked_reason = 'quarantined',
                    changed_at = now(), wake_at = now() + interval '60 seconds', resting = false
                WHERE id = $1 AND ended_at IS NULL",
            )
            .bind(id.0)
            .bind(why)
            .execute(&self.upkeep)
            .await?;
            Ok(())
        })
        .await
    }

    /// How many live sagas there are that are not at rest, by status.
    pub async fn live_counts(&self) -> Result<HashMap<Status, i64>, Error> {
        self.within(async {
            let rows = sqlx::query(
                "-- live_counts
                SELECT status, count(*) FROM snorri.sagas WHERE wake_at IS NOT NULL AND NOT resting
                GROUP BY status",
            )
            .fetch_all(&self.upkeep)
            .await?;
            let mut counts = HashMap::new();
            for row in rows {
                let word: String = row.try_get(0)?;
                if let Some(status) = Status::ALL.into_iter().find(|status| status.as_str() == word) {
                    counts.insert(status, row.try_get(1)?);
                }
            }
            Ok(counts)
        })
        .await
    }

    /// How many are at rest for long: in no replica's memory.
    pub async fn resting_count(&self) -> Result<i64, Error> {
        self.within(async {
            let count = sqlx::query_scalar(
                "-- resting_count
                SELECT count(*) FROM snorri.sagas WHERE wake_at IS NOT NULL AND resting",
            );
            Ok(count.fetch_one(&self.upkeep).await?)
        })
        .await
    }
}

fn bind_append<'q>(
    replica: &'q Name,
    columns: &'q Columns,
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    sqlx::query(COMMIT_APPEND)
        .bind(replica.as_str())
        .bind(&columns.ids)
        .bind(&columns.seqs)
        .bind(&columns.ats)
        .bind(&columns.events)
}

fn bind<'q>(
    sql: &'static str,
    replica: &'q Name,
    columns: &'q Columns,
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    sqlx::query(sql)
        .bind(&columns.keys)
        .bind(&columns.fingerprints)
        .bind(&columns.key_sagas)
        .bind(replica.as_str())
        .bind(&columns.ids)
        .bind(&columns.seqs)
        .bind(&columns.ats)
        .bind(&columns.events)
        .bind(&columns.new.ids)
        .bind(&columns.new_definitions)
        .bind(&columns.new_versions)
        .bind(&columns.new.statuses)
        .bind(&columns.new_tags)
        .bind(&columns.new.ats)
        .bind(&columns.new_deadlines)
        .bind(&columns.new.ended)
        .bind(&columns.new.causes)
        .bind(&columns.new.blocked)
        .bind(&columns.moved.ids)
        .bind(&columns.moved.statuses)
        .bind(&columns.moved.ats)
        .bind(&columns.moved.ended)
        .bind(&columns.moved.causes)
        .bind(&columns.moved.blocked)
}

fn journal_row(row: &sqlx::postgres::PgRow) -> Result<JournalRow, Error> {
    let events: String = row.try_get(4)?;
    let events =
        serde_json::from_str(&events).map_err(|error| Error::Corrupt(format!("journal: {error}")))?;
    Ok(JournalRow {
        seq: row.try_get(1)?,
        at: Timestamp::from_offset(row.try_get(2)?),
        replica: row.try_get(3)?,
        events,
    })
}

/// The saga that a journal tells of.
pub fn replay(id: SagaId, rows: &[JournalRow]) -> Result<Loaded, Error> {
    let events = rows.iter().flat_map(|row| row.events.iter().map(|event| (row.at, event)));
    let saga = Saga::replay(id, events).map_err(|error| Error::Corrupt(error.to_string()))?;
    let dense = rows.iter().zip(1_i32..).all(|(row, seq)| row.seq == seq);
    if !dense {
        return Err(Error::Corrupt(format!("the journal of {id} has a gap")));
    }
    let last = rows.last().ok_or_else(|| Error::Corrupt("the journal is empty".to_owned()))?;
    Ok(Loaded { saga, seq: last.seq, replica: last.replica.clone(), at: last.at })
}
