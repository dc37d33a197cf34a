//! The simulator: the engine and the participants' SDK as they are, over models of the store, of the bus and of the
//! participants' databases, on one thread, with a virtual clock and one seed. `docs/simulator.md` tells what is real,
//! what is modelled, and how to read a failure.

mod audit;
#[path = "../support/barrier_model.rs"]
mod barrier_model;
mod bug;
mod bus;
mod check;
mod clients;
mod definitions;
mod effects;
mod families;
mod fault;
mod ledger;
mod orchestrators;
mod participants;
mod plan;
mod process;
mod process_slot;
mod run;
mod seeds;
mod sensitivity;
mod shape;
mod store;
mod streams;
mod tables;
mod weather;
mod world;
