//! What must be true at the participants when a saga has ended.

use snorri_saga::definition::Definition;
use snorri_saga::ids::Direction;
use snorri_saga::saga::StepState;

use crate::explore::model::Answer;
use crate::explore::participant::Said;
use crate::explore::world::{Key, Message, World, may_stay};

/// Each step that was not skipped is done, once, and nothing is undone.
pub(super) fn all_done(definition: &Definition, world: &World, when: &str) -> Option<String> {
    for (at, step) in definition.steps.iter().enumerate() {
        let run = world.saga.step(step.name.as_str());
        let is_skipped = world.answers.get(at).copied().flatten() == Some(Answer::Skip);
        match run.map(|run| run.state) {
            Some(StepState::Skipped) if is_skipped => continue,
            Some(StepState::Done) if !is_skipped => {}
            _ => return Some(format!("{when}, and `{}` is not done", step.name)),
        }
        if step.work.is_wait() {
            continue;
        }
        let items = match (&step.for_each, world.answers.get(at).copied().flatten()) {
            (Some(_), Some(Answer::Run(items))) => (0..items).map(Some).collect(),
            (Some(_), _) => Vec::new(),
            (None, _) => vec![None],
        };
        for item in items {
            let key = Key { step: at, item };
            let truth = world.truth(key);
            if truth.action != Some(Said::Ok) || truth.compensation.is_some() {
                let name = key.name(definition)?;
                return Some(format!("{when}, and the effect of `{name}` is not there"));
            }
        }
    }
    None
}

/// Nothing is left of what can be undone, and nothing can still be done.
pub(super) fn all_undone(definition: &Definition, world: &World) -> Option<String> {
    for (key, truth) in world.truths.iter() {
        let step = definition.steps.get(key.step)?;
        if truth.is_left() && !may_stay(step) {
            return Some(format!(
                "the saga is compensated, and the effect of `{}` is left",
                key.name(definition)?
            ));
        }
    }
    world.out.iter().find_map(|message| match message {
        Message::Command { key, direction: Direction::Action, attempt, .. } => {
            let step = definition.steps.get(key.step)?;
            let truth = world.truth(*key);
            let will_be_done = truth.is_open() && truth.kept(step, Direction::Action, *attempt).is_none();
            let name = key.name(definition)?;
            (will_be_done && !may_stay(step)).then(|| {
                format!("the saga is compensated, and the command of `{name}`, still on its way, will be carried out")
            })
        }
        _ => None,
    })
}
