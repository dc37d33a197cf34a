//! The demo's participants: `inventory`, `payments`, `shipping` and `orders`. Each is a small service with
//! its own database (or schema) and its own books, written as a user of the SDK would write it.
//!
//! The books are what the demo proves itself by: units and cents are only ever moved, each effect leaves a
//! line in a journal that would take it twice, and [`audit`] counts everything afterwards. [`order`] draws
//! the orders to run, and [`expected`] says how each must end. [`examples`] has the services of the other example
//! definitions.

mod audit;
mod books;
pub mod examples;
mod inventory;
mod order;
mod orders;
mod payments;
mod run;
mod service;
mod shipping;
mod troubles;
mod world;

pub use audit::{
    Accepted, Audit, Databases, EndStatus, Explained, Findings, Invariant, PROBLEMS_MAX, Promise, Records,
    Sagas, Why, audit, audit_records, explain, is_good,
};
pub use books::prepare;
pub use order::{Expected, expected, order};
pub use run::{ServiceConfig, run};
pub use service::{Error, Service, UnknownService};
pub use troubles::{NotAWish, Troubles, Wish, Wishes};
pub use world::{
    CARD_GOOD, CARD_REFUSED, CENTS_BEYOND_ALL, QUANTITY_BEYOND_ALL, SKU_SCARCE, TOWN_UNKNOWN, TOWNS, World,
};

#[cfg(test)]
mod tests;
