//! `/v1/definitions`: submitted, listed, read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use snorri_language::check::{File, Report};
use snorri_language::diagnostic::Diagnostic;
use snorri_language::explore::{Bounds, Exploration, Role, Stopped};
use snorri_language::pin::Child;
use snorri_language::text::{Format, TEXT_BYTES_MAX};
use snorri_saga::ids::Name;
use snorri_saga::json::Json;
use snorri_saga::time::Timestamp;

use super::list::in_turn;
use super::params::{Params, page};
use super::sagas::Segment;
use super::turns::{Placed, Why};
use super::versions::{NameAndVersion, name_and_version, name_of};
use super::{Rest, body, gate};
use crate::definitions::{self, Definitions, Submitted, Wanted};
use crate::problem::Problem;
use crate::store;
use crate::store::definitions::Stored;
use crate::store::versions::Running;

const LIMIT_DEFAULT: u16 = 100;
const LIMIT_MAX: u16 = 500;

/// How often a submission is checked anew, since one of its sub-sagas was removed at the same moment.
const AGAIN_MAX: usize = 3;

/// How far a submission is explored: the command explores farther, and takes its time.
const EXPLORED: Bounds = Bounds {
    faults: 1,
    states: 20_000,
    time: Duration::from_millis(250),
    attempts: 2,
    items: 2,
    role: Role::Alone,
};

#[derive(Debug, Serialize)]
struct SubmittedView<'a> {
    name: &'a str,
    version: u32,
    new: bool,
    digest: String,
    warnings: &'a Value,
    /// How far it was explored.
    explored: Option<ExploredView>,
    /// How many sagas run on older versions; nothing if they could not be counted.
    running_on_older: Option<Vec<Running>>,
}

/// Submits a definition.
pub(super) async fn submit(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    // What is never said: it was given up, or did not get this far.
    let outcome = OnceLock::new();
    let work = async {
        let taken = take(&rest, request).await;
        let _ = outcome.set(match &taken {
            Ok((_, submitted)) if submitted.is_new => "new",
            Ok(_) => "same",
            Err(problem) => refusal(problem),
        });
        let (told, submitted) = taken?;
        answer(&rest, &submitted, &told).await
    };
    let response = gate::run(&rest, "POST /v1/definitions", Box::pin(work)).await;
    rest.api.metrics.submission(outcome.get().copied().unwrap_or("unavailable"));
    response
}

/// The word of a submission that was not taken, in metrics.
fn refusal(problem: &Problem) -> &'static str {
    match problem.word() {
        "invalid-definition" => "invalid",
        "unreadable-definition" | "too-deep" => "unreadable",
        "too-large" => "too_large",
        "overloaded" => "overloaded",
        _ if problem.status() >= 500 => "unavailable",
        _ => "bad_request",
    }
}

/// How far a definition was explored.
#[derive(Debug, Serialize)]
struct ExploredView {
    /// Every run with up to so many faults was walked; nothing: not even those without.
    complete_faults: Option<u8>,
    states: usize,
    stopped: Stopped,
}

/// What is told of a definition that was taken.
struct Told {
    warnings: Value,
    explored: Option<Exploration>,
}

async fn take(rest: &Rest, request: Request) -> Result<(Told, Submitted), Problem> {
    let placed = rest.turns.place()?;
    let (bytes, format) = text(request).await?;
    let mut tries = 0;
    loop {
        let report = report(rest, &placed, Why::Submitted, bytes.clone(), format).await?;
        let files = report.files.iter();
        let warnings = files.clone().flat_map(|file| &file.diagnostics).map(Problem::violation).collect();
        let explored = files.clone().find_map(|file| file.explored.first().cloned());
        let told = Told { warnings: Value::Array(warnings), explored };
        let (draft, definition) = Definitions::checked(report)?;
        match Box::pin(rest.api.definitions.submit(draft, definition)).await {
            // It is there no more: what that means is for the check to say.
            Err(definitions::Error::Store(store::Error::SubSagaRemoved)) if tries < AGAIN_MAX => tries += 1,
            submitted => return Ok((told, submitted?)),
        }
    }
}

/// Checks a definition and stores nothing. That it has errors is an answer like any other.
pub(super) async fn check(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let work = async {
        let placed = rest.turns.place()?;
        let (bytes, format) = text(request).await?;
        let report = report(&rest, &placed, Why::Checked, bytes, format).await?;
        body::json(StatusCode::OK, &report)
    };
    gate::run(&rest, "POST /v1/definitions/check", work).await
}

/// The text in a request.
async fn text(request: Request) -> Result<(Bytes, Format), Problem> {
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, TEXT_BYTES_MAX).await?;
    let format = match body::content_type(&parts.headers).as_deref() {
        None | Some("text/yaml" | "application/yaml" | "application/x-yaml" | "text/x-yaml") => Format::Yaml,
        Some("application/json") => Format::Json,
        Some(other) => {
            return Err(Problem::unsupported_media_type(other, "application/yaml or application/json"));
        }
    };
    Params::of(&parts.uri, &[])?;
    Ok((bytes, format))
}

/// What is known of a definition.
async fn report(
    rest: &Rest,
    placed: &Placed<'_>,
    why: Why,
    bytes: Bytes,
    format: Format,
) -> Result<Report, Problem> {
    let (mut found, wanted) = read(placed, bytes.clone(), format, HashMap::new()).await?;
    if !wanted.is_empty() {
        let children = rest.api.definitions.children(&wanted).await?;
        found = read(placed, bytes, format, children).await?.0;
    }
    if found.files.iter().all(|file| file.definition.is_none()) {
        return Ok(found);
    }
    let metrics = rest.api.metrics.clone();
    let exploring = placed.explore(why, move || {
        let began = Instant::now();
        found.explore(&EXPLORED, &|| began.elapsed());
        for explored in found.files.iter().flat_map(|file| &file.explored) {
            metrics.explored(covered(explored), began.elapsed().as_secs_f64());
        }
        Ok(found)
    });
    exploring.await
}

/// How far an exploration came, in metrics.
fn covered(explored: &Exploration) -> &'static str {
    match (&explored.violation, explored.complete_faults) {
        (Some(_), _) => "violation",
        (None, None) => "nothing",
        (None, Some(0)) => "no_fault",
        (None, Some(_)) => "all",
    }
}

/// Checks the text beside the runtime's threads, which serve everybody. With it, the sub-sagas that it names.
async fn read(
    placed: &Placed<'_>,
    bytes: Bytes,
    format: Format,
    children: HashMap<Wanted, Child>,
) -> Result<(Report, Vec<Wanted>), Problem> {
    let reading = placed.work(move || {
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            Problem::unreadable_definition(&format!(
                "the text is not UTF-8 from byte {} on",
                error.valid_up_to()
            ))
        })?;
        let name = match format {
            Format::Yaml => "definition.yaml",
            Format::Json => "definition.json",
        };
        let wanted = RefCell::new(Vec::new());
        let found = snorri_language::check::check(&[File { name, text, format }], |name, version| {
            let wanted_now = (name.to_owned(), version);
            let child = children.get(&wanted_now).cloned();
            wanted.borrow_mut().push(wanted_now);
            child
        });
        // Nested too deep is a word of its own, as everywhere else in this interface.
        let is_too_deep = |diagnostic: &Diagnostic| diagnostic.code == "too-deep";
        if format == Format::Json && found.files.iter().flat_map(|file| &file.diagnostics).any(is_too_deep) {
            return Err(Problem::too_deep());
        }
        Ok((found, wanted.into_inner()))
    });
    reading.await
}

async fn answer(rest: &Rest, submitted: &Submitted, told: &Told) -> Result<Response, Problem> {
    let definition = &submitted.versioned.definition;
    let version = submitted.versioned.version;
    // It is submitted, whether they can be counted or not.
    let (store, name) = (rest.api.store.clone(), definition.name.clone());
    let counting = Box::pin(async move { store.running_below(&name, version).await });
    let running = in_turn(rest, "since very many sagas run on its versions", counting).await;
    let view = SubmittedView {
        name: definition.name.as_str(),
        version,
        new: submitted.is_new,
        digest: hex(&submitted.digest),
        warnings: &told.warnings,
        explored: told.explored.as_ref().map(|explored| ExploredView {
            complete_faults: explored.complete_faults,
            states: explored.states,
            stopped: explored.stopped,
        }),
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

/// The newest version of the definition that is called `check`, whose path is another's, too.
pub(super) async fn newest_check(State(rest): State<Arc<Rest>>, uri: Uri) -> Response {
    let work = async {
        Params::of(&uri, &[])?;
        show(&rest, &name_of(Ok(axum::extract::Path("check".to_owned())))?, None).await
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
