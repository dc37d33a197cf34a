//! The hybrid logical clock: monotone, causal, bounded, and the same after a restart.

use std::time::Duration;

use proptest::prelude::*;
use snorri_records::{Clock, ClockError, Stamp, Tick};

use super::{clock, config, stamp};

const BOUND: u64 = 1_000;

proptest! {
    #![proptest_config(config())]

    /// Three nodes whose wall clocks jump, which tell each other their times, and which crash: `(node, other, wall, crash)`.
    #[test]
    fn what_was_seen_is_earlier(
        steps in prop::collection::vec((0..3_usize, 0..3_usize, 5_000..7_500_u64, prop::bool::weighted(0.1)), 1..80),
    ) {
        let bounded = |clock: Clock| clock.with_max_ahead(Duration::from_millis(BOUND));
        let mut clocks: Vec<Clock> = ["a", "b", "c"].map(|node| bounded(clock(node))).into();
        let mut last: Vec<Option<Stamp>> = vec![None; 3];
        // The greatest stamp that a node made or has let in: all that it may not fall behind of.
        let mut seen: Vec<Tick> = vec![Tick::default(); 3];
        for (node, other, wall, crash) in steps {
            if crash {
                clocks[node] = bounded(Clock::resume(clocks[node].node().clone(), clocks[node].high()));
            }
            if let Some(stamp) = &last[other] {
                let ahead = stamp.tick().millis().saturating_sub(wall);
                let answer = clocks[node].observe(stamp.tick(), wall);
                if ahead > BOUND {
                    prop_assert_eq!(answer, Err(ClockError::TooFarAhead { ahead, allowed: BOUND }));
                } else {
                    prop_assert_eq!(answer, Ok(()));
                    seen[node] = seen[node].max(stamp.tick());
                }
            }
            prop_assert_eq!(clocks[node].high(), seen[node]);
            match clocks[node].tick(wall) {
                Ok(stamp) => {
                    prop_assert!(stamp.tick() > seen[node], "{} is not after {}", stamp, seen[node]);
                    prop_assert!(stamp.tick().millis() >= wall, "{} is behind the wall clock {}", stamp, wall);
                    prop_assert!(stamp.tick().millis() <= wall + BOUND, "{} is too far ahead of {}", stamp, wall);
                    prop_assert!(seen[node].millis() >= wall || stamp.tick() == Tick::new(wall, 0).unwrap());
                    seen[node] = stamp.tick();
                    last[node] = Some(stamp);
                }
                Err(error) => {
                    let behind = seen[node].millis().saturating_sub(wall);
                    prop_assert!(behind > BOUND, "{}", error);
                    prop_assert_eq!(error, ClockError::SetBack { behind, allowed: BOUND });
                    prop_assert_eq!(clocks[node].high(), seen[node], "a refusal changes nothing");
                }
            }
        }
    }

    #[test]
    fn stamps_are_written_in_one_way_and_read_back(millis in 0..1_u64 << 48, count: u16, node in "[a-zA-Z0-9._-]{1,64}") {
        let stamp = Stamp::new(Tick::new(millis, count).unwrap(), node.parse().unwrap());
        prop_assert_eq!(stamp.to_string().parse::<Stamp>(), Ok(stamp.clone()));
        prop_assert_eq!(stamp.tick().to_string().parse::<Tick>(), Ok(stamp.tick()));
    }

    #[test]
    fn a_text_that_is_read_is_written_like_that(text in "[0-9+]{0,3}-?[0-9]{0,6}@?[a-z @]{0,3}") {
        if let Ok(stamp) = text.parse::<Stamp>() {
            prop_assert_eq!(stamp.to_string(), text);
        }
    }
}

#[test]
fn within_one_millisecond_it_counts_and_then_borrows_the_next() {
    let mut clock = Clock::resume("a".parse().unwrap(), Tick::new(7, u16::MAX - 1).unwrap());
    assert_eq!(clock.tick(7), Ok(stamp("7-65535@a")));
    assert_eq!(clock.tick(7), Ok(stamp("8-0@a")));
    assert_eq!(clock.tick(7), Ok(stamp("8-1@a")));
    assert_eq!(clock.tick(8), Ok(stamp("8-2@a")));
    assert_eq!(clock.tick(9), Ok(stamp("9-0@a")));
}

#[test]
fn five_seconds_ahead_are_let_in_and_not_more() {
    let mut clock = clock("a");
    assert_eq!(clock.observe(Tick::new(15_000, 0).unwrap(), 10_000), Ok(()));
    let refused = clock.observe(Tick::new(15_001, 0).unwrap(), 10_000);
    assert_eq!(refused, Err(ClockError::TooFarAhead { ahead: 5_001, allowed: 5_000 }));
    assert_eq!(clock.tick(10_000), Ok(stamp("15000-1@a")));
    assert_eq!(clock.tick(9_999), Err(ClockError::SetBack { behind: 5_001, allowed: 5_000 }));
    assert_eq!(clock.tick(1 << 48), Err(ClockError::OutOfRange(1 << 48)));
}

#[test]
fn the_last_millisecond_of_all_is_the_last() {
    let end = (1 << 48) - 1;
    let mut clock = Clock::resume("a".parse().unwrap(), Tick::new(end, u16::MAX).unwrap());
    assert_eq!(clock.tick(end), Err(ClockError::OutOfRange(end)));
    assert!(Tick::new(end + 1, 0).is_err());
}

#[test]
fn of_the_same_time_the_name_decides() {
    assert!(stamp("1-0@b") > stamp("1-0@a"));
    assert!(stamp("1-1@a") > stamp("1-0@b"));
    assert!(stamp("2-0@a") > stamp("1-9@b"));
    for wrong in [
        "",
        "1@a",
        "1-0",
        "01-0@a",
        "+1-0@a",
        "1-65536@a",
        "281474976710656-0@a",
        "1-0@",
        "1-0@a b",
        "1-0@a@b",
    ] {
        assert!(wrong.parse::<Stamp>().is_err(), "{wrong}");
    }
}
