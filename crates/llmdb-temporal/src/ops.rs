//! The operations log: every operation that had a period, as it was given.
//!
//! ```text
//! key, big-endian:  SIZE  DESCRIPTION
//!                      8  commit, u64
//!                      8  place of the operation in its transaction, from 0, u64
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
use crate::entry::{Belief, take_number};
use crate::error::Error;
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
    #[error("the log key has {0} bytes instead of 16")]
    KeySize(usize),
    #[error("the operation is number {0} of its commit, which has fewer")]
    Place(u64),
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
pub(crate) fn log_key(commit: u64, index: u64) -> [u8; 16] {
    (u128::from(commit) << 64 | u128::from(index)).to_be_bytes()
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
    let key = log_key(belief.asserted, u64::from(belief.index));
    let record = log.map_or(Ok(None), |log| log.get(&key))?;
    asserted(record).ok_or_else(|| value_missing(record, belief, prefix))
}

/// The values that operations asserted, by their place in `beliefs`. `key` tells the key that believes one.
pub(crate) fn values_of<'t>(
    log: Option<Tree<'t>>,
    beliefs: &[Belief],
    key: impl Fn(usize) -> Vec<u8>,
    mut visit: impl FnMut(usize, &'t [u8]),
) -> Result<(), Error> {
    let keys: Vec<_> =
        beliefs.iter().map(|belief| log_key(belief.asserted, u64::from(belief.index))).collect();
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
        Err(value_missing(record, beliefs[index], &encoding::prefix(&key(index))))
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
        let lower = after.map(|commit| log_key(commit, u64::MAX));
        let lower = lower.as_ref().map_or(Unbounded, |key| Excluded(&key[..]));
        let range = tree.map(|tree| tree.range(lower, Included(&log_key(up_to, u64::MAX))));
        Self { range }
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
            commit: key.first_chunk().map(|commit| CommitNumber::new(u64::from_be_bytes(*commit))),
            key,
            what: what.to_string(),
        }))
    }
}

fn parse<'t>(key: &[u8], record: &'t [u8]) -> Result<(u64, u32, Recorded<'t>), RecordError> {
    let key: [u8; 16] = key.try_into().map_err(|_| RecordError::KeySize(key.len()))?;
    let place = u128::from_be_bytes(key);
    let index = u32::try_from(place as u64).map_err(|_| RecordError::Place(place as u64))?;
    Ok(((place >> 64) as u64, index, Recorded::decode(record)?))
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
        assert_eq!(log_key(1, 2), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
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

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

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
