//! All keys of a range at one point of both axes, streamed.
//!
//! Invariants
//! 1. The rows are exactly the `get`s of the keys in the range that have a value, ascending.
//! 2. Memory is that of one row. After an error the scan ends.

use std::fmt;
use std::ops::Bound;

use super::Collection;
use super::keys::Keys;
use crate::catalog;
use crate::commits::Moment;
use crate::encoding;
use crate::error::Error;
use crate::points::damaged;
use crate::types::{Known, ValidTime, Version};

/// The rows of [`TemporalRead::scan`](super::TemporalRead::scan).
pub struct Scan<'t> {
    open: Option<Open<'t>>,
}

struct Open<'t> {
    collection: Collection<'t>,
    keys: Keys<'t>,
    valid_at: ValidTime,
    moment: Moment,
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
        let Some(moment) = self.moment(known)? else { return Ok(Scan::empty()) };
        let keys = Keys::between(self, from, to, moment != Moment::Newest);
        Ok(Scan { open: Some(Open { collection: *self, keys, valid_at, moment }) })
    }
}

impl Scan<'_> {
    pub(super) fn empty() -> Self {
        Self { open: None }
    }
}

impl Open<'_> {
    fn next(&mut self) -> Result<Option<Version>, Error> {
        while let Some(prefix) = self.keys.next()? {
            let key = self.user_key(&prefix)?;
            let row = self.collection.version_at(&prefix, &key, self.valid_at, self.moment)?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }

    fn user_key(&self, prefix: &[u8]) -> Result<Vec<u8>, Error> {
        encoding::user_key(prefix)
            .map_err(|what| damaged(catalog::now_tree(self.collection.number), prefix, &what.into()))
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
