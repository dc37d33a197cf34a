//! When to try again. A pure function of policy, saga, step and attempt: even the jitter, which is a hash
//! and not a dice roll, so that a replay waits as long as the live run did.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::EffectId;
use crate::time::Millis;

/// The longest pause of the slow lane, before its jitter, in which compensations and steps after the pivot are tried for ever.
pub const SLOW_LANE_CAP: Millis = Millis::secs(30);
/// How far a pause of the slow lane may differ from its nominal length: some, so that sagas that were
/// stopped together do not come back together; not all of it, so that the lane never runs hot.
const SLOW_LANE_JITTER: std::ops::RangeInclusive<f64> = 0.2..=0.5;
/// The shortest pause, whatever the policy and its jitter say.
const PAUSE_MIN: Millis = Millis(1);
/// After so many attempts of a compensation, or of a step behind the pivot, the saga is `blocked`, while attempts go on.
pub const BLOCKED_AFTER_ATTEMPTS: u32 = 3;
/// After so long of trying one of them the saga is `blocked`, while attempts go on. It is looked at when an attempt is missed.
pub const BLOCKED_AFTER: Millis = Millis::secs(60);

/// How often and when an operation is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// The pause before the second attempt.
    pub backoff: Millis,
    /// What each pause is multiplied with to give the next.
    pub factor: f64,
    /// The longest pause.
    pub cap: Millis,
    /// How far a pause may differ from its nominal length, as a share of it.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 3, backoff: Millis(200), factor: 2.0, cap: Millis::secs(5), jitter: 0.2 }
    }
}

impl RetryPolicy {
    /// What is out of range, by field, and what may be written instead.
    pub fn problems(&self) -> Vec<(&'static str, String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |field, message, mend: &str| problems.push((field, message, mend.to_owned()));
        if !(1..=100).contains(&self.attempts) {
            wrong("attempts", format!("{} attempts", self.attempts), "use 1 to 100");
        }
        if self.backoff > Millis::secs(3600) {
            wrong("backoff", format!("a backoff of {} is too long", self.backoff), "at most 1h");
        }
        if self.cap < self.backoff && self.cap == Self::default().cap {
            // Nobody need have written it.
            let message = format!(
                "a backoff of {} is longer than the cap, {} where it is left out",
                self.backoff, self.cap
            );
            wrong(
                "cap",
                message,
                &format!("write a `cap` of {} to 1h, or shorten the backoff", self.backoff),
            );
        } else if self.cap > Millis::secs(3600) || self.cap < self.backoff {
            let mend = format!("use the backoff ({}) to 1h", self.backoff);
            wrong("cap", format!("a cap of {}", self.cap), &mend);
        }
        if !(1.0..=10.0).contains(&self.factor) {
            wrong("factor", format!("a factor of {}", self.factor), "use 1 to 10");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            wrong("jitter", format!("a jitter of {}", self.jitter), "use 0 to 1");
        }
        problems
    }

    /// The pause after the given attempt (from 1), with its jitter; never nothing, so that time passes
    /// between any two attempts.
    pub fn pause(&self, effect: &EffectId, attempt: u32) -> Millis {
        spread(self.nominal(attempt, self.cap), self.jitter, effect, attempt).max(PAUSE_MIN)
    }

    /// The same for who asks to be left alone for so long: no longer than the pause can be by its jitter, since that is what
    /// [`Self::worst_case`] counts.
    pub fn pause_within(&self, effect: &EffectId, attempt: u32, asked: Millis) -> Millis {
        self.pause(effect, attempt).max(asked.min(self.pause_max(attempt)))
    }

    fn pause_max(&self, attempt: u32) -> Millis {
        scale(self.nominal(attempt, self.cap), 1.0 + self.jitter).max(PAUSE_MIN)
    }

    /// The pause after the given attempt in the slow lane: it goes on growing from where the policy
    /// ended, up to [`SLOW_LANE_CAP`], and always has some jitter.
    pub fn pause_slow(&self, effect: &EffectId, attempt: u32) -> Millis {
        let nominal = self.nominal(attempt, SLOW_LANE_CAP).max(Millis::secs(1));
        let jitter = self.jitter.clamp(*SLOW_LANE_JITTER.start(), *SLOW_LANE_JITTER.end());
        spread(nominal, jitter, effect, attempt)
    }

    /// The shortest pause after the given attempt.
    pub fn pause_at_least(&self, attempt: u32) -> Millis {
        scale(self.nominal(attempt, self.cap), 1.0 - self.jitter).max(PAUSE_MIN)
    }

    /// A pause as long as the slow lane has them, before what no participant was asked for is tried again.
    pub fn pause_longest(&self, effect: &EffectId) -> Millis {
        let jitter = self.jitter.clamp(*SLOW_LANE_JITTER.start(), *SLOW_LANE_JITTER.end());
        spread(SLOW_LANE_CAP, jitter, effect, 0)
    }

    /// The longest that all attempts with their pauses may take.
    pub fn worst_case(&self, timeout: Millis) -> Millis {
        (1..=self.attempts).fold(Millis(0), |sum, attempt| {
            let pause = if attempt < self.attempts { self.pause_max(attempt) } else { Millis(0) };
            sum.plus(timeout).plus(pause)
        })
    }

    fn nominal(&self, attempt: u32, cap: Millis) -> Millis {
        let exponent = i32::try_from(attempt.saturating_sub(1).min(64)).unwrap_or(64);
        scale(self.backoff, self.factor.powi(exponent)).min(cap)
    }
}

fn spread(nominal: Millis, jitter: f64, effect: &EffectId, attempt: u32) -> Millis {
    // A number of 0..1 that is the same for the same effect and attempt.
    let digest: [u8; 32] = Sha256::digest(format!("{effect}.{attempt}").as_bytes()).into();
    let [a, b, ..] = digest;
    let share = f64::from(u16::from_be_bytes([a, b])) / f64::from(u16::MAX);
    scale(nominal, 1.0 + jitter * (2.0 * share - 1.0))
}

fn scale(span: Millis, by: f64) -> Millis {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "spans are at most a year and factors at most 10^64: the cast saturates, which the caps undo"
    )]
    Millis((span.0 as f64 * by.max(0.0)).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Direction, SagaId};

    fn effect() -> EffectId {
        EffectId {
            saga: SagaId(uuid::Uuid::from_u128(7)),
            step: "pay".parse().expect("a step"),
            direction: Direction::Action,
        }
    }

    #[test]
    fn pauses_grow_by_the_factor_up_to_the_cap() {
        let policy = RetryPolicy { jitter: 0.0, attempts: 10, cap: Millis(1000), ..RetryPolicy::default() };
        let pauses: Vec<u64> = (1..=5).map(|attempt| policy.pause(&effect(), attempt).0).collect();
        assert_eq!(pauses, [200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn jitter_is_the_same_for_the_same_attempt_and_stays_in_its_range() {
        let policy = RetryPolicy { jitter: 0.5, ..RetryPolicy::default() };
        for attempt in 1..50 {
            let pause = policy.pause(&effect(), attempt);
            assert_eq!(pause, policy.pause(&effect(), attempt));
            let nominal = policy.nominal(attempt, policy.cap).0;
            assert!((nominal / 2..=nominal + nominal / 2).contains(&pause.0), "{pause}");
        }
    }

    #[test]
    fn the_slow_lane_never_ends_and_never_runs_hot() {
        let policy = RetryPolicy { backoff: Millis(0), ..RetryPolicy::default() };
        for attempt in [1, 100, u32::MAX] {
            let pause = policy.pause_slow(&effect(), attempt);
            assert!((Millis(800)..=Millis::secs(36)).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn no_jitter_takes_a_pause_away() {
        let policy = RetryPolicy { backoff: Millis(0), jitter: 1.0, ..RetryPolicy::default() };
        for attempt in 1..1000 {
            assert!(policy.pause(&effect(), attempt) >= Millis(1));
            assert!((Millis(500)..=Millis::secs(45)).contains(&policy.pause_slow(&effect(), attempt)));
        }
        assert_eq!(policy.worst_case(Millis(1000)), Millis(3002));
    }

    #[test]
    fn no_pause_that_is_asked_for_is_longer_than_the_worst_case_counts_it() {
        let policy = RetryPolicy { backoff: Millis(100), jitter: 0.5, ..RetryPolicy::default() };
        for attempt in 1..4 {
            let most = policy.nominal(attempt, policy.cap).0 * 3 / 2;
            assert_eq!(policy.pause_within(&effect(), attempt, Millis::secs(30)), Millis(most));
            assert_eq!(policy.pause_within(&effect(), attempt, Millis(0)), policy.pause(&effect(), attempt));
        }
    }

    #[test]
    fn the_worst_case_counts_every_attempt_and_every_pause_at_its_longest() {
        let policy = RetryPolicy { attempts: 3, backoff: Millis(100), jitter: 0.5, ..RetryPolicy::default() };
        assert_eq!(policy.worst_case(Millis(1000)), Millis(3000 + 150 + 300));
        assert_eq!((policy.pause_at_least(1), policy.pause_at_least(2)), (Millis(50), Millis(100)));
    }
}
