//! What both sides of the wire share: the connection, the streams, publishing with awaited
//! acknowledgements, the consume loop, and the headers.
//!
//! JetStream is a courier here and never the truth. Everything in this crate may therefore fail, lose or
//! repeat, but it says so in time: no call waits without end (except the loop that is there to wait), and
//! whatever was lost with a stream is reported as [`Next::Recreated`].
//!
//! Publishing and pulling speak the JetStream protocol directly over the plain client, for three reasons:
//! the client library keeps an entry for every request that timed out, for as long as the client lives;
//! its pull stream does not notice a consumer that was deleted while the connection was down; and it
//! costs several allocations, a timer and a task wake-up a message.

mod acks;
mod bus;
mod consume;
pub mod headers;
mod jetstream;
mod message;
pub mod replies;
mod topology;
mod transport;
mod version;

pub use acks::PublishError;
pub use bus::{Bus, BusOptions, Consumption, Error, Outgoing};
pub use message::Message;
pub use transport::{Acknowledge, Answer, ConsumerSpec, Hearing, Next, Source, Transport};

pub use async_nats::HeaderMap;
pub use bytes::Bytes;
