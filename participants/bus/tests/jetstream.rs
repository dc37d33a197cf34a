//! The bus against a real nats-server.

use std::time::{Duration, Instant, SystemTime};

use snorri_bus::{Bus, BusOptions, Bytes, ConsumerSpec, Consumption, Message, Next, Outgoing, PublishError};

#[path = "support/server.rs"]
mod server;
use server::NatsServer;

async fn bus(server: &NatsServer) -> Bus {
    let bus = Bus::connect(BusOptions::new(server.url(), "test")).await.expect("a bus");
    within("connection", bus.connected()).await;
    bus
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(elapsed) => panic!("{what} took too long: {elapsed}"),
    }
}

/// JetStream needs a moment after the server's port is open.
async fn streams(bus: &Bus) -> Vec<String> {
    within("streams", async {
        let mut all = Vec::new();
        loop {
            match bus.ensure_streams().await {
                Ok(created) => {
                    all.extend(created);
                    return all;
                }
                Err(error) => {
                    all.extend(error.streams_made());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    })
    .await
}

fn command(text: &str) -> Outgoing {
    Outgoing {
        subject: "snorri.command.inventory.reserve".to_owned(),
        headers: None,
        payload: Bytes::from(text.to_owned()),
    }
}

fn spec() -> ConsumerSpec {
    ConsumerSpec {
        ack_wait: Duration::from_secs(2),
        ..ConsumerSpec::new("SNORRI_COMMANDS", "participant-inventory", "snorri.command.inventory.>")
    }
}

async fn batch(consumption: &mut Consumption) -> Vec<Message> {
    match within("a batch", consumption.next()).await {
        Next::Batch(batch) => batch,
        other => panic!("{other:?} instead of a batch"),
    }
}

async fn take(consumption: &mut Consumption, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        for message in batch(consumption).await {
            message.ack().await;
            texts.push(String::from_utf8_lossy(message.payload()).into_owned());
        }
    }
    texts
}

/// Waits for the news that everything is new; what had arrived before may come first. Its late
/// acknowledgement must not hit what has the same number in the new stream.
async fn recreated(consumption: &mut Consumption) {
    let mut late = Vec::new();
    loop {
        match within("news", consumption.next()).await {
            Next::Batch(batch) => late.extend(batch),
            Next::Recreated => break,
            Next::Closed => panic!("closed"),
        }
    }
    for message in late {
        assert!(!message.ack().await, "an acknowledgement went to another incarnation");
    }
}

#[tokio::test]
async fn streams_are_created_once() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    let mut created = streams(&bus).await;
    created.sort();
    assert_eq!(
        created,
        ["SNORRI_COMMANDS", "SNORRI_ENDINGS", "SNORRI_REPLIES", "SNORRI_SIGNALS", "SNORRI_STARTS"]
    );
    assert!(streams(&bus).await.is_empty());
    assert!(bus.server_version().await.is_some());
}

#[tokio::test]
async fn a_stream_that_cannot_be_made_keeps_no_other_from_being_made() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    let everybody = streams(&bus).await;
    let jetstream = bus.jetstream().expect("jetstream");
    for name in everybody {
        jetstream.delete_stream(name).await.expect("deleted");
    }
    // Somebody else's stream has the subjects of the starts.
    let other = async_nats::jetstream::stream::Config {
        name: "OTHER".to_owned(),
        subjects: vec!["snorri.start.>".to_owned()],
        ..Default::default()
    };
    jetstream.create_stream(other).await.expect("created");
    let error = bus.ensure_streams().await.expect_err("one is missing");
    assert!(std::error::Error::source(&error).is_some_and(|why| why.to_string().contains("SNORRI_STARTS")));
    let mut made = error.streams_made();
    made.sort();
    assert_eq!(made, ["SNORRI_COMMANDS", "SNORRI_ENDINGS", "SNORRI_REPLIES", "SNORRI_SIGNALS"]);
    let again = bus.ensure_streams().await.expect_err("it still is");
    assert!(again.streams_made().is_empty());
}

#[tokio::test]
async fn messages_arrive_in_order_in_batches_that_form_by_themselves() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    let messages: Vec<Outgoing> = (0..2000).map(|number| command(&number.to_string())).collect();
    let results = bus.publish_all(messages).await;
    assert_eq!(results.len(), 2000);
    assert!(results.iter().all(Result::is_ok), "{:?}", results.iter().find(|result| result.is_err()));

    let mut consumption = bus.consume(spec());
    let mut texts = Vec::new();
    let mut batches = 0;
    while texts.len() < 2000 {
        let batch = batch(&mut consumption).await;
        batches += 1;
        assert!(batch.len() <= 256);
        for message in batch {
            assert_eq!(message.delivered(), 1);
            texts.push(String::from_utf8_lossy(message.payload()).into_owned());
            message.ack().await;
        }
    }
    assert_eq!(texts, (0..2000).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(batches < 500, "{batches} batches for 2000 messages");

    // One alone does not wait for others.
    let before = Instant::now();
    bus.publish_all(vec![command("alone")]).await;
    assert_eq!(take(&mut consumption, 1).await, ["alone"]);
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}

#[tokio::test]
async fn waiting_longer_than_a_request_stands_loses_nothing() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    let mut consumption = bus.consume(ConsumerSpec { prefetch: 1, ..spec() });
    // Three times a request's life, a message now and then.
    for (pause, text) in [(6, "a"), (0, "b"), (6, "c"), (0, "d")] {
        let waiting = tokio::time::timeout(Duration::from_secs(pause), consumption.next()).await;
        assert!(waiting.is_err(), "{waiting:?}");
        let before = Instant::now();
        bus.publish_all(vec![command(text)]).await;
        assert_eq!(take(&mut consumption, 1).await, [text]);
        assert!(before.elapsed() < Duration::from_secs(1), "{text}: {:?}", before.elapsed());
    }
}

#[tokio::test]
async fn a_message_that_is_not_acknowledged_or_handed_back_comes_again() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    let mut consumption = bus.consume(spec());
    bus.publish_all(vec![command("kept"), command("handed back"), command("refused")]).await;
    let mut first = Vec::new();
    while first.len() < 3 {
        first.extend(batch(&mut consumption).await);
    }
    first[1].nak_with_delay(Duration::from_millis(50)).await;
    first[2].term().await;
    let again = batch(&mut consumption).await;
    assert_eq!((again.len(), again[0].delivered()), (1, 2));
    assert_eq!(&again[0].payload()[..], b"handed back");
    again[0].ack().await;
    // `kept` is neither acknowledged nor handed back: it comes after `ack_wait`.
    let again = batch(&mut consumption).await;
    assert_eq!((again.len(), &again[0].payload()[..]), (1, &b"kept"[..]));
    again[0].ack().await;
    let more = tokio::time::timeout(Duration::from_secs(3), consumption.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn closing_hands_back_what_was_not_returned() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    bus.publish_all((0..10).map(|number| command(&number.to_string())).collect()).await;
    let mut consumption = bus.consume(ConsumerSpec { ack_wait: Duration::from_mins(1), ..spec() });
    let one = match within("one", consumption.next_up_to(1)).await {
        Next::Batch(batch) => batch,
        other => panic!("{other:?}"),
    };
    assert_eq!(one.len(), 1);
    one[0].ack().await;
    // Let the others arrive in the inbox.
    tokio::time::sleep(Duration::from_millis(300)).await;
    consumption.close().await;
    bus.flush().await.expect("flushed");
    let mut texts =
        take(&mut bus.consume(ConsumerSpec { ack_wait: Duration::from_mins(1), ..spec() }), 9).await;
    texts.sort();
    assert_eq!(texts, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[tokio::test]
async fn without_a_connection_publishing_fails_at_once() {
    let mut server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    server.kill();
    within("the loss to be noticed", async {
        while bus.is_connected() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let before = Instant::now();
    assert_eq!(bus.publish_all(vec![command("a")]).await, [Err(PublishError::NotConnected)]);
    assert_eq!(bus.publish_core(command("a")).await, Err(PublishError::NotConnected));
    assert!(before.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn what_no_stream_takes_and_what_is_too_large_is_said_for_each_message() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    let nowhere = Outgoing { subject: "nowhere".to_owned(), ..command("x") };
    let large = command(&"x".repeat(2 * 1024 * 1024));
    let results = bus.publish_all(vec![command("a"), nowhere, large, command("b")]).await;
    assert_eq!(results, [Ok(()), Err(PublishError::NoStream), Err(PublishError::TooLarge), Ok(())]);
}

#[tokio::test]
async fn after_a_restart_of_the_server_nothing_that_was_stored_is_missing() {
    let mut server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    let mut consumption = bus.consume(spec());
    bus.publish_all(vec![command("before")]).await;
    assert_eq!(take(&mut consumption, 1).await, ["before"]);
    bus.publish_all(vec![command("during")]).await;
    server.kill();
    server.up();
    let before = Instant::now();
    let mut texts = Vec::new();
    while !texts.contains(&"during".to_owned()) {
        match within("what was stored", consumption.next()).await {
            Next::Batch(batch) => {
                for message in batch {
                    message.ack().await;
                    texts.push(String::from_utf8_lossy(message.payload()).into_owned());
                }
            }
            // A server that was killed may still be reading its consumers back when it is asked for one: then
            // the consumer is made anew, that is said, and the stream is gone through from its beginning.
            Next::Recreated => {}
            Next::Closed => panic!("nobody closed it"),
        }
    }
    assert!(before.elapsed() < Duration::from_secs(6), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_wiped_store_is_built_again_and_reported() {
    let mut server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    let mut consumption = bus.consume(spec());
    bus.publish_all(vec![command("before")]).await;
    assert_eq!(take(&mut consumption, 1).await, ["before"]);
    bus.publish_all(vec![command("lost")]).await;
    server.kill();
    server.wipe();
    server.up();
    let before = Instant::now();
    recreated(&mut consumption).await;
    assert!(before.elapsed() < Duration::from_secs(6), "{:?}", before.elapsed());
    let mut created = streams(&bus).await;
    created.sort();
    assert_eq!(created, ["SNORRI_ENDINGS", "SNORRI_REPLIES", "SNORRI_SIGNALS", "SNORRI_STARTS"]);
    assert_eq!(bus.publish_all(vec![command("after")]).await, [Ok(())]);
    assert_eq!(take(&mut consumption, 1).await, ["after"]);
}

#[tokio::test]
async fn a_wiped_store_that_another_built_again_is_reported_all_the_same() {
    let mut server = NatsServer::start();
    let (bus, other) = (bus(&server).await, bus(&server).await);
    streams(&bus).await;
    let mut consumption = bus.consume(spec());
    bus.publish_all(vec![command("before")]).await;
    assert_eq!(take(&mut consumption, 1).await, ["before"]);
    server.kill();
    server.wipe();
    server.up();
    within("reconnection", other.connected()).await;
    streams(&other).await;
    other.publish_all(vec![command("x")]).await;
    let mut others = other.consume(spec());
    let _ = tokio::time::timeout(Duration::from_secs(5), others.next()).await;
    recreated(&mut consumption).await;
}

#[tokio::test]
async fn a_consumer_deleted_under_way_is_built_again_and_reported() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    let mut consumption = bus.consume(ConsumerSpec { deliver_new_only: true, ..spec() });
    let _ = tokio::time::timeout(Duration::from_millis(500), consumption.next()).await;
    bus.delete_consumer("SNORRI_COMMANDS", "participant-inventory").await.expect("deleted");
    assert!(matches!(within("news", consumption.next()).await, Next::Recreated));
    bus.publish_all(vec![command("after")]).await;
    assert_eq!(take(&mut consumption, 1).await, ["after"]);
}

#[tokio::test]
async fn a_consumer_built_again_begins_at_its_time_and_not_with_the_whole_stream() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    bus.publish_all(vec![command("long ago")]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let from = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(100)).await;
    bus.publish_all(vec![command("since then")]).await;
    let mut consumption = bus.consume(ConsumerSpec { deliver_from: Some(from), ..spec() });
    assert_eq!(take(&mut consumption, 1).await, ["since then"]);
    bus.delete_consumer("SNORRI_COMMANDS", "participant-inventory").await.expect("deleted");
    recreated(&mut consumption).await;
    assert_eq!(take(&mut consumption, 1).await, ["since then"]);
    // One that exists is used as it is.
    bus.publish_all(vec![command("later")]).await;
    drop(consumption);
    let mut again = bus.consume(ConsumerSpec { deliver_from: Some(SystemTime::now()), ..spec() });
    assert_eq!(take(&mut again, 1).await, ["later"]);
}

#[tokio::test]
async fn a_full_stream_of_starts_refuses_new_ones_and_loses_none() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    bus.limit_streams(1024 * 1024);
    streams(&bus).await;
    let start = |number: usize| Outgoing {
        subject: "snorri.start.order".to_owned(),
        headers: None,
        payload: Bytes::from(format!("{number:060000}")),
    };
    let results = bus.publish_all((0..12).map(start).collect()).await;
    let taken = results.iter().filter(|result| result.is_ok()).count();
    assert!((1..12).contains(&taken), "{results:?}");
    for (number, result) in results.iter().enumerate() {
        match result {
            Ok(()) => assert!(number < taken, "{results:?}"),
            Err(PublishError::Refused { code, description }) => {
                assert_eq!((*code, description.as_str()), (10077, "maximum bytes exceeded"));
            }
            other => panic!("{other:?}"),
        }
    }
    let spec = ConsumerSpec::new("SNORRI_STARTS", "starts", "snorri.start.*");
    let texts = take(&mut bus.consume(spec), taken).await;
    assert_eq!(texts, (0..taken).map(|number| format!("{number:060000}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_change_of_the_connection_is_told_even_when_it_was_slept_through() {
    let mut server = NatsServer::start();
    let bus = bus(&server).await;
    let epoch = bus.link_epoch();
    let unchanged = tokio::time::timeout(Duration::from_millis(300), bus.link_changed(epoch)).await;
    assert!(unchanged.is_err());
    server.kill();
    within("the loss", bus.link_changed(epoch)).await;
    server.up();
    within("reconnection", bus.connected()).await;
    within("what is known already", bus.link_changed(epoch)).await;
    let epoch = bus.link_epoch();
    within("closing", bus.close()).await;
    within("the end", bus.link_changed(epoch)).await;
}

#[tokio::test]
async fn two_processes_share_one_consumer() {
    let server = NatsServer::start();
    let (one, two) = (bus(&server).await, bus(&server).await);
    streams(&one).await;
    let sharing = ConsumerSpec { prefetch: 8, batch_max: 8, ..spec() };
    let (mut first, mut second) = (one.consume(sharing.clone()), two.consume(sharing));
    let consume = async |consumption: &mut Consumption| {
        let mut texts = Vec::new();
        while let Ok(Next::Batch(batch)) =
            tokio::time::timeout(Duration::from_secs(1), consumption.next()).await
        {
            for message in batch {
                message.ack().await;
                texts.push(String::from_utf8_lossy(message.payload()).into_owned());
            }
        }
        texts
    };
    let publish = one.publish_all((0..200).map(|number| command(&format!("{number:03}"))).collect());
    let (mut texts, more, results) = tokio::join!(consume(&mut first), consume(&mut second), publish);
    assert!(results.iter().all(Result::is_ok));
    assert!(!texts.is_empty() && !more.is_empty(), "{} and {}", texts.len(), more.len());
    texts.extend(more);
    texts.sort();
    assert_eq!(texts, (0..200).map(|number| format!("{number:03}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_closed_bus_ends_its_consumptions() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    streams(&bus).await;
    let mut consumption = bus.consume(spec());
    let _ = tokio::time::timeout(Duration::from_millis(300), consumption.next()).await;
    within("closing", bus.close()).await;
    assert!(matches!(within("the end", consumption.next()).await, Next::Closed));
}

/// The permissions of docs/protocol.md, with the one that creates the consumer.
const PERMISSIONS: &str = r#"
authorization { users: [
  { user: "orchestrator", password: "orchestrator" },
  { user: "inventory", password: "inventory", permissions: {
    publish: [
      "snorri.reply.inventory.>",
      "$JS.API.CONSUMER.INFO.SNORRI_COMMANDS.participant-inventory",
      "$JS.API.CONSUMER.MSG.NEXT.SNORRI_COMMANDS.participant-inventory",
      "$JS.ACK.SNORRI_COMMANDS.participant-inventory.>",
      "$JS.ACK.*.*.SNORRI_COMMANDS.participant-inventory.>",
      "$JS.API.CONSUMER.CREATE.SNORRI_COMMANDS.participant-inventory.snorri.command.inventory.>"
    ],
    subscribe: ["_INBOX.>"]
  } }
] }
"#;

/// Waits until the server knows that this many commands were acknowledged. A forbidden acknowledgement is refused
/// without a word to the one who sent it.
async fn acknowledged(bus: &Bus, count: u64) {
    let stream =
        bus.jetstream().expect("jetstream").get_stream_no_info("SNORRI_COMMANDS").await.expect("a stream");
    within("acknowledgements", async {
        loop {
            let info = stream.consumer_info("participant-inventory").await.expect("a consumer");
            if info.ack_floor.stream_sequence == count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_participant_needs_no_more_than_the_documented_permissions() {
    documented_permissions_suffice(PERMISSIONS.to_owned()).await;
}

/// From 2.14 on nats-server can put domain and account into the subjects of acknowledgements, and a later one will
/// do so by itself. Servers before 2.14 refuse the setting: there the old form is tested once more.
#[tokio::test]
async fn the_documented_permissions_cover_acknowledgements_in_the_new_form() {
    let flags = if server::version() >= (2, 14) { "feature_flags { js_ack_fc_v2: true }" } else { "" };
    documented_permissions_suffice(format!("{PERMISSIONS}{flags}")).await;
}

async fn documented_permissions_suffice(config: String) {
    let server = NatsServer::start_with(config);
    let connect = async |user: &str| {
        let bus = Bus::connect(BusOptions::new(server.url_of(user), user)).await.expect("a bus");
        within("connection", bus.connected()).await;
        bus
    };
    let orchestrator = connect("orchestrator").await;
    streams(&orchestrator).await;
    let participant = connect("inventory").await;
    assert_eq!(orchestrator.publish_all(vec![command("do")]).await, [Ok(())]);
    let mut consumption = participant.consume(spec());
    assert_eq!(take(&mut consumption, 1).await, ["do"]);
    acknowledged(&orchestrator, 1).await;
    let reply = |subject: &str| Outgoing { subject: subject.to_owned(), ..command("done") };
    assert_eq!(participant.publish_all(vec![reply("snorri.reply.inventory.a")]).await, [Ok(())]);
    // In another's name, or as an order: refused by the server, which says so to the log only.
    let forged = vec![reply("snorri.reply.payments.a"), reply("snorri.command.payments.charge")];
    assert_eq!(
        participant.publish_all(forged).await,
        [Err(PublishError::Unknown), Err(PublishError::Unknown)]
    );
}
