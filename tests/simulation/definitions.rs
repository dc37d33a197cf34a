//! Random definitions: what the checker of definitions lets through, it must also be possible to run. Some are lists of steps
//! one after the other; some are graphs, with conditions, waits, lists and sub-sagas.

use serde_json::{Value, json};
use snorri::definitions::Definitions;
use snorri_language::check::{File, check};
use snorri_language::pin::Child;
use snorri_language::text::Format;
use snorri_saga::time::Millis;

use crate::participants::{BOOK, LOOK, PAY, PEEK, SHIP, UNBOOK};
use crate::world::World;

/// The version of every definition.
const VERSION: u32 = 1;
/// A wait takes all of its time though nothing goes wrong. So much more than that, and than the rest takes at worst, the window
/// is of a definition that has one: what messages and commits take is not in the sum.
const SLACK: Millis = Millis::secs(5);

/// A definition, and what those have to know who make it a part of theirs.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub(crate) name: String,
    /// Its text as it is stored: valid, its sub-sagas pinned.
    pub(crate) body: String,
    child: Child,
}

/// All definitions of a simulation, each behind those that it has as sub-sagas.
pub(crate) fn draw_all(world: &World) -> Vec<Drawn> {
    let mut drawn: Vec<Drawn> = Vec::new();
    if world.chance(0.6) {
        for number in 0..=world.below(3) {
            // The last one may have the others as its own parts.
            let is_last = number == 2;
            let (windows, parts) = if is_last {
                (&["60s", "2m"][..], &drawn[..])
            } else {
                (&["20s", "30s", "45s"][..], &[][..])
            };
            let part = draw(world, &format!("c{number}"), windows, parts, |name, window| {
                graph(world, name, window, parts, 1 + world.below(3))
            });
            drawn.push(part);
        }
    }
    let parts = drawn.clone();
    for number in 0..world.plan.definitions {
        let name = format!("d{number}");
        drawn.push(if world.chance(0.5) {
            draw(world, &name, &["30s", "45s", "60s", "2m", "5m", "10m"], &[], |name, window| {
                sequence(world, name, window)
            })
        } else {
            draw(world, &name, &["60s", "2m", "5m", "10m"], &parts, |name, window| {
                graph(world, name, window, &parts, 2 + world.below(6))
            })
        });
    }
    drawn
}

fn draw(
    world: &World,
    name: &str,
    windows: &[&str],
    parts: &[Drawn],
    attempt: impl Fn(&str, &str) -> Value,
) -> Drawn {
    let known = |name: &str, _: Option<u32>| {
        parts.iter().find(|part| part.name == name).map(|part| part.child.clone())
    };
    loop {
        let window = windows[world.below(windows.len())];
        let text = attempt(name, window).to_string();
        let file = File { name: "drawn", text: &text, format: Format::Json };
        // A window that its own compensations do not fit into is refused, and another one is drawn.
        let Ok((draft, definition)) = Definitions::checked(check(&[file], known)) else { continue };
        let has_waits = definition.steps.iter().any(|step| step.work.is_wait());
        if has_waits && definition.worst_case().total().plus(SLACK) > definition.window {
            continue;
        }
        let body = serde_json::to_string(&draft).expect("a draft is JSON");
        return Drawn { name: name.to_owned(), body, child: Child::of(&definition, VERSION) };
    }
}

/// One step after the other.
fn sequence(world: &World, definition: &str, window: &str) -> Value {
    let count = 1 + world.below(6);
    let pivot = if world.chance(0.5) { Some(world.below(count)) } else { None };
    let mut steps = Vec::new();
    let mut booked: Vec<String> = Vec::new();
    for number in 0..count {
        let name = format!("s{number}");
        let kind = match pivot {
            _ if world.chance(0.12) && pivot != Some(number) => "read",
            Some(pivot) if number == pivot => "pivot",
            Some(pivot) if number > pivot => "retriable",
            _ => "compensatable",
        };
        let is_behind = pivot.is_some_and(|pivot| number > pivot);
        let mut step = at_participant(world, &name, kind, is_behind);
        // Mostly a template; without one the saga's whole input is sent.
        if world.chance(0.7) {
            step["input"] = input(world.pick(&booked));
        }
        booked.push(name);
        steps.push(step);
    }
    json!({"name": definition, "window": window, "steps": steps})
}

/// Branches and joins.
fn graph(world: &World, definition: &str, window: &str, parts: &[Drawn], count: usize) -> Value {
    let pivot = if world.chance(0.4) { Some(world.below(count)) } else { None };
    let mut steps: Vec<Value> = Vec::new();
    let mut waits = 0;
    for number in 0..count {
        let name = format!("s{number}");
        let is_behind = pivot.is_some_and(|pivot| number > pivot);
        let needs = needs(world, number, pivot);
        let mut step = match pivot {
            Some(pivot) if number == pivot => {
                let with_pivot: Vec<&Drawn> = parts.iter().filter(|part| part.child.has_pivot).collect();
                match world.pick(&with_pivot) {
                    Some(part) if world.chance(0.4) => of_part(&name, "pivot", part),
                    _ => at_participant(world, &name, "pivot", false),
                }
            }
            _ if waits < 2 && world.chance(0.2) => {
                waits += 1;
                wait(world, &name, is_behind)
            }
            _ if is_behind => {
                let kind = if world.chance(0.12) { "read" } else { "retriable" };
                each(world, at_participant(world, &name, kind, true))
            }
            _ => {
                let without: Vec<&Drawn> = parts.iter().filter(|part| !part.child.has_pivot).collect();
                match world.pick(&without) {
                    Some(part) if world.chance(0.4) => each(world, of_part(&name, "compensatable", part)),
                    _ if world.chance(0.1) => at_participant(world, &name, "read", false),
                    _ => each(world, at_participant(world, &name, "compensatable", false)),
                }
            }
        };
        let is_wait = step.get("participant").is_none() && step.get("saga").is_none();
        // What each item is sent is said already, or it is the item itself.
        let is_said = is_wait || step.get("for_each").is_some();
        if !is_said && (step.get("saga").is_some() || world.chance(0.7)) {
            let before = world.pick(&needs).copied().filter(|before| gives_reference(&steps[*before]));
            step["input"] = input(before.map(|before| format!("s{before}")).as_ref());
            if step.get("saga").is_some() {
                step["input"]["rows"] = json!("${{ input.rows }}");
                step["input"]["odd"] = json!("${{ input.odd }}");
            }
        }
        if world.chance(0.15) {
            let conditions = ["input.odd", "input.amount > 50", "size(input.rows) != 1"];
            step["when"] = match world.pick(&needs) {
                Some(before) if world.chance(0.3) => json!(format!("has(steps.s{before}.output)")),
                _ => json!(conditions[world.below(conditions.len())]),
            };
        }
        step["needs"] = needs.iter().map(|before| format!("s{before}")).collect();
        steps.push(step);
    }
    let on_failure = if world.chance(0.3) { "race" } else { "wait" };
    json!({"name": definition, "window": window, "on_sibling_failure": on_failure, "steps": steps})
}

/// What a step of a graph waits for.
fn needs(world: &World, number: usize, pivot: Option<usize>) -> Vec<usize> {
    match pivot {
        // Everything before it is an ancestor of the pivot, and it is one of everything behind it.
        Some(pivot) if number == pivot => (0..number).collect(),
        Some(pivot) if number > pivot => {
            let mut needs: Vec<usize> = (pivot..number).filter(|_| world.chance(0.4)).collect();
            if needs.is_empty() {
                needs.push(pivot + world.below(number - pivot));
            }
            needs
        }
        _ => (0..number).filter(|_| world.chance(0.35)).collect(),
    }
}

/// Whether its output has the field that others refer to, if it is not skipped.
fn gives_reference(step: &Value) -> bool {
    step.get("participant").is_some() && step.get("for_each").is_none() && step.get("when").is_none()
}

fn at_participant(world: &World, name: &str, kind: &str, is_behind: bool) -> Value {
    let action = match kind {
        "pivot" => PAY,
        "retriable" => SHIP,
        "read" if is_behind => PEEK,
        "read" => LOOK,
        _ => BOOK,
    };
    let mut step = json!({
        "name": name,
        "participant": crate::participants::name(world.below(world.plan.participants.len())),
        "action": action,
        "kind": kind,
        "timeout": format!("{}ms", [500, 1_000, 2_000, 5_000, 10_000][world.below(5)]),
        "retry": retry(world),
    });
    if kind == "compensatable" {
        step["compensation"] = match world.below(10) {
            0 => json!("none"),
            1..5 => json!({"action": UNBOOK, "retry": retry(world), "timeout": "2s"}),
            _ => json!(UNBOOK),
        };
    }
    step
}

fn of_part(name: &str, kind: &str, part: &Drawn) -> Value {
    json!({"name": name, "saga": part.name, "kind": kind})
}

/// Now and then once for each row of the input.
fn each(world: &World, mut step: Value) -> Value {
    if step["kind"] != "read" && world.chance(0.25) {
        step["for_each"] = json!({
            "items": "${{ input.rows }}", "as": "row", "concurrency": 1 + world.below(3), "max": 4
        });
        let is_part = step.get("saga").is_some();
        if is_part || world.chance(0.5) {
            step["input"] = json!({"amount": "${{ row.amount }}", "order": "${{ input.order }}"});
        }
        if is_part {
            step["input"]["rows"] = json!([{"amount": 1}]);
            step["input"]["odd"] = json!("${{ index == 1 }}");
        }
    }
    step
}

fn wait(world: &World, name: &str, is_behind: bool) -> Value {
    // Odd ones, so that no sum of them fills a window to the millisecond: what is awaited until then ends a moment too late.
    let timeout = format!("{}ms", [2_003, 10_007, 26_011][world.below(3)]);
    match world.below(3) {
        0 => json!({"name": name, "delay": format!("{}ms", 200 + world.below(5_000))}),
        1 if !is_behind => {
            let silence = if world.chance(0.3) { "approve" } else { "reject" };
            json!({"name": name, "approval": {"timeout": timeout, "on_timeout": silence}})
        }
        _ if is_behind || world.chance(0.3) => {
            json!({"name": name, "signal": {"timeout": timeout, "on_timeout": "continue", "default": {"by": "nobody"}}})
        }
        _ => json!({"name": name, "signal": {"timeout": timeout}}),
    }
}

fn input(before: Option<&String>) -> Value {
    let mut input = json!({"amount": "${{ input.amount }}", "order": "${{ input.order }}"});
    if let Some(before) = before {
        input["before"] = json!(format!("${{{{ steps.{before}.output.ref }}}}"));
    }
    input
}

fn retry(world: &World) -> Value {
    json!({
        "attempts": 1 + world.below(5),
        "backoff": format!("{}ms", [10, 100, 500][world.below(3)]),
        "factor": ([1.0, 2.0][world.below(2)]),
        "cap": "3s",
        "jitter": ([0.0, 0.2, 0.5][world.below(3)]),
    })
}
