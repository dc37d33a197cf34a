//! `GET /v1/sagas/{id}` and its journal.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use snorri_saga::ids::{Name, SagaId};
use snorri_saga::journal::Event;
use snorri_saga::saga::Phase;
use snorri_saga::time::Timestamp;

use super::params::{Params, saga_id};
use super::view::{SagaView, is_quarantined};
use super::{Api, Rest, body, gate};
use crate::definitions::Versioned;
use crate::problem::Problem;
use crate::store::journal::Loaded;
use crate::store::search::Line;

const JOURNAL_LIMIT_DEFAULT: u16 = 200;
const JOURNAL_LIMIT_MAX: u16 = 1000;

/// A path's parameter, or why there is none.
pub(super) type Segment = Result<Path<String>, PathRejection>;

/// The text of a path's parameter.
pub(super) fn segment(segment: Segment) -> Result<String, Problem> {
    segment.map(|Path(text)| text).map_err(|error| Problem::bad_request(&error.body_text()))
}

/// A saga with everything that is needed to show it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) loaded: Loaded,
    versioned: Arc<Versioned>,
    line: Option<Line>,
}

impl Found {
    /// Looks a saga up.
    pub(super) async fn look_up(api: &Api, id: SagaId) -> Result<Self, Problem> {
        let (loaded, line) = tokio::try_join!(api.store.saga(id), api.store.line(id))?;
        let loaded = loaded.ok_or_else(|| Problem::unknown_saga(&id.to_string()))?;
        let versioned = definition_of(api, &loaded.saga.definition, loaded.saga.version).await?;
        Ok(Self { loaded, versioned, line })
    }

    /// Whether it has ended.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.loaded.saga.phase, Phase::Ended(_))
    }

    /// Changes with everything that is shown.
    fn etag(&self) -> String {
        let quarantine = if self.line.as_ref().is_some_and(is_quarantined) { "-quarantined" } else { "" };
        format!("\"{}{quarantine}\"", self.loaded.seq)
    }

    /// As a response.
    pub(super) fn respond(&self, status: StatusCode) -> Result<Response, Problem> {
        let view = SagaView::new(&self.loaded.saga, &self.versioned, self.line.as_ref());
        let mut response = body::json(status, &view)?;
        if let Ok(etag) = HeaderValue::try_from(self.etag()) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        Ok(response)
    }
}

/// The definition that a saga runs on. That there is none is no fault of the caller's.
pub(super) async fn definition_of(api: &Api, name: &Name, version: u32) -> Result<Arc<Versioned>, Problem> {
    match api.definitions.get(name.as_str(), Some(version)).await {
        Ok(versioned) => Ok(versioned),
        Err(crate::definitions::Error::Store(error)) => Err(error.into()),
        Err(error) => {
            tracing::error!(%error, "a saga's definition is gone");
            Err(Problem::internal("the saga's definition cannot be read"))
        }
    }
}

/// One saga.
pub(super) async fn saga(
    State(rest): State<Arc<Rest>>,
    id: Segment,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let work = async {
        Params::of(&uri, &[])?;
        let found = Found::look_up(&rest.api, saga_id(&segment(id)?)?).await?;
        if is_known_already(&headers, &found.etag()) {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, found.etag())]).into_response());
        }
        found.respond(StatusCode::OK)
    };
    gate::run(&rest, "GET /v1/sagas/{id}", work).await
}

fn is_known_already(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|known| known.trim().trim_start_matches("W/") == etag)
}

#[derive(Debug, Serialize)]
struct JournalView {
    rows: Vec<RowView>,
    /// The `after` of the next page.
    next_after: Option<i32>,
}

#[derive(Debug, Serialize)]
struct RowView {
    seq: i32,
    at: Timestamp,
    replica: String,
    events: Vec<Event>,
}

/// The journal of one saga.
pub(super) async fn journal(State(rest): State<Arc<Rest>>, id: Segment, uri: Uri) -> Response {
    let work = async {
        let id = saga_id(&segment(id)?)?;
        let params = Params::of(&uri, &["after", "limit"])?;
        let limit = params.limit(JOURNAL_LIMIT_DEFAULT, JOURNAL_LIMIT_MAX)?;
        let parse = |text: &str| text.parse::<i32>().ok().filter(|after| *after >= 0);
        let after = params.parsed("after", parse, "the number of a row, from 0")?.unwrap_or(0);
        let mut rows = rest.api.store.journal(id, after, i64::from(limit) + 1).await?;
        if rows.is_empty() && (after == 0 || rest.api.store.line(id).await?.is_none()) {
            return Err(Problem::unknown_saga(&id.to_string()));
        }
        let is_more = rows.len() > usize::from(limit);
        rows.truncate(usize::from(limit));
        let next_after = rows.last().map(|row| row.seq).filter(|_| is_more);
        let rows = rows
            .into_iter()
            .map(|row| RowView { seq: row.seq, at: row.at, replica: row.replica, events: row.events })
            .collect();
        body::json(StatusCode::OK, &JournalView { rows, next_after })
    };
    gate::run(&rest, "GET /v1/sagas/{id}/journal", work).await
}
