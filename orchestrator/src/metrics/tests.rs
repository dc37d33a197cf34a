//! What is counted, and what counting costs.

use super::*;
use crate::telemetry::tests::{Driven, failed, ok, rejected};

fn count(metrics: &Metrics, driven: &Driven) {
    for (before, after, events, at) in &driven.transitions {
        metrics.committed(before.as_ref(), after, &driven.definition, events, *at);
    }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found.starts_with(line)), "`{line}` is not in\n{text}");
}

#[test]
fn a_compensated_saga_is_counted_where_it_belongs() {
    let metrics = Metrics::default();
    let mut driven = Driven::start();
    for outcome in [ok(), ok(), rejected(false), ok(), ok()] {
        driven.later(20);
        assert!(driven.reply(outcome, 0));
    }
    count(&metrics, &driven);
    let text = metrics.render();
    for line in [
        r#"snorri_sagas_started_total{definition="order"} 1"#,
        r#"snorri_sagas_ended_total{definition="order",status="compensated"} 1"#,
        r#"snorri_saga_causes_total{definition="order",cause="rejected"} 1"#,
        r#"snorri_saga_duration_seconds_sum{definition="order",status="compensated"} 0.1"#,
        r#"snorri_saga_duration_seconds_bucket{le="300.0",definition="order",status="compensated"} 1"#,
        r#"snorri_step_attempts_total{participant="rates",direction="action",outcome="rejected"} 1"#,
        r#"snorri_step_attempts_total{participant="payments",direction="compensation",outcome="ok"} 1"#,
        r#"snorri_step_duration_seconds_count{participant="payments",direction="compensation"} 1"#,
        "snorri_saga_windows_missed_total 0",
        r#"snorri_dead_letters_total{reason="never_sent"} 0"#,
        "snorri_build_info{version=",
    ] {
        has(&text, line);
    }
    let exemplar = format!("# {{trace_id=\"{}\"}} 0.1", driven.saga.id.0.simple());
    assert!(text.contains(&exemplar), "no `{exemplar}` in\n{text}");
    assert!(!text.contains("declined"), "the participant's code is no label");
}

#[test]
fn an_attempt_without_an_answer_has_no_duration() {
    let metrics = Metrics::default();
    let mut driven = Driven::start();
    driven.later(10);
    assert!(driven.reply(failed(), 0));
    driven.later(600_000);
    assert!(driven.input(&snorri_saga::decide::Input::Woke));
    count(&metrics, &driven);
    has(
        &metrics.render(),
        r#"snorri_step_attempts_total{participant="inventory",direction="action",outcome="failed"} 1"#,
    );
    has(
        &metrics.render(),
        r#"snorri_step_duration_seconds_count{participant="inventory",direction="action"} 1"#,
    );
}

#[test]
fn a_late_success_that_stays_is_told_from_one_that_is_undone() {
    let metrics = Metrics::default();
    has(&metrics.render(), r#"snorri_late_replies_total{neutralised="false"} 0"#);
    let driven = Driven::start();
    let (before, after, _, at) = driven.transitions.first().expect("it was started");
    let late = |neutralised| Event::LateReply {
        step: "reserve".parse().expect("a name"),
        attempt: 1,
        output: None,
        neutralised,
    };
    let events = [late(true), late(false), late(true)];
    metrics.committed(before.as_ref(), after, &driven.definition, &events, *at);
    let text = metrics.render();
    has(&text, r#"snorri_late_replies_total{neutralised="true"} 2"#);
    has(&text, r#"snorri_late_replies_total{neutralised="false"} 1"#);
}

#[test]
fn names_beyond_the_limit_are_counted_together() {
    let metrics = Metrics::default();
    let mut driven = Driven::start();
    for number in 0..1010 {
        for transition in &mut driven.transitions {
            transition.1.definition = format!("d{number}").parse().expect("a name");
        }
        count(&metrics, &driven);
    }
    let text = metrics.render();
    assert_eq!(text.matches("snorri_sagas_started_total{").count(), 1001);
    has(&text, r#"snorri_sagas_started_total{definition="other"} 10"#);
}

#[test]
fn lanes_add_up() {
    let metrics = Metrics::default();
    for (lane, count) in [(0, 5), (1, 7), (0, 2), (99, 1000)] {
        metrics.live(lane, count);
    }
    has(&metrics.render(), "snorri_sagas_live 9");
}

/// `cargo test --release -p snorri --lib what_a_transition_costs -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn what_a_transition_costs() {
    let mut driven = Driven::start();
    for outcome in [ok(), ok(), ok(), ok(), ok()] {
        driven.later(20);
        assert!(driven.reply(outcome, 0));
    }
    let (rounds, each) = (100_000_u32, u32::try_from(driven.transitions.len()).expect("few"));
    let measure = |what: &str, run: &dyn Fn()| {
        let began = std::time::Instant::now();
        (0..rounds).for_each(|_| run());
        println!("{what}: {:?} a transition", began.elapsed() / (rounds * each));
    };
    let metrics = Metrics::default();
    measure("metrics", &|| count(&metrics, &driven));
    let off = crate::telemetry::Tracer::default();
    // Nobody listens there: what is measured is the making of spans, and their loss.
    let on = crate::telemetry::Tracer::new(Some("http://127.0.0.1:9")).expect("a tracer");
    for (what, tracer) in [("tracer, off", &off), ("tracer, on", &on)] {
        measure(what, &|| {
            for (before, after, events, at) in &driven.transitions {
                tracer.committed(before.as_ref(), after, &driven.definition, events, *at);
            }
        });
    }
}
