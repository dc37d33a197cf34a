//! Digests of whole sets of records: two nodes find out what differs without sending everything.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::canonical;

/// The format of summaries: how records are hashed and put into buckets. Those of different formats say nothing about each other.
const FORMAT: u32 = 1;

/// Each bucket has so many below it.
const FAN_OUT: usize = 16;

/// The deepest tree: a million buckets, and 17 MB.
const MAX_DEPTH: u8 = 5;

/// A part of all records: those whose ids have hashes that begin with certain hexadecimal digits. Its text is these digits; that of
/// [`Bucket::ALL`] is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bucket {
    depth: u8,
    index: u32,
}

/// A text that names no bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no bucket: at most {MAX_DEPTH} hexadecimal digits do, in lower case")]
pub struct InvalidBucket(String);

impl Bucket {
    /// All records.
    pub const ALL: Self = Self { depth: 0, index: 0 };

    /// The sixteen buckets that it is made of, while the tree goes that deep.
    fn children(self) -> impl Iterator<Item = Self> {
        let depth = self.depth + 1;
        (0..16).map(move |digit| Self { depth, index: self.index * 16 + digit })
    }

    /// How many digits it has.
    pub fn depth(self) -> u8 {
        self.depth
    }

    /// Whether the record with this leaf is in it.
    pub fn contains(self, leaf: &Leaf) -> bool {
        leaf.bucket(self.depth) == self
    }

    fn at(self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.depth {
            0 => Ok(()),
            depth => write!(f, "{:0width$x}", self.index, width = usize::from(depth)),
        }
    }
}

impl FromStr for Bucket {
    type Err = InvalidBucket;

    fn from_str(text: &str) -> Result<Self, InvalidBucket> {
        let invalid = || InvalidBucket(text.chars().take(16).collect());
        let depth = u8::try_from(text.len()).ok().filter(|depth| *depth <= MAX_DEPTH).ok_or_else(invalid)?;
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !text.bytes().all(digit) {
            return Err(invalid());
        }
        Ok(Self { depth, index: u32::from_str_radix(text, 16).unwrap_or_default() })
    }
}

impl TryFrom<String> for Bucket {
    type Error = InvalidBucket;

    fn try_from(text: String) -> Result<Self, InvalidBucket> {
        text.parse()
    }
}

impl From<Bucket> for String {
    fn from(bucket: Bucket) -> Self {
        bucket.to_string()
    }
}

/// What one record adds to the digests: where, and which hash. 20 bytes to be kept beside the record, so that digests are made, and
/// changed, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Leaf {
    place: u32,
    hash: u128,
}

impl Leaf {
    pub(crate) fn new(id: &str, hash: u128) -> Self {
        let id = canonical::hash(&[b"snorri record id 1", id.as_bytes()]);
        let [.., a, b, c, d] = id.to_be_bytes();
        Self { place: u32::from_be_bytes([a, b, c, d]), hash }
    }

    /// A leaf that was kept.
    pub fn from_parts(place: u32, hash: u128) -> Self {
        Self { place, hash }
    }

    /// Where in the tree the record is. It depends on its id alone; the first hexadecimal digits are its buckets.
    pub fn place(&self) -> u32 {
        self.place
    }

    /// The hash of all that the copy knows of the record.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// The bucket of that depth that the record is in.
    fn bucket(&self, depth: u8) -> Bucket {
        let index = u64::from(self.place) >> (32 - 4 * u32::from(depth));
        Bucket { depth, index: u32::try_from(index).unwrap_or_default() }
    }
}

/// The digests of one node's records of one type, as a tree of buckets. The order of records does not matter, and a change of one record
/// costs the same few additions however many there are.
///
/// Two nodes compare from the top down: [`summary`](Self::summary) of [`Bucket::ALL`], then of the buckets that
/// [`differing`](Summary::differing) names, until these are the tree's last. Then the records in them are exchanged and joined.
///
/// ```
/// use snorri_records::{Bucket, Clock, Digests, RecordType, Rule, Summary, Write};
/// use serde_json::json;
///
/// let prices = RecordType::new("price", Rule::LastWriterWins)?;
/// let mut clock = Clock::new("shop".parse()?);
/// let (mut here, mut there) = (Digests::new(2)?, Digests::new(2)?);
/// let mut leaves = Vec::new();
/// for n in 0..1000 {
///     let mut price = prices.record(&format!("p-{n}"))?;
///     prices.write(&mut price, Write::put(clock.tick(1)?, "import", json!(n)))?;
///     leaves.push(prices.leaf(&price));
/// }
/// leaves.iter().for_each(|leaf| here.add(leaf));
/// leaves.iter().rev().skip(1).for_each(|leaf| there.add(leaf)); // one is missing there
///
/// let mut differ = vec![Bucket::ALL];
/// while differ.iter().any(|bucket| bucket.depth() < here.depth()) {
///     differ = Summary::differing(&[here.summary(&differ), there.summary(&differ)])?;
/// }
/// assert_eq!(differ.len(), 1);
/// assert!(differ[0].contains(&leaves[999]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// From the root down. Each hash is the sum of those below it.
    levels: Vec<Vec<u128>>,
}

/// Why digests cannot be made or compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// A tree of that depth is too large.
    #[error("digests have a depth from 1 to {MAX_DEPTH}, not {0}: 4 is for a million records")]
    Depth(u8),
    /// The summaries are from different versions of this crate.
    #[error("digests of format {0} and of format {1} cannot be compared: upgrade the older node")]
    Formats(u32, u32),
    /// The trees have different depths, or the summaries are of different buckets.
    #[error("the summaries are not of the same buckets, or of trees of different depths")]
    Buckets,
}

impl Digests {
    /// The digests of no records. The deepest level has 16 to the power of `depth` buckets; a hundred records in each are few enough to be
    /// sent, so 3 is for some hundred thousand records, and 4 for millions.
    pub fn new(depth: u8) -> Result<Self, DigestError> {
        if !(1..=MAX_DEPTH).contains(&depth) {
            return Err(DigestError::Depth(depth));
        }
        let levels = (0..=u32::from(depth)).map(|level| vec![0; FAN_OUT.pow(level)]).collect();
        Ok(Self { levels })
    }

    /// How many levels there are below the root.
    pub fn depth(&self) -> u8 {
        u8::try_from(self.levels.len() - 1).unwrap_or(MAX_DEPTH)
    }

    /// Adds a record. For a change, remove the old leaf and add the new one.
    pub fn add(&mut self, leaf: &Leaf) {
        self.change(leaf, leaf.hash);
    }

    /// Removes a record that was added.
    pub fn remove(&mut self, leaf: &Leaf) {
        self.change(leaf, leaf.hash.wrapping_neg());
    }

    /// The sum of all records: equal if and only if the records are, up to one chance in 2^128.
    pub fn root(&self) -> u128 {
        self.levels[0][0]
    }

    /// The digests of what these buckets are made of, to be sent to another node. Of a bucket of the deepest level it is its own. Buckets
    /// that the tree does not have are left out.
    pub fn summary(&self, buckets: &[Bucket]) -> Summary {
        let depth = self.depth();
        let parts = buckets.iter().filter(|bucket| bucket.depth <= depth).flat_map(|bucket| {
            let itself = (bucket.depth == depth).then_some(*bucket);
            let below = (bucket.depth < depth).then(|| bucket.children());
            itself.into_iter().chain(below.into_iter().flatten())
        });
        let digest = |bucket: Bucket| {
            (bucket, format!("{:032x}", self.levels[usize::from(bucket.depth)][bucket.at()]))
        };
        Summary { format: FORMAT, depth, digests: parts.map(digest).collect() }
    }

    fn change(&mut self, leaf: &Leaf, by: u128) {
        for depth in 0..=self.depth() {
            let bucket = leaf.bucket(depth);
            let digest = &mut self.levels[usize::from(depth)][bucket.at()];
            *digest = digest.wrapping_add(by);
        }
    }
}

/// The digests of some buckets, as one node sends them to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    format: u32,
    depth: u8,
    digests: BTreeMap<Bucket, String>,
}

impl Summary {
    /// In which buckets the nodes do not all have the same.
    pub fn differing(summaries: &[Self]) -> Result<Vec<Bucket>, DigestError> {
        let Some((first, others)) = summaries.split_first() else { return Ok(Vec::new()) };
        for other in others {
            if other.format != first.format {
                return Err(DigestError::Formats(first.format, other.format));
            }
            if other.depth != first.depth || !other.digests.keys().eq(first.digests.keys()) {
                return Err(DigestError::Buckets);
            }
        }
        let differs = |(bucket, digest): (&Bucket, &String)| {
            others.iter().any(|other| other.digests.get(bucket) != Some(digest)).then_some(*bucket)
        };
        Ok(first.digests.iter().filter_map(differs).collect())
    }
}
