//! A private stack: started, used, broken and mended, used again, and gone with its process.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use snorri_stack::{Error, Options, Stack, StopMode};

fn folder(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    Stack::wipe(&dir).expect("an old folder can be deleted");
    dir
}

fn quick(dir: &std::path::Path) -> Options {
    Options { fsync: false, ..Options::new(dir) }
}

fn alive(pid: u32) -> bool {
    let output = Command::new("sh").args(["-c", &format!("kill -0 {pid}")]).output();
    output.expect("sh runs").status.success()
}

fn gone_soon(pid: u32) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if !alive(pid) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn a_stack_runs_restarts_and_keeps_its_data() {
    let dir = folder("keeps");
    let stack = Stack::start(&quick(&dir)).expect("a stack starts");
    let postgres = &stack.postgres;
    postgres.create_database("shop", None).expect("a database is made");
    postgres.execute("shop", "CREATE TABLE t (x int); INSERT INTO t VALUES (1), (NULL)").expect("runs");
    postgres.create_database("copy", Some("shop")).expect("a copy is made");
    let rows = postgres.query("copy", "SELECT x FROM t ORDER BY x").expect("runs");
    assert_eq!(rows, [[Some("1".to_owned())], [None]]);
    assert!(postgres.url("shop").ends_with(&format!("@127.0.0.1:{}/shop", postgres.port())));

    let refused = postgres.execute("shop", "SELECT nothing FROM nowhere");
    assert!(matches!(&refused, Err(Error::Sql { code, .. }) if code == "42P01"), "{refused:?}");
    let refused = postgres.execute("no_such_database", "SELECT 1");
    assert!(matches!(&refused, Err(Error::Sql { code, .. }) if code == "3D000"), "{refused:?}");

    let (port, pid) = (postgres.port(), postgres.pid());
    for mode in [StopMode::Fast, StopMode::Immediate] {
        postgres.restart(mode).expect("restarts");
        assert_eq!(postgres.port(), port);
        assert_ne!(postgres.pid(), pid);
        assert_eq!(postgres.query("shop", "SELECT count(*) FROM t").expect("runs"), [[Some("2".to_owned())]]);
    }

    let second = Stack::start(&quick(&dir));
    assert!(matches!(second, Err(Error::InUse(_))), "two stacks in one folder are refused");

    let pids = [stack.postgres.pid(), stack.nats.pid()].map(|pid| pid.expect("it runs"));
    drop(stack);
    assert!(!alive(pids[0]) && !alive(pids[1]), "both stop with the stack");

    let stack =
        Stack::start(&Options { pg_port: Some(port), ..quick(&dir) }).expect("starts on the old data");
    assert_eq!(
        stack.postgres.query("shop", "SELECT count(*) FROM t").expect("runs"),
        [[Some("2".to_owned())]]
    );
    drop(stack);
    Stack::wipe(&dir).expect("deletes");
    assert!(!dir.exists());
}

#[test]
fn nats_is_killed_wiped_and_back_on_its_port() {
    let dir = folder("nats");
    let stack = Stack::start(&quick(&dir)).expect("a stack starts");
    let (nats, url) = (&stack.nats, stack.nats.url());
    let first = nats.pid().expect("it runs");
    let leftover = stack.data().join("nats/leftover");
    std::fs::write(&leftover, "").expect("writes");
    nats.kill();
    assert!(!alive(first) && nats.pid().is_none());
    nats.start_again().expect("starts after a kill");
    assert!(leftover.exists(), "a kill loses nothing");
    nats.wipe_store().expect("wipes");
    nats.start_again().expect("starts on an empty store");
    assert!(!leftover.exists());
    assert_eq!(nats.url(), url);
    nats.pause();
    nats.resume();
    nats.stop();
    drop(stack);
    Stack::wipe(&dir).expect("deletes");
}

#[test]
fn a_paused_postgres_answers_after_resume_and_stops_even_when_paused() {
    let dir = folder("pause");
    let stack = Stack::start(&quick(&dir)).expect("a stack starts");
    stack.postgres.pause();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| stack.postgres.query("postgres", "SELECT 7"));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!answer.is_finished(), "a paused server does not answer");
        stack.postgres.resume();
        assert_eq!(answer.join().expect("no panic").expect("answers"), [[Some("7".to_owned())]]);
    });
    stack.postgres.pause();
    drop(stack);
    Stack::wipe(&dir).expect("deletes");
}

#[test]
#[cfg(target_os = "linux")]
fn servers_end_with_a_killed_process() {
    const DIE_IN: &str = "SNORRI_STACK_TEST_DIE_IN";
    if let Some(dir) = std::env::var_os(DIE_IN) {
        let stack = Stack::start(&quick(&PathBuf::from(dir))).expect("a stack starts");
        // A thread that ends must not take the servers with it.
        println!("pids {} {}", stack.postgres.pid().unwrap_or(0), stack.nats.pid().unwrap_or(0));
        std::process::abort();
    }
    let dir = folder("dies");
    let output = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "servers_end_with_a_killed_process", "--nocapture"])
        .env(DIE_IN, &dir)
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.split_once("pids ")).expect(&text).1.to_owned();
    let pids: Vec<u32> = line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| gone_soon(*pid)), "{line} outlived their parent");
    Stack::wipe(&dir).expect("deletes");
}

#[test]
fn servers_outlive_the_thread_that_started_them() {
    let dir = folder("thread");
    let start = {
        let options = quick(&dir);
        move || Stack::start(&options)
    };
    let stack = std::thread::spawn(start).join().expect("no panic").expect("a stack starts");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stack.postgres.query("postgres", "SELECT 1").expect("answers"), [[Some("1".to_owned())]]);
    drop(stack);
    Stack::wipe(&dir).expect("deletes");
}
