//! Pieces of a timeline by their place in a window, whether a window is filled, and where two timelines meet.
//!
//! ```text
//!   window           [          )
//!   FromTo       ======  ====  ======         shares an instant with [from, to)
//!   Between      ======  ====  ====== ===     shares an instant with [from, to], its end included
//!   ContainedIn          ====                 lies in it as a whole
//! ```
//!
//! Invariants
//! 1. Rows come in the order of valid time. Those of one timeline do not overlap.
//! 2. Clamped rows are what stored ones have in common with the window, and never empty.
//!
//! Cost: that of `timeline` over the window; for two timelines of both.

use std::ops::Bound;

use super::Collection;
use super::keys::Keys;
use crate::encoding;
use crate::error::Error;
use crate::types::{Bounds, Known, Meeting, Period, Version, Window};

impl Collection<'_> {
    /// See [`TemporalRead::between`](super::TemporalRead::between).
    ///
    /// # Errors
    /// As there.
    pub fn between(
        &self,
        key: &[u8],
        window: Window,
        bounds: Bounds,
        known: Known,
    ) -> Result<Vec<Version>, Error> {
        let period = window.period().map_err(|error| error.of_key(key))?;
        let mut rows = self.timeline(key, period, known)?;
        if let Window::ContainedIn(Period { from, to }) = window {
            rows.retain(|row| from <= row.valid.from && row.valid.to <= to);
        }
        if bounds == Bounds::Clamped {
            for row in &mut rows {
                row.valid = row.valid.common(period).unwrap_or(row.valid);
            }
        }
        Ok(rows)
    }

    /// See [`TemporalRead::covers`](super::TemporalRead::covers).
    ///
    /// # Errors
    /// As there.
    pub fn covers(&self, key: &[u8], period: Period, known: Known) -> Result<bool, Error> {
        let period = period.checked().map_err(|error| error.of_key(key))?;
        let prefix = super::prefix(key)?;
        let Some(commit) = self.commit_of(known, Some(key))? else { return Ok(period.is_empty()) };
        if period.is_empty() {
            return Ok(true);
        }
        let first = self.points.in_force(&prefix, period.from, commit)?;
        let Some(first) = first.filter(|first| first.belief.is_some()) else { return Ok(false) };
        let standing = self.points.standing(&prefix, first.at, period.to, commit)?;
        Ok(standing.iter().all(|point| point.belief.is_some() || point.at >= period.to))
    }

    /// See [`TemporalRead::meetings`](super::TemporalRead::meetings).
    ///
    /// # Errors
    /// As there.
    pub fn meetings(
        &self,
        key: &[u8],
        other: (&Collection<'_>, &[u8]),
        window: Period,
        known: Known,
    ) -> Result<Vec<Meeting>, Error> {
        let window = window.checked().map_err(|error| error.of_key(key))?;
        let (others, other_key) = other;
        let left = self.timeline(key, window, known)?;
        let right = others.timeline(other_key, window, known)?;
        Ok(meet(&left, &right, window))
    }

    /// [`Self::meetings`] of every key of a range with the *same* key of another collection, by key: an equal join. Different
    /// keys, such as one that the value of the other names, are joined by asking [`Self::meetings`] for each pair.
    ///
    /// Memory grows with the result.
    ///
    /// ```
    /// use llmdb_temporal::{Known, Period, Temporal, ValidTime};
    /// # use llmdb_wal::StoreOptions;
    /// use std::ops::Bound::Unbounded;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Temporal::open(StoreOptions::new().open(folder.path().join("staff.llmdb"))?)?;
    /// let day = |n: i64| ValidTime::from_micros(n * 86_400_000_000);
    /// let mut tx = db.begin_write()?;
    /// tx.put("team", b"ada", Period::new(day(0)?, day(10)?)?, b"tools")?;
    /// tx.put("desk", b"ada", Period::since(day(7)?), b"3rd floor")?;
    /// tx.put("lead", b"tools", Period::new(day(2)?, day(5)?)?, b"bob")?;
    /// tx.commit()?;
    /// let read = db.begin_read()?;
    /// let named = |name| read.collection(name).transpose().ok_or("made above");
    /// let (team, desk, lead) = (named("team")??, named("desk")??, named("lead")??);
    /// // Equal keys: who had which desk while in which team.
    /// let both = team.meetings_of((Unbounded, Unbounded), &desk, Period::ALL, Known::Latest)?;
    /// assert_eq!((both.len(), both[0].valid), (1, Period::new(day(7)?, day(10)?)?));
    /// // Different keys: who led the team that somebody was in. The value names the other key.
    /// for of_team in team.timeline(b"ada", Period::ALL, Known::Latest)? {
    ///     let led = team.meetings(b"ada", (&lead, &of_team.value), of_team.valid, Known::Latest)?;
    ///     assert_eq!((&led[0].right.value[..], led[0].valid.to), (&b"bob"[..], day(5)?));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::PeriodReversed`]; the store's errors.
    pub fn meetings_of(
        &self,
        keys: (Bound<&[u8]>, Bound<&[u8]>),
        other: &Collection<'_>,
        window: Period,
        known: Known,
    ) -> Result<Vec<Meeting>, Error> {
        let mut found = Vec::new();
        let mut walk = Keys::between(self, keys.0, keys.1);
        while let Some((prefix, _)) = walk.next()? {
            if other.points.tail(prefix)?.is_none() {
                continue;
            }
            let key =
                encoding::user_key(prefix).map_err(|what| self.points.damaged_tail(prefix, &what.into()))?;
            found.extend(self.meetings(&key, (other, &key), window, known)?);
        }
        Ok(found)
    }

    /// Whether anything was ever believed about a key: one look-up, with no false answers. A key that was erased never was,
    /// nor one that went with the history that was let go ([`TemporalWrite::retain`](crate::TemporalWrite::retain)).
    ///
    /// # Errors
    /// [`Error::KeyEmpty`]; the store's errors.
    pub fn was_ever(&self, key: &[u8]) -> Result<bool, Error> {
        Ok(self.points.tail(&super::prefix(key)?)?.is_some())
    }

    /// Whether the belief about a key ever changed: one look-up, with no false answers. A key with one break point in
    /// all its life has no history.
    ///
    /// # Errors
    /// As [`Self::was_ever`].
    pub fn has_history(&self, key: &[u8]) -> Result<bool, Error> {
        Ok(self.points.tail(&super::prefix(key)?)?.is_some_and(|tail| tail.has_history()))
    }
}

/// Where two timelines both have a value: both are in order, so one walk finds it.
fn meet(left: &[Version], right: &[Version], window: Period) -> Vec<Meeting> {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    let mut found = Vec::new();
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let common = one.valid.common(other.valid).and_then(|valid| valid.common(window));
        found.extend(common.map(|valid| Meeting { valid, left: (*one).clone(), right: (*other).clone() }));
        if one.valid.to <= other.valid.to {
            left.next();
        } else {
            right.next();
        }
    }
    found
}
