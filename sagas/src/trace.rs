//! The trace of a saga, derived and never drawn: the saga's id is the trace id, and a span's id is the
//! hash of what it stands for. So a span that is exported twice, by two replicas, is the same span.

use sha2::{Digest, Sha256};

use crate::ids::{Direction, SagaId};

/// A W3C span id.
pub type SpanId = [u8; 8];

/// The span of the whole saga, the root.
pub fn saga_span(saga: SagaId) -> SpanId {
    hash(saga, &["saga"], 0)
}

/// The zero-length child that makes a running saga findable before its root is exported.
pub fn started_span(saga: SagaId) -> SpanId {
    hash(saga, &["started"], 0)
}

/// The parent of all compensations' spans.
pub fn compensate_span(saga: SagaId) -> SpanId {
    hash(saga, &["compensate"], 0)
}

/// One attempt of one operation of a step; the parent of the participant's own spans.
pub fn attempt_span(saga: SagaId, step: &str, direction: Direction, attempt: u32) -> SpanId {
    hash(saga, &["attempt", step, direction.as_str()], attempt)
}

/// The `traceparent` header that goes with a command: its parent is the attempt's span.
pub fn traceparent(saga: SagaId, span: SpanId, sampled: bool) -> String {
    let flags = if sampled { "01" } else { "00" };
    format!("00-{}-{:016x}-{flags}", saga.0.simple(), u64::from_be_bytes(span))
}

fn hash(saga: SagaId, parts: &[&str], number: u32) -> SpanId {
    let mut hasher = Sha256::new();
    hasher.update(saga.0.as_bytes());
    for part in parts {
        hasher.update([0]);
        hasher.update(part.as_bytes());
    }
    hasher.update(number.to_be_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let mut id = [0_u8; 8];
    for (to, from) in id.iter_mut().zip(digest) {
        *to = from;
    }
    // The all-zero id is invalid in W3C trace context.
    if id == [0; 8] { [1; 8] } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saga() -> SagaId {
        "01936d3e-7f0a-7000-8000-000000000001".parse().expect("an id")
    }

    fn hex(span: SpanId) -> String {
        format!("{:016x}", u64::from_be_bytes(span))
    }

    /// Two versions that work side by side must agree on every id.
    #[test]
    fn each_span_has_the_id_that_follows_from_what_it_stands_for() {
        // (printf 01936d3e7f0a70008000000000000001 | xxd -r -p; printf '\0saga\0\0\0\0') | sha256sum | cut -c-16
        assert_eq!(hex(saga_span(saga())), "c5213f6cda6853de");
        assert_eq!(hex(started_span(saga())), "9ab16de51a065243");
        assert_eq!(hex(compensate_span(saga())), "bbfe53a9d597fb57");
        assert_eq!(hex(attempt_span(saga(), "pay", Direction::Action, 1)), "45cf14933d4d38a8");
        assert_eq!(hex(attempt_span(saga(), "pay", Direction::Compensation, 2)), "e75b81a1d7426aec");
    }

    #[test]
    fn the_header_names_the_saga_the_span_and_whether_it_is_sampled() {
        let (span, trace) =
            ([0, 0, 0, 0, 0, 0, 0, 0xab], "00-01936d3e7f0a70008000000000000001-00000000000000ab");
        assert_eq!(traceparent(saga(), span, true), format!("{trace}-01"));
        assert_eq!(traceparent(saga(), span, false), format!("{trace}-00"));
    }
}
