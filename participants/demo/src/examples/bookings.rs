//! The services `hotels`, `flights` and `cars`: rooms, seats and cars are one thing to the books, units of which a town
//! has so many. `book` takes some and `cancel` is its undo.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snorri_participant::{Ctx, Fail, Participant, Undo};
use sqlx::{PgConnection, Row as _};

use super::sql;
use crate::books::{Mark, No};
use crate::run::{Door, Way, at};
use crate::troubles::Refusing;

/// The most units of one booking.
const UNITS_MAX: i64 = 100;
/// The longest booking.
const DAYS_MAX: i64 = 365;

/// What `book` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Book {
    /// For whom.
    pub(crate) customer: String,
    /// Where.
    pub(crate) town: String,
    /// How many rooms, seats or cars.
    #[serde(default = "one")]
    pub(crate) units: i64,
    /// For how many days.
    #[serde(default = "one")]
    pub(crate) days: i64,
}

fn one() -> i64 {
    1
}

/// What `book` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Booked {
    /// The booking's number.
    pub(crate) booking_id: i64,
    /// What it costs, in cents.
    pub(crate) price_cents: i64,
}

/// What this service answers.
pub(crate) fn handlers(participant: Participant, door: &Arc<Door>) -> Participant {
    participant.action("book", at(door, on_book)).compensation("cancel", at(door, on_cancel))
}

async fn on_book(door: Arc<Door>, cx: Ctx, wish: Book) -> Result<Booked, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(book(&mut *cx.tx().await?, door.schema(), &mark, &wish).await?)
}

async fn on_cancel(door: Arc<Door>, cx: Ctx, _: Undo<Book, Booked>) -> Result<(), Fail> {
    let mark = door.enter(&cx, Way::Back, None, Refusing::Never).await?;
    Ok(cancel(&mut *cx.tx().await?, door.schema(), &mark).await?)
}

/// Writes down the towns and what there is in each; one that is there already stays as it is.
pub(crate) async fn open(
    db: &mut PgConnection,
    books: &str,
    towns: impl Iterator<Item = (&'static str, i64)>,
    price_cents: i64,
) -> Result<(), sqlx::Error> {
    let (towns, units): (Vec<&str>, Vec<i64>) = towns.unzip();
    let text = "INSERT INTO __books__.capacity (town, free, price_cents)
         SELECT town, units, $3 FROM unnest($1::text[], $2::bigint[]) AS t (town, units)
         ON CONFLICT DO NOTHING";
    sqlx::query(sql(books, text)).bind(towns).bind(units).bind(price_cents).execute(db).await?;
    Ok(())
}

/// Books, or refuses if there is not enough left.
pub(crate) async fn book(db: &mut PgConnection, books: &str, mark: &Mark, wish: &Book) -> Result<Booked, No> {
    if !(1..=UNITS_MAX).contains(&wish.units) || !(1..=DAYS_MAX).contains(&wish.days) {
        let message = format!("a booking is for 1 to {UNITS_MAX} units and 1 to {DAYS_MAX} days");
        return Err(No::refused("bad_booking", message));
    }
    let text = "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $7 THEN pg_advisory_xact_lock(hashtextextended('snorri-__books__', 0)) END),
        taken AS (
            UPDATE __books__.capacity SET free = free - $5, booked = booked + $5
            WHERE town = $4 AND free >= $5 AND (SELECT count(*) FROM turn) = 1 RETURNING town, price_cents),
        kept AS (
            INSERT INTO __books__.bookings (saga, step, customer, town, units, price_cents)
            SELECT $1, $2, $3, town, $5, price_cents * $5 * $6 FROM taken RETURNING id, price_cents),
        journal AS (
            INSERT INTO __books__.effects (saga, step, operation, direction)
            SELECT $1, $2, 'book', 'action' FROM kept)
        SELECT (SELECT id FROM kept) AS id, (SELECT price_cents FROM kept) AS price_cents,
               EXISTS (SELECT FROM __books__.capacity WHERE town = $4) AS known";
    let row = sqlx::query(sql(books, text))
        .bind(mark.saga)
        .bind(&mark.step)
        .bind(&wish.customer)
        .bind(&wish.town)
        .bind(wish.units)
        .bind(wish.days)
        .bind(mark.take_turns)
        .fetch_one(db)
        .await?;
    match (row.try_get("id")?, row.try_get("price_cents")?) {
        (Some(booking_id), Some(price_cents)) => Ok(Booked { booking_id, price_cents }),
        _ if row.try_get("known")? => Err(No::refused("full", "there is not enough left in this town")),
        _ => Err(No::refused("town_unknown", "nothing can be booked in this town")),
    }
}

/// Cancels what the step booked. It is asked only if the step's action was applied: the SDK's barrier answers for all
/// other cases. So it writes its line in the journal in any case, and the audit judges.
pub(crate) async fn cancel(db: &mut PgConnection, books: &str, mark: &Mark) -> Result<(), No> {
    let text = "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $3 THEN pg_advisory_xact_lock(hashtextextended('snorri-__books__', 0)) END),
        undone AS (
            UPDATE __books__.bookings SET state = 'cancelled'
            WHERE saga = $1 AND step = $2 AND state = 'booked' AND (SELECT count(*) FROM turn) = 1
            RETURNING town, units),
        back AS (SELECT town, sum(units)::bigint AS units FROM undone GROUP BY town),
        given AS (
            UPDATE __books__.capacity SET free = free + back.units, booked = booked - back.units
            FROM back WHERE capacity.town = back.town)
        INSERT INTO __books__.effects (saga, step, operation, direction)
        VALUES ($1, $2, 'book', 'compensation')";
    sqlx::query(sql(books, text)).bind(mark.saga).bind(&mark.step).bind(mark.take_turns).execute(db).await?;
    Ok(())
}
