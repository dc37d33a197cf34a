//! A pooled connection that goes back only when it was seen to answer.
//!
//! The pool tests what is given back by a round trip without a limit. Over a link that is half open that
//! takes many minutes, in which the place in the pool is taken. So a connection whose work was given up on
//! is closed, which the pool does in seconds, and a new one may take its place.

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgTransactionManager;
use sqlx::{PgConnection, PgPool, Postgres, SqlSafeStr as _};
use sqlx_core::transaction::TransactionManager as _;

/// A connection that is closed when it is dropped before its work was [well](Lease::well) done.
pub(crate) struct Lease {
    connection: PoolConnection<Postgres>,
    well: bool,
}

impl Lease {
    pub(crate) async fn take(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self { connection: pool.acquire().await?, well: false })
    }

    /// The work is over, and the connection as good as before.
    pub(crate) fn well(mut self) {
        self.well = true;
    }
}

impl std::ops::Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl std::ops::DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.well {
            self.connection.close_on_drop();
        }
    }
}

/// A transaction on a connection of its own. Unlike the library's, it takes its connection with it when it
/// is dropped without an end, and the server rolls back.
pub(crate) struct OwnTx(Lease);

impl OwnTx {
    pub(crate) async fn begin(pool: &PgPool, statement: &'static str) -> Result<Self, sqlx::Error> {
        let mut lease = Lease::take(pool).await?;
        // Counted by the library, so that a handler's own `begin` on the connection is a savepoint.
        PgTransactionManager::begin(&mut lease, Some(statement.into_sql_str())).await?;
        Ok(Self(lease))
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        PgTransactionManager::commit(&mut self.0).await?;
        self.0.well();
        Ok(())
    }

    pub(crate) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        PgTransactionManager::rollback(&mut self.0).await?;
        self.0.well();
        Ok(())
    }
}

impl std::ops::Deref for OwnTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl std::ops::DerefMut for OwnTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
