//! Shared records that converge.
//!
//! Several services keep a copy of the same customers, products or prices, each in its own database, and each may change them without
//! asking the others. This crate is what makes the copies equal again: it says which write had seen which, puts concurrent ones side by side,
//! makes one visible value of them by a declared rule, and tells what was lost by it. It is pure: no I/O, no clock, no chance. Wall-clock
//! milliseconds come in as arguments; storing and sending is the caller's.
//!
//! ```
//! use snorri_records::{Clock, Fate, RecordType, Rule, Write};
//! use serde_json::json;
//!
//! // Declared alike in every service.
//! let prices = RecordType::new("price", Rule::LastWriterWins)?;
//!
//! // Two services, each with a clock and a copy.
//! let (mut shop, mut buying) = (Clock::new("shop".parse()?), Clock::new("buying".parse()?));
//! let (mut here, mut there) = (prices.record("sku-1")?, prices.record("sku-1")?);
//!
//! // Both write before they have heard of each other.
//! let _ = prices.write(&mut here, Write::put(shop.tick(1_000)?, "anna", json!(10)))?;
//! let _ = prices.write(&mut there, Write::put(buying.tick(1_002)?, "job 7", json!(12)))?;
//!
//! // Each takes in what the other sends: observe its time, then join.
//! let (event, reply) = (prices.encode(&here), prices.encode(&there));
//! let incoming = prices.decode(&event)?;
//! buying.observe(incoming.newest().unwrap_or_default(), 1_004)?;
//! let _ = prices.join(&mut there, &incoming)?;
//! let incoming = prices.decode(&reply)?;
//! shop.observe(incoming.newest().unwrap_or_default(), 1_004)?;
//! let outcome = prices.join(&mut here, &incoming)?;
//!
//! // The copies are equal, and both services know what was lost.
//! assert_eq!(prices.encode(&here), prices.encode(&there));
//! assert_eq!(prices.read(&here).unwrap().value, Some(json!(12)));
//! let conflict = outcome.conflict().unwrap();
//! assert_eq!(conflict.fate, Fate::Won("1002-0@buying".parse()?));
//! assert_eq!(conflict.lost[0].stamp.to_string(), "1000-0@shop");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a copy is, and why copies converge
//!
//! A write has a [`Stamp`]: when it was made, by a hybrid logical [`Clock`], and on which [`Node`]. The stamp is its name.
//!
//! A [`Record`] is two things. Its [`Version`] says which writes this copy knows of: for each node the latest one, which stands for all earlier
//! ones. Its *siblings* are the writes that no known write has replaced. A write replaces the siblings that its writer was shown; so mostly
//! there is one, and there are more after concurrent writes.
//!
//! Copies are joined whole. A sibling stays if both have it, or if the copy without it does not know of it; who knows of it and
//! does not have it has seen it replaced. Versions are joined by taking the later time for each node. Nothing in this depends on the order of
//! arrival, and nothing on how often something arrives: the join is commutative, associative and idempotent, and **copies that
//! know the same writes are the same bytes**. An event is therefore simply the whole record: a lost one is made good by the next, a late
//! one does no harm.
//!
//! What is visible is a function of the siblings, the [`Rule`] of the [`RecordType`]. So it converges with them, whatever the rule says.
//! Clocks have a say only in who wins: what is *concurrent* is told by the versions and never by time.
//!
//! | to do | with |
//! |---|---|
//! | write, delete | [`RecordType::write`] of a [`Write`] |
//! | send, take in | [`RecordType::encode`]; [`RecordType::decode`], [`Clock::observe`], [`RecordType::join`] |
//! | read | [`RecordType::read`]: a [`DataRecord`] |
//! | record what conflicts | [`Outcome::Conflict`] from a write or a join, kept under its id |
//! | have a person decide | [`Rule::Manual`], [`RecordType::decide`] |
//! | find what differs | [`RecordType::leaf`], [`Digests`], [`Summary::differing`] |
//! | check a merge function | [`laws::check`] |
//!
//! # What is promised
//!
//! * Copies that know the same writes have the same bytes, the same visible value and the same conflicts standing in them.
//! * A write that had seen another one prevails over it, whatever the wall clocks say.
//! * No write vanishes: it is visible, or a write that had been shown it has replaced it, or it is [`Lost`] in a [`Conflict`] that was reported to
//!   every node on which both met, under one id, or it is a side of a conflict that waits.
//! * Whatever bytes come, decoding and joining them does not panic, and what cannot be a record is refused.
//! * A time that is too far ahead is refused before it can decide anything ([`ClockError::TooFarAhead`]).
//!
//! # What is not promised
//!
//! * **Invariants over several writes.** Two services that each take the last piece of stock both succeed. Records converge; a saga reserves.
//! * **That the last write wins by the time of the people.** Two concurrent writes are ordered by the clocks of two machines. Clocks that differ
//!   by a second decide wrongly about what was written within it. The conflict shows both.
//! * **One conflict for each pair of writes.** Which combinations of three concurrent writes are seen side by side depends on what arrives
//!   when. Each combination that is seen has one id everywhere.
//! * **A node that forgets.** A node's writes are known by its latest one, so two stores must never share a name, and a store that was
//!   set back (restored from a backup) must take in its own lost writes from the others before it writes again, or take a
//!   new name. Such a store is recognized by a record that comes with a later entry for the node than its own copy has.
//! * **Rules that differ.** The rule of a record type is part of its declaration. Copies are equal under different rules too, but what is
//!   visible is not.
//!
//! # Forgetting
//!
//! *Deleted records.* A delete leaves a tombstone, since a replica that has not heard of it would bring the record back. It may be
//! forgotten when [`Record::may_collect`] says that every replica has heard of it, *and* no older state of the record can come any more:
//! wait for as long as the stream keeps events, and let a replica that was cut off for longer start from a snapshot. A record that is written anew
//! after that meets, at worst, a tombstone on a replica that has not forgotten it yet. That is an ordinary conflict, which a
//! newer write wins (or a person decides); its stamps are later than all that was forgotten, so nothing of it is taken for known.
//!
//! *Retired nodes.* A version has an entry for each node that ever wrote. When a node will never write again, put it on the list of
//! [`Retired`] nodes with its last write. A node that has all of its writes may then [`prune`](RecordType::prune) its copies. A node has
//! them if its digests were equal to the retiring node's after that one had stopped writing. Copies need not be pruned at the same time: as
//! soon as two nodes have the same list their digests ignore such entries. A node that has a shorter list than the sender refuses
//! the record ([`DecodeError::UnknownRetirement`]) and takes the list first.
//!
//! # Limits
//!
//! [`limits`] has them. They hold for writes; a join refuses nothing, since a copy that refuses is a copy that differs.

mod canonical;
mod clock;
mod conflict;
mod digest;
mod error;
mod fields;
pub mod laws;
pub mod limits;
mod node;
mod record;
mod record_type;
mod retired;
mod rule;
mod sibling;
mod stamp;
mod version;
mod wire;
mod write;

pub use clock::{Clock, ClockError};
pub use conflict::{Conflict, ConflictId, Fate, InvalidConflictId, Lost, Outcome, Side};
pub use digest::{Bucket, DigestError, Digests, InvalidBucket, Leaf, Summary};
pub use error::{DecodeError, Error};
pub use node::{InvalidNode, Node};
pub use record::Record;
pub use record_type::{DataRecord, RecordType};
pub use retired::{AlreadyRetired, Retired};
pub use rule::{Merge, Provisional, Rule};
pub use stamp::{InvalidStamp, Stamp, Tick};
pub use version::Version;
pub use write::Write;
