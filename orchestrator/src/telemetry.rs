//! Traces, derived from committed facts.

use snorri_saga::definition::Definition;
use snorri_saga::journal::Event;
use snorri_saga::saga::Saga;
use snorri_saga::time::Timestamp;

/// Exports the spans of committed transitions. Cheap when no endpoint is set.
#[derive(Debug, Default)]
pub struct Tracer {}

impl Tracer {
    /// A tracer that exports to the endpoint, if there is one.
    pub fn new(_endpoint: Option<&str>) -> Result<Self, crate::Error> {
        Ok(Self {})
    }

    /// Exports what is left.
    pub async fn shut_down(&self) {}

    /// A transition was committed: export the spans that it ended.
    pub fn committed(
        &self,
        _before: Option<&Saga>,
        _after: &Saga,
        _definition: &Definition,
        _events: &[Event],
        _at: Timestamp,
    ) {
    }
    /// Whether commands carry a sampled trace context.
    pub fn is_on(&self) -> bool {
        false
    }
}
