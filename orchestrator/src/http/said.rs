//! What requests that change a saga say besides their body: an idempotency key, and who it is.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;

use crate::problem::Problem;

/// The longest name of who asks, in bytes.
const BY_BYTES_MAX: usize = 200;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const BY: HeaderName = HeaderName::from_static("snorri-by");

/// The idempotency key, as it came.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(Problem::bad_request("the header `Idempotency-Key` may be there once only"));
    }
    match key.to_str() {
        Ok(key) => Ok(Some(key.to_owned())),
        Err(_) => Err(Problem::bad_request("the header `Idempotency-Key` may have visible ASCII only")),
    }
}

/// Says that the same came before.
pub(super) fn mark_replayed(response: &mut Response) {
    response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
}

/// Who asks: from the body, or from the header.
pub(super) fn by(of_body: Option<String>, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let by = match of_body {
        Some(by) => Some(by),
        None => headers
            .get(BY)
            .map(|value| match std::str::from_utf8(value.as_bytes()) {
                Ok(by) => Ok(by.to_owned()),
                Err(_) => Err(Problem::bad_request("the header `Snorri-By` is not UTF-8")),
            })
            .transpose()?,
    };
    if let Some(by) = &by {
        sentence("by", by, BY_BYTES_MAX)?;
    }
    Ok(by)
}

/// Checks a text for people.
pub(super) fn sentence(name: &str, text: &str, bytes_max: usize) -> Result<(), Problem> {
    if text.trim().is_empty() || text.len() > bytes_max || text.contains('\0') {
        return Err(Problem::bad_request(&format!(
            "`{name}` has 1 to {bytes_max} bytes, not all of them white space, and no U+0000"
        )));
    }
    Ok(())
}
