//! The four services by name, and what can go wrong with one.

use std::fmt;
use std::str::FromStr;

/// One of the demo's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Units of articles.
    Inventory,
    /// Accounts and a ledger.
    Payments,
    /// Parcels.
    Shipping,
    /// Orders.
    Orders,
}

impl Service {
    /// All of them.
    pub fn all() -> [Self; 4] {
        [Self::Inventory, Self::Payments, Self::Shipping, Self::Orders]
    }

    /// The service's name: as a participant, and of its schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Payments => "payments",
            Self::Shipping => "shipping",
            Self::Orders => "orders",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no service of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no demo service `{0}`: take inventory, payments, shipping or orders")]
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

/// Why a service, its opening or the audit ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its database.
    #[error("the service's database: {0}")]
    Database(#[from] sqlx::Error),
    /// Its place on the bus.
    #[error(transparent)]
    Participant(#[from] snorri_participant::Error),
}
