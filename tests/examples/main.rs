//! The example definitions of `sagas/definitions` on the real stack: each is run to both kinds of ending, against its
//! services with their books, and then everything is counted. (The order is run by the demo, by the kill points
//! and by the chaos run.)
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../support/support.rs"]
#[allow(dead_code, reason = "shared with other suites, which use other parts of it")]
mod support;

mod bank_transfer;
mod fair;
mod holiday;
mod import;
mod signup;
mod travel;
