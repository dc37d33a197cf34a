//! Several servers that stand in for one another: a NATS cluster that loses members, and a Postgres whose standby
//! takes its place without the loss of anything that was answered.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use snorri_stack::{NatsCluster, Options, PostgresPair, Replication, Stack, StopMode};

fn quick(name: &str) -> Options {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    Stack::wipe(&dir).expect("an old folder can be deleted");
    Options { fsync: false, ..Options::new(dir) }
}

#[test]
fn a_nats_cluster_has_a_leader_again_after_any_member_is_lost() {
    let options = quick("nats-cluster");
    let cluster = NatsCluster::start(&options).expect("a cluster starts");
    assert_eq!(cluster.urls().len(), 3);
    for node in cluster.nodes() {
        node.kill();
        cluster.wait_for_leader().expect("two of three have a leader");
        node.start_again().expect("it starts again");
    }
    let first = &cluster.nodes()[0];
    assert_eq!(cluster.node(first.server_name()).map(snorri_stack::Nats::port), Some(first.port()));
    drop(cluster);
    Stack::wipe(&options.dir).expect("the folder is deleted");
}

#[test]
fn a_synchronous_standby_has_all_that_was_answered_and_takes_over_at_the_same_address() {
    let options = quick("pair");
    let pair = PostgresPair::start(&options, Replication::Synchronous).expect("a pair starts");
    let count = |postgres: &snorri_stack::Postgres| {
        let rows = postgres.query("postgres", "SELECT count(*) FROM t").expect("runs");
        rows[0][0].clone().expect("a number")
    };
    pair.primary().execute("postgres", "CREATE TABLE t (x int)").expect("runs");
    pair.primary().execute("postgres", "INSERT INTO t VALUES (1)").expect("runs");
    pair.primary().kill();
    pair.promote().expect("the standby is promoted");
    assert_eq!(count(pair.primary()), "1");
    pair.primary().execute("postgres", "INSERT INTO t VALUES (2)").expect("takes writes");
    pair.attach_standby().expect("what was killed is the standby now");

    // In good order: nothing is copied, and what was the primary answers and takes no writes.
    pair.exchange().expect("they are exchanged");
    assert_eq!(count(pair.primary()), "2");
    let refused = pair.standby().execute("postgres", "INSERT INTO t VALUES (3)");
    assert!(matches!(&refused, Err(snorri_stack::Error::Sql { code, .. }) if code == "25006"), "{refused:?}");
    pair.wait_for_commits(Replication::Synchronous).expect("it follows");

    // A commit waits for a standby that is away.
    pair.standby().stop(StopMode::Fast);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pair.primary().execute("postgres", "INSERT INTO t VALUES (3)"));
        let until = Instant::now() + Duration::from_secs(20);
        let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while pair.primary().query("postgres", waits).expect("runs").is_empty() {
            assert!(Instant::now() < until && !waiting.is_finished(), "the commit did not wait");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(count(pair.primary()), "2", "nobody sees it before the standby has it");
        pair.standby().start_again().expect("it starts again");
        waiting.join().expect("no panic").expect("the commit is answered");
    });
    drop(pair);
    Stack::wipe(&options.dir).expect("the folder is deleted");
}

#[test]
fn a_forwarder_leads_to_another_server_and_cuts_what_was_open() {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    let serve = |word: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its number").port();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                client.write_all(word).expect("greets");
                std::thread::spawn(move || {
                    let mut echo = client.try_clone().expect("a second handle");
                    drop(std::io::copy(&mut client, &mut echo));
                });
            }
        });
        port
    };
    let forwarder = snorri_stack::Forwarder::to(serve(b"one")).expect("a forwarder");
    let connect = || {
        let mut client = TcpStream::connect(("127.0.0.1", forwarder.port())).expect("connects");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        let mut word = [0; 3];
        client.read_exact(&mut word).expect("a greeting");
        (client, word)
    };
    let (mut first, word) = connect();
    assert_eq!(&word, b"one");
    forwarder.switch(serve(b"two"));
    let mut echo = [0; 4];
    first.write_all(b"ping").expect("is open still");
    first.read_exact(&mut echo).expect("and answered by the first");
    assert_eq!(&connect().1, b"two");
    assert!(forwarder.cut() >= 1);
    assert_eq!(first.read(&mut echo).unwrap_or(0), 0, "it is closed");
    assert_eq!(&connect().1, b"two");
}
