//! The engine on real servers: what it does with good answers, bad ones, none, and with the death of
//! everything around it.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../support/support.rs"]
mod support;

mod announcements;
mod family;
#[cfg(debug_assertions)]
mod family_killed;
mod family_room;
mod faults;
mod process;
mod replicas;
mod sequence;
mod waits;
mod wire;
