//! Starts over NATS: the same as over REST.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use snorri_bus::{ConsumerSpec, Message};
use snorri_saga::json::{deeper_than, fingerprint};
use snorri_saga::wire::{StartBody, header, limit};
use tokio_util::sync::CancellationToken;

use crate::definitions;
use crate::engine::{Engine, Shared, StartError, StartRequest, Started};
use crate::intake::{self, Intake};
use crate::problem::Problem;
use crate::requests::{self, Refused, Requests, key_of};

/// How long one start may take before its message is handed back.
const START_TIMEOUT: Duration = Duration::from_secs(10);

struct Starts {
    engine: Engine,
    shared: Arc<Shared>,
    intake: Arc<Intake>,
}

/// Consumes starts until told to stop. What is under way then is finished.
pub(crate) async fn run(engine: Engine, shared: Arc<Shared>, intake: Arc<Intake>, stop: CancellationToken) {
    requests::run(Starts { engine, shared: shared.clone(), intake }, shared, stop).await;
}

/// The key of a start that brought none, with the fingerprint of what it stands for.
fn own_key(stored_at: u64, subject: &str, body: &StartBody) -> (String, [u8; 32]) {
    // The bytes and not the value: they are the same ones each time, and need not have a value.
    let print = fingerprint(&serde_json::json!([subject, body.version, body.input.get()]));
    (requests::own_key(stored_at, subject), print)
}

#[async_trait]
impl Requests for Starts {
    const KIND: &'static str = "starts";

    fn spec(&self) -> ConsumerSpec {
        let subjects = self.shared.bus.subjects();
        ConsumerSpec::new(subjects.starts_stream(), subjects.starts_consumer(), subjects.starts_all())
    }

    async fn see_to(&self, message: &Message) -> Result<Value, Refused> {
        let Self { engine, shared, intake } = self;
        intake.admit().map_err(|_| Refused::Later)?;
        let name = shared
            .bus
            .subjects()
            .definition_of_start(message.subject())
            .ok_or_else(|| Problem::bad_request("the subject names no definition"))?;
        if message.payload().len() > intake::START_BYTES_MAX {
            let bytes = message.payload().len();
            return Err(Problem::too_large("the start", bytes, intake::START_BYTES_MAX).into());
        }
        if deeper_than(message.payload(), limit::JSON_DEPTH_MAX + 1) {
            return Err(Problem::too_deep().into());
        }
        let body: StartBody = serde_json::from_slice(message.payload())
            .map_err(|error| Problem::bad_request(&format!("the body cannot be read: {error}")))?;
        intake::check_start(&body.input, &body.tags)?;
        let key = match key_of(message) {
            Some(key) => Some(intake::keyed(key.to_owned(), name, body.version, &body.input)?),
            None => message.stored_at_nanos().map(|at| own_key(at, message.subject(), &body)),
        };
        let versioned = match intake.definitions.in_force(name, body.version).await {
            Ok(versioned) => versioned,
            Err(error @ definitions::Error::Removed { version, .. }) => {
                // One that came before the removal has its saga.
                return match engine.begun(key.as_ref(), version).await {
                    Ok(Some(started)) => Ok(told(&started)),
                    Ok(None) => Err(Problem::from(error).into()),
                    Err(error) => Err(refused(error)),
                };
            }
            Err(error @ definitions::Error::Unknown { .. }) => {
                return Err(Problem::unknown_definition(&error.to_string()).into());
            }
            Err(_) => return Err(Refused::Later),
        };
        let request = StartRequest {
            versioned,
            input: body.input,
            tags: body.tags,
            key,
            traceparent: message.header(header::TRACEPARENT).and_then(intake::traceparent),
        };
        engine.start(request, START_TIMEOUT).await.map(|started| told(&started)).map_err(refused)
    }
}

fn told(started: &Started) -> Value {
    serde_json::json!({"saga_id": started.id, "version": started.version, "replayed": started.is_replay})
}

fn refused(error: StartError) -> Refused {
    match error {
        StartError::KeyReused(_) => Problem::key_reused(&error.to_string(), "start").into(),
        StartError::InvalidInput(mismatches) => Problem::invalid_input(&mismatches).into(),
        StartError::Broken(why) => Problem::internal(&why).into(),
        StartError::Overloaded(_) | StartError::Unavailable | StartError::ShuttingDown => Refused::Later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_without_a_key_is_its_message() {
        let body = |text: &str| serde_json::from_str::<StartBody>(text).expect("a body");
        let key = own_key(7, "snorri.start.order", &body(r#"{"input":1e999}"#));
        assert_eq!(key, own_key(7, "snorri.start.order", &body(r#"{"input":1e999}"#)));
        assert!(key.0.len() <= intake::KEY_BYTES_MAX);
        assert_ne!(key.0, own_key(8, "snorri.start.order", &body(r#"{"input":1e999}"#)).0);
        assert_ne!(key.0, own_key(7, "snorri.start.other", &body(r#"{"input":1e999}"#)).0);
    }
}
