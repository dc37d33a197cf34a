//! Replicas as processes of their own, which can be killed.

use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::support::{Place, Rest, eventually};

/// Starts one; `point` is where it dies by itself, in the words of `snorri-kill`.
pub(crate) fn spawn(place: &Place, replica: &str, port: u16, admin: u16, point: Option<&str>) -> Child {
    Command::new(env!("CARGO_BIN_EXE_snorri"))
        .args(["serve", "--until-stdin-closes", "--replica", replica, "--log-format", "text"])
        .args(["--database-url", &place.database_url, "--nats-url", &place.nats_url])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
        .args(["--namespace", place.prefix.as_str(), "--stream-bytes", "8388608"])
        .envs(point.map(|point| ("SNORRI_KILL_POINT", point)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("the orchestrator starts")
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

/// Waits until its API answers.
pub(crate) async fn up(rest: &Rest) {
    eventually("the orchestrator is up", async || {
        let answer = rest.http.get(format!("{}/v1/definitions", rest.base)).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}
