//! The participant's Postgres as a whole: its pool, its tables, whether it is there, and what in it is old.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::types::time::OffsetDateTime;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::{sleep, timeout};

use crate::lease::Lease;
use crate::retention::first_id_since;

/// A pool with the settings that a participant needs: connections are given up on in seconds, renewed
/// every five minutes, never used when they lead to a server that cannot be written to, and no statement,
/// lock or idle transaction lasts longer than it should.
///
/// One connection for each command at work is right: `max` should be the participant's `concurrency` (with
/// `batch`, three are enough), and some more for the service's own queries.
pub async fn connect_pool(url: &str, max: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?.options([
        ("statement_timeout", "5s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("tcp_keepalives_idle", "5"),
        ("tcp_keepalives_interval", "2"),
        ("tcp_keepalives_count", "3"),
        ("client_connection_check_interval", "2s"),
    ]);
    PgPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(Duration::from_secs(3))
        .max_lifetime(Duration::from_mins(5))
        .idle_timeout(Duration::from_mins(2))
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                // A connection in constant use shows by its errors what it is worth.
                if meta.idle_for < Duration::from_secs(1) {
                    return Ok(true);
                }
                let read_only: String =
                    sqlx::query_scalar("SHOW transaction_read_only").fetch_one(connection).await?;
                Ok(read_only == "off")
            })
        })
        .connect_with(options)
        .await
}

/// The number that all participants lock on while they make their tables: "snorribr" in ASCII.
const MIGRATION_LOCK: i64 = 0x736e_6f72_7269_6272;
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is looked whether the session of a long transaction is still there. A statement takes five seconds
/// at most.
const SESSION_CHECK_EVERY: Duration = Duration::from_secs(8);
const SESSION_CHECK_TIMEOUT: Duration = Duration::from_secs(4);

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../../migrations/participant");
    migrator.dangerous_set_table_name("snorri_participant.migrations");
    migrator.create_schema("snorri_participant");
    // The lock is ours: the library's own waits without end.
    migrator.set_locking(false);
    // A newer version of this crate may have been here already.
    migrator.set_ignore_missing(true);
    migrator
}

/// Makes the barrier's tables, in the schema `snorri_participant`, or brings them up to date. Any number of
/// processes may do so at once. [`Participant::run`](crate::Participant::run) does it by itself; call it
/// beforehand when the service's own database role may not create a schema.
pub async fn migrate(pool: &PgPool) -> Result<(), sqlx::Error> {
    let migrator = migrator();
    // On a connection of its own: whatever happens, the lock goes with it.
    let mut connection = pool.acquire().await?.detach();
    let up_to_date = timeout(MIGRATION_TIMEOUT, up_to_date(&mut connection, &migrator)).await;
    if up_to_date.unwrap_or(Err(sqlx::Error::PoolTimedOut))? {
        let _ = timeout(Duration::from_secs(1), connection.close()).await;
        return Ok(());
    }
    let migrated = async {
        loop {
            let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(MIGRATION_LOCK)
                .fetch_one(&mut connection)
                .await?;
            if locked {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        connection.create_schema_if_not_exists("snorri_participant").await.map_err(bare)?;
        // `run` is this with a bound that makes the future impossible to spawn.
        migrator.run_direct(None, &mut connection, false).await.map_err(bare)
    };
    let result = timeout(MIGRATION_TIMEOUT, migrated).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    let _ = timeout(Duration::from_secs(1), connection.close()).await;
    result
}

/// The error of the database itself, where there is one: a lock that others held for too long is no reason to give up.
fn bare(error: MigrateError) -> sqlx::Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
        other => other.into(),
    }
}

async fn up_to_date(connection: &mut PgConnection, migrator: &Migrator) -> Result<bool, sqlx::Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('snorri_participant.migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(false);
    }
    let applied: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM snorri_participant.migrations WHERE success")
            .fetch_one(connection)
            .await?;
    Ok(applied >= migrator.iter().map(|migration| migration.version).max())
}

/// Whether it answers and can be written to.
pub(crate) async fn is_writable(pool: &PgPool) -> bool {
    let Ok(mut lease) = Lease::take(pool).await else { return false };
    let read_only: Result<String, _> =
        sqlx::query_scalar("SHOW transaction_read_only").fetch_one(&mut *lease).await;
    let writable = read_only.is_ok_and(|read_only| read_only == "off");
    if writable {
        lease.well();
    }
    writable
}

/// A session, told apart from those of the same number on another server or after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) pid: i32,
    pub(crate) server_since: OffsetDateTime,
}

/// Resolves when the address leads to a server that does not have this session: its host fell silent and another
/// took its place, and what waits for an answer in it would wait for ever. Nothing else tells of it, as a handler
/// may be at work for minutes without a statement.
pub(crate) async fn lost(pool: PgPool, session: Session) {
    loop {
        sleep(SESSION_CHECK_EVERY).await;
        // Not of the pool: all of its connections may be waiting like this one.
        let options = pool.connect_options();
        let asked = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let is_there: bool = sqlx::query_scalar(
                "SELECT pg_postmaster_start_time() = $2
                    AND EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = $1)",
            )
            .bind(session.pid)
            .bind(session.server_since)
            .fetch_one(&mut connection)
            .await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(is_there)
        };
        if matches!(timeout(SESSION_CHECK_TIMEOUT, asked).await, Ok(Ok(false))) {
            tracing::warn!("the database session of a command at work is gone; it begins anew");
            return;
        }
    }
}

/// Forgets up to two thousand of the rows that are older than `retention` by the server's own clock.
pub(crate) async fn forget_some(pool: &PgPool, retention: Duration) -> Result<u64, sqlx::Error> {
    let mut lease = Lease::take(pool).await?;
    let now_millis: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM now()) * 1000)::bigint")
        .fetch_one(&mut *lease)
        .await?;
    let oldest_kept = first_id_since(u128::try_from(now_millis).unwrap_or(0), retention);
    let gone = sqlx::query(
        "DELETE FROM snorri_participant.barrier WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM snorri_participant.barrier WHERE saga_id < $1 LIMIT 2000))",
    )
    .bind(oldest_kept)
    .execute(&mut *lease)
    .await?;
    lease.well();
    Ok(gone.rows_affected())
}
