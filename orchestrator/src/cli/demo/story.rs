//! One order that fails and is undone, step by step, as its journal tells it.

use std::time::Duration;

use serde_json::{Value, json};
use snorri_demo::{CARD_GOOD, TOWN_UNKNOWN, World};
use snorri_saga::time::Timestamp;
use tokio::time::{Instant, sleep};

use super::Error;
use super::api::{Client, SagaView};

/// Starts an order to a town that does not exist and tells what happens to it.
pub(crate) async fn tell(client: &Client, seed: u64) -> Result<SagaView, Error> {
    println!("  An order that cannot be shipped. What was done before is undone, last things first:\n");
    let order = json!({
        "order_id": "the-first-order", "customer": World::customer(0), "amount_cents": 4200, "card": CARD_GOOD,
        "lines": [{"sku": World::sku(1), "quantity": 2, "price_cents": 2100}],
        "address": {"street": "Main Street 1", "town": TOWN_UNKNOWN},
    });
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
                    return client.ended(&id).await;
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
        "started" => "the order is accepted".to_owned(),
        "succeeded" if is_undo => format!("↩ {step}: undone"),
        "succeeded" => format!("✓ {step}"),
        "rejected" => format!("✗ {step}: {} ({})", text("message"), text("code")),
        "failed" => format!("… {step} failed and is tried again: {}", text("message")),
        "timed_out" => format!("… {step} was not answered in time"),
        "compensation_began" => "  turning round".to_owned(),
        "ended" => format!("ended: {}", text("end")),
        _ => return None,
    })
}
