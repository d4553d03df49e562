//! All keys of a range at one point of both axes, streamed.
//!
//! Invariants
//! 1. The rows are exactly the `get`s of the keys in the range that have a value, ascending; those of `scan_values`
//!    the `get_value`s.
//! 2. Memory is that of one row, and of values that do not stand beside their keys of up to 64 keys. After an error the
//!    scan ends.

use std::fmt;
use std::ops::Bound;

use super::Collection;
use super::keys::Keys;
use super::sweep::Rectangle;
use crate::catalog;
use crate::encoding;
use crate::entry::Tail;
use crate::error::Error;
use crate::ops;
use crate::point::Belief;
use crate::points::Found;
use crate::ranges::damaged;
use crate::types::{Known, Period, ValidTime, Version};
use crate::walk::Walk;

/// The rows of [`TemporalRead::scan`](super::TemporalRead::scan).
pub struct Scan<'t> {
    open: Option<Open<'t>>,
}

/// The rows of [`Collection::scan_values`]: key and value, which is borrowed from the snapshot.
pub struct ScanValues<'t> {
    open: Option<Open<'t>>,
    walk: Option<Walk<'t>>,
    /// Rows that were found and not told yet, the last one first.
    rows: Vec<KeyValue<'t>>,
    /// Rows that are looked for together.
    batch: usize,
}

/// As many rows are looked for together at most.
const BATCH_MAX: usize = 64;

struct Open<'t> {
    collection: Collection<'t>,
    keys: Keys<'t>,
    valid_at: ValidTime,
    commit: u64,
}

impl<'t> Collection<'t> {
    /// See [`TemporalRead::scan`](super::TemporalRead::scan).
    ///
    /// # Errors
    /// As there.
    pub fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        valid_at: ValidTime,
        known: Known,
    ) -> Result<Scan<'t>, Error> {
        let Some(commit) = self.commit_of(known)? else { return Ok(Scan::empty()) };
        let keys = Keys::between(self, from, to);
        Ok(Scan { open: Some(Open { collection: *self, keys, valid_at, commit }) })
    }

    /// As [`Self::scan`], only keys and values: bounds and commits are not looked for, which is most of the work where
    /// it is not the last break point that answers.
    ///
    /// ```
    /// use llmdb_temporal::{Known, Period, Temporal, ValidTime};
    /// # use llmdb_wal::StoreOptions;
    /// use std::ops::Bound::Unbounded;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Temporal::open(StoreOptions::new().open(folder.path().join("prices.llmdb"))?)?;
    /// let mut tx = db.begin_write()?;
    /// tx.put("prices", b"tea", Period::ALL, b"5")?;
    /// tx.put("prices", b"milk", Period::ALL, b"2")?;
    /// tx.commit()?;
    /// let read = db.begin_read()?;
    /// let prices = read.collection("prices")?.ok_or("made above")?;
    /// let rows = prices.scan_values(Unbounded, Unbounded, ValidTime::from_micros(0)?, Known::Latest)?;
    /// let rows = rows.collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(rows, [(b"milk".to_vec(), &b"2"[..]), (b"tea".to_vec(), &b"5"[..])]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The store's errors, also from each row; [`Error::NotKept`].
    pub fn scan_values(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        valid_at: ValidTime,
        known: Known,
    ) -> Result<ScanValues<'t>, Error> {
        let open = self.scan(from, to, valid_at, known)?.open;
        let walk = open.as_ref().map(|open| Walk::over(open.collection.points.past));
        Ok(ScanValues { open, walk, rows: Vec::new(), batch: 8 })
    }

    fn user_key(&self, prefix: &[u8]) -> Result<Vec<u8>, Error> {
        encoding::user_key(prefix)
            .map_err(|what| damaged(catalog::now_tree(self.number), prefix, &what.into()))
    }

    /// The row of a key whose last break point is at hand.
    fn row(
        &self,
        prefix: &[u8],
        tail: &Tail<'t>,
        at: ValidTime,
        commit: u64,
    ) -> Result<Option<Version>, Error> {
        if tail.point.at <= at && tail.settled <= commit {
            let (Some(belief), Some(value)) = (tail.point.belief, self.value_of_tail(prefix, tail)?) else {
                return Ok(None);
            };
            let known_from = tail.settled.max(self.kept_from);
            let valid = Period::since(tail.point.at);
            let found = Rectangle { valid, belief, known_from, known_to: None };
            return self.version_with(&self.user_key(prefix)?, &found, value.to_vec()).map(Some);
        }
        let start = match self.points.find_behind(prefix, *tail, at, commit)? {
            Some(Found::Last(start, _) | Found::Point(start)) => start,
            None => return Ok(None),
        };
        self.version_from(prefix, &self.user_key(prefix)?, start, commit)
    }
}

impl Scan<'_> {
    pub(super) fn empty() -> Self {
        Self { open: None }
    }
}

impl Open<'_> {
    fn next(&mut self) -> Result<Option<Version>, Error> {
        while let Some((prefix, tail)) = self.keys.next()? {
            let row = self.collection.row(prefix, &tail, self.valid_at, self.commit)?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Version, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.open.as_mut()?.next().transpose();
        if !matches!(row, Some(Ok(_))) {
            self.open = None;
        }
        row
    }
}

/// A key, and its value borrowed from the snapshot.
type KeyValue<'t> = (Vec<u8>, &'t [u8]);

impl<'t> ScanValues<'t> {
    fn step(&mut self) -> Result<Option<KeyValue<'t>>, Error> {
        if let Some(row) = self.rows.pop() {
            return Ok(Some(row));
        }
        let (Some(open), Some(walk)) = (&mut self.open, &mut self.walk) else { return Ok(None) };
        let Open { collection, keys, valid_at, commit } = open;
        let mut beliefs: Vec<(usize, Belief)> = Vec::new();
        while self.rows.len() < self.batch
            && let Some((prefix, tail)) = keys.next()?
        {
            let found = collection.points.find_walking(prefix, tail, *valid_at, *commit, walk)?;
            let (belief, value) = match found {
                Some(Found::Last(point, value)) => (point.belief, value),
                Some(Found::Point(point)) => (point.belief, None),
                None => continue,
            };
            let Some(belief) = belief else { continue };
            let key = collection.user_key(prefix)?;
            match value {
                Some(value) if self.rows.is_empty() => return Ok(Some((key, value))),
                Some(value) => self.rows.push((key, value)),
                None => {
                    beliefs.push((self.rows.len(), belief));
                    self.rows.push((key, &[]));
                }
            }
        }
        self.batch = (self.batch * 2).min(BATCH_MAX);
        if beliefs.is_empty() {
            self.rows.reverse();
            return Ok(self.rows.pop());
        }
        let rows = &self.rows;
        let asserted: Vec<Belief> = beliefs.iter().map(|(_, belief)| *belief).collect();
        let mut values = Vec::with_capacity(asserted.len());
        let key = |index: usize| rows[beliefs[index].0].0.clone();
        ops::values_of(collection.ops, &asserted, key, |index, value| values.push((index, value)))?;
        for (index, value) in values {
            self.rows[beliefs[index].0].1 = value;
        }
        self.rows.reverse();
        Ok(self.rows.pop())
    }
}

impl<'t> Iterator for ScanValues<'t> {
    type Item = Result<KeyValue<'t>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.step().transpose();
        if !matches!(row, Some(Ok(_))) {
            (self.open, self.walk) = (None, None);
            self.rows.clear();
        }
        row
    }
}

impl fmt::Debug for ScanValues<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanValues").field("ended", &self.open.is_none()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("ended", &self.open.is_none()).finish_non_exhaustive()
    }
}
