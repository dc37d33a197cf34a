//! Starts over NATS: the same as over REST. The answer goes to the subject that the starter names, after
//! the commit; the message is acknowledged last.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use snorri_bus::{Bytes, ConsumerSpec, Message, Next, Outgoing};
use snorri_saga::json::{deeper_than, fingerprint};
use snorri_saga::wire::{StartBody, header, limit};
use tokio_util::sync::CancellationToken;

use crate::aside::dead_letter;
use crate::definitions;
use crate::engine::{Engine, Shared, StartError, StartRequest, Started};
use crate::intake::{self, Intake};
use crate::problem::Problem;

/// How many starts of one replica are under way at once.
const CONCURRENT_MAX: usize = 512;
/// How long one start may take before its message is handed back.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// What an answer's subject begins with, and the most bytes that it may have. It is published with this
/// process's rights, which the starter does not have: anything but an inbox could be an order to JetStream, or
/// a forged reply or command.
const INBOX: &str = "_INBOX.";
const REPLY_TO_BYTES_MAX: usize = 200;
/// The reason of a start that wants its answer elsewhere.
const BAD_REPLY_TO: &str = "bad_reply_to";

/// Consumes starts until told to stop. What is under way then is finished.
pub(crate) async fn run(engine: Engine, shared: Arc<Shared>, intake: Arc<Intake>, stop: CancellationToken) {
    let subjects = shared.bus.subjects();
    let mut spec =
        ConsumerSpec::new(subjects.starts_stream(), subjects.starts_consumer(), subjects.starts_all());
    spec.prefetch = 256;
    let mut starts = shared.bus.consume(spec);
    let mut under_way = FuturesUnordered::new();
    loop {
        // A slow start holds up no other: there is room for more until all places are taken.
        let room = CONCURRENT_MAX.saturating_sub(under_way.len());
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(()) = under_way.next() => continue,
            next = starts.next_up_to(room), if room > 0 => next,
        };
        match next {
            Next::Batch(messages) => {
                under_way
                    .extend(messages.into_iter().map(|message| take(&engine, &shared, &intake, message)));
            }
            Next::Recreated => tracing::warn!("the stream of starts was lost and is made anew"),
            Next::Closed => break,
        }
    }
    // Others get at once what was not begun here.
    tokio::join!(starts.close(), async { while under_way.next().await.is_some() {} });
}

/// Whether an answer may be sent there: an inbox, one subject, nothing else.
fn is_inbox(subject: &str) -> bool {
    subject.len() <= REPLY_TO_BYTES_MAX
        && subject.strip_prefix(INBOX).is_some_and(|rest| rest.split('.').all(|token| !token.is_empty()))
        && subject.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>'))
}

async fn take(engine: &Engine, shared: &Shared, intake: &Intake, message: Message) {
    let reply_to = message.header(header::REPLY_TO);
    if reply_to.is_some_and(|to| !is_inbox(to)) {
        let detail = format!(
            "`{}` is not a subject below `{INBOX}` of at most {REPLY_TO_BYTES_MAX} bytes",
            header::REPLY_TO
        );
        if shared
            .aside
            .keep(&*shared.store, &shared.metrics, vec![dead_letter(&message, BAD_REPLY_TO, detail)])
            .await
            .is_ok()
        {
            message.ack().await;
        }
        return;
    }
    let answer = match begin(engine, intake, shared, &message).await {
        Ok(body) => body,
        Err(Refused::Later) => {
            // The stream keeps it: that is the queue.
            message.nak_with_delay(Duration::from_secs(1).mul_f64(shared.dice.range(0.5..1.5))).await;
            return;
        }
        Err(Refused::Never(problem)) => {
            let letter = dead_letter(&message, problem.word(), problem.detail().to_owned());
            if shared.aside.keep(&*shared.store, &shared.metrics, vec![letter]).await.is_err() {
                return; // It comes again when Postgres is back.
            }
            problem.to_json()
        }
    };
    if let Some(to) = reply_to {
        // A courtesy: the starter that does not get it starts again with the same key.
        let outgoing =
            Outgoing { subject: to.to_owned(), headers: None, payload: Bytes::from(answer.to_string()) };
        if let Err(error) = shared.bus.publish_core(outgoing).await {
            tracing::debug!(%error, "the answer to a start could not be sent");
        }
    }
    message.ack().await;
}

/// The key of a start that brought none: the message itself, so that a redelivery is the same start.
fn own_key(stored_at: u64, subject: &str, body: &StartBody) -> (String, [u8; 32]) {
    let hash = fingerprint(&serde_json::json!([subject]));
    let tail = hash.iter().take(8).fold(0_u64, |tail, byte| (tail << 8) | u64::from(*byte));
    // The bytes and not the value: they are the same ones each time, and need not have a value.
    let print = fingerprint(&serde_json::json!([subject, body.version, body.input.get()]));
    (format!("nats.{stored_at}.{tail:016x}"), print)
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
    intake.admit().map_err(|_| Refused::Later)?;
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
    let key = match message.header(header::KEY).or_else(|| message.header(header::MESSAGE_ID)) {
        Some(key) => Some(intake::keyed(key.to_owned(), name, body.version, &body.input).map_err(never)?),
        None => message.stored_at_nanos().map(|at| own_key(at, message.subject(), &body)),
    };
    let versioned = match intake.definitions.in_force(name, body.version).await {
        Ok(versioned) => versioned,
        Err(error @ definitions::Error::Removed { .. }) => {
            // One that came before the removal has its saga.
            return match engine.begun(key.as_ref(), body.version).await {
                Ok(Some(started)) => Ok(told(&started)),
                Ok(None) => Err(never(error.into())),
                Err(error) => Err(refused(error)),
            };
        }
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
        traceparent: message.header(header::TRACEPARENT).and_then(intake::traceparent),
    };
    engine.start(request, START_TIMEOUT).await.map(|started| told(&started)).map_err(refused)
}

fn told(started: &Started) -> serde_json::Value {
    serde_json::json!({"saga_id": started.id, "version": started.version, "replayed": started.is_replay})
}

fn refused(error: StartError) -> Refused {
    match error {
        StartError::KeyReused(_) => Refused::Never(Problem::key_reused(&error.to_string())),
        StartError::Broken(why) => Refused::Never(Problem::internal(&why)),
        StartError::Overloaded(_) | StartError::Unavailable | StartError::ShuttingDown => Refused::Later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_inboxes_only() {
        let long = format!("{INBOX}{}", "a".repeat(REPLY_TO_BYTES_MAX - INBOX.len()));
        for good in ["_INBOX.Xq1", "_INBOX.abc.def.1", long.as_str()] {
            assert!(is_inbox(good), "{good}");
        }
        for bad in [
            "",
            "_INBOX",
            "_INBOX.",
            "_INBOX..a",
            "_INBOX.a.",
            "_INBOX.a..b",
            "_INBOX.*",
            "_INBOX.a.>",
            "_INBOX.a b",
            "_INBOX.a\tb",
            "_INBOX.a\r\nPUB x 0",
            "_INBOX.é",
            "_INBOX.\0",
            "_INBOXES.a",
            "_inbox.a",
            " _INBOX.a",
            "$JS.API.STREAM.PURGE.SNORRI_COMMANDS",
            "$SYS.REQ.SERVER.PING",
            "snorri.reply.payments.one",
            "snorri.command.payments.charge",
            &format!("{long}a"),
        ] {
            assert!(!is_inbox(bad), "{bad}");
        }
    }

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
