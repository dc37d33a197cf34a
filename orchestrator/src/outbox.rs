//! Effects as messages.

use snorri_bus::headers::{CommandHeaders, command_body, command_headers};
use snorri_bus::{Bytes, HeaderMap, Outgoing};
use snorri_saga::decide::Command;
use snorri_saga::ids::Name;
use snorri_saga::trace;
use snorri_saga::wire::{EndedBody, Subjects, header};

/// The message of a command. The same command always has the same message id.
pub(crate) fn command(command: &Command, subjects: &Subjects, replica: &Name, is_sampled: bool) -> Outgoing {
    let of = &command.id.effect;
    let span = trace::attempt_span(of.saga, of.step.as_str(), of.direction, command.id.attempt);
    let traceparent = trace::traceparent(of.saga, span, is_sampled);
    let reply_to = subjects.reply(&command.participant, replica);
    let headers = command_headers(&CommandHeaders {
        id: &command.id,
        budget: command.budget,
        reply_to: &reply_to,
        traceparent: Some(&traceparent),
    });
    Outgoing {
        subject: subjects.command(&command.participant, &command.operation),
        headers: Some(headers),
        payload: command_body(&command.body),
    }
}

/// The message that a saga has ended. The same end always has the same message id.
pub(crate) fn ended(ended: &EndedBody, subjects: &Subjects) -> Outgoing {
    let mut headers = HeaderMap::new();
    headers.insert(header::MESSAGE_ID, format!("{}.ended", ended.saga_id));
    headers.insert(header::SAGA, ended.saga_id.to_string());
    Outgoing {
        subject: subjects.ended(&ended.definition, &ended.status),
        headers: Some(headers),
        payload: Bytes::from(serde_json::to_vec(ended).unwrap_or_default()),
    }
}
