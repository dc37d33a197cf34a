//! The orchestrator: moves sagas by the laws of [`snorri_saga`], with Postgres as the only truth and
//! JetStream as the courier.
//!
//! Rooms, from the bottom; each knows only those below it:
//!
//! ```text
//!   http · starts · signals · inbox · upkeep   the doors: people, services over NATS, replies, time
//!   engine                              load → decide → commit → publish → acknowledge
//!   intake · acts · definitions         what is let in, what is in force
//!   outbox · aside                      effects as messages; messages that cannot be used
//!   store · telemetry · metrics · clock · dice   Postgres; what is seen from outside; time; chance
//!   snorri-bus · snorri-saga            JetStream; the pure core
//! ```
//!
//! [`Replica`](replica::Replica) wires them; [`Orchestrator::start`] adds the servers.

mod acts;
mod aside;
pub mod clock;
pub mod config;
pub mod definitions;
mod delivery;
pub mod dice;
pub mod engine;
pub mod http;
mod inbox;
pub mod intake;
pub mod metrics;
mod orchestrator;
mod outbox;
pub mod problem;
pub mod replica;
mod requests;
mod signals;
mod starts;
pub mod store;
mod tasks;
pub mod telemetry;
mod upkeep;

pub use orchestrator::{Error, Orchestrator};

/// An error with its sources, on one line, for logs and people.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // A transparent error repeats its source's words.
        let words = error.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = error.source();
    }
    text
}
