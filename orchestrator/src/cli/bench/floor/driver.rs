//! The orchestrator's part of the floor. Each lane takes what is waiting, commits a journal row for each,
//! publishes what follows, and acknowledges last; while the messages are on their way it commits the next batch.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use futures::FutureExt as _;
use snorri_bus::{Bus, ConsumerSpec, Message, Next, Outgoing};
use snorri_saga::ids::Name;
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{BATCH_MAX, JOBS_MAX, NAME, Place, Sizes, headers, lane_name, reply_bytes};
use crate::cli::bench::{Error, compensation_of, steps};

/// How many starts may wait for a lane.
const STARTS_MAX: usize = 2048;
/// How many bytes of starts are read at once.
const READ_BYTES: usize = 16 * 1024;

/// As narrow as the product's journal, without a look at what is in the events.
const TABLE: &str = "CREATE SCHEMA IF NOT EXISTS bench_floor;
CREATE TABLE IF NOT EXISTS bench_floor.journal (
    saga_id uuid        NOT NULL,
    seq     integer     NOT NULL,
    at      timestamptz NOT NULL,
    replica text        NOT NULL,
    events  text        NOT NULL,
    PRIMARY KEY (saga_id, seq)
)";

const APPEND: &str = "INSERT INTO bench_floor.journal (saga_id, seq, at, replica, events)
SELECT u.saga_id, u.seq, now(), $1, u.events
FROM UNNEST($2::uuid[], $3::int4[], $4::text[]) AS u (saga_id, seq, events)";

/// Runs until standard input closes.
pub(super) async fn run(bus: Bus, database_url: &str, sizes: Sizes) -> Result<(), Error> {
    bus.connected().await;
    bus.ensure_streams().await?;
    let options: sqlx::postgres::PgConnectOptions = database_url.parse()?;
    options.connect().await?.execute(TABLE).await?;
    let mut tasks = JoinSet::new();
    let mut lanes = Vec::new();
    let known = Arc::new(Known::new(&bus, sizes)?);
    for lane in 0..super::lanes() {
        let (sender, starts) = mpsc::channel(STARTS_MAX);
        lanes.push(sender);
        let lane = Lane {
            bus: bus.clone(),
            known: known.clone(),
            connection: options.connect().await?,
            slots: Arc::new(Semaphore::new(JOBS_MAX)),
            name: lane_name(lane)?,
        };
        tasks.spawn(lane.run(starts));
    }
    tokio::select! {
        ended = read_starts(&lanes) => ended,
        // A lane that ends is an error, and says which.
        Some(ended) = tasks.join_next() => {
            ended.unwrap_or_else(|error| Err(Error::Floor(error.to_string())))
        }
    }
}

/// Reads places of sagas to be started until there are no more.
async fn read_starts(lanes: &[mpsc::Sender<Place>]) -> Result<(), Error> {
    let io = |source: io::Error| Error::Io { what: "read the starts".to_owned(), source };
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(io)?;
    let mut input = Receiver::from_owned_fd(input).map_err(io)?;
    let mut bytes = Vec::with_capacity(READ_BYTES);
    while input.read_buf(&mut bytes).await.map_err(io)? > 0 {
        let (whole, _) = bytes.as_chunks::<{ Place::BYTES }>();
        for place in whole.iter().filter_map(|chunk| Place::read(chunk)) {
            if let Some(lane) = lanes.get(place.lane()) {
                // An error means that the lane is gone, which ends the process.
                let _ = lane.send(place).await;
            }
        }
        let used = whole.len() * Place::BYTES;
        bytes.drain(..used);
    }
    Ok(())
}

/// What is prepared once.
struct Known {
    sizes: Sizes,
    /// The longest events; each row takes the beginning.
    events: String,
    /// Where the commands go, in their order.
    commands: Vec<String>,
    completed: String,
    compensated: String,
}

impl Known {
    fn new(bus: &Bus, sizes: Sizes) -> Result<Self, Error> {
        let subjects = bus.subjects();
        let name = Name::new(NAME)?;
        let undone = steps().rev().skip(1).map(compensation_of);
        let operations = steps().map(str::to_owned).chain(undone);
        let commands: Result<Vec<String>, Error> =
            operations.map(|operation| Ok(subjects.command(&name, &Name::new(&operation)?))).collect();
        let longest = sizes.completed.iter().chain(&sizes.compensated).max();
        Ok(Self {
            events: "e".repeat(longest.copied().unwrap_or_default()),
            commands: commands?,
            completed: subjects.ended(&name, "completed"),
            compensated: subjects.ended(&name, "compensated"),
            sizes,
        })
    }

    /// The message that follows from a journal row: the next command, or the announcement of the end.
    fn outgoing(&self, place: Place) -> Outgoing {
        let Place { saga, sent, is_rejected } = place;
        let is_last = usize::from(sent) >= self.sizes.rows(is_rejected).len();
        if is_last {
            let size = self.sizes.announcement;
            let subject = if is_rejected { &self.compensated } else { &self.completed };
            return Outgoing {
                subject: subject.clone(),
                headers: Some(headers(Some(format!("{saga}.ended")), size.headers)),
                payload: place.payload(size.payload),
            };
        }
        let command = usize::from(sent.saturating_sub(1));
        let size = self.sizes.commands.get(command).copied().unwrap_or_default();
        Outgoing {
            subject: self.commands.get(command).cloned().unwrap_or_default(),
            headers: Some(headers(Some(format!("{saga}.{sent}.action.1.1")), size.headers)),
            payload: place.payload(size.payload),
        }
    }
}

struct Lane {
    bus: Bus,
    known: Arc<Known>,
    connection: PgConnection,
    slots: Arc<Semaphore>,
    name: Name,
}

impl Lane {
    async fn run(mut self, mut starts: mpsc::Receiver<Place>) -> Result<(), Error> {
        let subjects = self.bus.subjects();
        let mut replies = self.bus.consume(ConsumerSpec::new(
            subjects.replies_stream(),
            subjects.replica_consumer(&self.name),
            subjects.replies_to(&self.name),
        ));
        let mut fresh: Vec<Place> = Vec::with_capacity(BATCH_MAX);
        loop {
            let mut messages = Vec::new();
            tokio::select! {
                biased;
                next = replies.next() => messages = batch(next)?,
                count = starts.recv_many(&mut fresh, BATCH_MAX) => if count == 0 {
                    return Ok(());
                },
            }
            // What else is waiting, of the other kind.
            if fresh.is_empty() {
                let room = BATCH_MAX - messages.len();
                while fresh.len() < room
                    && let Ok(start) = starts.try_recv()
                {
                    fresh.push(start);
                }
            } else if fresh.len() < BATCH_MAX
                && let Some(next) = replies.next_up_to(BATCH_MAX - fresh.len()).now_or_never()
            {
                messages = batch(next)?;
            }
            self.process(std::mem::take(&mut fresh), messages).await?;
        }
    }

    /// One batch: commit, then publish, then acknowledge.
    async fn process(&mut self, starts: Vec<Place>, messages: Vec<Message>) -> Result<(), Error> {
        let bytes = reply_bytes(self.known.sizes.reply);
        let replied = messages.iter().flat_map(|message| message.payload().chunks(bytes).map(Place::read));
        let places: Option<Vec<Place>> = starts.into_iter().map(Some).chain(replied).collect();
        let Some(places) = places else {
            return Err(Error::Floor("a reply that cannot be read".to_owned()));
        };
        let mut acks = Some(messages);
        let mut chunks = places.chunks(BATCH_MAX).peekable();
        while let Some(places) = chunks.next() {
            // What they came with is acknowledged with the last of them.
            let messages = if chunks.peek().is_none() { acks.take() } else { None };
            self.commit(places, messages.unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, places: &[Place], messages: Vec<Message>) -> Result<(), Error> {
        // Each has one journal row more than before, and sends what follows from it.
        let places: Vec<Place> =
            places.iter().map(|place| Place { sent: place.sent + 1, ..*place }).collect();
        let sagas: Vec<Uuid> = places.iter().map(|place| place.saga).collect();
        let seqs: Vec<i32> = places.iter().map(|place| i32::from(place.sent)).collect();
        let events: Vec<&str> = places.iter().map(|place| self.events(*place)).collect();
        let append = sqlx::query(APPEND).bind(self.name.as_str()).bind(&sagas).bind(&seqs).bind(&events);
        append.execute(&mut self.connection).await?;
        let (bus, known) = (self.bus.clone(), self.known.clone());
        // Never closed.
        let slot = self.slots.clone().acquire_owned().await;
        tokio::spawn(async move {
            let outgoing = places.into_iter().map(|place| known.outgoing(place)).collect();
            for result in bus.publish_all(outgoing).await {
                if let Err(error) = result {
                    tracing::error!(%error, "a message is lost, and its saga with it");
                }
            }
            for message in messages {
                message.ack().await;
            }
            drop(slot);
        });
        Ok(())
    }

    fn events(&self, place: Place) -> &str {
        let row = usize::from(place.sent.saturating_sub(1));
        let bytes = self.known.sizes.rows(place.is_rejected).get(row).copied().unwrap_or_default();
        self.known.events.get(..bytes).unwrap_or_default()
    }
}

fn batch(next: Next) -> Result<Vec<Message>, Error> {
    match next {
        Next::Batch(messages) => Ok(messages),
        Next::Recreated => Err(Error::Floor("the stream of replies was lost".to_owned())),
        Next::Closed => Err(Error::Floor("the bus was closed".to_owned())),
    }
}
