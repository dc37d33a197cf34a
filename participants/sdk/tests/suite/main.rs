//! The SDK against a real Postgres and a real nats-server.

mod barrier;
#[path = "../../../../tests/support/barrier_model.rs"]
mod barrier_model;
mod batch;
mod failed;
mod laws;
mod model;
mod rig;
mod traces;
mod trouble;
