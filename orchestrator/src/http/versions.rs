//! `/v1/definitions/{name}/versions`, the removal of one, and what changed between two.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::json;
use snorri_language::Subject;
use snorri_language::diff::Diff;
use snorri_saga::ids::Name;
use snorri_saga::time::Timestamp;

use super::definitions::stored;
use super::list::in_turn;
use super::params::{Params, page};
use super::sagas::{Segment, segment};
use super::{Rest, body, gate};
use crate::definitions::{self, Definitions};
use crate::problem::Problem;
use crate::store::definitions::Stored;
use crate::store::versions::{COUNTED_MAX, Removal, VersionLine};

const LIMIT_DEFAULT: u16 = 50;
const LIMIT_MAX: u16 = 500;

/// A name and a version in a path.
pub(super) type NameAndVersion = Result<Path<(String, String)>, PathRejection>;

/// The number of a version.
pub(super) fn number(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|version| *version > 0 && i32::try_from(*version).is_ok())
}

/// The name and the version of a path. A name that is none is one that nobody submitted.
pub(super) fn name_and_version(path: NameAndVersion) -> Result<(Name, u32), Problem> {
    let Path((name, version)) = path.map_err(|error| Problem::bad_request(&error.body_text()))?;
    let number = number(&version).ok_or_else(|| {
        let shown: String = version.chars().take(80).collect();
        Problem::bad_parameter("version", &format!("`{shown}` is not a version, a number from 1"))
    })?;
    Ok((checked(&name, Some(number))?, number))
}

/// The name of a path.
pub(super) fn name_of(path: Segment) -> Result<Name, Problem> {
    checked(&segment(path)?, None)
}

fn checked(name: &str, version: Option<u32>) -> Result<Name, Problem> {
    Name::new(name).map_err(|_| {
        let name = name.chars().take(80).collect();
        definitions::Error::Unknown { name, version }.into()
    })
}

#[derive(Debug, Serialize)]
struct VersionsView<'a> {
    name: &'a str,
    versions: Vec<VersionLine>,
    next_cursor: Option<String>,
}

/// Lists the versions of a definition, the newest first, each with how many sagas run on it.
pub(super) async fn list(State(rest): State<Arc<Rest>>, path: Segment, uri: Uri) -> Response {
    let work = async {
        let params = Params::of(&uri, &["cursor", "limit"])?;
        let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
        let below = params.parsed("cursor", number, "a cursor that an earlier page gave")?;
        let name = name_of(path)?;
        let (store, of) = (rest.api.store.clone(), name.clone());
        let reading = Box::pin(async move { store.versions(&of, below, i64::from(limit) + 1).await });
        let mut versions = in_turn(&rest, "since very many sagas run on its versions", reading).await?;
        if versions.is_empty() && below.is_none() {
            return Err(definitions::Error::Unknown { name: name.to_string(), version: None }.into());
        }
        let next_cursor = page(&mut versions, limit, |line| line.version.to_string());
        body::json(StatusCode::OK, &VersionsView { name: name.as_str(), versions, next_cursor })
    };
    gate::run(&rest, "GET /v1/definitions/{name}/versions", Box::pin(work)).await
}

#[derive(Debug, Serialize)]
struct RemovedView<'a> {
    name: &'a str,
    version: u32,
    removed_at: Timestamp,
}

/// Removes a version that nobody needs.
pub(super) async fn remove(State(rest): State<Arc<Rest>>, path: NameAndVersion, uri: Uri) -> Response {
    let work = async {
        Params::of(&uri, &[])?;
        let (name, version) = name_and_version(path)?;
        match rest.api.store.remove_version(&name, version).await? {
            Removal::Unknown => {
                Err(definitions::Error::Unknown { name: name.to_string(), version: Some(version) }.into())
            }
            Removal::Removed(removed_at) => {
                rest.api.definitions.forget(&name, version);
                tracing::info!(definition = %name, version, "a version was removed");
                body::json(StatusCode::OK, &RemovedView { name: name.as_str(), version, removed_at })
            }
            Removal::Runs { sagas, example } => {
                let what = if sagas == 1 { "one saga runs" } else { "sagas run" };
                let count = match sagas {
                    1 => String::new(),
                    COUNTED_MAX.. => format!("{COUNTED_MAX} or more "),
                    _ => format!("{sagas} "),
                };
                let detail = format!(
                    "{count}{what} on version {version} of `{name}`, such as {example}: wait for their ends; new ones take the \
                     newest version already, unless they name this one"
                );
                Err(Problem::definition_in_use(&detail)
                    .with("live_sagas", sagas.into())
                    .with("saga_id", example.to_string().into()))
            }
            Removal::Pinned { name: parent, version: pinned } => {
                let detail = format!(
                    "version {pinned} of `{parent}` has version {version} of `{name}` as a sub-saga: remove that first"
                );
                Err(Problem::definition_in_use(&detail)
                    .with("pinned_by", json!({"definition": parent, "version": pinned})))
            }
        }
    };
    gate::run(&rest, "DELETE /v1/definitions/{name}/{version}", Box::pin(work)).await
}

/// What changed between two versions: the newest and the one before it, where none are named.
pub(super) async fn diff(State(rest): State<Arc<Rest>>, path: Segment, uri: Uri) -> Response {
    let work = async {
        let params = Params::of(&uri, &["from", "to", "format"])?;
        let name = name_of(path)?;
        let expected = "a version, a number from 1";
        let (from, to) = (params.parsed("from", number, expected)?, params.parsed("to", number, expected)?);
        let is_text = match params.one("format")? {
            None | Some("json") => false,
            Some("text") => true,
            Some(_) => return Err(Problem::bad_parameter("format", "use json or text")),
        };
        let placed = rest.turns.place()?;
        let after = stored(&rest, &name, to).await?;
        let from = match from {
            Some(from) => from,
            None => rest.api.store.version_before(&name, after.version).await?.ok_or_else(|| {
                let detail = format!("there is no version of `{name}` before version {}", after.version);
                Problem::bad_parameter("from", &detail)
            })?,
        };
        let before = stored(&rest, &name, Some(from)).await?;
        let diff = placed.work(move || between(&before, &after)).await?;
        if is_text {
            let mut response = diff.to_string().into_response();
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            return Ok(response);
        }
        body::json(StatusCode::OK, &diff)
    };
    gate::run(&rest, "GET /v1/definitions/{name}/diff", work).await
}

fn between(before: &Stored, after: &Stored) -> Result<Diff, Problem> {
    let (old_draft, old) = Definitions::read_stored(before)?;
    let (new_draft, new) = Definitions::read_stored(after)?;
    Ok(Diff::between(
        Subject { draft: &old_draft, definition: &old, version: Some(before.version) },
        Subject { draft: &new_draft, definition: &new, version: Some(after.version) },
    ))
}
