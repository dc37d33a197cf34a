//! The service `mail`: letters. What was sent cannot be unsent, but another letter can take it back: that is what
//! `retract`, the undo of `send`, does. `notify` is for steps that must succeed: it takes every address.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snorri_participant::{Ctx, Fail, Participant, Undo};
use sqlx::PgConnection;

use super::sql;
use crate::books::{Mark, No};
use crate::run::{Door, Way, at};
use crate::troubles::Refusing;

const BOOKS: &str = "mail";

/// What `send` and `notify` are asked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Letter {
    /// The address.
    pub(crate) to: String,
    /// What it is about.
    pub(crate) subject: String,
}

/// What `send` and `notify` answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// The letter's number.
    pub(crate) letter_id: i64,
}

/// What this service answers.
pub(crate) fn handlers(participant: Participant, door: &Arc<Door>) -> Participant {
    participant
        .action("send", at(door, on_send))
        .compensation("retract", at(door, on_retract))
        .action("notify", at(door, on_notify))
}

async fn on_send(door: Arc<Door>, cx: Ctx, letter: Letter) -> Result<Sent, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(send(&mut *cx.tx().await?, &mark, &letter).await?)
}

async fn on_retract(door: Arc<Door>, cx: Ctx, _: Undo<Letter, Sent>) -> Result<(), Fail> {
    let mark = door.enter(&cx, Way::Back, None, Refusing::Never).await?;
    Ok(retract(&mut *cx.tx().await?, &mark).await?)
}

async fn on_notify(door: Arc<Door>, cx: Ctx, letter: Letter) -> Result<Sent, Fail> {
    let mark = door.enter(&cx, Way::Forth, None, Refusing::Never).await?;
    Ok(notify(&mut *cx.tx().await?, &mark, &letter).await?)
}

/// Whether somebody has the address. The domain `invalid` is nobody's, by RFC 2606.
fn is_deliverable(address: &str) -> bool {
    address.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty() && !domain.is_empty() && domain != "invalid" && !domain.ends_with(".invalid")
    })
}

/// Sends a letter, or refuses if nobody has the address.
pub(crate) async fn send(db: &mut PgConnection, mark: &Mark, letter: &Letter) -> Result<Sent, No> {
    if !is_deliverable(&letter.to) {
        return Err(No::refused("address_unknown", "nobody has this address"));
    }
    Ok(write(db, mark, letter, "send", "sent").await?)
}

/// Sends a letter. A letter that cannot be delivered is written down as such, and the step is done all the same:
/// behind the point of no return a refusal would help nobody.
pub(crate) async fn notify(db: &mut PgConnection, mark: &Mark, letter: &Letter) -> Result<Sent, No> {
    let state = if is_deliverable(&letter.to) { "sent" } else { "bounced" };
    Ok(write(db, mark, letter, "notify", state).await?)
}

async fn write(
    db: &mut PgConnection,
    mark: &Mark,
    letter: &Letter,
    operation: &str,
    state: &str,
) -> Result<Sent, sqlx::Error> {
    let text = "WITH journal AS (
            INSERT INTO __books__.effects (saga, step, operation, direction) VALUES ($1, $2, $5, 'action'))
        INSERT INTO __books__.letters (saga, step, recipient, subject, state)
        VALUES ($1, $2, $3, $4, $6) RETURNING id";
    let letter_id = sqlx::query_scalar(sql(BOOKS, text))
        .bind(mark.saga)
        .bind(&mark.step)
        .bind(&letter.to)
        .bind(&letter.subject)
        .bind(operation)
        .bind(state)
        .fetch_one(db)
        .await?;
    Ok(Sent { letter_id })
}

/// Takes back what the step sent. It is asked only if the step's action was applied: the SDK's barrier answers for all
/// other cases. So it writes its line in the journal in any case, and the audit judges.
pub(crate) async fn retract(db: &mut PgConnection, mark: &Mark) -> Result<(), No> {
    let text = "WITH undone AS (
            UPDATE __books__.letters SET state = 'retracted'
            WHERE saga = $1 AND step = $2 AND state = 'sent')
        INSERT INTO __books__.effects (saga, step, operation, direction)
        VALUES ($1, $2, 'send', 'compensation')";
    sqlx::query(sql(BOOKS, text)).bind(mark.saga).bind(&mark.step).execute(db).await?;
    Ok(())
}
