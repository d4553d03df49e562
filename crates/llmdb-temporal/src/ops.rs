//! The operations log: every operation that had a period, as it was given.
//!
//! ```text
//! key, big-endian:  SIZE  DESCRIPTION
//!                 2 to 9  commit c, from 0:
//!                           c < 49,152       c, two bytes
//!                           c < 56 * 2^24    192 * 2^24 + c, u32
//!                           otherwise        248, one byte; c, u64
//!                 1 to 5  place p of the operation in its transaction, from 0:
//!                           p < 192          p, one byte
//!                           p < 14,528       192 * 256 + p - 192, two bytes
//!                           otherwise        248, one byte; p, u32
//!
//! record, little-endian:
//! OFFSET  SIZE  DESCRIPTION
//!      0     1  operation: 0 put, 1 update, 2 delete, 3 insert
//!      1     4  collection, u32 (see `catalog`)
//!      5     8  start of the period, i64, the smallest number = open
//!     13     8  end of the period, i64, the largest number = open; greater than the start
//!     21     4  k, bytes of the key, u32
//!     25     k  the key as the user gave it
//!   25+k     n  the value, n >= 0 bytes; none for a delete
//! ```
//!
//! Invariants
//! 1. The order of the keys is commit order, then the order within the transaction.
//! 2. Operations without effect by their period, and inserts that were refused, are not in it.
//!
//! Not here: what the operations did to the timelines (`write`).

use llmdb_wal::Tree;

use crate::catalog;
use crate::encoding;
use crate::error::Error;
use crate::point::{Belief, take_number};
use crate::types::{CommitNumber, Operation, Period, ValidTime};

const OPERATION_OFFSET: usize = 0;
const COLLECTION_OFFSET: usize = OPERATION_OFFSET + size_of::<u8>();
const FROM_OFFSET: usize = COLLECTION_OFFSET + size_of::<u32>();
const TO_OFFSET: usize = FROM_OFFSET + size_of::<i64>();
const KEY_SIZE_OFFSET: usize = TO_OFFSET + size_of::<i64>();
pub(crate) const KEY_OFFSET: usize = KEY_SIZE_OFFSET + size_of::<u32>();
const _: () = assert!(KEY_OFFSET == 25);

/// An operation as recorded, borrowed from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded<'a> {
    pub(crate) op: Operation,
    pub(crate) collection: u32,
    pub(crate) valid: Period,
    pub(crate) key: &'a [u8],
    /// Empty for a delete.
    pub(crate) value: &'a [u8],
}

/// Why bytes are not a recorded operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("the log key of {0} bytes is not a commit and a place")]
    Key(usize),
    #[error("the recorded operation ends too early")]
    Short,
    #[error("the recorded operation is of the unknown kind {0}")]
    Kind(u8),
    #[error("the recorded period is empty or reversed")]
    Period,
    #[error("the recorded operation has an empty key")]
    EmptyKey,
    #[error("the recorded delete has a value")]
    DeleteValue,
}

/// The key of an operation in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogKey {
    bytes: [u8; COMMIT_SIZE_MAX + PLACE_SIZE_MAX],
    size: usize,
}

const COMMIT_SIZE_MAX: usize = 1 + size_of::<u64>();
/// Commits below it take two bytes.
const SHORT_COMMIT_END: u64 = (SHORT_END as u64) << 8;
/// Commits below it take four at most.
const MIDDLE_COMMIT_END: u64 = 56 << 24;
const PLACE_SIZE_MAX: usize = 1 + size_of::<u32>();
/// Places below it take one byte.
const SHORT_END: u32 = 192;
/// Places below it take two at most.
const MIDDLE_END: u32 = SHORT_END + 56 * 256;
/// The first byte of others.
const LONG: u8 = 248;

/// The key of an operation in the log: short, so that few bytes tell keys apart, which searches look at first.
#[inline]
pub(crate) fn log_key(commit: u64, place: u32) -> LogKey {
    let mut key = commit_part(commit);
    let rest = &mut key.bytes[key.size..];
    if place < SHORT_END {
        rest[0] = place as u8;
        key.size += 1;
    } else if place < MIDDLE_END {
        let two = (place - SHORT_END + (SHORT_END << 8)) as u16;
        rest[..2].copy_from_slice(&two.to_be_bytes());
        key.size += 2;
    } else {
        rest[0] = LONG;
        rest[1..PLACE_SIZE_MAX].copy_from_slice(&place.to_be_bytes());
        key.size += PLACE_SIZE_MAX;
    }
    key
}

/// What the keys of all operations of a commit begin with, and no others: it comes before them.
#[inline]
fn commit_part(commit: u64) -> LogKey {
    let mut bytes = [0; COMMIT_SIZE_MAX + PLACE_SIZE_MAX];
    let size = if commit < SHORT_COMMIT_END {
        bytes[..2].copy_from_slice(&(commit as u16).to_be_bytes());
        2
    } else if commit < MIDDLE_COMMIT_END {
        bytes[..4].copy_from_slice(&((SHORT_END << 24) + commit as u32).to_be_bytes());
        4
    } else {
        bytes[0] = LONG;
        bytes[1..COMMIT_SIZE_MAX].copy_from_slice(&commit.to_be_bytes());
        COMMIT_SIZE_MAX
    };
    LogKey { bytes, size }
}

impl std::ops::Deref for LogKey {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}

impl AsRef<[u8]> for LogKey {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Commit and place of a key in the log.
fn parse_key(key: &[u8]) -> Option<(u64, u32)> {
    let (commit, rest) = match *key.first()? {
        short if u32::from(short) < SHORT_END => {
            let (two, rest) = key.split_first_chunk()?;
            (u64::from(u16::from_be_bytes(*two)), rest)
        }
        LONG => {
            let (eight, rest) = key[1..].split_first_chunk()?;
            (u64::from_be_bytes(*eight), rest)
        }
        _ => {
            let (four, rest) = key.split_first_chunk()?;
            (u64::from(u32::from_be_bytes(*four).wrapping_sub(SHORT_END << 24)), rest)
        }
    };
    let place = match *rest {
        [short] if u32::from(short) < SHORT_END => u32::from(short),
        [high, low] if u32::from(high) >= SHORT_END && high < LONG => {
            u32::from(u16::from_be_bytes([high, low])) - (SHORT_END << 8) + SHORT_END
        }
        [LONG, ..] => u32::from_be_bytes(rest[1..].try_into().ok()?),
        _ => return None,
    };
    // Every pair has one key.
    (*log_key(commit, place) == *key).then_some((commit, place))
}

impl<'a> Recorded<'a> {
    /// Appends the record.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(KEY_OFFSET + self.key.len() + self.value.len());
        out.push(match self.op {
            Operation::Put => 0,
            Operation::Update => 1,
            Operation::Delete => 2,
            Operation::Insert => 3,
        });
        out.extend_from_slice(&self.collection.to_le_bytes());
        out.extend_from_slice(&self.valid.from.micros().to_le_bytes());
        out.extend_from_slice(&self.valid.to.micros().to_le_bytes());
        out.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (&kind, rest) = bytes.split_first().ok_or(RecordError::Short)?;
        let (collection, rest) = rest.split_first_chunk().ok_or(RecordError::Short)?;
        let (from, rest) = take_number(rest).ok_or(RecordError::Short)?;
        let (to, rest) = take_number(rest).ok_or(RecordError::Short)?;
        let (key_size, rest) = rest.split_first_chunk().ok_or(RecordError::Short)?;
        let key_size = u32::from_le_bytes(*key_size) as usize;
        let (key, value) = rest.split_at_checked(key_size).ok_or(RecordError::Short)?;
        let op = match kind {
            0 => Operation::Put,
            1 => Operation::Update,
            2 => Operation::Delete,
            3 => Operation::Insert,
            unknown => return Err(RecordError::Kind(unknown)),
        };
        let [from, to] = [from, to].map(|micros| ValidTime::from_raw(micros.cast_signed()));
        if from >= to {
            return Err(RecordError::Period);
        }
        if key.is_empty() {
            return Err(RecordError::EmptyKey);
        }
        if op == Operation::Delete && !value.is_empty() {
            return Err(RecordError::DeleteValue);
        }
        let collection = u32::from_le_bytes(*collection);
        Ok(Self { op, collection, valid: Period::between(from, to), key, value })
    }

    /// What the period holds after the operation: the value, or nothing.
    pub(crate) fn outcome(&self) -> Option<&'a [u8]> {
        (self.op != Operation::Delete).then_some(self.value)
    }
}

/// The value that an operation asserted. `prefix` is the encoded key that believes it.
#[inline]
pub(crate) fn value_of<'t>(log: Option<Tree<'t>>, belief: Belief, prefix: &[u8]) -> Result<&'t [u8], Error> {
    let key = log_key(belief.asserted, belief.index);
    let record = log.map_or(Ok(None), |log| log.get(&key))?;
    asserted(record).ok_or_else(|| value_missing(record, belief, prefix))
}

/// The values that operations asserted, by their place in `beliefs`, each of which is of a row that the caller knows. `key` tells
/// the key that believes one.
pub(crate) fn values_of<'t>(
    log: Option<Tree<'t>>,
    beliefs: &[(usize, Belief)],
    key: impl Fn(usize) -> Vec<u8>,
    mut visit: impl FnMut(usize, &'t [u8]),
) -> Result<(), Error> {
    let keys: Vec<_> = beliefs.iter().map(|(_, belief)| log_key(belief.asserted, belief.index)).collect();
    let mut missing = None;
    let mut told = |index, record: Option<&'t [u8]>| match asserted(record) {
        Some(value) => visit(index, value),
        None => missing = Some((index, record)),
    };
    match log {
        Some(log) => log.get_many(&keys, told)?,
        None => (0..keys.len()).for_each(|index| told(index, None)),
    }
    missing.map_or(Ok(()), |(index, record)| {
        Err(value_missing(record, beliefs[index].1, &encoding::prefix(&key(index))))
    })
}

/// The value in the record of an operation that has one.
#[inline]
fn asserted(record: Option<&[u8]>) -> Option<&[u8]> {
    Recorded::decode(record?).ok()?.outcome()
}

#[cold]
fn value_missing(record: Option<&[u8]>, belief: Belief, prefix: &[u8]) -> Error {
    Error::Damaged {
        place: format!("tree {}", catalog::OPS),
        key: encoding::user_key(prefix).unwrap_or_else(|_| prefix.to_vec()),
        commit: Some(CommitNumber::new(belief.asserted)),
        what: match record.map(Recorded::decode) {
            Some(Err(what)) => what.to_string(),
            _ => format!("operation {} of the commit, which asserted a value, is missing", belief.index),
        },
    }
}

/// A part of the log in order, as (commit, place in it, operation).
pub(crate) struct Log<'t> {
    range: Option<llmdb_wal::Range<'t>>,
}

impl<'t> Log<'t> {
    /// The operations of the commits after `after` (`None`: from the first on) and up to `up_to`.
    pub(crate) fn between(tree: Option<Tree<'t>>, after: Option<u64>, up_to: u64) -> Self {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        // Behind all operations of a commit; none of any is behind the last one.
        let behind = |commit: u64| commit.checked_add(1).map(commit_part);
        let lower = after.map(behind);
        let lower = match &lower {
            Some(Some(key)) => Included(&key[..]),
            Some(None) => Excluded(&[0xff; COMMIT_SIZE_MAX][..]),
            None => Unbounded,
        };
        let upper = behind(up_to);
        let upper = upper.as_ref().map_or(Unbounded, |key| Excluded(&key[..]));
        Self { range: tree.map(|tree| tree.range(lower, upper)) }
    }
}

impl<'t> Iterator for Log<'t> {
    type Item = Result<(u64, u32, Recorded<'t>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, record) = match self.range.as_mut()?.next()? {
            Ok(found) => found,
            Err(error) => return Some(Err(error.into())),
        };
        Some(parse(&key, record).map_err(|what| Error::Damaged {
            place: format!("tree {}", catalog::OPS),
            commit: parse_key(&key).map(|(commit, _)| CommitNumber::new(commit)),
            key,
            what: what.to_string(),
        }))
    }
}

fn parse<'t>(key: &[u8], record: &'t [u8]) -> Result<(u64, u32, Recorded<'t>), RecordError> {
    let (commit, index) = parse_key(key).ok_or(RecordError::Key(key.len()))?;
    Ok((commit, index, Recorded::decode(record)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(recorded: &Recorded<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        recorded.encode(&mut out);
        out
    }

    fn sample() -> Recorded<'static> {
        let valid = Period::since(ValidTime::from_micros(2).unwrap());
        Recorded { op: Operation::Insert, collection: 5, valid, key: b"k\0", value: b"vv" }
    }

    #[test]
    fn the_byte_table_is_what_is_written() {
        let bytes = encoded(&sample());
        let want = [&[3, 5, 0, 0, 0, 2][..], &[0; 7], &[0xff; 7], &[0x7f, 2, 0, 0, 0], b"k\0vv"].concat();
        assert_eq!(bytes, want);
        let key = |commit, place| log_key(commit, place).to_vec();
        assert_eq!(key(1, 2), [0, 1, 2]);
        assert_eq!([key(258, 191), key(49_151, 192)], [vec![1, 2, 191], vec![191, 255, 192, 0]]);
        assert_eq!(key(49_152, 14_527), [192, 0, 192, 0, 247, 255]);
        assert_eq!(key((56 << 24) - 1, 14_528), [247, 255, 255, 255, 248, 0, 0, 0x38, 0xc0]);
        assert_eq!(key(56 << 24, 0), [248, 0, 0, 0, 0, 56, 0, 0, 0, 0]);
        for other in [
            &[0, 1, 248, 0, 0, 0x38, 0xbf][..],
            &[0, 1, 249],
            &[0, 1],
            &[192, 0, 191, 255, 0],
            &[248, 0, 0, 0, 0, 55, 255, 255, 255, 0],
            &[249, 0, 0, 0, 0],
            &[],
        ] {
            assert_eq!(parse_key(other), None, "{other:?}");
        }
    }

    #[test]
    fn every_shortened_record_is_refused_or_only_loses_value_bytes() {
        let bytes = encoded(&sample());
        for size in 0..bytes.len() {
            match Recorded::decode(&bytes[..size]) {
                Ok(short) => assert!(size >= KEY_OFFSET + 2 && short.key == sample().key),
                Err(error) => assert_eq!(error, RecordError::Short),
            }
        }
    }

    #[test]
    fn an_empty_period_or_key_and_a_delete_with_a_value_are_refused() {
        let decode = |record: Recorded<'_>| Recorded::decode(&encoded(&record)).map(|_| ()).unwrap_err();
        let empty = Period::since(ValidTime::POS_INF);
        assert_eq!(decode(Recorded { valid: empty, ..sample() }), RecordError::Period);
        assert_eq!(decode(Recorded { key: b"", ..sample() }), RecordError::EmptyKey);
        assert_eq!(decode(Recorded { op: Operation::Delete, ..sample() }), RecordError::DeleteValue);
    }

    fn commit() -> impl Strategy<Value = u64> {
        prop_oneof![0..3u64, 49_150..49_155u64, (56 << 24) - 2..(56 << 24) + 2u64, any::<u64>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn keys_are_in_the_order_of_commit_and_place(
            one in (commit(), prop_oneof![0..400u32, 14_300..14_700u32, any::<u32>()]),
            other in (commit(), prop_oneof![0..400u32, 14_300..14_700u32, any::<u32>()]),
            bytes in proptest::collection::vec(prop_oneof![Just(0u8), 190..194u8, 246..250u8, any::<u8>()], 0..15),
        ) {
            prop_assert_eq!(*commit_part(one.0) < *log_key(other.0, other.1), one.0 <= other.0);
            if let Some((commit, place)) = parse_key(&bytes) {
                prop_assert_eq!(log_key(commit, place).to_vec(), bytes);
            }
            let (key, other_key) = (log_key(one.0, one.1), log_key(other.0, other.1));
            prop_assert_eq!(key.cmp(&other_key), one.cmp(&other));
            prop_assert_eq!(parse_key(&key), Some(one));
        }

        #[test]
        fn hostile_bytes_are_an_error_or_an_operation_that_encodes_to_them(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                proptest::collection::vec(0u8..4, 0..60),
            ]
        ) {
            if let Ok(recorded) = Recorded::decode(&bytes) {
                prop_assert_eq!(encoded(&recorded), bytes);
            }
        }
    }
}
