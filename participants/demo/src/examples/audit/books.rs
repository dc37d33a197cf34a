//! Whether each service's books balance: rooms, seats and cars to the unit, banks to the cent, names to the letter.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{Page, Service, World, sql};
use crate::{Error, Findings, Invariant};

/// What all of this is about.
const B: Invariant = Invariant::BooksBalance;

/// For every town: free and booked units are together what there was, and the booked ones are those of the bookings.
pub(super) async fn capacity(
    db: &mut PgConnection,
    service: Service,
    towns: impl Iterator<Item = (&'static str, i64)>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let text = "SELECT town, free, booked, (
            SELECT coalesce(sum(units), 0)::bigint FROM __books__.bookings
            WHERE bookings.town = capacity.town AND state = 'booked')
        FROM __books__.capacity ORDER BY town";
    let rows: Vec<(String, i64, i64, i64)> =
        sqlx::query_as(sql(service.schema(), text)).fetch_all(db).await?;
    let mut opened: BTreeMap<&str, i64> = towns.collect();
    findings.checked(B, rows.len());
    for (town, free, booked, by_bookings) in &rows {
        let there = free + booked;
        match opened.remove(town.as_str()) {
            Some(units) if units == there => {}
            units => findings.wrong(
                B,
                format!("{service}: {town} began with {} units, and has {there}", units.unwrap_or(0)),
            ),
        }
        if booked != by_bookings {
            findings.wrong(
                B,
                format!("{service}: in {town} {booked} units are booked, and {by_bookings} by the bookings"),
            );
        }
    }
    for (town, units) in opened {
        findings.wrong(B, format!("{service}: {town} with its {units} units is gone"));
    }
    Ok(())
}

/// The ledger sums to zero, began with what there was, and agrees with the accounts and the movements; nothing moved on
/// a closed account. Gives back what the other banks are owed.
pub(super) async fn bank(
    db: &mut PgConnection,
    service: Service,
    world: &World,
    findings: &mut Findings,
) -> Result<i64, Error> {
    let books = service.schema();
    let text = "SELECT account, sum(amount_cents)::bigint FROM __books__.ledger GROUP BY account";
    let ledger: Vec<(String, i64)> = sqlx::query_as(sql(books, text)).fetch_all(&mut *db).await?;
    let ledger: BTreeMap<String, i64> = ledger.into_iter().collect();
    let by_ledger = |account: &str| ledger.get(account).copied().unwrap_or(0);
    let text = "SELECT account, balance, held, is_open, (
            SELECT coalesce(sum(amount_cents), 0)::bigint FROM __books__.movements
            WHERE movements.account = accounts.account AND state = 'held'),
            EXISTS (SELECT FROM __books__.movements WHERE movements.account = accounts.account)
        FROM __books__.accounts ORDER BY account";
    let accounts: Vec<(String, i64, i64, bool, i64, bool)> =
        sqlx::query_as(sql(books, text)).fetch_all(&mut *db).await?;
    findings.checked(B, accounts.len());
    let mut wrong = |what: String| findings.wrong(B, format!("{service}: {what}"));
    let mut all_held = 0;
    for (account, balance, held, is_open, by_movements, has_moved) in &accounts {
        all_held += held;
        let written = by_ledger(&format!("account:{account}"));
        if *balance != written {
            wrong(format!("{account} has {balance} cents, and {written} by the ledger"));
        }
        if held != by_movements {
            wrong(format!("{account} has {held} cents held, and {by_movements} by the movements"));
        }
        if !is_open && *has_moved {
            wrong(format!("money was moved on {account}, which is closed"));
        }
    }
    let expected = i64::try_from(world.bank_accounts)
        .unwrap_or(i64::MAX)
        .saturating_mul(world.cents_per_bank_account)
        .saturating_neg();
    let text =
        "SELECT coalesce(sum(CASE state WHEN 'settled' THEN amount_cents WHEN 'deposited' THEN -amount_cents
            ELSE 0 END), 0)::bigint FROM __books__.movements";
    let cleared: i64 = sqlx::query_scalar(sql(books, text)).fetch_one(&mut *db).await?;
    let clearing = by_ledger("clearing");
    for (what, found, expected) in [
        ("the sum of the ledger", ledger.values().sum(), 0),
        ("the opening", by_ledger("opening"), expected),
        ("what is held, by the ledger", by_ledger("held"), all_held),
        ("what is owed to other banks, by the ledger", clearing, cleared),
    ] {
        if found != expected {
            wrong(format!("{what} is {found} cents instead of {expected}"));
        }
    }
    Ok(clearing)
}

/// What one bank owes another, the other is owed.
pub(super) fn cleared(clearing: i64, findings: &mut Findings) {
    findings.checked(B, 1);
    if clearing != 0 {
        findings.wrong(B, format!("the banks: {clearing} cents left one and did not reach the other"));
    }
}

/// No two accounts have the same name.
pub(super) async fn accounts(db: &mut PgConnection, findings: &mut Findings) -> Result<(), Error> {
    let text = "SELECT name, count(*) FROM __books__.accounts WHERE state <> 'removed' GROUP BY name";
    let names: Vec<(String, i64)> = sqlx::query_as(sql("accounts", text)).fetch_all(db).await?;
    findings.checked(B, names.len());
    for (name, count) in names.iter().filter(|(_, count)| *count > 1) {
        findings.wrong(B, format!("accounts: {count} accounts have the name {name}"));
    }
    Ok(())
}

/// No two articles have the same name, and each is as far as its import is.
pub(super) async fn catalogue(db: &mut PgConnection, findings: &mut Findings) -> Result<(), Error> {
    let text = "SELECT sku, count(*) FROM __books__.articles WHERE state <> 'removed' GROUP BY sku";
    let skus: Vec<(String, i64)> = sqlx::query_as(sql("catalogue", text)).fetch_all(&mut *db).await?;
    findings.checked(B, skus.len());
    for (sku, count) in skus.iter().filter(|(_, count)| *count > 1) {
        findings.wrong(B, format!("catalogue: {count} articles have the name {sku}"));
    }
    let text = "SELECT imports.id, imports.state, coalesce(imports.articles, 0),
            count(*) FILTER (WHERE articles.state = 'staged'), count(*) FILTER (WHERE articles.state = 'listed')
        FROM __books__.imports LEFT JOIN __books__.articles ON import_id = imports.id
        GROUP BY imports.id ORDER BY imports.id";
    let imports: Vec<(i64, String, i64, i64, i64)> =
        sqlx::query_as(sql("catalogue", text)).fetch_all(db).await?;
    findings.checked(B, imports.len());
    for (id, state, published, staged, listed) in imports {
        let is_right = match state.as_str() {
            "open" => listed == 0,
            "published" => staged == 0 && listed == published,
            _ => staged == 0 && listed == 0,
        };
        if !is_right {
            findings.wrong(
                B,
                format!(
                    "catalogue: the import {id} is {state} with {published} articles, of which {staged} are \
                     staged and {listed} listed"
                ),
            );
        }
    }
    Ok(())
}

/// The states that records come to by an operation which writes none of its own.
const STATES: [(&str, &str); 4] =
    [("settle", "settled"), ("activate", "active"), ("publish", "published"), ("capture", "captured")];

/// A record is in such a state exactly when its saga's journal has the operation.
pub(super) fn states(service: Service, page: &Page, findings: &mut Findings) {
    for (operation, state) in STATES {
        let mut counts = BTreeMap::new();
        for effect in page.effects.iter().filter(|effect| effect.operation == operation) {
            counts.entry(effect.saga).or_insert((0, 0)).0 += 1;
        }
        for record in page.records.iter().filter(|record| record.state == state) {
            counts.entry(record.saga).or_insert((0, 0)).1 += 1;
        }
        findings.checked(Invariant::OneEffect, counts.len());
        for (saga, (applied, records)) in
            counts.into_iter().filter(|(_, (applied, records))| applied != records)
        {
            findings.wrong(
                Invariant::OneEffect,
                format!(
                    "{service}: saga {saga}: `{operation}` is {applied} times in the journal, and {records} \
                     records are {state}"
                ),
            );
        }
    }
}
