//! What became of the orders, and whether the books balance: found out by an audit that shares no code with
//! the orchestrator.

use std::collections::HashMap;

use snorri_demo::{Databases, EndStatus, Sagas, World, audit};
use uuid::Uuid;

use super::orders::Run;
use super::{Error, Private};

/// Prints the summary. Returns whether the audit is clean.
pub(crate) async fn show(private: &Private, world: &World, run: &Run) -> Result<bool, Error> {
    let databases = Databases {
        inventory: private.database("inventory"),
        payments: private.database("payments"),
        shipping: private.database("shipping"),
        orders: private.database("orders"),
    };
    let mut sagas: HashMap<Uuid, EndStatus> = HashMap::new();
    let mut causes: HashMap<(String, String), u64> = HashMap::new();
    let (mut completed, mut compensated) = (0_u64, 0_u64);
    let mut durations: Vec<(f64, &str)> = Vec::with_capacity(run.ended.len());
    for saga in &run.ended {
        if let Ok(id) = saga.id.parse() {
            sagas.insert(id, EndStatus::from_word(&saga.status));
        }
        durations.push((saga.duration_ms.unwrap_or(0.0), &saga.id));
        if saga.status == "completed" {
            completed += 1;
        } else {
            compensated += 1;
            if let Some(cause) = &saga.cause {
                let step = cause.step.clone().unwrap_or_default();
                *causes.entry((cause.code.clone(), step)).or_default() += 1;
            }
        }
    }
    durations.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = |share: usize| {
        let index = (durations.len() * share / 100).min(durations.len().saturating_sub(1));
        durations.get(index).copied().unwrap_or((0.0, ""))
    };
    println!("  What became of them, and of the first one");
    println!("    {completed:>7}  completed");
    println!("    {compensated:>7}  compensated, everything undone:");
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    for ((code, step), count) in causes {
        let at = if step.is_empty() { String::new() } else { format!(" (at {step})") };
        println!("    {count:>15}  {}{at}", code.replace('_', " "));
    }
    println!(
        "    half of them ended within {:.0} ms, 99 of 100 within {:.0} ms; the slowest took {:.0} ms",
        at(50).0,
        at(99).0,
        at(100).0
    );
    println!("    slowest: saga {}", at(100).1);
    if run.kills + run.wipes + run.revived > 0 {
        println!(
            "    meanwhile: orchestrator killed {}×, NATS killed and its store deleted {}×, participants restarted {}×",
            run.kills, run.wipes, run.revived
        );
    }
    let audit = audit(&databases, world, Some(Sagas::of("order", &sagas))).await?;
    println!("\n  The books of the four services, counted by an audit of its own");
    println!(
        "    stock     {} free + {} reserved for the completed orders = as in the beginning",
        audit.units_free, audit.units_reserved
    );
    println!(
        "    money     {} on accounts + {} held + {} captured = as in the beginning",
        money(audit.cents_on_accounts),
        money(audit.cents_held),
        money(audit.cents_captured)
    );
    println!("    parcels   {} booked, {} cancelled", audit.parcels_booked, audit.parcels_cancelled);
    println!("    effects   {} actions and {} compensations", audit.actions, audit.compensations);
    if audit.is_clean() {
        println!(
            "\n  ✓ The books balance to the unit and to the cent. No effect happened twice, none was left over.\n"
        );
    } else {
        println!("\n  ✗ The audit found problems:");
        for problem in &audit.problems {
            println!("    - {problem}");
        }
        println!();
    }
    Ok(audit.is_clean())
}

fn money(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, (cents % 100).abs())
}
