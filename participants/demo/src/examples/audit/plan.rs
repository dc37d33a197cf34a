//! What a completed saga of each example has done, told from its input: every effect, with how much of what, and which
//! effects it had to wait for.

use serde_json::Value;

use super::Service;

/// How much an effect's record must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// The input does not tell.
    Any,
    /// Exactly so many cents.
    Cents(i64),
    /// Exactly so many units.
    Units(i64),
    /// As many cents as the records of these steps together.
    SumOf(&'static [&'static str]),
}

/// An effect that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) service: Service,
    pub(super) operation: &'static str,
    /// As it stands in the journal: an iteration with its number.
    pub(super) step: String,
    /// The steps that ended before this one began, as the definition has them.
    pub(super) after: &'static [&'static str],
    pub(super) size: Size,
}

fn effect(
    (service, operation): (Service, &'static str),
    step: impl Into<String>,
    after: &'static [&'static str],
    size: Size,
) -> Planned {
    Planned { service, operation, step: step.into(), after, size }
}

fn number(input: &Value, field: &str) -> i64 {
    input.get(field).and_then(Value::as_i64).unwrap_or(0)
}

fn is_true(input: &Value, field: &str) -> bool {
    input.get(field).and_then(Value::as_bool).unwrap_or(false)
}

/// The effects of a completed saga; nothing for a definition that is no example.
pub(super) fn plan(definition: &str, input: &Value) -> Option<Vec<Planned>> {
    Some(match definition {
        "travel" => {
            let travellers = number(input, "travellers");
            let mut plan = bookings(input, travellers);
            plan.extend([
                effect(
                    (Service::Payments, "hold"),
                    "hold",
                    &["hotel", "flight", "car"],
                    Size::SumOf(&["hotel", "flight", "car"]),
                ),
                effect((Service::Payments, "capture"), "pay", &["hotel", "flight", "car", "hold"], Size::Any),
                effect(
                    (Service::Mail, "notify"),
                    "confirm",
                    &["hotel", "flight", "car", "hold", "pay"],
                    Size::Any,
                ),
            ]);
            plan
        }
        "trip" => bookings(input, 1),
        "payment" => vec![
            effect((Service::Payments, "hold"), "hold", &[], Size::Cents(number(input, "amount_cents"))),
            effect((Service::Payments, "capture"), "capture", &["hold"], Size::Any),
        ],
        // What its children did stands with them.
        "holiday" => vec![effect((Service::Mail, "notify"), "confirm", &[], Size::Any)],
        "bank-transfer" => {
            let amount = Size::Cents(number(input, "amount_cents"));
            vec![
                effect((Service::BankA, "hold"), "hold", &[], amount),
                effect((Service::BankB, "deposit"), "deposit", &["hold"], amount),
                effect((Service::BankA, "settle"), "settle", &["hold", "deposit"], Size::Any),
            ]
        }
        "signup" => vec![
            effect((Service::Accounts, "create"), "create", &[], Size::Any),
            effect((Service::Mail, "send"), "ask", &["create"], Size::Any),
            effect((Service::Accounts, "activate"), "activate", &["create", "ask"], Size::Any),
            effect((Service::Mail, "notify"), "welcome", &["create", "ask", "activate"], Size::Any),
        ],
        "import" => import(input),
        _ => return None,
    })
}

/// The journey itself: everybody has a room and a seat, and all of them one car if they want one.
fn bookings(input: &Value, travellers: i64) -> Vec<Planned> {
    let mut plan = vec![
        effect((Service::Hotels, "book"), "hotel", &[], Size::Units(travellers)),
        effect((Service::Flights, "book"), "flight", &[], Size::Units(travellers)),
    ];
    if is_true(input, "car") {
        plan.push(effect((Service::Cars, "book"), "car", &[], Size::Units(1)));
    }
    plan
}

fn import(input: &Value) -> Vec<Planned> {
    let rows = input.get("rows").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let mut plan = vec![effect((Service::Catalogue, "open"), "open", &[], Size::Cents(count))];
    plan.extend(rows.iter().enumerate().map(|(index, row)| {
        let price = Size::Cents(number(row, "price_cents"));
        effect((Service::Catalogue, "put"), format!("rows:{index}"), &["open"], price)
    }));
    plan.push(effect((Service::Catalogue, "publish"), "publish", &["open", "rows"], Size::Any));
    if input.get("report_to").is_some() {
        plan.push(effect((Service::Mail, "notify"), "report", &["open", "rows", "publish"], Size::Any));
    }
    plan
}
