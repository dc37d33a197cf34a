//! The language of sagas: from a definition's text to what is known of it before it ever runs.
//!
//! Everything here is pure: text and values come in, values come out.

pub mod diagnostic;
pub mod text;
