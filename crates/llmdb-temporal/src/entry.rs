//! Break points, and the stored value of a key: its last break point, with the value at hand.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     1  from the last break point on: 0 = nothing, 1 = a value, which follows here, 2 = a value, which stands
//!               in the operations log; 4 more where the key has blocks
//!      1     8  where the last break point lies, i64. The smallest number and nothing: no break point is left
//!      9     8  the commit since which it stands, u64
//!     17     8  the commit since which nothing from there on changed, u64, not earlier than the one before
//!     25     8  kinds 1 and 2 only: the commit that asserted the value, u64, not later than the one at 9
//!     33     4  kinds 1 and 2 only: the place of the operation that asserted it in that commit, u32
//!     37     n  kind 1 only: the value, n >= 0 bytes
//! ```
//!
//! A key without blocks has had one break point at all times.
//!
//! Invariants
//! 1. A break point stood for at least one commit: `since < until`.
//! 2. "Nothing" and an empty value are different things.
//!
//! Not here: the key beside it (`encoding`), all other break points (`block`).

use crate::encoding::KeyError;
use crate::types::ValidTime;

const KIND_OFFSET: usize = 0;
const AT_OFFSET: usize = KIND_OFFSET + size_of::<u8>();
const SINCE_OFFSET: usize = AT_OFFSET + size_of::<i64>();
const SETTLED_OFFSET: usize = SINCE_OFFSET + size_of::<u64>();
const ASSERTED_OFFSET: usize = SETTLED_OFFSET + size_of::<u64>();
const INDEX_OFFSET: usize = ASSERTED_OFFSET + size_of::<u64>();
/// Bytes before the value.
pub(crate) const VALUE_OFFSET: usize = INDEX_OFFSET + size_of::<u32>();
const _: () = assert!(VALUE_OFFSET == 37);

const KIND_NOTHING: u8 = 0;
const KIND_VALUE: u8 = 1;
const KIND_VALUE_IN_LOG: u8 = 2;
const HAS_BLOCKS: u8 = 4;

/// `until` of a break point that still stands; no commit has this number.
pub(crate) const ALIVE: u64 = u64::MAX;

/// Bytes that a value may have: a record of the store holds 4 GiB, and the operations log adds its header and
/// a key to the value.
pub(crate) const VALUE_SIZE_MAX: usize = u32::MAX as usize - (1 << 20);

/// A believed value: the operation that asserted it, in whose record it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Belief {
    /// The commit of the operation.
    pub(crate) asserted: u64,
    /// Its place in the commit.
    pub(crate) index: u32,
}

/// A break point with all its times: it stood in `[since, until)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) at: ValidTime,
    pub(crate) since: u64,
    pub(crate) until: u64,
    pub(crate) belief: Option<Belief>,
}

/// The last break point of a key, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail<'a> {
    pub(crate) point: Point,
    /// Since when nothing at or behind it changed.
    pub(crate) settled: u64,
    pub(crate) has_blocks: bool,
    /// The value, where it is at hand.
    pub(crate) value: Option<&'a [u8]>,
}

/// Why stored bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the stored bytes are {0}, which does not fit what they say of themselves")]
    Size(usize),
    #[error("the stored bytes are of the unknown kind {0}")]
    Kind(u8),
    #[error("the break point stood from commit {since} to {until}, which is no time at all")]
    Empty { since: u64, until: u64 },
    #[error("the value was asserted by commit {asserted}, after commit {since} since which it stood")]
    Asserted { asserted: u64, since: u64 },
    #[error(
        "nothing changed since commit {settled}, before commit {since} since which the break point stands"
    )]
    Settled { settled: u64, since: u64 },
    #[error("{0}")]
    Order(&'static str),
}

impl Point {
    /// Whether it stood once `commit` was recorded.
    pub(crate) fn stood_at(&self, commit: u64) -> bool {
        self.since <= commit && commit < self.until
    }

    /// Refuses what no break point can be.
    pub(crate) fn checked(self) -> Result<Self, EntryError> {
        let Self { at, since, until, belief } = self;
        if since >= until {
            return Err(EntryError::Empty { since, until });
        }
        if at == ValidTime::POS_INF {
            return Err(EntryError::Order("a break point lies at plus infinity"));
        }
        match belief {
            Some(Belief { asserted, .. }) if asserted > since => {
                Err(EntryError::Asserted { asserted, since })
            }
            _ => Ok(self),
        }
    }
}

impl<'a> Tail<'a> {
    /// For a key that has no break point any more.
    pub(crate) fn none_left(commit: u64) -> Self {
        let point = Point { at: ValidTime::NEG_INF, since: commit, until: ALIVE, belief: None };
        Self { point, settled: commit, has_blocks: true, value: None }
    }

    /// Whether the key has no break point any more: "nothing" is never the first one.
    pub(crate) fn is_none_left(&self) -> bool {
        self.point.belief.is_none() && self.point.at == ValidTime::NEG_INF
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let kind = match (self.point.belief, self.value) {
            (None, _) => KIND_NOTHING,
            (Some(_), Some(_)) => KIND_VALUE,
            (Some(_), None) => KIND_VALUE_IN_LOG,
        };
        let mut out = Vec::with_capacity(VALUE_OFFSET + self.value.map_or(0, <[u8]>::len));
        out.push(kind | if self.has_blocks { HAS_BLOCKS } else { 0 });
        out.extend_from_slice(&self.point.at.micros().to_le_bytes());
        out.extend_from_slice(&self.point.since.to_le_bytes());
        out.extend_from_slice(&self.settled.to_le_bytes());
        if let Some(belief) = self.point.belief {
            out.extend_from_slice(&belief.asserted.to_le_bytes());
            out.extend_from_slice(&belief.index.to_le_bytes());
            out.extend_from_slice(self.value.unwrap_or_default());
        }
        out
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let size = EntryError::Size(bytes.len());
        let Some((head, rest)) = bytes.split_first_chunk::<ASSERTED_OFFSET>() else { return Err(size) };
        let kind = head[KIND_OFFSET] & !HAS_BLOCKS;
        let (belief, value) = match (kind, rest) {
            (KIND_NOTHING, []) => (None, None),
            (KIND_NOTHING, _) => return Err(size),
            (KIND_VALUE | KIND_VALUE_IN_LOG, _) => {
                let Some((asserted, rest)) = take_number(rest) else { return Err(size) };
                let Some((index, value)) = rest.split_first_chunk() else { return Err(size) };
                if kind == KIND_VALUE_IN_LOG && !value.is_empty() {
                    return Err(size);
                }
                let belief = Belief { asserted, index: u32::from_le_bytes(*index) };
                (Some(belief), (kind == KIND_VALUE).then_some(value))
            }
            _ => return Err(EntryError::Kind(head[KIND_OFFSET])),
        };
        let at = ValidTime::from_raw(word(head, AT_OFFSET).cast_signed());
        let (since, settled) = (word(head, SINCE_OFFSET), word(head, SETTLED_OFFSET));
        if settled < since {
            return Err(EntryError::Settled { settled, since });
        }
        let point = Point { at, since, until: ALIVE, belief }.checked()?;
        Ok(Self { point, settled, has_blocks: head[KIND_OFFSET] & HAS_BLOCKS != 0, value })
    }
}

/// The little-endian number at the start, and the rest.
pub(crate) fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u64::from_le_bytes(*number), rest))
}

/// The little-endian number at an offset that lies inside.
fn word(bytes: &[u8; ASSERTED_OFFSET], offset: usize) -> u64 {
    let mut number = [0; size_of::<u64>()];
    number.copy_from_slice(&bytes[offset..offset + size_of::<u64>()]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tail(belief: Option<(u64, u32)>, value: Option<&[u8]>) -> Tail<'_> {
        let belief = belief.map(|(asserted, index)| Belief { asserted, index });
        let point = Point { at: ValidTime::from_raw(-1), since: 258, until: ALIVE, belief };
        Tail { point, settled: 259, has_blocks: true, value }
    }

    #[test]
    fn the_byte_table_is_what_is_written() {
        let head = [&[0xff; 8][..], &[2, 1, 0, 0, 0, 0, 0, 0], &[3, 1, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(tail(None, None).encode(), [&[4][..], &head].concat());
        let belief = [2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        assert_eq!(tail(Some((2, 7)), Some(b"v")).encode(), [&[5][..], &head, &belief, b"v"].concat());
        assert_eq!(tail(Some((2, 7)), None).encode(), [&[6][..], &head, &belief].concat());
        let alone = Tail { has_blocks: false, ..tail(Some((2, 7)), Some(b"")) };
        assert_eq!(alone.encode(), [&[1][..], &head, &belief].concat());
    }

    #[test]
    fn nothing_and_an_empty_value_differ() {
        let empty = tail(Some((1, 0)), Some(b"")).encode();
        assert_ne!(empty, tail(None, None).encode());
        assert_eq!(Tail::decode(&empty).unwrap().value, Some(&b""[..]));
        assert!(!tail(None, None).is_none_left() && Tail::none_left(3).is_none_left());
    }

    #[test]
    fn times_that_contradict_each_other_are_refused() {
        let decode = |tail: Tail<'_>| Tail::decode(&tail.encode()).map(|_| ()).unwrap_err();
        let late = tail(Some((259, 0)), None);
        assert_eq!(decode(late), EntryError::Asserted { asserted: 259, since: 258 });
        let early = Tail { settled: 257, ..tail(None, None) };
        assert_eq!(decode(early), EntryError::Settled { settled: 257, since: 258 });
        let point = Point { at: ValidTime::POS_INF, ..tail(None, None).point };
        assert!(matches!(decode(Tail { point, ..tail(None, None) }), EntryError::Order(_)));
        let point = Point { since: 4, until: 4, ..point };
        assert_eq!(point.checked(), Err(EntryError::Empty { since: 4, until: 4 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hostile_bytes_are_an_error_or_a_tail_that_encodes_to_them(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..50),
                proptest::collection::vec(prop_oneof![9 => Just(0u8), 1 => 0u8..8], 20..50),
            ]
        ) {
            if let Ok(tail) = Tail::decode(&bytes) {
                prop_assert_eq!(tail.encode(), bytes);
            }
        }
    }
}
