//! What holds of every definition that the checker accepts: random definitions of all kinds of steps, with random schedules
//! against participants that know what is true. The seed of a failure is printed, and kept beside this file.

#[path = "random/course.rs"]
mod course;
#[path = "random/generate.rs"]
mod generate;
#[path = "random/participants.rs"]
mod participants;
#[path = "random/run.rs"]
mod run;

use std::time::Duration;

use course::{Fate, Pace};
use generate::shapes;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use run::{Run, Whim};
use snorri_language::explore::{Bounds, Role, explore};
use snorri_saga::definition::{SiblingFailure, Work};

/// The cases of each property, where `PROPTEST_CASES` does not say otherwise.
fn config(cases: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    let is_kept = config.failure_persistence.is_some();
    #[expect(
        clippy::disallowed_methods,
        reason = "proptest does not tell its own default from what was asked for"
    )]
    let is_said = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if is_said { config.cases } else { cases },
        failure_persistence: is_kept.then(|| Box::new(FileFailurePersistence::WithSource("seeds")) as _),
        ..config
    }
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    prop::collection::vec(any::<Fate>(), 0..40)
}

fn whims() -> impl Strategy<Value = Vec<Whim>> {
    prop::collection::vec(any::<Whim>(), 0..12)
}

proptest! {
    #![proptest_config(config(2000))]

    /// Whatever happens: none hangs, each ends completed with every effect there once, or compensated with none left.
    #[test]
    fn every_saga_ends_as_it_should(shapes in shapes(7), fates in fates(), whims in whims()) {
        let definition = shapes.definition();
        Run::start(&definition, fates, whims, Pace::Any).finish();
    }

    /// As long as each compensation is done within its own policy, and what must be answered is answered in time, the saga
    /// ends inside its window: that is what the checker has proved of its times.
    #[test]
    fn every_saga_ends_inside_its_window(
        shapes in shapes(7), fates in fates(), whims in whims(), is_slow in any::<bool>(),
    ) {
        let definition = shapes.definition();
        let pace = if is_slow { Pace::Slow } else { Pace::WithinMeans };
        Run::start(&definition, fates, whims, pace).finish();
    }
}

proptest! {
    #![proptest_config(config(150))]

    /// Every run of a small definition, and not some: alone, and as a part of another saga.
    #[test]
    fn every_run_of_a_small_definition_is_as_it_should_be(shapes in shapes(3), is_part in any::<bool>()) {
        let definition = shapes.definition();
        let role = if is_part { Role::Part } else { Role::Alone };
        // What is not awaited may come at any time: where there is much of that, a list has one item.
        let lists = definition.steps.iter().filter(|step| step.for_each.is_some()).count();
        let is_race = definition.on_sibling_failure == SiblingFailure::Race;
        let is_wide = is_race || definition.steps.iter().any(|step| matches!(step.work, Work::Saga { .. }));
        let items = if lists > 1 || is_wide { 1 } else { 2 };
        let bounds = Bounds { faults: 1, states: 20_000, items, role, ..Bounds::default() };
        let exploration = explore(&definition, &bounds, &|| Duration::ZERO);
        prop_assert!(exploration.is_sound(), "{exploration}");
        prop_assert!(exploration.complete_faults.is_some(), "{exploration}");
    }
}
