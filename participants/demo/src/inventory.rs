//! The service `inventory`: units of articles, free, reserved or shipped. `reserve` takes from the free ones
//! and `release` is its undo; `dispatch` lets reserved units leave the house.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snorri_participant::{Ctx, Fail, Participant, Undo};
use sqlx::{PgConnection, Row as _};

use crate::books::{Mark, No};
use crate::run::{Door, Way, at};
use crate::troubles::{Refusing, Wishes};
use crate::world::{QUANTITY_BEYOND_ALL, World};

/// The most lines of one reservation.
const LINES_MAX: usize = 100;

/// What `reserve` is asked; the rest of an order does not concern it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Reserve {
    /// What to reserve.
    pub(crate) lines: Vec<Line>,
    /// Trouble on purpose.
    #[serde(default)]
    pub(crate) trouble: Wishes,
}

/// So many units of an article.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Line {
    /// The article.
    pub(crate) sku: String,
    /// How many units.
    pub(crate) quantity: i64,
}

/// What `reserve` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reserved {
    /// The reservation's number.
    pub(crate) reservation_id: i64,
    /// How many units were reserved in all.
    pub(crate) units: i64,
}

/// What `dispatch` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dispatch {
    /// The reservation's number.
    pub(crate) reservation_id: i64,
}

/// What `dispatch` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dispatched {
    /// How many units left the house.
    pub(crate) units: i64,
}

/// What this service answers.
pub(crate) fn handlers(participant: Participant, door: &Arc<Door>) -> Participant {
    participant
        .action("reserve", at(door, on_reserve))
        .compensation("release", at(door, on_release))
        .action("dispatch", at(door, on_dispatch))
}

async fn on_reserve(door: Arc<Door>, cx: Ctx, wish: Reserve) -> Result<Reserved, Fail> {
    let mark = door.enter(&cx, Way::Forth, wish.trouble.inventory.as_ref(), Refusing::Allowed).await?;
    Ok(reserve(&mut *cx.tx().await?, &mark, &wish).await?)
}

async fn on_release(door: Arc<Door>, cx: Ctx, undo: Undo<Reserve, Reserved>) -> Result<(), Fail> {
    let mark = door.enter(&cx, Way::Back, undo.input.trouble.inventory.as_ref(), Refusing::Never).await?;
    Ok(release(&mut *cx.tx().await?, &mark).await?)
}

async fn on_dispatch(door: Arc<Door>, cx: Ctx, wish: Dispatch) -> Result<Dispatched, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(dispatch(&mut *cx.tx().await?, &mark, &wish).await?)
}

/// Fills the shelves; an article that is there already stays as it is.
pub(crate) async fn open(db: &mut PgConnection, world: &World) -> Result<(), sqlx::Error> {
    let (skus, units): (Vec<String>, Vec<i64>) =
        (0..world.skus).map(|number| (World::sku(number), world.stock_of(number))).unzip();
    sqlx::query(
        "INSERT INTO inventory.stock (sku, free) SELECT * FROM unnest($1::text[], $2::bigint[])
         ON CONFLICT DO NOTHING",
    )
    .bind(skus)
    .bind(units)
    .execute(db)
    .await?;
    Ok(())
}

/// Reserves all lines, or none.
pub(crate) async fn reserve(db: &mut PgConnection, mark: &Mark, wish: &Reserve) -> Result<Reserved, No> {
    if wish.lines.is_empty() || wish.lines.len() > LINES_MAX {
        return Err(No::refused("bad_order", format!("an order has 1 to {LINES_MAX} lines")));
    }
    if wish.lines.iter().any(|line| !(1..=QUANTITY_BEYOND_ALL).contains(&line.quantity)) {
        return Err(No::refused("bad_order", "a line has at least one unit, and no absurd number of them"));
    }
    let (skus, quantities): (Vec<&str>, Vec<i64>) =
        wish.lines.iter().map(|line| (line.sku.as_str(), line.quantity)).unzip();
    // The rows are locked in the order of their names, so that two orders for the same articles wait for
    // each other instead of blocking each other; `shelf.free` is the value after that wait. Here and below
    // the locking SELECT joins nothing: after a wait Postgres checks its condition again, and rows that
    // came in by a join of `IN (SELECT ...)` can drop out then.
    let row = sqlx::query(
        "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $5 THEN pg_advisory_xact_lock(hashtextextended('snorri-demo-stock', 0)) END),
        wanted AS MATERIALIZED (
            SELECT sku, sum(quantity)::bigint AS quantity
            FROM unnest($3::text[], $4::bigint[]) AS line (sku, quantity) GROUP BY sku),
        shelf AS MATERIALIZED (
            SELECT sku, free FROM inventory.stock
            WHERE sku = ANY ($3) AND (SELECT count(*) FROM turn) = 1
            ORDER BY sku FOR UPDATE),
        short AS MATERIALIZED (
            SELECT wanted.sku, shelf.free FROM wanted LEFT JOIN shelf USING (sku)
            WHERE shelf.free IS NULL OR shelf.free < wanted.quantity ORDER BY wanted.sku LIMIT 1),
        taken AS (
            UPDATE inventory.stock SET free = stock.free - wanted.quantity,
                                       reserved = stock.reserved + wanted.quantity
            FROM wanted WHERE stock.sku = wanted.sku AND NOT EXISTS (SELECT FROM short)),
        kept AS (
            INSERT INTO inventory.reservations (saga, step, skus, quantities, units)
            SELECT $1, $2, array_agg(sku), array_agg(quantity), sum(quantity) FROM wanted
            HAVING NOT EXISTS (SELECT FROM short) RETURNING id, units),
        journal AS (
            INSERT INTO inventory.effects (saga, step, operation, direction)
            SELECT $1, $2, 'reserve', 'action' FROM kept)
        SELECT (SELECT id FROM kept) AS id, (SELECT units FROM kept) AS units,
               (SELECT sku FROM short) AS short, (SELECT free FROM short) AS free",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .bind(&skus)
    .bind(&quantities)
    .bind(mark.take_turns)
    .fetch_one(db)
    .await?;
    if let (Some(reservation_id), Some(units)) = (row.try_get("id")?, row.try_get("units")?) {
        return Ok(Reserved { reservation_id, units });
    }
    let short = row.try_get::<Option<String>, _>("short")?.unwrap_or_default();
    Err(match row.try_get::<Option<i64>, _>("free")? {
        Some(free) => No::refused("out_of_stock", format!("of {short} there are only {free} left")),
        None => No::refused("sku_unknown", format!("there is no article {short}")),
    })
}

/// Puts back what the step reserved. It is asked only if the step's action was applied: the SDK's barrier
/// answers for all other cases. So it writes its line in the journal in any case, and the audit judges.
pub(crate) async fn release(db: &mut PgConnection, mark: &Mark) -> Result<(), No> {
    sqlx::query(
        "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $3 THEN pg_advisory_xact_lock(hashtextextended('snorri-demo-stock', 0)) END),
        undone AS (
            UPDATE inventory.reservations SET state = 'released'
            WHERE saga = $1 AND step = $2 AND state = 'reserved' RETURNING skus, quantities),
        back AS MATERIALIZED (
            SELECT line.sku, sum(line.quantity)::bigint AS quantity
            FROM undone, unnest(undone.skus, undone.quantities) AS line (sku, quantity) GROUP BY line.sku),
        shelf AS MATERIALIZED (
            SELECT sku FROM inventory.stock
            WHERE sku = ANY (ARRAY (SELECT sku FROM back)) AND (SELECT count(*) FROM turn) = 1
            ORDER BY sku FOR UPDATE),
        given AS (
            UPDATE inventory.stock SET free = stock.free + back.quantity,
                                       reserved = stock.reserved - back.quantity
            FROM back JOIN shelf USING (sku) WHERE stock.sku = back.sku)
        INSERT INTO inventory.effects (saga, step, operation, direction)
        VALUES ($1, $2, 'reserve', 'compensation')",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .bind(mark.take_turns)
    .execute(db)
    .await?;
    Ok(())
}

/// Lets the reserved units leave the house.
pub(crate) async fn dispatch(db: &mut PgConnection, mark: &Mark, wish: &Dispatch) -> Result<Dispatched, No> {
    let units: Option<i64> = sqlx::query_scalar(
        "WITH turn AS MATERIALIZED (
            SELECT CASE WHEN $4 THEN pg_advisory_xact_lock(hashtextextended('snorri-demo-stock', 0)) END),
        gone AS (
            UPDATE inventory.reservations SET state = 'shipped'
            WHERE id = $3 AND saga = $1 AND state = 'reserved' RETURNING skus, quantities, units),
        lines AS MATERIALIZED (
            SELECT line.sku, line.quantity
            FROM gone, unnest(gone.skus, gone.quantities) AS line (sku, quantity)),
        shelf AS MATERIALIZED (
            SELECT sku FROM inventory.stock
            WHERE sku = ANY (ARRAY (SELECT sku FROM lines)) AND (SELECT count(*) FROM turn) = 1
            ORDER BY sku FOR UPDATE),
        taken AS (
            UPDATE inventory.stock SET reserved = stock.reserved - lines.quantity,
                                       shipped = stock.shipped + lines.quantity
            FROM lines JOIN shelf USING (sku) WHERE stock.sku = lines.sku),
        journal AS (
            INSERT INTO inventory.effects (saga, step, operation, direction)
            SELECT $1, $2, 'dispatch', 'action' FROM gone)
        SELECT units FROM gone",
    )
    .bind(mark.saga)
    .bind(&mark.step)
    .bind(wish.reservation_id)
    .bind(mark.take_turns)
    .fetch_optional(db)
    .await?;
    units
        .map(|units| Dispatched { units })
        .ok_or_else(|| No::refused("reservation_unknown", "this saga has no such reservation open"))
}
