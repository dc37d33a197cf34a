//! The orchestrator: moves sagas by the laws of [`snorri_saga`], with Postgres as the only truth and
//! JetStream as the courier.
//!
//! Rooms, from the bottom; each knows only those below it:
//!
//! ```text
//!   http · starts · inbox · upkeep      the doors: people, NATS starts, replies, time
//!   engine                              load → decide → commit → publish → acknowledge
//!   intake · definitions · outbox       what is let in, what is in force, effects as messages
//!   store · telemetry · metrics · clock Postgres; what is seen from outside; time
//!   snorri-bus · snorri-saga            JetStream; the pure core
//! ```
//!
//! [`Orchestrator::start`] wires them.

pub mod clock;
pub mod config;
pub mod definitions;
pub mod engine;
pub mod http;
mod inbox;
pub mod intake;
pub mod metrics;
mod orchestrator;
mod outbox;
pub mod problem;
mod starts;
pub mod store;
pub mod telemetry;
mod upkeep;

pub use orchestrator::{Error, Orchestrator};
