//! The services `bank-a` and `bank-b`: two banks that share code and nothing else. At the bank that pays, `hold` sets
//! money aside, `release` is its undo, and `settle` lets it leave; at the bank that receives, `look` tells whether
//! an account could, and `deposit` is for good.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snorri_participant::{Ctx, Fail, Participant, Undo};
use sqlx::{PgConnection, Row as _};

use super::{ACCOUNT_CLOSED_A, ACCOUNT_CLOSED_B, World, sql};
use crate::books::{Mark, No};
use crate::run::{Door, Way, at};
use crate::troubles::Refusing;
use crate::world::CENTS_BEYOND_ALL;

/// What `look` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Look {
    /// The account.
    pub(crate) account: String,
}

/// What `look` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The account.
    pub(crate) account: String,
}

/// What `hold` and `deposit` are asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Amount {
    /// The account.
    pub(crate) account: String,
    /// How much, in cents.
    pub(crate) amount_cents: i64,
}

/// What `hold` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The hold's number.
    pub(crate) hold_id: i64,
}

/// What `deposit` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deposited {
    /// The receipt's number.
    pub(crate) receipt: String,
}

/// What `settle` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settle {
    /// The hold's number.
    pub(crate) hold_id: i64,
}

/// What `settle` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// How much left, in cents.
    pub(crate) amount_cents: i64,
}

/// What this service answers.
pub(crate) fn handlers(participant: Participant, door: &Arc<Door>) -> Participant {
    participant
        .action("look", at(door, on_look))
        .action("hold", at(door, on_hold))
        .compensation("release", at(door, on_release))
        .action("deposit", at(door, on_deposit))
        .action("settle", at(door, on_settle))
}

async fn on_look(door: Arc<Door>, cx: Ctx, wish: Look) -> Result<Seen, Fail> {
    door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(look(&mut *cx.tx().await?, door.schema(), &wish).await?)
}

async fn on_hold(door: Arc<Door>, cx: Ctx, wish: Amount) -> Result<Held, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(hold(&mut *cx.tx().await?, door.schema(), &mark, &wish).await?)
}

async fn on_release(door: Arc<Door>, cx: Ctx, _: Undo<Amount, Held>) -> Result<(), Fail> {
    let mark = door.enter(&cx, Way::Back, None, Refusing::Never).await?;
    Ok(release(&mut *cx.tx().await?, door.schema(), &mark).await?)
}

async fn on_deposit(door: Arc<Door>, cx: Ctx, wish: Amount) -> Result<Deposited, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(deposit(&mut *cx.tx().await?, door.schema(), &mark, &wish).await?)
}

async fn on_settle(door: Arc<Door>, cx: Ctx, wish: Settle) -> Result<Settled, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(settle(&mut *cx.tx().await?, door.schema(), &mark, &wish).await?)
}

/// Opens the accounts of the bank with this letter, and the one that is closed. What is there already stays as it is.
pub(crate) async fn open(
    db: &mut PgConnection,
    books: &str,
    letter: char,
    world: &World,
) -> Result<(), sqlx::Error> {
    let accounts: Vec<String> =
        (1..=world.bank_accounts).map(|number| World::bank_account(letter, number)).collect();
    let closed = if letter == 'a' { ACCOUNT_CLOSED_A } else { ACCOUNT_CLOSED_B };
    let text = "WITH opened AS (
            INSERT INTO __books__.accounts (account, balance, is_open)
            SELECT account, $2, true FROM unnest($1::text[]) AS account UNION ALL SELECT $3, 0, false
            ON CONFLICT DO NOTHING RETURNING account, balance)
        INSERT INTO __books__.ledger (account, amount_cents)
        SELECT 'account:' || account, balance FROM opened
        UNION ALL SELECT 'opening', -balance FROM opened";
    sqlx::query(sql(books, text))
        .bind(accounts)
        .bind(world.cents_per_bank_account)
        .bind(closed)
        .execute(db)
        .await?;
    Ok(())
}

/// Why money can neither go to nor come from an account; nothing if it is open.
fn closed(is_open: Option<bool>) -> Option<No> {
    match is_open {
        None => Some(No::refused("account_unknown", "this bank has no such account")),
        Some(false) => Some(No::refused("account_closed", "the account is closed")),
        Some(true) => None,
    }
}

fn absurd(amount_cents: i64) -> Result<(), No> {
    if (1..=CENTS_BEYOND_ALL).contains(&amount_cents) {
        return Ok(());
    }
    Err(No::refused("bad_amount", "an amount is at least one cent, and no absurd number of them"))
}

/// Tells whether an account could receive money. It has no effect, so there is no line of it in the journal.
pub(crate) async fn look(db: &mut PgConnection, books: &str, wish: &Look) -> Result<Seen, No> {
    let text = "SELECT is_open FROM __books__.accounts WHERE account = $1";
    let is_open = sqlx::query_scalar(sql(books, text)).bind(&wish.account).fetch_optional(db).await?;
    match closed(is_open) {
        Some(no) => Err(no),
        None => Ok(Seen { account: wish.account.clone() }),
    }
}

/// Sets money aside.
pub(crate) async fn hold(db: &mut PgConnection, books: &str, mark: &Mark, wish: &Amount) -> Result<Held, No> {
    absurd(wish.amount_cents)?;
    let text = "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $5 THEN pg_advisory_xact_lock(hashtextextended('snorri-__books__', 0)) END),
        debited AS (
            UPDATE __books__.accounts SET balance = balance - $4, held = held + $4
            WHERE account = $3 AND is_open AND balance >= $4 AND (SELECT count(*) FROM turn) = 1
            RETURNING account),
        kept AS (
            INSERT INTO __books__.movements (saga, step, account, amount_cents, state)
            SELECT $1, $2, account, $4, 'held' FROM debited RETURNING id),
        entries AS (
            INSERT INTO __books__.ledger (saga, account, amount_cents)
            SELECT $1, 'account:' || account, -$4 FROM debited UNION ALL SELECT $1, 'held', $4 FROM debited),
        journal AS (
            INSERT INTO __books__.effects (saga, step, operation, direction)
            SELECT $1, $2, 'hold', 'action' FROM debited)
        SELECT (SELECT id FROM kept) AS id, (SELECT is_open FROM __books__.accounts WHERE account = $3) AS is_open";
    let row = sqlx::query(sql(books, text))
        .bind(mark.saga)
        .bind(&mark.step)
        .bind(&wish.account)
        .bind(wish.amount_cents)
        .bind(mark.take_turns)
        .fetch_one(db)
        .await?;
    if let Some(hold_id) = row.try_get("id")? {
        return Ok(Held { hold_id });
    }
    Err(closed(row.try_get("is_open")?)
        .unwrap_or_else(|| No::refused("insufficient_funds", "there is not enough money on the account")))
}

/// Gives back what the step set aside. It is asked only if the step's action was applied: the SDK's barrier answers
/// for all other cases. So it writes its line in the journal in any case, and the audit judges.
pub(crate) async fn release(db: &mut PgConnection, books: &str, mark: &Mark) -> Result<(), No> {
    let text = "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $3 THEN pg_advisory_xact_lock(hashtextextended('snorri-__books__', 0)) END),
        undone AS (
            UPDATE __books__.movements SET state = 'released'
            WHERE saga = $1 AND step = $2 AND state = 'held' AND (SELECT count(*) FROM turn) = 1
            RETURNING account, amount_cents),
        back AS (SELECT account, sum(amount_cents)::bigint AS amount FROM undone GROUP BY account),
        credited AS (
            UPDATE __books__.accounts SET balance = balance + back.amount, held = held - back.amount
            FROM back WHERE accounts.account = back.account),
        entries AS (
            INSERT INTO __books__.ledger (saga, account, amount_cents)
            SELECT $1, 'held', -amount FROM back UNION ALL SELECT $1, 'account:' || account, amount FROM back)
        INSERT INTO __books__.effects (saga, step, operation, direction)
        VALUES ($1, $2, 'hold', 'compensation')";
    sqlx::query(sql(books, text)).bind(mark.saga).bind(&mark.step).bind(mark.take_turns).execute(db).await?;
    Ok(())
}

/// Credits an account with money that comes from another bank.
pub(crate) async fn deposit(
    db: &mut PgConnection,
    books: &str,
    mark: &Mark,
    wish: &Amount,
) -> Result<Deposited, No> {
    absurd(wish.amount_cents)?;
    let text = "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $5 THEN pg_advisory_xact_lock(hashtextextended('snorri-__books__', 0)) END),
        credited AS (
            UPDATE __books__.accounts SET balance = balance + $4
            WHERE account = $3 AND is_open AND (SELECT count(*) FROM turn) = 1 RETURNING account),
        kept AS (
            INSERT INTO __books__.movements (saga, step, account, amount_cents, state)
            SELECT $1, $2, account, $4, 'deposited' FROM credited RETURNING id),
        entries AS (
            INSERT INTO __books__.ledger (saga, account, amount_cents)
            SELECT $1, 'clearing', -$4 FROM credited
            UNION ALL SELECT $1, 'account:' || account, $4 FROM credited),
        journal AS (
            INSERT INTO __books__.effects (saga, step, operation, direction)
            SELECT $1, $2, 'deposit', 'action' FROM credited)
        SELECT (SELECT id FROM kept) AS id, (SELECT is_open FROM __books__.accounts WHERE account = $3) AS is_open";
    let row = sqlx::query(sql(books, text))
        .bind(mark.saga)
        .bind(&mark.step)
        .bind(&wish.account)
        .bind(wish.amount_cents)
        .bind(mark.take_turns)
        .fetch_one(db)
        .await?;
    if let Some(id) = row.try_get::<Option<i64>, _>("id")? {
        return Ok(Deposited { receipt: format!("d-{id}") });
    }
    // Open, and not when the rows were locked: somebody is just opening it.
    Err(closed(row.try_get("is_open")?).unwrap_or_else(|| No::not_now("the account was just opened")))
}

/// Lets held money leave the bank.
pub(crate) async fn settle(
    db: &mut PgConnection,
    books: &str,
    mark: &Mark,
    wish: &Settle,
) -> Result<Settled, No> {
    let text = "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $4 THEN pg_advisory_xact_lock(hashtextextended('snorri-__books__', 0)) END),
        gone AS (
            UPDATE __books__.movements SET state = 'settled'
            WHERE id = $3 AND saga = $1 AND state = 'held' AND (SELECT count(*) FROM turn) = 1
            RETURNING account, amount_cents),
        debited AS (
            UPDATE __books__.accounts SET held = held - gone.amount_cents
            FROM gone WHERE accounts.account = gone.account),
        entries AS (
            INSERT INTO __books__.ledger (saga, account, amount_cents)
            SELECT $1, 'held', -amount_cents FROM gone UNION ALL SELECT $1, 'clearing', amount_cents FROM gone),
        journal AS (
            INSERT INTO __books__.effects (saga, step, operation, direction)
            SELECT $1, $2, 'settle', 'action' FROM gone)
        SELECT amount_cents FROM gone";
    let amount: Option<i64> = sqlx::query_scalar(sql(books, text))
        .bind(mark.saga)
        .bind(&mark.step)
        .bind(wish.hold_id)
        .bind(mark.take_turns)
        .fetch_optional(db)
        .await?;
    amount
        .map(|amount_cents| Settled { amount_cents })
        .ok_or_else(|| No::refused("hold_unknown", "this saga has no such hold open"))
}
