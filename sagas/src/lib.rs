//! What a saga *is*: its definition, its journal, and the two pure functions that move it.
//!
//! Nothing here does I/O, reads a clock, draws a random number or awaits: time and ids come in with the
//! input, and what must happen outside comes out as effects. So a saga can be replayed, explored and
//! tested as a value.
//!
//! ```text
//!  definition ─┐
//!  state ──────┼─► decide ─► events ─► evolve ─► state
//!  input, now ─┘        └──► effects (commands to publish, an end to announce)
//! ```
//!
//! Start reading at [`decide`], then [`saga`] (the state and its fold), then [`journal`].
#![deny(clippy::wildcard_enum_match_arm, clippy::indexing_slicing)]

pub mod decide;
pub mod definition;
pub mod expression;
pub mod ids;
pub mod journal;
pub mod json;
pub mod retry;
pub mod saga;
pub mod template;
pub mod time;
pub mod told;
pub mod trace;
pub mod wire;
