//! The schema: its migrations, and whether it is new enough.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Row};
use tokio::time::sleep;

use super::{Error, Postgres};

/// The migrations of the orchestrator's schema, embedded. A newer version may have applied more already: during an
/// upgrade both run on one database, and whichever of them is restarted must come up.
static MIGRATOR: LazyLock<sqlx::migrate::Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("../migrations/orchestrator");
    migrator.set_ignore_missing(true);
    // A session that waits inside of Postgres for its turn holds a snapshot, and building an index concurrently waits for
    // all snapshots: see `turn`.
    migrator.set_locking(false);
    migrator
});

/// The advisory lock of whoever migrates: "snorri".
const TURN: i64 = 0x736e_6f72_7269;
/// How soon it is asked for again.
const TURN_AGAIN: Duration = Duration::from_millis(100);
/// Indices that are built concurrently. One whose building was cut short stays behind, cannot be used, and stands in the way.
const BUILT_CONCURRENTLY: [&str; 2] = ["sagas_owner", "sagas_versions"];

impl Postgres {
    /// Applies the migrations that are missing. Safe with several replicas at once.
    pub async fn migrate(&self) -> Result<(), Error> {
        // An index of a large table takes its time. No lock that others wait behind is waited for for long.
        let options = (*self.upkeep.connect_options()).clone();
        let options = options.options([("statement_timeout", "0"), ("lock_timeout", "10s")]);
        let mut connection = PgConnection::connect_with(&options).await?;
        turn(&mut connection).await?;
        sqlx::query("CREATE SCHEMA IF NOT EXISTS snorri").execute(&mut connection).await?;
        drop_cut_short(&mut connection).await?;
        snorri_kill::point!(Migrating, return Err(Error::injected()));
        MIGRATOR.run_direct(None, &mut connection, false).await?;
        snorri_kill::point!(Migrating, return Err(Error::injected()));
        // With it goes the turn.
        connection.close().await?;
        Ok(())
    }

    /// Checks that the schema is new enough for this binary. A newer one is fine.
    pub async fn check_schema(&self) -> Result<(), Error> {
        let needed = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
        let row = sqlx::query("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.upkeep)
            .await;
        let found: i64 = match row {
            Ok(row) => row.try_get(0)?,
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => 0,
            Err(error) => return Err(error.into()),
        };
        if found < needed { Err(Error::SchemaTooOld { found, needed }) } else { Ok(()) }
    }
}

/// Waits until nobody else migrates, for as long as it takes.
async fn turn(connection: &mut PgConnection) -> Result<(), Error> {
    loop {
        let is_ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(TURN)
            .fetch_one(&mut *connection)
            .await?;
        if is_ours {
            return Ok(());
        }
        sleep(TURN_AGAIN).await;
    }
}

/// Drops what is left of indices whose building was cut short, so that they are built anew.
async fn drop_cut_short(connection: &mut PgConnection) -> Result<(), Error> {
    let invalid: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         WHERE NOT i.indisvalid AND c.relnamespace = 'snorri'::regnamespace AND c.relname = ANY ($1)",
    )
    .bind(BUILT_CONCURRENTLY)
    .fetch_all(&mut *connection)
    .await?;
    for name in BUILT_CONCURRENTLY.into_iter().filter(|name| invalid.iter().any(|found| found == name)) {
        tracing::warn!(index = name, "its building was cut short; it is built anew");
        let drop = sqlx::AssertSqlSafe(format!("DROP INDEX CONCURRENTLY IF EXISTS snorri.{name}"));
        sqlx::raw_sql(drop).execute(&mut *connection).await?;
    }
    Ok(())
}
