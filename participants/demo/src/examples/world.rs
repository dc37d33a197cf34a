//! What the examples' books begin with; the audit measures against it.

use serde::{Deserialize, Serialize};

use crate::world::TOWNS;

/// A town that has hotels and cars, and no seat on any flight.
pub const TOWN_WITHOUT_FLIGHTS: &str = "grimsey";
/// An account of `bank-a` that is closed.
pub const ACCOUNT_CLOSED_A: &str = "a-closed";
/// An account of `bank-b` that is closed.
pub const ACCOUNT_CLOSED_B: &str = "b-closed";
/// The suppliers whose articles the catalogue takes in.
pub const SUPPLIERS: [&str; 2] = ["edda", "hauksbok"];
/// A supplier whose articles it does not.
pub const SUPPLIER_UNKNOWN: &str = "nobody";

/// How much there is of everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// What the books of `payments` begin with.
    pub shop: crate::World,
    /// How many rooms, seats and cars there are in each town.
    pub units_per_town: i64,
    /// How many open accounts each bank has.
    pub bank_accounts: u64,
    /// What is on each of them, in cents.
    pub cents_per_bank_account: i64,
}

impl Default for World {
    /// Enough for some hundred sagas of each definition.
    fn default() -> Self {
        Self {
            shop: crate::World::default(),
            units_per_town: 1_000,
            bank_accounts: 10,
            cents_per_bank_account: 1_000_000,
        }
    }
}

impl World {
    /// An account of a bank, by its letter: `a-001`.
    pub fn bank_account(letter: char, number: u64) -> String {
        format!("{letter}-{number:03}")
    }

    /// The towns that one travels to, with how many units there are in each.
    pub(crate) fn towns(&self, has_seats_everywhere: bool) -> impl Iterator<Item = (&'static str, i64)> {
        let without = if has_seats_everywhere { self.units_per_town } else { 0 };
        TOWNS.into_iter().map(|town| (town, self.units_per_town)).chain([(TOWN_WITHOUT_FLIGHTS, without)])
    }
}
