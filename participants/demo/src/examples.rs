//! The services of the example definitions in `sagas/definitions`: hotels, flights and cars, two banks, sign-ups,
//! mail and a catalogue; `payments` is the demo's own. Each has its own database (or schema) and its own books,
//! written as a user of the SDK would write it, and refuses by rules of the input, so that both kinds of ending
//! can be brought about. [`audit`] counts everything afterwards.

pub(crate) mod accounts;
mod audit;
pub(crate) mod banks;
pub(crate) mod bookings;
pub(crate) mod catalogue;
pub(crate) mod mail;
mod service;
mod world;

pub use audit::{Audit, Databases, Ended, audit};
pub use service::{Service, UnknownService, prepare, run};
pub use world::{
    ACCOUNT_CLOSED_A, ACCOUNT_CLOSED_B, SUPPLIER_UNKNOWN, SUPPLIERS, TOWN_WITHOUT_FLIGHTS, World,
};

use sqlx::AssertSqlSafe;

/// A statement on the books in this schema. The schema's name is one of ours and comes not from outside.
fn sql(schema: &str, text: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(text.replace("__books__", schema))
}
