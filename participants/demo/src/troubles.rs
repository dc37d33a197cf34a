//! Trouble on purpose, in two ways. A service can be told at what *rates* to be slow, to fail and to crash;
//! who is hit is a hash of seed, saga, step and attempt, so that a run can be repeated. And an order can
//! carry a *wish* for each service in its payload: `"trouble": {"payments": "card_refused"}`.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// How much trouble a service makes by itself. The default is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Troubles {
    /// Another seed hits other commands.
    pub seed: u64,
    /// The share of commands that are slow, 0 to 1.
    pub slow: f64,
    /// How slow, in milliseconds: from, to.
    pub slow_ms: (u64, u64),
    /// The share of commands that fail for a technical reason and are to be tried again.
    pub fail: f64,
    /// The share of commands whose first delivery crashes the service.
    pub crash: f64,
    /// Whether a crash really ends the process. Where services share one process with others, it does
    /// not: a crash is then answered as a technical failure.
    pub abort: bool,
}

impl Default for Troubles {
    fn default() -> Self {
        Self { seed: 0, slow: 0.0, slow_ms: (20, 400), fail: 0.0, crash: 0.0, abort: false }
    }
}

/// What an order wishes a service to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// `slow:<milliseconds>`: take so long.
    Slow(Duration),
    /// `fail:<n>`: fail the first n attempts.
    FailFirst(u32),
    /// `crash`: crash once.
    Crash,
    /// Any other word: refuse with it as the code.
    Refuse(String),
}

/// The text is not a [`Wish`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no trouble: write slow:<ms> (to 60000), fail:<attempts>, crash, or a code of a-z, 0-9 and _"
)]
pub struct NotAWish(pub String);

/// The longest wish for slowness.
const SLOW_MAX_MS: u64 = 60_000;

impl FromStr for Wish {
    type Err = NotAWish;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NotAWish(text.chars().take(40).collect());
        if let Some(ms) = text.strip_prefix("slow:") {
            let ms: u64 = ms.parse().map_err(|_| bad())?;
            return if ms <= SLOW_MAX_MS { Ok(Self::Slow(Duration::from_millis(ms))) } else { Err(bad()) };
        }
        if let Some(attempts) = text.strip_prefix("fail:") {
            return attempts.parse().map(Self::FailFirst).map_err(|_| bad());
        }
        let is_code = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        match text {
            "crash" => Ok(Self::Crash),
            code if is_code => Ok(Self::Refuse(code.to_owned())),
            _ => Err(bad()),
        }
    }
}

impl<'de> Deserialize<'de> for Wish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The wishes of an order, one for each service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// For inventory.
    pub inventory: Option<Wish>,
    /// For payments.
    pub payments: Option<Wish>,
    /// For shipping.
    pub shipping: Option<Wish>,
    /// For orders.
    pub orders: Option<Wish>,
}

/// Whether an operation may answer with a refusal that is wished for. A compensation may not (it would be
/// a broken contract), nor may what comes after the decision to buy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusing {
    /// It may.
    Allowed,
    /// It may not.
    Never,
}

/// What is to happen to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    Slow(Duration),
    Fail,
    Crash,
    Refuse(String),
}

impl Troubles {
    /// The trouble for this command: what its order wishes, or else what the dice say.
    pub(crate) fn pick(
        &self,
        key: (Uuid, &str, &str),
        attempt: u32,
        wish: Option<&Wish>,
        refusing: Refusing,
    ) -> Option<Trouble> {
        match wish {
            Some(Wish::Slow(span)) => return Some(Trouble::Slow(*span)),
            Some(Wish::FailFirst(attempts)) if attempt <= *attempts => return Some(Trouble::Fail),
            Some(Wish::Crash) => return Some(Trouble::Crash),
            Some(Wish::Refuse(code)) if refusing == Refusing::Allowed => {
                return Some(Trouble::Refuse(code.clone()));
            }
            Some(Wish::FailFirst(_) | Wish::Refuse(_)) | None => {}
        }
        let (saga, step, direction) = key;
        let (high, low) = saga.as_u64_pair();
        let mut hash = mix(mix(mix(self.seed, high), low), u64::from(attempt));
        for byte in step.bytes().chain([b'.']).chain(direction.bytes()) {
            hash = mix(hash, u64::from(byte));
        }
        let share = share_of(hash);
        if share < self.crash {
            Some(Trouble::Crash)
        } else if share < self.crash + self.fail {
            Some(Trouble::Fail)
        } else if share < self.crash + self.fail + self.slow {
            let (from, to) = self.slow_ms;
            let width = to.saturating_sub(from).saturating_add(1);
            Some(Trouble::Slow(Duration::from_millis(from + mix(hash, 1) % width)))
        } else {
            None
        }
    }
}

/// Mixes a word into a hash (the finisher of splitmix64: every bit of both reaches every bit of the result).
pub(crate) fn mix(hash: u64, word: u64) -> u64 {
    let mut z = (hash ^ word.wrapping_mul(0xff51_afd7_ed55_8ccd)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash as a number of 0 to 1.
fn share_of(hash: u64) -> f64 {
    let [a, b, c, d, ..] = hash.to_be_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_reads_as_the_protocol_says() {
        assert_eq!("slow:500".parse(), Ok(Wish::Slow(Duration::from_millis(500))));
        assert_eq!("fail:2".parse(), Ok(Wish::FailFirst(2)));
        assert_eq!("crash".parse(), Ok(Wish::Crash));
        assert_eq!("card_refused".parse(), Ok(Wish::Refuse("card_refused".to_owned())));
        for bad in ["", "slow:", "slow:-1", "slow:60001", "fail:x", "Card Refused", &"a".repeat(65)] {
            assert!(bad.parse::<Wish>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_dice_fall_alike_for_the_same_command_and_hit_the_share_asked_for() {
        let troubles =
            Troubles { seed: 7, slow: 0.2, slow_ms: (5, 9), fail: 0.1, crash: 0.05, ..Troubles::default() };
        let mut counts = [0_u32; 3];
        for n in 0..10_000_u128 {
            let key = (Uuid::from_u128(n << 64), "hold", "action");
            let trouble = troubles.pick(key, 1, None, Refusing::Allowed);
            assert_eq!(trouble, troubles.pick(key, 1, None, Refusing::Allowed));
            match trouble {
                Some(Trouble::Slow(span)) => {
                    assert!((5..=9).contains(&span.as_millis()), "{span:?}");
                    counts[0] += 1;
                }
                Some(Trouble::Fail) => counts[1] += 1,
                Some(Trouble::Crash) => counts[2] += 1,
                Some(Trouble::Refuse(_)) => panic!("nobody wished for a refusal"),
                None => {}
            }
        }
        assert!((1800..2200).contains(&counts[0]), "{counts:?}");
        assert!((850..1150).contains(&counts[1]), "{counts:?}");
        assert!((400..600).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn a_wish_to_fail_is_granted_so_many_times_and_a_refusal_only_where_it_is_allowed() {
        let none = Troubles::default();
        let key = (Uuid::nil(), "hold", "action");
        let fail = Wish::FailFirst(2);
        assert_eq!(none.pick(key, 2, Some(&fail), Refusing::Never), Some(Trouble::Fail));
        assert_eq!(none.pick(key, 3, Some(&fail), Refusing::Never), None);
        let refuse = Wish::Refuse("no".to_owned());
        assert_eq!(none.pick(key, 1, Some(&refuse), Refusing::Never), None);
        assert_eq!(
            none.pick(key, 1, Some(&refuse), Refusing::Allowed),
            Some(Trouble::Refuse("no".to_owned()))
        );
    }
}
