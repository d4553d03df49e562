//! Values that are too large for a leaf and small for a write: those on neighbouring pages are gathered and go to the file
//! in one write. A call of the system for each value of 4 KiB took a fifth of such a transaction's time.
//!
//! Invariants
//! 1. What is gathered is on pages that this transaction took, and is written before one of them is given back, and
//!    before the commit; a rollback forgets it.
//! 2. Until it is written the transaction reads it from here.
//!
//! Not here: who writes it, and when (`extent`).

use crate::page::PageNumber;

/// The most that is gathered, in bytes.
const GATHERED_MAX: usize = 1 << 20;
/// Larger values are written by themselves.
pub(crate) const VALUE_MAX: usize = 64 << 10;

/// Values on neighbouring pages, which are not in the file yet.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Where the first begins, in bytes of the file.
    start: u64,
    bytes: Vec<u8>,
}

impl Gathered {
    /// A value that begins at page `start`, if it is here.
    pub(crate) fn value(&self, start: PageNumber, len: u64, page_size: usize) -> Option<&[u8]> {
        let from = (start.0 * page_size as u64).checked_sub(self.start)?;
        self.bytes.get(usize::try_from(from).ok()?..)?.get(..usize::try_from(len).ok()?)
    }

    /// Adds a value that begins at byte `at` of the file, if it goes on from the others. Whether it did.
    pub(crate) fn add(&mut self, at: u64, value: &[u8], page_size: usize) -> bool {
        let end = self.bytes.len().next_multiple_of(page_size);
        if self.bytes.is_empty() {
            self.start = at;
        } else if self.start + end as u64 != at || end + value.len() > GATHERED_MAX {
            return false;
        }
        self.bytes.resize(end, 0);
        self.bytes.extend_from_slice(value);
        true
    }

    /// What there is, and where it goes, in bytes of the file.
    pub(crate) fn take(&mut self) -> (u64, Vec<u8>) {
        (self.start, std::mem::take(&mut self.bytes))
    }

    /// Takes the memory back.
    pub(crate) fn reuse(&mut self, mut memory: Vec<u8>) {
        memory.clear();
        self.bytes = memory;
    }
}
