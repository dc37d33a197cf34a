//! `bank-transfer.yaml`: two participants that share nothing, a read, and a pivot at the other one.

use serde_json::json;
use snorri_demo::examples::{ACCOUNT_CLOSED_A, ACCOUNT_CLOSED_B, Service};

use crate::fair::Fair;

const BALANCES: &str = "SELECT (SELECT sum(balance + held) FROM bank_a.accounts)::bigint
    + (SELECT sum(balance + held) FROM bank_b.accounts)::bigint";

#[tokio::test(flavor = "multi_thread")]
async fn money_leaves_one_bank_and_reaches_the_other_or_stays_where_it_was() {
    let fair = Fair::open("transfer", &[Service::BankA, Service::BankB]).await;
    fair.submit("bank-transfer").await;
    let before: i64 = fair.read(BALANCES).await;
    let transfer =
        |from: &str, to: &str, amount: i64| json!({"from": from, "to": to, "amount_cents": amount});
    fair.completes("bank-transfer", &transfer("a-001", "b-002", 12_500)).await;
    fair.completes("bank-transfer", &transfer("a-001", "b-001", 1)).await;
    for (code, input) in [
        ("account_closed", transfer("a-001", ACCOUNT_CLOSED_B, 700)),
        ("account_unknown", transfer("a-001", "b-999", 700)),
        ("account_closed", transfer(ACCOUNT_CLOSED_A, "b-001", 700)),
        ("insufficient_funds", transfer("a-001", "b-001", 10_000_000)),
    ] {
        fair.is_undone_for(code, "bank-transfer", &input).await;
    }
    fair.refuses_input("bank-transfer", &transfer("a-001", "b-001", 0), &["/amount_cents"]).await;
    assert_eq!(fair.read::<i64>(BALANCES).await, before);
    let left: i64 = fair.read("SELECT balance FROM bank_a.accounts WHERE account = 'a-001'").await;
    assert_eq!(left, 1_000_000 - 12_501);
    assert_eq!(fair.close().await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_transfers_at_once_make_and_lose_no_cent() {
    let fair = Fair::open("transfer", &[Service::BankA, Service::BankB]).await;
    fair.submit("bank-transfer").await;
    let mut ids = Vec::new();
    for n in 0..40 {
        let to = if n % 4 == 0 { ACCOUNT_CLOSED_B.to_owned() } else { format!("b-{:03}", 1 + n % 3) };
        let input = json!({"from": format!("a-{:03}", 1 + n % 2), "to": to, "amount_cents": 100 + n});
        ids.push((n, fair.rest.start("bank-transfer", &input).await));
    }
    for (n, id) in &ids {
        if n % 4 == 0 {
            fair.is_undone("account_closed", id).await;
        } else {
            fair.is_completed(id).await;
        }
    }
    assert_eq!(fair.close().await, 40);
}
