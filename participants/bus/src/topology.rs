//! Streams and consumers: created when they are missing, compared when they are there, never changed.
//!
//! An operator may have given a stream other limits for a good reason, and two versions of this program
//! that each "repair" the other's settings would never end. So a difference is said, not mended.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{
    Config, ConsumerError, ConsumerErrorKind, DiscardPolicy, Info, RetentionPolicy, StorageType,
};
use serde_json::json;
use snorri_saga::wire::Subjects;

use crate::bus::Error;
use crate::jetstream::JetStream;
use crate::transport::ConsumerSpec;
use crate::version::{Verdict, judge};

const MIB: i64 = 1024 * 1024;
const STREAM_NOT_FOUND: u64 = 10059;
const CONSUMER_NOT_FOUND: u64 = 10014;
const STREAM_EXISTS: u64 = 10058;
/// The server or the account has not enough memory or disk left to set aside.
const NO_ROOM: [u64; 4] = [10002, 10023, 10028, 10047];
/// The least that makes sense.
const SMALLEST_STREAM: i64 = 8 * MIB;

fn wanted_streams(inner: &JetStream) -> Vec<Config> {
    streams(&inner.subjects, inner.stream_replicas, inner.stream_bytes.load(Ordering::Relaxed))
}

/// The streams of an installation. Limits retention with a short age: what is stale evaporates, nothing
/// ever holds a publisher up, and the truth is in Postgres. Only of a start, and of a signal, it is not there yet: an
/// acknowledged one must not make room for others, so a full stream refuses new ones, and they wait for a day.
fn streams(subjects: &Subjects, replicas: usize, bytes: u64) -> Vec<Config> {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).max(MIB);
    let stream = |name, subject, storage, age_minutes: u64, window_seconds, max_bytes| Config {
        name,
        subjects: vec![subject],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage,
        max_age: Duration::from_secs(60 * age_minutes),
        duplicate_window: Duration::from_secs(window_seconds),
        max_bytes,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        num_replicas: replicas,
        ..Config::default()
    };
    let (file, memory) = (StorageType::File, StorageType::Memory);
    vec![
        // The window costs some 200 bytes a message: short where there are many.
        stream(subjects.commands_stream(), subjects.commands_all(), file, 15, 60, bytes),
        // In memory: a reply that is lost is asked for again. No ids on replies, so the window is idle.
        stream(subjects.replies_stream(), subjects.replies_all(), memory, 15, 120, bytes / 2),
        Config {
            discard: DiscardPolicy::New,
            ..stream(subjects.starts_stream(), subjects.starts_all(), file, 24 * 60, 120, bytes / 2)
        },
        // A stream of their own and not a second subject of the starts': a stream that is there is left as it is, and an
        // installation that was there before signals would never get it.
        Config {
            discard: DiscardPolicy::New,
            ..stream(subjects.signals_stream(), subjects.signals_all(), file, 24 * 60, 120, bytes / 8)
        },
        stream(subjects.endings_stream(), subjects.ended_all(), file, 15, 120, bytes / 4),
    ]
}

fn failed(what: &str, name: &str, why: &impl ToString) -> Error {
    Error::JetStream { what: format!("{what} {name}"), why: why.to_string() }
}

fn refuse_bad_servers(inner: &JetStream) -> Result<(), Error> {
    let Some(info) = inner.client.try_server_info() else { return Err(Error::NotConnected) };
    if judge(&info.version) == Verdict::Refused {
        return Err(Error::ServerRefused(info.version));
    }
    Ok(())
}

pub(crate) async fn ensure_streams(inner: &JetStream) -> Result<Vec<String>, Error> {
    refuse_bad_servers(inner)?;
    let mut made = Vec::new();
    let mut first = None;
    for wanted in wanted_streams(inner) {
        match ensure_one(inner, &wanted).await {
            Ok(true) => made.push(wanted.name),
            Ok(false) => {}
            // There may be no room for this one, and room for the next.
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    match first {
        None => Ok(made),
        Some(source) => Err(Error::SomeStreams { made, source: Box::new(source) }),
    }
}

/// Whether the server is one of a cluster.
fn is_cluster(inner: &JetStream) -> bool {
    inner.client.try_server_info().and_then(|info| info.cluster).is_some_and(|name| !name.is_empty())
}

/// Creates one stream of this installation when it is missing, and says whether it did. In a cluster it is left to
/// those who know how many replicas it is to have: a participant that comes first, and was told nothing, would make
/// it with one for good.
pub(crate) async fn ensure_stream(inner: &JetStream, name: &str) -> Result<bool, Error> {
    refuse_bad_servers(inner)?;
    if inner.stream_replicas <= 1 && is_cluster(inner) {
        return Ok(false);
    }
    match wanted_streams(inner).into_iter().find(|stream| stream.name == name) {
        Some(wanted) => ensure_one(inner, &wanted).await,
        None => Ok(false),
    }
}

async fn ensure_one(inner: &JetStream, wanted: &Config) -> Result<bool, Error> {
    let name = wanted.name.as_str();
    if let Some(found) = stream_info(inner, name).await? {
        alarm_on_differences(wanted, &found.config);
        return Ok(false);
    }
    let mut wanted = wanted.clone();
    loop {
        let created: Response<Info> = inner
            .context
            .request(format!("STREAM.CREATE.{name}"), &wanted)
            .await
            .map_err(|error| failed("create stream", name, &error))?;
        match created {
            Response::Ok(_) => {
                tracing::info!(stream = name, max_bytes = wanted.max_bytes, "created the stream");
                if wanted.num_replicas <= 1 && is_cluster(inner) {
                    tracing::warn!(stream = name, "one replica in a cluster: away with one server");
                }
                return Ok(true);
            }
            // Another replica was faster, with other settings.
            Response::Err { error } if error.error_code().0 == STREAM_EXISTS => return Ok(false),
            // The server sets aside what a stream may need. A small one may not have as much.
            Response::Err { error }
                if NO_ROOM.contains(&error.error_code().0) && wanted.max_bytes > SMALLEST_STREAM =>
            {
                wanted.max_bytes /= 4;
                tracing::warn!(stream = name, %error, max_bytes = wanted.max_bytes, "making the stream smaller");
            }
            Response::Err { error } => return Err(failed("create stream", name, &error)),
        }
    }
}

async fn stream_info(inner: &JetStream, name: &str) -> Result<Option<Info>, Error> {
    let found: Response<Info> = inner
        .context
        .request(format!("STREAM.INFO.{name}"), &json!({}))
        .await
        .map_err(|error| failed("look up stream", name, &error))?;
    match found {
        Response::Ok(info) => Ok(Some(info)),
        Response::Err { error } if error.error_code().0 == STREAM_NOT_FOUND => Ok(None),
        Response::Err { error } => Err(failed("look up stream", name, &error)),
    }
}

fn alarm_on_differences(wanted: &Config, found: &Config) {
    let differences = [
        ("subjects", wanted.subjects != found.subjects),
        ("retention", wanted.retention != found.retention),
        ("discard", wanted.discard != found.discard),
        ("storage", wanted.storage != found.storage),
        ("max_age", wanted.max_age != found.max_age),
        ("duplicate_window", wanted.duplicate_window != found.duplicate_window),
        ("num_replicas", wanted.num_replicas != found.num_replicas),
    ];
    let names: Vec<&str> =
        differences.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    if !names.is_empty() {
        tracing::error!(
            stream = wanted.name,
            settings = names.join(", "),
            "the stream exists with other settings than this version would give it; it is left as it is"
        );
    }
}

pub(crate) async fn delete_consumer(inner: &JetStream, stream: &str, durable: &str) -> Result<(), Error> {
    let subject = format!("CONSUMER.DELETE.{stream}.{durable}");
    let answer: Response<serde_json::Value> = inner
        .context
        .request(subject, &json!({}))
        .await
        .map_err(|error| failed("delete consumer", durable, &error))?;
    match answer {
        Response::Err { error } if !matches!(error.error_code().0, CONSUMER_NOT_FOUND | STREAM_NOT_FOUND) => {
            Err(failed("delete consumer", durable, &error))
        }
        _ => Ok(()),
    }
}

/// What tells one incarnation of a consumer from the next: when it was created, by the server's clock.
pub(crate) type Born = String;

/// Makes sure that the stream and the consumer exist, and returns when the consumer was created.
pub(crate) async fn ensure_consumer(inner: &JetStream, spec: &ConsumerSpec) -> Result<Born, Error> {
    if let Some(born) = find_consumer(inner, spec).await? {
        return Ok(born);
    }
    let config = pull::Config {
        durable_name: Some(spec.durable.clone()),
        deliver_policy: match spec.deliver_from {
            _ if spec.deliver_new_only => DeliverPolicy::New,
            Some(from) => DeliverPolicy::ByStartTime { start_time: from.into() },
            None => DeliverPolicy::All,
        },
        ack_policy: AckPolicy::Explicit,
        ack_wait: spec.ack_wait,
        // Without a limit: a message that went round too often would be skipped in silence.
        max_deliver: -1,
        filter_subject: spec.filter.clone(),
        max_ack_pending: spec.max_ack_pending,
        ..pull::Config::default()
    };
    let create = || inner.context.create_consumer_on_stream(config.clone(), spec.stream.as_str());
    let created = match create().await {
        // Only now, since a participant need not be allowed to know of streams.
        Err(error) if is_stream_not_found(&error) => {
            ensure_stream(inner, &spec.stream).await?;
            create().await
        }
        other => other,
    };
    let consumer = created.map_err(|error| failed("create consumer", &spec.durable, &error))?;
    tracing::info!(stream = spec.stream, consumer = spec.durable, "created the consumer");
    Ok(consumer.cached_info().created.to_string())
}

fn is_stream_not_found(error: &ConsumerError) -> bool {
    matches!(error.kind(), ConsumerErrorKind::JetStream(error) if error.error_code().0 == STREAM_NOT_FOUND)
}

async fn find_consumer(inner: &JetStream, spec: &ConsumerSpec) -> Result<Option<Born>, Error> {
    let subject = format!("CONSUMER.INFO.{}.{}", spec.stream, spec.durable);
    let found: Response<jetstream::consumer::Info> = inner
        .context
        .request(subject, &json!({}))
        .await
        .map_err(|error| failed("look up consumer", &spec.durable, &error))?;
    match found {
        Response::Ok(info) => {
            let config = &info.config;
            if config.filter_subject != spec.filter
                || config.ack_wait != spec.ack_wait
                || config.max_ack_pending != spec.max_ack_pending
            {
                tracing::warn!(
                    consumer = spec.durable,
                    "the consumer exists with other settings than this version would give it; it is left so"
                );
            }
            Ok(Some(info.created.to_string()))
        }
        Response::Err { error } if matches!(error.error_code().0, CONSUMER_NOT_FOUND | STREAM_NOT_FOUND) => {
            Ok(None)
        }
        Response::Err { error } => Err(failed("look up consumer", &spec.durable, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_is_bounded_and_its_window_fits_its_age() {
        let streams = streams(&Subjects::default(), 3, 0);
        assert_eq!(streams.len(), 5);
        for stream in streams {
            assert!(stream.max_bytes > 0 && stream.max_age > Duration::ZERO, "{}", stream.name);
            assert!(stream.duplicate_window <= stream.max_age, "{}", stream.name);
            assert_eq!(stream.num_replicas, 3);
        }
    }

    #[test]
    fn an_acknowledged_start_or_signal_never_makes_room_for_another() {
        let full = |stream: &Config| (stream.name.clone(), stream.discard);
        let old = |name: &str| (name.to_owned(), DiscardPolicy::Old);
        let streams = streams(&Subjects::default(), 1, 0);
        assert_eq!(
            streams.iter().map(full).collect::<Vec<_>>(),
            [
                old("SNORRI_COMMANDS"),
                old("SNORRI_REPLIES"),
                ("SNORRI_STARTS".to_owned(), DiscardPolicy::New),
                ("SNORRI_SIGNALS".to_owned(), DiscardPolicy::New),
                old("SNORRI_ENDINGS")
            ]
        );
        let day = Duration::from_hours(24);
        assert!(
            streams.iter().all(|stream| (stream.max_age == day) == (stream.discard == DiscardPolicy::New))
        );
    }
}
