//! What every start passes, over REST and over NATS: limits, the idempotency key's fingerprint, and the
//! brake on the rate.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use snorri_saga::json::{Json, fingerprint};
use snorri_saga::wire::limit;

use crate::definitions::Definitions;
use crate::problem::Problem;

/// The largest body of a start, in bytes: an input and some room for tags.
pub const START_BYTES_MAX: usize = limit::PAYLOAD_BYTES_MAX + 16 * 1024;
/// The most tags of a saga.
pub const TAGS_MAX: usize = 32;
/// The longest key or value of a tag, in bytes.
pub const TAG_BYTES_MAX: usize = 256;
/// The longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// The door of starts.
#[derive(Debug)]
pub struct Intake {
    /// The definitions in use.
    pub definitions: Arc<Definitions>,
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Intake {
    /// A door that lets so many starts a second in; without a limit when it is zero.
    pub fn new(definitions: Arc<Definitions>, starts_per_second_max: u32) -> Self {
        let limiter =
            NonZeroU32::new(starts_per_second_max).map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        Self { definitions, limiter }
    }

    /// Takes one start in, or says in how many milliseconds there is room.
    pub fn admit(&self) -> Result<(), u64> {
        match self.limiter.as_ref().map(RateLimiter::check) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(not_until)) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
            }
        }
    }
}

/// Checks a start's input and tags against the limits.
pub fn check_start(input: &Json, tags: &BTreeMap<String, String>) -> Result<(), Problem> {
    if input.len() > limit::PAYLOAD_BYTES_MAX {
        return Err(Problem::too_large("`input`", input.len(), limit::PAYLOAD_BYTES_MAX));
    }
    if tags.len() > TAGS_MAX {
        return Err(Problem::bad_request(&format!("{} tags: at most {TAGS_MAX}", tags.len())));
    }
    for (key, value) in tags {
        if key.is_empty() || key.len() > TAG_BYTES_MAX || value.len() > TAG_BYTES_MAX {
            return Err(Problem::bad_request(&format!(
                "a tag's key has 1 to {TAG_BYTES_MAX} bytes and its value at most as many"
            )));
        }
        if key.contains('\0') || value.contains('\0') {
            return Err(Problem::bad_request("a tag may not contain the character U+0000"));
        }
    }
    Ok(())
}

/// An idempotency key with the fingerprint of what it stands for: definition, version policy and input.
pub fn keyed(
    key: String,
    definition: &str,
    version: Option<u32>,
    input: &Json,
) -> Result<(String, [u8; 32]), Problem> {
    let bare = bare_key(key)?;
    // Raw JSON may hold what no value can (half a surrogate pair); two such inputs must not look alike.
    let value: serde_json::Value = serde_json::from_str(input.get())
        .map_err(|error| Problem::bad_request(&format!("`input` cannot be read: {error}")))?;
    let print = fingerprint(&serde_json::json!([definition, version, value]));
    Ok((bare, print))
}

/// An idempotency key without its quotes.
pub fn bare_key(key: String) -> Result<String, Problem> {
    let bare = unquoted(&key).unwrap_or(key);
    if bare.is_empty() || bare.len() > KEY_BYTES_MAX || bare.chars().any(char::is_control) {
        return Err(Problem::bad_request(&format!(
            "an idempotency key has 1 to {KEY_BYTES_MAX} bytes and no control characters"
        )));
    }
    Ok(bare)
}

/// The header's draft has it as a quoted text; bare ones are common and taken as they are.
fn unquoted(key: &str) -> Option<String> {
    let inner = key.strip_prefix('"')?.strip_suffix('"')?;
    let mut bare = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => bare.push(chars.next().filter(|next| matches!(next, '"' | '\\'))?),
            '"' => return None,
            other => bare.push(other),
        }
    }
    Some(bare)
}

/// The starter's `traceparent`, when it is one; one that is not is ignored, as W3C trace context has it.
pub fn traceparent(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        let part = parts.next()?;
        let fits =
            part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        fits.then_some(part)
    };
    let (version, trace, span, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let is_zero = |id: &str| id.bytes().all(|b| b == b'0');
    let is_known = version == "00" && parts.next().is_none();
    (is_known && !is_zero(trace) && !is_zero(span)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, input: &str) -> Result<(String, [u8; 32]), Problem> {
        keyed(text.to_owned(), "order", None, &Json::parse(input).expect("json"))
    }

    #[test]
    fn a_key_is_the_same_quoted_and_bare() {
        let bare = key("a-1", "{}").expect("a key");
        assert_eq!(key("\"a-1\"", "{ }").expect("a key"), bare);
        assert_eq!(key(r#""a\"b""#, "1").expect("a key").0, "a\"b");
    }

    #[test]
    fn an_empty_a_long_and_a_control_character_key_are_refused() {
        for text in ["", "\"\"", "a\nb", &"a".repeat(256)] {
            assert_eq!(key(text, "{}").expect_err(text).status(), 400);
        }
    }

    #[test]
    fn an_input_without_a_value_has_no_fingerprint() {
        assert_eq!(key("a", r#""\ud800""#).expect_err("no value").status(), 400);
    }

    #[test]
    fn numbers_that_differ_beyond_a_floats_digits_are_different_inputs() {
        let print = |input: &str| key("a", input).expect("a key").1;
        assert_ne!(print("100000000000000000001"), print("100000000000000000002"));
        assert_ne!(print("1e999"), print("1e998"));
        assert_ne!(print("1234567890.12345678901"), print("1234567890.12345678902"));
    }

    #[test]
    fn only_a_traceparent_is_passed_on() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(good).as_deref(), Some(good));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX: y",
        ] {
            assert_eq!(traceparent(bad), None, "{bad}");
        }
    }
}
