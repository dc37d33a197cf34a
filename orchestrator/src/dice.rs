//! Where chance comes from: ids, and pauses that keep replicas out of step. The operating system's in production, a seed
//! in the simulator, so that a run can be had again.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use snorri_saga::time::Timestamp;
use uuid::Uuid;

/// A source of chance.
#[derive(Debug)]
pub struct Dice(Option<Mutex<StdRng>>);

impl Dice {
    /// As good as the operating system's.
    pub fn fair() -> Self {
        Self(None)
    }

    /// The same throws for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A UUIDv7 of the given time, so that ids sort by Postgres's clock and not by this machine's.
    pub(crate) fn uuid(&self, now: Timestamp) -> Uuid {
        let ms = u64::try_from(now.micros() / 1000).unwrap_or(0);
        let random: [u8; 10] = match &self.0 {
            None => rand::random(),
            Some(seeded) => seeded.lock().unwrap_or_else(PoisonError::into_inner).random(),
        };
        uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    }

    pub(crate) fn range(&self, range: Range<f64>) -> f64 {
        match &self.0 {
            None => rand::random_range(range),
            Some(seeded) => seeded.lock().unwrap_or_else(PoisonError::into_inner).random_range(range),
        }
    }
}
