//! The language of sagas: from a definition's text to what is known of it before it ever runs.
//!
//! Everything here is pure: text and values come in, values come out.

pub mod check;
pub mod diagnostic;
pub mod input_schema;
pub mod picture;
pub mod pin;
pub mod schema;
pub mod text;
pub mod worst_case;

mod lint;
mod types;
