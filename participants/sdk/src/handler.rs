//! Handlers with their types erased.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use snorri_bus::headers::ReceivedCommand;
use snorri_saga::json::{Json, deeper_than};
use snorri_saga::wire::limit;

use crate::ctx::Ctx;
use crate::fail::Fail;

/// What a compensation is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo<I, R> {
    /// What the action was asked to do.
    pub input: I,
    /// What the action answered, or nothing when that is not known: then [`Ctx::effect_id`] of the action
    /// (the same saga and step) must be enough to find what is to be undone.
    pub result: Option<R>,
    /// The saga's own input, as JSON text.
    pub saga_input: Option<Json>,
}

/// What an erased handler is given.
pub(crate) struct Call {
    pub(crate) command: Arc<ReceivedCommand>,
    /// With a compensation: the action's output as the barrier knows it.
    pub(crate) output: Option<Json>,
}

type Returned = Pin<Box<dyn Future<Output = Result<Json, Fail>> + Send>>;
pub(crate) type Handler = Box<dyn Fn(Ctx, Call) -> Returned + Send + Sync>;

pub(crate) fn action<F, Fut, T, R>(handler: F) -> Handler
where
    F: Fn(Ctx, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Fail>> + Send + 'static,
    T: DeserializeOwned + Send + 'static,
    R: Serialize,
{
    let handler = Arc::new(handler);
    Box::new(move |cx, call| {
        let handler = handler.clone();
        caught(async move {
            let input = read("input", &call.command.body.input)?;
            drop(call);
            let output = handler(cx, input).await?;
            write(&output)
        })
    })
}

pub(crate) fn compensation<F, Fut, I, R>(handler: F) -> Handler
where
    F: Fn(Ctx, Undo<I, R>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Fail>> + Send + 'static,
    I: DeserializeOwned + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    let handler = Arc::new(handler);
    Box::new(move |cx, call| {
        let handler = handler.clone();
        caught(async move {
            let body = &call.command.body;
            let result = body.result.as_ref().or(call.output.as_ref());
            let undo = Undo {
                input: read("input", &body.input)?,
                // A null may be an output like any other, so it is tried before it is taken for nothing.
                result: result.map(|result| read("result", result)).transpose()?,
                saga_input: body.saga_input.clone(),
            };
            drop(call);
            handler(cx, undo).await?;
            Ok(Json::null())
        })
    })
}

/// A panic in a handler is a failure of this attempt and nothing worse.
fn caught(future: impl Future<Output = Result<Json, Fail>> + Send + 'static) -> Returned {
    Box::pin(AssertUnwindSafe(future).catch_unwind().map(|result| {
        result.unwrap_or_else(|panic| {
            // A panic's text may hold anything, so it goes into the log only.
            let text = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("not a text");
            tracing::error!(panic = text, "a handler panicked");
            Err(Fail::failed("the handler panicked; see the participant's log"))
        })
    }))
}

fn read<T: DeserializeOwned>(what: &str, json: &Json) -> Result<T, Fail> {
    serde_json::from_str(json.get())
        .map_err(|error| Fail::rejected("bad_input", format!("{what}: {}", without_values(&error))))
}

fn write<R: Serialize>(output: &R) -> Result<Json, Fail> {
    let text = serde_json::to_string(output)
        .map_err(|_| Fail::rejected("bad_output", "the output cannot be written as JSON"))?;
    if text.len() > limit::PAYLOAD_BYTES_MAX {
        let message =
            format!("the output has {} bytes, allowed are {}", text.len(), limit::PAYLOAD_BYTES_MAX);
        return Err(Fail::rejected("too_large", message));
    }
    if deeper_than(text.as_bytes(), limit::JSON_DEPTH_MAX) {
        let message = format!("the output nests deeper than {} levels", limit::JSON_DEPTH_MAX);
        return Err(Fail::rejected("too_deep", message));
    }
    Json::parse(&text).map_err(|_| Fail::rejected("bad_output", "the output cannot be written as JSON"))
}

/// What serde says, without the values that it found.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!("line {} column {}", error.line(), error.column());
    let told = ["missing field", "unknown field", "duplicate field", "missing", "trailing"];
    if told.iter().any(|start| text.starts_with(start)) {
        return text;
    }
    match text.split_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => format!("not of the expected form at {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "read by its derived code only")]
    struct Wish {
        sku: String,
        quantity: i64,
    }

    fn complaint(text: &str) -> String {
        let json = Json::parse(text).expect("json");
        read::<Wish>("input", &json).expect_err("a complaint").message().to_owned()
    }

    #[test]
    fn a_complaint_names_the_place_and_never_the_value() {
        assert_eq!(complaint(r#"{"sku":"a"}"#), "input: missing field `quantity` at line 1 column 11");
        let secret = complaint(r#"{"sku":"a","quantity":"4111 1111"}"#);
        assert!(secret.starts_with("input: expected i64 at line 1") && !secret.contains("4111"), "{secret}");
        assert!(!complaint(r#""4111""#).contains("4111"));
    }

    #[test]
    fn an_output_that_no_reply_can_hold_is_rejected() {
        let large = write(&"x".repeat(limit::PAYLOAD_BYTES_MAX)).expect_err("too large");
        assert!(large.message().contains("65538 bytes"), "{large:?}");
        let mut deep = serde_json::json!(1);
        for _ in 0..=limit::JSON_DEPTH_MAX {
            deep = serde_json::json!([deep]);
        }
        assert!(write(&deep).is_err());
    }
}
