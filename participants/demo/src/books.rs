//! What the services' books have in common: who an effect belongs to, how an operation says no, and
//! how a schema is created and filled. The operations themselves are plain functions over a connection, so
//! that they can be tried without the bus.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::world::World;
use crate::{Error, Service, inventory, payments, shipping};

/// Who an effect belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The saga.
    pub(crate) saga: Uuid,
    /// The step's name.
    pub(crate) step: String,
    /// Whether to take turns with other transactions before a row is touched that many sagas touch. With
    /// batches, one transaction touches many such rows in no particular order, and two of them would
    /// block each other; with one command in each it is not needed.
    pub(crate) take_turns: bool,
}

/// How an operation says no. Either way nothing is written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum No {
    /// For a business reason: asking again does not help.
    #[error("{code}: {message}")]
    Refused {
        /// The stable word for the reason.
        code: Cow<'static, str>,
        /// The sentence for people.
        message: String,
    },
    /// Not now, to be tried again.
    #[error("{message}")]
    NotNow {
        /// The sentence for people.
        message: String,
        /// No sooner than in.
        after: Option<Duration>,
    },
    /// The database did not do it.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl No {
    /// A refusal.
    pub(crate) fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self::Refused { code: Cow::Borrowed(code), message: message.into() }
    }

    /// A failure.
    pub(crate) fn not_now(message: impl Into<String>) -> Self {
        Self::NotNow { message: message.into(), after: None }
    }
}

/// What creates the schema of a service.
pub(crate) fn ddl(service: Service) -> Cow<'static, str> {
    Cow::Borrowed(match service {
        Service::Inventory => include_str!("../../../migrations/demo/inventory.sql"),
        Service::Payments => include_str!("../../../migrations/demo/payments.sql"),
        Service::Shipping => include_str!("../../../migrations/demo/shipping.sql"),
        Service::Orders => include_str!("../../../migrations/demo/orders.sql"),
    })
}

/// Creates a schema where it is not there yet. Two replicas that start at once take turns: `IF NOT
/// EXISTS` alone lets two creators of one table collide.
pub(crate) async fn migrate(ddl: &str, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('snorri-demo-schema', 0))")
        .execute(&mut *tx)
        .await?;
    sqlx::raw_sql(AssertSqlSafe(ddl)).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Creates the schema of a service and opens its books. What is there already stays as it is, so that
/// it may run at every start, and in several replicas at once.
pub async fn prepare(service: Service, database_url: &str, world: &World) -> Result<(), Error> {
    let options: PgConnectOptions = database_url.parse()?;
    let mut connection = PgConnection::connect_with(&options).await?;
    migrate(&ddl(service), &mut connection).await?;
    match service {
        Service::Inventory => inventory::open(&mut connection, world).await?,
        Service::Payments => payments::open(&mut connection, world).await?,
        Service::Shipping => shipping::open(&mut connection).await?,
        // Orders begin with none.
        Service::Orders => {}
    }
    connection.close().await?;
    Ok(())
}
