//! A scenario as one text: *given* a definition, *when* (`>`) this happens, *then* that is the journal.
//!
//! ```text
//! reserve: stock, undo release          given a step, its participant, its compensation (`, pause 1s` before
//!                                       it is tried again, `, back 1s` for its answer),
//! pay: payments, pivot, timeout 2s      its kind, timeout, attempts (1s and 2 if left out), `backoff 1s` between them
//! mail: letters, after pay              what it needs (the step before it if left out, `after -` nothing), `when` it is
//!                                       run, `each 2 of input.rows` for a list, `needs` what goes into its request,
//!                                       `says 9 bytes` that are in it, too
//! ship: saga shipment, timeout 10s      a sub-saga; also `delay`, `signal`, `approval` (with `?`: silence goes on)
//! window 1m                             and the window; also `input {...}`, `race`
//! part of another                       it is a sub-saga itself (also `..., undone before it began`, `..., within 20s`)
//!                                       an empty line ends the definition
//! > reserve ok {"hold":1}               when the newest attempt of the action is answered (also `ok 999 bytes`),
//! > reserve#1 rejected sold_out         or attempt 1; also `rejected <code> partial`, and `large` when the door cannot read it
//! > undo reserve ok empty               when its compensation is answered
//! > wait 1s                             when time passes, with a wake-up whenever one is due
//! > sleep 1s                            when time passes and nothing wakes the saga until `> wake`
//! > cancel                              `> resend`
//! > mend invoice                        when another build can make its request
//! > repeat                              when a crash lost what was committed and not published
//! > look                                when somebody looks at it, or at its `> steps`
//! > signal paid s1 {"sum":3}            when a signal comes
//! > approve boss                        when a person decides; also `> refuse boss`
//! > parent run                          when its parent asks it to run; also `> parent undo [in 20s]`, `> parent ends`,
//!                                       `> parent lost`
//! 0s reserve action #1 succeeded        then this is recorded
//!   -> payments/pay pay.action.1.0 ...  and this is sent
//! = completed                           the status after all
//! ```

use std::fmt::Write;

use serde_json::{Value, json};
use snorri_saga::decide::{
    Ask, AskKind, Decision, Effect, Input, StartInput, decide, fence, pending_effects, start, start_part,
};
use snorri_saga::definition::{Definition, Draft};
use snorri_saga::ids::{CommandId, Direction, EffectId, Name, SagaId};
use snorri_saga::journal::{Event, Parent};
use snorri_saga::json::Json;
use snorri_saga::saga::Saga;
use snorri_saga::time::{Millis, Timestamp};
use snorri_saga::wire::{CommandBody, Outcome, Reply, limit};

const EPOCH: Timestamp = Timestamp(1_763_899_200_000_000);

/// Plays what happens and compares what comes of it; shows the whole text when it differs.
#[track_caller]
pub(crate) fn story(text: &str) {
    let (given, told) = text.trim().split_once("\n\n").expect("an empty line after the definition");
    let (definition, input) = parse_definition(given);
    let mut story = Story::start(&definition, input);
    for line in lines(told) {
        if let Some(input) = line.strip_prefix("> ") {
            story.happens(input);
        }
    }
    let now = format!("{}= {}\n", story.text, story.saga.status());
    assert!(lines(&now).eq(lines(told)), "the story went\n\n{now}\nand not\n\n{told}");
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn parse_definition(given: &str) -> (Definition, Json) {
    let (mut window, mut steps) = ("1m", Vec::new());
    let mut more = serde_json::Map::new();
    let mut input = Json::parse(r#"{"order":7}"#).expect("json");
    for line in lines(given) {
        if let Some(text) = line.strip_prefix("window ") {
            window = text;
        } else if let Some(text) = line.strip_prefix("input ") {
            input = Json::parse(text).expect("the input is JSON");
        } else if line == "race" {
            more.insert("on_sibling_failure".to_owned(), "race".into());
        } else if line.starts_with("part of another") {
            more.insert("description".to_owned(), line.into());
        } else {
            steps.push(parse_step(line));
        }
    }
    let mut draft = json!({"name": "order", "window": window, "steps": steps});
    draft.as_object_mut().expect("an object").extend(more);
    let draft: Draft = serde_json::from_value(draft).expect("a draft");
    (Definition::from_draft(&draft).expect("a definition"), input)
}

fn parse_step(line: &str) -> Value {
    let (name, rest) = line.split_once(": ").expect("`step: participant, ...`");
    let mut words = rest.split(", ");
    let mut undo_timeout = None;
    let (mut backoff, mut cap) = ("100ms", "5s");
    let (mut timeout, mut attempts, mut undo_pause) = ("1s", 2, "100ms");
    let mut step = json!({"name": name, "participant": words.next().expect("a participant")});
    for word in words {
        match word.split_once(' ').unwrap_or((word, "")) {
            ("undo", operation) => step["compensation"] = operation.into(),
            ("pause", text) => undo_pause = text,
            ("back", text) => undo_timeout = Some(text),
            ("timeout", text) => timeout = text,
            ("backoff", text) => (backoff, cap) = (text, text),
            ("attempts", text) => attempts = text.parse().expect("a number of attempts"),
            ("after", names) => step["needs"] = names.split(' ').filter(|name| *name != "-").collect(),
            ("when", expression) => step["when"] = expression.into(),
            ("each", text) => {
                let (at_once, list) = text.split_once(" of ").expect("`each 2 of input.rows`");
                let at_once: u32 = at_once.parse().expect("a number");
                step["for_each"] =
                    json!({"items": format!("${{{{ {list} }}}}"), "concurrency": at_once, "max": 4});
            }
            ("says", text) => {
                let bytes = text.trim_end_matches(" bytes").parse().expect("a number of bytes");
                step["input"]["text"] = "x".repeat(bytes).into();
            }
            ("needs", path) => step["input"]["it"] = format!("${{{{ {path} }}}}").into(),
            (kind, "") => step["kind"] = kind.into(),
            _ => panic!("`{word}` is no part of a step"),
        }
    }
    let who = step["participant"].as_str().expect("a text").to_owned();
    if let Some(wait) = wait(&who, name, timeout) {
        let fields = step.as_object_mut().expect("an object");
        fields.remove("participant");
        fields.extend(wait);
        return step;
    }
    if let Some(saga) = who.strip_prefix("saga ") {
        let fields = step.as_object_mut().expect("an object");
        fields.remove("participant");
        fields.insert("saga".to_owned(), saga.into());
        fields.insert("version".to_owned(), 3.into());
        fields.insert("timeout".to_owned(), timeout.into());
        return step;
    }
    let retry = json!({"attempts": attempts, "backoff": backoff, "cap": cap, "jitter": 0.0});
    if let Some(operation) = step.get("compensation").filter(|operation| **operation != "none") {
        let retry = json!({"attempts": attempts, "backoff": undo_pause, "jitter": 0.0});
        let operation = operation.clone();
        step["compensation"] = json!({"action": operation, "retry": retry});
        if let Some(timeout) = undo_timeout {
            step["compensation"]["timeout"] = timeout.into();
        }
    }
    step["timeout"] = timeout.into();
    step["retry"] = retry;
    step
}

/// `signal`, `approval` and `delay`, with `?` behind the word when the saga goes on after silence.
fn wait(who: &str, name: &str, timeout: &str) -> Option<serde_json::Map<String, Value>> {
    let fields = match who {
        "signal" => json!({"signal": {"name": name, "timeout": timeout}}),
        "signal?" => {
            json!({"signal": {"name": name, "timeout": timeout, "on_timeout": "continue", "default": "none"}})
        }
        "approval" => json!({"approval": {"timeout": timeout}}),
        "approval?" => json!({"approval": {"timeout": timeout, "on_timeout": "approve"}}),
        "delay" => json!({"delay": timeout}),
        _ => return None,
    };
    fields.as_object().cloned()
}

fn signal(line: &str) -> Input {
    let mut words = line.splitn(4, ' ').skip(1);
    let name = Name::new(words.next().expect("a name")).expect("a name");
    let id = words.next().unwrap_or("s1").to_owned();
    let payload = words.next().map_or_else(Json::null, |text| Json::parse(text).expect("JSON"));
    Input::Signal { name, id, payload }
}

fn decision(line: &str) -> Input {
    let (word, step) = line.split_once(' ').expect("a step");
    let step = Name::new(step).expect("a name");
    let comment = if word == "approve" { "fine" } else { "too dear" };
    Input::Decide { step, approve: word == "approve", by: "ann".to_owned(), comment: comment.to_owned() }
}

fn parent() -> Parent {
    let saga = SagaId(uuid::Uuid::from_u128(0x0193_6d3e_7f0a_7000_8000_0000_0000_0009));
    Parent { saga, step: "part".parse().expect("a step") }
}

fn asked(line: &str, child: SagaId) -> Input {
    if line == "parent lost" {
        return Input::Orphaned;
    }
    let kind = match line.strip_prefix("parent ").expect("what it asks") {
        "run" => AskKind::Run(Millis::secs(20)),
        "undo" => AskKind::Undo(Millis::secs(20)),
        undo if undo.starts_with("undo in ") => {
            AskKind::Undo(Millis::parse(undo.trim_start_matches("undo in ")).expect("a duration"))
        }
        "ends" => AskKind::Release,
        other => panic!("`{other}` is nothing that a parent asks"),
    };
    let definition = Name::new("order").expect("a name");
    Input::Asked(Ask { child, definition, version: 1, parent: parent(), input: Json::null(), kind })
}

/// A payload, or its size where it is too long to be read.
fn short(payload: &Json) -> String {
    if payload.len() > 80 { format!("({} bytes)", payload.len()) } else { payload.get().to_owned() }
}

struct Story<'a> {
    definition: &'a Definition,
    saga: Saga,
    now: Timestamp,
    text: String,
}

impl<'a> Story<'a> {
    fn start(definition: &'a Definition, input: Json) -> Self {
        let id = SagaId(uuid::Uuid::from_u128(0x0193_6d3e_7f0a_7000_8000_0000_0000_0001));
        let (tags, parent) = ([].into(), definition.description.as_ref().map(|_| parent()));
        let input = StartInput { id, version: 1, input, tags, key: None, traceparent: None, parent };
        let is_fenced = definition.description.as_ref().is_some_and(|text| text.ends_with("before it began"));
        let within = definition.description.as_ref().and_then(|text| text.split_once(", within "));
        let decision = match within {
            _ if is_fenced => fence(definition, input, EPOCH),
            Some((_, within)) => {
                start_part(definition, input, Millis::parse(within).expect("a duration"), EPOCH)
            }
            None => start(definition, input, EPOCH),
        };
        let mut story = Self { definition, saga: decision.saga.clone(), now: EPOCH, text: String::new() };
        story.take(decision);
        story
    }

    fn happens(&mut self, line: &str) {
        let _ = writeln!(self.text, "> {line}");
        if let Some((how, span)) = line.split_once(' ').filter(|(how, _)| ["wait", "sleep"].contains(how)) {
            let span = Millis::parse(span).expect("a duration");
            match how {
                "wait" => self.wait(span),
                _ => self.now = self.now + span,
            }
            return;
        }
        match line {
            "repeat" => return self.repeat(),
            "look" => return self.look(),
            "steps" => return self.steps(),
            _ => {}
        }
        if let Some(step) = line.strip_prefix("mend ") {
            return self.mend(step);
        }
        let input = match line {
            line if line.starts_with("signal ") => signal(line),
            line if line.starts_with("approve ") || line.starts_with("refuse ") => decision(line),
            line if line.starts_with("parent ") => asked(line, self.saga.id),
            "cancel" => Input::Cancel { by: "ann".to_owned(), reason: "a typo".to_owned() },
            "resend" => Input::Resend,
            "wake" => Input::Woke,
            reply => Input::Reply(self.parse_reply(reply)),
        };
        self.input(&input);
    }

    fn wait(&mut self, span: Millis) {
        let end = self.now + span;
        while let Some(due) = self.saga.due_at().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(&Input::Woke);
            let is_hot = self.saga.due_at().is_some_and(|due| due <= self.now);
            assert!(!is_hot, "a wake-up changed nothing:\n\n{}", self.text);
        }
        self.now = end;
    }

    fn parse_reply(&self, line: &str) -> Reply {
        let (line, saga) = match line.strip_prefix("other ") {
            Some(rest) => (rest, SagaId(uuid::Uuid::nil())),
            None => (line, self.saga.id),
        };
        let (line, direction) = match line.strip_prefix("undo ") {
            Some(rest) => (rest, Direction::Compensation),
            None => (line, Direction::Action),
        };
        let (step, said) = line.split_once(' ').expect("`step outcome`");
        let (step, attempt) = step.split_once('#').map_or((step, None), |(step, n)| (step, Some(n)));
        let run = self.saga.step(step);
        let flight = run.and_then(|run| run.flight).filter(|flight| flight.direction == direction);
        let attempt = match (attempt, flight) {
            (Some(attempt), _) => attempt.parse().expect("a number"),
            (None, Some(flight)) => flight.attempt,
            (None, None) => run.map_or(1, |run| run.attempts),
        };
        let effect = EffectId { saga, step: step.parse().expect("a step"), direction };
        let command = CommandId { effect, attempt, sending: 0 };
        let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
        let outcome = match (word, rest) {
            ("ok", "empty") => Outcome::Ok { output: Json::null(), empty: true },
            ("ok", "") => Outcome::Ok { output: Json::null(), empty: false },
            ("ok", size @ ("large" | "full")) => {
                let bytes =
                    if size == "large" { limit::PAYLOAD_BYTES_MAX } else { limit::PAYLOAD_BYTES_MAX - 2 };
                Outcome::Ok { output: Json::from_value(&"x".repeat(bytes).into()), empty: false }
            }
            ("ok", size) if size.ends_with(" bytes") => {
                let bytes: usize = size.trim_end_matches(" bytes").parse().expect("a number of bytes");
                Outcome::Ok { output: Json::from_value(&"x".repeat(bytes - 2).into()), empty: false }
            }
            ("ok", json) => Outcome::Ok { output: Json::parse(json).expect("JSON"), empty: false },
            ("large", "") => Outcome::TooLarge { bytes: 70_000 },
            ("rejected", code) => Outcome::Rejected {
                code: code.trim_end_matches(" partial").to_owned(),
                message: "sorry".to_owned(),
                partial: code.ends_with(" partial"),
            },
            ("failed", after) => Outcome::Failed {
                message: "busy".to_owned(),
                retry_after: after.strip_prefix("after ").map(|span| Millis::parse(span).expect("a span")),
            },
            ("working", "") => Outcome::Working,
            ("tombstoned", "") => Outcome::Tombstoned,
            _ => panic!("`{said}` is no outcome"),
        };
        Reply { command, outcome }
    }

    fn input(&mut self, input: &Input) {
        match decide(self.definition, &self.saga, input, self.now) {
            Ok(decision) => self.take(decision),
            Err(refusal) => {
                let _ = writeln!(self.text, "  refused: {refusal}");
            }
        }
    }

    fn take(&mut self, decision: Decision) {
        for event in &decision.events {
            let _ = writeln!(self.text, "{} {}", clock(self.now), told(event));
        }
        if decision.events.is_empty() && decision.effects.is_empty() {
            let _ = writeln!(self.text, "  nothing changes");
        }
        self.send(&decision.effects);
        self.saga = decision.saga;
    }

    fn send(&mut self, effects: &[Effect]) {
        for effect in effects {
            let _ = match effect {
                Effect::Send(command) => {
                    let id = command.id.to_string();
                    let id = id.split_once('.').map_or("", |(_, rest)| rest);
                    let CommandBody { input, result, saga_input } = &command.body;
                    let to = format!("{}/{}", command.participant, command.operation);
                    let budget = command.budget;
                    let result =
                        result.as_ref().map(|it| format!(" result {}", short(it))).unwrap_or_default();
                    let saga =
                        saga_input.as_ref().map(|it| format!(" saga {}", it.get())).unwrap_or_default();
                    writeln!(self.text, "  -> {to} {id} in {budget}: {}{result}{saga}", short(input))
                }
                Effect::Announce(end) => writeln!(self.text, "  => ended {}", end.status),
                Effect::Ask(ask) => {
                    let what = match ask.kind {
                        AskKind::Run(within) => format!("run within {within}"),
                        AskKind::Undo(within) => format!("be undone in {within}"),
                        AskKind::Release => "end".to_owned(),
                    };
                    writeln!(self.text, "  -> sub-saga {} of {} to {what}", ask.definition, ask.parent.step)
                }
                Effect::Answer(reply) => {
                    let CommandId { effect, .. } = &reply.command;
                    let said = match &reply.outcome {
                        Outcome::Ok { output, empty } => {
                            let empty = if *empty { " (nothing was there)" } else { "" };
                            format!("ok {}{empty}", short(output))
                        }
                        Outcome::Rejected { code, .. } => format!("rejected {code}"),
                        other => other.word().to_owned(),
                    };
                    writeln!(self.text, "  -> parent, {} {}: {said}", effect.step, effect.direction)
                }
            };
        }
    }

    fn mend(&mut self, name: &str) {
        let mut definition = self.definition.clone();
        let step = definition.steps.iter_mut().find(|step| step.name == *name).expect("a step");
        step.input = None;
        self.definition = Box::leak(Box::new(definition));
    }

    fn repeat(&mut self) {
        let pending = pending_effects(self.definition, &self.saga, self.now);
        self.send(&pending);
        if pending.is_empty() {
            let _ = writeln!(self.text, "  nothing is pending");
        }
    }

    /// What people are shown: the status, when the saga moves by itself, and what it waits for.
    fn look(&mut self) {
        let participant = |step: &str| Some(self.definition.step(step)?.1.counterpart());
        let waits = self.saga.waiting_for(participant).map(|it| format!("; waits for {it}"));
        let due = self.saga.due_at().map(|at| format!(", due at {}", clock(at)));
        let (waits, due) = (waits.unwrap_or_default(), due.unwrap_or_default());
        let _ = writeln!(self.text, "  {}{due}{waits}", self.saga.status());
    }

    /// How far each step is, and what went wrong with it last.
    fn steps(&mut self) {
        for run in &self.saga.steps {
            let state = serde_json::to_value(run.state).expect("a word");
            let failure = run.failure.as_ref().map(|it| format!(" ({}: {})", it.code, it.message));
            let state = state.as_str().unwrap_or_default();
            let _ = writeln!(self.text, "  {} {state}{}", run.key, failure.unwrap_or_default());
        }
    }
}

fn clock(at: Timestamp) -> String {
    at.since(EPOCH).to_string()
}

fn told(event: &Event) -> String {
    let empty = |empty: bool| if empty { " (it found nothing)" } else { "" };
    match event {
        Event::Started(started) => format!(
            "started, forwards until {}, window until {}",
            clock(started.forward_deadline),
            clock(started.deadline)
        ),
        Event::Sent { step, direction, attempt, until, pivot, .. } => {
            let pivot = if *pivot { ", the pivot" } else { "" };
            format!("{step} {direction} #{attempt} sent, awaited until {}{pivot}", clock(*until))
        }
        Event::Skipped { step } => format!("{step} skipped"),
        Event::Listed { step, items } => format!("{step} works on {}", short(items)),
        Event::Waiting { step, until, pivot } => {
            let pivot = if *pivot { ", past the pivot" } else { "" };
            format!("{step} waits until {}{pivot}", clock(*until))
        }
        Event::Signalled { name, id, payload } => format!("signal {name} came ({id}): {}", short(payload)),
        Event::SignalTaken { step, id } => format!("{step} took the signal {id}"),
        Event::Decided { step, approve, by, comment } => {
            format!("{step} {} by {by}: {comment}", if *approve { "approved" } else { "refused" })
        }
        Event::Curtailed { step, until } => format!("{step} awaited until {} only", clock(*until)),
        Event::Stopping { cause } => format!("stopping: {cause}"),
        Event::Held => "held".to_owned(),
        Event::AskedParent => "asked its parent".to_owned(),
        Event::UndoAsked { deadline } => format!("asked to be undone until {}", clock(*deadline)),
        Event::SentAgain { step } => format!("{step} sent again"),
        Event::Working { step, until } => format!("{step} is at it, awaited until {}", clock(*until)),
        Event::Succeeded { step, direction, attempt, output, empty: nothing } => {
            let output = output.as_ref().map(|it| format!(": {}", short(it))).unwrap_or_default();
            format!("{step} {direction} #{attempt} succeeded{}{output}", empty(*nothing))
        }
        Event::Rejected { step, direction, attempt, code, partial, .. } => {
            let partial = if *partial { ", an effect may be left" } else { "" };
            format!("{step} {direction} #{attempt} rejected: {code}{partial}")
        }
        Event::Failed { step, direction, attempt, message } => {
            format!("{step} {direction} #{attempt} failed: {message}")
        }
        Event::TimedOut { step, direction, attempt } => {
            format!("{step} {direction} #{attempt} timed out")
        }
        Event::RetryPlanned { step, at } => format!("{step} tried again at {}", clock(*at)),
        Event::Tombstoned { step } => format!("{step} is tombstoned"),
        Event::NotSent { step, message, again, .. } => {
            let again = again.map(|at| format!(", made anew at {}", clock(at))).unwrap_or_default();
            format!("{step} not sent: {message}{again}")
        }
        Event::GaveUp { step, in_doubt: true } => format!("{step} given up, in doubt"),
        Event::GaveUp { step, in_doubt: false } => format!("{step} given up, not done"),
        Event::CancelRequested { by, reason } => format!("cancel requested by {by}: {reason}"),
        Event::CompensationBegan { cause } => format!("compensation began: {cause}"),
        Event::Blocked { step, reason, .. } => format!("blocked at {step}: {}", reason.as_str()),
        Event::Unblocked { step } => format!("unblocked at {step}"),
        Event::LateReply { step, attempt, neutralised, .. } => {
            let word = if *neutralised { "neutralised" } else { "NOT NEUTRALISED" };
            format!("{step} #{attempt} succeeded late, {word}")
        }
        Event::WindowAtRisk => "window at risk".to_owned(),
        Event::WindowMissed => "window missed".to_owned(),
        Event::Ended { end } => format!("ended: {end:?}").to_lowercase(),
    }
}
