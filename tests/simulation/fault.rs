//! The kinds of faults, each with its word, in how many of the seeds it is switched on, and at which usual rate: a share of the
//! calls where it strikes calls, and so many an hour where it strikes at times (see `weather.rs`).

/// Declares the kinds, so that no list can forget one.
macro_rules! faults {
    ($($name:ident: $word:literal, in $share:literal, at $rate:literal;)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault { $($name,)* }

        impl Fault {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            fn row(self) -> (&'static str, f64, f64) {
                match self { $(Self::$name => ($word, $share, $rate),)* }
            }
        }
    };
}

impl Fault {
    /// As it is printed.
    pub(crate) fn word(self) -> &'static str {
        self.row().0
    }

    /// In how many of the seeds it is switched on.
    pub(crate) fn share(self) -> f64 {
        self.row().1
    }

    /// Its usual rate.
    pub(crate) fn rate(self) -> f64 {
        self.row().2
    }
}

faults! {
    StoreError: "store: error before", in 0.4, at 0.02;
    StoreAmbiguous: "store: done, then error", in 0.8, at 0.02;
    StoreSlow: "store: slow", in 0.4, at 0.02;
    StoreLate: "store: done after the caller gave up", in 0.4, at 0.006;
    StoreAway: "store: away", in 0.4, at 12.0;
    StoreReadOnly: "store: read-only", in 0.4, at 8.0;
    StoreFailover: "store: failover that loses the tail", in 0.12, at 8.0;
    StoreClock: "store: clock jump", in 0.12, at 6.0;
    BusRefused: "bus: refused", in 0.4, at 0.01;
    BusUnknown: "bus: not stored, not answered", in 0.4, at 0.015;
    BusAmbiguous: "bus: stored, not answered", in 0.4, at 0.015;
    BusLate: "bus: stored after the publisher gave up", in 0.4, at 0.005;
    BusLostDelivery: "bus: delivery lost", in 0.4, at 0.02;
    BusDuplicate: "bus: delivered twice", in 0.4, at 0.05;
    BusReorder: "bus: delayed, overtaken", in 0.4, at 0.10;
    BusLostAck: "bus: acknowledgement lost", in 0.4, at 0.02;
    BusForgetsIds: "bus: duplicate window forgotten", in 0.4, at 12.0;
    BusTailLost: "bus: acknowledged messages lost", in 0.4, at 12.0;
    BusWiped: "bus: store wiped", in 0.12, at 8.0;
    BusRestarted: "bus: restarted, memory lost", in 0.4, at 12.0;
    BusStreamDeleted: "bus: stream deleted", in 0.4, at 12.0;
    BusConsumerDeleted: "bus: consumer deleted", in 0.4, at 12.0;
    BusCut: "bus: a process cut off", in 0.4, at 20.0;
    StoreCut: "store: a process cut off", in 0.4, at 20.0;
    OrchestratorKilled: "orchestrator: killed", in 0.5, at 0.001;
    OrchestratorStopped: "orchestrator: stopped gracefully", in 0.4, at 15.0;
    OrchestratorPaused: "orchestrator: paused", in 0.4, at 20.0;
    ParticipantKilled: "participant: killed", in 0.5, at 0.003;
    ParticipantStopped: "participant: stopped gracefully", in 0.4, at 15.0;
    ParticipantPaused: "participant: paused", in 0.4, at 20.0;
    DatabaseError: "participant's database: error before", in 0.4, at 0.02;
    DatabaseAmbiguous: "participant's database: done, then error", in 0.4, at 0.02;
    DatabaseLate: "participant's database: done after the caller gave up", in 0.4, at 0.006;
    DatabaseSlow: "participant's database: slow", in 0.4, at 0.02;
    DatabaseAway: "participant's database: away", in 0.4, at 12.0;
    HandlerRejects: "handler: rejects", in 0.8, at 0.06;
    HandlerPartial: "handler: rejects, effect left", in 0.4, at 0.02;
    HandlerFails: "handler: fails", in 0.8, at 0.06;
    HandlerSlow: "handler: slow", in 0.4, at 0.05;
    HandlerHangs: "handler: hangs", in 0.4, at 0.005;
    HandlerPanics: "handler: panics", in 0.4, at 0.01;
}
