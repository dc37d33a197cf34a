//! The service `orders`: what customers ordered. `place` writes an order down and `cancel` is its undo;
//! `confirm` tells the customer that all is well, with the receipt and the parcel's number.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snorri_participant::{Ctx, Fail, Participant, Undo};
use sqlx::PgConnection;

use crate::books::{Mark, No};
use crate::run::{Door, Way, at};
use crate::troubles::{Refusing, Wishes};

/// What `place` is asked; the rest of an order does not concern it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Place {
    /// The order's number, given by the customer's shop.
    pub(crate) order_id: String,
    /// Who ordered.
    pub(crate) customer: String,
    /// What it costs, in cents.
    pub(crate) amount_cents: i64,
    /// What was ordered.
    #[serde(default)]
    pub(crate) lines: Vec<Ordered>,
    /// Trouble on purpose.
    #[serde(default)]
    pub(crate) trouble: Wishes,
}

/// So many units ordered.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Ordered {
    /// How many.
    pub(crate) quantity: i64,
}

/// What `place` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    /// The order's number in the books.
    pub(crate) number: i64,
}

/// What `confirm` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Confirm {
    /// The order's number.
    pub(crate) order_id: String,
    /// The receipt's number.
    pub(crate) receipt: String,
    /// The number to follow the parcel by.
    pub(crate) tracking: String,
}

/// What `confirm` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confirmed {
    /// The order's new state.
    pub(crate) state: String,
}

/// What this service answers.
pub(crate) fn handlers(participant: Participant, door: &Arc<Door>) -> Participant {
    participant
        .action("place", at(door, on_place))
        .compensation("cancel", at(door, on_cancel))
        .action("confirm", at(door, on_confirm))
}

async fn on_place(door: Arc<Door>, cx: Ctx, wish: Place) -> Result<Placed, Fail> {
    let mark = door.enter(&cx, Way::Forth, wish.trouble.orders.as_ref(), Refusing::Allowed).await?;
    Ok(place(&mut *cx.tx().await?, &mark, &wish).await?)
}

async fn on_cancel(door: Arc<Door>, cx: Ctx, undo: Undo<Place, Placed>) -> Result<(), Fail> {
    let mark = door.enter(&cx, Way::Back, undo.input.trouble.orders.as_ref(), Refusing::Never).await?;
    Ok(cancel(&mut *cx.tx().await?, &mark).await?)
}

async fn on_confirm(door: Arc<Door>, cx: Ctx, wish: Confirm) -> Result<Confirmed, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(confirm(&mut *cx.tx().await?, &mark, &wish).await?)
}

/// Writes an order down.
pub(crate) async fn place(db: &mut PgConnection, mark: &Mark, wish: &Place) -> Result<Placed, No> {
    if wish.amount_cents < 1 {
        return Err(No::refused("bad_order", "an order costs at least one cent"));
    }
    let units = wish.lines.iter().fold(0_i64, |sum, line| sum.saturating_add(line.quantity));
    let number = sqlx::query_scalar(
        "WITH journal AS (
            INSERT INTO orders.effects (saga, step, operation, direction)
            VALUES ($1, $2, 'place', 'action'))
        INSERT INTO orders.orders (saga, step, order_id, customer, amount_cents, units)
        VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .bind(&wish.order_id)
    .bind(&wish.customer)
    .bind(wish.amount_cents)
    .bind(units)
    .fetch_one(db)
    .await?;
    Ok(Placed { number })
}

/// Cancels the order that the step placed. It is asked only if the step's action was applied: the SDK's
/// barrier answers for all other cases. So it writes its line in the journal in any case, and the audit
/// judges.
pub(crate) async fn cancel(db: &mut PgConnection, mark: &Mark) -> Result<(), No> {
    sqlx::query(
        "WITH undone AS (
            UPDATE orders.orders SET state = 'cancelled'
            WHERE saga = $1 AND step = $2 AND state = 'placed')
        INSERT INTO orders.effects (saga, step, operation, direction)
        VALUES ($1, $2, 'place', 'compensation')",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .execute(db)
    .await?;
    Ok(())
}

/// Confirms the saga's order.
pub(crate) async fn confirm(db: &mut PgConnection, mark: &Mark, wish: &Confirm) -> Result<Confirmed, No> {
    let state: Option<String> = sqlx::query_scalar(
        "WITH confirmed AS (
            UPDATE orders.orders SET state = 'confirmed', receipt = $4, tracking = $5
            WHERE saga = $1 AND order_id = $3 AND state = 'placed' RETURNING state),
        journal AS (
            INSERT INTO orders.effects (saga, step, operation, direction)
            SELECT $1, $2, 'confirm', 'action' FROM confirmed)
        SELECT state FROM confirmed",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .bind(&wish.order_id)
    .bind(&wish.receipt)
    .bind(&wish.tracking)
    .fetch_optional(db)
    .await?;
    state
        .map(|state| Confirmed { state })
        .ok_or_else(|| No::refused("order_unknown", "this saga has no such order open"))
}
