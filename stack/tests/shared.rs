//! The stack that the tests of a run share.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use snorri_stack::{Error, TestStack};

const ASKED: &str = "SNORRI_STACK_TEST_ASKED";

/// Run by the test below, in a process of its own.
#[test]
fn another_process_tells_its_stack() {
    if std::env::var_os(ASKED).is_some() {
        let stack = TestStack::get().expect("a stack");
        println!("\nfound {} {}", stack.pg_admin_url, stack.nats_url);
    }
}

#[test]
fn processes_share_one_stack() {
    let stack = TestStack::get().expect("a stack");
    for _ in 0..2 {
        let output = Command::new(std::env::current_exe().expect("known"))
            .args(["--exact", "another_process_tells_its_stack", "--nocapture"])
            .env(ASKED, "1")
            .output()
            .expect("runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let wanted = format!("found {} {}", stack.pg_admin_url, stack.nats_url);
        assert!(text.contains(&wanted), "wanted {wanted}, got {text}");
    }
    stack.execute("postgres", "SELECT 1").expect("still answers after the others have ended");
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
