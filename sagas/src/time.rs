//! Instants and durations as values. Nothing here reads a clock: time comes in with the input.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant of Postgres's clock, in microseconds since the Unix epoch (Postgres keeps no finer).
/// In JSON an RFC 3339 text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds since the Unix epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// How long it is from `earlier` to this instant; zero when it is not earlier.
    pub fn since(self, earlier: Self) -> Millis {
        Millis(u64::try_from(self.0.saturating_sub(earlier.0) / 1000).unwrap_or(0))
    }

    /// As the `time` crate's type, for the database.
    pub fn to_offset(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// From the `time` crate's type, cut to microseconds.
    pub fn from_offset(at: OffsetDateTime) -> Self {
        Self(i64::try_from(at.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX))
    }
}

impl Add<Millis> for Timestamp {
    type Output = Self;

    fn add(self, span: Millis) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.0.saturating_mul(1000)).unwrap_or(i64::MAX)))
    }
}

impl Sub<Millis> for Timestamp {
    type Output = Self;

    fn sub(self, span: Millis) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.0.saturating_mul(1000)).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_offset().format(&Rfc3339) {
            Ok(text) => f.write_str(&text),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        OffsetDateTime::parse(&text, &Rfc3339).map(Self::from_offset).map_err(serde::de::Error::custom)
    }
}

/// A duration in milliseconds. In definitions a text with its unit: `250ms`, `10s`, `5m`, `1h`, `2d`, `1m30s`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// So many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, zero when it would be negative.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// As the standard library's type.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// Reads `250ms`, `10s`, `5m`, `1h` and compounds such as `1m30s`; at most a year.
    pub fn parse(text: &str) -> Result<Self, NotADuration> {
        let bad = || NotADuration(text.chars().take(40).collect());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        let mut total = 0_u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let (number, tail) = rest.split_at(digits);
            let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let factor = match unit.trim() {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => DAY,
                _ => return Err(bad()),
            };
            let number: u64 = number.parse().map_err(|_| bad())?;
            total = number.checked_mul(factor).and_then(|ms| total.checked_add(ms)).ok_or_else(bad)?;
            rest = tail;
        }
        if total > 366 * 86_400_000 { Err(bad()) } else { Ok(Self(total)) }
    }
}

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write a number and its unit, such as 250ms, 10s, 5m or 1h")]
pub struct NotADuration(pub String);

/// A day.
const DAY: u64 = 86_400_000;

/// For people: several whole days are days.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms > DAY && ms.is_multiple_of(DAY) => write!(f, "{}d", ms / DAY),
            _ => self.in_hours(f),
        }
    }
}

impl Millis {
    /// As it is written into what is kept, and so into the digest that tells a new version of a definition from the same
    /// one: this never changes.
    fn in_hours(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&fmt::from_fn(|f| self.in_hours(f)))
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_written() {
        for text in ["250ms", "10s", "5m", "1h", "1m30s", "1h1m1s1ms"] {
            assert_eq!(Millis::parse(text).expect("a duration").to_string(), text);
        }
    }

    #[test]
    fn several_whole_days_are_days_to_people_and_hours_in_what_is_kept() {
        for (text, shown, kept) in [
            ("1d", "24h", "24h"),
            ("25h", "25h", "25h"),
            ("48h", "2d", "48h"),
            ("49h", "49h", "49h"),
            ("30d", "30d", "720h"),
        ] {
            let span = Millis::parse(text).expect("a duration");
            assert_eq!(span.to_string(), shown);
            assert_eq!(serde_json::to_value(span).expect("JSON"), kept);
            assert_eq!(Millis::parse(shown), Ok(span));
        }
    }

    #[test]
    fn a_duration_without_unit_or_out_of_range_is_refused() {
        for text in ["", "10", "s", "-1s", "1.5s", "10x", "99999999999999999999s", "9999999h"] {
            assert!(Millis::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_timestamp_keeps_its_microseconds_through_json() {
        let at = Timestamp(1_763_899_200_123_456);
        let json = serde_json::to_string(&at).expect("json");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("back"), at);
    }

    #[test]
    fn each_unit_has_its_length_and_a_leap_year_is_the_longest_duration() {
        for (text, ms) in [("1ms", 1), ("1s", 1000), ("1m", 60_000), ("1h", 3_600_000), ("1d", 86_400_000)] {
            assert_eq!(Millis::parse(text), Ok(Millis(ms)), "{text}");
        }
        assert_eq!(Millis::parse(" 1 m 30 s "), Ok(Millis::secs(90)));
        assert_eq!(Millis::parse("366d"), Ok(Millis::secs(366 * 86_400)));
        assert!(Millis::parse("366d1ms").is_err());
        assert_eq!(format!("{} {:?}", Millis(0), Millis(61_001)), "0s 1m1s1ms");
    }

    #[test]
    fn instants_and_durations_stay_in_their_range() {
        let at = Timestamp(5_000_999);
        assert_eq!((at + Millis(2), at - Millis(2)), (Timestamp(5_002_999), Timestamp(4_998_999)));
        assert_eq!((at.since(Timestamp(0)), Timestamp(0).since(at)), (Millis(5000), Millis(0)));
        let (first, last, ever) = (Timestamp(i64::MIN), Timestamp(i64::MAX), Millis(u64::MAX));
        assert_eq!((at + ever, last + ever, first - ever), (last, last, first));
        assert_eq!((last.since(first), first.since(last)), (Millis(i64::MAX as u64 / 1000), Millis(0)));
        assert_eq!((Millis(3).plus(Millis(4)), ever.plus(ever)), (Millis(7), ever));
        assert_eq!((Millis(7).minus(Millis(4)), Millis(4).minus(Millis(7))), (Millis(3), Millis(0)));
        assert_eq!((Millis::secs(2), Millis::secs(u64::MAX)), (Millis(2000), ever));
        assert_eq!(Millis(1500).to_std(), std::time::Duration::from_millis(1500));
    }

    #[test]
    fn an_instant_is_the_databases_to_the_microsecond() {
        let at = Timestamp(1_763_899_200_123_456);
        assert_eq!(at.micros(), 1_763_899_200_123_456);
        assert_eq!(at.to_offset(), time::macros::datetime!(2025-11-23 12:00:00.123456 UTC));
        assert_eq!(Timestamp::from_offset(at.to_offset()), at);
        let finer = at.to_offset() + time::Duration::nanoseconds(999);
        assert_eq!(Timestamp::from_offset(finer), at);
        assert_eq!(format!("{at} {at:?}"), "2025-11-23T12:00:00.123456Z 2025-11-23T12:00:00.123456Z");
    }
}
