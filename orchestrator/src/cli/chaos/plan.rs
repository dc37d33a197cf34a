//! The plan of a run: which fault comes when, at whom, and for how long. It follows from the seed, so that a run can be
//! repeated; what the system makes of it cannot.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::dice::Dice;
use super::proxy::{Harm, Way};

/// At most so many faults at a time.
pub(super) const OVERLAP_MAX: usize = 2;
/// How long whoever was hurt needs to be itself again.
const RECOVERY: Duration = Duration::from_millis(1500);

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// An orchestrator is killed (-9) and started again.
    KillOrchestrator,
    /// A participant is killed (-9) and started again.
    KillParticipant,
    /// A process is frozen (SIGSTOP) and goes on.
    Freeze,
    /// The link of one process to one server is hurt.
    Link,
    /// Postgres is stopped as by a crash, and started again.
    StopPostgres,
    /// Postgres takes no writes.
    ReadOnly,
    /// All connections of Postgres are ended.
    Terminate,
    /// nats-server is killed (-9) and started again.
    KillNats,
    /// nats-server is killed, loses its store, and is started again.
    WipeNats,
    /// A stream or a consumer is deleted.
    DeleteStream,
    /// Old and new replies are published again, several times, in any order; and one message that is none.
    Relay,
    /// A process is replaced by one of the other build.
    Flip,
}

impl Kind {
    /// All that every installation can have, with their shares in percent. What one machine cannot show (a standby's
    /// promotion, a full disk, a jump of the clock; six in all) is shared out among the others.
    pub(super) const SHARES: [(Self, usize); 11] = [
        (Self::KillOrchestrator, 27),
        (Self::KillParticipant, 16),
        (Self::Freeze, 11),
        (Self::Link, 16),
        (Self::StopPostgres, 9),
        (Self::ReadOnly, 4),
        (Self::Terminate, 4),
        (Self::KillNats, 6),
        (Self::WipeNats, 3),
        (Self::DeleteStream, 2),
        (Self::Relay, 2),
    ];

    /// Its word in the report.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::KillOrchestrator => "orchestrator killed",
            Self::KillParticipant => "participant killed",
            Self::Freeze => "process frozen",
            Self::Link => "link hurt",
            Self::StopPostgres => "Postgres crashed",
            Self::ReadOnly => "Postgres read-only",
            Self::Terminate => "Postgres connections ended",
            Self::KillNats => "NATS killed",
            Self::WipeNats => "NATS store lost",
            Self::DeleteStream => "stream or consumer deleted",
            Self::Relay => "replies repeated in disorder",
            Self::Flip => "build flipped",
        }
    }
}

/// One of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Server {
    Postgres,
    Nats,
}

/// What JetStream loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Lost {
    CommandsStream,
    RepliesStream,
    EndingsStream,
    /// Of the replica with this number.
    RepliesConsumer(usize),
    /// Of the service with this number.
    CommandsConsumer(usize),
}

/// What exactly is done. Processes are named by their number in the [`Cast`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Deed {
    Kill { process: usize },
    Freeze { process: usize },
    Link { process: usize, server: Server, harm: Harm },
    StopPostgres,
    ReadOnly,
    Terminate,
    KillNats,
    WipeNats,
    Delete { lost: Lost },
    Relay { replies: usize },
    Flip { process: usize, gracefully: bool },
}

impl Deed {
    /// What is hurt: no two faults at a time on the same.
    fn subject(self) -> Subject {
        match self {
            Self::Kill { process }
            | Self::Freeze { process }
            | Self::Link { process, .. }
            | Self::Flip { process, .. } => Subject::Process(process),
            Self::StopPostgres | Self::ReadOnly | Self::Terminate => Subject::Postgres,
            Self::KillNats | Self::WipeNats | Self::Delete { .. } | Self::Relay { .. } => Subject::Nats,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Process(usize),
    Postgres,
    Nats,
}

/// A fault that is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Planned {
    /// When, from the beginning of the chaos.
    pub(super) at: Duration,
    pub(super) kind: Kind,
    pub(super) deed: Deed,
    /// How long it stays, or how long what was killed stays away.
    pub(super) hold: Duration,
}

impl Planned {
    pub(super) fn subject(&self) -> Subject {
        self.deed.subject()
    }
}

/// How fast and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    /// From one fault to the next.
    gap: (Duration, Duration),
    /// How long a killed process or server stays away.
    away: (Duration, Duration),
    /// How long a process is frozen.
    frozen: (Duration, Duration),
    /// How long a link is hurt.
    hurt: (Duration, Duration),
    /// How long Postgres takes no writes.
    read_only: Duration,
}

const fn secs(from: u64, to: u64) -> (Duration, Duration) {
    (Duration::from_secs(from), Duration::from_secs(to))
}

impl Scale {
    /// Of a run of that length: short stops in a short one.
    pub(super) fn of(window: Duration) -> Self {
        if window < Duration::from_mins(5) {
            Self {
                gap: secs(6, 7),
                away: (Duration::ZERO, Duration::from_secs(2)),
                frozen: secs(3, 8),
                hurt: secs(2, 6),
                read_only: Duration::from_secs(4),
            }
        } else {
            Self {
                gap: secs(5, 12),
                away: (Duration::ZERO, Duration::from_secs(5)),
                frozen: secs(5, 90),
                hurt: secs(5, 30),
                read_only: Duration::from_secs(20),
            }
        }
    }
}

/// Who plays: the orchestrators are the processes from 0, the participants those after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cast {
    pub(super) orchestrators: usize,
    pub(super) participants: usize,
    pub(super) services: usize,
    /// There is another build to flip to.
    pub(super) flips: bool,
}

impl Cast {
    fn kinds(self) -> Vec<(Kind, usize)> {
        let mut kinds = Kind::SHARES.to_vec();
        if self.flips {
            // Every third: at one fault in ten seconds that is a flip in thirty.
            kinds.push((Kind::Flip, 50));
        }
        kinds
    }
}

/// Draws the plan of a run.
pub(super) fn draw(seed: u64, window: Duration, cast: Cast) -> Vec<Planned> {
    let mut dice = Dice::new(seed);
    let scale = Scale::of(window);
    let deck = deck(&mut dice, window, scale, cast);
    let mut plan: Vec<Planned> = Vec::new();
    let mut at = dice.time((Duration::from_secs(1), Duration::from_secs(3)));
    for kind in deck {
        let Some(fault) = place(&mut dice, kind, at, scale, cast, &plan) else { break };
        if fault.at + fault.hold + RECOVERY > window {
            break;
        }
        at = fault.at + dice.time(scale.gap);
        plan.push(fault);
    }
    plan
}

/// The kinds in the order in which they come: by their shares, and each among the first.
fn deck(dice: &mut Dice, window: Duration, scale: Scale, cast: Cast) -> Vec<Kind> {
    let kinds = cast.kinds();
    let total: usize = kinds.iter().map(|(_, share)| share).sum();
    let most = usize::try_from(window.as_millis() / scale.gap.0.as_millis().max(1)).unwrap_or(0) + 1;
    let mut deck: Vec<Kind> = Vec::with_capacity(most);
    for _ in 0..most {
        let mut number = dice.below(total);
        let drawn = kinds.iter().find(|(_, share)| {
            let found = number < *share;
            number = number.saturating_sub(*share);
            found
        });
        deck.extend(drawn.map(|(kind, _)| *kind));
    }
    // The tail may not be played, so the first half has every kind; in a short run, the first of all.
    let head = (most / 2).max(kinds.len()).min(most);
    for (kind, _) in &kinds {
        let seen = deck.get(..head).unwrap_or_default();
        if seen.contains(kind) {
            continue;
        }
        let count = |of: Kind| seen.iter().filter(|kind| **kind == of).count();
        let most_common = kinds.iter().map(|(kind, _)| *kind).max_by_key(|kind| count(*kind));
        if let Some(slot) = deck.iter_mut().take(head).find(|slot| Some(**slot) == most_common) {
            *slot = *kind;
        }
    }
    dice.shuffle(deck.get_mut(..head).unwrap_or_default());
    deck
}

/// Gives a fault its subject and its time: not before `at`, not with too many others, not on the same as another.
fn place(
    dice: &mut Dice,
    kind: Kind,
    at: Duration,
    scale: Scale,
    cast: Cast,
    plan: &[Planned],
) -> Option<Planned> {
    let until = |fault: &Planned| fault.at + fault.hold + RECOVERY;
    let (deed, hold) = deed(dice, kind, scale, cast)?;
    let mut at = at;
    loop {
        let active: Vec<&Planned> = plan.iter().filter(|fault| until(fault) > at).collect();
        let same = active.iter().find(|fault| fault.subject() == deed.subject());
        if same.is_none() && active.len() < OVERLAP_MAX {
            return Some(Planned { at, kind, deed, hold });
        }
        // Another subject might do at once, but a server has no other: wait for it, or for the first to end.
        at = match same {
            Some(fault) => until(fault),
            None => active.iter().map(|fault| until(fault)).min()?,
        };
    }
}

fn deed(dice: &mut Dice, kind: Kind, scale: Scale, cast: Cast) -> Option<(Deed, Duration)> {
    let all = cast.orchestrators + cast.participants;
    let away = dice.time(scale.away);
    Some(match kind {
        Kind::KillOrchestrator => (Deed::Kill { process: dice.below(cast.orchestrators) }, away),
        Kind::KillParticipant => {
            (Deed::Kill { process: cast.orchestrators + dice.below(cast.participants) }, away)
        }
        // As often an orchestrator as a participant, however many there are of each.
        Kind::Freeze => (Deed::Freeze { process: either(dice, cast) }, dice.time(scale.frozen)),
        Kind::Link => {
            let harm = dice.one_of(&[
                Harm::Cut,
                Harm::Swallow(Way::ToServer),
                Harm::Swallow(Way::ToProcess),
                Harm::Hold(Way::ToServer),
                Harm::Hold(Way::ToProcess),
                Harm::Delay(Duration::from_millis(200)),
                Harm::SlowClose,
            ])?;
            let server = dice.one_of(&[Server::Postgres, Server::Nats])?;
            (Deed::Link { process: either(dice, cast), server, harm }, dice.time(scale.hurt))
        }
        Kind::StopPostgres => (Deed::StopPostgres, away),
        Kind::ReadOnly => (Deed::ReadOnly, scale.read_only),
        Kind::Terminate => (Deed::Terminate, Duration::ZERO),
        Kind::KillNats => (Deed::KillNats, away),
        Kind::WipeNats => (Deed::WipeNats, away),
        Kind::DeleteStream => {
            let lost = dice.one_of(&[
                Lost::CommandsStream,
                Lost::RepliesStream,
                Lost::EndingsStream,
                Lost::RepliesConsumer(dice.clone().below(cast.orchestrators)),
                Lost::CommandsConsumer(dice.clone().below(cast.services)),
            ])?;
            (Deed::Delete { lost }, Duration::ZERO)
        }
        Kind::Relay => (
            Deed::Relay { replies: 100 + dice.below(400) },
            dice.time((Duration::from_secs(1), Duration::from_secs(4))),
        ),
        Kind::Flip => {
            (Deed::Flip { process: dice.below(all), gracefully: dice.below(2) == 0 }, Duration::ZERO)
        }
    })
}

fn either(dice: &mut Dice, cast: Cast) -> usize {
    if dice.below(2) == 0 {
        dice.below(cast.orchestrators)
    } else {
        cast.orchestrators + dice.below(cast.participants)
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = |server: &Server| match server {
            Server::Postgres => "Postgres",
            Server::Nats => "NATS",
        };
        let way = |way: &Way| match way {
            Way::ToServer => "what the process says",
            Way::ToProcess => "what the server says",
        };
        match self {
            Self::Link { server: to, harm, .. } => {
                let to = server(to);
                match harm {
                    Harm::Cut => write!(f, "cut off from {to}"),
                    Harm::Swallow(of) => write!(f, "half open to {to}: {} is lost", way(of)),
                    Harm::Hold(of) => write!(f, "half open to {to}: {} comes late", way(of)),
                    Harm::Delay(by) => write!(f, "{} ms later to and from {to}", by.as_millis()),
                    Harm::SlowClose => write!(f, "connections to {to} closed on one side only"),
                }
            }
            Self::Delete { lost } => match lost {
                Lost::CommandsStream => f.write_str("the stream of commands"),
                Lost::RepliesStream => f.write_str("the stream of replies"),
                Lost::EndingsStream => f.write_str("the stream of endings"),
                Lost::RepliesConsumer(_) => f.write_str("a replica's consumer"),
                Lost::CommandsConsumer(_) => f.write_str("a participant's consumer"),
            },
            Self::Relay { replies } => write!(f, "{replies} replies"),
            Self::Flip { gracefully: true, .. } => f.write_str("ended in order"),
            Self::Flip { gracefully: false, .. } => f.write_str("killed"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const CAST: Cast = Cast { orchestrators: 3, participants: 8, services: 4, flips: false };
    const SMOKE: Duration = Duration::from_secs(90);
    const FULL: Duration = Duration::from_mins(30);

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        for window in [SMOKE, FULL] {
            assert_eq!(draw(7, window, CAST), draw(7, window, CAST));
            assert_ne!(draw(7, window, CAST), draw(8, window, CAST));
        }
    }

    #[test]
    fn never_more_than_two_at_a_time_never_two_on_the_same_and_all_within_the_window() {
        for seed in 0..200 {
            for window in [SMOKE, FULL] {
                let plan = draw(seed, window, CAST);
                for (place, fault) in plan.iter().enumerate() {
                    assert!(fault.at + fault.hold <= window, "{fault:?}");
                    let before = plan.get(..place).unwrap_or_default();
                    assert!(before.iter().all(|earlier| earlier.at <= fault.at), "seed {seed}");
                    let active: Vec<_> =
                        before.iter().filter(|earlier| earlier.at + earlier.hold > fault.at).collect();
                    assert!(active.len() < OVERLAP_MAX, "seed {seed}: {fault:?} with {active:?}");
                    assert!(
                        active.iter().all(|earlier| earlier.subject() != fault.subject()),
                        "seed {seed}: {fault:?} with {active:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_smoke_has_every_kind_and_a_full_run_the_shares_too() {
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        let mut all = 0;
        for seed in 0..100 {
            let smoke = draw(seed, SMOKE, CAST);
            assert!((11..=15).contains(&smoke.len()), "seed {seed}: {}", smoke.len());
            let full = draw(seed, FULL, CAST);
            assert!((120..=250).contains(&full.len()), "seed {seed}: {}", full.len());
            for (kind, _) in Kind::SHARES {
                for plan in [&smoke, &full] {
                    assert!(plan.iter().any(|fault| fault.kind == kind), "seed {seed}: no {kind:?}");
                }
            }
            for fault in &full {
                *counts.entry(fault.kind).or_default() += 1;
                all += 1;
            }
        }
        for (kind, share) in Kind::SHARES {
            let found = counts.get(&kind).copied().unwrap_or(0) * 1000 / all;
            assert!(found.abs_diff(share * 10) <= 15, "{kind:?}: {found} of 1000, {share} of 100 wanted");
        }
    }

    #[test]
    fn with_two_builds_every_third_fault_is_a_flip_of_any_process() {
        let plan = draw(3, FULL, Cast { flips: true, ..CAST });
        let flips: Vec<usize> = plan
            .iter()
            .filter_map(|fault| match fault.deed {
                Deed::Flip { process, .. } => Some(process),
                _ => None,
            })
            .collect();
        assert!((plan.len() / 4..plan.len() / 2).contains(&flips.len()), "{} of {}", flips.len(), plan.len());
        assert!((0..11).all(|process| flips.contains(&process)), "{flips:?}");
    }
}
