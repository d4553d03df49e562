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
use crate::entry::{self, Tail};
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
    /// The key that is lent, and behind it those of rows that were found together and not told yet.
    keys: Vec<u8>,
    /// Of each of these rows where its key ends, and its value.
    rows: Vec<(usize, &'t [u8])>,
    /// How many of them were told, and where the key of the next one begins.
    told: (usize, usize),
    /// Rows that are looked for together.
    batch: usize,
    /// Those of them whose values stand in the log: which rows, and which operations.
    beliefs: Vec<(usize, Belief)>,
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
        let Some(commit) = self.commit_of(known, None)? else { return Ok(Scan::empty()) };
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
        Ok(ScanValues {
            open,
            walk,
            keys: Vec::new(),
            rows: Vec::new(),
            told: (0, 0),
            batch: 8,
            beliefs: Vec::new(),
        })
    }

    fn user_key(&self, prefix: &[u8]) -> Result<Vec<u8>, Error> {
        let mut key = Vec::new();
        self.user_key_into(prefix, &mut key)?;
        Ok(key)
    }

    /// Appends the user key of a prefix.
    #[inline]
    fn user_key_into(&self, prefix: &[u8], key: &mut Vec<u8>) -> Result<(), Error> {
        encoding::user_key_into(prefix, key)
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

/// A key, lent until the next row, and its value, borrowed from the snapshot.
pub type LentRow<'k, 't> = (&'k [u8], &'t [u8]);

/// A row: where its key begins and ends, and its value.
type Row<'t> = (usize, usize, &'t [u8]);

impl<'t> ScanValues<'t> {
    /// The next row, as the iterator tells it; but the key is lent until the next call, and not copied. After an error the
    /// scan has ended.
    ///
    /// ```
    /// # use llmdb_temporal::{Known, Period, Temporal, ValidTime};
    /// # use llmdb_wal::StoreOptions;
    /// # use std::ops::Bound::Unbounded;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Temporal::open(StoreOptions::new().open(folder.path().join("prices.llmdb"))?)?;
    /// # let mut tx = db.begin_write()?;
    /// tx.put("prices", b"tea", Period::ALL, b"5")?;
    /// # tx.commit()?;
    /// # let read = db.begin_read()?;
    /// # let prices = read.collection("prices")?.ok_or("made above")?;
    /// let mut rows = prices.scan_values(Unbounded, Unbounded, ValidTime::from_micros(0)?, Known::Latest)?;
    /// let mut bytes = 0;
    /// while let Some((key, value)) = rows.next_row()? {
    ///     bytes += key.len() + value.len();
    /// }
    /// assert_eq!(bytes, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The store's errors.
    #[inline]
    pub fn next_row(&mut self) -> Result<Option<LentRow<'_, 't>>, Error> {
        match self.step() {
            Ok(Some((from, to, value))) => Ok(Some((&self.keys[from..to], value))),
            Ok(None) => {
                self.end();
                Ok(None)
            }
            Err(error) => {
                self.end();
                Err(error)
            }
        }
    }

    /// The next row.
    #[inline]
    fn step(&mut self) -> Result<Option<Row<'t>>, Error> {
        if self.told.0 < self.rows.len() {
            return Ok(self.held());
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        self.keys.clear();
        while let Some((prefix, record)) = open.keys.next_record()? {
            match entry::last_value(record, open.valid_at, open.commit) {
                Some(None) => {}
                Some(Some(value)) => {
                    open.collection.user_key_into(prefix, &mut self.keys)?;
                    return Ok(Some((0, self.keys.len(), value)));
                }
                None => return self.step_far(),
            }
        }
        Ok(None)
    }

    /// The next of the rows that were found together.
    fn held(&mut self) -> Option<Row<'t>> {
        let (index, from) = self.told;
        let (to, value) = *self.rows.get(index)?;
        self.told = (index + 1, to);
        Some((from, to, value))
    }

    /// Looks for many rows together, from the key on where the walk stands.
    #[inline(never)]
    fn step_far(&mut self) -> Result<Option<Row<'t>>, Error> {
        let Self { open: Some(open), walk: Some(walk), keys: names, rows, told, batch, beliefs } = self
        else {
            return Ok(None);
        };
        let Open { collection, keys, valid_at, commit } = open;
        rows.clear();
        beliefs.clear();
        *told = (0, 0);
        let mut next = Some(keys.this_record()?);
        while let Some((prefix, record)) = next {
            let value = match entry::last_value(record, *valid_at, *commit) {
                Some(found) => found,
                None => {
                    let found = collection.points.find_walking(prefix, record, *valid_at, *commit, walk)?;
                    let (belief, value) = match found {
                        Some(Found::Last(point, value)) => (point.belief, value),
                        Some(Found::Point(point)) => (point.belief, None),
                        None => (None, None),
                    };
                    beliefs.extend(belief.filter(|_| value.is_none()).map(|belief| (rows.len(), belief)));
                    belief.map(|_| value.unwrap_or_default())
                }
            };
            if let Some(value) = value {
                collection.user_key_into(prefix, names)?;
                rows.push((names.len(), value));
                if rows.len() == *batch {
                    break;
                }
            }
            next = keys.next_record()?;
        }
        *batch = (*batch * 2).min(BATCH_MAX);
        let key_of = |row: usize| {
            let from = row.checked_sub(1).map_or(0, |before| rows[before].0);
            names[from..rows[row].0].to_vec()
        };
        let mut found = [&[][..]; BATCH_MAX];
        let key = |index: usize| key_of(beliefs[index].0);
        ops::values_of(collection.ops, beliefs, key, |index, value| found[index] = value)?;
        for ((row, _), value) in beliefs.iter().zip(found) {
            rows[*row].1 = value;
        }
        Ok(self.held())
    }

    fn end(&mut self) {
        (self.open, self.walk) = (None, None);
        self.rows.clear();
    }
}

impl<'t> Iterator for ScanValues<'t> {
    type Item = Result<KeyValue<'t>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().map(|row| row.map(|(key, value)| (key.to_vec(), value))).transpose()
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
