//! The port to the database: what the loop and the barrier ask of it, and nothing more.
//!
//! A participant gets its database by [`Participant::database`](crate::Participant::database), which is
//! [`Postgres`] behind this port. A service needs nothing of this module. It is there so that the same loop and
//! the same barrier can run over a model of a database, with faults that no real one shows on demand:
//! [`Participant::store`](crate::Participant::store).
//!
//! The barrier has one row for each operation of each step of each saga, so an [`EffectId`] is a row's key.
//! Inserting the row *is* taking the turn. A row whose outcome is `failed` can be taken again, by a later attempt than it
//! answered, and a compensation's row without an outcome by any: the version before failures were kept commits one, when
//! it comes upon the undo of an action whose failure this one has kept, beside commands that it does. The laws that every store must keep:
//!
//! * A transaction that asks for a turn which another, open one has asked for waits for that one's end, and then sees
//!   what it left: of several attempts that find a failure, one takes the turn. Two that share several turns must not
//!   wait for each other in a circle.
//! * Each call sees what was committed before it was made, and all that its own transaction did (READ COMMITTED).
//! * A transaction that is dropped is rolled back, at whatever await its future was dropped.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use snorri_saga::ids::{CommandId, EffectId};

use crate::fail::{self, Trouble};

pub use crate::postgres::{PgTransaction, Postgres};
/// What the traits here are made with, for those who implement them.
pub use async_trait::async_trait;

/// A database with a barrier in it.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Makes the barrier's tables, or brings them up to date. Called at the start, again and again while the
    /// answer is [`StoreError::Away`] or [`StoreError::Contended`]. Any other error ends the participant.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Whether it answers and can be written to. Asked only after trouble, before more commands are pulled.
    async fn is_writable(&self) -> bool;

    /// Begins a transaction.
    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError>;

    /// Forgets some of the rows of sagas that began longer ago than this, and says how many. It is called again soon
    /// until there are none. May be dropped and called anew at any time.
    async fn forget_old(&self, retention: Duration) -> Result<u64, StoreError>;

    /// The time by which the barrier judges whether it may have forgotten a saga already. A store whose sagas'
    /// ids tell no time says [`SystemTime::UNIX_EPOCH`]: then none is ever too old.
    fn now(&self) -> SystemTime;
}

/// An open transaction, in this order: turns are [taken](Transaction::take_turns), and read where they were not
/// free; handlers write in their turns, one after the other, each turn with its [end](Transaction::end_turn);
/// what is to be answered is [stored](Transaction::complete), what may run again is
/// [taken back](Transaction::take_back); commit or rollback.
#[async_trait]
pub trait Transaction: Send {
    /// Takes the turns that are free, and says for each command, in the order given, which of them it has. For an
    /// action that is its own row. For a compensation it is the row of the action with the outcome `tombstone`,
    /// and its own. A turn is free when its row is missing, or has the outcome `failed` and an attempt that is lower
    /// than the command's; for the tombstone, whatever the attempt; or is a compensation's and was committed without
    /// an outcome. The command's own row has no outcome then, and
    /// the command's attempt. Called once, and no two of the commands are of the same step.
    async fn take_turns(&mut self, commands: &[&CommandId]) -> Result<Vec<Turns>, StoreError>;

    /// Both rows of the step of each effect, in the order given.
    async fn rows(&mut self, effects: &[&EffectId]) -> Result<Vec<StepRows>, StoreError>;

    /// A handler's turn is over: what was written in it counts with this transaction, or is undone. Told of
    /// each turn whose handler ran to a verdict, also when it wrote nothing. A turn whose end is not told ends
    /// with the transaction, which is not committed then. Asks nothing of the database by itself: a failure to undo
    /// shows in the next call.
    fn end_turn(&mut self, effect: &EffectId, keep: bool);

    /// Stores outcome and reply in rows whose turns this transaction has, and says how many of them were there.
    async fn complete(&mut self, done: &[Done<'_>]) -> Result<u64, StoreError>;

    /// Deletes rows whose turns this transaction has: as if these commands had never come.
    async fn take_back(&mut self, effects: &[&EffectId]) -> Result<(), StoreError>;

    /// Commits. After [`StoreError::Away`] or [`StoreError::CommitUnknown`], and when the future is dropped, it
    /// may have happened or not; after any other error it has not.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;

    /// Undoes everything and makes the connection free for others.
    async fn rollback(self: Box<Self>) -> Result<(), StoreError>;

    /// Resolves when it is known that the transaction is over without its user's doing, because its server is gone and
    /// another one answers in its place. Where nothing tells of that: never.
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }

    /// The transaction for [`Ctx::tx`](crate::Ctx::tx), where there is a Postgres behind it.
    fn as_postgres(&mut self) -> Option<&mut PgTransaction> {
        None
    }
}

/// Whether a transaction has the turn of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Turn {
    /// No: the row has its answer already, or was not asked for.
    #[default]
    Past,
    /// Yes, and there was no row before, or none with an answer.
    First,
    /// Yes, after a failure.
    Again,
}

/// Which turns of a step a transaction has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns {
    /// That of the action.
    pub action: Turn,
    /// That of the compensation.
    pub compensation: Turn,
}

/// What the barrier knows of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepRows {
    /// Of its action.
    pub action: Option<Row>,
    /// Of its compensation.
    pub compensation: Option<Row>,
}

/// One row of the barrier, without its key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// How it ended, in a word: `ok`, `rejected`, `partial`, `empty`, `tombstone` for an action that must
    /// not run any more, or `failed` for what only a later attempt may do. None while its transaction is open, and in
    /// rows that nobody answered from.
    pub outcome: Option<String>,
    /// The reply's body, to be sent again to duplicates. While a turn is had again it may be that of the failure.
    pub reply: Option<String>,
    /// The attempt of the command whose turn it was. None in tombstones, and in rows of before it was kept.
    pub attempt: Option<u32>,
}

impl Row {
    /// Whether it ended so.
    pub(crate) fn is(&self, outcome: &str) -> bool {
        self.outcome.as_deref() == Some(outcome)
    }
}

/// What is to be stored for one effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<'a> {
    /// The row's key.
    pub effect: &'a EffectId,
    /// How it ended, in a word.
    pub outcome: &'static str,
    /// The reply's body.
    pub reply: String,
}

/// Why the database did not do what it was asked to. The texts go into logs and replies: no values, no secrets.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away, or cannot be written to just now: the command comes again, and none are pulled until
    /// [`Store::is_writable`].
    #[error("the database is away: {0}")]
    Away(String),
    /// Another transaction is in the way: the command comes again.
    #[error("another transaction is in the way: {0}")]
    Contended(String),
    /// The commit was asked for and not answered. Treated as [`StoreError::Away`]: the command comes again, and
    /// the barrier finds out.
    #[error("it is not known whether the transaction was committed: {0}")]
    CommitUnknown(String),
    /// Anything else: the attempt has failed.
    #[error("{0}")]
    Other(String),
    /// Postgres or the way to it. Its kind tells which of the above it amounts to.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

impl StoreError {
    /// A row that this transaction must have is not there.
    pub(crate) fn row_missing() -> Self {
        Self::Other("a row that should be there is not".to_owned())
    }

    /// What it means for a command.
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::Away(_) | Self::CommitUnknown(_) => Trouble::Away,
            Self::Contended(_) => Trouble::Contended,
            Self::Other(_) => Trouble::Other,
            Self::Sql(error) => fail::trouble(error),
        }
    }

    /// What may be told of it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Sql(error) => fail::describe(error),
            own => own.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_any_store_means_one_of_the_troubles() {
        let text = || "x".to_owned();
        for (error, trouble) in [
            (StoreError::Away(text()), Trouble::Away),
            (StoreError::CommitUnknown(text()), Trouble::Away),
            (StoreError::Contended(text()), Trouble::Contended),
            (StoreError::Other(text()), Trouble::Other),
            (StoreError::Sql(sqlx::Error::PoolTimedOut), Trouble::Away),
            (StoreError::Sql(sqlx::Error::RowNotFound), Trouble::Other),
        ] {
            assert_eq!(error.trouble(), trouble, "{error:?}");
        }
    }

    #[test]
    fn of_an_error_of_postgres_no_statement_is_told() {
        let error = StoreError::Sql(sqlx::Error::Protocol("SELECT secret".to_owned()));
        assert_eq!(error.describe(), "database error");
        assert!(error.to_string().contains("secret"), "but the operator's log at the start may have it");
    }
}
