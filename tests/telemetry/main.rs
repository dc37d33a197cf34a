//! What an orchestrator shows of itself: traces at a real OTLP receiver, and `/metrics`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "tests; counts are whole"
)]

#[path = "../support/support.rs"]
#[allow(dead_code, reason = "shared with other suites")]
mod support;

mod metrics;
mod openmetrics;
mod receiver;
mod traces;
mod words;
