//! temporary
use snorri_bus::{Bus, BusOptions, ConsumerSpec, Next, Outgoing, headers};
use snorri_participant::*;
use snorri_saga::ids::*; use snorri_saga::time::Millis; use snorri_saga::wire::*;
use std::time::Instant;
fn cpu() -> f64 { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect(); (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0 }
#[tokio::main]
async fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let n: usize = 60_000;
    let stack = snorri_stack::TestStack::get().unwrap();
    let url = stack.database("thr").unwrap(); let prefix = Name::new(&stack.prefix("thr")).unwrap();
    let o = |c: &str| BusOptions { subjects: Subjects::new(prefix.clone()), ..BusOptions::new(&stack.nats_url, c) };
    let bus = Bus::connect(o("drv")).await.unwrap(); bus.limit_streams(200*1024*1024); bus.connected().await;
    bus.ensure_streams().await.unwrap();
    let p = Participant::new("ledger").unwrap().action("write", |cx: Ctx, w: serde_json::Value| async move { let _ = cx; Ok(w) });
    let p = match mode.as_str() { "batch" => p.database(connect_pool(&url, 8).await.unwrap()).batch(256), "single" => p.database(connect_pool(&url, 32).await.unwrap()).concurrency(32), _ => p.concurrency(64) };
    let n = if mode == "single" { 10_000 } else { n };
    let s = bus.subjects().clone(); let part = Name::new("ledger").unwrap(); let rep = Name::new("a").unwrap();
    let t = Instant::now(); let c0 = cpu();
    let mk = |_: usize| { let id = CommandId { effect: EffectId { saga: SagaId(uuid::Uuid::now_v7()), step: Name::new("pay").unwrap(), direction: Direction::Action }, attempt: 1, sending: 0 };
        Outgoing { subject: s.command(&part, &Name::new("write").unwrap()), headers: Some(headers::command_headers(&headers::CommandHeaders { id: &id, budget: Millis(20_000), reply_to: &s.reply(&part, &rep), traceparent: None, source: "x" })), payload: headers::command_body(&CommandBody { input: snorri_saga::json::Json::parse(&format!("{{\"x\":\"{}\"}}", "y".repeat(150))).unwrap(), result: None, saga_input: None }) } };
    for k in 0..n/500 { for r in bus.publish_all((0..500).map(|i| mk(k*500+i)).collect()).await { r.unwrap(); } }
    println!("publish: {:.0}/s, cpu {:.1} us each", n as f64 / t.elapsed().as_secs_f64(), (cpu()-c0)*1e6/n as f64);
    let t = Instant::now(); let c0 = cpu();
    let stop = CancellationToken::new(); let tok = stop.clone(); let b2 = Bus::connect(o("part")).await.unwrap();
    let task = tokio::spawn(async move { p.run_on(&b2, tok).await });
    let mut c = bus.consume(ConsumerSpec::new(s.replies_stream(), s.replica_consumer(&rep), s.replies_to(&rep)));
    let (mut got, mut batches) = (0, 0);
    while got < n { if let Next::Batch(b) = c.next().await { batches += 1; for m in b { headers::parse_reply(&s, m.subject(), m.headers(), m.payload()).unwrap(); m.ack().await; got += 1; } } }
    println!("{mode}: {:.0}/s handled and replies consumed, cpu {:.1} us each (participant + reply consumer), reply batches avg {:.0}", n as f64 / t.elapsed().as_secs_f64(), (cpu()-c0)*1e6/n as f64, n as f64 / batches as f64);
    stop.cancel(); task.await.unwrap().unwrap();
    let j = bus.jetstream(); for st in [s.commands_stream(), s.replies_stream(), s.starts_stream(), s.endings_stream()] { j.delete_stream(st).await.unwrap(); }
}
