//! `signup.yaml`: a signal, an approval and a delay.

use serde_json::{Value, json};
use snorri_demo::examples::Service;

use crate::fair::{Fair, example_value};

const SERVICES: [Service; 2] = [Service::Accounts, Service::Mail];
const SIGNAL: &str = "address-confirmed";

fn signup(name: &str, plan: &str) -> Value {
    json!({"name": name, "email": format!("{name}@example.org"), "plan": plan})
}

/// Confirms the address, twice: the second is the same one again.
async fn confirm(fair: &Fair, id: &str) {
    for _ in 0..2 {
        let (status, body) = fair.signal(id, SIGNAL, "click-1", &json!({"by": "link"})).await;
        assert!((200..300).contains(&status), "{status}: {body}");
    }
}

/// The example with a step whose wait is this short.
async fn submit_impatient(fair: &Fair, step: &str, wait: &str) {
    let mut definition = example_value("signup");
    let steps = definition["steps"].as_array_mut().expect("steps");
    let step = steps.iter_mut().find(|of| of["name"] == step).expect("a step");
    step[wait]["timeout"] = json!("1s");
    fair.rest.submit(&definition).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_confirms_is_activated_and_a_business_only_once_it_is_approved() {
    let fair = Fair::open("signup", &SERVICES).await;
    fair.submit("signup").await;
    let (free, business) = (
        fair.rest.start("signup", &signup("anna", "free")).await,
        fair.rest.start("signup", &signup("egil", "business")).await,
    );
    confirm(&fair, &free).await;
    confirm(&fair, &business).await;
    fair.is_completed(&free).await;
    assert_eq!(fair.rest.saga(&business).await["status"], "running", "it waits for a person");
    fair.decide(&business, "review", true).await;
    fair.is_completed(&business).await;
    let welcome =
        "SELECT string_agg(subject, ', ' ORDER BY recipient) FROM mail.letters WHERE step = 'welcome'";
    assert_eq!(fair.read::<String>(welcome).await, "Welcome, Welcome, approved by egil");
    let active: i64 = fair.read("SELECT count(*) FROM accounts.accounts WHERE state = 'active'").await;
    assert_eq!(active, 2);
    // The name is taken now, and an address that nobody has gets no account.
    fair.is_undone_for("name_taken", "signup", &signup("anna", "free")).await;
    let mut nobody = signup("olaf", "free");
    nobody["email"] = json!("olaf@nowhere.invalid");
    fair.is_undone_for("address_unknown", "signup", &nobody).await;
    fair.refuses_input("signup", &signup("Olaf!", "gold"), &["/name", "/plan"]).await;
    assert_eq!(fair.close().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_approved_is_gone_again() {
    let fair = Fair::open("signup", &SERVICES).await;
    fair.submit("signup").await;
    let id = fair.rest.start("signup", &signup("egil", "business")).await;
    confirm(&fair, &id).await;
    fair.decide(&id, "review", false).await;
    fair.is_undone("not_approved", &id).await;
    let retracted: i64 = fair.read("SELECT count(*) FROM mail.letters WHERE state = 'retracted'").await;
    assert_eq!(retracted, 1);
    // The name is free for another.
    let again = fair.rest.start("signup", &signup("egil", "free")).await;
    confirm(&fair, &again).await;
    fair.is_completed(&again).await;
    assert_eq!(fair.close().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_confirm_in_time_is_gone_again() {
    let fair = Fair::open("signup", &SERVICES).await;
    submit_impatient(&fair, "confirmed", "signal").await;
    let saga = fair.is_undone_for("signal_timed_out", "signup", &signup("anna", "free")).await;
    let (status, body) = fair.signal(saga["id"].as_str().expect("an id"), SIGNAL, "late", &json!(null)).await;
    assert_eq!(status, 409, "{body}");
    assert_eq!(fair.close().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_approves_in_time_is_gone_again() {
    let fair = Fair::open("signup", &SERVICES).await;
    submit_impatient(&fair, "review", "approval").await;
    let id = fair.rest.start("signup", &signup("anna", "business")).await;
    confirm(&fair, &id).await;
    fair.is_undone("approval_timed_out", &id).await;
    assert_eq!(fair.close().await, 1);
}
