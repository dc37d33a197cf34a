//! `/v1/definitions/{name}/graph`, and the schema of the language: what editors and people look at.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use snorri_language::picture::{self, Format};
use snorri_language::{Subject, schema};
use snorri_saga::ids::Name;

use super::definitions::stored;
use super::params::Params;
use super::sagas::Segment;
use super::versions::{NameAndVersion, name_and_version, name_of};
use super::{Rest, gate};
use crate::definitions::Definitions;
use crate::problem::Problem;

/// What a browser may do with what is shown: nothing, but use the styles that are in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The picture of the newest version.
pub(super) async fn newest(State(rest): State<Arc<Rest>>, path: Segment, uri: Uri) -> Response {
    let work = async { draw(&rest, &name_of(path)?, None, &uri).await };
    gate::run(&rest, "GET /v1/definitions/{name}/graph", work).await
}

/// The picture of one version.
pub(super) async fn version(State(rest): State<Arc<Rest>>, path: NameAndVersion, uri: Uri) -> Response {
    let work = async {
        let (name, version) = name_and_version(path)?;
        draw(&rest, &name, Some(version), &uri).await
    };
    gate::run(&rest, "GET /v1/definitions/{name}/{version}/graph", work).await
}

async fn draw(rest: &Rest, name: &Name, version: Option<u32>, uri: &Uri) -> Result<Response, Problem> {
    let params = Params::of(uri, &["format"])?;
    let words = Format::WORDS.map(|(word, _)| word).join(" or ");
    let format = params.parsed("format", Format::of_word, &words)?.unwrap_or_default();
    let placed = rest.turns.place()?;
    let stored = stored(rest, name, version).await?;
    let picture = placed.work(move || {
        let (draft, definition) = Definitions::read_stored(&stored)?;
        let subject = Subject { draft: &draft, definition: &definition, version: Some(stored.version) };
        Ok(picture::draw(subject, format))
    });
    Ok(shown(picture.await?, format.content_type()))
}

fn shown(text: String, kind: &'static str) -> Response {
    let mut response = text.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] as [(HeaderName, &'static str); 3]
    {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The JSON Schema of definitions.
pub(super) async fn schema(State(rest): State<Arc<Rest>>, uri: Uri) -> Response {
    let work = async {
        Params::of(&uri, &[])?;
        Ok(shown(schema::text(), schema::CONTENT_TYPE))
    };
    gate::run(&rest, "GET /v1/definitions/schema", work).await
}
