//! The whole of one key: along valid time, along known time, or both.
//!
//! Invariants
//! 1. `timeline` is what `get` answers at each instant of the window; `history` what it answers at each commit.
//!
//! Cost: `timeline` that of a `get` for each piece of the window, `timeline_values` that of its blocks and of a look-up of each
//! value; for the others all blocks of the key are read.

use super::sweep::sweep;
use super::{Collection, prefix};
use crate::error::Error;
use crate::ops;
use crate::types::{Known, Period, ValidTime, Version};

/// Values that are looked up together.
const BATCH: usize = 64;

impl<'t> Collection<'t> {
    /// See [`TemporalRead::timeline`](super::TemporalRead::timeline).
    ///
    /// # Errors
    /// As there.
    pub fn timeline(&self, key: &[u8], window: Period, known: Known) -> Result<Vec<Version>, Error> {
        let prefix = prefix(key)?;
        let window = window.checked().map_err(|error| error.of_key(key))?;
        let Some(commit) = self.commit_of(known, Some(key))? else { return Ok(Vec::new()) };
        if window.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        for piece in self.points.pieces(&prefix, window, commit)? {
            let found = self.rectangle(&prefix, &piece, commit)?;
            rows.extend(found.map(|found| self.version(&prefix, key, &found)).transpose()?);
        }
        Ok(rows)
    }

    /// The values of a [`Self::timeline`] and where they were in force, with their stored bounds, in order: `visit` is told of
    /// each, and the values live as long as the snapshot. The commits of the rectangles are not looked for, which is most of
    /// the work: a piece costs a look into its block and its share in a look-up of 64 values at a time. Memory grows with the
    /// number of break points in the window, not with the values.
    ///
    /// ```
    /// use llmdb_temporal::{Known, Period, Temporal, ValidTime};
    /// # use llmdb_wal::StoreOptions;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Temporal::open(StoreOptions::new().open(folder.path().join("rooms.llmdb"))?)?;
    /// let minute = |n: i64| ValidTime::from_micros(n * 60_000_000);
    /// let mut tx = db.begin_write()?;
    /// for n in 0..120 {
    ///     let degrees = [20 + (n % 7) as u8];
    ///     tx.put("temperature", b"kitchen", Period::new(minute(n)?, minute(n + 1)?)?, &degrees)?;
    /// }
    /// tx.commit()?;
    /// let read = db.begin_read()?;
    /// let series = read.collection("temperature")?.ok_or("made above")?;
    /// let hour = Period::new(minute(60)?, minute(120)?)?;
    /// let (mut count, mut greatest) = (0, 0);
    /// series.timeline_values(b"kitchen", hour, Known::Latest, |_valid, value| {
    ///     (count, greatest) = (count + 1, greatest.max(value[0]));
    /// })?;
    /// assert_eq!((count, greatest), (60, 26));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::timeline`], after which `visit` has been told of some of the pieces.
    pub fn timeline_values(
        &self,
        key: &[u8],
        window: Period,
        known: Known,
        mut visit: impl FnMut(Period, &'t [u8]),
    ) -> Result<(), Error> {
        let prefix = prefix(key)?;
        let window = window.checked().map_err(|error| error.of_key(key))?;
        let Some(commit) = self.commit_of(known, Some(key))? else { return Ok(()) };
        if window.is_empty() {
            return Ok(());
        }
        let pieces = self.points.pieces(&prefix, window, commit)?;
        let mut beliefs = Vec::with_capacity(pieces.len().min(BATCH));
        for batch in pieces.chunks(BATCH) {
            beliefs.clear();
            beliefs.extend(batch.iter().filter_map(|piece| piece.start.belief).enumerate());
            let told = |index: usize, value| visit(batch[index].valid, value);
            ops::values_of(self.ops, &beliefs, |_| key.to_vec(), told)?;
        }
        Ok(())
    }

    /// See [`TemporalRead::history`](super::TemporalRead::history).
    ///
    /// # Errors
    /// As there.
    pub fn history(&self, key: &[u8], valid_at: ValidTime) -> Result<Vec<Version>, Error> {
        self.rectangles_of(key, |valid| valid.contains(valid_at))
    }

    /// See [`TemporalRead::versions`](super::TemporalRead::versions).
    ///
    /// # Errors
    /// As there.
    pub fn versions(&self, key: &[u8]) -> Result<Vec<Version>, Error> {
        self.rectangles_of(key, |_| true)
    }

    /// The rectangles of a key over wanted periods that stood at a commit that is kept.
    fn rectangles_of(&self, key: &[u8], is_wanted: impl Fn(Period) -> bool) -> Result<Vec<Version>, Error> {
        let prefix = prefix(key)?;
        let mut points = self.points.all(&prefix)?;
        points.retain(|point| point.until > self.kept_from);
        for point in &mut points {
            point.since = point.since.max(self.kept_from);
        }
        let mut rectangles = sweep(&points);
        rectangles.retain(|found| is_wanted(found.valid));
        rectangles.iter().map(|found| self.version(&prefix, key, found)).collect()
    }
}
