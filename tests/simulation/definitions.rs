//! Random definitions: what the checker of definitions lets through, it must also be possible to run.

use serde_json::{Value, json};
use snorri::definitions::Definitions;

use crate::participants::{BOOK, LOOK, PAY, PEEK, SHIP, UNBOOK, name};
use crate::world::World;

/// A definition's text, valid.
pub(crate) fn draw(world: &World, definition: &str) -> String {
    loop {
        let text = attempt(world, definition).to_string();
        // A window that its own compensations do not fit into is refused, and another one is drawn.
        if Definitions::check(&text).is_ok() {
            return text;
        }
    }
}

fn attempt(world: &World, definition: &str) -> Value {
    let count = 1 + world.below(6);
    let pivot = if world.chance(0.5) { Some(world.below(count)) } else { None };
    let mut steps = Vec::new();
    let mut booked: Vec<String> = Vec::new();
    for number in 0..count {
        let step = format!("s{number}");
        let (kind, action) = match pivot {
            _ if world.chance(0.12) && pivot != Some(number) => {
                ("read", if pivot.is_some_and(|pivot| number > pivot) { PEEK } else { LOOK })
            }
            Some(pivot) if number == pivot => ("pivot", PAY),
            Some(pivot) if number > pivot => ("retriable", SHIP),
            _ => ("compensatable", BOOK),
        };
        let mut one = json!({
            "name": step,
            "participant": name(world.below(world.plan.participants.len())),
            "action": action,
            "kind": kind,
            "timeout": format!("{}ms", [500, 1_000, 2_000, 5_000, 10_000][world.below(5)]),
            "retry": retry(world),
        });
        if kind == "compensatable" {
            one["compensation"] = match world.below(10) {
                0 => json!("none"),
                1..5 => json!({"action": UNBOOK, "retry": retry(world), "timeout": "2s"}),
                _ => json!(UNBOOK),
            };
        }
        // Mostly a template; without one the saga's whole input is sent.
        if world.chance(0.7) {
            let mut input = json!({"amount": "${{ input.amount }}", "order": "${{ input.order }}"});
            if let Some(earlier) = world.pick(&booked) {
                input["before"] = json!(format!("${{{{ steps.{earlier}.output.ref }}}}"));
            }
            one["input"] = input;
        }
        booked.push(step);
        steps.push(one);
    }
    let windows = ["30s", "45s", "60s", "2m", "5m", "10m"];
    json!({"name": definition, "window": windows[world.below(windows.len())], "steps": steps})
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
