//! What a seed stands for: every parameter of a simulation, drawn once. Each seed switches a part of the faults on, each
//! at a rate of its own: faults that are spread evenly heal by luck, and hide what a few kinds together do.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::fault::Fault;

/// How a simulation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Faults all along: nothing forbidden happens.
    Safety,
    /// All heals at some instant: everything ends.
    Liveness,
}

/// A minority that stays dead when everything else heals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StaysDead {
    Nobody,
    Orchestrator,
    ParticipantReplica,
}

/// The parameters of one simulation.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) stays_dead: StaysDead,
    pub(crate) orchestrators: usize,
    pub(crate) lanes: usize,
    /// The participants, each with its replicas.
    pub(crate) participants: Vec<ParticipantPlan>,
    pub(crate) definitions: usize,
    pub(crate) sagas: usize,
    /// Over how long they are started.
    pub(crate) starts_over: Duration,
    /// When it heals, or when it is over where it does not.
    pub(crate) chaos_for: Duration,
    pub(crate) cancels: f64,
    pub(crate) keyed: f64,
    pub(crate) over_nats: f64,
    /// Small input, or one near the limits now and then.
    pub(crate) large_inputs: f64,
    /// Messages are in no hurry: up to so many milliseconds.
    pub(crate) latency_ms: u64,
    pub(crate) store_latency_ms: u64,
    pub(crate) rates: BTreeMap<Fault, f64>,
}

/// A participant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParticipantPlan {
    pub(crate) replicas: usize,
    /// So many commands in one transaction, or one by one, so many at once.
    pub(crate) batch: Option<usize>,
    pub(crate) concurrency: usize,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut unit = || rng.random_range(0.0..1.0_f64);
        // A calm one now and then: everything must be perfect then.
        let is_calm = unit() < 0.04;
        let mut rates = BTreeMap::new();
        for fault in Fault::ALL {
            let (is_on, stretch) = (unit() < fault.share(), unit());
            if is_on && !is_calm {
                // From a quarter of the usual to four times of it.
                rates.insert(*fault, fault.rate() * 4.0_f64.powf(2.0 * stretch - 1.0));
            }
        }
        let mode = if unit() < 0.3 { Mode::Safety } else { Mode::Liveness };
        let orchestrators = 2 + rng.random_range(0..3_usize);
        let participants: Vec<ParticipantPlan> = (0..rng.random_range(3..=5_usize))
            .map(|_| ParticipantPlan {
                replicas: if rng.random_range(0..10) < 4 { 2 } else { 1 },
                batch: (rng.random_range(0..10) < 4).then(|| rng.random_range(2..=32)),
                concurrency: rng.random_range(1..=16),
            })
            .collect();
        let stays_dead = match rng.random_range(0..10) {
            0..2 => StaysDead::Orchestrator,
            2 if participants.iter().any(|one| one.replicas > 1) => StaysDead::ParticipantReplica,
            _ => StaysDead::Nobody,
        };
        let starts_over = Duration::from_secs(rng.random_range(60..=300));
        let chaos_for = match mode {
            Mode::Safety => Duration::from_mins(10),
            Mode::Liveness => starts_over.mul_f64(rng.random_range(0.6..1.6)).max(Duration::from_secs(90)),
        };
        Self {
            seed,
            mode,
            stays_dead: if is_calm || mode == Mode::Safety { StaysDead::Nobody } else { stays_dead },
            orchestrators,
            lanes: rng.random_range(1..=3),
            participants,
            definitions: rng.random_range(2..=5),
            sagas: rng.random_range(50..=200),
            starts_over,
            chaos_for,
            cancels: [0.0, 0.03, 0.1][rng.random_range(0..3_usize)],
            keyed: [0.3, 0.6, 0.9][rng.random_range(0..3_usize)],
            over_nats: [0.0, 0.2, 0.5][rng.random_range(0..3_usize)],
            large_inputs: if rng.random_range(0..10) == 0 { 0.05 } else { 0.0 },
            latency_ms: [2, 10, 60][rng.random_range(0..3_usize)],
            store_latency_ms: [2, 8, 40][rng.random_range(0..3_usize)],
            rates,
        }
    }

    /// How often a fault strikes: of calls, or an hour.
    pub(crate) fn rate(&self, fault: Fault) -> f64 {
        self.rates.get(&fault).copied().unwrap_or(0.0)
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.rates.contains_key(&fault)
    }

    /// Whether nothing ever goes wrong in it.
    pub(crate) fn is_calm(&self) -> bool {
        self.rates.is_empty()
    }

    /// With a fault at a given rate; used by the tests of the simulator itself.
    pub(crate) fn with(mut self, fault: Fault, rate: f64) -> Self {
        self.rates.insert(fault, rate);
        self
    }

    /// With these faults and no others.
    pub(crate) fn only(mut self, faults: &[(Fault, f64)]) -> Self {
        self.rates = faults.iter().copied().collect();
        self
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rates, .. } = self;
        let bare = Self { rates: BTreeMap::new(), ..self.clone() };
        writeln!(f, "{bare:#?}")?;
        for (fault, rate) in rates {
            writeln!(f, "  {:<55} {rate:.5}", fault.word())?;
        }
        Ok(())
    }
}
