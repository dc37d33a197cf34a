//! What can be written in a definition: every field with its type, default, limits and an example. The JSON Schema and the reference's
//! tables are both made of this.

use serde_json::{Value, json};
use snorri_saga::definition::{TIMEOUT_DEFAULT, WINDOW_DEFAULT};
use snorri_saga::retry::RetryPolicy;

use super::part;

/// A mapping of the language: the definition itself, a step, and what stands in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// What it is called in the schema.
    pub key: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it is.
    pub about: &'static str,
    /// What stands in it.
    pub fields: Vec<Field>,
}

/// A field of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The type, and the unit if it has one, in words for people.
    pub kind: &'static str,
    /// What it says.
    pub about: &'static str,
    /// It cannot be left out.
    pub is_required: bool,
    /// What stands for it when it is left out, if that is a value of its own.
    pub default: Option<Value>,
    /// What stands for it when it is left out, in words; empty: nothing does.
    pub default_text: &'static str,
    /// How large, small or long it may be, in words; empty: what its type allows.
    pub limits: &'static str,
    /// How it may look.
    pub example: Value,
    /// Its shape, as JSON Schema.
    pub shape: Value,
}

fn field(name: &'static str, kind: &'static str, shape: Value, about: &'static str, example: Value) -> Field {
    Field {
        name,
        kind,
        about,
        is_required: false,
        default: None,
        default_text: "",
        limits: "",
        example,
        shape,
    }
}

impl Field {
    fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    fn default(mut self, value: Value) -> Self {
        self.default = Some(value);
        self
    }

    fn left_out(mut self, words: &'static str) -> Self {
        self.default_text = words;
        self
    }

    fn limits(mut self, words: &'static str) -> Self {
        self.limits = words;
        self
    }
}

const NAME: &str = "name";
const DURATION: &str = "duration";
const NAME_LIMITS: &str = "1 to 64 of a-z, 0-9, `_` and `-`, beginning with a letter or a digit";
const WAIT_LIMITS: &str = "10ms to 30d";

/// All mappings, the definition itself first.
pub fn mappings() -> Vec<Mapping> {
    vec![definition(), step(), compensation(), retry(), for_each(), signal(), approval()]
}

fn definition() -> Mapping {
    Mapping {
        key: "definition",
        title: "A saga's definition",
        about: "The steps of a saga, what reverses each of them, and the time it has.",
        fields: vec![
            field("name", NAME, part("name"), "What its sagas are called.", json!("order"))
                .required()
                .limits(NAME_LIMITS),
            field(
                "description",
                "text",
                json!({"type": "string"}),
                "A sentence for people.",
                json!("Place an order and ship it."),
            ),
            field(
                "window",
                DURATION,
                part("duration"),
                "The time from start to end that every saga keeps to, its undoing included.",
                json!("10m"),
            )
            .default(json!(WINDOW_DEFAULT))
            .left_out("5m")
            .limits("1s to 30d; what the worst case needs, at least"),
            field(
                "tags",
                "mapping of texts",
                json!({
                    "type": "object", "maxProperties": 20, "propertyNames": {"minLength": 1, "maxLength": 64},
                    "additionalProperties": {"type": "string"},
                }),
                "Words to find its sagas by. A text that is one `${{ expression }}` is made of the saga's input; a tag of the same name \
                 in the request that starts a saga wins.",
                json!({"channel": "web", "customer": "${{ input.customer }}"}),
            )
            .left_out("none")
            .limits("20 tags, 64 bytes a name"),
            field(
                "input",
                "JSON Schema (2020-12)",
                json!({"type": ["object", "boolean"], "additionalProperties": true}),
                "What the input of a saga looks like. A request whose input does not fit is refused with everything that is wrong.",
                json!({"type": "object", "required": ["customer"]}),
            )
            .left_out("any input will do"),
            field(
                "on_sibling_failure",
                "`wait` or `race`",
                json!({"enum": ["wait", "race"]}),
                "What happens to steps under way when another one fails. `wait`: they are awaited, up to their timeout, before anything is \
                 undone. `race`: they are undone at once, and the participants' barrier fences off those that have not run yet.",
                json!("race"),
            )
            .default(json!("wait"))
            .left_out("`wait`"),
            field(
                "steps",
                "list of steps",
                part("steps"),
                "What is to be done: one after the other, unless a step says what it needs.",
                json!([{"name": "reserve", "participant": "inventory", "compensation": "release"}]),
            )
            .required()
            .limits("1 to 200 steps"),
        ],
    }
}

fn step() -> Mapping {
    Mapping {
        key: "step",
        title: "A step",
        about: "Exactly one of `participant`, `saga`, `signal`, `approval` and `delay` says what it does.",
        fields: vec![
            field(
                "name",
                NAME,
                part("name"),
                "The step's name, unique in its definition: its key in the journal and in expressions.",
                json!("reserve"),
            )
            .required()
            .limits(NAME_LIMITS),
            field(
                "needs",
                "list of steps' names",
                json!({"type": "array", "items": part("name"), "uniqueItems": true}),
                "The steps that must be done, or skipped, before this one begins. `[]`: it begins at once.",
                json!(["reserve", "hold"]),
            )
            .left_out("the step before it in the list"),
            field(
                "when",
                "expression that gives true or false",
                json!({"type": "string", "not": {"pattern": r"^\s*\$\{\{"}}),
                "The step is run only if this is true. A skipped step is not undone, and counts as done for those that need it. Written \
                 without `${{ }}`.",
                json!("input.nights > 0"),
            )
            .left_out("it is run"),
            field(
                "for_each",
                "mapping",
                part("for_each"),
                "The step is run once for each item of a list; its output is the list of outputs, in order. Not for waits and the pivot.",
                json!({"items": "${{ input.rows }}", "as": "row", "concurrency": 4}),
            )
            .left_out("it is run once"),
            field(
                "participant",
                NAME,
                part("name"),
                "The step is an operation that this participant carries out.",
                json!("inventory"),
            )
            .limits(NAME_LIMITS),
            field("action", NAME, part("name"), "The participant's operation.", json!("reserve_stock"))
                .left_out("the step's name")
                .limits(NAME_LIMITS),
            field(
                "saga",
                "name of a definition",
                part("name"),
                "The step is a saga of its own, which gets the step's input as its input. It is held until this saga ends, and undone with \
                 it.",
                json!("shipment"),
            )
            .limits(NAME_LIMITS),
            field(
                "version",
                "number",
                json!({"type": "integer", "minimum": 1, "maximum": i32::MAX}),
                "The version of the sub-saga's definition.",
                json!(3),
            )
            .left_out("the newest at the submission, which is written in and kept")
            .limits("from 1"),
            field(
                "signal",
                "mapping",
                part("signal"),
                "The step waits until somebody says that something happened.",
                json!({"name": "paid", "timeout": "1h"}),
            ),
            field(
                "approval",
                "mapping",
                part("approval"),
                "The step waits until a person says yes or no.",
                json!({"timeout": "2d"}),
            ),
            field("delay", DURATION, part("duration"), "The step lets so much time pass.", json!("10s"))
                .limits(WAIT_LIMITS),
            field(
                "kind",
                "`compensatable`, `pivot`, `retriable` or `read`",
                json!({"enum": ["compensatable", "pivot", "retriable", "read"]}),
                "`compensatable`: it can be undone. `pivot`: the point of no return; at most one. `retriable`: behind the pivot, tried until \
                 it succeeds. `read`: it has no effect. Not for waits.",
                json!("pivot"),
            )
            .default(json!("compensatable"))
            .left_out("`compensatable`"),
            field(
                "compensation",
                "operation's name, `none`, or mapping",
                json!({"oneOf": [part("name"), part("compensation")]}),
                "What reverses the step. `none`: its effect may stay. A sub-saga is undone by its own compensations, and has at most \
                 `timeout` and `retry` here.",
                json!("release"),
            )
            .left_out("nothing, which a compensatable step of a participant must not say"),
            field(
                "timeout",
                DURATION,
                part("duration"),
                "How long an attempt's answer is awaited. Not for waits.",
                json!("5s"),
            )
            .default(json!(TIMEOUT_DEFAULT))
            .left_out("10s; of a sub-saga the window of its definition")
            .limits("10ms to 24h; of a sub-saga to 30d"),
            field(
                "retry",
                "mapping",
                part("retry"),
                "When and how often the action is tried again. Not for waits.",
                json!({"attempts": 5, "backoff": "500ms"}),
            )
            .left_out("3 attempts with the pauses below; one attempt of a sub-saga"),
            field(
                "input",
                "template",
                part("template"),
                "What the participant or the sub-saga is sent: any value, in which texts that are one `${{ expression }}` are replaced.",
                json!({"order": "${{ input.order_id }}"}),
            )
            .left_out("the saga's whole input")
            .limits("1,000 values, 32 levels, 64 KiB when filled in"),
        ],
    }
}

fn compensation() -> Mapping {
    Mapping {
        key: "compensation",
        title: "A compensation",
        about: "What reverses a step, with its own timeout and retries.",
        fields: vec![
            field(
                "action",
                NAME,
                part("name"),
                "The participant's operation that reverses the step. Required, but for a sub-saga, which has none.",
                json!("release"),
            )
            .limits(NAME_LIMITS),
            field(
                "timeout",
                DURATION,
                part("duration"),
                "How long an attempt's answer is awaited.",
                json!("5s"),
            )
            .left_out("the step's timeout")
            .limits("10ms to 24h; of a sub-saga to 30d"),
            field(
                "retry",
                "mapping",
                part("retry"),
                "The fast attempts, which the worst case counts. After them the slow lane goes on without end.",
                json!({"attempts": 5}),
            )
            .left_out("3 attempts with the pauses below; one attempt of a sub-saga"),
        ],
    }
}

fn retry() -> Mapping {
    let RetryPolicy { attempts, backoff, cap, jitter, .. } = RetryPolicy::default();
    Mapping {
        key: "retry",
        title: "A retry policy",
        about: "When and how often an operation is tried again.",
        fields: vec![
            field(
                "attempts",
                "number",
                json!({"type": "integer", "minimum": 1, "maximum": 100}),
                "Attempts in all, the first one included.",
                json!(5),
            )
            .default(json!(attempts))
            .left_out("3")
            .limits("1 to 100"),
            field(
                "backoff",
                DURATION,
                part("duration"),
                "The pause before the second attempt.",
                json!("500ms"),
            )
            .default(json!(backoff))
            .left_out("200ms")
            .limits("0s to 1h"),
            field(
                "factor",
                "number",
                json!({"type": "number", "minimum": 1, "maximum": 10}),
                "What each pause is multiplied with to give the next.",
                json!(1.5),
            )
            .default(json!(2))
            .left_out("2")
            .limits("1 to 10"),
            field("cap", DURATION, part("duration"), "The longest pause.", json!("30s"))
                .default(json!(cap))
                .left_out("5s")
                .limits("the backoff to 1h"),
            field(
                "jitter",
                "share",
                json!({"type": "number", "minimum": 0, "maximum": 1}),
                "How far a pause may differ from its length, as a share of it.",
                json!(0.5),
            )
            .default(json!(jitter))
            .left_out("0.2")
            .limits("0 to 1"),
        ],
    }
}

fn for_each() -> Mapping {
    Mapping {
        key: "for_each",
        title: "A list to work on",
        about: "The step is run once for each item of a list.",
        fields: vec![
            field(
                "items",
                "expression that gives a list, or list",
                json!({"type": ["string", "array"]}),
                "The list: one `${{ expression }}`, or the items themselves.",
                json!("${{ input.rows }}"),
            )
            .required(),
            field(
                "as",
                "word",
                json!({
                    "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 64,
                    "not": {"enum": snorri_saga::expression::TAKEN},
                }),
                "What an item is called in the step's expressions. Its place in the list, from 0, is `index`.",
                json!("row"),
            )
            .default(json!("item"))
            .left_out("`item`")
            .limits("1 to 64 letters, digits and `_`, beginning with no digit; none of `input`, `steps`, `saga`, `index` and the words that CEL reserves, such as `for`"),
            field(
                "concurrency",
                "number",
                json!({"type": "integer", "minimum": 1, "maximum": 100}),
                "How many items are under way at once.",
                json!(4),
            )
            .default(json!(1))
            .left_out("1")
            .limits("1 to 100"),
            field(
                "max",
                "number",
                json!({"type": "integer", "minimum": 1, "maximum": 1000}),
                "A longer list is refused before anything of it is done. The worst case counts so many.",
                json!(500),
            )
            .default(json!(100))
            .left_out("100")
            .limits("1 to 1000"),
        ],
    }
}

fn signal() -> Mapping {
    Mapping {
        key: "signal",
        title: "A signal",
        about: "Somebody says that something happened. Its payload is the step's output.",
        fields: vec![
            field("name", NAME, part("name"), "The signal's name.", json!("paid"))
                .left_out("the step's name")
                .limits(NAME_LIMITS),
            field("timeout", DURATION, part("duration"), "How long it is waited for.", json!("1h"))
                .required()
                .limits(WAIT_LIMITS),
            field(
                "on_timeout",
                "`fail` or `continue`",
                json!({"enum": ["fail", "continue"]}),
                "What happens when nobody gives it in time. `fail`: the step fails, and the saga is undone. `continue`: the saga goes on \
                 with `default` as the step's output; behind the pivot it must be this.",
                json!("continue"),
            )
            .default(json!("fail"))
            .left_out("`fail`"),
            field(
                "default",
                "any value",
                json!({}),
                "The step's output when nobody gives the signal in time; only with `on_timeout: continue`.",
                json!({"paid": false}),
            )
            .default(Value::Null)
            .left_out("`null`"),
        ],
    }
}

fn approval() -> Mapping {
    Mapping {
        key: "approval",
        title: "An approval",
        about: "A person says yes or no. The step's output is `{approved, by, comment}`.",
        fields: vec![
            field("timeout", DURATION, part("duration"), "How long it is waited for.", json!("2d"))
                .required()
                .limits(WAIT_LIMITS),
            field(
                "on_timeout",
                "`reject` or `approve`",
                json!({"enum": ["reject", "approve"]}),
                "What happens when nobody decides in time. `reject`: as if the answer were no, the saga is undone. `approve`: as if it were \
                 yes.",
                json!("approve"),
            )
            .default(json!("reject"))
            .left_out("`reject`"),
        ],
    }
}
