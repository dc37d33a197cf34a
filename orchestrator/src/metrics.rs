//! The metrics that matter, in Prometheus' words. One registry an orchestrator: nothing global.

use snorri_saga::definition::Definition;
use snorri_saga::journal::Event;
use snorri_saga::saga::Saga;
use snorri_saga::time::Timestamp;

/// All metrics of one orchestrator.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// A transition was committed.
    pub fn committed(
        &self,
        _before: Option<&Saga>,
        _after: &Saga,
        _definition: &Definition,
        _events: &[Event],
        _at: Timestamp,
    ) {
    }
    /// A batch of so many transitions took so long to commit.
    pub fn batch(&self, _size: usize, _seconds: f64) {}
    /// Commands and announcements took so long to be acknowledged.
    pub fn published(&self, _count: usize, _failed: usize, _seconds: f64) {}
    /// An input changed nothing.
    pub fn ignored(&self, _reason: &'static str) {}
    /// A message was kept aside.
    pub fn dead_letter(&self, _reason: &'static str) {}
    /// A start was refused.
    pub fn refused(&self, _reason: &'static str) {}
    /// So many sagas were taken over.
    pub fn taken_over(&self, _count: usize) {}
    /// A saga lost its race for the next row.
    pub fn lost_race(&self) {}
    /// So many live sagas are in this replica's memory.
    pub fn live(&self, _lane: usize, _count: usize) {}
    /// Postgres answers or does not.
    pub fn postgres_up(&self, _up: bool) {}
    /// NATS is connected or is not.
    pub fn nats_up(&self, _up: bool) {}
    /// A saga cannot be read or decided.
    pub fn quarantined(&self) {}
}
