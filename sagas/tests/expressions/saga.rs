//! A saga to evaluate expressions for.

use snorri_saga::expression::{Each, Expression, Facts, Names};
use snorri_saga::ids::SagaId;
use snorri_saga::json::Json;

/// A saga to evaluate for.
pub(crate) struct Saga {
    input: Json,
    item: Json,
}

impl Saga {
    /// With that input, which is JSON text.
    pub(crate) fn with_input(input: &str) -> Self {
        Self {
            input: Json::parse(input).expect("JSON"),
            item: Json::parse(r#"{"x":7,"tags":["a"]}"#).expect("JSON"),
        }
    }

    /// What its expressions know.
    pub(crate) fn names<'a>(&'a self, output: &'a dyn Fn(&str) -> Option<Json>) -> Names<'a> {
        let id = SagaId(uuid::Uuid::from_u128(7));
        Names {
            input: &self.input,
            output,
            each: Some(Each { name: "row", item: &self.item, index: 2 }),
            saga: Facts { id, definition: "order", version: 3 },
        }
    }
}

/// The outputs of its steps.
pub(crate) fn output(step: &str) -> Option<Json> {
    let text = match step {
        "pay" => r#"{"id":"p1","amount":10.50,"ok":true}"#,
        "book-2" => r#"["a","b"]"#,
        "2nd" => "null",
        _ => return None,
    };
    Some(Json::parse(text).expect("JSON"))
}

/// The value of a source, as JSON text, or the message.
pub(crate) fn evaluate_with(input: &str, source: &str) -> Result<String, String> {
    let expression = Expression::parse(source).map_err(|bad| format!("{}: {}", bad.offset, bad.told))?;
    let saga = Saga::with_input(input);
    expression
        .evaluate_within(&saga.names(&output), 65_536)
        .map(|json| json.get().to_owned())
        .map_err(|why| why.to_string())
}

/// An input with something of everything.
pub(crate) const INPUT: &str = r#"{"a":1,"b":2.5,"s":"Grüße","t":"b","yes":true,"no":false,"nil":null,"list":[1,2,3],"texts":["a","b"],
    "object":{"k":"v","n":{"m":[10,20]}},"rows":[{"x":1,"ok":true},{"x":2},{"x":3,"ok":false}],"empty":[],
    "big":123456789012345678901234567890,"money":10.50,"whole":2.0,"größe":"m","line-2":"l","steps":{"a":1},"zero":0}"#;

/// Each source has that value, as JSON text.
pub(crate) fn values(table: &[(&str, &str)]) {
    for (source, value) in table {
        assert_eq!(evaluate_with(INPUT, source).as_deref(), Ok(*value), "{source}");
    }
}

/// Each source fails, with a message that has that in it.
pub(crate) fn failures(table: &[(&str, &str)]) {
    for (source, message) in table {
        let failure = evaluate_with(INPUT, source).expect_err(source);
        assert!(failure.contains(message), "{source}: {failure}");
    }
}
