//! `GET /v1/dead-letters`: messages that could not be used, newest first.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;

use super::params::{Params, page};
use super::{Rest, body, gate};
use crate::store::dead_letters::Listed;

const LIMIT_DEFAULT: u16 = 50;
const LIMIT_MAX: u16 = 500;

#[derive(Debug, Serialize)]
struct LettersView {
    dead_letters: Vec<Listed>,
    next_cursor: Option<String>,
}

/// Lists dead letters.
pub(super) async fn list(State(rest): State<Arc<Rest>>, uri: Uri) -> Response {
    let work = async {
        let params = Params::of(&uri, &["cursor", "limit"])?;
        let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
        let parse = |text: &str| i64::from_str_radix(text, 16).ok().filter(|before| *before > 0);
        let before = params.parsed("cursor", parse, "a cursor that an earlier page gave")?;
        let mut dead_letters = rest.api.store.dead_letters(before, i64::from(limit) + 1).await?;
        let next_cursor = page(&mut dead_letters, limit, |letter| format!("{:016x}", letter.id));
        body::json(StatusCode::OK, &LettersView { dead_letters, next_cursor })
    };
    gate::run(&rest, "GET /v1/dead-letters", work).await
}
