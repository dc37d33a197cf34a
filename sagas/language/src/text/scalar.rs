//! What a scalar of YAML without quotes is: nothing, a truth value, a number or a text. Numbers are those that JSON has.

use serde_json::Number;

/// Why a number is none that JSON has, and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotANumber {
    pub(crate) message: String,
    pub(crate) mend: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    /// As JSON writes it.
    Number(String),
    Text,
    NotANumber(NotANumber),
}

/// The longest number, in characters: more digits than any calculation has.
const NUMBER_CHARS_MAX: usize = 64;

/// YAML 1.2, core schema. Digits that begin with a zero are a text: they are a postcode or a telephone number.
pub(super) fn plain(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "-.inf" | "-.Inf" | "-.INF" | ".nan" | ".NaN" | ".NAN" => {
            return Scalar::NotANumber(NotANumber {
                message: format!("`{text}` is a number that JSON does not have"),
                mend: "put it in quotes if a text is meant",
            });
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Scalar::Text;
    }
    let radix = |digits: &str, radix| match u64::from_str_radix(digits, radix) {
        Ok(number) if !digits.starts_with('+') => Scalar::Number(number.to_string()),
        Ok(_) | Err(_) => Scalar::Text,
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let Some(shape) = Shape::of(text) else { return Scalar::Text };
    if shape.has_leading_zero {
        return Scalar::Text;
    }
    if shape.is_whole {
        return match text.parse::<i128>() {
            Ok(number) => Scalar::Number(number.to_string()),
            Err(_) => match number(text.trim_start_matches('+')) {
                Ok(number) => Scalar::Number(number.to_string()),
                Err(why) => Scalar::NotANumber(why),
            },
        };
    }
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) if text.len() <= NUMBER_CHARS_MAX => Scalar::Number(number.to_string()),
        Some(_) | None => Scalar::NotANumber(too_large(text)),
    }
}

/// A number as JSON writes it, if it is one that can be calculated with.
pub(crate) fn number(text: &str) -> Result<Number, NotANumber> {
    let is_small = text.len() <= NUMBER_CHARS_MAX && text.parse::<f64>().is_ok_and(f64::is_finite);
    if !is_small {
        return Err(too_large(text));
    }
    serde_json::from_str(text).map_err(|_| too_large(text))
}

fn too_large(text: &str) -> NotANumber {
    let message = if text.len() > NUMBER_CHARS_MAX {
        format!("a number of {} characters", text.len())
    } else {
        format!("`{text}` is too large for a number")
    };
    NotANumber { message, mend: "put it in quotes: longer than 64 characters or beyond 1e308 it is a text" }
}

/// What a text of digits looks like.
struct Shape {
    is_whole: bool,
    has_leading_zero: bool,
}

impl Shape {
    /// `[-+]? ( . [0-9]+ | [0-9]+ ( . [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
    fn of(text: &str) -> Option<Self> {
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        let whole = digits(rest);
        let has_leading_zero = whole > 1 && rest.starts_with('0');
        let mut rest = rest.get(whole..)?;
        let mut is_whole = true;
        if let Some(fraction) = rest.strip_prefix('.') {
            is_whole = false;
            let length = digits(fraction);
            if whole == 0 && length == 0 {
                return None;
            }
            rest = fraction.get(length..)?;
        } else if whole == 0 {
            return None;
        }
        if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
            is_whole = false;
            let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            let length = digits(exponent);
            if length == 0 {
                return None;
            }
            rest = exponent.get(length..)?;
        }
        rest.is_empty().then_some(Self { is_whole, has_leading_zero })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_number_is_one_and_the_rest_is_a_text() {
        let number = |text: &str| Scalar::Number(text.to_owned());
        for (text, expected) in [
            ("0", number("0")),
            ("-12", number("-12")),
            ("+5", number("5")),
            ("0x1F", number("31")),
            ("0o17", number("15")),
            ("1.50", number("1.5")),
            (".5", number("0.5")),
            ("1e3", number("1000.0")),
            ("99999999999999999999999", number("99999999999999999999999")),
            ("007", Scalar::Text),
            ("0123456", Scalar::Text),
            ("1_000", Scalar::Text),
            ("10s", Scalar::Text),
            ("0x", Scalar::Text),
            ("0x+1", Scalar::Text),
            ("-", Scalar::Text),
            (".", Scalar::Text),
            ("1.2.3", Scalar::Text),
            ("1e", Scalar::Text),
            ("yes", Scalar::Text),
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("True", Scalar::Bool(true)),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
        let long = "9".repeat(1000);
        for text in [
            ".inf",
            "-.inf",
            ".nan",
            "1e999",
            &long,
            "1.00000000000000000000000000000000000000000000000000000000000000000",
        ] {
            assert!(matches!(plain(text), Scalar::NotANumber(_)), "{text}");
        }
    }

    #[test]
    fn a_number_of_json_keeps_its_digits_and_has_a_limit() {
        assert_eq!(super::number("1.10").map(|number| number.to_string()), Ok("1.10".to_owned()));
        assert!(super::number("1e309").is_err());
        assert!(super::number(&"1".repeat(65)).is_err());
    }
}
