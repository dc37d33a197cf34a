//! Names and identities: a saga's id, the names people give things, and the two identities of a
//! message: the *effect* (stable over all attempts) and the *command* (one sending of one attempt).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The identity of one saga: a UUIDv7, so that ids sort by time. Its 16 bytes are the trace id too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SagaId(pub Uuid);

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for SagaId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

impl SagaId {
    /// The id of the sub-saga that a step starts: the same whenever and by whomever it is started, and of the parent's
    /// time, so that it is found where the parent is.
    #[must_use]
    pub fn child(self, step: &StepKey) -> Self {
        let digest: [u8; 32] = Sha256::digest(format!("{self}.{step}").as_bytes()).into();
        let mut bytes = [0; 16];
        for (at, (byte, (of_parent, of_digest))) in
            bytes.iter_mut().zip(self.0.as_bytes().iter().zip(digest)).enumerate()
        {
            *byte = match at {
                0..6 => *of_parent,
                6 => 0x70 | (of_digest & 0x0f),
                8 => 0x80 | (of_digest & 0x3f),
                _ => of_digest,
            };
        }
        Self(Uuid::from_bytes(bytes))
    }
}

impl From<SagaId> for Uuid {
    fn from(id: SagaId) -> Self {
        id.0
    }
}

/// A name as it appears in definitions and in subjects: `[a-z0-9][a-z0-9_-]{0,63}`.
/// The small alphabet is what keeps wildcards, dots and line breaks out of subjects and headers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: use 1 to 64 of a-z, 0-9, `_` and `-`, beginning with a letter or a digit")]
pub struct NotAName(pub String);

impl Name {
    /// The longest name, in bytes.
    pub const LENGTH_MAX: usize = 64;

    /// Checks the text and makes it a name.
    pub fn new(text: &str) -> Result<Self, NotAName> {
        let fits = (1..=Self::LENGTH_MAX).contains(&text.len());
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest =
            text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if fits && first && rest {
            Ok(Self(Arc::from(text)))
        } else {
            Err(NotAName(text.chars().take(80).collect()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// What a step, or one iteration of a `for_each` step, is called in the journal and on the wire: `import`, or
/// `import:3`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey(Arc<str>);

/// The text is not a [`StepKey`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no step: use its name, or its name, a colon and the number of the iteration from 0")]
pub struct NotAStepKey(pub String);

impl StepKey {
    /// The highest number of an iteration.
    pub const ITERATION_MAX: u32 = 99_999;

    /// One iteration of a step.
    pub fn iteration(step: &Name, number: u32) -> Self {
        Self(Arc::from(format!("{step}:{}", number.min(Self::ITERATION_MAX))))
    }

    /// The whole key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The step's name.
    pub fn step(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(step, _)| step)
    }

    /// The iteration's number, if it is one.
    pub fn number(&self) -> Option<u32> {
        self.0.split_once(':').and_then(|(_, number)| number.parse().ok())
    }
}

impl From<&Name> for StepKey {
    fn from(name: &Name) -> Self {
        Self(name.0.clone())
    }
}

impl FromStr for StepKey {
    type Err = NotAStepKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NotAStepKey(text.chars().take(80).collect());
        let (step, number) = match text.split_once(':') {
            Some((step, number)) => (step, Some(number)),
            None => (text, None),
        };
        let name = Name::new(step).map_err(|_| bad())?;
        let Some(number) = number else { return Ok(Self(name.0)) };
        // One spelling only: a key is compared as text.
        let is_plain =
            number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
        match number.parse::<u32>() {
            Ok(value) if is_plain && value <= Self::ITERATION_MAX => Ok(Self(Arc::from(text))),
            Ok(_) | Err(_) => Err(bad()),
        }
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for StepKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for StepKey {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl Serialize for StepKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StepKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which of a step's two operations: the action, or the compensation that reverses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The forward operation of a step.
    Action,
    /// The operation that reverses it.
    Compensation,
}

impl Direction {
    /// The word used on the wire, in metrics and in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Compensation => "compensation",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Direction {
    type Err = NotACommandId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "action" => Ok(Self::Action),
            "compensation" => Ok(Self::Compensation),
            other => Err(NotACommandId(other.chars().take(80).collect())),
        }
    }
}

/// The business idempotency key: one operation of one step of one saga, the same over all attempts.
/// Text form: `<saga>.<step>.<direction>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId {
    /// The saga.
    pub saga: SagaId,
    /// The step, or its iteration.
    pub step: StepKey,
    /// Action or compensation.
    pub direction: Direction,
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.saga, self.step, self.direction)
    }
}

/// One sending of one attempt of an effect. It is the command's `Nats-Msg-Id`, and what a reply names.
/// The attempt is in it because JetStream's duplicate window would swallow the retry otherwise; the
/// sending is in it because a replica that takes a saga over must be able to send an attempt again.
/// Text form: `<saga>.<step>.<direction>.<attempt>.<sending>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId {
    /// What the command is to effect.
    pub effect: EffectId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How often this attempt was sent again before, from 0.
    pub sending: u32,
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.effect, self.attempt, self.sending)
    }
}

/// The text is not a [`CommandId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a command id: expected <saga>.<step>.<action|compensation>.<attempt>.<sending>")]
pub struct NotACommandId(pub String);

impl FromStr for CommandId {
    type Err = NotACommandId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NotACommandId(text.chars().take(80).collect());
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or_else(bad);
        let saga = next()?.parse().map_err(|_| bad())?;
        let step = next()?.parse().map_err(|_| bad())?;
        let direction = next()?.parse().map_err(|_| bad())?;
        let attempt = next()?.parse().map_err(|_| bad())?;
        let sending = next()?.parse().map_err(|_| bad())?;
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self { effect: EffectId { saga, step, direction }, attempt, sending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_id_reads_back_as_written() {
        let text = "01936d3e-7f0a-7000-8000-000000000001.reserve.compensation.3.1";
        let id: CommandId = text.parse().expect("a command id");
        assert_eq!(id.to_string(), text);
        assert_eq!((id.attempt, id.sending, id.effect.direction), (3, 1, Direction::Compensation));
    }

    #[test]
    fn an_iteration_is_a_part_of_the_command_id() {
        let text = "01936d3e-7f0a-7000-8000-000000000001.import:12.action.1.0";
        let id: CommandId = text.parse().expect("a command id");
        assert_eq!(id.to_string(), text);
        assert_eq!((id.effect.step.step(), id.effect.step.number()), ("import", Some(12)));
        assert_eq!(id.effect.step, StepKey::iteration(&Name::new("import").expect("a name"), 12));
        for bad in
            ["import:", "import:x", "import:01", "import:+1", "import:100000", ":1", "import:1:2", "a.b"]
        {
            assert!(bad.parse::<StepKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_childs_id_follows_from_its_parent_and_sorts_beside_it() {
        let parent: SagaId = "01936d3e-7f0a-7000-8000-000000000001".parse().expect("an id");
        let key = |text: &str| text.parse::<StepKey>().expect("a key");
        let child = parent.child(&key("ship"));
        assert_eq!(child, parent.child(&key("ship")));
        assert_ne!(child, parent.child(&key("ship:0")));
        assert_eq!(child.0.get_version_num(), 7);
        assert_eq!(child.0.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(child.0.as_bytes().get(..6), parent.0.as_bytes().get(..6));
    }

    #[test]
    fn a_command_id_with_anything_missing_or_more_is_refused() {
        for text in [
            "",
            "x",
            "01936d3e-7f0a-7000-8000-000000000001.reserve.action.1",
            "01936d3e-7f0a-7000-8000-000000000001.reserve.action.1.0.0",
            "01936d3e-7f0a-7000-8000-000000000001.reserve.undo.1.0",
            "01936d3e-7f0a-7000-8000-000000000001.RESERVE.action.1.0",
            "01936d3e-7f0a-7000-8000-000000000001.reserve.action.-1.0",
        ] {
            assert!(text.parse::<CommandId>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_keep_wildcards_dots_and_line_breaks_out_of_subjects() {
        for bad in ["", "-a", "_a", "A", "a.b", "a*", "a>", "a b", "a\r\nb", "é", &"a".repeat(65)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "0", "charge-card", "a_b", &"a".repeat(64)] {
            assert!(Name::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_name_is_its_text_to_maps_to_logs_and_to_json() {
        let name: Name = "pay".parse().expect("a name");
        assert_eq!(std::collections::HashMap::from([(name.clone(), 7)]).get("pay"), Some(&7));
        assert_eq!(format!("{name} {name:?}"), "pay pay");
        assert_eq!(serde_json::to_string(&name).expect("JSON"), r#""pay""#);
        assert!(serde_json::from_str::<Name>(r#""Pay""#).is_err(), "JSON lets nothing else in");
    }

    #[test]
    fn a_sagas_id_is_its_uuid_to_databases_to_logs_and_to_json() {
        let text = "01936d3e-7f0a-7000-8000-000000000001";
        let id: SagaId = text.parse().expect("an id");
        assert_eq!(Uuid::from(id).to_string(), text);
        assert_eq!(format!("{id} {id:?}"), format!("{text} {text}"));
        assert_eq!(serde_json::to_string(&id).expect("JSON"), format!("{text:?}"));
    }
}
