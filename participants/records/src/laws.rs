//! Whether a merge function keeps the laws that a rule needs.

use serde_json::Value;

use crate::canonical;

/// A law of merge functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Law {
    /// The same arguments give the same result, each time and on each node.
    Deterministic,
    /// A value merged with itself is itself.
    Idempotent,
    /// Which value comes first does not matter.
    Commutative,
    /// Which two of three values are merged first does not matter.
    Associative,
}

/// A law that a merge function breaks, with the values that show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// The law.
    pub law: Law,
    /// The values for which it does not hold: one, two or three.
    pub values: Vec<Value>,
    /// What came out one way.
    pub one: Value,
    /// What came out the other way.
    pub other: Value,
}

/// Checks that a merge function is deterministic, idempotent, commutative and associative for these values, and for what it makes of
/// two of them. It tries all threes, so it calls the function some `3 n³` times: ten values take no time, a hundred some seconds.
///
/// Choose values that differ in kind: empty ones, absent fields, the same element twice, different orders, `null`. Random ones from a property
/// test do well beside them.
///
/// ```
/// use snorri_records::laws::{self, Law};
/// use serde_json::{Value, json};
///
/// let highest = |one: &Value, other: &Value| {
///     if one.as_u64() >= other.as_u64() { one.clone() } else { other.clone() }
/// };
/// laws::check(highest, &[json!(1), json!(2), json!(3)]).unwrap();
///
/// let average = |one: &Value, other: &Value| json!((one.as_f64().unwrap() + other.as_f64().unwrap()) / 2.0);
/// let broken = laws::check(average, &[json!(0.0), json!(4.0), json!(8.0)]).unwrap_err();
/// assert_eq!(broken.law, Law::Idempotent);
/// assert_eq!(broken.to_string(), "the merge is not idempotent: merge(0.0, 4.0) = 2.0, and merging 4.0 once more = 3.0");
/// ```
///
/// In a property test of your own, with values of your own:
///
/// ```
/// use proptest::prelude::*;
/// use serde_json::{Value, json};
/// # fn merge_tags(one: &Value, other: &Value) -> Value {
/// #     let all: std::collections::BTreeSet<&str> =
/// #         [one, other].iter().flat_map(|v| v.as_array().unwrap()).map(|v| v.as_str().unwrap()).collect();
/// #     json!(all)
/// # }
///
/// proptest!(|(tags in prop::collection::vec(prop::collection::btree_set("[a-c]", 0..3), 1..6))| {
///     let values: Vec<Value> = tags.iter().map(|tags| json!(tags)).collect();
///     snorri_records::laws::check(merge_tags, &values).map_err(|broken| TestCaseError::fail(broken.to_string()))?;
/// });
/// ```
pub fn check(merge: impl Fn(&Value, &Value) -> Value, values: &[Value]) -> Result<(), Broken> {
    let same = |law, values: &[&Value], one: Value, other: Value| {
        if canonical::text(&one) == canonical::text(&other) {
            return Ok(());
        }
        Err(Broken { law, values: values.iter().map(|value| (*value).clone()).collect(), one, other })
    };
    // What two values show is easier to read than what three do: so the pairs come first.
    for a in values {
        same(Law::Idempotent, &[a], merge(a, a), a.clone())?;
    }
    for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
        let merged = merge(a, b);
        same(Law::Deterministic, &[a, b], merged.clone(), merge(a, b))?;
        same(Law::Commutative, &[a, b], merged.clone(), merge(b, a))?;
        same(Law::Idempotent, &[&merged], merge(&merged, &merged), merged.clone())?;
        same(Law::Idempotent, &[a, b], merge(&merged, b), merged)?;
    }
    for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
        let merged = merge(a, b);
        for c in values {
            same(Law::Associative, &[a, b, c], merge(&merged, c), merge(a, &merge(b, c)))?;
        }
    }
    Ok(())
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (one, other) = (canonical::text(&self.one), canonical::text(&self.other));
        let texts: Vec<String> = self.values.iter().map(canonical::text).collect();
        match (self.law, texts.as_slice()) {
            (Law::Idempotent, [a]) => write!(f, "the merge is not idempotent: merge({a}, {a}) = {one}"),
            (Law::Idempotent, [a, b]) => {
                write!(
                    f,
                    "the merge is not idempotent: merge({a}, {b}) = {other}, and merging {b} once more = {one}"
                )
            }
            (Law::Commutative, [a, b]) => {
                write!(
                    f,
                    "the merge is not commutative: merge({a}, {b}) = {one}, and merge({b}, {a}) = {other}"
                )
            }
            (Law::Deterministic, [a, b]) => {
                write!(
                    f,
                    "the merge is not deterministic: merge({a}, {b}) = {one}, and the next time {other}"
                )
            }
            (Law::Associative, [a, b, c]) => write!(
                f,
                "the merge is not associative: merge(merge({a}, {b}), {c}) = {one}, and merge({a}, merge({b}, {c})) = {other}"
            ),
            (law, values) => write!(f, "the merge breaks the law {law:?} for {values:?}: {one}, and {other}"),
        }
    }
}

impl std::error::Error for Broken {}
