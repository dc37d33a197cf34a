//! Bugs that can be put into the models, to see that the simulator finds such.

/// A bug of a port: what the engine or the SDK would do wrong if its implementation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The journal takes a second row for a place that is taken, and both writers are told that they won.
    TwoWriters,
    /// A writer that lost a race is told that it won.
    LoserWins,
    /// A commit that was not done is said to be done.
    CommitLies,
    /// Two starts with one key both begin a saga.
    KeysIgnored,
    /// Messages are acknowledged when they are delivered.
    AckOnDelivery,
    /// Replies are acknowledged and thrown away.
    RepliesDropped,
    /// Announcements are acknowledged and thrown away.
    AnnouncementsDropped,
    /// A heartbeat says that everything is announced, whatever is owed.
    DebtsForgotten,
    /// What is taken over or due is claimed, and nobody is told.
    ClaimsSwallowed,
    /// An undo that finds nothing leaves no tombstone.
    NoTombstone,
    /// A failure is answered and not kept.
    FailureForgotten,
    /// Two replicas of a participant have a barrier each, so that both of two concurrent turns are let in.
    TurnsShared,
    /// The barrier forgets what it knew.
    BarrierForgets,
    /// A participant's transaction that was rolled back is said to be committed.
    DatabaseLies,
    /// The second of two commands with different attempts is dropped as a duplicate: message ids without attempts.
    AttemptsAlike,
    /// An event loses a field on its way through the database.
    FieldLost,
}
