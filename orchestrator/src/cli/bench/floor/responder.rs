//! The participants' part of the floor: a reply for each command.

use std::sync::Arc;

use snorri_bus::{Bus, ConsumerSpec, Next, Outgoing};
use snorri_saga::ids::Name;
use tokio::sync::Semaphore;

use super::{JOBS_MAX, MessageSize, NAME, Place, REPLIES_MAX, Sizes, headers, lane_name, lanes, reply_bytes};
use crate::cli::bench::Error;

/// Runs until it is killed.
pub(super) async fn run(bus: Bus, sizes: Sizes) -> Result<(), Error> {
    let name = Name::new(NAME)?;
    let subjects = bus.subjects();
    let reply_to: Result<Vec<String>, Error> =
        (0..lanes()).map(|lane| Ok(subjects.reply(&name, &lane_name(lane)?))).collect();
    let reply_to: Arc<[String]> = reply_to?.into();
    let mut commands = bus.consume(ConsumerSpec::new(
        subjects.commands_stream(),
        subjects.participant_consumer(&name),
        subjects.commands_of(&name),
    ));
    let slots = Arc::new(Semaphore::new(JOBS_MAX));
    loop {
        let messages = match commands.next().await {
            Next::Batch(messages) => messages,
            Next::Recreated => return Err(Error::Floor("the stream of commands was lost".to_owned())),
            Next::Closed => return Ok(()),
        };
        // Never closed.
        let slot = slots.clone().acquire_owned().await;
        let (bus, reply_to, size) = (bus.clone(), reply_to.clone(), sizes.reply);
        tokio::spawn(async move {
            let mut places: Vec<Vec<Place>> = vec![Vec::new(); reply_to.len()];
            for message in &messages {
                let Some(place) = Place::read(message.payload()) else {
                    tracing::error!("a command that cannot be read");
                    continue;
                };
                if let Some(of) = places.get_mut(place.lane()) {
                    of.push(place);
                }
            }
            let replies: Vec<Outgoing> = places
                .iter()
                .zip(reply_to.iter())
                .flat_map(|(places, to)| places.chunks(REPLIES_MAX).map(move |some| together(some, to, size)))
                .collect();
            for result in bus.publish_all(replies).await {
                if let Err(error) = result {
                    tracing::error!(%error, "a reply is lost, and its saga with it");
                }
            }
            for message in messages {
                message.ack().await;
            }
            drop(slot);
        });
    }
}

/// Replies to the same lane in one message.
fn together(places: &[Place], to: &str, size: MessageSize) -> Outgoing {
    let bytes = reply_bytes(size);
    let payload: Vec<u8> = places.iter().flat_map(|place| place.payload(bytes)).collect();
    Outgoing { subject: to.to_owned(), headers: Some(headers(None, size.headers)), payload: payload.into() }
}
