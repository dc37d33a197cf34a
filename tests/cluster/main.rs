//! Several hosts: three nats-servers as a cluster with streams on all three, a Postgres primary with a synchronous
//! standby, two orchestrators, and the demo's participants, each a process of its own, under load. One of them or
//! two are lost, and nothing that was accepted is.
//!
//! `SNORRI_CLUSTER_RATE` (starts a second) and `SNORRI_CLUSTER_SECONDS` (of load before and after each fault) make
//! the runs longer and harder.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod load;
mod nats;
mod postgres;
mod rig;
mod tail;
