//! `POST /v1/sagas/{id}/signals/{name}`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use snorri_saga::json::Json;
use snorri_saga::wire::limit;

use super::params::{Params, name, saga_id};
use super::{Rest, body, gate, said};
use crate::acts::{NotTaken, SIGNAL_BYTES_MAX, Signal};
use crate::intake;
use crate::problem::Problem;

/// How long a signal may take.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The body is one level deeper than the payload in it.
const BODY_DEPTH_MAX: usize = limit::JSON_DEPTH_MAX + 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalBody {
    #[serde(default = "Json::null")]
    payload: Json,
}

/// Gives a saga a signal.
pub(super) async fn signal(
    State(rest): State<Arc<Rest>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    gate::run(&rest, "POST /v1/sagas/{id}/signals/{name}", give(&rest, path, request)).await
}

async fn give(
    rest: &Rest,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, SIGNAL_BYTES_MAX).await?;
    let Path((id, word)) = path.map_err(|error| Problem::bad_request(&error.body_text()))?;
    let (saga, name) = (saga_id(&id)?, name("name", &word)?);
    Params::of(&parts.uri, &[])?;
    // A signal may say nothing but that it is there.
    let payload = if bytes.is_empty() {
        Json::null()
    } else {
        body::expect_json(&parts.headers)?;
        body::parse::<SignalBody>(&bytes, BODY_DEPTH_MAX)?.payload
    };
    let key = match said::key(&parts.headers)? {
        Some(key) => intake::bare_key(key)?,
        None => uuid::Uuid::new_v4().to_string(),
    };
    // It may have been taken all the same: with its key it can be repeated, whoever made the key.
    let later = |problem: Problem| problem.with("key", key.clone().into());
    if rest.api.engine.is_postgres_down() {
        return Err(later(Problem::unavailable()));
    }
    let signal = Signal { saga, name, key: key.clone(), payload };
    let view = rest.acts().signal(signal, SIGNAL_TIMEOUT).await.map_err(|not_taken| match not_taken {
        NotTaken::Later(problem) => later(problem),
        NotTaken::Never(problem) => problem,
    })?;
    // Kept for later, or done with.
    let status =
        if view.taken_by.is_none() && !view.replayed { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut response = body::json(status, &view)?;
    if view.replayed {
        said::mark_replayed(&mut response);
    }
    if let Ok(location) = HeaderValue::try_from(format!("/v1/sagas/{}", view.saga_id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
