//! Orders to run through the demo: the n-th of a seed is always the same, and tells from its payload alone
//! how it must end.

use serde_json::{Value, json};

use crate::troubles::mix;
use crate::world::{
    CARD_GOOD, CARD_REFUSED, CENTS_BEYOND_ALL, LINES_MAX, PRICE_MAX_CENTS, QUANTITY_BEYOND_ALL, SKU_SCARCE,
    TOWN_UNKNOWN, TOWNS, UNITS_MAX, World, to_i64,
};

/// How an order's saga must end in a healthy system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Completed.
    Completed,
    /// Compensated, because a participant refused with this code.
    Compensated {
        /// The refusal's code.
        code: String,
    },
}

/// As many attempts as the actions of `order.yaml` have: an order that wishes for more failures than
/// one less than that does not end in a known way.
pub(crate) const ATTEMPTS: u32 = 3;
/// Slower than this is too near to the steps' timeout to be sure of the end.
const SLOW_SURE_MS: u64 = 4_000;

/// A generator of numbers, seeded by an order's place.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = mix(self.0, 0x5eed);
        self.0 % bound.max(1)
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let place = self.below(of.len() as u64);
        usize::try_from(place).ok().and_then(|place| of.get(place)).copied().unwrap_or_default()
    }
}

/// The n-th order of a seed. Of a thousand, about 900 simply work; 20 ask for the scarce article, 15 for
/// more than there is, 20 have a card that is refused, 15 too little money, 10 an unknown address; 10 meet
/// a slow service and 10 one that fails twice, and those complete all the same.
pub fn order(seed: u64, n: u64, world: &World) -> Value {
    let mut dice = Dice(mix(mix(seed, n), 0x0de4));
    let fate = dice.below(1000);
    let mut lines = Vec::new();
    let mut amount = 0_i64;
    let count = dice.below(LINES_MAX) + 1;
    let common = world.skus.saturating_sub(1).max(1);
    let first = dice.below(common);
    for line in 0..count.min(common) {
        // Neighbours in the catalogue, so that no article is on two lines; number 0 is the scarce one.
        let number = 1 + (first + line) % common;
        let units = to_i64(dice.below(UNITS_MAX) + 1);
        lines.push(line_of(number, units));
        amount += units * price_of(number);
    }
    let mut card = CARD_GOOD;
    let mut town = dice.one_of(&TOWNS);
    let mut trouble = None;
    match fate {
        0..20 => {
            lines = vec![line_of(0, 1)];
            amount = price_of(0);
        }
        20..35 => lines = vec![line_of(1, QUANTITY_BEYOND_ALL)],
        35..55 => card = CARD_REFUSED,
        55..70 => amount = CENTS_BEYOND_ALL,
        70..80 => town = TOWN_UNKNOWN,
        80..90 => {
            let slow = format!("slow:{}", 200 + dice.below(600));
            trouble = Some((dice.one_of(&["orders", "inventory", "payments", "shipping"]), slow));
        }
        90..100 => {
            let service = dice.one_of(&["orders", "inventory", "payments", "shipping"]);
            trouble = Some((service, "fail:2".to_owned()));
        }
        _ => {}
    }
    let mut order = json!({
        "order_id": format!("o{seed}-{n:06}"),
        "customer": World::customer(n % world.customers.max(1)),
        "lines": lines,
        "amount_cents": amount,
        "card": card,
        "address": { "street": format!("Snorralaug {}", 1 + dice.below(99)), "town": town },
    });
    if let (Some((service, what)), Some(fields)) = (trouble, order.as_object_mut()) {
        fields.insert("trouble".to_owned(), json!({ service: what }));
    }
    order
}

fn line_of(number: u64, quantity: i64) -> Value {
    json!({ "sku": World::sku(number), "quantity": quantity, "price_cents": price_of(number) })
}

fn price_of(number: u64) -> i64 {
    (990 + to_i64(number * 37 % 90) * 99).min(PRICE_MAX_CENTS)
}

/// How the saga of an order must end, if the payload alone tells; nothing if it depends on the stock
/// (the scarce article), or on timeouts. It takes for granted that the world is big enough for the run.
pub fn expected(order: &Value) -> Option<Expected> {
    let refused = |code: &str| Some(Expected::Compensated { code: code.to_owned() });
    let lines = order.get("lines").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // In the order of the steps: the first service that refuses gives the code.
    for service in ["orders", "inventory", "payments", "shipping"] {
        match wish_of(order, service)? {
            Fate::Refused(code) => return refused(&code),
            Fate::Unknown => return None,
            Fate::Passes => {}
        }
        match service {
            "inventory" => {
                let quantity = |line: &Value| line.get("quantity").and_then(Value::as_i64).unwrap_or(0);
                if lines.iter().any(|line| quantity(line) >= QUANTITY_BEYOND_ALL) {
                    return refused("out_of_stock");
                }
                if lines.iter().any(|line| line.get("sku").and_then(Value::as_str) == Some(SKU_SCARCE)) {
                    return None;
                }
            }
            "payments" => {
                if order.get("card").and_then(Value::as_str) == Some(CARD_REFUSED) {
                    return refused("card_refused");
                }
                if order.get("amount_cents").and_then(Value::as_i64)? >= CENTS_BEYOND_ALL {
                    return refused("insufficient_funds");
                }
            }
            "shipping" if order.pointer("/address/town").and_then(Value::as_str) == Some(TOWN_UNKNOWN) => {
                return refused("address_unknown");
            }
            _ => {}
        }
    }
    Some(Expected::Completed)
}

enum Fate {
    Passes,
    Refused(String),
    Unknown,
}

/// Read here once more and not with the services' own parser: this is the other side of a test.
fn wish_of(order: &Value, service: &str) -> Option<Fate> {
    let Some(wish) = order.get("trouble").and_then(|trouble| trouble.get(service)).and_then(Value::as_str)
    else {
        return Some(Fate::Passes);
    };
    Some(match wish.split_once(':') {
        Some(("slow", ms)) if ms.parse::<u64>().ok()? <= SLOW_SURE_MS => Fate::Passes,
        Some(("fail", times)) if times.parse::<u32>().ok()? < ATTEMPTS => Fate::Passes,
        Some(_) => Fate::Unknown,
        None if wish == "crash" => Fate::Passes,
        None => Fate::Refused(wish.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_same_place_gives_the_same_order_and_another_seed_another() {
        let world = World::for_orders(1000);
        for n in 0..200 {
            assert_eq!(order(1, n, &world), order(1, n, &world));
        }
        assert!((0..200).any(|n| order(1, n, &world)["lines"] != order(2, n, &world)["lines"]));
    }

    #[test]
    fn nine_of_ten_orders_simply_work_and_every_kind_of_trouble_occurs() {
        let world = World::for_orders(10_000);
        let mut ends: BTreeMap<String, u32> = BTreeMap::new();
        for n in 0..10_000 {
            let order = order(1, n, &world);
            let key = match expected(&order) {
                Some(Expected::Completed) if order.get("trouble").is_some() => "in the end".to_owned(),
                Some(Expected::Completed) => "completed".to_owned(),
                Some(Expected::Compensated { code }) => code,
                None => "depends".to_owned(),
            };
            *ends.entry(key).or_default() += 1;
        }
        assert!((8800..9200).contains(&ends["completed"]), "{ends:?}");
        for key in
            ["in the end", "depends", "out_of_stock", "card_refused", "insufficient_funds", "address_unknown"]
        {
            assert!((50..300).contains(&ends[key]), "{key}: {ends:?}");
        }
    }

    #[test]
    fn a_world_has_enough_for_its_orders() {
        let world = World::for_orders(2000);
        let mut spent: BTreeMap<String, i64> = BTreeMap::new();
        let mut taken: BTreeMap<String, i64> = BTreeMap::new();
        for n in 0..2000 {
            let order = order(3, n, &world);
            if expected(&order) != Some(Expected::Completed) {
                continue;
            }
            let amount = order["amount_cents"].as_i64().expect("an amount");
            *spent.entry(order["customer"].as_str().expect("a customer").to_owned()).or_default() += amount;
            let mut sum = 0;
            for line in order["lines"].as_array().expect("lines") {
                let quantity = line["quantity"].as_i64().expect("a quantity");
                sum += quantity * line["price_cents"].as_i64().expect("a price");
                *taken.entry(line["sku"].as_str().expect("a sku").to_owned()).or_default() += quantity;
            }
            assert_eq!(sum, amount, "{order}");
        }
        assert!(spent.values().all(|spent| *spent <= world.balance_per_customer));
        assert!(taken.values().all(|taken| *taken <= world.stock_per_sku));
    }

    #[test]
    fn the_first_service_to_refuse_gives_the_code() {
        let mut order = json!({
            "amount_cents": 5, "card": CARD_REFUSED, "lines": [], "address": {"town": TOWN_UNKNOWN},
            "trouble": {"inventory": "out_of_stock"}
        });
        let code = |order: &Value| match expected(order) {
            Some(Expected::Compensated { code }) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(&order), "out_of_stock");
        order["trouble"]["inventory"] = json!("fail:2");
        assert_eq!(code(&order), "card_refused");
        order["card"] = json!(CARD_GOOD);
        assert_eq!(code(&order), "address_unknown");
        order["trouble"]["payments"] = json!("fail:3");
        assert_eq!(expected(&order), None);
    }
}
