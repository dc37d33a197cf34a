//! `import.yaml`: a step for each row, and a step that sums them up.

use serde_json::{Value, json};
use snorri_demo::examples::{SUPPLIER_UNKNOWN, Service};

use crate::fair::Fair;

const SERVICES: [Service; 2] = [Service::Catalogue, Service::Mail];

fn rows(prefix: &str, count: i64) -> Vec<Value> {
    (0..count).map(|n| json!({"sku": format!("{prefix}-{n}"), "price_cents": 100 + n})).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rows_are_published_together_or_none() {
    let fair = Fair::open("import", &SERVICES).await;
    fair.submit("import").await;
    let input = json!({"supplier": "edda", "rows": rows("harp", 23), "report_to": "anna@example.org"});
    fair.completes("import", &input).await;
    assert_eq!(
        fair.read::<String>("SELECT subject FROM mail.letters").await,
        "23 articles of edda are listed"
    );
    // Without somebody to report to there is no report.
    fair.completes("import", &json!({"supplier": "hauksbok", "rows": rows("drum", 1)})).await;
    assert_eq!(fair.read::<i64>("SELECT count(*) FROM mail.letters").await, 1);
    // One row of many is there already; and two rows of one import have the same name.
    for twin in ["harp-7", "lyre-3"] {
        let mut rows = rows("lyre", 12);
        rows.insert(9, json!({"sku": twin, "price_cents": 5}));
        fair.is_undone_for("sku_taken", "import", &json!({"supplier": "edda", "rows": rows})).await;
    }
    fair.is_undone_for(
        "supplier_unknown",
        "import",
        &json!({"supplier": SUPPLIER_UNKNOWN, "rows": rows("x", 2)}),
    )
    .await;
    assert_eq!(fair.read::<i64>("SELECT count(*) FROM catalogue.articles WHERE state = 'listed'").await, 24);
    assert_eq!(fair.read::<i64>("SELECT count(*) FROM catalogue.articles WHERE state = 'staged'").await, 0);
    assert_eq!(fair.close().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_import_goes_through_and_a_larger_one_is_refused_before_it_begins() {
    let fair = Fair::open("import", &SERVICES).await;
    fair.submit("import").await;
    fair.completes("import", &json!({"supplier": "edda", "rows": rows("harp", 100)})).await;
    fair.refuses_input("import", &json!({"supplier": "edda", "rows": rows("drum", 101)}), &["/rows"]).await;
    fair.refuses_input("import", &json!({"supplier": "edda", "rows": []}), &["/rows"]).await;
    assert_eq!(fair.close().await, 1);
}
