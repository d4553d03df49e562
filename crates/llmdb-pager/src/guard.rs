//! Bytes that own the snapshot they stand in: they cross threads and outlive the borrow.
//!
//! Invariants
//! 1. A guard's owner holds a snapshot of its own, so its bytes stay as they are until it is dropped.

use crate::error::Error;
use crate::page::{PageNumber, Ref};
use crate::snapshot::{PageSource as _, Snapshot};
use bytes::Bytes;
use std::ops::Range;

/// Where the bytes stand.
enum Place {
    Page(Ref, Range<usize>),
    Extent(PageNumber, u64),
}

struct Guard {
    snapshot: Snapshot,
    place: Place,
}

impl AsRef<[u8]> for Guard {
    fn as_ref(&self) -> &[u8] {
        let bytes = match &self.place {
            Place::Page(at, range) => {
                self.snapshot.page_of(*at).ok().and_then(|page| page.bytes().get(range.clone()))
            }
            Place::Extent(start, len) => self.snapshot.extent_of(*start, *len, &|_| true).ok(),
        };
        // Asked once, when the guard is made: `whole` looks whether all bytes were found.
        bytes.unwrap_or_default()
    }
}

impl Snapshot {
    /// Bytes of a page, with a snapshot of their own. Costs a snapshot and an allocation.
    ///
    /// # Errors
    /// As [`crate::PageSource::page`]; [`Error::Damaged`] where `range` leaves the page.
    pub fn page_bytes(&self, at: Ref, range: Range<usize>) -> Result<Bytes, Error> {
        self.page(at)?;
        let len = range.len() as u64;
        self.whole(at.number(), len, Place::Page(at, range))
    }

    /// An extent, with a snapshot of its own. Costs a snapshot and an allocation.
    ///
    /// # Errors
    /// As [`crate::PageSource::extent`].
    pub fn extent_bytes(
        &self,
        start: PageNumber,
        len: u64,
        intact: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Bytes, Error> {
        self.extent(start, len, intact)?;
        self.whole(start, len, Place::Extent(start, len))
    }

    /// A guard, if it holds all `len` bytes of its place.
    fn whole(&self, page: PageNumber, len: u64, place: Place) -> Result<Bytes, Error> {
        let bytes = Bytes::from_owner(Guard { snapshot: self.clone(), place });
        let found = bytes.len() as u64;
        if found == len { Ok(bytes) } else { Err(Error::damaged(page, "bytes outside the page", len, found)) }
    }
}
