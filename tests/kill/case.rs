//! One case: a point, a way to go wrong, and at which hit. And what fits it: how many replicas there are, whether the
//! dead are started anew, and which orders are under way.

use serde_json::{Value, json};
use snorri_demo::{CARD_GOOD, CARD_REFUSED, QUANTITY_BEYOND_ALL, Service, TOWN_UNKNOWN, World};
use snorri_kill::{Action, Point, Side};

/// How many sagas each case has under way.
pub(crate) const SAGAS: usize = 20;
/// The participant that the SDK's points are tried at: it has a step to be undone and the pivot.
pub(crate) const VICTIM: Service = Service::Payments;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) point: Point,
    pub(crate) action: Action,
    pub(crate) hit: u64,
}

impl Case {
    /// All of them: each point, by each action, at its first and at its third hit; and the whole process standing
    /// still at the first.
    pub(crate) fn all() -> Vec<Self> {
        let ways = [
            (Action::Kill, 1),
            (Action::Kill, 3),
            (Action::Hang, 1),
            (Action::Hang, 3),
            (Action::Error, 1),
            (Action::Error, 3),
            (Action::Stop, 1),
        ];
        let of = |point: &Point| ways.map(|(action, hit)| Self { point: *point, action, hit });
        Point::ALL.iter().flat_map(of).collect()
    }

    pub(crate) fn name(&self) -> String {
        format!("{}.{}.{}", self.point.name(), self.action.name(), self.hit)
    }

    pub(crate) fn is_of_participant(&self) -> bool {
        self.point.side() == Side::Participant
    }

    /// The replicas of the orchestrator at the beginning. At a first hit there are two, and the other one takes
    /// over; at a third hit there is one, and it is started anew.
    pub(crate) fn replicas(&self) -> &'static [&'static str] {
        match self.point {
            // The one that takes over; the others come and die in their turn.
            Point::TakeoverClaimed => &["a"],
            // One migration has two hits.
            Point::Migrating => &["a", "b"],
            _ if self.hit == 1 && !self.is_of_participant() => &["a", "b"],
            _ => &["a"],
        }
    }

    /// Whether a replica that ends is started anew although another one lives.
    pub(crate) fn starts_anew(&self) -> bool {
        self.hit > 1 || self.point == Point::Migrating
    }

    /// Whether the point is reached before there are sagas.
    pub(crate) fn is_armed_early(&self) -> bool {
        self.point == Point::Migrating
    }

    /// Whether hits count only once some sagas have ended. The engine's first hits are starts; the third of these
    /// cases is in the midst of everything, endings too.
    pub(crate) fn is_armed_late(&self) -> bool {
        self.hit > 1
            && matches!(
                self.point,
                Point::ReplyFetched
                    | Point::BatchLoaded
                    | Point::BatchDecided
                    | Point::CommitUnderWay
                    | Point::Committed
                    | Point::PublishSent
                    | Point::Published
                    | Point::InputAcked
            )
    }

    /// One lane makes larger batches, two make races; both are tried.
    pub(crate) fn lanes(&self) -> u32 {
        if self.hit == 1 { 2 } else { 1 }
    }

    /// How many commands the victim puts into one transaction.
    pub(crate) fn batch(&self) -> usize {
        match self.point {
            // In a batch nothing is slow.
            Point::AtWork => 1,
            _ if self.hit == 1 => 64,
            _ => 1,
        }
    }

    /// Whether each order is a sub-saga: letters are between a parent and its sub-saga.
    pub(crate) fn has_families(&self) -> bool {
        self.point == Point::LetterTaken
    }

    /// How many good orders the trouble may undo by taking all attempts of a step.
    ///
    /// An orchestrator's death takes none: what is under way is sent again as the same attempt. That of a
    /// participant takes the one under way, and two of the orders have no other left. What stands still for 10 s takes
    /// two of each, and with their pauses the third is near the end of it: the two that are slow may lose it too.
    pub(crate) fn gave_up_max(&self) -> usize {
        match self.action {
            Action::Kill | Action::Error if self.is_of_participant() => 2,
            Action::Kill | Action::Error => 0,
            Action::Hang | Action::Stop => 4,
        }
    }

    /// Whether the sagas are to stay for seconds, because the point comes with time and not with work.
    fn lingers(&self) -> bool {
        matches!(
            self.point,
            Point::HeartbeatWritten | Point::SweepClaimed | Point::TakeoverClaimed | Point::Draining
        )
    }

    /// The orders: of twenty, four cannot be shipped, one's card is refused, one asks for more than there is; two
    /// fail twice and two are slow.
    pub(crate) fn orders(&self, world: &World) -> Vec<Value> {
        (0..SAGAS as u64).map(|n| self.order(n, world)).collect()
    }

    fn order(&self, n: u64, world: &World) -> Value {
        let slow = if self.point == Point::AtWork { "slow:3500" } else { "slow:1200" };
        let payments = match n {
            2 | 7 => json!({"payments": "fail:2"}),
            9 | 14 => json!({"payments": slow}),
            _ => json!({}),
        };
        let mut order = json!({
            "order_id": format!("o-{n}"),
            "customer": World::customer(n % world.customers),
            "amount_cents": 1990 + n,
            "card": if n == 5 { CARD_REFUSED } else { CARD_GOOD },
            "lines": [{
                "sku": World::sku(1 + n % (world.skus - 1)),
                "quantity": if n == 11 { QUANTITY_BEYOND_ALL } else { 2 },
                "price_cents": 995,
            }],
            "address": {
                "street": format!("Snorralaug {n}"),
                "town": if n % 5 == 3 { TOWN_UNKNOWN } else { "oddi" },
            },
            "trouble": payments,
        });
        if self.lingers() {
            order["trouble"]["orders"] = json!("slow:2500");
            order["trouble"]["inventory"] = json!("slow:1500");
        }
        order
    }
}
