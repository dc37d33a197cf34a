//! The stack that the tests of a run share.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use snorri_stack::{Error, TestStack};

const ASKED: &str = "SNORRI_STACK_TEST_ASKED";

/// Run by the test below, in a process of its own.
#[test]
fn another_process_tells_its_stack() {
    if std::env::var_os(ASKED).is_some() {
        let stack = TestStack::get().unwrap_or_else(|error| panic!("{error}"));
        println!("\nfound {} {}", stack.pg_admin_url, stack.nats_url);
    }
}

/// What another process finds, given these variables.
fn found_by_another(variables: &[(&str, &Path)]) -> String {
    let output = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "another_process_tells_its_stack", "--nocapture"])
        .env(ASKED, "1")
        .envs(variables.iter().copied())
        .output()
        .expect("runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn processes_share_one_stack() {
    let stack = TestStack::get().expect("a stack");
    for _ in 0..2 {
        let text = found_by_another(&[]);
        let wanted = format!("found {} {}", stack.pg_admin_url, stack.nats_url);
        assert!(text.contains(&wanted), "wanted {wanted}, got {text}");
    }
    stack.execute("postgres", "SELECT 1").expect("still answers after the others have ended");
}

#[test]
fn a_process_that_chooses_other_servers_has_a_stack_of_its_own() {
    let stack = TestStack::get().expect("a stack");
    let program = snorri_stack::find_tools().expect("looks").expect("both are here").nats_server;
    // The same program by another path is another choice. Outside the target folder, which may be closed to the
    // servers' user, and of the same name in each run, so that the runs do not pile up stacks.
    let name = format!("snorri{}-nats-server", env!("CARGO_TARGET_TMPDIR").replace('/', "-"));
    let other = std::env::temp_dir().join(name);
    drop(std::fs::remove_file(&other));
    std::os::unix::fs::symlink(program, &other).expect("a link can be made");

    let text = found_by_another(&[("SNORRI_STACK_NATS", &other)]);
    std::fs::remove_file(&other).expect("deletes");
    assert!(text.contains("found postgres://"), "{text}");
    assert!(!text.contains(&stack.pg_admin_url) && !text.contains(&stack.nats_url), "shared: {text}");
    assert!(found_by_another(&[]).contains(&stack.nats_url), "the first one is still there");
}

#[test]
fn the_servers_are_those_that_the_environment_asks_for() {
    let stack = TestStack::get().expect("a stack");
    let tools = snorri_stack::find_tools().expect("looks").expect("both are here");
    let told = stack.query("postgres", "SHOW server_version").expect("answers");
    let told = told[0][0].as_deref().expect("a version");
    assert_eq!(told.split_whitespace().next(), Some(&*tools.pg_version));
    let address = stack.nats_url.trim_start_matches("nats://");
    let mut greeting = String::new();
    let socket = TcpStream::connect(address).expect("nats-server listens");
    BufReader::new(socket).read_line(&mut greeting).expect("it greets");
    assert!(greeting.contains(&format!("\"version\":\"{}\"", tools.nats_version)), "{greeting}");

    for (variable, version) in
        [("SNORRI_STACK_POSTGRES", &tools.pg_version), ("SNORRI_STACK_NATS", &tools.nats_version)]
    {
        let Some(wanted) = std::env::var_os(variable) else { continue };
        let wanted = wanted.to_string_lossy();
        if !wanted.starts_with('/') {
            let wanted = wanted.trim_start_matches('v');
            assert!(format!("{version}.").starts_with(&format!("{wanted}.")), "{version}, not {wanted}");
        }
    }
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    for (variable, value, words) in [
        ("SNORRI_STACK_NATS", "newest", "SNORRI_STACK_NATS=newest: neither a version, such as 2.15"),
        ("SNORRI_STACK_POSTGRES", "bin", "SNORRI_STACK_POSTGRES=bin: neither a version, such as 18"),
        ("SNORRI_STACK_NATS", "/nowhere/nats-server", "SNORRI_STACK_NATS=/nowhere/nats-server: not there"),
        ("SNORRI_STACK_POSTGRES", "99", "Postgres 99 (asked for by SNORRI_STACK_POSTGRES)"),
    ] {
        let text = found_by_another(&[(variable, Path::new(value)), ("SNORRI_NO_INSTALL", Path::new("1"))]);
        assert!(!text.contains("found postgres://"), "{variable}={value}: {text}");
        assert!(text.contains(words), "{variable}={value}: {text}");
    }
}

#[test]
fn threads_get_databases_of_their_own_from_one_template() {
    let fills = AtomicU32::new(0);
    let template = TestStack::get().expect("a stack").prefix("template");
    let urls = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let stack = TestStack::get()?;
                    stack.database_from(&template, "My-Test", |url| {
                        fills.fetch_add(1, Ordering::Relaxed);
                        let name = url.rsplit('/').next().unwrap_or_default();
                        stack.execute(name, "CREATE TABLE filled (x int)")
                    })
                })
            })
            .collect();
        let urls = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        urls.collect::<Result<Vec<String>, Error>>().expect("databases")
    });
    assert_eq!(fills.load(Ordering::Relaxed), 1);
    let mut names: Vec<&str> = urls.iter().filter_map(|url| url.rsplit('/').next()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 4, "{urls:?}");
    for name in names {
        assert!(name.starts_with("t_mytest_"), "{name}");
        TestStack::get().expect("a stack").execute(name, "SELECT * FROM filled").expect("a filled copy");
    }
}

#[test]
fn a_failed_template_is_made_anew() {
    let stack = TestStack::get().expect("a stack");
    let template = stack.prefix("broken");
    let failed = stack.database_from(&template, "x", |_| Err(Error::InUse("/nowhere".into())));
    assert!(matches!(failed, Err(Error::InUse(_))));
    stack.database_from(&template, "x", |_| Ok::<(), Error>(())).expect("the second try makes it");
    stack.database("empty").expect("an empty database");
}
