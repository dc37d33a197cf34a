//! Definitions: immutable versions, told apart by the digest of their canonical form.

use snorri_saga::ids::Name;
use snorri_saga::time::Timestamp;
use sqlx::Row;

use super::{Error, Postgres, with_connection};

/// A stored definition.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
    /// The canonical JSON of what was submitted.
    pub body: String,
    /// When.
    pub submitted_at: Timestamp,
    /// Since when it is not started any more.
    pub removed_at: Option<Timestamp>,
}

/// A definition as it is listed: its newest version in force, without its body.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub version: i32,
    /// When that was submitted.
    pub submitted_at: Timestamp,
}

impl Postgres {
    /// Stores a definition: the version that has this digest already, if it is the newest in force, or the next. The number of a
    /// removed version is not used again. Its sub-sagas are in force at this moment and, since their rows are held, until it is in.
    /// Returns the version and whether it is new.
    pub async fn submit_definition(
        &self,
        name: &Name,
        digest: &[u8; 32],
        body: &str,
    ) -> Result<(u32, bool), Error> {
        loop {
            let attempt = self
                .within(async {
                    let row = sqlx::query(
                        "-- submit_definition
                    WITH pins AS MATERIALIZED (
                        SELECT DISTINCT step ->> 'saga' AS name, (step ->> 'version')::int4 AS version
                        FROM json_array_elements($3::json -> 'steps') AS step WHERE step ->> 'saga' IS NOT NULL
                    ), held AS MATERIALIZED (
                        SELECT child.version FROM pins JOIN snorri.definitions child USING (name, version)
                        WHERE child.removed_at IS NULL FOR SHARE OF child
                    ), whole AS MATERIALIZED (
                        SELECT (SELECT count(*) FROM held) = (SELECT count(*) FROM pins) AS is_whole
                    ), newest AS MATERIALIZED (
                        SELECT version, digest FROM snorri.definitions WHERE name = $1 AND removed_at IS NULL
                        ORDER BY version DESC LIMIT 1 FOR SHARE
                    ), added AS (
                        INSERT INTO snorri.definitions (name, version, digest, body)
                        SELECT $1, coalesce((SELECT max(version) FROM snorri.definitions WHERE name = $1), 0) + 1,
                               $2, $3::json
                        FROM whole WHERE is_whole AND NOT EXISTS (SELECT 1 FROM newest WHERE digest = $2)
                        RETURNING version
                    )
                    SELECT coalesce((SELECT version FROM added), (SELECT version FROM newest WHERE digest = $2)),
                           EXISTS (SELECT 1 FROM added)",
                    )
                    .bind(name.as_str())
                    .bind(digest.as_slice())
                    .bind(body)
                    .fetch_one(&self.api)
                    .await?;
                    let version = row.try_get::<Option<i32>, _>(0)?.ok_or(Error::SubSagaRemoved)?;
                    Ok((version, row.try_get::<bool, _>(1)?))
                })
                .await;
            match attempt {
                Ok((version, is_new)) => return Ok((u32::try_from(version).unwrap_or(0), is_new)),
                // Two submitted at once: the loser looks again, and finds either its own or the next.
                Err(error) if error.is_unique_violation() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A definition: the version that is named, removed or not, or the newest in force.
    pub async fn definition(&self, name: &str, version: Option<u32>) -> Result<Option<Stored>, Error> {
        let select = sqlx::query(
            "-- definition
            SELECT name, version, body::text, submitted_at, removed_at FROM snorri.definitions
            WHERE name = $1 AND (version = $2 OR $2::int4 IS NULL AND removed_at IS NULL)
            ORDER BY version DESC LIMIT 1",
        )
        .bind(name)
        .bind(version.map(|version| i32::try_from(version).unwrap_or(i32::MAX)));
        // Starts ask this: people's slow lists must not hold them up.
        let row = with_connection!(self, |connection| select.fetch_optional(&mut *connection))?;
        row.as_ref().map(stored).transpose()
    }

    /// The names after the given one, in their order, each with its newest version in force. Without the bodies, which may
    /// be large.
    pub async fn definition_names(&self, after: Option<&str>, limit: i64) -> Result<Vec<Listed>, Error> {
        self.within(async {
            let rows = sqlx::query(
                "-- definition_names
                SELECT DISTINCT ON (name) name, version, submitted_at FROM snorri.definitions
                WHERE removed_at IS NULL AND ($1::text IS NULL OR name > $1) ORDER BY name, version DESC LIMIT $2",
            )
            .bind(after)
            .bind(limit)
            .fetch_all(&self.api)
            .await?;
            rows.iter()
                .map(|row| {
                    Ok(Listed {
                        name: row.try_get(0)?,
                        version: row.try_get(1)?,
                        submitted_at: Timestamp::from_offset(row.try_get(2)?),
                    })
                })
                .collect()
        })
        .await
    }
}

fn stored(row: &sqlx::postgres::PgRow) -> Result<Stored, Error> {
    Ok(Stored {
        name: row.try_get(0)?,
        version: u32::try_from(row.try_get::<i32, _>(1)?).unwrap_or(0),
        body: row.try_get(2)?,
        submitted_at: Timestamp::from_offset(row.try_get(3)?),
        removed_at: row.try_get::<Option<_>, _>(4)?.map(Timestamp::from_offset),
    })
}
