//! Errors as responses: each becomes a problem document. Text of the database goes to the log only.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use snorri_language::diagnostic::{Diagnostic, Severity};
use snorri_saga::decide::Refusal;

use crate::engine::{ActError, StartError};
use crate::problem::Problem;
use crate::{definitions, store};

/// The content type of problem documents.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = self.to_json().to_string();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(secs) = self.retry_after_secs() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        if error.is_transient() {
            tracing::debug!(error = error.chain(), "postgres did not answer a request");
            return Self::unavailable();
        }
        tracing::error!(error = error.chain(), "a request failed");
        Self::internal("the request could not be handled; the log of this replica has the reason")
    }
}

impl From<definitions::Error> for Problem {
    fn from(error: definitions::Error) -> Self {
        match error {
            definitions::Error::Unknown { .. } => Self::unknown_definition(&error.to_string()),
            definitions::Error::Removed { .. } => Self::removed_definition(&error.to_string()),
            definitions::Error::Invalid { diagnostics, is_readable } => {
                let errors: Vec<Diagnostic> =
                    diagnostics.into_iter().filter(|found| found.severity == Severity::Error).collect();
                Self::invalid_definition(&errors, is_readable)
            }
            definitions::Error::Unreadable(text) => Self::unreadable_definition(&text),
            definitions::Error::Store(error) => error.into(),
        }
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Overloaded(what) => Self::overloaded(what),
            StartError::KeyReused(id) => {
                Self::key_reused(&error.to_string(), "start").with("saga_id", id.to_string().into())
            }
            StartError::InvalidInput(mismatches) => Self::invalid_input(&mismatches),
            StartError::Unavailable => Self::unavailable(),
            StartError::ShuttingDown => Self::shutting_down(),
            StartError::Broken(why) => {
                tracing::error!(why, "a saga could not be started");
                Self::internal("the saga could not be started; the log of this replica has the reason")
            }
        }
    }
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Unknown(id) => Self::unknown_saga(&id.to_string()),
            ActError::Refused(saga, refusal) => {
                let problem = match refusal {
                    Refusal::PastPivot => Self::past_pivot(&refusal.to_string()),
                    Refusal::Ended => Self::ended(&refusal.to_string()),
                    Refusal::NotAwaited => Self::not_awaited(&refusal.to_string()),
                    Refusal::Decided => Self::decided(&refusal.to_string()),
                    Refusal::KeyReused => Self::key_reused(&refusal.to_string(), "signal"),
                    Refusal::Held => Self::held(&refusal.to_string()),
                    Refusal::TooLarge => Self::saga_too_large(&refusal.to_string()),
                    Refusal::Duplicate | Refusal::Stale | Refusal::NeverSent | Refusal::NothingDue => {
                        Self::internal(&refusal.to_string())
                    }
                };
                problem
                    .with("saga_id", saga.id.to_string().into())
                    .with("current_state", saga.status().as_str().into())
            }
            ActError::Unavailable => Self::unavailable(),
            ActError::Overloaded(what) => Self::overloaded(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_says_stays_inside() {
        let problem: Problem = store::Error::Corrupt("card 4111".to_owned()).into();
        assert_eq!(problem.status(), 500);
        assert!(!problem.to_json().to_string().contains("4111"));
        let problem: Problem = StartError::Broken("duplicate key (card)=(4111)".to_owned()).into();
        assert!(!problem.to_json().to_string().contains("4111"));
    }

    #[test]
    fn advice_to_come_again_is_a_header_in_whole_seconds() {
        let response = Problem::rate_limited(1).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(Problem::rate_limited(1001).into_response().headers()[header::RETRY_AFTER], "2");
    }
}
