//! The list of the points: the tests run through it, and `docs/kill-points.md` explains each.

/// Whose code a point is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The orchestrator's.
    Orchestrator,
    /// The participant SDK's.
    Participant,
}

macro_rules! points {
    ($($(#[$doc:meta])+ $point:ident = $name:literal in $side:ident,)+) => {
        /// A place to die at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Point {
            $($(#[$doc])+ $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point,)+];

            /// Its name in the environment.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }

            /// Whose code it is in.
            pub fn side(self) -> Side {
                match self {
                    $(Self::$point => Side::$side,)+
                }
            }
        }
    };
}

points! {
    /// Replies were fetched; no lane has them.
    ReplyFetched = "reply-fetched" in Orchestrator,
    /// A batch is loaded; nothing is decided.
    BatchLoaded = "batch-loaded" in Orchestrator,
    /// The heartbeat, which is the lease on the replica's sagas, is written; its answer is not used.
    HeartbeatWritten = "heartbeat-written" in Orchestrator,
    /// A batch is decided; its statement is not sent.
    BatchDecided = "batch-decided" in Orchestrator,
    /// A batch's statement is on its way to Postgres; its answer is not read.
    CommitUnderWay = "commit-under-way" in Orchestrator,
    /// A batch is committed; nobody is told, nothing is published.
    Committed = "committed" in Orchestrator,
    /// Some messages of a flight are out, the others are not.
    PublishMid = "publish-mid" in Orchestrator,
    /// All messages of a flight are out; JetStream's answers are not read.
    PublishSent = "publish-sent" in Orchestrator,
    /// A batch's messages are stored by JetStream; its inputs are not acknowledged.
    Published = "published" in Orchestrator,
    /// One input of a batch is acknowledged, the next is not.
    InputAcked = "input-acked" in Orchestrator,
    /// What one saga says to another, its parent or its sub-saga, is committed and taken from the post; no lane has it.
    LetterTaken = "letter-taken" in Orchestrator,
    /// The sweep has claimed sagas that are due; no lane has them.
    SweepClaimed = "sweep-claimed" in Orchestrator,
    /// A takeover has claimed a dead replica's sagas; nothing of them is sent again.
    TakeoverClaimed = "takeover-claimed" in Orchestrator,
    /// A start is in its lane's queue; it is not known whether it is committed.
    StartQueued = "start-queued" in Orchestrator,
    /// A start is committed; its caller is not answered.
    StartCommitted = "start-committed" in Orchestrator,
    /// A replica shuts down: a lane has ended, and what it publishes may still be on its way.
    Draining = "draining" in Orchestrator,
    /// Between two parts of a migration.
    Migrating = "migrating" in Orchestrator,

    /// Commands were fetched; nothing is begun.
    CommandFetched = "command-fetched" in Participant,
    /// The barrier's rows are in the transaction; no handler has run.
    BarrierEntered = "barrier-entered" in Participant,
    /// The handlers have run; their replies are not stored.
    HandlerDone = "handler-done" in Participant,
    /// An action and its reply are in the transaction, which is not committed.
    ActionStored = "action-stored" in Participant,
    /// An action is committed; its reply is not sent.
    ActionCommitted = "action-committed" in Participant,
    /// A compensation and its reply are in the transaction, which is not committed.
    UndoStored = "undo-stored" in Participant,
    /// A compensation is committed; its reply is not sent.
    UndoCommitted = "undo-committed" in Participant,
    /// It is committed that a command has failed; nobody is told.
    FailureCommitted = "failure-committed" in Participant,
    /// Replies are stored by JetStream; their commands are not acknowledged.
    Replied = "replied" in Participant,
    /// A handler is at work, and it is time to say so.
    AtWork = "at-work" in Participant,
}
