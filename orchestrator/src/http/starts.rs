//! `POST /v1/sagas`: the hot path. One parse of the body, one trip through the engine, one small answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use snorri_saga::json::Json;
use snorri_saga::wire::limit;
use tokio::time::{Instant, timeout_at};

use super::{Rest, body, gate, said};
use crate::definitions::{self, Versioned};
use crate::engine::{StartRequest, Started};
use crate::intake;
use crate::problem::Problem;

/// How long a start may take, all in all.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// The body is one level deeper than the input in it.
const BODY_DEPTH_MAX: usize = limit::JSON_DEPTH_MAX + 1;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The body of a start.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StartBody<'a> {
    #[serde(borrow)]
    definition: Cow<'a, str>,
    #[serde(default)]
    version: Option<u32>,
    #[serde(default = "Json::null")]
    input: Json,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// Starts a saga.
pub(super) async fn start(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    gate::run(&rest, gate::STARTS, begin(&rest, request)).await
}

async fn begin(rest: &Rest, request: Request) -> Result<Response, Problem> {
    let api = &rest.api;
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, intake::START_BYTES_MAX).await?;
    // Nobody queues behind an outage: the answer "later" is of use only if it comes at once.
    if api.engine.is_postgres_down() || !rest.breaker.lets_through() {
        api.metrics.refused("postgres");
        return Err(Problem::unavailable());
    }
    api.intake.admit().map_err(|wait_ms| {
        api.metrics.refused("rate");
        Problem::rate_limited(wait_ms)
    })?;
    body::expect_json(&parts.headers)?;
    let start: StartBody<'_> = body::parse(&bytes, BODY_DEPTH_MAX)?;
    intake::check_start(&start.input, &start.tags)?;
    let key = said::key(&parts.headers)?
        .map(|key| intake::keyed(key, &start.definition, start.version, &start.input))
        .transpose()?;
    let until = Instant::now() + START_TIMEOUT;
    let versioned = match definition(rest, &start, until).await? {
        Ok(versioned) => versioned,
        Err(removed) => return replay(rest, &start, key.as_ref(), removed).await,
    };
    let definition = versioned.definition.name.clone();
    let wanted = StartRequest {
        versioned,
        input: start.input,
        tags: start.tags,
        key,
        traceparent: parts
            .headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok())
            .and_then(intake::traceparent),
    };
    let started = api.engine.start(wanted, until.saturating_duration_since(Instant::now())).await?;
    answer(rest, &started, definition.as_str()).await
}

/// A start that came before its version was removed has its saga.
async fn replay(
    rest: &Rest,
    start: &StartBody<'_>,
    key: Option<&(String, [u8; 32])>,
    removed: definitions::Error,
) -> Result<Response, Problem> {
    // Only a version that is named can be a removed one.
    match rest.api.engine.begun(key, start.version.unwrap_or_default()).await? {
        Some(started) => answer(rest, &started, &start.definition).await,
        None => Err(removed.into()),
    }
}

async fn answer(rest: &Rest, started: &Started, definition: &str) -> Result<Response, Problem> {
    let status: Cow<'static, str> = if started.is_replay {
        match rest.api.store.line(started.id).await? {
            Some(line) => line.status.into(),
            None => return Err(Problem::unknown_saga(&started.id.to_string())),
        }
    } else {
        "running".into()
    };
    Ok(told(started, definition, &status))
}

/// The definition, nearly always from memory.
async fn definition(
    rest: &Rest,
    start: &StartBody<'_>,
    until: Instant,
) -> Result<Result<Arc<Versioned>, definitions::Error>, Problem> {
    match timeout_at(until, rest.api.definitions.in_force(&start.definition, start.version)).await {
        Ok(Ok(versioned)) => {
            rest.breaker.answered();
            Ok(Ok(versioned))
        }
        Ok(Err(error @ definitions::Error::Removed { .. })) => Ok(Err(error)),
        Ok(Err(error)) => {
            if matches!(&error, definitions::Error::Store(error) if error.is_transient()) {
                rest.breaker.failed();
            }
            Err(error.into())
        }
        Err(_) => {
            rest.breaker.failed();
            Err(Problem::unavailable())
        }
    }
}

fn told(started: &Started, definition: &str, status: &str) -> Response {
    let Started { id, version, is_replay } = started;
    // Names and ids need no escaping.
    let text =
        format!(r#"{{"id":"{id}","definition":"{definition}","version":{version},"status":"{status}"}}"#);
    let code = if *is_replay { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = body::json_bytes(code, text.into_bytes());
    if let Ok(location) = HeaderValue::try_from(format!("/v1/sagas/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if *is_replay {
        said::mark_replayed(&mut response);
    }
    response
}
