//! The audit: reads the books of all four services and says whether every effect happened exactly once. It
//! shares no code with the orchestrator, and with the services only the names of their tables; what a
//! saga's end means for the books is written down here a second time.
//!
//! Every service is read in one snapshot. While sagas are on their way the services' snapshots do not fit
//! together, so that only what holds within each is checked unless the ends of the sagas are given.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::types::time::OffsetDateTime;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use uuid::Uuid;

use crate::world::World;
use crate::{Error, Service};

mod books;
mod effects;
mod ends;
mod findings;
mod journal;
mod records;

pub(crate) use effects::{FINAL, within};
pub use ends::{Explained, Why, explain, is_good};
pub use findings::{Findings, Invariant};
pub use records::{Accepted, Promise, Records, audit_records};

/// The databases of the services; they may be one and the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Databases {
    /// Of inventory.
    pub inventory: String,
    /// Of payments.
    pub payments: String,
    /// Of shipping.
    pub shipping: String,
    /// Of orders.
    pub orders: String,
}

impl Databases {
    /// All services in one database, each in its own schema.
    pub fn one(url: &str) -> Self {
        let url = url.to_owned();
        Self { inventory: url.clone(), payments: url.clone(), shipping: url.clone(), orders: url }
    }

    /// The database of a service.
    pub fn url(&self, service: Service) -> &str {
        match service {
            Service::Inventory => &self.inventory,
            Service::Payments => &self.payments,
            Service::Shipping => &self.shipping,
            Service::Orders => &self.orders,
        }
    }
}

/// Where the orchestrator says a saga stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndStatus {
    /// It ended: all steps were done.
    Completed,
    /// It ended: all that was done was undone.
    Compensated,
    /// It did not end yet: its effects are not judged.
    Open,
    /// The caller knows that its effects are of none of the audit's plans. No word of the orchestrator's means this.
    Unjudged,
}

impl EndStatus {
    /// Reads the orchestrator's word for a status; every one that is no end is [`EndStatus::Open`].
    pub fn from_word(word: &str) -> Self {
        match word {
            "completed" => Self::Completed,
            "compensated" => Self::Compensated,
            _ => Self::Open,
        }
    }
}

/// The sagas that the orchestrator accepted: all of them, of one definition.
#[derive(Debug, Clone, Copy)]
pub struct Sagas<'a> {
    definition: &'a str,
    ends: &'a HashMap<Uuid, EndStatus>,
}

impl<'a> Sagas<'a> {
    /// Sagas of the definition of this name, with their ends.
    pub fn of(definition: &'a str, ends: &'a HashMap<Uuid, EndStatus>) -> Self {
        Self { definition, ends }
    }
}

/// What the audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Sagas that left an effect in any of the books.
    pub sagas_with_effects: u64,
    /// Actions applied.
    pub actions: u64,
    /// Compensations applied.
    pub compensations: u64,
    /// Orders placed and neither cancelled nor confirmed.
    pub orders_open: u64,
    /// Orders confirmed.
    pub orders_confirmed: u64,
    /// Orders cancelled.
    pub orders_cancelled: u64,
    /// Units that nobody reserved.
    pub units_free: i64,
    /// Units that are reserved; a completed order's stay so until they are dispatched.
    pub units_reserved: i64,
    /// Units that left the house.
    pub units_shipped: i64,
    /// Parcels booked and not cancelled.
    pub parcels_booked: u64,
    /// Parcels cancelled.
    pub parcels_cancelled: u64,
    /// Holds that are neither released nor captured nor deposited. None, when all sagas have ended.
    pub holds_open: u64,
    /// Money held, in cents.
    pub cents_held: i64,
    /// Money that the merchant captured, in cents.
    pub cents_captured: i64,
    /// Money on the customers' accounts, in cents, without what is held.
    pub cents_on_accounts: i64,
    /// What is wrong, each in a sentence; at most [`PROBLEMS_MAX`], then how many more.
    pub problems: Vec<String>,
    /// The same by invariant, all of it, with how much was looked at.
    #[serde(skip)]
    pub findings: Findings,
}

/// The most problems that an audit lists.
pub const PROBLEMS_MAX: usize = 200;

impl Audit {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Cents as an amount that people read.
fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let (whole, rest) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
    let digits = whole.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}.{rest:02}")
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { orders_confirmed, orders_cancelled, orders_open, .. } = self;
        writeln!(
            f,
            "orders    {orders_confirmed} confirmed, {orders_cancelled} cancelled, {orders_open} open"
        )?;
        writeln!(
            f,
            "money     {} captured, {} held by {} holds, {} on accounts",
            money(self.cents_captured),
            money(self.cents_held),
            self.holds_open,
            money(self.cents_on_accounts)
        )?;
        writeln!(
            f,
            "stock     {} free, {} reserved, {} shipped",
            self.units_free, self.units_reserved, self.units_shipped
        )?;
        writeln!(f, "parcels   {} booked, {} cancelled", self.parcels_booked, self.parcels_cancelled)?;
        writeln!(
            f,
            "effects   {} actions and {} compensations of {} sagas",
            self.actions, self.compensations, self.sagas_with_effects
        )?;
        match self.problems.len() {
            0 => writeln!(f, "problems  none: the books balance to the unit, every effect is there once"),
            count => {
                writeln!(f, "problems  {count}")?;
                self.problems.iter().try_for_each(|problem| writeln!(f, "  - {problem}"))
            }
        }
    }
}

/// A row that an action wrote: a reservation, a hold, a shipment, an order.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Record {
    pub(crate) saga: Uuid,
    pub(crate) step: String,
    pub(crate) state: String,
    /// The amount of a hold or an order, the units of a reservation or a shipment.
    pub(crate) size: i64,
    /// The units of an order; nothing elsewhere.
    pub(crate) units: i64,
}

/// A line of an effects journal.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Effect {
    pub(crate) saga: Uuid,
    pub(crate) step: String,
    pub(crate) operation: String,
    direction: String,
    pub(crate) at: OffsetDateTime,
}

impl Effect {
    /// Whether it is of the action, and not of the compensation.
    pub(crate) fn is_action(&self) -> bool {
        self.direction == "action"
    }
}

/// What one service's books say, read in one snapshot.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) records: Vec<Record>,
    /// In the order in which they were written.
    pub(crate) effects: Vec<Effect>,
}

/// Audits the books. `world` is what they were opened with. With `sagas`, which then must name every saga
/// that the orchestrator accepted, the effects of each are compared with its end.
pub async fn audit(databases: &Databases, world: &World, sagas: Option<Sagas<'_>>) -> Result<Audit, Error> {
    let mut audit = Audit::default();
    let mut problems = Findings::default();
    let mut pages = BTreeMap::new();
    for service in Service::all() {
        let options: PgConnectOptions = databases.url(service).parse()?;
        let mut connection = options.connect().await?;
        let mut tx = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        match service {
            Service::Inventory => books::stock(&mut tx, world, &mut audit, &mut problems).await?,
            Service::Payments => books::money(&mut tx, world, &mut audit, &mut problems).await?,
            Service::Shipping | Service::Orders => {}
        }
        let page = read(&mut tx, service).await?;
        tx.rollback().await?;
        connection.close().await?;
        count(service, &page, &mut audit);
        effects::within(service.name(), &page, &effects::FINAL, &mut problems);
        pages.insert(service, page);
    }
    audit.sagas_with_effects = effects::across(&pages, sagas, &mut problems);
    audit.problems = problems.problems().iter().take(PROBLEMS_MAX).map(|(_, text)| text.clone()).collect();
    let more = problems.problems().len().saturating_sub(PROBLEMS_MAX);
    if more > 0 {
        audit.problems.push(format!("and {more} more problems"));
    }
    audit.findings = problems;
    Ok(audit)
}

/// What the books of payments say and whether they balance, for another audit.
pub(crate) async fn payments(
    db: &mut PgConnection,
    world: &World,
    problems: &mut Findings,
) -> Result<Page, Error> {
    books::money(db, world, &mut Audit::default(), problems).await?;
    read(db, Service::Payments).await
}

async fn read(db: &mut PgConnection, service: Service) -> Result<Page, Error> {
    let (records, effects) = match service {
        Service::Inventory => (
            "SELECT saga, step, state, units AS size, 0::bigint AS units
             FROM inventory.reservations ORDER BY id",
            "SELECT saga, step, operation, direction, at FROM inventory.effects ORDER BY id",
        ),
        Service::Payments => (
            "SELECT saga, step, state, amount_cents AS size, 0::bigint AS units
             FROM payments.holds ORDER BY id",
            "SELECT saga, step, operation, direction, at FROM payments.effects ORDER BY id",
        ),
        Service::Shipping => (
            "SELECT saga, step, state, units AS size, 0::bigint AS units
             FROM shipping.shipments ORDER BY id",
            "SELECT saga, step, operation, direction, at FROM shipping.effects ORDER BY id",
        ),
        Service::Orders => (
            "SELECT saga, step, state, amount_cents AS size, units FROM orders.orders ORDER BY id",
            "SELECT saga, step, operation, direction, at FROM orders.effects ORDER BY id",
        ),
    };
    Ok(Page {
        records: sqlx::query_as(records).fetch_all(&mut *db).await?,
        effects: sqlx::query_as(effects).fetch_all(&mut *db).await?,
    })
}

fn count(service: Service, page: &Page, audit: &mut Audit) {
    for effect in &page.effects {
        if effect.direction == "action" {
            audit.actions += 1;
        } else {
            audit.compensations += 1;
        }
    }
    for record in &page.records {
        let counter = match (service, record.state.as_str()) {
            (Service::Orders, "placed") => &mut audit.orders_open,
            (Service::Orders, "confirmed") => &mut audit.orders_confirmed,
            (Service::Orders, "cancelled") => &mut audit.orders_cancelled,
            (Service::Shipping, "booked") => &mut audit.parcels_booked,
            (Service::Shipping, "cancelled") => &mut audit.parcels_cancelled,
            (Service::Payments, "held") => &mut audit.holds_open,
            _ => continue,
        };
        *counter += 1;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn money_is_readable() {
        assert_eq!(super::money(123_456_789), "1,234,567.89");
        assert_eq!(super::money(-5), "-0.05");
        assert_eq!(super::money(100_000), "1,000.00");
    }
}
