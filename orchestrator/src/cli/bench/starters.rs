//! The starters, over REST and over NATS, and the listener to endings.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Subscriber};
use futures::StreamExt as _;
use serde::Deserialize;
use snorri_saga::ids::Name;
use snorri_saga::wire::{Subjects, header};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use super::http::{Answer, Connection, Post};
use super::load::{Ending, Load, Ticket};
use super::{DEFINITION, Error};

/// The most connections at once.
const CONNECTIONS_MAX: usize = 128;
/// The longest pause that the server's advice leads to.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The pause before a start is repeated that was not answered.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Tasks of one row; they end when it is dropped.
pub(super) type Tasks = JoinSet<()>;

#[derive(Deserialize)]
struct StartedBody {
    #[serde(alias = "saga_id")]
    id: Uuid,
}

/// Starts over REST, one by one on each of some connections that are kept alive. With `keys` each start
/// carries an idempotency key, and is repeated until it is answered.
pub(super) fn over_rest(
    tasks: &mut Tasks,
    load: &Load,
    address: SocketAddr,
    in_flight: usize,
    keys: Option<&str>,
) {
    let keys: Option<Rc<str>> = keys.map(Rc::from);
    for _ in 0..in_flight.clamp(1, CONNECTIONS_MAX) {
        let (load, keys) = (load.clone(), keys.clone());
        tasks.spawn_local(async move {
            let mut connection = Connection::new(address);
            loop {
                let ticket = load.take().await;
                start(&mut connection, &load, ticket, keys.as_deref()).await;
            }
        });
    }
}

async fn start(connection: &mut Connection, load: &Load, ticket: Ticket, keys: Option<&str>) {
    let body = body(ticket);
    let key = keys.map(|keys| format!("{keys}-{}", ticket.number));
    let post = Post { key: key.as_deref(), ..post(&body) };
    loop {
        let pause = match connection.post(post).await {
            Ok(answer) if matches!(answer.status, 429 | 503) => {
                load.refused();
                answer.retry_after.unwrap_or(AGAIN_AFTER).min(PAUSE_MAX)
            }
            Ok(answer) => return answered(load, ticket, &answer),
            // With a key it may be repeated safely: that is what the key is for.
            Err(_) if key.is_some() => AGAIN_AFTER,
            Err(error) => return load.failed(format!("a start was not answered: {error}")),
        };
        sleep(pause).await;
    }
}

/// Tries each start once and lets refusals stand, as somebody does who asks for more than there is.
pub(super) fn once_over_rest(tasks: &mut Tasks, load: &Load, address: SocketAddr, connections: usize) {
    for _ in 0..connections {
        let load = load.clone();
        tasks.spawn_local(async move {
            let mut connection = Connection::new(address);
            loop {
                let ticket = load.take().await;
                let body = body(ticket);
                match connection.post(post(&body)).await {
                    Ok(answer) if matches!(answer.status, 429 | 503) => {
                        load.turned_away(answer.status, answer.retry_after.is_some());
                    }
                    Ok(answer) => answered(&load, ticket, &answer),
                    Err(_) => {
                        load.unanswered();
                        sleep(AGAIN_AFTER).await;
                    }
                }
            }
        });
    }
}

/// Starts over REST spread over several replicas. Each start carries a key and is repeated at the next replica when
/// one does not answer.
pub(super) fn over_replicas(
    tasks: &mut Tasks,
    load: &Load,
    addresses: &[SocketAddr],
    in_flight: usize,
    keys: &str,
) {
    let (addresses, keys): (Rc<[SocketAddr]>, Rc<str>) = (addresses.into(), keys.into());
    for first in 0..in_flight.clamp(1, CONNECTIONS_MAX) {
        let (load, addresses, keys) = (load.clone(), addresses.clone(), keys.clone());
        tasks.spawn_local(async move {
            let mut connections: Vec<Connection> =
                addresses.iter().map(|address| Connection::new(*address)).collect();
            let mut turn = first;
            loop {
                let ticket = load.take().await;
                let (body, key) = (body(ticket), format!("{keys}-{}", ticket.number));
                let post = Post { key: Some(&key), ..post(&body) };
                loop {
                    turn = (turn + 1) % connections.len();
                    let Some(connection) = connections.get_mut(turn) else { return };
                    let pause = match connection.post(post).await {
                        Ok(answer) if matches!(answer.status, 429 | 503) => {
                            load.refused();
                            answer.retry_after.unwrap_or(AGAIN_AFTER).min(PAUSE_MAX)
                        }
                        Ok(answer) => break answered(&load, ticket, &answer),
                        Err(_) => AGAIN_AFTER,
                    };
                    sleep(pause).await;
                }
            }
        });
    }
}

fn body(ticket: Ticket) -> String {
    format!(r#"{{"definition":"{DEFINITION}","input":{}}}"#, ticket.input())
}

fn post(body: &str) -> Post<'_> {
    Post { path: "/v1/sagas", content_type: "application/json", key: None, body: body.as_bytes() }
}

/// Takes an answer that is no refusal.
fn answered(load: &Load, ticket: Ticket, answer: &Answer<'_>) {
    if !matches!(answer.status, 200..=202) {
        let text = String::from_utf8_lossy(answer.body);
        return load.failed(format!("a start was answered {}: {text}", answer.status));
    }
    match serde_json::from_slice::<StartedBody>(answer.body) {
        Ok(started) => load.accepted(ticket, started.id),
        Err(error) => load.failed(format!("the answer to a start cannot be read: {error}")),
    }
}

/// Starts over NATS: published to JetStream with a key, accepted when the orchestrator's answer comes.
pub(super) async fn over_nats(
    tasks: &mut Tasks,
    load: &Load,
    client: &Client,
    subjects: &Subjects,
    keys: &str,
) -> Result<(), Error> {
    let subject = subjects.start(&Name::new(DEFINITION)?);
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(format!("{inbox}.*.*")).await.map_err(Error::nats)?;
    let tickets = Rc::new(std::cell::RefCell::new(std::collections::HashMap::<u64, Ticket>::new()));

    let (planned, known, prefix, keys) = (load.clone(), tickets.clone(), inbox.clone(), keys.to_owned());
    let client = client.clone();
    tasks.spawn_local(async move {
        loop {
            let ticket = planned.take().await;
            known.borrow_mut().insert(ticket.number, ticket);
            let number = ticket.number;
            let mut headers = HeaderMap::new();
            headers.insert(header::KEY, format!("{keys}-{number}"));
            headers.insert(header::REPLY_TO, format!("{prefix}.started.{number}"));
            let body = format!(r#"{{"input":{}}}"#, ticket.input()).into();
            // With a reply subject JetStream tells that it has stored the start.
            let stored = format!("{prefix}.stored.{number}");
            let sent = client.publish_with_reply_and_headers(subject.clone(), stored, headers, body).await;
            if let Err(error) = sent {
                known.borrow_mut().remove(&number);
                planned.failed(format!("a start was not sent: {error}"));
                sleep(AGAIN_AFTER).await;
            }
        }
    });

    let load = load.clone();
    tasks.spawn_local(async move {
        while let Some(message) = answers.next().await {
            let tail = message.subject.strip_prefix(inbox.as_str()).unwrap_or_default();
            let Some((kind, number)) = tail.trim_start_matches('.').split_once('.') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            if kind == "stored" {
                if !message.payload.starts_with(br#"{"stream""#)
                    && tickets.borrow_mut().remove(&number).is_some()
                {
                    load.failed(String::from_utf8_lossy(&message.payload));
                }
                continue;
            }
            let Some(ticket) = tickets.borrow_mut().remove(&number) else { continue };
            match serde_json::from_slice::<StartedBody>(&message.payload) {
                Ok(started) => load.accepted(ticket, started.id),
                Err(_) => load.failed(String::from_utf8_lossy(&message.payload)),
            }
        }
    });
    Ok(())
}

#[derive(Deserialize)]
struct Announced {
    saga_id: Uuid,
}

/// Subscribes to the endings. To be done before anything is started.
pub(super) async fn endings(client: &Client, subjects: &Subjects) -> Result<Subscriber, Error> {
    let subject = subjects.ended(&Name::new(DEFINITION)?, "*");
    let subscriber = client.subscribe(subject).await.map_err(Error::nats)?;
    client.flush().await.map_err(Error::nats)?;
    Ok(subscriber)
}

/// Listens to the endings.
pub(super) fn listen(tasks: &mut Tasks, load: &Load, mut endings: Subscriber) {
    let load = load.clone();
    tasks.spawn_local(async move {
        while let Some(message) = endings.next().await {
            let ending = match message.subject.rsplit_once('.') {
                Some((_, "completed")) => Ending::Completed,
                Some((_, "compensated")) => Ending::Compensated,
                _ => Ending::Other,
            };
            match serde_json::from_slice::<Announced>(&message.payload) {
                Ok(announced) => load.announced(announced.saga_id, ending),
                Err(error) => tracing::warn!(%error, "an announcement that cannot be read"),
            }
        }
    });
}
