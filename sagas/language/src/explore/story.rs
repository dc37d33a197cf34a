//! A violation as a short story: who did what, one line each, the saga's clock before it.

use std::fmt;

use serde::Serialize;
use snorri_saga::definition::{Definition, Step, Work};
use snorri_saga::ids::{Direction, StepKey};
use snorri_saga::journal::{End, Event};
use snorri_saga::time::Millis;

use super::model::Answer;
use super::moves::{Explorer, Happening, Successor};
use super::participant::Said;
use super::world::{EPOCH, Key};

/// What went wrong, and how it came to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Story {
    /// The law that does not hold.
    pub wrong: String,
    /// The faults on the way.
    pub faults: u8,
    /// What happened.
    pub lines: Vec<Line>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// How long after the start, in milliseconds.
    pub at_ms: u64,
    /// What happened.
    pub happened: String,
    /// What the saga did then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<String>,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times: Vec<String> = self.lines.iter().map(|line| Millis(line.at_ms).to_string()).collect();
        let width = times.iter().map(String::len).max().unwrap_or(0);
        for (line, time) in self.lines.iter().zip(&times) {
            writeln!(f, "{time:>width$}  {}", line.happened)?;
            for then in &line.then {
                writeln!(f, "{:width$}    {then}", "")?;
            }
        }
        write!(f, "{:width$}  => {}", "", self.wrong)
    }
}

/// Tells what happened.
pub(super) fn tell(explorer: &Explorer<'_>, faults: u8, steps: &[Successor]) -> Story {
    let definition = &explorer.model.base;
    let lines = steps
        .iter()
        .enumerate()
        .map(|(nth, step)| {
            let later = steps.get(nth + 1..).unwrap_or_default();
            Line {
                at_ms: step.world.now.since(EPOCH).0,
                happened: happened(explorer, step, later),
                then: then(definition, step),
            }
        })
        .collect();
    let wrong = steps.last().and_then(|step| step.wrong.clone()).unwrap_or_default();
    Story { wrong, faults, lines }
}

fn happened(explorer: &Explorer<'_>, step: &Successor, later: &[Successor]) -> String {
    let definition = &explorer.model.base;
    let who = |key: &Key| definition.steps.get(key.step).map(Step::counterpart).unwrap_or_default();
    let what = |key: &Key, direction: Direction| operation(definition, *key, direction);
    match &step.happening {
        Happening::Starts => "the saga starts".to_owned(),
        Happening::Answers { key, direction, said } => {
            format!("{} answers {}: {}", who(key), what(key, *direction), word(*said))
        }
        Happening::Again { key, direction, said } => {
            format!(
                "the answer of {} to {} arrives once more: {}",
                who(key),
                what(key, *direction),
                word(*said)
            )
        }
        Happening::Handles { key, direction, said, .. } => {
            format!(
                "the command of {} arrives late at {}; its answer is on its way: {}",
                what(key, *direction),
                who(key),
                word(*said)
            )
        }
        Happening::Hears { key, direction, attempt, said, is_command } => {
            let how = if *is_command {
                "the command of attempt {attempt} arrives late, and its answer"
            } else {
                "an answer arrives late"
            };
            let how = how.replace("{attempt}", &attempt.to_string());
            format!("{how}: {} answers {}: {}", who(key), what(key, *direction), word(*said))
        }
        Happening::Wakes { silent } if silent.is_empty() => due(definition, &step.events),
        Happening::Wakes { silent } => {
            let one = |(key, direction, said): &(Key, Direction, Option<Said>)| {
                let comes = later.iter().any(|step| comes_late(&step.happening, *key, *direction));
                let fate = if comes { "late" } else { "lost" };
                match said {
                    None => {
                        format!("{} is not answered in time: its command is {fate}", what(key, *direction))
                    }
                    Some(said) => {
                        let said = word(*said);
                        let what = what(key, *direction);
                        format!("{what} is not answered in time: {}'s answer ({said}) is {fate}", who(key))
                    }
                }
            };
            silent.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Happening::Sleeps { until } => format!("nobody looks at the saga until {until}"),
        Happening::Cancels => "somebody cancels the saga".to_owned(),
        Happening::Signals { nth } => {
            let name = explorer.signals.get(*nth).map(|(name, _)| name.to_string()).unwrap_or_default();
            format!("the signal {name} comes")
        }
        Happening::Decides { key, yes } => {
            format!("somebody says {} to {}", if *yes { "yes" } else { "no" }, name(definition, *key))
        }
        Happening::Repeats => "what was committed and not sent is sent".to_owned(),
        Happening::Resends => "another replica takes over, and sends what is under way once more".to_owned(),
        Happening::Releases { key } => format!("{} is let go of, and completed", who(key)),
        Happening::ChildAsks { key } => {
            format!("{} has heard nothing for long, and says once more that it is done", who(key))
        }
        Happening::UndoAsked => "the saga of which it is a part asks for it to be undone".to_owned(),
        Happening::ReleaseAsked => "the saga of which it is a part is completed".to_owned(),
    }
}

/// What was due, by what was recorded then.
fn due(definition: &Definition, events: &[Event]) -> String {
    let operation = |step: &StepKey, direction| match Key::of(definition, step) {
        Some(key) => operation(definition, key, direction),
        None => step.to_string(),
    };
    let said = events.iter().find_map(|event| match event {
        Event::TimedOut { step, direction, .. } => {
            Some(format!("{} is not answered in time", operation(step, *direction)))
        }
        Event::Sent { step, direction, attempt, .. } if *attempt > 1 => {
            Some(format!("it is time to try {} again", operation(step, *direction)))
        }
        Event::Succeeded { step, .. } | Event::Rejected { step, .. } | Event::GaveUp { step, .. } => {
            Some(format!("the time of {step} is over"))
        }
        Event::WindowAtRisk => Some("the window is nearly over".to_owned()),
        Event::WindowMissed => Some("the window is over".to_owned()),
        Event::AskedParent => {
            Some("it has heard nothing for long, and asks what became of its parent".to_owned())
        }
        _ => None,
    });
    said.unwrap_or_else(|| "something is due".to_owned())
}

fn comes_late(happening: &Happening, of: Key, direction: Direction) -> bool {
    match happening {
        Happening::Handles { key, direction: d, .. } | Happening::Hears { key, direction: d, .. } => {
            (*key, *d) == (of, direction)
        }
        _ => false,
    }
}

/// What the saga recorded, in words.
fn then(definition: &Definition, step: &Successor) -> Vec<String> {
    let mut then = Vec::new();
    for (at, answer) in &step.answered {
        let Some(of) = definition.steps.get(*at) else { continue };
        match answer {
            Answer::Run(items) if of.for_each.is_some() => {
                then.push(format!("the list of {} has {items} items", of.name));
            }
            Answer::Cannot => then.push(format!("the request of {} names what is not there", of.name)),
            Answer::Run(_) | Answer::Skip => {}
        }
    }
    let words = step.events.iter().filter_map(|event| recorded(definition, event));
    then.extend(words);
    if let Some(published) = step.crash {
        let lost = if published == 0 { "before anything of it is sent" } else { "when a part of it is sent" };
        then.push(format!("it is committed, and the orchestrator dies {lost}"));
    }
    then
}

fn recorded(definition: &Definition, event: &Event) -> Option<String> {
    let operation = |step: &StepKey, direction| match Key::of(definition, step) {
        Some(key) => operation(definition, key, direction),
        None => step.to_string(),
    };
    Some(match event {
        Event::Sent { step, direction, attempt, .. } => {
            let attempt = if *attempt == 1 { String::new() } else { format!(", attempt {attempt}") };
            format!("{} is sent{attempt}", operation(step, *direction))
        }
        Event::Skipped { step } => format!("{step} is skipped"),
        Event::Listed { step, .. } => format!("{step} begins"),
        Event::Waiting { step, .. } => format!("{step} begins to wait"),
        Event::Curtailed { step, .. } => format!("{step} is awaited less long"),
        Event::RetryPlanned { step, at } => format!("{step} will be tried again at {}", at.since(EPOCH)),
        Event::Succeeded { step, direction: Direction::Action, .. } => format!("{step} is done"),
        Event::Succeeded { step, direction: Direction::Compensation, empty, .. } => {
            format!("{step} is {}", if *empty { "fenced off" } else { "undone" })
        }
        Event::Rejected { step, direction: Direction::Action, partial, .. } => {
            format!("{step} is refused{}", if *partial { ", and something of it is left" } else { "" })
        }
        Event::NotSent { step, .. } => format!("{step} cannot be sent"),
        Event::GaveUp { step, in_doubt } => {
            format!("{step} is given up{}", if *in_doubt { ", and may have been done" } else { "" })
        }
        Event::Stopping { .. } => "nothing new begins".to_owned(),
        Event::CancelRequested { .. } => "it is to be undone".to_owned(),
        Event::CompensationBegan { .. } => "compensation begins".to_owned(),
        Event::Blocked { step, .. } => format!("a person is needed at {step}"),
        Event::LateReply { step, neutralised: true, .. } => {
            format!("{step} was done after all, and is undone")
        }
        Event::LateReply { step, neutralised: false, .. } => format!("{step} was done after all"),
        Event::Held => "all steps are done, and it is held".to_owned(),
        Event::Ended { end: End::Completed } => "the saga is completed".to_owned(),
        Event::Ended { end: End::Compensated } => "the saga is compensated".to_owned(),
        Event::WindowMissed => "the window is missed".to_owned(),
        Event::Started(_)
        | Event::SignalTaken { .. }
        | Event::Signalled { .. }
        | Event::Decided { .. }
        | Event::SentAgain { .. }
        | Event::Working { .. }
        | Event::Rejected { .. }
        | Event::Failed { .. }
        | Event::TimedOut { .. }
        | Event::Tombstoned { .. }
        | Event::Unblocked { .. }
        | Event::AskedParent
        | Event::UndoAsked { .. }
        | Event::WindowAtRisk => return None,
    })
}

fn name(definition: &Definition, key: Key) -> String {
    key.name(definition).map(|key| key.to_string()).unwrap_or_default()
}

/// `book (hotel)`: the operation, and its step where that says more.
fn operation(definition: &Definition, key: Key, direction: Direction) -> String {
    let name = name(definition, key);
    let Some(step) = definition.steps.get(key.step) else { return name };
    let operation = match (&step.work, direction) {
        (Work::Participant { action, .. }, Direction::Action) => action.to_string(),
        (Work::Saga { .. }, Direction::Action) => "run".to_owned(),
        (_, Direction::Action) => return name,
        (_, Direction::Compensation) => {
            step.compensation.as_ref().map_or_else(|| "undo".to_owned(), |undo| undo.action.to_string())
        }
    };
    if operation == name { name } else { format!("{operation} ({name})") }
}

fn word(said: Said) -> &'static str {
    match said {
        Said::Ok => "ok",
        Said::Empty => "ok, there was nothing to undo",
        Said::Rejected => "rejected",
        Said::Partial => "rejected, and something is left",
        Said::Failed => "failed",
        Said::Tombstoned => "it was compensated before",
    }
}
