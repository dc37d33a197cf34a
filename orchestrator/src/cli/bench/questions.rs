//! What Postgres is asked.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use uuid::Uuid;

use super::stage::Stage;
use super::{DEFINITION, Error};

impl Stage {
    /// How many sagas of this run Postgres has, and how many of them have not ended.
    pub(super) async fn sagas_in_postgres(&self) -> Result<(u64, u64), Error> {
        let mut connection = self.database().await?;
        let (all, live): (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(*) FILTER (WHERE ended_at IS NULL) FROM snorri.sagas
             WHERE definition = $1 AND started_at >= $2::timestamptz",
        )
        .bind(DEFINITION)
        .bind(&self.began)
        .fetch_one(&mut connection)
        .await?;
        Ok((u64::try_from(all).unwrap_or(0), u64::try_from(live).unwrap_or(0)))
    }

    /// How long after the given time the last saga ended, by Postgres's clock, in seconds.
    pub(super) async fn last_end_after(&self, time: SystemTime) -> Result<Option<f64>, Error> {
        let mut connection = self.database().await?;
        let seconds: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM max(ended_at))::float8 - $3 FROM snorri.sagas
             WHERE definition = $1 AND started_at >= $2::timestamptz",
        )
        .bind(DEFINITION)
        .bind(&self.began)
        .bind(since_epoch(time))
        .fetch_one(&mut connection)
        .await?;
        Ok(seconds)
    }

    /// The servers' versions.
    pub(super) async fn versions(&self) -> Result<(String, String), Error> {
        let mut connection = self.database().await?;
        let postgres: String =
            sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(&mut connection).await?;
        Ok((postgres, self.client.server_info().version))
    }

    /// The live sagas of a replica.
    pub(super) async fn live_of(&self, replica: &str) -> Result<Vec<Uuid>, Error> {
        let mut connection = self.database().await?;
        let ids = sqlx::query_scalar("SELECT id FROM snorri.sagas WHERE owner = $1 AND ended_at IS NULL")
            .bind(replica)
            .fetch_all(&mut connection)
            .await?;
        Ok(ids)
    }

    /// How long before the given time a replica's last heartbeat was, by Postgres's clock, in seconds.
    pub(super) async fn silent_at(&self, replica: &str, time: SystemTime) -> Result<f64, Error> {
        let mut connection = self.database().await?;
        let seconds = sqlx::query_scalar(
            "SELECT $2 - extract(epoch FROM heartbeat_at)::float8 FROM snorri.replicas WHERE name = $1",
        )
        .bind(replica)
        .bind(since_epoch(time))
        .fetch_one(&mut connection)
        .await?;
        Ok(seconds)
    }

    /// How long after the given time the last of these ended, by Postgres's clock, in seconds; nothing if one has not.
    pub(super) async fn last_end_of(&self, sagas: &[Uuid], time: SystemTime) -> Result<Option<f64>, Error> {
        let mut connection = self.database().await?;
        let seconds: Option<f64> = sqlx::query_scalar(
            "SELECT CASE WHEN bool_and(ended_at IS NOT NULL)
                         THEN extract(epoch FROM max(ended_at))::float8 - $2 END
             FROM snorri.sagas WHERE id = ANY ($1)",
        )
        .bind(sagas)
        .bind(since_epoch(time))
        .fetch_one(&mut connection)
        .await?;
        Ok(seconds)
    }

    /// The sizes of the journal's rows of the sagas of this run that ended so, one for each transition.
    pub(super) async fn journal_sizes(&self, status: &str) -> Result<Vec<usize>, Error> {
        let mut connection = self.database().await?;
        let sizes: Vec<i64> = sqlx::query_scalar(
            "SELECT round(avg(octet_length(j.events::text)))::bigint
             FROM snorri.journal AS j JOIN snorri.sagas AS s ON s.id = j.saga_id
             WHERE s.definition = $1 AND s.started_at >= $2::timestamptz AND s.status = $3
             GROUP BY j.seq ORDER BY j.seq",
        )
        .bind(DEFINITION)
        .bind(&self.began)
        .bind(status)
        .fetch_all(&mut connection)
        .await?;
        Ok(sizes.into_iter().map(|size| usize::try_from(size).unwrap_or(0)).collect())
    }

    /// Removes what the floor wrote.
    pub(super) async fn drop_floor(&self) -> Result<(), Error> {
        let mut connection = self.database().await?;
        sqlx::query("DROP SCHEMA IF EXISTS bench_floor CASCADE").execute(&mut connection).await?;
        Ok(())
    }

    /// The orchestrator's tables, by name.
    pub(super) async fn tables(&self) -> Result<Vec<Table>, Error> {
        let mut connection = self.database().await?;
        let rows: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT relname::text, pg_total_relation_size(relid), pg_indexes_size(relid),
                    n_live_tup, n_dead_tup
             FROM pg_stat_user_tables
             WHERE schemaname = 'snorri' AND relname IN ('journal', 'sagas', 'start_keys') ORDER BY relname",
        )
        .fetch_all(&mut connection)
        .await?;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let table = |(name, total, indexes, live, dead): (String, i64, i64, i64, i64)| Table {
            name,
            bytes: count(total),
            index_bytes: count(indexes),
            live: count(live),
            dead: count(dead),
        };
        Ok(rows.into_iter().map(table).collect())
    }

    /// How many bytes of the write-ahead log were written so far.
    pub(super) async fn wal_bytes(&self) -> Result<u64, Error> {
        let mut connection = self.database().await?;
        let bytes: i64 = sqlx::query_scalar("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
            .fetch_one(&mut connection)
            .await?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }
}

/// One table, by Postgres's own statistics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Table {
    pub(super) name: String,
    /// With its indexes.
    pub(super) bytes: u64,
    pub(super) index_bytes: u64,
    pub(super) live: u64,
    pub(super) dead: u64,
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
