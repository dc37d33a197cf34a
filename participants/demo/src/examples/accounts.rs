//! The service `accounts`: who signed up. `create` makes an account that can do nothing yet, `remove` is its undo, and
//! `activate` is for good.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snorri_participant::{Ctx, Fail, Participant, Undo};
use sqlx::PgConnection;

use super::sql;
use crate::books::{Mark, No};
use crate::run::{Door, Way, at};
use crate::troubles::Refusing;

const BOOKS: &str = "accounts";

/// What `create` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Create {
    /// The name that the account is to have.
    pub(crate) name: String,
    /// Where its owner can be written to.
    pub(crate) email: String,
    /// What its owner wants to pay for.
    pub(crate) plan: String,
}

/// What `create` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Created {
    /// The account's number.
    pub(crate) account_id: i64,
}

/// What `activate` is asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Activate {
    /// The account's number.
    pub(crate) account_id: i64,
}

/// What `activate` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Activated {
    /// The account's name.
    pub(crate) name: String,
}

/// What this service answers.
pub(crate) fn handlers(participant: Participant, door: &Arc<Door>) -> Participant {
    participant
        .action("create", at(door, on_create))
        .compensation("remove", at(door, on_remove))
        .action("activate", at(door, on_activate))
}

async fn on_create(door: Arc<Door>, cx: Ctx, wish: Create) -> Result<Created, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(create(&mut *cx.tx().await?, &mark, &wish).await?)
}

async fn on_remove(door: Arc<Door>, cx: Ctx, _: Undo<Create, Created>) -> Result<(), Fail> {
    let mark = door.enter(&cx, Way::Back, None, Refusing::Never).await?;
    Ok(remove(&mut *cx.tx().await?, &mark).await?)
}

async fn on_activate(door: Arc<Door>, cx: Ctx, wish: Activate) -> Result<Activated, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(activate(&mut *cx.tx().await?, &mark, &wish).await?)
}

/// Makes an account.
pub(crate) async fn create(db: &mut PgConnection, mark: &Mark, wish: &Create) -> Result<Created, No> {
    if wish.name.is_empty() || !wish.email.contains('@') {
        return Err(No::refused("bad_account", "an account has a name and an address with an @"));
    }
    // In a statement of its own: what others committed before the lock was given must be seen by the next one.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('snorri-accounts', 0))")
        .execute(&mut *db)
        .await?;
    // A second effect of the same step is not refused: only the barrier keeps it away, and the audit must see it.
    let text = "WITH kept AS (
            INSERT INTO __books__.accounts (saga, step, name, email, plan)
            SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (
                SELECT FROM __books__.accounts
                WHERE name = $3 AND state <> 'removed' AND NOT (saga = $1 AND step = $2))
            RETURNING id),
        journal AS (
            INSERT INTO __books__.effects (saga, step, operation, direction)
            SELECT $1, $2, 'create', 'action' FROM kept)
        SELECT id FROM kept";
    let id: Option<i64> = sqlx::query_scalar(sql(BOOKS, text))
        .bind(mark.saga)
        .bind(&mark.step)
        .bind(&wish.name)
        .bind(&wish.email)
        .bind(&wish.plan)
        .fetch_optional(db)
        .await?;
    id.map(|account_id| Created { account_id })
        .ok_or_else(|| No::refused("name_taken", "there is an account of this name already"))
}

/// Removes the account that the step made. It is asked only if the step's action was applied: the SDK's barrier answers
/// for all other cases. So it writes its line in the journal in any case, and the audit judges.
pub(crate) async fn remove(db: &mut PgConnection, mark: &Mark) -> Result<(), No> {
    let text = "WITH undone AS (
            UPDATE __books__.accounts SET state = 'removed'
            WHERE saga = $1 AND step = $2 AND state = 'pending')
        INSERT INTO __books__.effects (saga, step, operation, direction)
        VALUES ($1, $2, 'create', 'compensation')";
    sqlx::query(sql(BOOKS, text)).bind(mark.saga).bind(&mark.step).execute(db).await?;
    Ok(())
}

/// Lets the saga's account be used.
pub(crate) async fn activate(db: &mut PgConnection, mark: &Mark, wish: &Activate) -> Result<Activated, No> {
    let text = "WITH active AS (
            UPDATE __books__.accounts SET state = 'active'
            WHERE id = $3 AND saga = $1 AND state = 'pending' RETURNING name),
        journal AS (
            INSERT INTO __books__.effects (saga, step, operation, direction)
            SELECT $1, $2, 'activate', 'action' FROM active)
        SELECT name FROM active";
    let name: Option<String> = sqlx::query_scalar(sql(BOOKS, text))
        .bind(mark.saga)
        .bind(&mark.step)
        .bind(wish.account_id)
        .fetch_optional(db)
        .await?;
    name.map(|name| Activated { name })
        .ok_or_else(|| No::refused("account_unknown", "this saga has no such account pending"))
}
