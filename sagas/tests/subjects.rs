//! Where messages go: the subjects, streams and consumers of an installation, as `docs/protocol.md` names them. Permissions
//! of NATS accounts and other people's consumers are made of these texts.

use snorri_saga::ids::Name;
use snorri_saga::wire::Subjects;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

#[test]
fn the_subjects_are_those_of_the_protocol() {
    let subjects = Subjects::default();
    let (inventory, reserve, order, replica) =
        (name("inventory"), name("reserve"), name("order"), name("a-1"));
    let all = [
        (subjects.command(&inventory, &reserve), "snorri.command.inventory.reserve"),
        (subjects.commands_of(&inventory), "snorri.command.inventory.>"),
        (subjects.commands_all(), "snorri.command.>"),
        (subjects.reply(&inventory, &replica), "snorri.reply.inventory.a-1"),
        (subjects.replies_to(&replica), "snorri.reply.*.a-1"),
        (subjects.replies_all(), "snorri.reply.>"),
        (subjects.start(&order), "snorri.start.order"),
        (subjects.starts_all(), "snorri.start.*"),
        (subjects.ended(&order, "completed"), "snorri.ended.order.completed"),
        (subjects.ended_all(), "snorri.ended.>"),
    ];
    for (subject, expected) in all {
        assert_eq!(subject, expected);
    }
}

#[test]
fn the_streams_and_consumers_are_those_of_the_protocol() {
    let subjects = Subjects::default();
    assert_eq!(
        [
            subjects.commands_stream(),
            subjects.replies_stream(),
            subjects.starts_stream(),
            subjects.endings_stream()
        ],
        ["SNORRI_COMMANDS", "SNORRI_REPLIES", "SNORRI_STARTS", "SNORRI_ENDINGS"]
    );
    assert_eq!(subjects.participant_consumer(&name("inventory")), "participant-inventory");
    assert_eq!(subjects.replica_consumer(&name("a-1")), "replica-a-1");
    assert_eq!(subjects.starts_consumer(), "starts");
}

#[test]
fn two_installations_share_a_server_and_no_subject() {
    let (ours, theirs) = (Subjects::default(), Subjects::new(name("test")));
    assert_eq!((ours.prefix().as_str(), theirs.prefix().as_str()), ("snorri", "test"));
    assert_eq!(theirs.commands_stream(), "TEST_COMMANDS");
    let reply = theirs.reply(&name("payments"), &name("a-1"));
    assert_eq!(reply, "test.reply.payments.a-1");
    assert_eq!(theirs.participant_of_reply(&reply), Some("payments"));
    assert_eq!(ours.participant_of_reply(&reply), None);
    let start = theirs.start(&name("order"));
    assert_eq!(theirs.definition_of_start(&start), Some("order"));
    assert_eq!(ours.definition_of_start(&start), None);
}

#[test]
fn a_start_names_one_definition() {
    let subjects = Subjects::default();
    for other in ["snorri.start.", "snorri.start", "snorri.start.a.b", "snorri.reply.order"] {
        assert_eq!(subjects.definition_of_start(other), None, "{other}");
    }
}
