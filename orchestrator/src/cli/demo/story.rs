//! One order that fails and is undone, step by step, as its journal tells it.

use std::time::Duration;

use serde_json::{Value, json};
use snorri_demo::World;
use snorri_saga::time::Timestamp;
use tokio::time::{Instant, sleep};

use super::Error;
use super::api::Client;

/// Starts an order to a town that does not exist and tells what happens to it.
pub(crate) async fn tell(client: &Client, seed: u64, world: &World) -> Result<(), Error> {
    println!("  An order that cannot be shipped. What was done before is undone, last things first:\n");
    let mut order = snorri_demo::order(seed, 0, world);
    if let Some(fields) = order.as_object_mut() {
        fields.insert("order_id".to_owned(), json!("the-first-order"));
        fields.insert("trouble".to_owned(), json!({"shipping": "address_unknown", "payments": "slow:250"}));
    }
    let id = client.start(&format!("story-{seed}"), &order).await?;
    let mut after = 0;
    let mut began: Option<Timestamp> = None;
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let rows = client.journal(&id, after).await?;
        for row in &rows {
            after = row.get("seq").and_then(Value::as_i64).unwrap_or(after + 1);
            let Some(at) = row.get("at").and_then(|at| serde_json::from_value::<Timestamp>(at.clone()).ok())
            else {
                continue;
            };
            let since = at.since(*began.get_or_insert(at)).0;
            for event in row.get("events").and_then(Value::as_array).into_iter().flatten() {
                if let Some(line) = line(event) {
                    println!("    {since:>5} ms  {line}");
                }
                if event.get("ended").is_some() {
                    println!("\n    saga {id}\n");
                    return Ok(());
                }
            }
        }
        if Instant::now() > until {
            return Err(Error::Api(format!("the saga {id} did not end within 30 s")));
        }
        if rows.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn line(event: &Value) -> Option<String> {
    let (kind, fields) = event.as_object().and_then(|event| event.iter().next())?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (step, is_undo) = (text("step"), text("direction") == "compensation");
    Some(match kind.as_str() {
        "started" => "started".to_owned(),
        "sent" if is_undo => format!("undo {step} …"),
        "sent" => format!("{step} …"),
        "succeeded" if is_undo => format!("undo {step}   ✓ undone"),
        "succeeded" => format!("{step}   ✓"),
        "rejected" => format!("{step}   ✗ {}: {}", text("code"), text("message")),
        "failed" => format!("{step}   failed: {}", text("message")),
        "timed_out" => format!("{step}   no answer"),
        "compensation_began" => "── turning round: everything is undone ──".to_owned(),
        "ended" => format!("ended: {}", text("end")),
        _ => return None,
    })
}
