//! Effects as messages.

use snorri_bus::headers::{CommandHeaders, command_body, command_headers};
use snorri_bus::{Bytes, HeaderMap, Outgoing};
use snorri_saga::decide::Effect;
use snorri_saga::ids::Name;
use snorri_saga::trace;
use snorri_saga::wire::{Subjects, header};

/// The message of an effect. The same effect always becomes the same message id.
pub(crate) fn encode(effect: &Effect, subjects: &Subjects, replica: &Name, is_sampled: bool) -> Outgoing {
    match effect {
        Effect::Send(command) => {
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
        Effect::Announce(ended) => {
            let mut headers = HeaderMap::new();
            headers.insert(header::MESSAGE_ID, format!("{}.ended", ended.saga_id));
            headers.insert(header::SAGA, ended.saga_id.to_string());
            Outgoing {
                subject: subjects.ended(&ended.definition, &ended.status),
                headers: Some(headers),
                payload: Bytes::from(serde_json::to_vec(ended).unwrap_or_default()),
            }
        }
    }
}
