//! All keys of a range at one point of both axes, streamed.
//!
//! Invariants
//! 1. The rows are exactly the `get`s of the keys in the range that have a value, ascending.
//! 2. Memory is that of one row. After an error the scan ends.

use std::fmt;
use std::ops::Bound;

use super::Collection;
use super::keys::Keys;
use super::sweep::Rectangle;
use crate::catalog;
use crate::encoding;
use crate::entry::Tail;
use crate::error::Error;
use crate::points::NOW;
use crate::ranges::damaged;
use crate::types::{Known, Period, ValidTime, Version};

/// The rows of [`TemporalRead::scan`](super::TemporalRead::scan).
pub struct Scan<'t> {
    open: Option<Open<'t>>,
}

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

    /// The row of a key whose last break point is at hand.
    fn row(
        &self,
        prefix: &[u8],
        tail: &Tail<'t>,
        at: ValidTime,
        commit: u64,
    ) -> Result<Option<Version>, Error> {
        let user_key = || {
            encoding::user_key(prefix)
                .map_err(|what| damaged(catalog::now_tree(self.number), prefix, &what.into()))
        };
        if tail.point.at <= at && (commit == NOW || tail.settled <= commit) {
            let (Some(belief), Some(value)) = (tail.point.belief, self.value_of_tail(prefix, tail)?) else {
                return Ok(None);
            };
            let known_from = tail.settled.max(self.kept_from);
            let valid = Period::since(tail.point.at);
            let found = Rectangle { valid, belief, known_from, known_to: None };
            return self.version_with(&user_key()?, &found, value.to_vec()).map(Some);
        }
        if !tail.has_blocks && (tail.point.at > at || !tail.point.stood_at(commit)) {
            return Ok(None);
        }
        let Some(start) = self.points.in_force(prefix, at, commit)? else { return Ok(None) };
        self.version_from(prefix, &user_key()?, start, commit)
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

impl fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("ended", &self.open.is_none()).finish_non_exhaustive()
    }
}
