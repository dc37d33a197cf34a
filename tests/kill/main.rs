//! Kill points on a real Postgres and a real nats-server: at each named place of the code a process is killed, stands
//! still, or fails, with twenty sagas under way; then everything must have ended, once, and the books must balance.
//! `docs/kill-points.md` says what is lost at each place.
//!
//! `cargo test` kills each point at its first hit. All cases: `.ci/kill-points`.

// A release build has no points: there is nothing to test.
#![cfg(debug_assertions)]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../support/support.rs"]
#[allow(dead_code, reason = "shared with other suites, which use other parts of it")]
mod support;

mod case;
mod fleet;
mod judge;
mod load;
mod place;
mod run;

use snorri_kill::{Action, Point};

use crate::case::Case;

/// Every point of the list is reached, and a death there harms nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_point_survives_being_killed_at_its_first_hit() {
    let cases = Case::all()
        .into_iter()
        .filter(|case| case.action == Action::Kill && case.hit == 1)
        .collect::<Vec<_>>();
    assert_eq!(cases.len(), Point::ALL.len());
    run::all(cases).await;
}

/// Each point by each way to go wrong at the first and at the third hit. `SNORRI_KILL_CASES` chooses among them: words
/// of which a case's name must contain one, such as `committed,.hang.3`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes ten minutes and more: .ci/kill-points"]
async fn each_point_survives_each_way_to_go_wrong() {
    let wanted = std::env::var("SNORRI_KILL_CASES").unwrap_or_default();
    let is_wanted =
        |case: &Case| wanted.is_empty() || wanted.split(',').any(|word| case.name().contains(word));
    let cases: Vec<Case> = Case::all().into_iter().filter(is_wanted).collect();
    assert!(!cases.is_empty(), "SNORRI_KILL_CASES={wanted} chooses none");
    run::all(cases).await;
}

#[test]
fn each_point_is_explained() {
    let text = include_str!("../../docs/kill-points.md");
    for point in Point::ALL {
        assert!(text.contains(&format!("| `{}` |", point.name())), "{} is missing", point.name());
    }
}
