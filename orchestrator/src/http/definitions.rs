//! `/v1/definitions`: submitted, listed, read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use serde::Serialize;
use snorri_saga::definition::Draft;
use snorri_saga::ids::Name;
use snorri_saga::json::{Json, deeper_than};
use snorri_saga::time::Timestamp;
use snorri_saga::wire::limit;

use super::params::{Params, page};
use super::sagas::Segment;
use super::versions::{NameAndVersion, name_and_version, name_of};
use super::{Rest, body, gate};
use crate::definitions::{self, Definitions, Submitted, TEXT_BYTES_MAX};
use crate::problem::Problem;
use crate::store;
use crate::store::definitions::Stored;
use crate::store::versions::Running;

const LIMIT_DEFAULT: u16 = 100;
const LIMIT_MAX: u16 = 500;
/// How many definitions are read at once: a large one takes a core for some time.
pub(super) const READING_MAX: usize = 2;

#[derive(Debug, Serialize)]
struct SubmittedView<'a> {
    name: &'a str,
    version: u32,
    new: bool,
    digest: String,
    /// How many sagas run on older versions; nothing if they could not be counted.
    running_on_older: Option<Vec<Running>>,
}

/// Submits a definition.
pub(super) async fn submit(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let work = async {
        let (parts, content) = request.into_parts();
        let bytes = body::read(&parts.headers, content, TEXT_BYTES_MAX).await?;
        let is_json = match body::content_type(&parts.headers).as_deref() {
            None | Some("text/yaml" | "application/yaml" | "application/x-yaml" | "text/x-yaml") => false,
            Some("application/json") => true,
            Some(other) => {
                return Err(Problem::unsupported_media_type(other, "application/yaml or application/json"));
            }
        };
        Params::of(&parts.uri, &[])?;
        let draft = read(&rest, bytes, is_json).await?;
        let submitted = rest.api.definitions.submit_draft(&draft).await?;
        answer(&rest, &submitted).await
    };
    gate::run(&rest, "POST /v1/definitions", work).await
}

/// Reads the text.
async fn read(rest: &Rest, bytes: axum::body::Bytes, is_json: bool) -> Result<Draft, Problem> {
    beside(rest, move || {
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            Problem::unreadable_definition(&format!(
                "the text is not UTF-8 from byte {} on",
                error.valid_up_to()
            ))
        })?;
        let draft = if is_json { read_json(text)? } else { read_yaml(text)? };
        // Postgres and people's terminals take none, and no definition needs one.
        if serde_json::to_string(&draft).is_ok_and(|text| text.contains("\\u0000")) {
            return Err(Problem::unreadable_definition("the text has the character U+0000"));
        }
        Ok(draft)
    })
    .await
}

/// Does what takes long beside the runtime's threads, which serve everybody.
pub(super) async fn beside<T: Send + 'static>(
    rest: &Rest,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let turn = rest.reading.clone().acquire_owned().await.map_err(|_| Problem::shutting_down())?;
    let working = tokio::task::spawn_blocking(move || {
        // Held to the end, even when nobody waits for it any more.
        let _turn = turn;
        work()
    });
    working.await.map_err(|error| {
        tracing::error!(%error, "a definition could not be read");
        Problem::internal("the definition could not be read; the log of this replica has the reason")
    })?
}

/// JSON is read as JSON: as YAML, which it nearly is, some escapes and long keys would not pass.
fn read_json(text: &str) -> Result<Draft, Problem> {
    if deeper_than(text.as_bytes(), limit::JSON_DEPTH_MAX) {
        return Err(Problem::too_deep());
    }
    serde_json::from_str(text).map_err(|error| Problem::unreadable_definition(&error.to_string()))
}

fn read_yaml(text: &str) -> Result<Draft, Problem> {
    Definitions::read(text).map_err(Problem::from)
}

async fn answer(rest: &Rest, submitted: &Submitted) -> Result<Response, Problem> {
    let definition = &submitted.versioned.definition;
    let version = submitted.versioned.version;
    // It is submitted, whether they can be counted or not.
    let running = rest.api.store.running_below(&definition.name, version).await.inspect_err(|error| {
        tracing::debug!(error = error.chain(), "the sagas on older versions could not be counted");
    });
    let view = SubmittedView {
        name: definition.name.as_str(),
        version,
        new: submitted.is_new,
        digest: hex(&submitted.digest),
        running_on_older: running.ok(),
    };
    let status = if submitted.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = body::json(status, &view)?;
    if let Ok(location) = HeaderValue::try_from(format!("/v1/definitions/{}/{version}", definition.name)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Debug, Serialize)]
struct ListView {
    definitions: Vec<store::definitions::Listed>,
    next_cursor: Option<String>,
}

/// Lists the newest version of each definition, by name.
pub(super) async fn list(State(rest): State<Arc<Rest>>, uri: Uri) -> Response {
    let work = async {
        let params = Params::of(&uri, &["cursor", "limit"])?;
        let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
        let name = |text: &str| Name::new(text).ok();
        let after = params.parsed("cursor", name, "a cursor that an earlier page gave")?;
        let after = after.as_ref().map(Name::as_str);
        let mut definitions = rest.api.store.definition_names(after, i64::from(limit) + 1).await?;
        let next_cursor = page(&mut definitions, limit, |listed| listed.name.clone());
        body::json(StatusCode::OK, &ListView { definitions, next_cursor })
    };
    gate::run(&rest, "GET /v1/definitions", work).await
}

#[derive(Debug, Serialize)]
struct DefinitionView {
    name: String,
    version: u32,
    submitted_at: Timestamp,
    removed_at: Option<Timestamp>,
    definition: Json,
}

/// The newest version of a definition.
pub(super) async fn newest(State(rest): State<Arc<Rest>>, path: Segment, uri: Uri) -> Response {
    let work = async {
        Params::of(&uri, &[])?;
        show(&rest, &name_of(path)?, None).await
    };
    gate::run(&rest, "GET /v1/definitions/{name}", work).await
}

/// One version of a definition.
pub(super) async fn version(State(rest): State<Arc<Rest>>, path: NameAndVersion, uri: Uri) -> Response {
    let work = async {
        Params::of(&uri, &[])?;
        let (name, version) = name_and_version(path)?;
        show(&rest, &name, Some(version)).await
    };
    gate::run(&rest, "GET /v1/definitions/{name}/{version}", work).await
}

/// A definition as it is stored: one version, removed or not, or the newest in force.
pub(super) async fn stored(rest: &Rest, name: &Name, version: Option<u32>) -> Result<Stored, Problem> {
    let stored = rest.api.store.definition(name.as_str(), version).await?;
    stored.ok_or_else(|| definitions::Error::Unknown { name: name.to_string(), version }.into())
}

async fn show(rest: &Rest, name: &Name, version: Option<u32>) -> Result<Response, Problem> {
    let stored = stored(rest, name, version).await?;
    let definition = Json::parse(&stored.body)
        .map_err(|error| store::Error::Corrupt(format!("definition {name}: {error}")))?;
    let view = DefinitionView {
        name: stored.name,
        version: stored.version,
        submitted_at: stored.submitted_at,
        removed_at: stored.removed_at,
        definition,
    };
    body::json(StatusCode::OK, &view)
}
