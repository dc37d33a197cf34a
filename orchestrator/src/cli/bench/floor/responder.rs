//! The participants' part of the floor: a reply for each command.

use std::sync::Arc;

use snorri_bus::{Bus, ConsumerSpec, Message, Next, Outgoing};
use snorri_saga::ids::Name;
use tokio::sync::Semaphore;

use super::{JOBS_MAX, LANES, NAME, Place, Sizes, headers, lane_name};
use crate::cli::bench::Error;

/// Runs until it is killed.
pub(super) async fn run(bus: Bus, sizes: Sizes) -> Result<(), Error> {
    let name = Name::new(NAME)?;
    let subjects = bus.subjects();
    let reply_to: Result<Vec<String>, Error> =
        (0..LANES).map(|lane| Ok(subjects.reply(&name, &lane_name(lane)?))).collect();
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
            let reply = |message: &Message| {
                let place = Place::read(message.payload())?;
                Some(Outgoing {
                    subject: reply_to.get(place.lane())?.clone(),
                    headers: Some(headers(None, size.headers)),
                    payload: place.payload(size.payload),
                })
            };
            let replies: Vec<Outgoing> = messages.iter().filter_map(reply).collect();
            if replies.len() < messages.len() {
                tracing::error!("a command that cannot be read");
            }
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
