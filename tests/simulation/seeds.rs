//! Many seeds, on as many threads as there are cores: those that ever failed, and then as many as wanted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::audit::Totals;
use crate::check::Seen;
use crate::fault::Fault;
use crate::run::{self, Outcome};

/// How many seeds the tests run.
const SEEDS: u64 = 200;
/// From so many seeds on each kind of fault must have happened.
const ENOUGH: usize = 200;
/// More failures than this are not told in full.
const TOLD_MAX: usize = 3;

/// How often a long run says how far it is.
const PROGRESS_EVERY: u64 = 500;

/// The seeds that ever failed, with why.
const KNOWN: &str = include_str!("seeds.txt");

fn known() -> Vec<u64> {
    let lines = KNOWN.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| line.parse().expect("a seed in seeds.txt is a number"))
        .collect()
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// What many simulations came to.
#[derive(Debug, Default)]
struct Sum {
    runs: u64,
    failed: Vec<u64>,
    reports: Vec<String>,
    counts: BTreeMap<Fault, u64>,
    totals: Totals,
    seen: Seen,
    virtual_time: Duration,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        for (fault, count) in &outcome.counts {
            *self.counts.entry(*fault).or_default() += count;
        }
        self.totals.add(&outcome.totals);
        let (seen, of) = (&mut self.seen, outcome.seen);
        seen.commits += of.commits;
        seen.transitions += of.transitions;
        seen.races_lost += of.races_lost;
        seen.taken_over += of.taken_over;
        seen.commands += of.commands;
        self.virtual_time += outcome.virtual_time;
        if !outcome.violations.is_empty() {
            self.failed.push(outcome.seed);
            let first = outcome.violations.first().map(ToString::to_string).unwrap_or_default();
            eprintln!("seed {} failed: {first}", outcome.seed);
            if self.reports.len() < TOLD_MAX {
                self.reports.push(outcome.report());
            }
        }
    }

    fn print(&self, took: Duration) {
        let Self { runs, totals, seen, .. } = self;
        let share = |part: u64, of: u64| (part * 100).checked_div(of).unwrap_or(0);
        println!(
            "{runs} seeds in {:.1} s ({:.1} a second), {} virtual hours",
            took.as_secs_f64(),
            f64::from(u32::try_from(*runs).unwrap_or(u32::MAX)) / took.as_secs_f64(),
            self.virtual_time.as_secs() / 3600,
        );
        println!(
            "{} sagas: {} completed, {} compensated ({} %), {} not ended (faults to the end), {} windows missed",
            totals.sagas,
            totals.completed,
            totals.compensated,
            share(totals.compensated, totals.sagas),
            totals.not_ended,
            totals.windows_missed,
        );
        println!(
            "{} of them parts of others, {} of these undone when they were done; {} lists, {} steps skipped, {} signals \
             and decisions",
            totals.parts, totals.parts_undone, totals.lists, totals.skipped, totals.acts,
        );
        println!(
            "{} commits of {} transitions, {} lost to another writer, {} sagas taken over, {} commands, {} effects, \
             {} dead letters, {} journals torn by failovers",
            seen.commits,
            seen.transitions,
            seen.races_lost,
            seen.taken_over,
            seen.commands,
            totals.effects,
            totals.dead_letters,
            totals.torn,
        );
        for fault in Fault::ALL {
            println!("  {:<55} {}", fault.word(), self.counts.get(fault).copied().unwrap_or(0));
        }
    }
}

/// Runs seeds on all cores, each on a thread and a runtime of its own.
fn run_all(seeds: &[u64]) -> Sum {
    let sum = Mutex::new(Sum::default());
    let next = AtomicUsize::new(0);
    let is_enough = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(seeds.len().max(1)) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if is_enough.load(Ordering::Relaxed) {
                        break;
                    }
                    let outcome = run::seed(*seed);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.add(&outcome);
                    if sum.runs.is_multiple_of(PROGRESS_EVERY) {
                        eprintln!("{} of {} seeds, {} failed", sum.runs, seeds.len(), sum.failed.len());
                    }
                    is_enough.store(sum.failed.len() >= 50, Ordering::Relaxed);
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn no_seed_breaks_an_invariant() {
    let seeds: Vec<u64> = if let Some(seed) = setting("SNORRI_SIM_SEED") {
        vec![seed]
    } else {
        let from = setting("SNORRI_SIM_FROM").unwrap_or(1);
        let count = setting("SNORRI_SIM_SEEDS").unwrap_or(SEEDS);
        assert!(count > 0, "no seeds are none that pass: SNORRI_SIM_SEEDS={count}");
        let end = from.checked_add(count).expect("seeds are numbers up to 2^64 - 1");
        known().into_iter().chain(from..end).collect()
    };
    let began = Instant::now();
    let sum = run_all(&seeds);
    sum.print(began.elapsed());
    for report in &sum.reports {
        eprintln!("{report}");
    }
    assert!(sum.failed.is_empty(), "{} of {} seeds failed: {:?}", sum.failed.len(), sum.runs, sum.failed);
    if seeds.len() >= ENOUGH {
        let never: Vec<&str> = Fault::ALL
            .iter()
            .filter(|fault| !sum.counts.contains_key(fault))
            .map(|fault| fault.word())
            .collect();
        assert!(never.is_empty(), "these faults never happened: {never:?}");
        assert!(sum.totals.compensated * 10 > sum.totals.sagas, "too few sagas turned round");
        let Totals { parts_undone, lists, skipped, acts, .. } = sum.totals;
        for (what, count) in [("lists", lists), ("skips", skipped), ("acts", acts)] {
            assert!(count > 0, "there were no {what}");
        }
        // A part that is done and undone with its whole is rare: not in each few hundred runs is there one.
        assert!(seeds.len() < 10 * ENOUGH || parts_undone > 0, "there were no parts undone");
        assert!(
            sum.seen.taken_over > 0 && sum.seen.races_lost > 0,
            "nobody took over, or nobody lost a race"
        );
    }
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 1..=6 {
        let (first, second) = (run::seed(seed), run::seed(seed));
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed} ran differently the second time");
    }
}
