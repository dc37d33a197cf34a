//! The example definitions pass the checks that a submitted definition must pass, and call only what the
//! services offer.

use snorri_saga::definition::{Definition, Draft};

use crate::Service;

fn definition(name: &str, text: &str) -> Definition {
    let draft: Draft = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let definition = Definition::from_draft(&draft).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
    assert_eq!(definition.name.as_str(), name);
    definition
}

#[test]
fn the_example_definitions_are_valid_and_call_only_what_is_there() {
    let offered = [
        ("orders", "place"),
        ("orders", "cancel"),
        ("orders", "confirm"),
        ("inventory", "reserve"),
        ("inventory", "release"),
        ("inventory", "dispatch"),
        ("payments", "hold"),
        ("payments", "release_hold"),
        ("payments", "capture"),
        ("payments", "deposit"),
        ("shipping", "book"),
        ("shipping", "cancel"),
    ];
    for (name, text) in [
        ("order", include_str!("../../../../sagas/definitions/order.yaml")),
        ("transfer", include_str!("../../../../sagas/definitions/transfer.yaml")),
        ("pickup", include_str!("../../../../sagas/definitions/pickup.yaml")),
    ] {
        for step in definition(name, text).steps {
            let participant = step.participant().expect("a participant").as_str();
            participant.parse::<Service>().expect("a service");
            let undo = step.compensation.as_ref().map(|undo| &undo.action);
            for operation in [step.action(), undo].into_iter().flatten() {
                let call = (participant, operation.as_str());
                assert!(offered.contains(&call), "{name}: {call:?}");
            }
        }
    }
}
