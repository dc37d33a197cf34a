//! The versions of a definition: how many sagas run on each, and their removal.

use snorri_saga::ids::{Name, SagaId};
use snorri_saga::time::Timestamp;
use sqlx::Row;

use super::search::LIST_TIMEOUT_SECS;
use super::{Error, Postgres};

/// That so many sagas run on a version, or more, is enough to know who wants to remove it.
pub const COUNTED_MAX: i64 = 10_000;

/// A version as it is listed.
#[derive(Debug, Clone, serde::Serialize)]
pub struct VersionLine {
    /// Its number.
    pub version: i32,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Since when it is not started any more.
    pub removed_at: Option<Timestamp>,
    /// How many sagas run on it.
    pub live_sagas: i64,
}

/// How many sagas run on a version.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Running {
    /// The version.
    pub version: i32,
    /// How many.
    pub live_sagas: i64,
}

/// What came of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// There is no such version.
    Unknown,
    /// It is removed, since then: by this or by an earlier one.
    Removed(Timestamp),
    /// Sagas run on it.
    Runs {
        /// How many, up to [`COUNTED_MAX`].
        sagas: i64,
        /// One of them.
        example: SagaId,
    },
    /// A version of a definition in force has it as a sub-saga.
    Pinned {
        /// The definition.
        name: String,
        /// Its version.
        version: i32,
    },
}

fn number(version: u32) -> i32 {
    i32::try_from(version).unwrap_or(i32::MAX)
}

impl Postgres {
    /// Removes a version, if nobody needs it: it is not started any more, and never the newest. Done twice, it is done once. A saga
    /// that is started on it at the same moment runs to its end: the row stays.
    ///
    /// Whoever submits a parent of it at the same moment holds its row: this waits for that, and sees the parent then.
    pub async fn remove_version(&self, name: &Name, version: u32) -> Result<Removal, Error> {
        self.within(async {
            let mut work = self.api.begin().await?;
            sqlx::query("-- hold_version\nSELECT FROM snorri.definitions WHERE name = $1 AND version = $2 FOR NO KEY UPDATE")
                .bind(name.as_str())
                .bind(number(version))
                .execute(&mut *work)
                .await?;
            let row = sqlx::query(
                "-- remove_version
                WITH live AS MATERIALIZED (
                    SELECT id FROM snorri.sagas WHERE definition = $1 AND version = $2 AND wake_at IS NOT NULL LIMIT $3
                ), pin AS MATERIALIZED (
                    SELECT parent.name, parent.version FROM snorri.definitions parent
                    WHERE parent.removed_at IS NULL AND EXISTS (
                        SELECT 1 FROM json_array_elements(parent.body -> 'steps') AS step
                        WHERE step ->> 'saga' = $1 AND step ->> 'version' = $2::text
                    ) LIMIT 1
                ), removed AS (
                    UPDATE snorri.definitions SET removed_at = clock_timestamp()
                    WHERE name = $1 AND version = $2 AND removed_at IS NULL
                      AND NOT EXISTS (SELECT 1 FROM live) AND NOT EXISTS (SELECT 1 FROM pin)
                    RETURNING removed_at
                )
                SELECT coalesce((SELECT removed_at FROM removed), known.removed_at),
                       (SELECT count(*) FROM live), (SELECT id FROM live LIMIT 1),
                       (SELECT name FROM pin), (SELECT version FROM pin)
                FROM snorri.definitions known WHERE known.name = $1 AND known.version = $2",
            )
            .bind(name.as_str())
            .bind(number(version))
            .bind(COUNTED_MAX)
            .fetch_optional(&mut *work)
            .await?;
            work.commit().await?;
            let Some(row) = row else { return Ok(Removal::Unknown) };
            if let Some(at) = row.try_get::<Option<_>, _>(0)? {
                return Ok(Removal::Removed(Timestamp::from_offset(at)));
            }
            if let Some(example) = row.try_get::<Option<uuid::Uuid>, _>(2)? {
                return Ok(Removal::Runs { sagas: row.try_get(1)?, example: SagaId(example) });
            }
            Ok(Removal::Pinned { name: row.try_get(3)?, version: row.try_get(4)? })
        })
        .await
    }

    /// The versions of a definition below the given one, removed ones too, the newest first.
    pub async fn versions(
        &self,
        name: &Name,
        below: Option<u32>,
        limit: i64,
    ) -> Result<Vec<VersionLine>, Error> {
        self.within(async {
            let mut work = self.api.begin().await?;
            set_list_timeout(&mut work).await?;
            let rows = sqlx::query(
                "-- versions
                WITH live AS MATERIALIZED (
                    SELECT version, count(*) AS sagas FROM snorri.sagas
                    WHERE definition = $1 AND wake_at IS NOT NULL GROUP BY version
                )
                SELECT version, submitted_at, removed_at, coalesce(live.sagas, 0)
                FROM snorri.definitions LEFT JOIN live USING (version)
                WHERE name = $1 AND ($2::int4 IS NULL OR version < $2) ORDER BY version DESC LIMIT $3",
            )
            .bind(name.as_str())
            .bind(below.map(number))
            .bind(limit)
            .fetch_all(&mut *work)
            .await?;
            work.rollback().await?;
            rows.iter()
                .map(|row| {
                    Ok(VersionLine {
                        version: row.try_get(0)?,
                        submitted_at: Timestamp::from_offset(row.try_get(1)?),
                        removed_at: row.try_get::<Option<_>, _>(2)?.map(Timestamp::from_offset),
                        live_sagas: row.try_get(3)?,
                    })
                })
                .collect()
        })
        .await
    }

    /// How many sagas run on the versions of a definition below the given one, by version; none where there are none.
    pub async fn running_below(&self, name: &Name, version: u32) -> Result<Vec<Running>, Error> {
        self.within(async {
            let mut work = self.api.begin().await?;
            set_list_timeout(&mut work).await?;
            let rows = sqlx::query(
                "-- running_below
                SELECT version, count(*) FROM snorri.sagas
                WHERE definition = $1 AND version < $2 AND wake_at IS NOT NULL GROUP BY version ORDER BY version",
            )
            .bind(name.as_str())
            .bind(number(version))
            .fetch_all(&mut *work)
            .await?;
            work.rollback().await?;
            rows.iter()
                .map(|row| Ok(Running { version: row.try_get(0)?, live_sagas: row.try_get(1)? }))
                .collect()
        })
        .await
    }

    /// The version before the given one, removed or not.
    pub async fn version_before(&self, name: &Name, version: u32) -> Result<Option<u32>, Error> {
        self.within(async {
            let before: Option<i32> = sqlx::query_scalar(
                "-- version_before
                SELECT max(version) FROM snorri.definitions WHERE name = $1 AND version < $2",
            )
            .bind(name.as_str())
            .bind(number(version))
            .fetch_one(&self.api)
            .await?;
            Ok(before.and_then(|before| u32::try_from(before).ok()))
        })
        .await
    }
}

/// No other request of this connection has the limit: it ends with the transaction.
async fn set_list_timeout(work: &mut sqlx::PgTransaction<'_>) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config('statement_timeout', $1, true)")
        .bind(format!("{LIST_TIMEOUT_SECS}s"))
        .execute(&mut **work)
        .await?;
    Ok(())
}
