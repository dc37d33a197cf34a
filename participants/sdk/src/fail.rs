//! How a handler says no.

use std::time::Duration;

use snorri_saga::time::Millis;
use snorri_saga::wire::Outcome;

/// Why an operation was not done. There are two kinds, and the difference matters:
/// *rejected* is final (the saga turns round and compensates), *failed* means try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fail {
    kind: Kind,
    message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Rejected { code: String, partial: bool },
    Failed { retry_after: Option<Duration> },
    Unavailable,
}

impl Fail {
    /// A final no for a business reason. It promises that no effect is left; what the handler wrote in its
    /// transaction is rolled back. `code` is a stable word for programs, such as `out_of_stock`; `message`
    /// is for people and must hold no secrets.
    pub fn rejected(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: Kind::Rejected { code: code.into(), partial: false }, message: message.into() }
    }

    /// Not now: to be tried again, as the definition's retry policy says. What the handler wrote in its
    /// transaction is rolled back, and this attempt will not run again. It promises that no effect is left, outside
    /// of the transaction either: when the attempts are used up, nothing may be undone.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed { retry_after: None }, message: message.into() }
    }

    /// The database is away or busy: the command is to be delivered again, without an answer, so that some
    /// seconds of trouble do not use up the step's attempts.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unavailable, message: message.into() }
    }

    /// With a rejection: an effect outside of the transaction may be left, so the step is to be undone.
    #[must_use]
    pub fn partial(mut self) -> Self {
        if let Kind::Rejected { partial, .. } = &mut self.kind {
            *partial = true;
        }
        self
    }

    /// With a failure: no sooner than in.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        if let Kind::Failed { retry_after } = &mut self.kind {
            *retry_after = Some(delay);
        }
        self
    }

    /// What people will read.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn is_unavailable(&self) -> bool {
        self.kind == Kind::Unavailable
    }

    /// As the outcome that goes into the reply.
    pub(crate) fn into_outcome(self) -> Outcome {
        let message = self.message;
        match self.kind {
            Kind::Rejected { code, partial } => Outcome::Rejected { code, message, partial },
            Kind::Failed { retry_after } => Outcome::Failed {
                message,
                retry_after: retry_after
                    .map(|delay| Millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))),
            },
            Kind::Unavailable => Outcome::Failed { message, retry_after: None },
        }
    }
}

/// What a database error means for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The database is away, or cannot be written to just now.
    Away,
    /// Another transaction is in the way.
    Contended,
    /// An earlier statement of this transaction failed and nobody cared.
    Aborted,
    /// Anything else: the statement's own fault.
    Other,
}

/// Sorts a database error.
pub(crate) fn trouble(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("25006") => Trouble::Away,
            Some("25P02") => Trouble::Aborted,
            Some("40001" | "40P01" | "55P03") => Trouble::Contended,
            Some(code) if ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class)) => {
                Trouble::Away
            }
            _ => Trouble::Other,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Trouble::Away,
        _ => Trouble::Other,
    }
}

/// What may be told of a database error: no statement, no value, no name of a person.
pub(crate) fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let state = error.code().unwrap_or_default();
            match error.constraint() {
                Some(constraint) => format!("database error, SQLSTATE {state}, constraint {constraint}"),
                None => format!("database error, SQLSTATE {state}"),
            }
        }
        sqlx::Error::Io(_) => "the connection to the database was lost".to_owned(),
        sqlx::Error::PoolTimedOut => "no database connection became free in time".to_owned(),
        sqlx::Error::RowNotFound => "a row that should be there is not".to_owned(),
        _ => "database error".to_owned(),
    }
}

impl From<sqlx::Error> for Fail {
    fn from(error: sqlx::Error) -> Self {
        match trouble(&error) {
            Trouble::Away | Trouble::Contended => Self::unavailable(describe(&error)),
            Trouble::Aborted | Trouble::Other => Self::failed(describe(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_and_retry_after_stick_to_their_kind() {
        let outcome =
            Fail::rejected("no", "really").partial().retry_after(Duration::from_secs(1)).into_outcome();
        assert_eq!(
            outcome,
            Outcome::Rejected { code: "no".to_owned(), message: "really".to_owned(), partial: true }
        );
        let outcome = Fail::failed("later").partial().retry_after(Duration::from_millis(1500)).into_outcome();
        assert_eq!(outcome, Outcome::Failed { message: "later".to_owned(), retry_after: Some(Millis(1500)) });
    }

    #[test]
    fn a_lost_database_asks_for_another_delivery_and_a_wrong_statement_is_a_failure() {
        assert!(Fail::from(sqlx::Error::PoolTimedOut).is_unavailable());
        assert!(!Fail::from(sqlx::Error::RowNotFound).is_unavailable());
    }
}
