//! The whole of one key: along valid time, along known time, or both.
//!
//! Invariants
//! 1. `timeline` is what `get` answers at each instant of the window; `history` what it answers at each commit.
//!
//! Cost: all entries of the key (for `timeline`, of the pieces in the window) are loaded and swept.

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
        let Some(moment) = self.moment(known)? else { return Ok(Vec::new()) };
        if window.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.in_force(&prefix, window.from, moment)?.map_or(window.from, |point| point.at);
        let last = self.next_point(&prefix, window.to, moment)?.map_or(ValidTime::POS_INF, |point| point.at);
        let mut rectangles = self.rectangles(&prefix, first, last)?;
        rectangles.retain(|found| found.stood_at(moment.commit()) && found.valid.overlaps(window));
        rectangles.sort_by_key(|found| found.valid);
        rectangles.iter().map(|found| self.version(key, found)).collect()
    }

    /// See [`TemporalRead::history`](super::TemporalRead::history).
    ///
    /// # Errors
    /// As there.
    pub fn history(&self, key: &[u8], valid_at: ValidTime) -> Result<Vec<Version>, Error> {
        let mut rectangles = self.rectangles(&prefix(key)?, ValidTime::NEG_INF, ValidTime::POS_INF)?;
        rectangles.retain(|found| found.valid.contains(valid_at));
        rectangles.iter().map(|found| self.version(key, found)).collect()
    }

    /// See [`TemporalRead::versions`](super::TemporalRead::versions).
    ///
    /// # Errors
    /// As there.
    pub fn versions(&self, key: &[u8]) -> Result<Vec<Version>, Error> {
        let rectangles = self.rectangles(&prefix(key)?, ValidTime::NEG_INF, ValidTime::POS_INF)?;
        rectangles.iter().map(|found| self.version(key, found)).collect()
    }
}
