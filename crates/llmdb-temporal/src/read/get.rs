//! One key at one point of both axes.
//!
//! Invariants
//! 1. The answer is the break point that stood at the commit with the greatest valid time not after the instant.
//!
//! Not here: how break points are found (`points`).

use std::borrow::Cow;

use super::sweep::Rectangle;
use super::{Collection, prefix};
use crate::entry::{self, Tail};
use crate::error::Error;
use crate::point::{Belief, Point};
use crate::points::{Found, Piece};
use crate::types::{Known, Period, ValidTime, Version};

impl<'t> Collection<'t> {
    /// See [`TemporalRead::get`](super::TemporalRead::get).
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: &[u8], valid_at: ValidTime, known: Known) -> Result<Option<Version>, Error> {
        let prefix = prefix(key)?;
        let Some(commit) = self.commit_of(known, Some(key))? else { return Ok(None) };
        let Some(start) = self.points.in_force(&prefix, valid_at, commit)? else { return Ok(None) };
        self.version_from(&prefix, key, start, commit)
    }

    /// See [`TemporalRead::get_value`](super::TemporalRead::get_value).
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn get_value(
        &self,
        key: &[u8],
        valid_at: ValidTime,
        known: Known,
    ) -> Result<Option<Cow<'t, [u8]>>, Error> {
        let prefix = prefix(key)?;
        let Some(commit) = self.commit_of(known, Some(key))? else { return Ok(None) };
        Ok(self.value_at(&prefix, valid_at, commit)?.map(Cow::Borrowed))
    }

    /// The value in force at an instant once a commit was recorded.
    #[inline]
    pub(super) fn value_at(
        &self,
        prefix: &[u8],
        at: ValidTime,
        commit: u64,
    ) -> Result<Option<&'t [u8]>, Error> {
        if commit < self.recent_from {
            let found = self.points.find(prefix, at, commit, commit < self.old_before)?;
            return self.value_found(prefix, found);
        }
        let Some(record) = self.points.now.get(prefix)? else { return Ok(None) };
        match entry::last_value(record, at, commit) {
            Some(value) => Ok(value),
            None => self.value_in(prefix, record, at, commit),
        }
    }

    /// As [`Self::value_at`], where the last break point of the key's record does not answer.
    #[inline(never)]
    fn value_in(
        &self,
        prefix: &[u8],
        record: &'t [u8],
        at: ValidTime,
        commit: u64,
    ) -> Result<Option<&'t [u8]>, Error> {
        let tail = self.points.decoded(prefix, record)?;
        let found = self.points.find_behind(prefix, tail, at, commit)?;
        self.value_found(prefix, found)
    }

    /// The value of what was in force.
    #[inline]
    pub(super) fn value_found(
        &self,
        prefix: &[u8],
        found: Option<Found<'t>>,
    ) -> Result<Option<&'t [u8]>, Error> {
        let (point, value) = match found {
            Some(Found::Last(point, value)) => (point, value),
            Some(Found::Point(point)) => (point, None),
            None => return Ok(None),
        };
        match (point.belief, value) {
            (None, _) => Ok(None),
            (Some(belief), None) => self.value(prefix, belief).map(Some),
            (Some(_), value) => Ok(value),
        }
    }

    /// The value behind the last break point.
    #[inline]
    pub(super) fn value_of_tail(&self, prefix: &[u8], tail: &Tail<'t>) -> Result<Option<&'t [u8]>, Error> {
        self.value_found(prefix, Some(Found::Last(tail.point, tail.value)))
    }

    /// The piece that starts at a break point that stood once `commit` was recorded, as a version; `None` where it has
    /// no value.
    pub(super) fn version_from(
        &self,
        prefix: &[u8],
        key: &[u8],
        start: Point,
        commit: u64,
    ) -> Result<Option<Version>, Error> {
        if start.belief.is_none() {
            return Ok(None);
        }
        let end = self.points.next_after(prefix, start.at, commit)?;
        let valid = Period::between(start.at, end.map_or(ValidTime::POS_INF, |end| end.at));
        let found = self.rectangle(prefix, &Piece { valid, start }, commit)?;
        found.map(|found| self.version(prefix, key, &found)).transpose()
    }

    /// A rectangle with its key, its value and the times of its commits.
    pub(super) fn version(&self, prefix: &[u8], key: &[u8], found: &Rectangle) -> Result<Version, Error> {
        let value = self.value(prefix, found.belief)?.to_vec();
        self.version_with(key, found, value)
    }

    pub(super) fn version_with(
        &self,
        key: &[u8],
        found: &Rectangle,
        value: Vec<u8>,
    ) -> Result<Version, Error> {
        let known_from = self.commits.stamp(found.known_from)?;
        let asserted = found.belief.asserted;
        Ok(Version {
            key: key.to_vec(),
            value,
            valid: found.valid,
            known_from,
            known_to: found.known_to.map(|commit| self.commits.stamp(commit)).transpose()?,
            asserted: if asserted == found.known_from { known_from } else { self.commits.stamp(asserted)? },
        })
    }

    /// The value that an operation asserted.
    pub(super) fn value(&self, prefix: &[u8], belief: Belief) -> Result<&'t [u8], Error> {
        crate::ops::value_of(self.ops, belief, prefix)
    }
}
