//! Definitions whose runs nobody can walk: an exploration of them takes the time and the memory that it was given, says that
//! it covered nothing, and is no error.
#![expect(clippy::disallowed_methods, reason = "time is measured here")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use snorri_language::check::{File, check};
use snorri_language::explore::{Bounds, Role, explore};
use snorri_language::text::Format;

const TIME: Duration = Duration::from_millis(250);
/// How far beyond that it may get: a transition of a great saga takes its time, more in a build without optimisation.
const TIME_MAX: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 400 });
/// The most memory of the whole process, in KiB.
const MEMORY_MAX: u64 = 300 * 1024;

/// The time that this thread had a processor, where the system tells it: others may be at work on this machine.
fn now(began: Instant) -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let busy = schedule.and_then(|text| text.split(' ').next()?.parse().ok());
    busy.map_or_else(|| began.elapsed(), Duration::from_nanos)
}

fn stops(what: &str, step: &str, count: usize) {
    let mut text = "name: wide\nwindow: 10h\nsteps:\n".to_owned();
    for n in 0..count {
        writeln!(text, "  - {{ name: s{n}, needs: [], {step} }}").expect("a text");
    }
    let report = check(&[File { name: "wide.yaml", text: &text, format: Format::Yaml }], |_, _| None);
    let definition = report
        .files
        .first()
        .and_then(|file| file.definition.as_ref())
        .unwrap_or_else(|| panic!("{report:?}"));
    for role in [Role::Alone, Role::Part] {
        let began = Instant::now();
        let since = now(began);
        let elapsed = || now(began).saturating_sub(since);
        let bounds = Bounds { time: TIME, role, ..Bounds::default() };
        let explored = explore(definition, &bounds, &elapsed);
        let took = elapsed();
        println!("{took:>12?} {what}: {explored}");
        assert!(explored.is_sound(), "{what}: {explored}");
        assert!(explored.complete_faults.is_none(), "{what}: {explored}");
        assert!(took < TIME_MAX, "{what}: {took:?}");
    }
}

/// One test, so that nothing else runs beside it.
#[test]
fn what_is_too_wide_to_be_explored_is_given_up_in_time() {
    let step = "participant: p, compensation: undo";
    stops("200 steps side by side", step, 200);
    stops("20 conditions side by side", &format!("{step}, when: 'input.a > 1'"), 20);
    stops("200 conditions side by side", &format!("{step}, when: 'input.a > 1'"), 200);
    let list = "for_each: { items: '${{ input.rows }}', max: 1000, concurrency: 100 }";
    stops("100 lists side by side", &format!("{step}, {list}"), 100);
    stops("50 conditions on lists side by side", &format!("{step}, {list}, when: 'input.a > 1'"), 50);
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak: u64 = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok()).expect("a size");
        println!("{peak} KiB at the most");
        assert!(peak < MEMORY_MAX, "{peak} KiB");
    }
}
