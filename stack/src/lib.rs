//! Finds or installs Postgres and nats-server, and runs private instances of both for development and tests.
//!
//! Everything here is blocking `std` code. Nothing here is for production: there, Snorri is given the addresses of
//! servers that somebody else runs.
//!
//! - [`ensure_tools`] answers where the programs are, installing them when that is allowed (`find`, `install`).
//!   `SNORRI_STACK_POSTGRES` and `SNORRI_STACK_NATS` choose them, by version or by path (`choice`).
//! - [`Stack`] is one private pair of servers in one folder; both end with the process that started them.
//! - [`NatsCluster`] and [`PostgresPair`] are several servers that stand in for one another: three of NATS, and
//!   a Postgres with a standby behind an address ([`Forwarder`]) that stays the same.
//! - [`TestStack`] is one pair shared by all test processes of a run; it ends when the last of them has ended.
//!
//! Start reading at [`Stack::start`].

mod apt;
mod choice;
mod client;
mod error;
mod find;
mod forwarder;
mod install;
mod nats;
mod nats_cluster;
mod place;
mod postgres;
mod postgres_pair;
mod process;
mod shared;
mod stack;
mod wheels;

pub use error::Error;
pub use find::{Tools, find_tools};
pub use forwarder::Forwarder;
pub use install::ensure_tools;
pub use nats::Nats;
pub use nats_cluster::NatsCluster;
pub use postgres::{Postgres, StopMode};
pub use postgres_pair::{PostgresPair, Replication};
pub use process::{Signal, send_signal};
pub use shared::TestStack;
pub use stack::{Options, Stack};

/// Told, one line at a time, what is being done; meant for the screen.
pub type Say = std::sync::Arc<dyn Fn(&str) + Send + Sync>;

/// What this crate's functions answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;
