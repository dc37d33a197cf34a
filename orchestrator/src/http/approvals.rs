//! `POST /v1/sagas/{id}/approvals/{step}`: a person says yes or no.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use snorri_saga::ids::SagaId;

use super::params::{Params, name, saga_id};
use super::{Rest, body, gate, said};
use crate::acts::Decision;
use crate::problem::Problem;

/// How long a decision may take.
const DECISION_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest body of a decision, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
const BODY_DEPTH_MAX: usize = 4;
/// The longest comment, in bytes.
const COMMENT_BYTES_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionBody {
    approve: bool,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    comment: Option<String>,
}

#[derive(Debug, Serialize)]
struct DecisionView<'a> {
    id: SagaId,
    status: &'a str,
    step: &'a str,
    approved: bool,
    /// A no was said: what is under way is awaited; then everything is undone.
    stopping: bool,
    /// Why it is undone, when it is.
    cause: Option<&'a str>,
}

/// Decides on an approval.
pub(super) async fn decide(
    State(rest): State<Arc<Rest>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    gate::run(&rest, "POST /v1/sagas/{id}/approvals/{step}", say(&rest, path, request)).await
}

async fn say(
    rest: &Rest,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, BODY_BYTES_MAX).await?;
    let Path((id, word)) = path.map_err(|error| Problem::bad_request(&error.body_text()))?;
    let (saga, step) = (saga_id(&id)?, name("step", &word)?);
    Params::of(&parts.uri, &[])?;
    body::expect_json(&parts.headers)?;
    let DecisionBody { approve, by, comment } = body::parse(&bytes, BODY_DEPTH_MAX)?;
    // An approval that nobody gave is none: unlike a cancellation, it must say who.
    let by = said::by(by, &parts.headers)?.ok_or_else(|| {
        Problem::bad_request("`by` says who decides; it may come as the header `Snorri-By`")
    })?;
    if let Some(comment) = &comment {
        said::sentence("comment", comment, COMMENT_BYTES_MAX)?;
    }
    if rest.api.engine.is_postgres_down() {
        return Err(Problem::unavailable());
    }
    let decision = Decision { saga, step: step.clone(), approve, by, comment: comment.unwrap_or_default() };
    let acted = rest.acts().decide(decision, DECISION_TIMEOUT).await?;
    let saga = &acted.saga;
    let view = DecisionView {
        id: saga.id,
        status: saga.status().as_str(),
        step: step.as_str(),
        approved: approve,
        stopping: saga.stopping.is_some(),
        cause: saga.cause.as_ref().map(snorri_saga::journal::Cause::code),
    };
    let mut response = body::json(StatusCode::OK, &view)?;
    if acted.is_replay {
        said::mark_replayed(&mut response);
    }
    if let Ok(location) = HeaderValue::try_from(format!("/v1/sagas/{}", saga.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
