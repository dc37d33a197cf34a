//! The kinds of faults. Each is counted, so that a run can show that it happened.

/// Declares the kinds with their words, so that no list can forget one.
macro_rules! faults {
    ($($name:ident => $word:literal,)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault { $($name,)* }

        impl Fault {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it is printed.
            pub(crate) fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

faults! {
    StoreError => "store: error before",
    StoreAmbiguous => "store: done, then error",
    StoreSlow => "store: slow",
    StoreLate => "store: done after the caller gave up",
    StoreAway => "store: away",
    StoreReadOnly => "store: read-only",
    StoreFailover => "store: failover that loses the tail",
    StoreClock => "store: clock jump",
    BusRefused => "bus: refused",
    BusUnknown => "bus: not stored, not answered",
    BusAmbiguous => "bus: stored, not answered",
    BusLate => "bus: stored after the publisher gave up",
    BusLostDelivery => "bus: delivery lost",
    BusDuplicate => "bus: delivered twice",
    BusReorder => "bus: delayed, overtaken",
    BusLostAck => "bus: acknowledgement lost",
    BusForgetsIds => "bus: duplicate window forgotten",
    BusTailLost => "bus: acknowledged messages lost",
    BusWiped => "bus: store wiped",
    BusRestarted => "bus: restarted, memory lost",
    BusStreamDeleted => "bus: stream deleted",
    BusConsumerDeleted => "bus: consumer deleted",
    BusCut => "bus: a process cut off",
    StoreCut => "store: a process cut off",
    OrchestratorKilled => "orchestrator: killed",
    OrchestratorStopped => "orchestrator: stopped gracefully",
    OrchestratorPaused => "orchestrator: paused",
    ParticipantKilled => "participant: killed",
    ParticipantStopped => "participant: stopped gracefully",
    ParticipantPaused => "participant: paused",
    DatabaseError => "participant's database: error before",
    DatabaseAmbiguous => "participant's database: done, then error",
    DatabaseLate => "participant's database: done after the caller gave up",
    DatabaseSlow => "participant's database: slow",
    DatabaseAway => "participant's database: away",
    HandlerRejects => "handler: rejects",
    HandlerPartial => "handler: rejects, effect left",
    HandlerFails => "handler: fails",
    HandlerSlow => "handler: slow",
    HandlerHangs => "handler: hangs",
    FailedAndRan => "known hole: answered `failed`, and ran later",
    HandlerPanics => "handler: panics",
}
