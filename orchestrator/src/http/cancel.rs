//! `POST /v1/sagas/{id}/cancel`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use snorri_saga::decide::Input;
use snorri_saga::ids::SagaId;

use super::params::{Params, saga_id};
use super::sagas::{Segment, segment};
use super::{Rest, body, gate, said};
use crate::engine::Acted;
use crate::problem::Problem;

/// How long a cancellation may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest body of a cancellation, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
const BODY_DEPTH_MAX: usize = 4;
/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelBody {
    reason: String,
    #[serde(default)]
    by: Option<String>,
}

#[derive(Debug, Serialize)]
struct CancelView<'a> {
    id: SagaId,
    status: &'a str,
    /// The cancellation waits for the action under way to be answered; then everything is undone.
    stopping: bool,
    /// Why it is undone, when it is: perhaps it was before the cancellation came.
    cause: Option<&'a str>,
}

/// Cancels a saga.
pub(super) async fn cancel(State(rest): State<Arc<Rest>>, id: Segment, request: Request) -> Response {
    gate::run(&rest, "POST /v1/sagas/{id}/cancel", act(&rest, id, request)).await
}

async fn act(rest: &Rest, id: Segment, request: Request) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, BODY_BYTES_MAX).await?;
    let id = saga_id(&segment(id)?)?;
    Params::of(&parts.uri, &[])?;
    body::expect_json(&parts.headers)?;
    let CancelBody { reason, by } = body::parse(&bytes, BODY_DEPTH_MAX)?;
    let by = said::by(by, &parts.headers)?.unwrap_or_else(|| "unknown".to_owned());
    said::sentence("reason", &reason, REASON_BYTES_MAX)?;
    if rest.api.engine.is_postgres_down() {
        return Err(Problem::unavailable());
    }
    let Acted { saga, .. } = rest.api.engine.act(id, Input::Cancel { by, reason }, CANCEL_TIMEOUT).await?;
    let view = CancelView {
        id,
        status: saga.status().as_str(),
        stopping: saga.stopping.is_some(),
        cause: saga.cause.as_ref().map(snorri_saga::journal::Cause::code),
    };
    let mut response = body::json(StatusCode::OK, &view)?;
    if let Ok(location) = HeaderValue::try_from(format!("/v1/sagas/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
