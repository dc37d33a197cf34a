//! How large things may be. The limits are the same on every node: a limit that differed would let one copy take what another
//! refuses. They hold for what is *written*; a join refuses nothing, or copies would stay apart.

/// The longest id of a record, in bytes.
pub const MAX_ID_BYTES: usize = 256;

/// The longest `last_updated_by`, in bytes.
pub const MAX_BY_BYTES: usize = 256;

/// The largest value of a write, in bytes of its canonical text; field by field the stamps are in it too. Several siblings in one event
/// stay below the megabyte that is NATS's usual limit of a message.
pub const MAX_VALUE_BYTES: usize = 128 * 1024;

/// How deep a value may be nested. JSON readers have limits, 128 is a common one, and an event wraps the value.
pub const MAX_DEPTH: usize = 64;

/// The most fields of a field-wise record, with those that were removed one by one: the record remembers them until it is deleted.
pub const MAX_FIELDS: usize = 1024;

/// The most nodes in a record's version, without the retired ones.
pub const MAX_WRITERS: usize = 64;

/// The most siblings beside which another one is written.
pub const MAX_SIBLINGS: usize = 64;

/// The most bytes that are decoded as one record: the largest value from each of 64 writers, and half of it again.
pub const MAX_RECORD_BYTES: usize = 12 * 1024 * 1024;
