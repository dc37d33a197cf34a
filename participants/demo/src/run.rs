//! A service at work: its database, its place on the bus, and the door that every command comes in by,
//! where trouble on purpose waits.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use snorri_participant::{BusOptions, Ctx, Fail, Participant, connect_pool};
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::sync::CancellationToken;

use crate::books::{Mark, No, ddl, migrate};
use crate::troubles::{Refusing, Trouble, Troubles, Wish};
use crate::{Error, Service, inventory, orders, payments, shipping};

/// What a service needs to run.
#[derive(Clone)]
pub struct ServiceConfig {
    /// Its own database.
    pub database_url: String,
    /// Where the commands come from.
    pub bus: BusOptions,
    /// How much trouble it makes by itself.
    pub troubles: Troubles,
    /// How many commands may share one transaction; nothing for one transaction each. With batches a
    /// command that is to be slow is not slept over, since it would hold up the others of its
    /// transaction: its first attempt fails, with the request to come again after that time.
    pub batch: Option<usize>,
    /// How many commands it works on at a time when they do not come in batches.
    pub concurrency: usize,
}

impl fmt::Debug for ServiceConfig {
    /// Without the addresses: a password may stand in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceConfig")
            .field("troubles", &self.troubles)
            .field("batch", &self.batch)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// Runs a service until the shutdown is asked for and what was begun is finished. Its schema is created if
/// it is not there; the books are opened by [`crate::prepare`].
pub async fn run(service: Service, config: ServiceConfig, shutdown: CancellationToken) -> Result<(), Error> {
    let handlers = match service {
        Service::Inventory => inventory::handlers,
        Service::Payments => payments::handlers,
        Service::Shipping => shipping::handlers,
        Service::Orders => orders::handlers,
    };
    run_with(
        Make { name: service.name(), schema: service.name(), ddl: ddl(service), handlers },
        config,
        shutdown,
    )
    .await
}

/// What tells one service from another where they are run.
pub(crate) struct Make {
    /// The participant's name.
    pub(crate) name: &'static str,
    /// The schema of its books.
    pub(crate) schema: &'static str,
    /// What creates that schema.
    pub(crate) ddl: Cow<'static, str>,
    /// Gives the participant its operations.
    pub(crate) handlers: fn(Participant, &Arc<Door>) -> Participant,
}

/// Runs whatever service it is.
pub(crate) async fn run_with(
    make: Make,
    config: ServiceConfig,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Make { name, schema, ddl, handlers } = make;
    let ServiceConfig { database_url, bus, troubles, batch, concurrency } = config;
    // Some more than the commands need: what a crash on purpose writes down must not wait for them.
    let connections = u32::try_from(concurrency.clamp(1, 64)).unwrap_or(64) + 4;
    let pool = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        pool = connect((name, &ddl), &database_url, connections) => pool?,
    };
    let door =
        Arc::new(Door { service: name, schema, troubles, pool: pool.clone(), take_turns: batch.is_some() });
    let participant = Participant::new(name)
        .map_err(snorri_participant::Error::Operation)?
        .database(pool.clone())
        .concurrency(concurrency);
    let participant = match batch {
        Some(commands) => participant.batch(commands),
        None => participant,
    };
    handlers(participant, &door).run(bus, shutdown).await?;
    pool.close().await;
    Ok(())
}

/// A pool of the service's own database, with the schema in it. Waits for a database that is away or
/// just starting, as long as it takes.
async fn connect((service, ddl): (&str, &str), url: &str, connections: u32) -> Result<PgPool, Error> {
    let mut pause = Duration::from_millis(100);
    loop {
        let made = async {
            let pool = connect_pool(url, connections).await?;
            migrate(ddl, &mut *pool.acquire().await?).await?;
            Ok::<_, sqlx::Error>(pool)
        };
        match made.await {
            Ok(pool) => return Ok(pool),
            Err(error) if is_away(&error) => {
                tracing::warn!(service, %error, "waiting for the database");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the database may answer later.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => true,
        // Connection trouble, too many connections, shutting down or starting up, a standby.
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| ["08", "53", "57P", "25006"].iter().any(|class| code.starts_with(class))),
        _ => false,
    }
}

/// Which of a step's two operations comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The action.
    Forth,
    /// The compensation.
    Back,
}

/// What every command passes before its handler touches the books.
#[derive(Debug)]
pub(crate) struct Door {
    service: &'static str,
    schema: &'static str,
    troubles: Troubles,
    pool: PgPool,
    take_turns: bool,
}

impl Door {
    /// The schema of the service's books.
    pub(crate) fn schema(&self) -> &'static str {
        self.schema
    }

    /// Makes the trouble that is due, and says who the effect belongs to. To be called before the handler
    /// asks for its transaction, so that a slow command locks nothing meanwhile.
    pub(crate) async fn enter(
        &self,
        cx: &Ctx,
        way: Way,
        wish: Option<&Wish>,
        refusing: Refusing,
    ) -> Result<Mark, No> {
        let mark = Mark { saga: cx.saga().into(), step: cx.step().to_string(), take_turns: self.take_turns };
        let direction = match way {
            Way::Forth => "action",
            Way::Back => "compensation",
        };
        match self.troubles.pick((mark.saga, &mark.step, direction), cx.attempt(), wish, refusing) {
            None => {}
            // In a batch it would hold up all the others, so it is put off instead, once.
            Some(Trouble::Slow(_)) if self.take_turns && cx.attempt() > 1 => {}
            Some(Trouble::Slow(span)) if self.take_turns => {
                return Err(No::NotNow { message: "slow on purpose".to_owned(), after: Some(span) });
            }
            Some(Trouble::Slow(span)) => tokio::time::sleep(span).await,
            Some(Trouble::Fail) => return Err(No::not_now("a failure on purpose")),
            Some(Trouble::Refuse(code)) => {
                return Err(No::Refused { code: code.into(), message: "a refusal on purpose".to_owned() });
            }
            Some(Trouble::Crash) => self.crash_once(&mark, direction).await?,
        }
        Ok(mark)
    }

    /// Ends the process in the middle of the work, before its transaction is committed, unless the same
    /// operation crashed before: that is remembered in a transaction of its own.
    async fn crash_once(&self, mark: &Mark, direction: &str) -> Result<(), No> {
        // The name is one of ours and comes not from outside.
        let sql = format!(
            "INSERT INTO {}.crashes (saga, step, direction) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            self.schema
        );
        let written = sqlx::query(AssertSqlSafe(sql))
            .bind(mark.saga)
            .bind(&mark.step)
            .bind(direction)
            .execute(&self.pool)
            .await?
            .rows_affected();
        if written == 0 {
            return Ok(());
        }
        tracing::warn!(service = self.service, saga = %mark.saga, step = mark.step, "a crash on purpose");
        if self.troubles.abort {
            std::process::abort();
        }
        Err(No::not_now("a crash on purpose, in a process that must not end for it"))
    }
}

/// A handler that is given the door.
pub(crate) fn at<I, F>(
    door: &Arc<Door>,
    handler: fn(Arc<Door>, Ctx, I) -> F,
) -> impl Fn(Ctx, I) -> F + use<I, F> {
    let door = door.clone();
    move |cx, input| handler(door.clone(), cx, input)
}

impl From<No> for Fail {
    fn from(no: No) -> Self {
        match no {
            No::Refused { code, message } => Self::rejected(code, message),
            No::NotNow { message, after: None } => Self::failed(message),
            No::NotNow { message, after: Some(after) } => Self::failed(message).retry_after(after),
            No::Database(error) => error.into(),
        }
    }
}
