//! The floor: the same reads and writes as the product's, and nothing else. No HTTP, no decisions, no JSON.
//!
//! ```text
//!   floor            what both processes know: sizes, the few bytes that say where a saga is
//!   floor/driver     the orchestrator's part: journal rows, commands, announcements
//!   floor/responder  the participants' part: a reply for each command
//!   floor/sizes      how large the product's own rows and messages are, read from the servers
//!   floor/row        the row of the table
//! ```
//!
//! For every saga as many journal rows, commands, replies and announcements as the product's, of the same sizes, in
//! the same batches (of what is waiting, up to 256 in one commit, up to 64 replies in a message), on the same servers, in
//! streams with the same settings. It uses `snorri-bus` as it is, which is what messages cost.

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use snorri_bus::{Bus, BusOptions, HeaderMap};
use snorri_saga::ids::Name;
use snorri_saga::wire::{Subjects, header};
use uuid::Uuid;

use super::Error;
use crate::cli::{fail, logs, relay_runtime};

mod driver;
mod responder;
pub(super) mod row;
pub(super) mod sizes;

/// The participant's and the definition's name.
const NAME: &str = "floor";
/// The most replies in one message, as from the SDK.
const REPLIES_MAX: usize = snorri_saga::wire::limit::REPLIES_MAX;
/// The most messages of one batch, as in the engine.
const BATCH_MAX: usize = snorri::engine::BATCH_MAX;
/// The most batches of a lane, or of the responder, whose messages are on their way.
const JOBS_MAX: usize = 8;
/// The header that makes a message as large as the product's.
const FILLER: &str = "Snorri-Floor";

/// The arguments of `snorri bench-floor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which of the two processes
    #[arg(value_enum)]
    part: Part,
    /// Where NATS is
    #[arg(long)]
    nats_url: String,
    /// The first token of all subjects and streams
    #[arg(long)]
    namespace: String,
    /// Where the journal is
    #[arg(long)]
    database_url: String,
    /// How large rows and messages are, as JSON
    #[arg(long)]
    sizes: String,
}

/// The two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What an orchestrator does
    Driver,
    /// What participants do
    Responder,
}

/// Runs it until its standard input closes, or until it is killed.
pub(crate) fn run(args: &Args) -> ExitCode {
    logs::init(logs::Format::Text, "warn");
    let runtime = match relay_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error),
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

async fn serve(args: &Args) -> Result<(), Error> {
    let sizes: Sizes =
        serde_json::from_str(&args.sizes).map_err(|error| Error::Floor(format!("--sizes: {error}")))?;
    let bus = Bus::connect(BusOptions {
        subjects: Subjects::new(Name::new(&args.namespace)?),
        ..BusOptions::new(&args.nats_url, "snorri bench floor")
    })
    .await?;
    match args.part {
        Part::Driver => driver::run(bus, &args.database_url, sizes).await,
        Part::Responder => responder::run(bus, sizes).await,
    }
}

/// How large the rows and messages of one saga are, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sizes {
    /// The events of each journal row of a saga that is completed.
    completed: Vec<usize>,
    /// The same of one that is compensated.
    compensated: Vec<usize>,
    /// The commands: the actions, then the compensations in their order.
    commands: Vec<MessageSize>,
    reply: MessageSize,
    announcement: MessageSize,
}

/// How large a message is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct MessageSize {
    /// All headers, with the characters between them.
    headers: usize,
    payload: usize,
}

impl Sizes {
    /// The journal rows of a saga, one size each.
    fn rows(&self, is_rejected: bool) -> &[usize] {
        if is_rejected { &self.compensated } else { &self.completed }
    }
}

/// A saga's place: the first bytes of each payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    saga: Uuid,
    /// How many commands it has sent: 0 before its start, and as many as it has journal rows.
    sent: u8,
    is_rejected: bool,
}

impl Place {
    /// The bytes of a place.
    const BYTES: usize = 18;

    fn write(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (saga, rest) = bytes.split_at_mut(16);
        saga.copy_from_slice(self.saga.as_bytes());
        rest.copy_from_slice(&[self.sent, u8::from(self.is_rejected)]);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (saga, rest) = bytes.get(..Self::BYTES)?.split_at(16);
        let [sent, is_rejected] = rest else { return None };
        Some(Self { saga: Uuid::from_slice(saga).ok()?, sent: *sent, is_rejected: *is_rejected != 0 })
    }

    /// The lane that it belongs to.
    fn lane(self) -> usize {
        // The id's tail is random.
        usize::from(self.saga.as_bytes()[15]) % lanes()
    }

    /// A payload of the given size that begins with it.
    fn payload(self, bytes: usize) -> snorri_bus::Bytes {
        let mut payload = Vec::with_capacity(bytes.max(Self::BYTES));
        payload.extend_from_slice(&self.write());
        payload.resize(bytes.max(Self::BYTES), b'n');
        payload.into()
    }
}

/// The headers of a message: its id, if it has one, and as many other bytes as the product's message has.
fn headers(id: Option<String>, bytes: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut used = FILLER.len() + LINE_EXTRA;
    if let Some(id) = id {
        used += header::MESSAGE_ID.len() + id.len() + LINE_EXTRA;
        headers.insert(header::MESSAGE_ID, id);
    }
    headers.insert(FILLER, "h".repeat(bytes.saturating_sub(used).max(1)));
    headers
}

/// What a line of headers has beside its name and value: a colon, a space, a line's end.
const LINE_EXTRA: usize = 4;

/// How many batches are committed side by side: as many as the orchestrator does.
fn lanes() -> usize {
    static LANES: LazyLock<usize> = LazyLock::new(|| snorri::config::default_lanes() as usize);
    *LANES
}

/// The bytes of one reply in a message: it names its command there, and not in the headers.
fn reply_bytes(size: MessageSize) -> usize {
    size.headers + size.payload
}

/// The name of a lane, where the product has a replica's.
fn lane_name(lane: usize) -> Result<Name, Error> {
    Ok(Name::new(&format!("lane-{lane}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let place = Place { saga: Uuid::from_u128(7 << 100 | 3), sent: 5, is_rejected: true };
        assert_eq!(Place::read(&place.write()), Some(place));
        assert_eq!(Place::read(&place.payload(300)), Some(place));
        assert_eq!(place.payload(300).len(), 300);
        assert_eq!(Place::read(&place.write()[1..]), None);
    }

    #[test]
    fn headers_have_the_bytes_that_are_asked_for() {
        let bytes = |headers: &HeaderMap| sizes::header_bytes(headers);
        assert_eq!(bytes(&headers(Some("0".repeat(50)), 500)), 500);
        assert_eq!(bytes(&headers(None, 90)), 90);
    }
}
