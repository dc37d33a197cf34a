//! What people list and filter. The only place where SQL depends on what was asked.

use snorri_saga::ids::SagaId;
use snorri_saga::saga::Status;
use snorri_saga::time::Timestamp;
use sqlx::{QueryBuilder, Row};

use super::{Error, Postgres};

/// How long the database may take for a list.
pub const LIST_TIMEOUT_SECS: u64 = 2;

/// Whether a list took too long: the database cancelled the statement.
pub fn is_too_slow(error: &Error) -> bool {
    matches!(error, Error::Postgres(sqlx::Error::Database(error)) if error.code().as_deref() == Some("57014"))
}

/// Which sagas to list. Newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this definition.
    pub definition: Option<String>,
    /// Only in one of these statuses.
    pub statuses: Vec<Status>,
    /// Only with these tags.
    pub tags: Vec<(String, String)>,
    /// Only with this cause's code.
    pub cause: Option<String>,
    /// Only started at or after.
    pub since: Option<Timestamp>,
    /// Only started before.
    pub until: Option<Timestamp>,
    /// Only older than this saga: the cursor.
    pub before: Option<SagaId>,
}

/// A line of the list.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Line {
    /// The saga.
    pub id: SagaId,
    /// Its definition.
    pub definition: String,
    /// Its definition's version.
    pub version: i32,
    /// Its status.
    pub status: String,
    /// Its tags.
    pub tags: serde_json::Value,
    /// When it started.
    pub started_at: Timestamp,
    /// The end of its window.
    pub deadline: Timestamp,
    /// When its status changed last.
    pub changed_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it was undone, as a word.
    pub cause: Option<String>,
    /// Why a person is needed, as a word.
    pub blocked_reason: Option<String>,
}

impl Postgres {
    /// Lists sagas, newest first.
    pub async fn search(&self, filter: &Filter, limit: i64) -> Result<Vec<Line>, Error> {
        self.within(async {
            let mut sql = QueryBuilder::<sqlx::Postgres>::new(
                "-- search\nSELECT id, definition, version, status, tags, started_at, deadline, changed_at, ended_at, \
                 cause, blocked_reason FROM snorri.sagas WHERE true",
            );
            if let Some(definition) = &filter.definition {
                sql.push(" AND definition = ").push_bind(definition.clone());
            }
            if !filter.statuses.is_empty() {
                let words: Vec<String> =
                    filter.statuses.iter().map(|status| status.as_str().to_owned()).collect();
                if filter.statuses.iter().all(|status| !status.is_end()) {
                    // Live ones are found through the small index.
                    sql.push(" AND wake_at IS NOT NULL");
                }
                sql.push(" AND status = ANY(").push_bind(words).push(")");
            }
            if !filter.tags.is_empty() {
                let tags: serde_json::Map<String, serde_json::Value> =
                    filter.tags.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
                sql.push(" AND tags @> ").push_bind(serde_json::Value::Object(tags));
            }
            if let Some(cause) = &filter.cause {
                sql.push(" AND cause = ").push_bind(cause.clone());
            }
            if let Some(since) = filter.since {
                sql.push(" AND started_at >= ").push_bind(since.to_offset());
                // The id carries the time, give or take the writers' clocks: it prunes.
                sql.push(" AND id >= ").push_bind(first_id_of(since, -60_000));
            }
            if let Some(until) = filter.until {
                sql.push(" AND started_at < ").push_bind(until.to_offset());
                sql.push(" AND id < ").push_bind(first_id_of(until, 60_000));
            }
            if let Some(before) = filter.before {
                sql.push(" AND id < ").push_bind(before.0);
            }
            sql.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
            let mut work = self.api.begin().await?;
            // No other request of this connection has the limit: it ends with the transaction.
            sqlx::query("SELECT set_config('statement_timeout', $1, true)")
                .bind(format!("{LIST_TIMEOUT_SECS}s"))
                .execute(&mut *work)
                .await?;
            let rows = sql.build().fetch_all(&mut *work).await?;
            work.rollback().await?;
            rows.iter().map(line).collect()
        })
        .await
    }

    /// Which of these sagas have ended.
    pub async fn ended_among(&self, ids: &[SagaId]) -> Result<Vec<SagaId>, Error> {
        self.within(async {
            let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
            let rows = sqlx::query_scalar::<_, uuid::Uuid>(
                "-- ended_among
                SELECT id FROM snorri.sagas WHERE id = ANY ($1) AND ended_at IS NOT NULL",
            )
            .bind(ids)
            .fetch_all(&self.api)
            .await?;
            Ok(rows.into_iter().map(SagaId).collect())
        })
        .await
    }

    /// One line.
    pub async fn line(&self, id: SagaId) -> Result<Option<Line>, Error> {
        self.within(async {
            let row = sqlx::query(
                "-- line
                SELECT id, definition, version, status, tags, started_at, deadline, changed_at, ended_at, cause,
                       blocked_reason FROM snorri.sagas WHERE id = $1",
            )
            .bind(id.0)
            .fetch_optional(&self.api)
            .await?;
            row.as_ref().map(line).transpose()
        })
        .await
    }
}

fn first_id_of(at: Timestamp, slack_ms: i64) -> uuid::Uuid {
    let ms = u64::try_from((at.micros() / 1000).saturating_add(slack_ms)).unwrap_or(0);
    uuid::Uuid::from_u64_pair(ms << 16, 0)
}

fn line(row: &sqlx::postgres::PgRow) -> Result<Line, Error> {
    Ok(Line {
        id: SagaId(row.try_get(0)?),
        definition: row.try_get(1)?,
        version: row.try_get(2)?,
        status: row.try_get(3)?,
        tags: row.try_get(4)?,
        started_at: Timestamp::from_offset(row.try_get(5)?),
        deadline: Timestamp::from_offset(row.try_get(6)?),
        changed_at: Timestamp::from_offset(row.try_get(7)?),
        ended_at: row.try_get::<Option<_>, _>(8)?.map(Timestamp::from_offset),
        cause: row.try_get(9)?,
        blocked_reason: row.try_get(10)?,
    })
}
