//! The examples' services by name, and how one is made, opened and run.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::{World, accounts, banks, bookings, catalogue, mail};
use crate::books::migrate;
use crate::run::{Make, run_with};
use crate::{Error, ServiceConfig};

/// One of the examples' services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Rooms.
    Hotels,
    /// Seats.
    Flights,
    /// Cars.
    Cars,
    /// Customers' money: the same service as the demo's.
    Payments,
    /// A bank.
    BankA,
    /// Another bank.
    BankB,
    /// Who signed up.
    Accounts,
    /// Letters.
    Mail,
    /// Articles of suppliers.
    Catalogue,
}

impl Service {
    /// All of them.
    pub fn all() -> [Self; 9] {
        [
            Self::Hotels,
            Self::Flights,
            Self::Cars,
            Self::Payments,
            Self::BankA,
            Self::BankB,
            Self::Accounts,
            Self::Mail,
            Self::Catalogue,
        ]
    }

    /// The service's name as a participant.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hotels => "hotels",
            Self::Flights => "flights",
            Self::Cars => "cars",
            Self::Payments => "payments",
            Self::BankA => "bank-a",
            Self::BankB => "bank-b",
            Self::Accounts => "accounts",
            Self::Mail => "mail",
            Self::Catalogue => "catalogue",
        }
    }

    /// The schema of its books.
    pub fn schema(self) -> &'static str {
        match self {
            Self::BankA => "bank_a",
            Self::BankB => "bank_b",
            other => other.name(),
        }
    }

    /// The operations it offers, without those that undo.
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Hotels | Self::Flights | Self::Cars => &["book"],
            Self::Payments => &["hold", "capture", "deposit"],
            Self::BankA | Self::BankB => &["look", "hold", "deposit", "settle"],
            Self::Accounts => &["create", "activate"],
            Self::Mail => &["send", "notify"],
            Self::Catalogue => &["open", "put", "publish"],
        }
    }

    /// The operations that undo.
    pub fn compensations(self) -> &'static [&'static str] {
        match self {
            Self::Hotels | Self::Flights | Self::Cars => &["cancel"],
            Self::Payments => &["release_hold"],
            Self::BankA | Self::BankB => &["release"],
            Self::Accounts => &["remove"],
            Self::Mail => &["retract"],
            Self::Catalogue => &["discard", "remove"],
        }
    }

    /// What creates its books.
    pub(crate) fn ddl(self) -> Cow<'static, str> {
        let own = match self {
            Self::Payments => return crate::books::ddl(crate::Service::Payments),
            Self::Hotels | Self::Flights | Self::Cars => {
                include_str!("../../../../migrations/demo/examples/bookings.sql")
            }
            Self::BankA | Self::BankB => include_str!("../../../../migrations/demo/examples/banks.sql"),
            Self::Accounts => include_str!("../../../../migrations/demo/examples/accounts.sql"),
            Self::Mail => include_str!("../../../../migrations/demo/examples/mail.sql"),
            Self::Catalogue => include_str!("../../../../migrations/demo/examples/catalogue.sql"),
        };
        let journal = include_str!("../../../../migrations/demo/examples/journal.sql");
        Cow::Owned([journal, own].concat().replace("__books__", self.schema()))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no service of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no service `{0}` among the examples': take hotels, flights, cars, payments, bank-a, bank-b, accounts, \
     mail or catalogue"
)]
pub struct UnknownService(pub String);

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::all()
            .into_iter()
            .find(|service| service.name() == text)
            .ok_or_else(|| UnknownService(text.chars().take(40).collect()))
    }
}

/// Runs a service until the shutdown is asked for and what was begun is finished. Its schema is created if it is not
/// there; the books are opened by [`prepare`].
pub async fn run(service: Service, config: ServiceConfig, shutdown: CancellationToken) -> Result<(), Error> {
    let handlers = match service {
        Service::Payments => return crate::run(crate::Service::Payments, config, shutdown).await,
        Service::Hotels | Service::Flights | Service::Cars => bookings::handlers,
        Service::BankA | Service::BankB => banks::handlers,
        Service::Accounts => accounts::handlers,
        Service::Mail => mail::handlers,
        Service::Catalogue => catalogue::handlers,
    };
    let make = Make { name: service.name(), schema: service.schema(), ddl: service.ddl(), handlers };
    run_with(make, config, shutdown).await
}

/// Creates the schema of a service and opens its books. What is there already stays as it is, so that it may run at
/// every start, and in several replicas at once.
pub async fn prepare(service: Service, database_url: &str, world: &World) -> Result<(), Error> {
    if service == Service::Payments {
        return crate::prepare(crate::Service::Payments, database_url, &world.shop).await;
    }
    let options: PgConnectOptions = database_url.parse()?;
    let mut connection = PgConnection::connect_with(&options).await?;
    migrate(&service.ddl(), &mut connection).await?;
    let (db, books) = (&mut connection, service.schema());
    match service {
        Service::Hotels => bookings::open(db, books, world.towns(true), 8_000).await?,
        Service::Flights => bookings::open(db, books, world.towns(false), 12_000).await?,
        Service::Cars => bookings::open(db, books, world.towns(true), 5_000).await?,
        Service::BankA => banks::open(db, books, 'a', world).await?,
        Service::BankB => banks::open(db, books, 'b', world).await?,
        Service::Catalogue => catalogue::open_books(db, books).await?,
        // These begin with nothing; payments is above.
        Service::Accounts | Service::Mail | Service::Payments => {}
    }
    connection.close().await?;
    Ok(())
}
