//! The last range of a key by commit: where a question about an old commit and a later instant finds its range at once.
//!
//! ```text
//! In the tree of ranges, behind plus infinity and a commit in place of a closing one (see `encoding`), of each key with
//! several ranges: up to 60 rows, rising, of which the key names the commit of the first:
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  where the range starts that was the last one of the key from that commit on, i64
//!      8     8  the commit, u64
//!     16   ...  the next ones
//! ```
//!
//! ```text
//!   commits ^   [----- a -----[-- c --[-- b --     since commit 7: c was cut off, and is never the last one
//!           |   [----- a -------------[-- b --     since commit 5: b is the last range
//!           |   [----- a ---------------------     since commit 1: a is
//!               valid time ->                      rows: (a, 1), (b, 5)
//! ```
//!
//! Invariants
//! 1. At each commit the last range is that of the last row of this commit or an earlier one. The first row is of the first range,
//!    unless others began with it.
//! 2. Both commits and starts rise strictly from row to row: ranges only ever come behind the last one, or before it.
//!
//! Cost: one descent, however many ranges there are. A row more for each range that comes behind the last one.
//!
//! Not here: the ranges in order of valid time (`ranges`), what is in a range (`block`).

use crate::catalog;
use crate::encoding::{BLOCK_KEY_SIZE, KeyBuf, block_place};
use crate::error::Error;
use crate::point::EntryError;
use crate::ranges::{self, ROW_SIZE, RangeRow, Ranges, damaged};
use crate::types::ValidTime;

/// What stands behind the key that a record belongs to.
type Behind = [u8; BLOCK_KEY_SIZE];

/// The key of the record whose first row is of a commit.
pub(crate) fn front_place(prefix: &[u8], commit: u64) -> KeyBuf {
    block_place(prefix, ValidTime::POS_INF, commit)
}

impl Ranges<'_> {
    /// Where the range starts that was the last one once `commit` was recorded; `None` where the key has only one range,
    /// or had none then.
    #[inline]
    pub(crate) fn front(&self, prefix: &[u8], commit: u64) -> Result<Option<ValidTime>, Error> {
        let Some(near) = self.tree.floor(&front_place(prefix, commit))? else { return Ok(None) };
        let Some(behind) = near.key_behind(prefix) else { return Ok(None) };
        let row = near.value().map_err(Error::from)?;
        let row = last_row(behind, row, commit).map_err(|what| self.damaged_front(prefix, behind, &what))?;
        Ok(Some(row.lo))
    }

    /// The record to write once a range comes behind the last one. `first_begin` is since when there is the first range,
    /// should this be the second.
    pub(crate) fn with_front(
        &self,
        prefix: &[u8],
        new: RangeRow,
        first_begin: u64,
        size_max: usize,
    ) -> Result<Vec<RangeRow>, Error> {
        let near = self.tree.floor(&front_place(prefix, u64::MAX))?;
        let near = near.as_ref().and_then(|near| Some((near.key_behind(prefix)?, near)));
        let mut rows = match near {
            None => vec![RangeRow { lo: ValidTime::NEG_INF, begin: first_begin }],
            Some((behind, near)) => {
                let rows = rows_of(behind, near.value()?);
                rows.map_err(|what| self.damaged_front(prefix, behind, &what))?.collect()
            }
        };
        // Of those that began together the last one is it.
        rows.pop_if(|last| last.begin == new.begin);
        if rows.len() >= ranges::row_count_max(size_max) {
            rows.clear();
        }
        rows.push(new);
        Ok(rows)
    }

    /// All rows of a key.
    pub(crate) fn fronts(&self, prefix: &[u8]) -> Result<Vec<RangeRow>, Error> {
        let mut cursor = self.tree.cursor();
        let mut found = cursor.seek(&front_place(prefix, 0))?;
        let mut all = Vec::new();
        while let Some(behind) = cursor.key().strip_prefix(prefix).filter(|_| found) {
            let rows = behind.try_into().map_err(|_| EntryError::Size(cursor.key().len()));
            let record = cursor.value()?;
            let rows = rows.and_then(|behind| rows_of(behind, record));
            all.extend(rows.map_err(|what| damaged(catalog::ranges_tree(self.number), cursor.key(), &what))?);
            found = cursor.next()?;
        }
        Ok(all)
    }

    fn damaged_front(&self, prefix: &[u8], behind: Behind, what: &EntryError) -> Error {
        damaged(catalog::ranges_tree(self.number), &[prefix, &behind].concat(), what)
    }
}

/// The rows of ranges in order of valid time that were the last one at some commit.
pub(crate) fn fronts_of(ranges: &[RangeRow]) -> Vec<RangeRow> {
    let mut fronts: Vec<RangeRow> = Vec::new();
    for range in ranges.iter().rev() {
        if fronts.last().is_none_or(|behind| range.begin < behind.begin) {
            fronts.push(*range);
        }
    }
    fronts.reverse();
    fronts
}

/// The last row of a record whose commit is not later; its first one is of the commit in its key, which is not either.
#[inline]
fn last_row(behind: Behind, record: &[u8], commit: u64) -> Result<RangeRow, EntryError> {
    let rows = check(behind, record)?;
    let count = rows.partition_point(|row| ranges::row(row).begin <= commit);
    Ok(ranges::row(&rows[count.saturating_sub(1)]))
}

fn rows_of(behind: Behind, record: &[u8]) -> Result<impl Iterator<Item = RangeRow>, EntryError> {
    Ok(check(behind, record)?.iter().map(ranges::row))
}

/// The rows of a record, of which there is one.
#[inline]
fn check(behind: Behind, record: &[u8]) -> Result<&[[u8; ROW_SIZE]], EntryError> {
    let (rows, rest) = record.as_chunks::<ROW_SIZE>();
    let both = u128::from_be_bytes(behind);
    let is_first = |first: &[u8; ROW_SIZE]| ranges::row(first).begin == both as u64;
    if (both >> 64) as u64 != u64::MAX || !rest.is_empty() || !rows.first().is_some_and(is_first) {
        return Err(EntryError::Order("a record of last ranges does not begin where its key says"));
    }
    Ok(rows)
}
