//! When something was written, in an order that all nodes share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::node::Node;

/// Wall-clock milliseconds fill 48 bits, until the year 10889.
pub(crate) const MAX_MILLIS: u64 = (1 << 48) - 1;

/// A reading of a hybrid logical clock: wall-clock milliseconds, and a count for what happens within one of them. As text
/// `<millis>-<count>`.
///
/// ```
/// use snorri_records::Tick;
///
/// let tick: Tick = "1763948258123-2".parse()?;
/// assert_eq!((tick.millis(), tick.count()), (1_763_948_258_123, 2));
/// assert!(tick < "1763948258124-0".parse()?);
/// # Ok::<(), snorri_records::InvalidStamp>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tick {
    millis: u64,
    count: u16,
}

/// A text that is no [`Tick`] or no [`Stamp`], or a time that has more than 48 bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: `1763948258123-0` is one, and with the node's name `1763948258123-0@billing`")]
pub struct InvalidStamp(String);

impl Tick {
    /// A reading of these parts. The milliseconds have at most 48 bits.
    pub fn new(millis: u64, count: u16) -> Result<Self, InvalidStamp> {
        if millis > MAX_MILLIS { Err(InvalidStamp(millis.to_string())) } else { Ok(Self { millis, count }) }
    }

    /// Milliseconds since 1970, by the fastest wall clock that had a say.
    pub fn millis(self) -> u64 {
        self.millis
    }

    /// Which one within the millisecond.
    pub fn count(self) -> u16 {
        self.count
    }

    /// The least reading after this one; nothing after the last.
    pub(crate) fn next(self) -> Option<Self> {
        match self.count.checked_add(1) {
            Some(count) => Some(Self { millis: self.millis, count }),
            None => Self::new(self.millis + 1, 0).ok(),
        }
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.count)
    }
}

impl FromStr for Tick {
    type Err = InvalidStamp;

    fn from_str(text: &str) -> Result<Self, InvalidStamp> {
        text.split_once('-')
            .and_then(|(millis, count)| Self::new(number(millis)?, number(count)?).ok())
            .ok_or_else(|| invalid(text))
    }
}

/// A number in its one spelling: no sign, no leading zeros.
fn number<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| number.to_string() == text)
}

fn invalid(text: &str) -> InvalidStamp {
    InvalidStamp(text.chars().take(120).collect())
}

impl TryFrom<String> for Tick {
    type Error = InvalidStamp;

    fn try_from(text: String) -> Result<Self, InvalidStamp> {
        text.parse()
    }
}

impl From<Tick> for String {
    fn from(tick: Tick) -> Self {
        tick.to_string()
    }
}

/// When and where a write was made. It names the write: no two writes of one record have the same stamp. As text
/// `<millis>-<count>@<node>`.
///
/// Stamps have one order on all nodes: by time, and within the same reading by the node's name. A write that had seen another has
/// the greater stamp. The other way round says nothing: a greater stamp may belong to a write that knew nothing of the lesser one;
/// [`Version`](crate::Version) tells these two apart.
///
/// ```
/// use snorri_records::Stamp;
///
/// let stamp: Stamp = "1763948258123-0@billing".parse()?;
/// assert_eq!(stamp.node().as_str(), "billing");
/// assert!(stamp < "1763948258123-0@orders".parse()?);
/// assert_eq!(stamp.to_string(), "1763948258123-0@billing");
/// # Ok::<(), snorri_records::InvalidStamp>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stamp {
    tick: Tick,
    node: Node,
}

impl Stamp {
    /// The stamp of a write that `node` makes at `tick`. [`Clock::tick`](crate::Clock::tick) makes them in order.
    pub fn new(tick: Tick, node: Node) -> Self {
        Self { tick, node }
    }

    /// When, by the hybrid logical clock of its node.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// The node that wrote.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.tick, self.node)
    }
}

impl FromStr for Stamp {
    type Err = InvalidStamp;

    fn from_str(text: &str) -> Result<Self, InvalidStamp> {
        text.split_once('@')
            .and_then(|(tick, node)| Some(Self::new(tick.parse().ok()?, node.parse().ok()?)))
            .ok_or_else(|| invalid(text))
    }
}

impl TryFrom<String> for Stamp {
    type Error = InvalidStamp;

    fn try_from(text: String) -> Result<Self, InvalidStamp> {
        text.parse()
    }
}

impl From<Stamp> for String {
    fn from(stamp: Stamp) -> Self {
        stamp.to_string()
    }
}
