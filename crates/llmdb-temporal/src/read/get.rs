//! One key at one point of both axes.
//!
//! Invariants
//! 1. The answer is the break point that stood at the commit with the greatest valid time not after the
//!    instant, be it among the living or the dead.
//!
//! Not here: how entries are found in each tree (`points`).

use std::borrow::Cow;

use super::sweep::{Rectangle, sweep};
use super::{Collection, prefix};
use crate::commits::Moment;
use crate::entry::BreakPoint;
use crate::error::Error;
use crate::types::{Known, Period, ValidTime, Version};

impl<'t> Collection<'t> {
    /// See [`TemporalRead::get`](super::TemporalRead::get).
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: &[u8], valid_at: ValidTime, known: Known) -> Result<Option<Version>, Error> {
        let prefix = prefix(key)?;
        let Some(moment) = self.moment(known)? else { return Ok(None) };
        self.version_at(&prefix, key, valid_at, moment)
    }

    /// See [`TemporalRead::get_value`](super::TemporalRead::get_value).
    ///
    /// # Errors
    /// As there.
    pub fn get_value(
        &self,
        key: &[u8],
        valid_at: ValidTime,
        known: Known,
    ) -> Result<Option<Cow<'t, [u8]>>, Error> {
        let prefix = prefix(key)?;
        let Some(moment) = self.moment(known)? else { return Ok(None) };
        let point = self.in_force(&prefix, valid_at, moment)?;
        Ok(point.and_then(|point| point.belief).map(|belief| Cow::Borrowed(belief.value)))
    }

    pub(super) fn version_at(
        &self,
        prefix: &[u8],
        key: &[u8],
        valid_at: ValidTime,
        moment: Moment,
    ) -> Result<Option<Version>, Error> {
        let Some(start) = self.in_force(prefix, valid_at, moment)? else { return Ok(None) };
        if start.belief.is_none() {
            return Ok(None);
        }
        let end = self.next_point(prefix, start.at, moment)?;
        let valid = Period::between(start.at, end.map_or(ValidTime::POS_INF, |end| end.at));
        let rectangles = self.rectangles(prefix, valid.from, valid.to)?;
        let found = rectangles.iter().find(|found| found.valid == valid && found.stood_at(moment.commit()));
        found.map(|found| self.version(key, found)).transpose()
    }

    /// The break point in force at `at` and `moment`.
    pub(super) fn in_force(
        &self,
        prefix: &[u8],
        at: ValidTime,
        moment: Moment,
    ) -> Result<Option<BreakPoint<'t>>, Error> {
        let Moment::Commit(commit) = moment else { return self.live.in_force(prefix, at) };
        let live = self.live.in_force_at(prefix, at, commit)?;
        let dead = self.dead.in_force_at(prefix, at, commit, live.map(|point| point.at))?;
        Ok(dead.or(live))
    }

    /// The first break point after `at` at `moment`.
    pub(super) fn next_point(
        &self,
        prefix: &[u8],
        at: ValidTime,
        moment: Moment,
    ) -> Result<Option<BreakPoint<'t>>, Error> {
        let live = self.live.next_at(prefix, at, moment.commit())?;
        let Moment::Commit(commit) = moment else { return Ok(live) };
        let ceiling = live.map_or(ValidTime::POS_INF, |point| point.at);
        Ok(self.dead.next_at(prefix, at, commit, ceiling)?.or(live))
    }

    /// All rectangles made by the break points from `from` to `to`, both included. Those that start at `from` or
    /// later and end at `to` or earlier are whole; of what reaches beyond, the true end is not known here.
    pub(super) fn rectangles(
        &self,
        prefix: &[u8],
        from: ValidTime,
        to: ValidTime,
    ) -> Result<Vec<Rectangle<'t>>, Error> {
        let mut points = self.live.between(prefix, from, to)?;
        points.extend(self.dead.between(prefix, from, to)?);
        Ok(sweep(&points))
    }

    /// A rectangle with its key and the times of its commits.
    pub(super) fn version(&self, key: &[u8], found: &Rectangle<'t>) -> Result<Version, Error> {
        Ok(Version {
            key: key.to_vec(),
            value: found.belief.value.to_vec(),
            valid: found.valid,
            known_from: self.commits.stamp(found.known_from)?,
            known_to: found.known_to.map(|commit| self.commits.stamp(commit)).transpose()?,
            asserted: self.commits.stamp(found.belief.asserted)?,
        })
    }
}
