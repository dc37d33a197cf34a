//! The SDK against a real Postgres and a real nats-server.

mod barrier;
mod batch;
mod rig;
mod traces;
mod trouble;
