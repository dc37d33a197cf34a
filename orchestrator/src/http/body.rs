//! Bodies: read up to a limit of size and of time; JSON out.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde::Serialize;
use snorri_saga::json::deeper_than;

use crate::problem::Problem;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(8);
/// How much of a body that is too large is read and thrown away. A connection that is closed in the middle of a
/// body often loses the answer too, and with it the reason.
const DISCARDED_MAX: usize = 8 * 1024 * 1024;

/// Reads a body.
pub(super) async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok());
    match tokio::time::timeout(BODY_TIMEOUT, collect(body, declared, bytes_max)).await {
        Ok(result) => result,
        Err(_) => Err(Problem::slow_body(BODY_TIMEOUT)),
    }
}

async fn collect(body: Body, declared: Option<usize>, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut chunks = body.into_data_stream();
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    let mut seen = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else {
            return Err(Problem::bad_request("the body ended before its end"));
        };
        seen = seen.saturating_add(chunk.len());
        if declared.unwrap_or(0) > bytes_max || seen > bytes_max {
            (first, rest) = (Bytes::new(), Vec::new());
            if declared.unwrap_or(0).max(seen) > DISCARDED_MAX {
                break;
            }
        } else if first.is_empty() {
            // Most bodies are one chunk, which is taken as it is.
            first = chunk;
        } else {
            rest.extend_from_slice(&chunk);
        }
    }
    let bytes = declared.unwrap_or(0).max(seen);
    if bytes > bytes_max {
        return Err(Problem::too_large("the body", bytes, bytes_max));
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = Vec::with_capacity(seen);
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.into())
}

/// The kind of content that the request says it has, in small letters and without parameters.
pub(super) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = value.to_str().unwrap_or("(unreadable)");
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Checks that a body which is to be JSON says so, or says nothing.
pub(super) fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let is_json = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        bytes.get(..16).is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/json"))
            && bytes.get(16).is_none_or(|next| matches!(next, b';' | b' '))
    };
    match headers.get(header::CONTENT_TYPE) {
        None => Ok(()),
        Some(value) if is_json(value) => Ok(()),
        Some(_) => Err(Problem::unsupported_media_type(
            &content_type(headers).unwrap_or_default(),
            "application/json",
        )),
    }
}

/// Parses a JSON body, after a look at how deep it nests.
pub(super) fn parse<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8], depth_max: usize) -> Result<T, Problem> {
    if deeper_than(bytes, depth_max) {
        return Err(Problem::too_deep());
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(&format!("the body cannot be read: {error}")))
}

/// A JSON response.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "a response could not be written");
        Problem::internal("the response could not be written")
    })?;
    Ok(json_bytes(status, body))
}

/// A response of JSON text.
pub(super) fn json_bytes(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(parts: &[&'static str]) -> Body {
        let parts: Vec<Result<&'static str, std::io::Error>> = parts.iter().map(|part| Ok(*part)).collect();
        Body::from_stream(futures::stream::iter(parts))
    }

    #[tokio::test]
    async fn a_body_is_put_together_from_its_chunks() {
        let read = read(&HeaderMap::new(), chunked(&["ab", "cd", "e"]), 5).await;
        assert_eq!(read.expect("a body"), "abcde");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_told_its_size() {
        let problem = read(&HeaderMap::new(), chunked(&["ab", "cd", "e"]), 4).await.expect_err("too large");
        assert_eq!(problem.status(), 413);
        assert!(problem.detail().contains("5 bytes, at most 4"), "{}", problem.detail());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(&HeaderMap::new(), never, 4).await.expect_err("slow").status(), 408);
    }

    #[test]
    fn json_is_told_from_other_kinds() {
        let expect = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text));
            expect_json(&headers).map_err(|problem| problem.status())
        };
        assert_eq!(expect_json(&HeaderMap::new()).map_err(|problem| problem.status()), Ok(()));
        assert_eq!(expect("application/json"), Ok(()));
        assert_eq!(expect("Application/JSON; charset=utf-8"), Ok(()));
        for other in ["text/plain", "application/json5", "application/x-www-form-urlencoded", ""] {
            assert_eq!(expect(other), Err(415), "{other}");
        }
    }
}
