//! The keys of a collection in a range, each with its last break point.
//!
//! Invariants
//! 1. Keys come ascending and once: every key that ever had a break point has one record.
//! 2. Memory does not grow with the number of keys.

use std::ops::Bound;

use llmdb_wal::Cursor;

use super::Collection;
use crate::encoding;
use crate::entry::Tail;
use crate::error::Error;
use crate::points::Points;

/// An encoded key, lent until the next step, and its record as it is stored.
pub(super) type KeyRecord<'k, 't> = (&'k [u8], &'t [u8]);

/// A walk over encoded keys.
pub(crate) struct Keys<'t> {
    points: Points<'t>,
    cursor: Cursor<'t>,
    /// The first stored key that may be of interest, until the walk has begun.
    start: Option<Vec<u8>>,
    /// The last encoded key of interest.
    upper: Bound<Vec<u8>>,
}

impl<'t> Keys<'t> {
    /// Walks the keys between two bounds.
    pub(crate) fn between(collection: &Collection<'t>, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Self {
        let start = match from {
            Bound::Included(key) => encoding::prefix(key),
            Bound::Excluded(key) => encoding::after(&encoding::prefix(key)),
            Bound::Unbounded => vec![0],
        };
        Self { start: Some(start), upper: to.map(encoding::prefix), ..Self::all(&collection.points) }
    }

    /// Walks all keys.
    pub(crate) fn all(points: &Points<'t>) -> Self {
        Self { points: *points, cursor: points.now.cursor(), start: Some(vec![0]), upper: Bound::Unbounded }
    }

    /// The next encoded key.
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], Tail<'t>)>, Error> {
        let points = self.points;
        let Some((prefix, record)) = self.next_record()? else { return Ok(None) };
        Ok(Some((prefix, points.decoded(prefix, record)?)))
    }

    /// The next encoded key, with its record as it is stored.
    #[inline]
    pub(super) fn next_record(&mut self) -> Result<Option<KeyRecord<'_, 't>>, Error> {
        let found = match self.start.take() {
            Some(start) => self.cursor.seek(&start)?,
            None => self.cursor.next()?,
        };
        let is_inside = match &self.upper {
            Bound::Included(upper) => self.cursor.key() <= &upper[..],
            Bound::Excluded(upper) => self.cursor.key() < &upper[..],
            Bound::Unbounded => true,
        };
        if !found || !is_inside {
            return Ok(None);
        }
        self.this_record().map(Some)
    }

    /// The record that was the next one when it was asked for last.
    #[inline]
    pub(super) fn this_record(&self) -> Result<KeyRecord<'_, 't>, Error> {
        Ok((self.cursor.key(), self.cursor.value()?))
    }
}
