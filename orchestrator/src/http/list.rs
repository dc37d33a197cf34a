//! `GET /v1/sagas`: lists and filters, newest first, page by page.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use snorri_saga::ids::{Name, SagaId};
use snorri_saga::saga::Status;
use snorri_saga::time::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::params::{Params, page};
use super::{Rest, body, gate};
use crate::problem::Problem;
use crate::store;
use crate::store::search::{Filter, LIST_TIMEOUT_SECS, Line, is_too_slow};

const KNOWN: [&str; 8] = ["definition", "status", "tag", "cause", "since", "until", "limit", "cursor"];
/// How many lists are made at once: a rare filter has to look at many sagas, and must leave the pool of
/// connections to those who start, read and wait.
pub(super) const LISTING_MAX: usize = 2;
/// How long a list waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

const LIMIT_DEFAULT: u16 = 50;
const LIMIT_MAX: u16 = 500;

#[derive(Debug, Serialize)]
struct ListView {
    sagas: Vec<Line>,
    next_cursor: Option<String>,
}

/// Lists sagas.
pub(super) async fn list(State(rest): State<Arc<Rest>>, uri: Uri) -> Response {
    let work = async {
        let params = Params::of(&uri, &KNOWN)?;
        let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
        let mut sagas = search(&rest, filter(&params)?, i64::from(limit) + 1).await?;
        let next_cursor = page(&mut sagas, limit, |line| line.id.0.simple().to_string());
        body::json(StatusCode::OK, &ListView { sagas, next_cursor })
    };
    gate::run(&rest, "GET /v1/sagas", work).await
}

async fn search(rest: &Rest, filter: Filter, limit: i64) -> Result<Vec<Line>, Problem> {
    let store = rest.api.store.clone();
    let why = "since few sagas match the filter: narrow it with `since`";
    in_turn(rest, why, Box::pin(async move { store.search(&filter, limit).await })).await
}

/// Has something read that may make the database look at many sagas. `why` is what to say if it took too long.
pub(super) async fn in_turn<T: Send + 'static>(
    rest: &Rest,
    why: &str,
    read: impl Future<Output = Result<T, store::Error>> + Send + 'static,
) -> Result<T, Problem> {
    let turn = match tokio::time::timeout(TURN_TIMEOUT, rest.listing.clone().acquire_owned()).await {
        Ok(turn) => turn.map_err(|_| Problem::shutting_down())?,
        Err(_) => return Err(Problem::overloaded("lists")),
    };
    let reading = tokio::spawn(async move {
        // Held to the end, even when nobody waits for it any more: the database is still at it.
        let _turn = turn;
        read.await
    });
    match reading.await {
        Ok(Ok(lines)) => Ok(lines),
        Ok(Err(error)) if is_too_slow(&error) => Err(too_slow(why)),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => {
            tracing::error!(%error, "a list could not be made");
            Err(Problem::internal("the list could not be made; the log of this replica has the reason"))
        }
    }
}

fn too_slow(why: &str) -> Problem {
    let detail = format!("the list could not be put together within {LIST_TIMEOUT_SECS} s, {why}");
    Problem::new(503, "list-too-slow", "The list takes too long", detail).retry_after_ms(2000)
}

fn filter(params: &Params) -> Result<Filter, Problem> {
    let name = |text: &str| Name::new(text).ok();
    let expected = "a definition's name";
    let definition = params.parsed("definition", name, expected)?.map(|name| name.to_string());
    let mut statuses = Vec::new();
    for word in params.all("status").flat_map(|value| value.split(',')) {
        let status = Status::ALL.into_iter().find(|status| status.as_str() == word).ok_or_else(|| {
            let shown: String = word.chars().take(80).collect();
            let allowed: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
            let text = format!("`{shown}` is none of {}", allowed.join(", "));
            Problem::bad_parameter("status", &text).with("allowed", allowed.into())
        })?;
        if !statuses.contains(&status) {
            statuses.push(status);
        }
    }
    let tags = params
        .all("tag")
        .map(|tag| match tag.split_once(':') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Problem::bad_parameter("tag", "is written as `key:value`")),
        })
        .collect::<Result<_, _>>()?;
    let instant = "an instant of RFC 3339, such as 2026-01-31T12:00:00Z (a `+` in a URL is written %2B)";
    let cursor = "a cursor that an earlier page gave";
    let saga = |text: &str| uuid::Uuid::try_parse(text).ok().map(SagaId);
    Ok(Filter {
        definition,
        statuses,
        tags,
        cause: params.one("cause")?.map(str::to_owned),
        since: params.parsed("since", timestamp, instant)?,
        until: params.parsed("until", timestamp, instant)?,
        before: params.parsed("cursor", saga, cursor)?,
    })
}

fn timestamp(text: &str) -> Option<Timestamp> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(Timestamp::from_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Filter, Problem> {
        filter(&Params::of(&format!("/v1/sagas?{query}").parse().expect("a uri"), &KNOWN)?)
    }

    #[test]
    fn statuses_may_be_repeated_or_separated_by_commas() {
        let filter = read("status=running,blocked&status=running&status=completed").expect("a filter");
        assert_eq!(filter.statuses, [Status::Running, Status::Blocked, Status::Completed]);
    }

    #[test]
    fn a_bad_value_is_refused_with_its_parameter_and_what_is_allowed() {
        for (query, name, part) in [
            ("status=done", "status", "running, compensating, blocked"),
            ("status=running,", "status", "running, compensating, blocked"),
            ("tag=vip", "tag", "key:value"),
            ("since=yesterday", "since", "RFC 3339"),
            ("until=2026-13-01T00:00:00Z", "until", "RFC 3339"),
            ("definition=A*", "definition", "name"),
            ("cursor=next", "cursor", "earlier page"),
        ] {
            let problem = read(query).expect_err(query);
            assert_eq!((problem.status(), &problem.to_json()["parameter"]), (400, &name.into()));
            assert!(problem.detail().contains(part), "{}", problem.detail());
        }
    }

    #[test]
    fn a_tag_ends_at_its_first_colon() {
        assert_eq!(read("tag=at:12:30").expect("a filter").tags, [("at".to_owned(), "12:30".to_owned())]);
    }
}
