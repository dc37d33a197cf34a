//! Which sagas are traced. Decided on the id alone, so that every replica, before and after a takeover,
//! decides alike, and a trace is there whole or not at all.

use std::env;

use snorri_saga::ids::SagaId;

/// The random bits at the end of a UUIDv7 that are looked at: as many as W3C's random trace ids promise.
/// (The 64 bits that most samplers take begin, in a UUID, with two that are always the same.)
const BITS: u32 = 56;

/// Traces a share of all sagas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sampler {
    /// Sampled when the id's bits are not below it.
    threshold: u64,
}

impl Sampler {
    pub(super) const ALL: Self = Self { threshold: 0 };

    /// As the environment says, in OpenTelemetry's words.
    pub(super) fn from_env() -> Result<Self, String> {
        let get = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self::parse(get("OTEL_TRACES_SAMPLER").as_deref(), get("OTEL_TRACES_SAMPLER_ARG").as_deref())
    }

    fn parse(sampler: Option<&str>, arg: Option<&str>) -> Result<Self, String> {
        match sampler.map(str::trim) {
            None | Some("always_on" | "parentbased_always_on") => Ok(Self::ALL),
            Some("always_off" | "parentbased_always_off") => Self::share(0.0),
            Some("traceidratio" | "parentbased_traceidratio") => match arg.map(str::trim) {
                None => Ok(Self::ALL),
                Some(arg) => arg.parse().map_err(|_| ()).and_then(|share| Self::share(share).map_err(|_| ())),
            }
            .map_err(|()| {
                format!(
                    "OTEL_TRACES_SAMPLER_ARG is `{}`: it is a number from 0 to 1",
                    arg.unwrap_or_default().chars().take(40).collect::<String>()
                )
            }),
            Some(other) => Err(format!(
                "OTEL_TRACES_SAMPLER is `{}`: it is always_on, always_off or traceidratio",
                other.chars().take(40).collect::<String>()
            )),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and 2^56, as checked; the last bits of a share do not matter"
    )]
    fn share(share: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self { threshold: ((1.0 - share) * (1_u64 << BITS) as f64) as u64 })
        } else {
            Err(format!("{share} is not a number from 0 to 1"))
        }
    }

    pub(super) fn is_sampled(self, saga: SagaId) -> bool {
        let bits = saga.0.as_u64_pair().1 & ((1 << BITS) - 1);
        bits >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> impl Iterator<Item = SagaId> {
        // As the engine makes them. (The `uuid` crate's own count up within a millisecond.)
        (0..20_000_u64).map(|ms| {
            let random: [u8; 10] = rand::random();
            SagaId(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
        })
    }

    #[test]
    fn a_tenth_is_a_tenth_of_real_ids() {
        let sampler = Sampler::parse(Some("traceidratio"), Some("0.1")).expect("a sampler");
        let traced = ids().filter(|id| sampler.is_sampled(*id)).count();
        assert!((1700..2300).contains(&traced), "{traced} of 20000");
    }

    #[test]
    fn all_are_all_and_none_is_none() {
        let traced = |name: Option<&str>, arg: Option<&str>| {
            let sampler = Sampler::parse(name, arg).expect("a sampler");
            ids().filter(|id| sampler.is_sampled(*id)).count()
        };
        assert_eq!(traced(None, None), 20_000);
        assert_eq!(traced(Some("parentbased_traceidratio"), Some("1")), 20_000);
        assert_eq!(traced(Some("always_off"), None), 0);
        assert_eq!(traced(Some("traceidratio"), Some("0")), 0);
    }

    #[test]
    fn what_is_no_share_is_refused_with_the_mend() {
        for arg in ["", "x", "-1", "1.5", "NaN", "inf"] {
            let error = Sampler::parse(Some("traceidratio"), Some(arg)).expect_err(arg);
            assert!(error.contains("from 0 to 1"), "{error}");
        }
        assert!(Sampler::parse(Some("jaeger_remote"), None).expect_err("unknown").contains("always_on"));
    }
}
