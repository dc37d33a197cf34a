//! Where results are written to: JSON text with a limit.

use std::io;

use serde_json::Value as Given;

use super::names::Unresolved;
use super::value::{List, Map, Value};
use crate::json::{Json, deeper_than};
use crate::wire::limit;

/// JSON text that is put together, never beyond its limit: a small template can name a large payload many times.
#[derive(Debug)]
pub(crate) struct Sink {
    text: Vec<u8>,
    bytes_max: usize,
}

/// A value that JSON has no words for.
#[derive(Debug)]
pub(super) enum Unwritable {
    /// Infinite, or no number at all.
    NotFinite,
    /// The limit.
    Full,
}

impl Sink {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { text: Vec::new(), bytes_max }
    }

    pub(crate) fn full(&self) -> Unresolved {
        Unresolved::TooLarge(self.bytes_max)
    }

    /// A piece of JSON text.
    pub(crate) fn raw(&mut self, text: &str) -> Result<(), Unresolved> {
        io::Write::write_all(self, text.as_bytes()).map_err(|_| self.full())
    }

    /// The shortest value, in the place of one that is not known yet.
    pub(crate) fn unknown(&mut self) -> Result<(), Unresolved> {
        self.raw("0")
    }

    /// A value of a payload or of a template, with the digits that it came with.
    pub(crate) fn given(&mut self, value: &Given) -> Result<(), Unresolved> {
        serde_json::to_writer(&mut *self, value).map_err(|_| self.full())
    }

    /// A text in quotes.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Unresolved> {
        serde_json::to_writer(&mut *self, text).map_err(|_| self.full())
    }

    /// The result of an evaluation. Every part takes a byte at least, and so the limit ends it.
    pub(super) fn value(&mut self, value: &Value<'_>) -> Result<(), Unwritable> {
        let full = |_| Unwritable::Full;
        match value {
            Value::Null => self.raw("null").map_err(full),
            Value::Bool(value) => self.raw(if *value { "true" } else { "false" }).map_err(full),
            Value::Int(value) => self.raw(&value.to_string()).map_err(full),
            Value::Double(value) => {
                let number = serde_json::Number::from_f64(*value).ok_or(Unwritable::NotFinite)?;
                self.raw(number.as_str()).map_err(full)
            }
            Value::Number(number) => self.raw(number.as_str()).map_err(full),
            Value::Text(text) => self.text(text.as_str()).map_err(full),
            Value::List(List::Given(items)) => {
                serde_json::to_writer(&mut *self, items).map_err(|_| Unwritable::Full)
            }
            Value::Map(Map::Given(fields)) => {
                serde_json::to_writer(&mut *self, fields).map_err(|_| Unwritable::Full)
            }
            Value::List(List::Made(items)) => {
                self.raw("[").map_err(full)?;
                for (place, item) in items.iter().enumerate() {
                    self.raw(if place == 0 { "" } else { "," }).map_err(full)?;
                    self.value(item)?;
                }
                self.raw("]").map_err(full)
            }
            Value::Map(Map::Made(fields)) => {
                self.raw("{").map_err(full)?;
                for (place, (key, item)) in fields.iter().enumerate() {
                    self.raw(if place == 0 { "" } else { "," }).map_err(full)?;
                    self.text(key).map_err(full)?;
                    self.raw(":").map_err(full)?;
                    self.value(item)?;
                }
                self.raw("}").map_err(full)
            }
        }
    }

    /// What was put together, if it nests no deeper than a payload may.
    pub(crate) fn finish(self) -> Result<Json, Unresolved> {
        if deeper_than(&self.text, limit::JSON_DEPTH_MAX) {
            return Err(Unresolved::TooDeep(limit::JSON_DEPTH_MAX));
        }
        // What was put together of JSON texts is one.
        let json = String::from_utf8(self.text).ok().and_then(|text| Json::parse(&text).ok());
        Ok(json.unwrap_or_else(Json::null))
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
