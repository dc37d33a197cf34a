//! The REST API, as its users meet it: every answer that `docs/rest.md` promises, on real servers.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "tests")]

#[path = "../support/support.rs"]
#[allow(dead_code, reason = "shared with other suites, which use other parts of it")]
mod support;

mod admin;
mod approvals;
mod cancelling;
mod checking;
mod dead_letters;
mod definitions;
mod desk;
mod inputs;
mod listing;
mod outage;
mod pictures;
mod problems;
mod reading;
mod signals;
mod starts;
mod sub_sagas;
mod versions;
mod views;
mod waiting;
