//! The world that the demo plays in: how many customers and goods there are, and what they begin with.
//! The books are opened with it, orders are drawn from it, and the audit measures against it.

use serde::{Deserialize, Serialize};

/// The towns that parcels can be sent to.
pub const TOWNS: [&str; 6] = ["reykholt", "oddi", "hvammur", "holar", "bergen", "nidaros"];
/// A town that parcels cannot be sent to.
pub const TOWN_UNKNOWN: &str = "atlantis";
/// The card that payments always refuses.
pub const CARD_REFUSED: &str = "4000-0002";
/// A card that works.
pub const CARD_GOOD: &str = "4242-4242";
/// More units than any world has in stock.
pub const QUANTITY_BEYOND_ALL: i64 = 1_000_000_000;
/// More cents than any customer of any world has.
pub const CENTS_BEYOND_ALL: i64 = 1_000_000_000_000;
/// The article that there is too little of: number 0.
pub const SKU_SCARCE: &str = "sku-000";

/// The most lines of a drawn order.
pub(crate) const LINES_MAX: u64 = 3;
/// The most units of one line of a drawn order.
pub(crate) const UNITS_MAX: u64 = 3;
/// The dearest price of one unit, in cents.
pub(crate) const PRICE_MAX_CENTS: i64 = 9_900;

/// How big the world is and what everybody begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// How many customers there are, each with an account.
    pub customers: u64,
    /// How many articles there are; the first is the scarce one.
    pub skus: u64,
    /// How many units of every article but the scarce one there are.
    pub stock_per_sku: i64,
    /// How many units of the scarce article there are.
    pub stock_scarce: i64,
    /// What every customer has, in cents.
    pub balance_per_customer: i64,
}

impl Default for World {
    /// A world for 10,000 orders.
    fn default() -> Self {
        Self::for_orders(10_000)
    }
}

impl World {
    /// A world in which so many drawn orders fail only where they are meant to: there is stock and money
    /// for all of them, and of the scarce article about half of what they ask for.
    #[must_use]
    pub fn for_orders(orders: u64) -> Self {
        let orders = orders.clamp(1, 100_000_000);
        let customers = (orders / 10).clamp(10, 1000);
        // Order n is customer n's, modulo the customers: nobody has more orders than this.
        let orders_each = to_i64(orders.div_ceil(customers));
        let dearest = to_i64(LINES_MAX * UNITS_MAX) * PRICE_MAX_CENTS;
        Self {
            customers,
            skus: 50,
            stock_per_sku: to_i64(orders * UNITS_MAX),
            // 2 % of the orders ask for one unit of it.
            stock_scarce: to_i64(orders / 100),
            balance_per_customer: (orders_each * dearest).min(CENTS_BEYOND_ALL - 1),
        }
    }

    /// The name of an article.
    pub fn sku(number: u64) -> String {
        format!("sku-{number:03}")
    }

    /// The name of a customer.
    pub fn customer(number: u64) -> String {
        format!("customer-{number:04}")
    }

    /// How many units of an article there are at the beginning.
    pub fn stock_of(&self, number: u64) -> i64 {
        if number == 0 { self.stock_scarce } else { self.stock_per_sku }
    }

    /// All money there is, in cents.
    pub fn money(&self) -> i64 {
        to_i64(self.customers).saturating_mul(self.balance_per_customer)
    }
}

/// Sizes of worlds are far below the limit; what is not is cut to it.
pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
