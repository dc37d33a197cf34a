//! How a process ends, and what is held against it.

use super::*;

fn run(script: &str) -> Child {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", script]).kill_on_drop(true).spawn().expect("a shell")
}

async fn member(role: Role, script: &str) -> Member {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let proxy = async || Proxy::start(nobody).await.expect("a proxy");
    let member = Member::new("it".to_owned(), role, (proxy().await, proxy().await), Vec::new());
    {
        let mut state = member.state.lock().await;
        state.child = Some(run(script));
        state.is_kept_away = false;
    }
    member
}

fn orchestrator() -> Role {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    Role::Orchestrator { listen: nobody, admin: nobody }
}

/// Looks after it until it was started anew.
async fn revived(member: &Member) {
    while member.own_ends().is_empty() {
        member.revive(|_| Ok(run("sleep 60"))).expect("started");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_orchestrator_that_ends_by_itself_is_wrong_and_a_participant_is_not() {
    let died = member(orchestrator(), "exit 7").await;
    revived(&died).await;
    assert_eq!(unwanted_end(&died).as_deref(), Some("it ended by itself: exit status: 7; see its log"));
    let crashed = member(Role::Participant(Service::Orders), "exit 7").await;
    revived(&crashed).await;
    assert_eq!(unwanted_end(&crashed), None);
}

#[tokio::test]
async fn what_the_run_itself_ends_is_not_wrong() {
    for is_killed in [true, false] {
        let member = member(orchestrator(), "exec sleep 60").await;
        let status = if is_killed { member.kill().await } else { member.end().await };
        assert!(status.is_some_and(|status| was_killed(status) == is_killed), "{status:?}");
        member.revive(|_| Ok(run("exit 7"))).expect("kept away");
        assert_eq!((unwanted_end(&member), member.pid().await), (None, None));
    }
}

#[tokio::test]
async fn an_end_just_before_a_kill_or_instead_of_an_orderly_one_is_wrong_all_the_same() {
    let early = member(orchestrator(), "exit 7").await;
    // The child is gone, and nobody has looked yet.
    let pid = early.pid().await.expect("it was started");
    let is_gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
    };
    while !is_gone() {
        sleep(Duration::from_millis(5)).await;
    }
    early.kill().await;
    assert!(unwanted_end(&early).is_some_and(|why| why.contains("exit status: 7")));
    let up = std::env::temp_dir().join(format!("snorri-fleet-{}", std::process::id()));
    let script = format!("trap 'exit 9' TERM; : > {}; while :; do sleep 0.02; done", up.display());
    let late = member(orchestrator(), &script).await;
    while !up.exists() {
        sleep(Duration::from_millis(5)).await;
    }
    late.end().await;
    std::fs::remove_file(&up).expect("deleted");
    assert!(unwanted_end(&late).is_some_and(|why| why.contains("exit status: 9")));
}

#[tokio::test]
async fn an_orchestrator_that_an_older_build_replaced_stays_downgraded_and_no_other_process_is() {
    let (flipped, upgraded) =
        (member(orchestrator(), "exit 0").await, member(orchestrator(), "exit 0").await);
    let participant = member(Role::Participant(Service::Orders), "exit 0").await;
    // One that began with the older build was not downgraded.
    upgraded.state.lock().await.build = Build::Previous;
    assert!(!is_downgraded(&flipped) && !is_downgraded(&upgraded));
    upgraded.is_replaced_by(Build::This);
    participant.is_replaced_by(Build::Previous);
    flipped.is_replaced_by(Build::Previous);
    assert!(is_downgraded(&flipped) && !is_downgraded(&upgraded) && !is_downgraded(&participant));
    // What its predecessor asked for may still come.
    flipped.is_replaced_by(Build::This);
    assert!(is_downgraded(&flipped));
}
