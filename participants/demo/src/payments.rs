//! The service `payments`: customers' accounts and a ledger in double entry. `hold` sets money aside and
//! `release_hold` is its undo; `capture` hands held money to the merchant and `deposit` to another
//! customer, and both are for good.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snorri_participant::{Ctx, Fail, Participant, Undo};
use sqlx::{PgConnection, Row as _};

use crate::books::{Mark, No};
use crate::run::{Door, Way, at};
use crate::troubles::{Refusing, Wishes};
use crate::world::{CARD_REFUSED, CENTS_BEYOND_ALL, World};

/// What `hold` is asked; the rest of an order does not concern it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Hold {
    /// Whose money.
    pub(crate) customer: String,
    /// How much of it, in cents.
    pub(crate) amount_cents: i64,
    /// The card that is to pay; none for a transfer.
    #[serde(default)]
    pub(crate) card: Option<String>,
    /// Trouble on purpose.
    #[serde(default)]
    pub(crate) trouble: Wishes,
}

/// What `hold` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The hold's number.
    pub(crate) hold_id: i64,
}

/// What `capture` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Capture {
    /// The hold's number.
    pub(crate) hold_id: i64,
}

/// What `capture` and `deposit` answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// The receipt's number.
    pub(crate) receipt: String,
    /// How much changed hands, in cents.
    pub(crate) amount_cents: i64,
}

/// What `deposit` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Deposit {
    /// The hold's number.
    pub(crate) hold_id: i64,
    /// The customer who gets the money.
    pub(crate) to: String,
}

/// What this service answers.
pub(crate) fn handlers(participant: Participant, door: &Arc<Door>) -> Participant {
    participant
        .action("hold", at(door, on_hold))
        .compensation("release_hold", at(door, on_release_hold))
        .action("capture", at(door, on_capture))
        .action("deposit", at(door, on_deposit))
}

async fn on_hold(door: Arc<Door>, cx: Ctx, wish: Hold) -> Result<Held, Fail> {
    let mark = door.enter(&cx, Way::Forth, wish.trouble.payments.as_ref(), Refusing::Allowed).await?;
    Ok(hold(&mut *cx.tx().await?, &mark, &wish).await?)
}

async fn on_release_hold(door: Arc<Door>, cx: Ctx, undo: Undo<Hold, Held>) -> Result<(), Fail> {
    let mark = door.enter(&cx, Way::Back, undo.input.trouble.payments.as_ref(), Refusing::Never).await?;
    Ok(release_hold(&mut *cx.tx().await?, &mark).await?)
}

async fn on_capture(door: Arc<Door>, cx: Ctx, wish: Capture) -> Result<Receipt, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(capture(&mut *cx.tx().await?, &mark, &wish).await?)
}

async fn on_deposit(door: Arc<Door>, cx: Ctx, wish: Deposit) -> Result<Receipt, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(deposit(&mut *cx.tx().await?, &mark, &wish).await?)
}

/// Opens the accounts; one that is there already stays as it is.
pub(crate) async fn open(db: &mut PgConnection, world: &World) -> Result<(), sqlx::Error> {
    let customers: Vec<String> = (0..world.customers).map(World::customer).collect();
    sqlx::query(
        "WITH opened AS (
            INSERT INTO payments.accounts (customer, balance) SELECT name, $2 FROM unnest($1::text[]) AS name
            ON CONFLICT DO NOTHING RETURNING customer, balance)
        INSERT INTO payments.ledger (account, amount_cents)
        SELECT 'customer:' || customer, balance FROM opened
        UNION ALL SELECT 'opening', -balance FROM opened",
    )
    .bind(customers)
    .bind(world.balance_per_customer)
    .execute(db)
    .await?;
    Ok(())
}

/// Sets money aside.
pub(crate) async fn hold(db: &mut PgConnection, mark: &Mark, wish: &Hold) -> Result<Held, No> {
    if !(1..=CENTS_BEYOND_ALL).contains(&wish.amount_cents) {
        return Err(No::refused(
            "bad_amount",
            "an amount is at least one cent, and no absurd number of them",
        ));
    }
    if wish.card.as_deref() == Some(CARD_REFUSED) {
        return Err(No::refused("card_refused", "the bank refuses this card"));
    }
    let row = sqlx::query(
        "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $5 THEN pg_advisory_xact_lock(hashtextextended('snorri-demo-money', 0)) END),
        debited AS (
            UPDATE payments.accounts SET balance = balance - $4, held = held + $4
            WHERE customer = $3 AND balance >= $4 AND (SELECT count(*) FROM turn) = 1 RETURNING customer),
        kept AS (
            INSERT INTO payments.holds (saga, step, customer, amount_cents)
            SELECT $1, $2, customer, $4 FROM debited RETURNING id),
        entries AS (
            INSERT INTO payments.ledger (saga, account, amount_cents)
            SELECT $1, 'customer:' || customer, -$4 FROM debited
            UNION ALL SELECT $1, 'held', $4 FROM debited),
        journal AS (
            INSERT INTO payments.effects (saga, step, operation, direction)
            SELECT $1, $2, 'hold', 'action' FROM debited)
        SELECT (SELECT id FROM kept) AS id,
               EXISTS (SELECT FROM payments.accounts WHERE customer = $3) AS known",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .bind(&wish.customer)
    .bind(wish.amount_cents)
    .bind(mark.take_turns)
    .fetch_one(db)
    .await?;
    match (row.try_get::<Option<i64>, _>("id")?, row.try_get("known")?) {
        (Some(hold_id), _) => Ok(Held { hold_id }),
        (None, true) => Err(No::refused("insufficient_funds", "there is not enough money on the account")),
        (None, false) => Err(No::refused("customer_unknown", "there is no account of this customer")),
    }
}

/// Gives back what the step set aside. It is asked only if the step's action was applied: the SDK's
/// barrier answers for all other cases. So it writes its line in the journal in any case, and the audit
/// judges.
pub(crate) async fn release_hold(db: &mut PgConnection, mark: &Mark) -> Result<(), No> {
    sqlx::query(
        "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $3 THEN pg_advisory_xact_lock(hashtextextended('snorri-demo-money', 0)) END),
        undone AS (
            UPDATE payments.holds SET state = 'released'
            WHERE saga = $1 AND step = $2 AND state = 'held' AND (SELECT count(*) FROM turn) = 1
            RETURNING customer, amount_cents),
        back AS (SELECT customer, sum(amount_cents)::bigint AS amount FROM undone GROUP BY customer),
        credited AS (
            UPDATE payments.accounts SET balance = balance + back.amount, held = held - back.amount
            FROM back WHERE accounts.customer = back.customer),
        entries AS (
            INSERT INTO payments.ledger (saga, account, amount_cents)
            SELECT $1, 'held', -amount FROM back
            UNION ALL SELECT $1, 'customer:' || customer, amount FROM back)
        INSERT INTO payments.effects (saga, step, operation, direction)
        VALUES ($1, $2, 'hold', 'compensation')",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .bind(mark.take_turns)
    .execute(db)
    .await?;
    Ok(())
}

/// Hands the held money to the merchant.
pub(crate) async fn capture(db: &mut PgConnection, mark: &Mark, wish: &Capture) -> Result<Receipt, No> {
    // The merchant's revenue is in the ledger alone: as an account it would be one row for all sagas.
    let amount: Option<i64> = sqlx::query_scalar(
        "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $4 THEN pg_advisory_xact_lock(hashtextextended('snorri-demo-money', 0)) END),
        paid AS (
            UPDATE payments.holds SET state = 'captured'
            WHERE id = $3 AND saga = $1 AND state = 'held' AND (SELECT count(*) FROM turn) = 1
            RETURNING customer, amount_cents),
        debited AS (
            UPDATE payments.accounts SET held = held - paid.amount_cents
            FROM paid WHERE accounts.customer = paid.customer),
        entries AS (
            INSERT INTO payments.ledger (saga, account, amount_cents)
            SELECT $1, 'held', -amount_cents FROM paid
            UNION ALL SELECT $1, 'revenue', amount_cents FROM paid),
        journal AS (
            INSERT INTO payments.effects (saga, step, operation, direction)
            SELECT $1, $2, 'capture', 'action' FROM paid)
        SELECT amount_cents FROM paid",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .bind(wish.hold_id)
    .bind(mark.take_turns)
    .fetch_optional(db)
    .await?;
    match amount {
        Some(amount_cents) => Ok(Receipt { receipt: format!("r-{}", wish.hold_id), amount_cents }),
        None => Err(No::refused("hold_unknown", "this saga has no such hold open")),
    }
}

/// Hands the held money to another customer.
pub(crate) async fn deposit(db: &mut PgConnection, mark: &Mark, wish: &Deposit) -> Result<Receipt, No> {
    // The two accounts are locked in the order of their names: transfers to and fro would block each other.
    // The locking SELECT joins nothing, because after a wait Postgres checks its condition again, and rows
    // that came in by a join of `IN (SELECT ...)` can drop out then.
    let row = sqlx::query(
        "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $5 THEN pg_advisory_xact_lock(hashtextextended('snorri-demo-money', 0)) END),
        hold AS MATERIALIZED (
            SELECT id, customer, amount_cents FROM payments.holds
            WHERE id = $3 AND saga = $1 AND state = 'held' AND (SELECT count(*) FROM turn) = 1 FOR UPDATE),
        both_sides AS MATERIALIZED (
            SELECT customer FROM payments.accounts
            WHERE customer = ANY (ARRAY (SELECT customer FROM hold UNION ALL SELECT $4))
            ORDER BY customer FOR UPDATE),
        valid AS MATERIALIZED (
            SELECT * FROM hold
            WHERE customer <> $4 AND EXISTS (SELECT FROM both_sides WHERE customer = $4)),
        paid AS (
            UPDATE payments.holds SET state = 'deposited' FROM valid WHERE holds.id = valid.id),
        moved AS (
            UPDATE payments.accounts SET
                held = held - CASE WHEN accounts.customer = $4 THEN 0 ELSE valid.amount_cents END,
                balance = balance + CASE WHEN accounts.customer = $4 THEN valid.amount_cents ELSE 0 END
            FROM valid, both_sides WHERE accounts.customer = both_sides.customer),
        entries AS (
            INSERT INTO payments.ledger (saga, account, amount_cents)
            SELECT $1, 'held', -amount_cents FROM valid
            UNION ALL SELECT $1, 'customer:' || $4, amount_cents FROM valid),
        journal AS (
            INSERT INTO payments.effects (saga, step, operation, direction)
            SELECT $1, $2, 'deposit', 'action' FROM valid)
        SELECT (SELECT amount_cents FROM valid) AS amount, EXISTS (SELECT FROM hold) AS held",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .bind(wish.hold_id)
    .bind(&wish.to)
    .bind(mark.take_turns)
    .fetch_one(db)
    .await?;
    match (row.try_get::<Option<i64>, _>("amount")?, row.try_get("held")?) {
        (Some(amount_cents), _) => Ok(Receipt { receipt: format!("t-{}", wish.hold_id), amount_cents }),
        (None, true) => {
            Err(No::refused("recipient_unknown", "the recipient has no account, or is the sender"))
        }
        (None, false) => Err(No::refused("hold_unknown", "this saga has no such hold open")),
    }
}
