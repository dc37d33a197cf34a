//! Numbers: what a JSON number is to an expression, how whole numbers compare with doubles, and arithmetic.
//!
//! JSON has one kind of number and CEL has two. The *value* decides here, not the spelling: `2`, `2.0` and `2e0` are
//! the int 2, and 2.5 is a double. So it does not matter whether a service in between writes `2.0` as `2`, which
//! many do. Where an int meets a double, the int becomes one: CEL refuses that, and payloads would fail by chance.

use std::cmp::Ordering;

/// A number as expressions count with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Double(f64),
}

/// What arithmetic can end in, apart from a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The result has more than 64 bits.
    Overflow,
    /// A whole number divided by zero.
    DivisionByZero,
    /// `%` of a double.
    NotWhole,
}

impl Number {
    /// A JSON number. None if it is a whole one of more than 64 bits: an error is better than wrong digits.
    pub(super) fn of_json(number: &serde_json::Number) -> Option<Self> {
        let text = number.as_str();
        match text.parse() {
            Ok(whole) => Some(Self::Int(whole)),
            Err(_) => Self::of_decimal(text),
        }
    }

    /// A decimal text: the whole number or the fraction that it stands for.
    fn of_decimal(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
        let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let behind = behind.trim_end_matches('0');
        let noughts = |text: &str| text.bytes().all(|b| b == b'0');
        if noughts(before) && noughts(behind) {
            return Some(Self::Int(0));
        }
        // How many places the point stands behind the last digit that is no nought: below zero there is a fraction.
        let significant = if behind.is_empty() { before.trim_end_matches('0') } else { before };
        let dropped = i64::try_from(before.len() - significant.len()).ok()?;
        let places = i64::try_from(behind.len()).ok()?;
        let shift = exponent.parse::<i64>().ok()?.checked_sub(places)?.checked_add(dropped)?;
        if shift < 0 {
            return text.parse().ok().filter(|double: &f64| double.is_finite()).map(Self::Double);
        }
        // Negative numbers reach further. What is no nought is beyond 64 bits after at most twenty rounds.
        let mut value: i64 = 0;
        for digit in significant.bytes().chain(behind.bytes()) {
            value = value.checked_mul(10)?.checked_sub(i64::from(digit.wrapping_sub(b'0')))?;
        }
        for _ in 0..shift {
            value = value.checked_mul(10)?;
        }
        if negative { Some(Self::Int(value)) } else { value.checked_neg().map(Self::Int) }
    }

    /// As a double: exactly, or the nearest.
    #[expect(clippy::cast_precision_loss, reason = "CEL's double() rounds too")]
    pub(super) fn double(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Double(value) => value,
        }
    }

    /// As a whole number, rounded towards zero. None if it is out of range or no number; as in CEL, the smallest whole
    /// number is out of range for a double.
    pub(super) fn int(self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(value),
            Self::Double(value) => truncated(value).filter(|whole| *whole != i64::MIN),
        }
    }

    /// The whole number that it is, if it is one.
    pub(super) fn whole(self) -> Option<i64> {
        self.int().filter(|whole| self.compare(Self::Int(*whole)) == Some(Ordering::Equal))
    }

    /// By value: never by way of a double that both round to. None if one is no number.
    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(&right)),
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(&right),
            (Self::Int(left), Self::Double(right)) => with_double(left, right),
            (Self::Double(left), Self::Int(right)) => with_double(right, left).map(Ordering::reverse),
        }
    }

    fn both(
        self,
        other: Self,
        int: impl Fn(i64, i64) -> Result<i64, Trouble>,
        double: impl Fn(f64, f64) -> f64,
    ) -> Result<Self, Trouble> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => int(left, right).map(Self::Int),
            (left, right) => Ok(Self::Double(double(left.double(), right.double()))),
        }
    }

    pub(super) fn add(self, other: Self) -> Result<Self, Trouble> {
        self.both(other, |l, r| l.checked_add(r).ok_or(Trouble::Overflow), |l, r| l + r)
    }

    pub(super) fn subtract(self, other: Self) -> Result<Self, Trouble> {
        self.both(other, |l, r| l.checked_sub(r).ok_or(Trouble::Overflow), |l, r| l - r)
    }

    pub(super) fn multiply(self, other: Self) -> Result<Self, Trouble> {
        self.both(other, |l, r| l.checked_mul(r).ok_or(Trouble::Overflow), |l, r| l * r)
    }

    pub(super) fn divide(self, other: Self) -> Result<Self, Trouble> {
        let whole = |l: i64, r: i64| match r {
            0 => Err(Trouble::DivisionByZero),
            r => l.checked_div(r).ok_or(Trouble::Overflow),
        };
        self.both(other, whole, |l, r| l / r)
    }

    pub(super) fn remainder(self, other: Self) -> Result<Self, Trouble> {
        match (self, other) {
            (Self::Int(_), Self::Int(0)) => Err(Trouble::DivisionByZero),
            (Self::Int(left), Self::Int(right)) => {
                left.checked_rem(right).map(Self::Int).ok_or(Trouble::Overflow)
            }
            (Self::Int(_) | Self::Double(_), Self::Double(_)) | (Self::Double(_), Self::Int(_)) => {
                Err(Trouble::NotWhole)
            }
        }
    }

    pub(super) fn negative(self) -> Result<Self, Trouble> {
        match self {
            Self::Int(value) => value.checked_neg().map(Self::Int).ok_or(Trouble::Overflow),
            Self::Double(value) => Ok(Self::Double(-value)),
        }
    }
}

/// 2^63, which a double holds exactly.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

#[expect(clippy::cast_possible_truncation, reason = "it was compared with the range before")]
fn truncated(value: f64) -> Option<i64> {
    (-BEYOND..BEYOND).contains(&value).then_some(value as i64)
}

fn with_double(int: i64, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    Some(match truncated(double) {
        None if double > 0.0 => Ordering::Less,
        None => Ordering::Greater,
        Some(whole) => int.cmp(&whole).then(if double.fract() > 0.0 {
            Ordering::Less
        } else if double.fract() < 0.0 {
            Ordering::Greater
        } else {
            Ordering::Equal
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Number> {
        Number::of_json(&serde_json::from_str(text).expect("a JSON number"))
    }

    #[test]
    fn the_value_of_a_json_number_decides_what_it_is_and_not_its_spelling() {
        for (text, int) in [
            ("2", 2),
            ("2.0", 2),
            ("2e0", 2),
            ("200e-2", 2),
            ("1200.0e-2", 12),
            ("20.00e-1", 2),
            ("0.2e1", 2),
            ("-0", 0),
            ("-0.0", 0),
            ("0e999999999", 0),
            ("1E3", 1000),
            ("-1.50e1", -15),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808.0", i64::MIN),
            ("-9.223372036854775808e18", i64::MIN),
        ] {
            assert_eq!(of(text), Some(Number::Int(int)), "{text}");
        }
        for (text, double) in
            [("2.5", 2.5), ("1e-3", 0.001), ("120e-2", 1.2), ("-0.10", -0.1), ("1e-400", 0.0)]
        {
            assert_eq!(of(text), Some(Number::Double(double)), "{text}");
        }
        for text in [
            "9223372036854775808",
            "9223372036854775808.0",
            "-9223372036854775809",
            "1e19",
            "1e400",
            "1e99999999999999999999",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn whole_numbers_and_doubles_compare_by_value() {
        use Ordering::{Equal, Greater, Less};
        for (int, double, order) in [
            (1, 1.0, Some(Equal)),
            (1, 1.5, Some(Less)),
            (2, 1.5, Some(Greater)),
            (-1, -1.5, Some(Greater)),
            (-2, -1.5, Some(Less)),
            // As doubles they would be equal.
            (9_007_199_254_740_993, 9_007_199_254_740_992.0, Some(Greater)),
            (i64::MAX, BEYOND, Some(Less)),
            (i64::MIN, -BEYOND, Some(Equal)),
            (i64::MIN, -1e19, Some(Greater)),
            (i64::MAX, f64::INFINITY, Some(Less)),
            (i64::MIN, f64::NEG_INFINITY, Some(Greater)),
            (0, f64::NAN, None),
        ] {
            let (int, double) = (Number::Int(int), Number::Double(double));
            assert_eq!(int.compare(double), order, "{int:?} {double:?}");
            assert_eq!(double.compare(int), order.map(Ordering::reverse), "{double:?} {int:?}");
        }
    }

    #[test]
    fn arithmetic_has_no_wrong_answers() {
        let (int, double) = (Number::Int, Number::Double);
        assert_eq!(int(i64::MAX).add(int(1)), Err(Trouble::Overflow));
        assert_eq!(int(i64::MIN).subtract(int(1)), Err(Trouble::Overflow));
        assert_eq!(int(i64::MAX).multiply(int(2)), Err(Trouble::Overflow));
        assert_eq!(int(i64::MIN).divide(int(-1)), Err(Trouble::Overflow));
        assert_eq!(int(i64::MIN).remainder(int(-1)), Err(Trouble::Overflow));
        assert_eq!(int(i64::MIN).negative(), Err(Trouble::Overflow));
        assert_eq!(int(1).divide(int(0)), Err(Trouble::DivisionByZero));
        assert_eq!(int(1).remainder(int(0)), Err(Trouble::DivisionByZero));
        assert_eq!(double(1.0).remainder(int(2)), Err(Trouble::NotWhole));
        assert_eq!(int(-7).divide(int(2)), Ok(int(-3)), "towards zero");
        assert_eq!(int(-7).remainder(int(2)), Ok(int(-1)), "with the sign of what is divided");
        assert_eq!(int(1).add(double(0.5)), Ok(double(1.5)));
        assert_eq!(int(1).divide(double(0.0)), Ok(double(f64::INFINITY)));
        assert_eq!(double(0.5).negative(), Ok(double(-0.5)));
        assert_eq!(double(-2.9).int(), Some(-2));
        assert_eq!((double(BEYOND).int(), double(-BEYOND).int(), double(f64::NAN).int()), (None, None, None));
    }
}
