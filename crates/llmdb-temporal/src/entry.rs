//! The stored value of a break point: since which commit it stood, and what is believed from there on.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     1  kind: 0 = from here nothing, 1 = from here a value
//!      1     8  the commit since which the break point stood, u64
//!      9     8  kind 1 only: the commit that asserted the value, u64, not later than the one before
//!     17     n  kind 1 only: the value, n >= 0 bytes
//! ```
//!
//! The same bytes stand in the tree of the living and, once the break point is ended, in that of the dead.
//!
//! Invariants
//! 1. A break point stood for at least one commit: `since < until`.
//! 2. "Nothing" and an empty value are different things.
//!
//! Not here: the key beside it (`encoding`).

use crate::encoding::{self, DeadKey, KeyError, LiveKey};
use crate::types::ValidTime;

const KIND_OFFSET: usize = 0;
const SINCE_OFFSET: usize = KIND_OFFSET + size_of::<u8>();
const ASSERTED_OFFSET: usize = SINCE_OFFSET + size_of::<u64>();
const VALUE_OFFSET: usize = ASSERTED_OFFSET + size_of::<u64>();
const _: () = assert!(VALUE_OFFSET == 17);

const KIND_NOTHING: u8 = 0;
const KIND_VALUE: u8 = 1;

/// `until` of a break point that still stands; no commit has this number.
pub(crate) const ALIVE: u64 = u64::MAX;

/// Bytes that a value may have: a record of the store holds 4 GiB, and the operations log adds its header and
/// a key to the value.
pub(crate) const VALUE_SIZE_MAX: usize = u32::MAX as usize - (1 << 20);

/// A believed value and the commit that asserted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Belief<'a> {
    pub(crate) asserted: u64,
    pub(crate) value: &'a [u8],
}

/// A stored value, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) since: u64,
    pub(crate) belief: Option<Belief<'a>>,
}

/// A break point with all its times: it stood in `[since, until)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BreakPoint<'a> {
    pub(crate) at: ValidTime,
    pub(crate) since: u64,
    pub(crate) until: u64,
    pub(crate) belief: Option<Belief<'a>>,
}

/// Why stored bytes are not a break point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the stored break point has {0} bytes, which does not fit its kind")]
    Size(usize),
    #[error("the stored break point is of the unknown kind {0}")]
    Kind(u8),
    #[error("the stored break point stood from commit {since} to {until}, which is no time at all")]
    Empty { since: u64, until: u64 },
    #[error("the value was asserted by commit {asserted}, after commit {since} since which it stood")]
    Asserted { asserted: u64, since: u64 },
}

impl<'a> Entry<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Some(belief) = self.belief else {
            return [&[KIND_NOTHING][..], &self.since.to_le_bytes()].concat();
        };
        let mut out = Vec::with_capacity(VALUE_OFFSET + belief.value.len());
        out.push(KIND_VALUE);
        out.extend_from_slice(&self.since.to_le_bytes());
        out.extend_from_slice(&belief.asserted.to_le_bytes());
        out.extend_from_slice(belief.value);
        out
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let size = EntryError::Size(bytes.len());
        let (&kind, rest) = bytes.split_first().ok_or(size)?;
        let (since, rest) = take_number(rest).ok_or(size)?;
        match kind {
            KIND_NOTHING if rest.is_empty() => Ok(Self { since, belief: None }),
            KIND_NOTHING => Err(size),
            KIND_VALUE => {
                let (asserted, value) = take_number(rest).ok_or(size)?;
                if asserted > since {
                    return Err(EntryError::Asserted { asserted, since });
                }
                Ok(Self { since, belief: Some(Belief { asserted, value }) })
            }
            unknown => Err(EntryError::Kind(unknown)),
        }
    }
}

impl<'a> BreakPoint<'a> {
    /// From a record of the living. Also gives the encoded user key that the stored key starts with.
    pub(crate) fn live<'k>(key: &'k [u8], record: &'a [u8]) -> Result<(&'k [u8], Self), EntryError> {
        let LiveKey { prefix, at } = encoding::split_live(key)?;
        let Entry { since, belief } = Entry::decode(record)?;
        Self { at, since, until: ALIVE, belief }.checked().map(|point| (prefix, point))
    }

    /// From a record of the dead.
    pub(crate) fn dead<'k>(key: &'k [u8], record: &'a [u8]) -> Result<(&'k [u8], Self), EntryError> {
        let DeadKey { prefix, at, until } = encoding::split_dead(key)?;
        let Entry { since, belief } = Entry::decode(record)?;
        Self { at, since, until, belief }.checked().map(|point| (prefix, point))
    }

    /// Whether it stood once `commit` was recorded.
    pub(crate) fn stood_at(&self, commit: u64) -> bool {
        self.since <= commit && commit < self.until
    }

    fn checked(self) -> Result<Self, EntryError> {
        if self.since >= self.until {
            return Err(EntryError::Empty { since: self.since, until: self.until });
        }
        Ok(self)
    }
}

/// The little-endian number at the start, and the rest.
pub(crate) fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_byte_table_is_what_is_written() {
        assert_eq!(Entry { since: 3, belief: None }.encode(), [0, 3, 0, 0, 0, 0, 0, 0, 0]);
        let belief = Some(Belief { asserted: 2, value: b"v" });
        let bytes = Entry { since: 258, belief }.encode();
        assert_eq!(bytes, [1, 2, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'v']);
    }

    #[test]
    fn nothing_and_an_empty_value_differ() {
        let empty = Entry { since: 1, belief: Some(Belief { asserted: 1, value: b"" }) }.encode();
        assert_ne!(empty, Entry { since: 1, belief: None }.encode());
        assert_eq!(Entry::decode(&empty).unwrap().belief.unwrap().value, b"");
    }

    #[test]
    fn a_break_point_that_never_stood_is_refused() {
        let key = encoding::dead_key(&encoding::prefix(b"k"), ValidTime::NEG_INF, 4);
        let record = |since| Entry { since, belief: None }.encode();
        assert_eq!(BreakPoint::dead(&key, &record(4)), Err(EntryError::Empty { since: 4, until: 4 }));
        assert!(BreakPoint::dead(&key, &record(3)).is_ok());
    }

    #[test]
    fn a_value_asserted_after_it_stood_is_refused() {
        let record = |asserted| Entry { since: 4, belief: Some(Belief { asserted, value: b"v" }) }.encode();
        assert_eq!(Entry::decode(&record(5)), Err(EntryError::Asserted { asserted: 5, since: 4 }));
        assert!(Entry::decode(&record(4)).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hostile_bytes_are_an_error_or_an_entry_that_encodes_to_them(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..30),
                proptest::collection::vec(0u8..3, 0..30),
            ]
        ) {
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), bytes);
            }
        }
    }
}
