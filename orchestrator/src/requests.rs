//! What business services ask for over NATS, whatever it is: taken from its stream, seen to, answered on the inbox that
//! the asker names, and acknowledged last. What can never be done is kept aside with the reason.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use snorri_bus::{Bytes, ConsumerSpec, Message, Next, Outgoing};
use snorri_saga::json::fingerprint;
use snorri_saga::wire::header;
use tokio_util::sync::CancellationToken;

use crate::aside::dead_letter;
use crate::engine::Shared;
use crate::problem::Problem;

/// How many requests of one kind are under way at once in one replica.
const CONCURRENT_MAX: usize = 512;
/// How many are fetched ahead.
const PREFETCH: usize = 256;

/// What an answer's subject begins with, and the most bytes that it may have. It is published with this
/// process's rights, which the asker does not have: anything but an inbox could be an order to JetStream, or
/// a forged reply or command.
const INBOX: &str = "_INBOX.";
const REPLY_TO_BYTES_MAX: usize = 200;
/// The reason of a request that wants its answer elsewhere.
const BAD_REPLY_TO: &str = "bad_reply_to";

/// One kind of request.
#[async_trait]
pub(crate) trait Requests: Send + Sync {
    /// What they are called in the log.
    const KIND: &'static str;

    /// Where they come from.
    fn spec(&self) -> ConsumerSpec;

    /// Does what is asked, and says what came of it.
    async fn see_to(&self, message: &Message) -> Result<Value, Refused>;
}

/// Why a request was not done.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Not now: it stays in the stream.
    Later,
    /// It cannot ever be done.
    Never(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Never(problem)
    }
}

/// Sees to requests until told to stop. What is under way then is finished.
pub(crate) async fn run<R: Requests>(requests: R, shared: Arc<Shared>, stop: CancellationToken) {
    let mut spec = requests.spec();
    spec.prefetch = PREFETCH;
    let mut source = shared.bus.consume(spec);
    let mut under_way = FuturesUnordered::new();
    loop {
        // A slow one holds up no other: there is room for more until all places are taken.
        let room = CONCURRENT_MAX.saturating_sub(under_way.len());
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(()) = under_way.next() => continue,
            next = source.next_up_to(room), if room > 0 => next,
        };
        match next {
            Next::Batch(messages) => {
                under_way.extend(messages.into_iter().map(|message| take(&requests, &shared, message)));
            }
            Next::Recreated => {
                tracing::warn!(kind = R::KIND, "the stream was lost and is made anew");
            }
            Next::Closed => break,
        }
    }
    // Others get at once what was not begun here.
    tokio::join!(source.close(), async { while under_way.next().await.is_some() {} });
}

/// Whether an answer may be sent there: an inbox, one subject, nothing else.
fn is_inbox(subject: &str) -> bool {
    subject.len() <= REPLY_TO_BYTES_MAX
        && subject.strip_prefix(INBOX).is_some_and(|rest| rest.split('.').all(|token| !token.is_empty()))
        && subject.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>'))
}

async fn take<R: Requests>(requests: &R, shared: &Shared, message: Message) {
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
    let answer = match requests.see_to(&message).await {
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
        // A courtesy: whoever does not get it asks again with the same key.
        let outgoing =
            Outgoing { subject: to.to_owned(), headers: None, payload: Bytes::from(answer.to_string()) };
        if let Err(error) = shared.bus.publish_core(outgoing).await {
            tracing::debug!(%error, kind = R::KIND, "an answer could not be sent");
        }
    }
    message.ack().await;
}

/// The key of a request that brought none: the message itself, so that a redelivery is the same request.
pub(crate) fn own_key(stored_at: u64, subject: &str) -> String {
    let hash = fingerprint(&serde_json::json!([subject]));
    let tail = hash.iter().take(8).fold(0_u64, |tail, byte| (tail << 8) | u64::from(*byte));
    format!("nats.{stored_at}.{tail:016x}")
}

/// The key that a message brought.
pub(crate) fn key_of(message: &Message) -> Option<&str> {
    message.header(header::KEY).or_else(|| message.header(header::MESSAGE_ID))
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
}
