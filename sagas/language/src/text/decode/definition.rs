//! A definition's fields, one function for each mapping of the language.

use std::collections::BTreeMap;

use serde_json::Value;
use snorri_saga::definition::{
    Draft, DraftApproval, DraftCompensation, DraftCompensationFields, DraftForEach, DraftSignal, DraftStep,
    OnNoDecision, OnSilence, STEPS_MAX, SiblingFailure, StepKind,
};
use snorri_saga::retry::RetryPolicy;
use snorri_saga::template::VALUES_MAX;
use snorri_saga::time::Millis;

use super::super::findings::Finding;
use super::super::tree::{Data, Id};
use super::{At, Decoder, Shape};
use crate::input_schema::VALUES_MAX as SCHEMA_VALUES_MAX;

const DEFINITION: Shape = Shape {
    title: "a definition",
    fields: &["name", "description", "window", "tags", "input", "on_sibling_failure", "steps"],
    others: &[
        ("timeout", "window"),
        ("deadline", "window"),
        ("duration", "window"),
        ("schema", "input"),
        ("input_schema", "input"),
        ("inputs", "input"),
        ("labels", "tags"),
        ("tasks", "steps"),
        ("states", "steps"),
        ("activities", "steps"),
        ("id", "name"),
        ("title", "description"),
    ],
};

const STEP: Shape = Shape {
    title: "a step",
    fields: &[
        "name",
        "needs",
        "when",
        "for_each",
        "participant",
        "action",
        "saga",
        "version",
        "signal",
        "approval",
        "delay",
        "kind",
        "compensation",
        "timeout",
        "retry",
        "input",
    ],
    others: &[
        ("id", "name"),
        ("depends_on", "needs"),
        ("after", "needs"),
        ("requires", "needs"),
        ("if", "when"),
        ("condition", "when"),
        ("foreach", "for_each"),
        ("loop", "for_each"),
        ("map", "for_each"),
        ("service", "participant"),
        ("worker", "participant"),
        ("operation", "action"),
        ("command", "action"),
        ("subsaga", "saga"),
        ("sub_saga", "saga"),
        ("child", "saga"),
        ("event", "signal"),
        ("wait", "delay"),
        ("sleep", "delay"),
        ("type", "kind"),
        ("undo", "compensation"),
        ("compensate", "compensation"),
        ("compensate_with", "compensation"),
        ("rollback", "compensation"),
        ("retries", "retry"),
        ("retry_policy", "retry"),
        ("with", "input"),
        ("args", "input"),
        ("params", "input"),
        ("payload", "input"),
        ("request", "input"),
    ],
};

const COMPENSATION: Shape = Shape {
    title: "a compensation",
    fields: &["action", "timeout", "retry"],
    others: &[("operation", "action"), ("command", "action"), ("name", "action"), ("retries", "retry")],
};

const RETRY: Shape = Shape {
    title: "a retry policy",
    fields: &["attempts", "backoff", "factor", "cap", "jitter"],
    others: &[
        ("max_attempts", "attempts"),
        ("tries", "attempts"),
        ("max", "attempts"),
        ("count", "attempts"),
        ("retries", "attempts"),
        ("delay", "backoff"),
        ("interval", "backoff"),
        ("initial_interval", "backoff"),
        ("multiplier", "factor"),
        ("backoff_coefficient", "factor"),
        ("max_backoff", "cap"),
        ("max_delay", "cap"),
        ("max_interval", "cap"),
    ],
};

const FOR_EACH: Shape = Shape {
    title: "`for_each`",
    fields: &["items", "as", "concurrency", "max"],
    others: &[
        ("in", "items"),
        ("list", "items"),
        ("of", "items"),
        ("item", "as"),
        ("name", "as"),
        ("var", "as"),
        ("parallel", "concurrency"),
        ("parallelism", "concurrency"),
        ("limit", "max"),
        ("max_items", "max"),
    ],
};

const SIGNAL: Shape = Shape {
    title: "a signal",
    fields: &["name", "timeout", "on_timeout", "default"],
    others: &[("window", "timeout"), ("otherwise", "on_timeout")],
};

const APPROVAL: Shape = Shape {
    title: "an approval",
    fields: &["timeout", "on_timeout"],
    others: &[("window", "timeout"), ("otherwise", "on_timeout"), ("default", "on_timeout")],
};

/// The draft that a text is, as far as it is one.
pub(in super::super) fn definition(decoder: &mut Decoder<'_, '_, '_>, root: Id) -> Option<Draft> {
    let at = At::ROOT;
    let fields = decoder.fields(root, &at, &DEFINITION)?;
    let name = fields.get("name").and_then(|id| decoder.string(id, &at.field("name")));
    if fields.get("name").is_none() {
        decoder.missing(root, &at, "name", &DEFINITION, "sagas are started by it: `name: order`");
    }
    let steps = if let Some(id) = fields.get("steps") {
        steps(decoder, id)
    } else {
        let mend =
            "write at least one: `steps: [{ name: pay, participant: payments, compensation: refund }]`";
        decoder.missing(root, &at, "steps", &DEFINITION, mend);
        Vec::new()
    };
    let siblings = [("wait", SiblingFailure::Wait), ("race", SiblingFailure::Race)];
    Some(Draft {
        name: name.unwrap_or_default(),
        description: fields.get("description").and_then(|id| decoder.string(id, &at.field("description"))),
        window: fields.get("window").and_then(|id| decoder.duration(id, &at.field("window"))),
        tags: fields.get("tags").map(|id| tags(decoder, id)).unwrap_or_default(),
        input: fields
            .get("input")
            .and_then(|id| decoder.limited(id, &at.field("input"), SCHEMA_VALUES_MAX, "the schema")),
        on_sibling_failure: fields
            .get("on_sibling_failure")
            .and_then(|id| decoder.choice(id, &at.field("on_sibling_failure"), "answer", &siblings)),
        steps,
    })
}

fn tags(decoder: &mut Decoder<'_, '_, '_>, id: Id) -> BTreeMap<String, String> {
    let root = At::ROOT;
    let at = root.field("tags");
    let tree = decoder.tree;
    let Data::Map(entries) = &tree.node(id).data else {
        decoder.wrong_type(id, &at, "a mapping of texts", "write `{ channel: web }`");
        return BTreeMap::new();
    };
    let mut tags = BTreeMap::new();
    for entry in entries {
        let key = tree.key(*entry);
        if let Some(text) = decoder.string(entry.value, &at.field(key)) {
            tags.insert(key.to_owned(), text);
        }
    }
    tags
}

fn steps(decoder: &mut Decoder<'_, '_, '_>, id: Id) -> Vec<DraftStep> {
    let root = At::ROOT;
    let at = root.field("steps");
    let Some(items) = decoder.list(id, &at, "a list of steps", "begin each step with a dash: `- name: pay`")
    else {
        return Vec::new();
    };
    if items.len() > STEPS_MAX {
        let pointer = At::item(&at, STEPS_MAX).pointer();
        let span = decoder.tree.place(id, &format!("/{STEPS_MAX}"));
        decoder.findings.add(
            Finding::error(
                "too-many-steps",
                span,
                format!("{} steps, here begins the one too many", items.len()),
            )
            .at(pointer)
            .mend(format!("at most {STEPS_MAX}; a sub-saga or `for_each` may do the work of many")),
        );
    }
    items.iter().take(STEPS_MAX).enumerate().map(|(nth, item)| step(decoder, *item, &at.item(nth))).collect()
}

fn step(decoder: &mut Decoder<'_, '_, '_>, id: Id, at: &At<'_>) -> DraftStep {
    let Some(fields) = decoder.fields(id, at, &STEP) else { return DraftStep::default() };
    let name = fields.get("name").and_then(|id| decoder.string(id, &at.field("name")));
    if fields.get("name").is_none() {
        decoder.missing(
            id,
            at,
            "name",
            &STEP,
            "it is the step's key in the journal and in expressions: `name: pay`",
        );
    }
    let mut text = |name: &'static str| fields.get(name).map(|id| decoder.string(id, &at.field(name)));
    let (participant, action, saga) = (text("participant"), text("action").flatten(), text("saga"));
    let kinds = [
        ("compensatable", StepKind::Compensatable),
        ("pivot", StepKind::Pivot),
        ("retriable", StepKind::Retriable),
        ("read", StepKind::Read),
    ];
    let kind_at = at.field("kind");
    let kind = fields.get("kind").map(|id| decoder.choice(id, &kind_at, "kind of steps", &kinds));
    if kind == Some(None) {
        // Whether it needs one depends on its kind.
        decoder.spoilt.push(at.field("compensation").pointer());
    }
    let kind = kind.flatten();
    DraftStep {
        name: name.unwrap_or_default(),
        needs: fields.get("needs").and_then(|id| needs(decoder, id, &at.field("needs"))),
        when: fields.get("when").and_then(|id| when(decoder, id, &at.field("when"))),
        for_each: fields.get("for_each").and_then(|id| for_each(decoder, id, &at.field("for_each"))),
        // What a step is, is known even when the name of it cannot be read.
        participant: participant.map(|name| name.unwrap_or_else(|| STAND_IN_NAME.to_owned())),
        action,
        saga: saga.map(|name| name.unwrap_or_else(|| STAND_IN_NAME.to_owned())),
        version: fields.get("version").and_then(|id| decoder.whole(id, &at.field("version"))),
        signal: fields.get("signal").map(|id| signal(decoder, id, &at.field("signal"))),
        approval: fields.get("approval").map(|id| approval(decoder, id, &at.field("approval"))),
        delay: fields.get("delay").map(|id| decoder.duration(id, &at.field("delay")).unwrap_or(STAND_IN)),
        kind,
        compensation: fields
            .get("compensation")
            .and_then(|id| compensation(decoder, id, &at.field("compensation"))),
        timeout: fields.get("timeout").and_then(|id| decoder.duration(id, &at.field("timeout"))),
        retry: fields.get("retry").and_then(|id| retry(decoder, id, &at.field("retry"))),
        input: fields
            .get("input")
            .and_then(|id| decoder.limited(id, &at.field("input"), VALUES_MAX, "a template")),
    }
}

fn needs(decoder: &mut Decoder<'_, '_, '_>, id: Id, at: &At<'_>) -> Option<Vec<String>> {
    let tree = decoder.tree;
    let items = match &tree.node(id).data {
        Data::Text(text, _) => {
            let mend = format!("write `[{}]`", super::shown(text));
            decoder.wrong_type(id, at, "a list of steps", &mend);
            return None;
        }
        _ => decoder.list(id, at, "a list of steps", "write `[hotel, flight]`, or `[]` for none")?,
    };
    Some(items.iter().enumerate().filter_map(|(nth, item)| decoder.string(*item, &at.item(nth))).collect())
}

/// A condition. `true` and `false` are expressions, too.
fn when(decoder: &mut Decoder<'_, '_, '_>, id: Id, at: &At<'_>) -> Option<String> {
    match decoder.tree.node(id).data {
        Data::Bool(value) if decoder.format == super::Format::Yaml => Some(value.to_string()),
        _ => decoder.string(id, at),
    }
}

fn for_each(decoder: &mut Decoder<'_, '_, '_>, id: Id, at: &At<'_>) -> Option<DraftForEach> {
    let fields = decoder.fields(id, at, &FOR_EACH)?;
    let items = fields
        .get("items")
        .map(|id| decoder.limited(id, &at.field("items"), VALUES_MAX, "a template").unwrap_or_else(none));
    if items.is_none() {
        decoder.missing(id, at, "items", &FOR_EACH, "say the list: `items: \"${{ input.rows }}\"`");
    }
    Some(DraftForEach {
        items: items.unwrap_or_else(none),
        name: fields.get("as").and_then(|id| decoder.string(id, &at.field("as"))),
        concurrency: fields.get("concurrency").and_then(|id| decoder.whole(id, &at.field("concurrency"))),
        max: fields.get("max").and_then(|id| decoder.whole(id, &at.field("max"))),
    })
}

fn none() -> Value {
    Value::Array(Vec::new())
}

fn signal(decoder: &mut Decoder<'_, '_, '_>, id: Id, at: &At<'_>) -> DraftSignal {
    let Some(fields) = decoder.fields(id, at, &SIGNAL) else {
        return DraftSignal { name: None, timeout: STAND_IN, on_timeout: None, default: None };
    };
    let words = [("fail", OnSilence::Fail), ("continue", OnSilence::Continue)];
    let timeout = fields.get("timeout");
    if timeout.is_none() {
        decoder.missing(id, at, "timeout", &SIGNAL, "say how long it is waited for: `timeout: 1h`");
    }
    DraftSignal {
        name: fields.get("name").and_then(|id| decoder.string(id, &at.field("name"))),
        timeout: timeout.and_then(|id| decoder.duration(id, &at.field("timeout"))).unwrap_or(STAND_IN),
        on_timeout: fields
            .get("on_timeout")
            .and_then(|id| decoder.choice(id, &at.field("on_timeout"), "answer to silence", &words)),
        default: fields.get("default").map(|id| decoder.value(id)),
    }
}

fn approval(decoder: &mut Decoder<'_, '_, '_>, id: Id, at: &At<'_>) -> DraftApproval {
    let Some(fields) = decoder.fields(id, at, &APPROVAL) else {
        return DraftApproval { timeout: STAND_IN, on_timeout: None };
    };
    let words = [("reject", OnNoDecision::Reject), ("approve", OnNoDecision::Approve)];
    let timeout = fields.get("timeout");
    if timeout.is_none() {
        decoder.missing(id, at, "timeout", &APPROVAL, "say how long it is waited for: `timeout: 2d`");
    }
    DraftApproval {
        timeout: timeout.and_then(|id| decoder.duration(id, &at.field("timeout"))).unwrap_or(STAND_IN),
        on_timeout: fields
            .get("on_timeout")
            .and_then(|id| decoder.choice(id, &at.field("on_timeout"), "answer to silence", &words)),
    }
}

/// Stands for a duration that could not be read, so that the rest can be checked.
const STAND_IN: Millis = Millis::secs(1);
/// The same for a name.
const STAND_IN_NAME: &str = "unreadable";

fn compensation(decoder: &mut Decoder<'_, '_, '_>, id: Id, at: &At<'_>) -> Option<DraftCompensation> {
    let tree = decoder.tree;
    match &tree.node(id).data {
        Data::Map(_) => {}
        Data::Bool(_) | Data::List(_) => {
            let expected = "an operation, `none`, or a mapping of `action`, `timeout` and `retry`";
            decoder.wrong_type(
                id,
                at,
                expected,
                "name the operation that reverses the step: `compensation: cancel`",
            );
            return None;
        }
        Data::Null | Data::Number(_) | Data::Text(..) => {
            return decoder.string(id, at).map(DraftCompensation::Short);
        }
    }
    let fields = decoder.fields(id, at, &COMPENSATION)?;
    Some(DraftCompensation::Long(DraftCompensationFields {
        action: fields.get("action").and_then(|id| decoder.string(id, &at.field("action"))),
        timeout: fields.get("timeout").and_then(|id| decoder.duration(id, &at.field("timeout"))),
        retry: fields.get("retry").and_then(|id| retry(decoder, id, &at.field("retry"))),
    }))
}

fn retry(decoder: &mut Decoder<'_, '_, '_>, id: Id, at: &At<'_>) -> Option<RetryPolicy> {
    if let Data::Number(attempts) = &decoder.tree.node(id).data {
        let mend = format!("write `{{ attempts: {} }}`", super::shown(attempts));
        decoder.wrong_type(id, at, "a mapping", &mend);
        return None;
    }
    let fields = decoder.fields(id, at, &RETRY)?;
    let usual = RetryPolicy::default();
    let mut policy = usual;
    if let Some(id) = fields.get("attempts") {
        policy.attempts = decoder.whole(id, &at.field("attempts")).unwrap_or(usual.attempts);
    }
    if let Some(id) = fields.get("backoff") {
        policy.backoff = decoder.duration(id, &at.field("backoff")).unwrap_or(usual.backoff);
    }
    if let Some(id) = fields.get("factor") {
        policy.factor = decoder.fraction(id, &at.field("factor")).unwrap_or(usual.factor);
    }
    if let Some(id) = fields.get("cap") {
        policy.cap = decoder.duration(id, &at.field("cap")).unwrap_or(usual.cap);
    }
    if let Some(id) = fields.get("jitter") {
        policy.jitter = decoder.fraction(id, &at.field("jitter")).unwrap_or(usual.jitter);
    }
    Some(policy)
}
