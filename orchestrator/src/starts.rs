//! Starts over NATS: the same as over REST. The answer goes to the subject that the starter names, after
//! the commit; the message is acknowledged last.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use snorri_bus::{Bytes, ConsumerSpec, Message, Next, Outgoing};
use snorri_saga::json::deeper_than;
use snorri_saga::wire::{StartBody, header, limit};
use tokio_util::sync::CancellationToken;

use crate::definitions;
use crate::engine::{Engine, Shared, StartError, StartRequest};
use crate::inbox::dead_letter;
use crate::intake::{self, Intake};
use crate::problem::Problem;

/// How many starts of one replica are under way at once.
const CONCURRENT_MAX: usize = 512;
/// How long one start may take before its message is handed back.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Consumes starts until told to stop.
pub(crate) async fn run(engine: Engine, shared: Arc<Shared>, intake: Arc<Intake>, stop: CancellationToken) {
    let subjects = shared.bus.subjects();
    let mut spec =
        ConsumerSpec::new(subjects.starts_stream(), subjects.starts_consumer(), subjects.starts_all());
    spec.prefetch = 256;
    let mut starts = shared.bus.consume(spec);
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = starts.next() => next,
        };
        match next {
            Next::Batch(messages) => {
                futures::stream::iter(messages)
                    .for_each_concurrent(CONCURRENT_MAX, |message| take(&engine, &shared, &intake, message))
                    .await;
            }
            Next::Recreated => tracing::warn!("the stream of starts was lost and is made anew"),
            Next::Closed => break,
        }
    }
    starts.close().await;
}

async fn take(engine: &Engine, shared: &Shared, intake: &Intake, message: Message) {
    let result = begin(engine, intake, shared, &message).await;
    let answer = match result {
        Ok(body) => body,
        Err(Refused::Later) => {
            // The stream keeps it: that is the queue.
            message.nak_with_delay(Duration::from_millis(rand::random_range(500..1500))).await;
            return;
        }
        Err(Refused::Never(problem)) => {
            let letter = dead_letter(&message, problem.word(), problem.detail().to_owned());
            if shared.store.keep_aside(&[letter]).await.is_err() {
                return; // It comes again when Postgres is back.
            }
            shared.metrics.dead_letter(problem.word());
            problem.to_json()
        }
    };
    if let Some(to) = message.header(header::REPLY_TO) {
        // A courtesy: the starter that does not get it starts again with the same key.
        let outgoing =
            Outgoing { subject: to.to_owned(), headers: None, payload: Bytes::from(answer.to_string()) };
        if let Err(error) = shared.bus.publish_core(outgoing).await {
            tracing::debug!(%error, "the answer to a start could not be sent");
        }
    }
    message.ack().await;
}

enum Refused {
    /// Not now: it stays in the stream.
    Later,
    /// It cannot ever be started.
    Never(Problem),
}

async fn begin(
    engine: &Engine,
    intake: &Intake,
    shared: &Shared,
    message: &Message,
) -> Result<serde_json::Value, Refused> {
    let never = |problem: Problem| Refused::Never(problem);
    let name = shared
        .bus
        .subjects()
        .definition_of_start(message.subject())
        .ok_or_else(|| never(Problem::bad_request("the subject names no definition")))?;
    if message.payload().len() > intake::START_BYTES_MAX {
        return Err(never(Problem::too_large("the start", message.payload().len(), intake::START_BYTES_MAX)));
    }
    if deeper_than(message.payload(), limit::JSON_DEPTH_MAX + 1) {
        return Err(never(Problem::too_deep()));
    }
    let body: StartBody = serde_json::from_slice(message.payload())
        .map_err(|error| never(Problem::bad_request(&format!("the body cannot be read: {error}"))))?;
    intake::check_start(&body.input, &body.tags).map_err(never)?;
    let key = message.header(header::KEY).map(str::to_owned);
    let key =
        key.map(|key| intake::keyed(key, name, body.version, &body.input)).transpose().map_err(never)?;
    if key.is_none() && message.delivered() > 1 {
        // Without a key a redelivered start cannot be told from a new one; its own message is the key.
        tracing::warn!(subject = message.subject(), "a start without a key was delivered again");
    }
    let key = match key {
        Some(key) => Some(key),
        None => message.header(header::MESSAGE_ID).map(str::to_owned).map_or(Ok(None), |id| {
            intake::keyed(id, name, body.version, &body.input).map(Some).map_err(never)
        })?,
    };
    let versioned = match intake.definitions.get(name, body.version).await {
        Ok(versioned) => versioned,
        Err(error @ definitions::Error::Unknown { .. }) => {
            return Err(never(Problem::unknown_definition(&error.to_string())));
        }
        Err(_) => return Err(Refused::Later),
    };
    let request = StartRequest {
        versioned,
        input: body.input,
        tags: body.tags,
        key,
        traceparent: message.header(header::TRACEPARENT).map(str::to_owned),
    };
    match engine.start(request, START_TIMEOUT).await {
        Ok(started) => Ok(serde_json::json!({
            "saga_id": started.id, "version": started.version, "replayed": started.is_replay
        })),
        Err(error @ StartError::KeyReused(_)) => Err(never(Problem::key_reused(&error.to_string()))),
        Err(StartError::Broken(why)) => Err(never(Problem::internal(&why))),
        Err(StartError::Overloaded(_) | StartError::Unavailable | StartError::ShuttingDown) => {
            Err(Refused::Later)
        }
    }
}
