//! The engine on real servers: what it does with good answers, bad ones, none, and with the death of
//! everything around it.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../support/support.rs"]
mod support;

mod announcements;
mod faults;
mod replicas;
mod sequence;
mod waits;
mod wire;
