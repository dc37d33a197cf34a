//! The service `shipping`: parcels. `book` books one and `cancel` is its undo.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snorri_participant::{Ctx, Fail, Participant, Undo};
use sqlx::PgConnection;

use crate::books::{Mark, No};
use crate::run::{Door, Way, at};
use crate::troubles::{Refusing, Wishes};
use crate::world::TOWNS;

/// What `book` is asked; the rest of an order does not concern it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Book {
    /// Where to.
    pub(crate) address: Address,
    /// What is in the parcel.
    #[serde(default)]
    pub(crate) lines: Vec<Packed>,
    /// Trouble on purpose.
    #[serde(default)]
    pub(crate) trouble: Wishes,
}

/// Where a parcel goes to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Address {
    /// The town; the rest of the address is for the driver.
    pub(crate) town: String,
}

/// So many units in a parcel.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Packed {
    /// How many.
    pub(crate) quantity: i64,
}

/// What `book` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Booked {
    /// The number to follow the parcel by.
    pub(crate) tracking: String,
}

/// What this service answers.
pub(crate) fn handlers(participant: Participant, door: &Arc<Door>) -> Participant {
    participant.action("book", at(door, on_book)).compensation("cancel", at(door, on_cancel))
}

async fn on_book(door: Arc<Door>, cx: Ctx, wish: Book) -> Result<Booked, Fail> {
    let mark = door.enter(&cx, Way::Forth, wish.trouble.shipping.as_ref(), Refusing::Allowed).await?;
    Ok(book(&mut *cx.tx().await?, &mark, &wish).await?)
}

async fn on_cancel(door: Arc<Door>, cx: Ctx, undo: Undo<Book, Booked>) -> Result<(), Fail> {
    let mark = door.enter(&cx, Way::Back, undo.input.trouble.shipping.as_ref(), Refusing::Never).await?;
    Ok(cancel(&mut *cx.tx().await?, &mark).await?)
}

/// Writes down the towns that parcels can be sent to.
pub(crate) async fn open(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO shipping.towns SELECT unnest($1::text[]) ON CONFLICT DO NOTHING")
        .bind(TOWNS.as_slice())
        .execute(db)
        .await?;
    Ok(())
}

/// Books a parcel.
pub(crate) async fn book(db: &mut PgConnection, mark: &Mark, wish: &Book) -> Result<Booked, No> {
    let units = wish.lines.iter().fold(0_i64, |sum, line| sum.saturating_add(line.quantity));
    let id: Option<i64> = sqlx::query_scalar(
        "WITH booked AS (
            INSERT INTO shipping.shipments (saga, step, town, units)
            SELECT $1, $2, town, $4 FROM shipping.towns WHERE town = $3 RETURNING id),
        journal AS (
            INSERT INTO shipping.effects (saga, step, operation, direction)
            SELECT $1, $2, 'book', 'action' FROM booked)
        SELECT id FROM booked",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .bind(&wish.address.town)
    .bind(units)
    .fetch_optional(db)
    .await?;
    id.map(|id| Booked { tracking: format!("parcel-{id}") })
        .ok_or_else(|| No::refused("address_unknown", "no parcel goes to this town"))
}

/// Cancels what the step booked. It is asked only if the step's action was applied: the SDK's barrier
/// answers for all other cases. So it writes its line in the journal in any case, and the audit judges.
pub(crate) async fn cancel(db: &mut PgConnection, mark: &Mark) -> Result<(), No> {
    sqlx::query(
        "WITH undone AS (
            UPDATE shipping.shipments SET state = 'cancelled'
            WHERE saga = $1 AND step = $2 AND state = 'booked')
        INSERT INTO shipping.effects (saga, step, operation, direction)
        VALUES ($1, $2, 'book', 'compensation')",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .execute(db)
    .await?;
    Ok(())
}
