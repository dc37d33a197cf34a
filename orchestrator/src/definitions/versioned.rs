//! A definition in a certain version, and what inputs it takes.

use std::sync::OnceLock;

use snorri_language::input_schema::{BadSchema, InputSchema, Mismatch};
use snorri_saga::definition::Definition;
use snorri_saga::json::Json;

/// An input that has more bytes is not checked on the runtime's threads, which serve everybody.
const BYTES_AT_ONCE_MAX: usize = 4 * 1024;
/// Nor is one of which each byte could meet so many parts of the schema all in all: that may take half a millisecond.
const WORK_AT_ONCE_MAX: u64 = 100_000;

/// A definition with its version.
#[derive(Debug)]
pub struct Versioned {
    /// The checked definition.
    pub definition: Definition,
    /// Its version.
    pub version: u32,
    /// Its input's schema, compiled when the first input is checked.
    schema: OnceLock<Option<Result<InputSchema, BadSchema>>>,
    /// How many sagas it may become, once it is known.
    pub(super) family: OnceLock<u64>,
}

impl Versioned {
    /// A definition with its version.
    pub fn new(definition: Definition, version: u32) -> Self {
        Self { definition, version, schema: OnceLock::new(), family: OnceLock::new() }
    }

    /// Whether the input fits, as far as that is known in no time. `false`: perhaps.
    pub(super) fn fits_at_once(&self, input: &Json) -> bool {
        if self.definition.input.is_none() {
            return true;
        }
        let Some(Some(Ok(schema))) = self.schema.get() else { return false };
        let work = schema.parts().saturating_mul(u64::try_from(input.len()).unwrap_or(u64::MAX));
        input.len() <= BYTES_AT_ONCE_MAX
            && work <= WORK_AT_ONCE_MAX
            && serde_json::from_str(input.get()).is_ok_and(|value| schema.fits(&value))
    }

    /// What of an input does not fit. Takes a processor for as long as it takes.
    pub(super) fn mismatches(&self, input: &Json) -> Vec<Mismatch> {
        let of_all = |message: String| vec![Mismatch { pointer: String::new(), message }];
        let compile = || self.definition.input.as_deref().map(InputSchema::compile);
        let schema = match self.schema.get_or_init(compile) {
            None => return Vec::new(),
            Some(Ok(schema)) => schema,
            // It was compiled when it was submitted, by a build that took it.
            Some(Err(error)) => return of_all(format!("the definition's schema cannot be used: {error}")),
        };
        match serde_json::from_str(input.get()) {
            Ok(value) => schema.validate(&value),
            // Raw JSON may hold what no value can (half a surrogate pair).
            Err(error) => of_all(format!("it cannot be read: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versioned(schema: &serde_json::Value) -> Versioned {
        let draft = serde_json::json!({"name": "one", "input": schema, "steps": [
            {"name": "a", "participant": "p", "compensation": "none"}
        ]});
        let draft = serde_json::from_value(draft).expect("a draft");
        Versioned::new(Definition::from_draft(&draft).expect("a definition"), 1)
    }

    #[test]
    fn what_may_take_long_is_not_known_at_once() {
        let of = versioned(&serde_json::json!({"items": {"type": "integer"}}));
        let list = |item: &str, times: usize| {
            Json::parse(&format!("[{}]", vec![item; times].join(","))).expect("json")
        };
        assert!(!of.fits_at_once(&list("1", 2)), "not compiled");
        assert_eq!(of.mismatches(&list("1", 2)), []);
        assert!(of.fits_at_once(&list("1", 2)));
        assert!(!of.fits_at_once(&list("\"x\"", 1)), "it does not fit");
        assert!(!of.fits_at_once(&list("1", 4000)), "large");
        let words: Vec<_> = (0..1000).map(|n| serde_json::json!({"const": n})).collect();
        let of = versioned(&serde_json::json!({"items": {"anyOf": words}}));
        assert_eq!(of.mismatches(&list("1", 2)), []);
        assert!(!of.fits_at_once(&list("1", 500)), "much to compare with");
    }
}
