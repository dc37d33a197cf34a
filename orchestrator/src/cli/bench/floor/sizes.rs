//! How large the product's own rows and messages are, read from the servers after a few sagas. So the floor
//! follows when they change.

use snorri_bus::HeaderMap;
use snorri_saga::ids::Name;

use super::{LINE_EXTRA, MessageSize, Sizes};
use crate::cli::bench::stage::Stage;
use crate::cli::bench::{Error, PARTICIPANT, compensation_of, steps};

/// The most messages of a stream that are looked at.
const MESSAGES_MAX: usize = 100;

/// Looks at what the first sagas of a new installation left behind; one of them at least was rejected.
pub(in crate::cli::bench) async fn look(stage: &Stage) -> Result<super::row::Shape, Error> {
    let subjects = &stage.subjects;
    let commands = messages(stage, subjects.commands_stream()).await?;
    let participant = Name::new(PARTICIPANT)?;
    let undone = steps().rev().skip(1).map(compensation_of);
    let mut by_operation = Vec::new();
    for operation in steps().map(str::to_owned).chain(undone) {
        let subject = subjects.command(&participant, &Name::new(&operation)?);
        by_operation.push(average(commands.iter().filter(|(of, _)| *of == subject))?);
    }
    let sizes = Sizes {
        completed: stage.journal_sizes("completed").await?,
        compensated: stage.journal_sizes("compensated").await?,
        commands: by_operation,
        reply: average(messages(stage, subjects.replies_stream()).await?.iter())?,
        announcement: average(messages(stage, subjects.endings_stream()).await?.iter())?,
    };
    // A row for the start and one for each reply.
    let actions = steps().count();
    if (sizes.completed.len(), sizes.compensated.len()) != (actions + 1, sizes.commands.len() + 1) {
        return Err(Error::Floor(format!(
            "the product's sagas have {} and {} journal rows, which is not what the floor does",
            sizes.completed.len(),
            sizes.compensated.len()
        )));
    }
    Ok(super::row::Shape(sizes))
}

async fn messages(stage: &Stage, stream: String) -> Result<Vec<(String, MessageSize)>, Error> {
    let held = stage.stream_state(&stream).await?;
    let context = async_nats::jetstream::new(stage.client.clone());
    let stream = context.get_stream_no_info(stream).await.map_err(Error::nats)?;
    let mut found = Vec::new();
    for sequence in (held.first_sequence..=held.last_sequence).take(MESSAGES_MAX) {
        let message = stream.get_raw_message(sequence).await.map_err(Error::nats)?;
        let size = MessageSize { headers: header_bytes(&message.headers), payload: message.payload.len() };
        found.push((message.subject.to_string(), size));
    }
    Ok(found)
}

fn average<'a>(messages: impl Iterator<Item = &'a (String, MessageSize)>) -> Result<MessageSize, Error> {
    let (mut count, mut sum) = (0, MessageSize::default());
    for (_, size) in messages {
        count += 1;
        sum.headers += size.headers;
        sum.payload += size.payload;
    }
    if count == 0 {
        return Err(Error::Floor("the first sagas left no message of a kind".to_owned()));
    }
    Ok(MessageSize { headers: sum.headers / count, payload: sum.payload / count })
}

/// The bytes of all lines.
pub(super) fn header_bytes(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    lines.map(|(name, value)| AsRef::<str>::as_ref(name).len() + value.as_str().len() + LINE_EXTRA).sum()
}
