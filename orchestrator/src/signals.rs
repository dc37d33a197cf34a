//! Signals over NATS: the same as over REST. A stream and a consumer of their own, so that a replica of a build that knows
//! no signals has nothing to do with them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use snorri_bus::{ConsumerSpec, Message};
use snorri_saga::json::deeper_than;
use snorri_saga::wire::{SignalBody, limit};
use tokio_util::sync::CancellationToken;

use crate::acts::{Acts, NotTaken, SIGNAL_BYTES_MAX, Signal};
use crate::engine::{Engine, Shared};
use crate::intake;
use crate::problem::Problem;
use crate::requests::{self, Refused, Requests, key_of, own_key};

/// How long one signal may take before its message is handed back.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(10);

struct Signals {
    engine: Engine,
    shared: Arc<Shared>,
}

/// Consumes signals until told to stop. What is under way then is finished.
pub(crate) async fn run(engine: Engine, shared: Arc<Shared>, stop: CancellationToken) {
    requests::run(Signals { engine, shared: shared.clone() }, shared, stop).await;
}

#[async_trait]
impl Requests for Signals {
    const KIND: &'static str = "signals";

    fn spec(&self) -> ConsumerSpec {
        let subjects = self.shared.bus.subjects();
        ConsumerSpec::new(subjects.signals_stream(), subjects.signals_consumer(), subjects.signals_all())
    }

    async fn see_to(&self, message: &Message) -> Result<Value, Refused> {
        let Shared { bus, definitions, metrics, .. } = &*self.shared;
        let signal = read(message, bus.subjects().name_of_signal(message.subject()))?;
        let acts = Acts { engine: &self.engine, definitions, metrics };
        match acts.signal(signal, SIGNAL_TIMEOUT).await {
            Ok(view) => serde_json::to_value(&view)
                .map_err(|error| Refused::Never(Problem::internal(&format!("an answer: {error}")))),
            Err(NotTaken::Later(_)) => Err(Refused::Later),
            Err(NotTaken::Never(problem)) => Err(Refused::Never(problem)),
        }
    }
}

fn read(message: &Message, name: Option<snorri_saga::ids::Name>) -> Result<Signal, Problem> {
    let name = name.ok_or_else(|| Problem::bad_request("the subject names no signal"))?;
    if message.payload().len() > SIGNAL_BYTES_MAX {
        return Err(Problem::too_large("the signal", message.payload().len(), SIGNAL_BYTES_MAX));
    }
    if deeper_than(message.payload(), limit::JSON_DEPTH_MAX + 1) {
        return Err(Problem::too_deep());
    }
    let SignalBody { saga_id, payload } = serde_json::from_slice(message.payload())
        .map_err(|error| Problem::bad_request(&format!("the body cannot be read: {error}")))?;
    let key = match (key_of(message), message.stored_at_nanos()) {
        (Some(key), _) => intake::bare_key(key.to_owned())?,
        (None, Some(at)) => own_key(at, message.subject()),
        (None, None) => return Err(Problem::bad_request("the signal has no idempotency key")),
    };
    Ok(Signal { saga: saga_id, name, key, payload })
}
