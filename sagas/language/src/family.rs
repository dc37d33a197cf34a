//! How many sagas one start may become. A sub-saga lives until its parent ends, so all that are begun in the course of it are
//! there at the same time: with lists, and with sub-sagas that have some of their own, few lines become millions.

use snorri_saga::definition::{Definition, Problem, Step, Work};
use snorri_saga::ids::Name;

use crate::text::shown;

/// The most sagas that one start may become, with itself: a tenth of what a replica has in memory by default.
pub const FAMILY_MAX: u64 = 10_000;

/// How many sagas one of this definition may become at worst, with itself. `of` gives the same of a sub-saga's version.
pub fn size(definition: &Definition, of: impl Fn(&Name, u32) -> u64) -> u64 {
    definition.steps.iter().fold(1, |all, step| all.saturating_add(of_step(step, &of)))
}

fn of_step(step: &Step, of: &impl Fn(&Name, u32) -> u64) -> u64 {
    let Work::Saga { definition, version } = &step.work else { return 0 };
    let items = step.for_each.as_ref().map_or(1, |each| u64::from(each.max));
    of(definition, *version).saturating_mul(items)
}

/// What is wrong if they are too many: at the step that brings the most.
pub fn problem(definition: &Definition, of: impl Fn(&Name, u32) -> u64) -> Option<Problem> {
    let all = size(definition, &of);
    let steps = definition.steps.iter().enumerate().map(|(nth, step)| (nth, step, of_step(step, &of)));
    // The first of those that bring as many.
    let (nth, step, most) = steps.rev().max_by_key(|(.., most)| *most).filter(|_| all > FAMILY_MAX)?;
    let Work::Saga { definition: name, version } = &step.work else { return None };
    let (place, mend) = match &step.for_each {
        Some(_) => {
            ("for_each", "say with `max` how long the list may be, or start sagas of their own for its items")
        }
        None => ("saga", "start some of them as sagas of their own"),
    };
    let each = of(name, *version);
    Some(Problem {
        pointer: format!("/steps/{nth}/{place}"),
        offset: None,
        code: "family-too-large",
        message: format!(
            "one start may become {} sagas, and {FAMILY_MAX} are the most; this step alone brings {}, as `{}` may be {} with its own",
            number(all),
            number(most),
            shown(name.as_str()),
            number(each),
        ),
        mend: Some(mend.to_owned()),
    })
}

/// A number that nobody reads to its last digit.
fn number(count: u64) -> String {
    if count > 1_000_000_000 { "more than a billion".to_owned() } else { count.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn definition(steps: &Value) -> Definition {
        let draft = json!({"name": "parent", "window": "30d", "steps": steps});
        Definition::from_draft(&serde_json::from_value(draft).expect("a draft")).expect("a definition")
    }

    fn part(name: &str, max: Option<u32>) -> Value {
        let mut step = json!({"name": name, "saga": name, "version": 1, "timeout": "1m", "compensation": {"timeout": "1m"}});
        if let Some(max) = max {
            step["for_each"] = json!({"items": "${{ input.rows }}", "max": max});
        }
        step
    }

    #[test]
    fn a_family_is_the_product_of_its_lists_along_its_generations() {
        let plain = json!({"name": "a", "participant": "p", "compensation": "u"});
        assert_eq!(size(&definition(&json!([plain])), |_, _| 7), 1);
        let of = definition(&json!([plain, part("b", None), part("c", Some(100))]));
        assert_eq!(size(&of, |_, _| 7), 1 + 7 + 700);
        assert_eq!(size(&of, |_, _| u64::MAX), u64::MAX, "and no overflow");
    }

    #[test]
    fn one_that_is_too_large_is_told_at_the_step_that_brings_the_most() {
        let of = definition(&json!([part("b", None), part("c", Some(1000)), part("d", Some(1000))]));
        assert!(problem(&of, |_, _| 4).is_none(), "8,005");
        let found = problem(&of, |_, _| 5).expect("10,006");
        assert_eq!((found.code, found.pointer.as_str()), ("family-too-large", "/steps/1/for_each"));
        assert!(found.message.contains("10006") && found.message.contains("5000"), "{}", found.message);
        let just = definition(&json!([part("b", None)]));
        assert!(problem(&just, |_, _| FAMILY_MAX - 1).is_none());
        assert_eq!(
            problem(&just, |_, _| FAMILY_MAX).map(|found| found.pointer),
            Some("/steps/0/saga".to_owned())
        );
    }
}
