//! The service `catalogue`: articles of suppliers, taken in by imports. `open` begins one and `discard` is its undo;
//! `put` stages an article and `remove` is its undo; `publish` shows all of them at once, and is for good.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snorri_participant::{Ctx, Fail, Participant, Undo};
use sqlx::{PgConnection, Row as _};

use super::{SUPPLIERS, sql};
use crate::books::{Mark, No};
use crate::run::{Door, Way, at};
use crate::troubles::Refusing;
use crate::world::CENTS_BEYOND_ALL;

const BOOKS: &str = "catalogue";

/// What `open` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Open {
    /// Whose articles they are.
    pub(crate) supplier: String,
}

/// What `open` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// The import's number.
    pub(crate) import_id: i64,
}

/// What `put` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Put {
    /// The import's number.
    pub(crate) import_id: i64,
    /// The article.
    pub(crate) sku: String,
    /// Its price, in cents.
    pub(crate) price_cents: i64,
}

/// What `put` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staged {
    /// The article's number.
    pub(crate) article_id: i64,
}

/// What `publish` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Publish {
    /// The import's number.
    pub(crate) import_id: i64,
    /// How many articles it must have.
    pub(crate) articles: i64,
}

/// What `publish` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// How many articles it has.
    pub(crate) articles: i64,
}

/// What this service answers.
pub(crate) fn handlers(participant: Participant, door: &Arc<Door>) -> Participant {
    participant
        .action("open", at(door, on_open))
        .compensation("discard", at(door, on_discard))
        .action("put", at(door, on_put))
        .compensation("remove", at(door, on_remove))
        .action("publish", at(door, on_publish))
}

async fn on_open(door: Arc<Door>, cx: Ctx, wish: Open) -> Result<Opened, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(open(&mut *cx.tx().await?, &mark, &wish).await?)
}

async fn on_discard(door: Arc<Door>, cx: Ctx, _: Undo<Open, Opened>) -> Result<(), Fail> {
    let mark = door.enter(&cx, Way::Back, None, Refusing::Never).await?;
    Ok(discard(&mut *cx.tx().await?, &mark).await?)
}

async fn on_put(door: Arc<Door>, cx: Ctx, wish: Put) -> Result<Staged, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(put(&mut *cx.tx().await?, &mark, &wish).await?)
}

async fn on_remove(door: Arc<Door>, cx: Ctx, _: Undo<Put, Staged>) -> Result<(), Fail> {
    let mark = door.enter(&cx, Way::Back, None, Refusing::Never).await?;
    Ok(remove(&mut *cx.tx().await?, &mark).await?)
}

async fn on_publish(door: Arc<Door>, cx: Ctx, wish: Publish) -> Result<Published, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(publish(&mut *cx.tx().await?, &mark, &wish).await?)
}

/// Writes down the suppliers.
pub(crate) async fn open_books(db: &mut PgConnection, books: &str) -> Result<(), sqlx::Error> {
    let text = "INSERT INTO __books__.suppliers SELECT unnest($1::text[]) ON CONFLICT DO NOTHING";
    sqlx::query(sql(books, text)).bind(SUPPLIERS.as_slice()).execute(db).await?;
    Ok(())
}

/// Begins an import.
pub(crate) async fn open(db: &mut PgConnection, mark: &Mark, wish: &Open) -> Result<Opened, No> {
    let text = "WITH kept AS (
            INSERT INTO __books__.imports (saga, step, supplier)
            SELECT $1, $2, supplier FROM __books__.suppliers WHERE supplier = $3 RETURNING id),
        journal AS (
            INSERT INTO __books__.effects (saga, step, operation, direction)
            SELECT $1, $2, 'open', 'action' FROM kept)
        SELECT id FROM kept";
    let id: Option<i64> = sqlx::query_scalar(sql(BOOKS, text))
        .bind(mark.saga)
        .bind(&mark.step)
        .bind(&wish.supplier)
        .fetch_optional(db)
        .await?;
    id.map(|import_id| Opened { import_id })
        .ok_or_else(|| No::refused("supplier_unknown", "nothing is taken in from this supplier"))
}

/// Discards the import that the step began. It is asked only if the step's action was applied: the SDK's barrier
/// answers for all other cases. So it writes its line in the journal in any case, and the audit judges.
pub(crate) async fn discard(db: &mut PgConnection, mark: &Mark) -> Result<(), No> {
    let text = "WITH undone AS (
            UPDATE __books__.imports SET state = 'discarded'
            WHERE saga = $1 AND step = $2 AND state = 'open')
        INSERT INTO __books__.effects (saga, step, operation, direction)
        VALUES ($1, $2, 'open', 'compensation')";
    sqlx::query(sql(BOOKS, text)).bind(mark.saga).bind(&mark.step).execute(db).await?;
    Ok(())
}

/// Stages an article, unless there is one of that name.
pub(crate) async fn put(db: &mut PgConnection, mark: &Mark, wish: &Put) -> Result<Staged, No> {
    if wish.sku.is_empty() || !(1..=CENTS_BEYOND_ALL).contains(&wish.price_cents) {
        return Err(No::refused("bad_article", "an article has a name and costs at least one cent"));
    }
    // In a statement of its own: what others committed before the lock was given must be seen by the next one.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('snorri-catalogue', 0))")
        .execute(&mut *db)
        .await?;
    // A second effect of the same step is not refused: only the barrier keeps it away, and the audit must see it.
    let text = "WITH import AS (
            SELECT id FROM __books__.imports WHERE id = $3 AND saga = $1 AND state = 'open'),
        kept AS (
            INSERT INTO __books__.articles (saga, step, import_id, sku, price_cents)
            SELECT $1, $2, id, $4, $5 FROM import WHERE NOT EXISTS (
                SELECT FROM __books__.articles
                WHERE sku = $4 AND state <> 'removed' AND NOT (saga = $1 AND step = $2))
            RETURNING id),
        journal AS (
            INSERT INTO __books__.effects (saga, step, operation, direction)
            SELECT $1, $2, 'put', 'action' FROM kept)
        SELECT (SELECT id FROM kept) AS id, EXISTS (SELECT FROM import) AS is_open";
    let row = sqlx::query(sql(BOOKS, text))
        .bind(mark.saga)
        .bind(&mark.step)
        .bind(wish.import_id)
        .bind(&wish.sku)
        .bind(wish.price_cents)
        .fetch_one(db)
        .await?;
    match (row.try_get("id")?, row.try_get("is_open")?) {
        (Some(article_id), _) => Ok(Staged { article_id }),
        (None, true) => Err(No::refused("sku_taken", format!("there is an article {} already", wish.sku))),
        (None, false) => Err(No::refused("import_unknown", "this saga has no such import open")),
    }
}

/// Removes the article that the step staged. It is asked only if the step's action was applied, as above.
pub(crate) async fn remove(db: &mut PgConnection, mark: &Mark) -> Result<(), No> {
    let text = "WITH undone AS (
            UPDATE __books__.articles SET state = 'removed'
            WHERE saga = $1 AND step = $2 AND state = 'staged')
        INSERT INTO __books__.effects (saga, step, operation, direction)
        VALUES ($1, $2, 'put', 'compensation')";
    sqlx::query(sql(BOOKS, text)).bind(mark.saga).bind(&mark.step).execute(db).await?;
    Ok(())
}

/// Shows all articles of an import, if they are all there.
pub(crate) async fn publish(db: &mut PgConnection, mark: &Mark, wish: &Publish) -> Result<Published, No> {
    let text = "WITH import AS MATERIALIZED (
            SELECT id FROM __books__.imports WHERE id = $3 AND saga = $1 AND state = 'open' FOR UPDATE),
        staged AS MATERIALIZED (
            SELECT count(*) AS articles FROM __books__.articles JOIN import ON import_id = import.id
            WHERE state = 'staged'),
        published AS (
            UPDATE __books__.imports SET state = 'published', articles = staged.articles
            FROM import, staged WHERE imports.id = import.id AND staged.articles = $4 RETURNING imports.id),
        listed AS (
            UPDATE __books__.articles SET state = 'listed'
            FROM published WHERE import_id = published.id AND state = 'staged'),
        journal AS (
            INSERT INTO __books__.effects (saga, step, operation, direction)
            SELECT $1, $2, 'publish', 'action' FROM published)
        SELECT (SELECT articles FROM staged) AS articles, EXISTS (SELECT FROM import) AS is_open,
               EXISTS (SELECT FROM published) AS is_published";
    let row = sqlx::query(sql(BOOKS, text))
        .bind(mark.saga)
        .bind(&mark.step)
        .bind(wish.import_id)
        .bind(wish.articles)
        .fetch_one(db)
        .await?;
    let articles = row.try_get("articles")?;
    match (row.try_get("is_published")?, row.try_get("is_open")?) {
        (true, _) => Ok(Published { articles }),
        (false, true) => {
            let message = format!("the import has {articles} articles, and should have {}", wish.articles);
            Err(No::refused("incomplete", message))
        }
        (false, false) => Err(No::refused("import_unknown", "this saga has no such import open")),
    }
}
