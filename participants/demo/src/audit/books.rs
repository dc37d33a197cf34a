//! Whether the books of stock and of money balance, to the unit and to the cent.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{Audit, Findings, Invariant};
use crate::Error;
use crate::world::World;

/// What all of this is about.
const B: Invariant = Invariant::BooksBalance;

type Shelf = (String, i64, i64, i64);

/// For every article: free, reserved and shipped units are together what was delivered, and the reserved
/// and the shipped ones are those of the reservations.
pub(super) async fn stock(
    db: &mut PgConnection,
    world: &World,
    audit: &mut Audit,
    problems: &mut Findings,
) -> Result<(), Error> {
    let shelves: Vec<Shelf> = sqlx::query_as("SELECT sku, free, reserved, shipped FROM inventory.stock")
        .fetch_all(&mut *db)
        .await?;
    let lines: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT line.sku, state, sum(line.quantity)::bigint
         FROM inventory.reservations, unnest(skus, quantities) AS line (sku, quantity)
         WHERE state <> 'released' GROUP BY line.sku, state",
    )
    .fetch_all(&mut *db)
    .await?;
    let written: BTreeMap<(&str, &str), i64> =
        lines.iter().map(|(sku, state, units)| ((sku.as_str(), state.as_str()), *units)).collect();
    let mut delivered: BTreeMap<String, i64> =
        (0..world.skus).map(|number| (World::sku(number), world.stock_of(number))).collect();
    for (sku, free, reserved, shipped) in &shelves {
        audit.units_free += free;
        audit.units_reserved += reserved;
        audit.units_shipped += shipped;
        let there = free + reserved + shipped;
        match delivered.remove(sku) {
            None => {
                problems
                    .wrong(B, format!("inventory: {sku} was never delivered, yet there are {there} units"));
            }
            Some(units) if units != there => problems.wrong(
                B,
                format!(
                    "inventory: of {sku} {units} units were delivered, and {there} are there ({free} free, \
                 {reserved} reserved, {shipped} shipped)"
                ),
            ),
            Some(_) => {}
        }
        for (state, on_shelf) in [("reserved", *reserved), ("shipped", *shipped)] {
            let in_books = written.get(&(sku.as_str(), state)).copied().unwrap_or(0);
            if in_books != on_shelf {
                problems.wrong(
                    B,
                    format!(
                        "inventory: of {sku} {on_shelf} units are {state} on the shelf and {in_books} in the \
                     reservations"
                    ),
                );
            }
        }
    }
    problems.checked(B, shelves.len());
    for (sku, units) in delivered {
        problems.wrong(B, format!("inventory: {sku} with its {units} units is gone"));
    }
    Ok(())
}

/// The ledger sums to zero, as a whole and for every saga; it agrees with the accounts and the holds; and
/// the money on accounts, held and captured is together what there was at the opening.
pub(super) async fn money(
    db: &mut PgConnection,
    world: &World,
    audit: &mut Audit,
    problems: &mut Findings,
) -> Result<(), Error> {
    let (accounts, balance, held): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), coalesce(sum(balance), 0)::bigint, coalesce(sum(held), 0)::bigint
         FROM payments.accounts",
    )
    .fetch_one(&mut *db)
    .await?;
    let (ledger, ledger_held, revenue): (i64, i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(amount_cents), 0)::bigint,
                coalesce(sum(amount_cents) FILTER (WHERE account = 'held'), 0)::bigint,
                coalesce(sum(amount_cents) FILTER (WHERE account = 'revenue'), 0)::bigint
         FROM payments.ledger",
    )
    .fetch_one(&mut *db)
    .await?;
    let (holds_held, holds_captured): (i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(amount_cents) FILTER (WHERE state = 'held'), 0)::bigint,
                coalesce(sum(amount_cents) FILTER (WHERE state = 'captured'), 0)::bigint
         FROM payments.holds",
    )
    .fetch_one(&mut *db)
    .await?;
    audit.cents_on_accounts = balance;
    audit.cents_held = held;
    audit.cents_captured = revenue;
    let mut same = |what: &str, expected: i64, found: i64| {
        if expected != found {
            problems.wrong(B, format!("payments: {what}: {found} instead of {expected}"));
        }
    };
    same("accounts", i64::try_from(world.customers).unwrap_or(i64::MAX), accounts);
    same("the sum of the ledger in cents", 0, ledger);
    same("cents on accounts, held and captured together", world.money(), balance + held + revenue);
    same("cents held, by the holds and by the accounts", holds_held, held);
    same("cents held, by the ledger and by the accounts", ledger_held, held);
    same("cents captured, by the holds and by the ledger", holds_captured, revenue);
    let uneven: Vec<(String, i64)> = sqlx::query_as(
        "SELECT coalesce(saga::text, 'the opening'), sum(amount_cents)::bigint FROM payments.ledger
         GROUP BY saga HAVING sum(amount_cents) <> 0 ORDER BY 1 LIMIT 1000",
    )
    .fetch_all(&mut *db)
    .await?;
    for (saga, cents) in uneven {
        problems.wrong(B, format!("payments: the ledger's rows of {saga} sum to {cents} cents"));
    }
    let astray: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT customer, balance, coalesce(entries.cents, 0)::bigint FROM payments.accounts
         LEFT JOIN (SELECT account, sum(amount_cents) AS cents FROM payments.ledger GROUP BY account) AS entries
                ON entries.account = 'customer:' || customer
         WHERE balance <> coalesce(entries.cents, 0) ORDER BY 1 LIMIT 1000",
    )
    .fetch_all(&mut *db)
    .await?;
    for (customer, balance, entries) in astray {
        problems.wrong(B, format!("payments: {customer} has {balance} cents, and {entries} by the ledger"));
    }
    problems.checked(B, usize::try_from(accounts).unwrap_or(0));
    Ok(())
}
