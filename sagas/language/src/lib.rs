//! The language of sagas: from a definition's text to what is known of it before it ever runs.
//!
//! Everything here is pure: text and values come in, values come out.

pub mod check;
pub mod diagnostic;
pub mod diff;
pub mod explore;
pub mod family;
pub mod input_schema;
pub mod picture;
pub mod pin;
pub mod reference;
pub mod schema;
pub mod text;
pub mod worst_case;

mod lint;
mod types;

use snorri_saga::definition::{Definition, Draft};

/// What is looked at: a definition that passed the checks, and the draft that it was made of, which has the texts as people wrote them.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// As it was written.
    pub draft: &'a Draft,
    /// As it was checked.
    pub definition: &'a Definition,
    /// Its version, where it has one.
    pub version: Option<u32>,
}
