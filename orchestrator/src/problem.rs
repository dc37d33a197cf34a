//! Problem documents (RFC 9457): the one form of every error that leaves this service. The `type` is
//! stable; the detail says what is wrong and the mend. Text of the database never gets out.

use serde_json::{Map, Value, json};
use snorri_language::diagnostic::Diagnostic;
use snorri_language::input_schema::{ERRORS_MAX, Mismatch};

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
        Self::new(400, "bad-request", "The request cannot be read", cut(detail))
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

    /// A parameter of the query or the path cannot be used.
    pub fn bad_parameter(name: &str, detail: &str) -> Self {
        let name: String = name.chars().take(80).collect();
        let detail = format!("`{name}`: {detail}");
        Self::new(400, "bad-parameter", "A parameter cannot be used", detail).with("parameter", name.into())
    }

    /// The text of a definition cannot be read.
    pub fn unreadable_definition(detail: &str) -> Self {
        Self::new(400, "unreadable-definition", "The definition cannot be read", cut(detail))
    }

    /// The text is no definition: it cannot be read, or what it says is not valid.
    pub fn invalid_definition(errors: &[Diagnostic], is_readable: bool) -> Self {
        let violations = Value::Array(errors.iter().map(Self::violation).collect());
        let problem = if is_readable {
            let count = errors.len();
            let detail = format!("{count} {} to mend", if count == 1 { "thing" } else { "things" });
            Self::new(422, "invalid-definition", "The definition is not valid", detail)
        } else {
            let first: Vec<String> = errors
                .iter()
                .take(DETAILED_MAX)
                .map(|error| format!("line {}, column {}: {}", error.line, error.column, said(error)))
                .collect();
            Self::unreadable_definition(&first.join("; "))
        };
        problem.with("violations", violations)
    }

    /// What is wrong with a definition, or doubtful, as a member of a list.
    pub fn violation(found: &Diagnostic) -> Value {
        let mut violation = json!({
            "severity": found.severity,
            "code": found.code,
            "pointer": found.pointer,
            "line": found.line,
            "column": found.column,
            "message": found.message,
        });
        if let Some(mend) = &found.mend {
            violation["mend"] = mend.as_str().into();
        }
        violation
    }

    /// The input does not fit the schema of its definition.
    pub fn invalid_input(mismatches: &[Mismatch]) -> Self {
        let count = mismatches.len();
        let detail = format!(
            "the input does not fit the definition's schema in {count}{} {}",
            if count >= ERRORS_MAX { " or more" } else { "" },
            if count == 1 { "place" } else { "places" }
        );
        let list = mismatches
            .iter()
            .map(|mismatch| json!({"pointer": mismatch.pointer, "message": mismatch.message}))
            .collect();
        Self::new(422, "invalid-input", "The input does not fit", detail)
            .with("violations", Value::Array(list))
    }

    /// The body is of a kind that this route does not take.
    pub fn unsupported_media_type(found: &str, taken: &str) -> Self {
        let found: String = found.chars().take(80).collect();
        let detail = format!("`{found}` is not taken here: send `Content-Type: {taken}`");
        Self::new(415, "unsupported-media-type", "Not this kind of content", detail)
    }

    /// There is no such route.
    pub fn unknown_route(path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        Self::new(404, "unknown-route", "No such route", format!("there is nothing at `{path}`"))
    }

    /// The route has no such method.
    pub fn method_not_allowed(method: &str) -> Self {
        let method: String = method.chars().take(40).collect();
        let detail = format!("`{method}` is not allowed here; the header `Allow` has what is");
        Self::new(405, "method-not-allowed", "Not this method", detail)
    }

    /// The body did not come in time.
    pub fn slow_body(limit: std::time::Duration) -> Self {
        let detail = format!("the body did not come within {limit:?}");
        Self::new(408, "slow-body", "The request came too slowly", detail)
    }

    /// More starts a second than are let in.
    pub fn rate_limited(wait_ms: u64) -> Self {
        let detail = "more starts a second than this replica lets in";
        Self::new(429, "rate-limited", "Too many starts", detail).retry_after_ms(wait_ms)
    }

    /// The pivot was sent: the saga can only go forwards.
    pub fn past_pivot(detail: &str) -> Self {
        Self::new(409, "past-pivot", "Past the point of no return", detail)
    }

    /// No step of the saga waits for that signal or that decision, or not any more.
    pub fn not_awaited(detail: &str) -> Self {
        Self::new(409, "not-awaited", "Nothing waits for it", detail)
    }

    /// It was decided otherwise already.
    pub fn decided(detail: &str) -> Self {
        Self::new(409, "decided", "It was decided otherwise", detail)
    }

    /// A part of another saga, whose steps are all done: the other one decides.
    pub fn held(detail: &str) -> Self {
        Self::new(409, "held", "Its parent decides", detail)
    }

    /// The payloads of the saga would be too large together.
    pub fn saga_too_large(detail: &str) -> Self {
        Self::new(413, "saga-too-large", "Too much for one saga", detail)
    }

    /// The saga has ended, for ever.
    pub fn ended(detail: &str) -> Self {
        Self::new(409, "ended", "The saga has ended", detail)
    }

    /// It took longer than a request may.
    pub fn timed_out(limit: std::time::Duration) -> Self {
        let detail = format!("the request was given up after {limit:?}; whether it took effect is not known");
        Self::new(503, "timed-out", "It took too long", detail).retry_after_ms(2000)
    }

    /// This replica is about to stop.
    pub fn shutting_down() -> Self {
        let detail = "this replica is shutting down: repeat the request, another one will take it";
        Self::new(503, "shutting-down", "Shutting down", detail).retry_after_ms(1000)
    }

    /// Nobody submitted the definition.
    pub fn unknown_definition(detail: &str) -> Self {
        let mend = format!("{detail}: submit it with POST /v1/definitions");
        Self::new(404, "unknown-definition", "No such definition", mend)
    }

    /// The definition's version is not started any more.
    pub fn removed_definition(detail: &str) -> Self {
        let mend = format!("{detail}: start another version, or leave `version` out for the newest");
        Self::new(410, "removed-definition", "The version was removed", mend)
    }

    /// Somebody needs the definition's version.
    pub fn definition_in_use(detail: &str) -> Self {
        Self::new(409, "definition-in-use", "The version is in use", detail)
    }

    /// There is no such saga.
    pub fn unknown_saga(id: &str) -> Self {
        Self::new(404, "unknown-saga", "No such saga", format!("there is no saga `{id}`"))
    }

    /// The idempotency key stands for something else.
    pub fn key_reused(detail: &str, what: &str) -> Self {
        let mend = format!("{detail}: use a new key for a new {what}");
        Self::new(422, "key-reused", "The idempotency key was used for something else", mend)
    }

    /// Too much to do.
    pub fn overloaded(what: &str) -> Self {
        Self::new(503, "overloaded", "Too much is under way", format!("the limit of `{what}` is reached"))
            .retry_after_ms(1000)
    }

    /// Postgres is away.
    pub fn unavailable() -> Self {
        let detail = "the database does not answer, and whether the request took effect may not be known: repeat \
                      it; a start is safe to repeat with the same idempotency key";
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

/// How many errors of an unreadable definition are told in its detail.
const DETAILED_MAX: usize = 5;

/// What is wrong, and the mend.
fn said(found: &Diagnostic) -> String {
    match &found.mend {
        Some(mend) => format!("{}: {mend}", found.message),
        None => found.message.clone(),
    }
}

/// The longest detail that is made of what somebody sent, in characters.
const DETAIL_CHARS_MAX: usize = 2000;

fn cut(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{} …", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
