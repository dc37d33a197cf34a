//! What holds of records, whatever happens: properties over random inputs, with models that know what is true, and tables of single cases.

#![allow(clippy::unwrap_used, reason = "tests")]

mod records {
    mod bytes;
    mod clock;
    mod convergence;
    mod digests;
    mod fields;
    mod forgetting;
    mod join;
    mod manual;
    mod merges;
    mod refusals;
    mod version;
    mod world;

    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;
    use serde_json::Value;
    use snorri_records::{Clock, Provisional, Rule, Stamp};

    /// A failing case is printed with its input in small, and kept in a file that is read first the next time.
    pub(crate) fn config() -> ProptestConfig {
        let config = ProptestConfig::default();
        let seeds = || Box::new(FileFailurePersistence::Direct("tests/records.seeds")) as _;
        let failure_persistence = config.failure_persistence.as_ref().map(|_| seeds());
        ProptestConfig { failure_persistence, ..config }
    }

    pub(crate) fn stamp(text: &str) -> Stamp {
        text.parse().unwrap()
    }

    pub(crate) fn clock(node: &str) -> Clock {
        Clock::new(node.parse().unwrap())
    }

    /// All keys of both, of each the greater number: commutative, associative and idempotent.
    pub(crate) fn greatest(one: &Value, other: &Value) -> Value {
        let mut all = one.as_object().unwrap().clone();
        for (key, theirs) in other.as_object().unwrap() {
            let ours = all.entry(key.clone()).or_insert_with(|| theirs.clone());
            if theirs.as_i64() > ours.as_i64() {
                *ours = theirs.clone();
            }
        }
        Value::Object(all)
    }

    /// Each rule, and `manual` with each provisional value.
    pub(crate) fn rules() -> impl Strategy<Value = Rule> {
        prop_oneof![
            Just(Rule::LastWriterWins),
            Just(Rule::FieldWise),
            Just(Rule::merge(greatest)),
            Just(Rule::Manual(Provisional::LastWriterWins)),
            Just(Rule::Manual(Provisional::Keep("n0".parse().unwrap()))),
            Just(Rule::Manual(Provisional::Fixed(Some(serde_json::json!({"a": -1}))))),
        ]
    }
}
