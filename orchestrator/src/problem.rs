//! Problem documents (RFC 9457): the one form of every error that leaves this service. The `type` is
//! stable; the detail says what is wrong and the mend. Text of the database never gets out.

use serde_json::{Map, Value, json};

/// The prefix of all types; `docs/rest.md` has an entry for each.
const TYPE_PREFIX: &str = "urn:snorri:problem:";

/// An error as its caller sees it.
#[derive(Debug, Clone)]
pub struct Problem {
    status: u16,
    word: &'static str,
    title: &'static str,
    detail: String,
    retry_after_ms: Option<u64>,
    extensions: Map<String, Value>,
}

impl Problem {
    /// A problem of the given kind. `word` is the tail of its type.
    pub fn new(status: u16, word: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, word, title, detail: detail.into(), retry_after_ms: None, extensions: Map::new() }
    }

    /// With a member of its own.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.extensions.insert(name.to_owned(), value);
        self
    }

    /// With the advice to come again later.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The request cannot be read.
    pub fn bad_request(detail: &str) -> Self {
        Self::new(400, "bad-request", "The request cannot be read", detail)
    }

    /// Something is larger than its limit.
    pub fn too_large(what: &str, bytes: usize, bytes_max: usize) -> Self {
        Self::new(413, "too-large", "Too large", format!("{what} has {bytes} bytes, at most {bytes_max}"))
            .with("bytes_max", json!(bytes_max))
    }

    /// The JSON nests too deep.
    pub fn too_deep() -> Self {
        let depth_max = snorri_saga::wire::limit::JSON_DEPTH_MAX;
        Self::new(
            400,
            "too-deep",
            "Nested too deep",
            format!("the JSON nests deeper than {depth_max} levels"),
        )
    }

    /// Nobody submitted the definition.
    pub fn unknown_definition(detail: &str) -> Self {
        let mend = format!("{detail}: submit it with POST /v1/definitions");
        Self::new(404, "unknown-definition", "No such definition", mend)
    }

    /// There is no such saga.
    pub fn unknown_saga(id: &str) -> Self {
        Self::new(404, "unknown-saga", "No such saga", format!("there is no saga `{id}`"))
    }

    /// The idempotency key stands for something else.
    pub fn key_reused(detail: &str) -> Self {
        let mend = format!("{detail}: use a new key for a new start");
        Self::new(422, "key-reused", "The idempotency key was used for another start", mend)
    }

    /// Too much to do.
    pub fn overloaded(what: &str) -> Self {
        Self::new(503, "overloaded", "Too much is under way", format!("the limit of `{what}` is reached"))
            .retry_after_ms(1000)
    }

    /// Postgres is away.
    pub fn unavailable() -> Self {
        let detail = "the database does not answer; nothing is lost: repeat the request with the same \
                      idempotency key";
        Self::new(503, "unavailable", "Not available just now", detail).retry_after_ms(2000)
    }

    /// Our fault.
    pub fn internal(detail: &str) -> Self {
        Self::new(500, "internal", "Something is broken here", detail)
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The tail of the type.
    pub fn word(&self) -> &'static str {
        self.word
    }

    /// What is wrong.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// In how many seconds to come again.
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1))
    }

    /// The document.
    pub fn to_json(&self) -> Value {
        let mut document = self.extensions.clone();
        document.insert("type".to_owned(), format!("{TYPE_PREFIX}{}", self.word).into());
        document.insert("title".to_owned(), self.title.into());
        document.insert("status".to_owned(), self.status.into());
        document.insert("detail".to_owned(), self.detail.clone().into());
        if let Some(ms) = self.retry_after_ms {
            document.insert("retry_after_ms".to_owned(), ms.into());
        }
        Value::Object(document)
    }
}
