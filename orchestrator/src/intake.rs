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
    // The header's draft has it as a quoted text; bare ones are common and taken too.
    let bare =
        key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(str::to_owned).unwrap_or(key);
    if bare.is_empty() || bare.len() > KEY_BYTES_MAX || bare.chars().any(char::is_control) {
        return Err(Problem::bad_request(&format!(
            "an idempotency key has 1 to {KEY_BYTES_MAX} bytes and no control characters"
        )));
    }
    let print = fingerprint(&serde_json::json!([definition, version, input.to_value()]));
    Ok((bare, print))
}
