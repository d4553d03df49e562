//! The whole of one key: along valid time, along known time, or both.
//!
//! Invariants
//! 1. `timeline` is what `get` answers at each instant of the window; `history` what it answers at each commit.
//!
//! Cost: `timeline` that of a `get` for each piece of the window; for the others all blocks of the key are read.

use super::sweep::sweep;
use super::{Collection, prefix};
use crate::error::Error;
use crate::types::{Known, Period, ValidTime, Version};

impl Collection<'_> {
    /// See [`TemporalRead::timeline`](super::TemporalRead::timeline).
    ///
    /// # Errors
    /// As there.
    pub fn timeline(&self, key: &[u8], window: Period, known: Known) -> Result<Vec<Version>, Error> {
        let prefix = prefix(key)?;
        let Some(commit) = self.commit_of(known)? else { return Ok(Vec::new()) };
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
