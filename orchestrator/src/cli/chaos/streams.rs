//! JetStream, asked past all proxies: what it holds, what is deleted from it, and since when it is there.

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull;
use futures::TryStreamExt as _;
use serde::Serialize;
use snorri_demo::Service;
use snorri_saga::ids::Name;
use snorri_saga::wire::Subjects;

use super::fleet::{Fleet, Role};
use super::nemesis::sign;
use super::plan::Lost;

/// The stream of commands.
pub(super) fn commands() -> String {
    Subjects::default().commands_stream()
}

/// What a stream holds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Held {
    pub(super) stream: String,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) bytes_max: i64,
    pub(super) consumers: Vec<Waiting>,
}

/// What a consumer has to do.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Waiting {
    pub(super) consumer: String,
    pub(super) pending: u64,
    pub(super) unacknowledged: usize,
}

/// JetStream.
#[derive(Debug, Clone)]
pub(super) struct Streams(Context);

impl Streams {
    pub(super) fn new(nats: async_nats::Client) -> Self {
        Self(async_nats::jetstream::new(nats))
    }

    /// When a stream was made, by the server's clock.
    pub(super) async fn born(&self, stream: &str) -> Option<String> {
        let stream = self.0.get_stream(stream).await.ok()?;
        Some(stream.cached_info().created.to_string())
    }

    async fn consumer_born(&self, stream: &str, consumer: &str) -> Option<String> {
        let stream = self.0.get_stream(stream).await.ok()?;
        let consumer = stream.get_consumer::<pull::Config>(consumer).await.ok()?;
        Some(consumer.cached_info().created.to_string())
    }

    /// Deletes a stream or a consumer, and shows that there is another one now.
    pub(super) async fn delete(&self, lost: Lost, fleet: &Fleet) -> Option<String> {
        let subjects = Subjects::default();
        let (stream, consumer) = match lost {
            Lost::CommandsStream => (subjects.commands_stream(), None),
            Lost::RepliesStream => (subjects.replies_stream(), None),
            Lost::EndingsStream => (subjects.endings_stream(), None),
            Lost::RepliesConsumer(number) => {
                let of =
                    fleet.members.iter().filter(|member| matches!(member.role, Role::Orchestrator { .. }));
                let replica = Name::new(&of.clone().nth(number)?.name).ok()?;
                (subjects.replies_stream(), Some(subjects.replica_consumer(&replica)))
            }
            Lost::CommandsConsumer(number) => {
                let service = Name::new(Service::all().get(number)?.name()).ok()?;
                (subjects.commands_stream(), Some(subjects.participant_consumer(&service)))
            }
        };
        let Some(consumer) = consumer else {
            let before = self.born(&stream).await;
            // Tried again: NATS may be busy with another fault just now.
            sign(async || self.0.delete_stream(&stream).await.ok()).await?;
            let now =
                sign(async || self.born(&stream).await.filter(|now| before.as_ref() != Some(now))).await?;
            return Some(format!("{stream} is of {now}"));
        };
        let before = self.consumer_born(&stream, &consumer).await;
        sign(async || self.0.get_stream(&stream).await.ok()?.delete_consumer(&consumer).await.ok()).await?;
        let now = sign(async || {
            self.consumer_born(&stream, &consumer).await.filter(|now| before.as_ref() != Some(now))
        })
        .await?;
        Some(format!("{consumer} is of {now}"))
    }

    /// All streams with their consumers; nothing while NATS does not answer.
    pub(super) async fn held(&self) -> Option<Vec<Held>> {
        let mut all = Vec::new();
        let mut streams = self.0.streams();
        while let Some(info) = streams.try_next().await.ok()? {
            let stream = self.0.get_stream(&info.config.name).await.ok()?;
            let mut consumers = Vec::new();
            let mut infos = stream.consumers();
            while let Some(info) = infos.try_next().await.ok()? {
                consumers.push(Waiting {
                    consumer: info.name,
                    pending: info.num_pending,
                    unacknowledged: info.num_ack_pending,
                });
            }
            all.push(Held {
                stream: info.config.name,
                messages: info.state.messages,
                bytes: info.state.bytes,
                bytes_max: info.config.max_bytes,
                consumers,
            });
        }
        Some(all)
    }
}
