//! The ranges of valid time that the blocks of a key cover, for keys that have more than one.
//!
//! ```text
//! The record behind a range's key holds up to 60 ranges, rising, of which the key names the first:
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  where the range starts, i64
//!      8     8  the commit since which it is one of its own, u64
//!     16   ...  the next ones
//! ```
//!
//! ```text
//!   commits ^   [----- a -----[-- c --[-- b --     since commit 7: c was cut off from a
//!           |   [----- a -------------[-- b --     since commit 5: b was cut off from a
//!           |   [----- a ---------------------     since commit 1
//!               valid time ->
//! ```
//!
//! Invariants
//! 1. The first range of a key starts at minus infinity. A range never goes.
//! 2. At each commit the ranges that were there cover all of valid time, each up to the next one that was there.
//!    So the range of an instant is the nearest one to its left that was there.
//!
//! Cost: one descent; for an instant before the last range of its time also a walk inside a record, and of 60 ranges that came
//! later one step.
//!
//! Not here: what is in a range (`block`), which was the last one when (`fronts`).

use llmdb_wal::{Cursor, Tree};

use crate::catalog;
use crate::encoding::{self, RangeKey, range_key};
use crate::error::Error;
use crate::point::EntryError;
use crate::types::ValidTime;

pub(crate) const ROW_SIZE: usize = size_of::<i64>() + size_of::<u64>();
/// Ranges of one record: with its key it stays below a quarter of the smallest page.
const ROW_COUNT_MAX: usize = 60;

/// A range: where it starts, and since which commit it is one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeRow {
    pub(crate) lo: ValidTime,
    pub(crate) begin: u64,
}

/// The ranges of a collection.
#[derive(Clone, Copy)]
pub(crate) struct Ranges<'t> {
    pub(crate) tree: Tree<'t>,
    /// The number of the collection.
    pub(crate) number: u32,
}

impl<'t> Ranges<'t> {
    /// Where the range starts that covered `at` once `commit` was recorded; `None` where the key has only one range,
    /// or had none then.
    pub(crate) fn covering(
        &self,
        prefix: &[u8],
        at: ValidTime,
        commit: u64,
    ) -> Result<Option<ValidTime>, Error> {
        if let Some(front) = self.front(prefix, commit)?.filter(|front| *front <= at) {
            return Ok(Some(front));
        }
        let mut cursor = self.tree.cursor();
        let mut found = cursor.seek_le(&range_key(prefix, at))?;
        while let Some(rows) = self.read(&cursor, prefix, found)? {
            if let Some(row) = rows.rev().find(|row| row.lo <= at && row.begin <= commit) {
                return Ok(Some(row.lo));
            }
            found = cursor.prev()?;
        }
        Ok(None)
    }

    /// Where the next range to the right of the one at `lo` starts that was there once `commit` was recorded.
    pub(crate) fn following(
        &self,
        prefix: &[u8],
        lo: ValidTime,
        commit: u64,
    ) -> Result<Option<ValidTime>, Error> {
        let mut cursor = self.tree.cursor();
        let mut found = cursor.seek_le(&range_key(prefix, lo))?;
        while let Some(mut rows) = self.read(&cursor, prefix, found)? {
            if let Some(row) = rows.find(|row| row.lo > lo && row.begin <= commit) {
                return Ok(Some(row.lo));
            }
            found = cursor.next()?;
        }
        Ok(None)
    }

    /// The ranges that start behind `lo` and not behind `to`, rising, whenever they began.
    pub(crate) fn behind(&self, prefix: &[u8], lo: ValidTime, to: ValidTime) -> Result<Vec<RangeRow>, Error> {
        let mut cursor = self.tree.cursor();
        let mut found = cursor.seek_le(&range_key(prefix, lo))?;
        let mut behind = Vec::new();
        while let Some(rows) = self.read(&cursor, prefix, found)? {
            let mut is_beyond = false;
            for row in rows.filter(|row| row.lo > lo) {
                is_beyond |= row.lo > to;
                behind.extend((row.lo <= to).then_some(row));
            }
            found = !is_beyond && cursor.next()?;
        }
        Ok(behind)
    }

    /// All ranges of a key, rising; none where it has only one.
    pub(crate) fn all(&self, prefix: &[u8]) -> Result<Vec<RangeRow>, Error> {
        let mut cursor = self.tree.cursor();
        let mut found = cursor.seek(prefix)?;
        let mut all = Vec::new();
        while let Some(rows) = self.read(&cursor, prefix, found)? {
            all.extend(rows);
            found = cursor.next()?;
        }
        Ok(all)
    }

    /// The records to write, by where they start, once a range is added to the one record that it belongs to.
    /// `first_begin` is since when there is the first range, should this be the second.
    pub(crate) fn with(
        &self,
        prefix: &[u8],
        new: RangeRow,
        first_begin: u64,
        size_max: usize,
    ) -> Result<Vec<Vec<RangeRow>>, Error> {
        let mut cursor = self.tree.cursor();
        let found = cursor.seek_le(&range_key(prefix, new.lo))?;
        let first = RangeRow { lo: ValidTime::NEG_INF, begin: first_begin };
        let mut rows: Vec<RangeRow> = match self.read(&cursor, prefix, found)? {
            Some(rows) => rows.collect(),
            None => vec![first],
        };
        let place = rows.partition_point(|row| row.lo < new.lo);
        let is_last = place == rows.len();
        rows.insert(place, new);
        let row_count_max = row_count_max(size_max);
        if rows.len() <= row_count_max {
            return Ok(vec![rows]);
        }
        // Ranges that rise leave full records behind.
        let behind = rows.split_off(if is_last { row_count_max } else { row_count_max / 2 });
        Ok(vec![rows, behind])
    }

    fn read(
        &self,
        cursor: &Cursor<'t>,
        prefix: &[u8],
        found: bool,
    ) -> Result<Option<impl DoubleEndedIterator<Item = RangeRow> + 't>, Error> {
        // Behind the ranges of a key come the records of which was the last one.
        let is_range = |behind: &[u8]| behind.len() != encoding::BLOCK_KEY_SIZE;
        if !found || !cursor.key().strip_prefix(prefix).is_some_and(is_range) {
            return Ok(None);
        }
        rows_of(cursor.key(), cursor.value()?)
            .map(Some)
            .map_err(|what| damaged(catalog::ranges_tree(self.number), cursor.key(), &what))
    }
}

/// The stored record of ranges.
pub(crate) fn encode(rows: &[RangeRow]) -> Vec<u8> {
    rows.iter().flat_map(|row| [row.lo.micros().to_le_bytes(), row.begin.to_le_bytes()]).flatten().collect()
}

fn rows_of<'t>(
    key: &[u8],
    record: &'t [u8],
) -> Result<impl DoubleEndedIterator<Item = RangeRow> + use<'t>, EntryError> {
    let RangeKey { at, .. } = encoding::split_range(key)?;
    let (rows, rest) = record.as_chunks::<ROW_SIZE>();
    if !rest.is_empty() || rows.first().is_none_or(|first| row(first).lo != at) {
        return Err(EntryError::Order("a record of ranges does not begin where its key says"));
    }
    Ok(rows.iter().map(row))
}

/// A row of a record.
#[inline]
pub(crate) fn row(bytes: &[u8; ROW_SIZE]) -> RangeRow {
    let number = u128::from_le_bytes(*bytes);
    RangeRow { lo: ValidTime::from_raw((number as u64).cast_signed()), begin: (number >> 64) as u64 }
}

/// How many rows there are in a record of so many bytes.
pub(crate) fn row_count_max(size_max: usize) -> usize {
    (size_max / ROW_SIZE).clamp(2, ROW_COUNT_MAX)
}

/// The error for a stored entry that cannot be read. Names the user key where it can be made out.
pub(crate) fn damaged(tree: String, stored: &[u8], what: &EntryError) -> Error {
    let prefix = [0, 8, 16].iter().find_map(|size| {
        let prefix = stored.get(..stored.len().checked_sub(*size)?)?;
        encoding::user_key(prefix).ok()
    });
    let key = prefix.unwrap_or_else(|| stored.to_vec());
    Error::Damaged { place: format!("tree {tree}"), key, commit: None, what: what.to_string() }
}
