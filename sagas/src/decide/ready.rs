//! Which steps begin: those whose needs are done or skipped, if their condition is true and there is time.

use std::collections::BTreeMap;

use super::{BlockedReason, Cause, Direction, Draft, Event, Json, One, Phase, StepKey, StepState};
use crate::definition::{Definition, ForEach, Step, Zone};
use crate::expression::{Each, Facts, Names, Unresolved};
use crate::ids::{Name, SagaId};
use crate::template::Template;
use crate::time::Millis;
use crate::wire::limit;

/// Why a step cannot be begun.
type Cannot = (&'static str, String);

/// Why a step's condition cannot be decided.
const BAD_CONDITION: &str = "bad_condition";
/// The longest tag that an expression may give, in bytes.
const TAG_BYTES_MAX: usize = 256;

/// The definition's own tags for a saga with this input; those that name nothing in it are left out.
pub fn tags(definition: &Definition, id: SagaId, version: u32, input: &Json) -> BTreeMap<String, String> {
    let facts = Facts { id, definition: definition.name.as_str(), version };
    let names = Names { input, output: &|_| None, each: None, saga: facts };
    let tag = |template: &Template| {
        let value = template.resolve(&names, TAG_BYTES_MAX).ok()?.to_value();
        let text = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Null => return None,
            value @ (serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_)) => value.to_string(),
        };
        // Postgres takes none in what is searched.
        Some(text.replace('\0', "\u{fffd}"))
    };
    definition.tags.iter().filter_map(|(key, template)| Some((key.clone(), tag(template)?))).collect()
}

fn cannot(why: &Unresolved) -> Cannot {
    let code = match why {
        Unresolved::TooLarge(_) | Unresolved::TooDeep(_) => "too_large",
        Unresolved::Missing(_) | Unresolved::Failed { .. } | Unresolved::TooCostly { .. } => "bad_mapping",
    };
    (code, why.to_string())
}

impl<'a> Draft<'a> {
    /// Begins whatever can begin, and ends the saga when everything is done.
    pub(super) fn advance(&mut self) {
        while self.saga.phase == Phase::Forward && self.saga.stopping.is_none() && self.advance_once() {}
    }

    /// Begins what can begin as it stands. `true`: something was settled by that, so that more may be able to.
    fn advance_once(&mut self) -> bool {
        let definition = self.definition;
        let states = self.states();
        let state = |at: usize| states.get(at).copied().flatten();
        let is_settled = |at: usize| matches!(state(at), Some(StepState::Done | StepState::Skipped));
        let mut all_settled = true;
        let mut has_settled = false;
        for at in definition.graph.order() {
            let Some(step) = definition.steps.get(*at) else { continue };
            if is_settled(*at) {
                continue;
            }
            all_settled = false;
            match state(*at) {
                None if definition.graph.needs(*at).iter().all(|need| is_settled(*need)) => {
                    has_settled |= self.begin(*at, step);
                }
                Some(StepState::Acting) if step.for_each.is_some() => has_settled |= self.go_on(*at, step),
                _ => {}
            }
            if self.saga.phase != Phase::Forward || self.saga.stopping.is_some() {
                return false;
            }
        }
        if all_settled {
            self.complete();
        }
        has_settled
    }

    /// The state of each step, by its position; nothing for one that was not begun.
    fn states(&self) -> Vec<Option<StepState>> {
        let mut states = vec![None; self.definition.steps.len()];
        for run in self.saga.steps.iter().filter(|run| run.key.number().is_none()) {
            if let Some((at, _)) = self.definition.step(run.key.as_str())
                && let Some(state) = states.get_mut(at)
            {
                *state = Some(run.state);
            }
        }
        states
    }

    /// Begins a step whose needs are done. `true`: it is settled already.
    fn begin(&mut self, at: usize, step: &'a Step) -> bool {
        let key = StepKey::from(&step.name);
        match self.is_wanted(step) {
            Ok(true) => {}
            Ok(false) => {
                self.record(Event::Skipped { step: key });
                return true;
            }
            // Nothing is undone any more: what is to be done is done, condition or not.
            Err(_) if self.saga.pivot_sent => {}
            Err((code, message)) => {
                self.cannot_send(&key, code, message);
                return false;
            }
        }
        if !self.saga.pivot_sent && self.now >= self.latest(at, step) {
            self.stop(Cause::ForwardBudget { step: key });
            return false;
        }
        if !self.saga.pivot_sent
            && self.definition.graph.zone(at) != Zone::Before
            && let Some((later, code, message)) = self.missing_past(at)
        {
            self.cannot_send(&later, code, message);
            return false;
        }
        if step.work.is_wait() {
            self.begin_waiting(at, step);
            self.curtail();
            return self.run(&key).is_some_and(|run| run.state == StepState::Done);
        }
        if let Some(each) = &step.for_each {
            return match self.items(step, each) {
                Ok(items) => {
                    self.record(Event::Listed { step: key, items });
                    self.go_on(at, step)
                }
                // Never behind the point of no return: it was seen to before that.
                Err((code, message)) => {
                    self.cannot_send(&key, code, message);
                    false
                }
            };
        }
        self.begin_action(at, step, &key);
        false
    }

    fn begin_action(&mut self, at: usize, step: &'a Step, key: &StepKey) {
        match self.request(step, None) {
            Err(why) if self.saga.pivot_sent => self.hold_back(step, key, why),
            Err((code, message)) => self.cannot_send(key, code, message),
            Ok(request) => {
                self.send_action(at, step, key, 1, request);
                self.curtail();
            }
        }
    }

    /// Sends as many of a list's items as may be under way at once. `true`: all of them are done.
    fn go_on(&mut self, at: usize, step: &'a Step) -> bool {
        let Some(each) = &step.for_each else { return false };
        let key = StepKey::from(&step.name);
        let Some(items) = self.run(&key).and_then(|run| run.request.as_ref()) else { return false };
        let serde_json::Value::Array(items) = items.to_value() else { return false };
        let runs = || self.saga.steps.iter().filter(|run| run.key.step() == step.name.as_str());
        let begun = runs().filter(|run| run.key.number().is_some()).count();
        let open = runs().filter(|run| run.key.number().is_some() && run.state == StepState::Acting).count();
        let most = usize::try_from(each.concurrency).unwrap_or(1);
        for (number, item) in items.iter().enumerate().skip(begun).take(most.saturating_sub(open)) {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if !self.begin_item(at, step, each, number, item) {
                return false;
            }
        }
        let is_done = open == 0 && begun >= items.len();
        if is_done {
            self.record(Event::Succeeded {
                step: key,
                direction: Direction::Action,
                attempt: 0,
                output: None,
                empty: false,
            });
        }
        is_done
    }

    /// Sends one item. `false`: the saga stops.
    fn begin_item(
        &mut self,
        at: usize,
        step: &'a Step,
        each: &ForEach,
        number: u32,
        item: &serde_json::Value,
    ) -> bool {
        let key = StepKey::iteration(&step.name, number);
        if !self.saga.pivot_sent && self.now >= self.latest(at, step) {
            self.stop(Cause::ForwardBudget { step: key });
            return false;
        }
        match self.request_of_item(step, each, number, item) {
            Ok(request) => {
                self.send_action(at, step, &key, 1, Some(request));
                self.curtail();
                true
            }
            Err(why) if self.saga.pivot_sent => {
                self.hold_back(step, &key, why);
                true
            }
            Err((code, message)) => {
                self.cannot_send(&key, code, message);
                false
            }
        }
    }

    /// Behind the point of no return a request cannot be made, by what became known only there. Nothing is undone any
    /// more, and what the definition does not ask for is not sent: a person is needed, and it is made anew by and by.
    fn hold_back(&mut self, step: &Step, key: &StepKey, (code, message): Cannot) {
        let again = Some(self.now + self.pause_unsent(step, key));
        let text = format!(
            "the request of {key} cannot be made ({code}): {message}; nothing was sent, and it is made anew by and by"
        );
        self.record(Event::NotSent { step: key.clone(), code: code.to_owned(), message, again });
        self.block(key, BlockedReason::RetriableFails, text);
    }

    /// The time has come to make a request anew that could not be made.
    pub(super) fn make_anew(&mut self, at: usize, step: &Step, key: &StepKey) {
        let request = match (&step.for_each, key.number()) {
            (Some(each), Some(number)) => {
                let items = self.run(&StepKey::from(&step.name)).and_then(|run| run.request.as_ref());
                let items = items.map(Json::to_value).unwrap_or_default();
                let place = usize::try_from(number).unwrap_or(usize::MAX);
                let item = items.get(place).unwrap_or(&serde_json::Value::Null);
                self.request_of_item(step, each, number, item).map(Some)
            }
            _ => self.request(step, None),
        };
        if let Ok(request) = request {
            self.send_action(at, step, key, 1, request);
        } else {
            let at = self.now + self.pause_unsent(step, key);
            self.record(Event::RetryPlanned { step: key.clone(), at });
        }
    }

    fn pause_unsent(&self, step: &Step, key: &StepKey) -> Millis {
        step.retry.pause_longest(&self.effect_id(key, Direction::Action))
    }

    pub(super) fn send_action(
        &mut self,
        position: usize,
        step: &Step,
        key: &StepKey,
        attempt: u32,
        request: Option<Json>,
    ) {
        let until = self.await_until(position, step, key);
        self.record(Event::Sent {
            step: key.clone(),
            direction: Direction::Action,
            attempt,
            until,
            request,
            pivot: self.definition.is_past_pivot(position) && !self.saga.pivot_sent,
        });
        if let Some(flight) = self.run(key).and_then(|run| run.flight) {
            self.emit(&One { step, key, flight }, until.since(self.now));
        }
    }

    fn cannot_send(&mut self, key: &StepKey, code: &str, message: String) {
        let (step, code) = (key.clone(), code.to_owned());
        let again = None;
        self.record(Event::NotSent {
            step: step.clone(),
            code: code.clone(),
            message: message.clone(),
            again,
        });
        self.stop(Cause::NotSent { step, code, message });
    }

    /// What expressions know of this saga.
    fn with_names<T>(&self, each: Option<Each<'_>>, of: impl FnOnce(&Names<'_>) -> T) -> T {
        let output = |step: &str| self.saga.output(step);
        let definition: &Name = &self.definition.name;
        let saga = Facts { id: self.saga.id, definition: definition.as_str(), version: self.saga.version };
        of(&Names { input: &self.saga.input, output: &output, each, saga })
    }

    fn is_wanted(&self, step: &Step) -> Result<bool, Cannot> {
        let Some(when) = &step.when else { return Ok(true) };
        self.with_names(None, |names| when.evaluate_bool(names))
            .map_err(|why| (BAD_CONDITION, why.to_string()))
    }

    /// The items of a list, as many as there may be.
    fn items(&self, step: &Step, each: &ForEach) -> Result<Json, Cannot> {
        let items = self
            .with_names(None, |names| each.items.resolve(names, limit::PAYLOAD_BYTES_MAX))
            .map_err(|why| cannot(&why))?;
        let serde_json::Value::Array(list) = items.to_value() else {
            return Err(("bad_mapping", format!("the items of {} are no list", step.name)));
        };
        let count = list.len();
        if count > usize::try_from(each.max).unwrap_or(usize::MAX) {
            return Err(("too_many_items", format!("{} has {count} items, at most {}", step.name, each.max)));
        }
        // Behind the point of no return there is no way back, and what was seen to before it is not refused now.
        match self.too_large("list", &items) {
            Some(message) if !self.saga.pivot_sent => Err(("too_large", message)),
            Some(_) | None => Ok(items),
        }
    }

    /// Before the point of no return: a step behind it whose condition, list or request cannot be made, by what is known.
    /// Found now it can still be undone. What is begun here itself is looked at by who makes its request, but for
    /// a list: it has more than the one that goes out first.
    fn missing_past(&self, at: usize) -> Option<(StepKey, &'static str, String)> {
        let steps = self.definition.steps.iter().enumerate();
        let is_seen_to = |other: usize, step: &Step| other == at && step.for_each.is_none();
        let behind = steps.filter(|(other, step)| {
            self.definition.graph.zone(*other) == Zone::Behind && !is_seen_to(*other, step)
        });
        behind.map(|(_, step)| step).find_map(|step| {
            let key = StepKey::from(&step.name);
            if self.run(&key).is_some() {
                return None;
            }
            let (code, message) = self.missing_in(step)?;
            Some((key, code, message))
        })
    }

    /// Why a step that is begun later certainly cannot be, unless it is known that it is not wanted.
    fn missing_in(&self, step: &Step) -> Option<Cannot> {
        // A step that was skipped, or whose output was not kept, will never have one.
        let to_come = |name: &str| {
            let run = self.saga.step(name);
            !run.is_some_and(|run| matches!(run.state, StepState::Done | StepState::Skipped))
        };
        let is_known = |steps: Vec<&str>| !steps.into_iter().any(to_come);
        if let Some(when) = &step.when {
            let wanted = if is_known(when.steps_referred_to()) {
                self.is_wanted(step).map(Some)
            } else {
                self.with_names(None, |names| when.known_bool(names, &to_come))
                    .map_err(|why| (BAD_CONDITION, why.to_string()))
            };
            match wanted {
                Ok(Some(true) | None) => {}
                Ok(Some(false)) => return None,
                Err(cannot) => return Some(cannot),
            }
        }
        let Some(each) = &step.for_each else {
            let input = step.input.as_ref()?;
            if is_known(input.steps_referred_to()) {
                return self.resolve(input, None).err();
            }
            return self.with_names(None, |names| input.missing(names, &to_come)).map(|why| cannot(&why));
        };
        let items = match self.items(step, each) {
            Ok(items) => items.to_value(),
            Err(cannot) => return Some(cannot),
        };
        let items: Vec<Json> = items.as_array().into_iter().flatten().map(Json::from_value).collect();
        let input = step.input.as_ref()?;
        let missing =
            self.with_names(None, |names| input.missing_of_items(names, &to_come, &each.name, &items));
        missing.map(|(at, why)| {
            let (code, message) = cannot(&why);
            (code, format!("item {at}: {message}"))
        })
    }

    /// The request of one item of a list. Without an input of its own, it is the item.
    fn request_of_item(
        &self,
        step: &Step,
        each: &ForEach,
        number: u32,
        item: &serde_json::Value,
    ) -> Result<Json, Cannot> {
        let item = Json::from_value(item);
        let one = Each { name: &each.name, item: &item, index: number };
        Ok(self.request(step, Some(one))?.unwrap_or(item))
    }

    /// The request of a step, checked for its size here and not after the commit: what was committed
    /// must be sendable.
    fn request(&self, step: &Step, each: Option<Each<'_>>) -> Result<Option<Json>, Cannot> {
        let Some(template) = &step.input else { return Ok(None) };
        let request = self.resolve(template, each)?;
        // Behind the point of no return there is no way back: there each request has its own limit alone, which is looked
        // at by the filling.
        match self.too_large("request", &request) {
            Some(message) if !self.saga.pivot_sent => Err(("too_large", message)),
            Some(_) | None => Ok(Some(request)),
        }
    }

    fn resolve(&self, template: &Template, each: Option<Each<'_>>) -> Result<Json, Cannot> {
        self.with_names(each, |names| template.resolve(names, limit::PAYLOAD_BYTES_MAX))
            .map_err(|why| cannot(&why))
    }
}
