//! Extents: values in pages of their own, written piece by piece where memory does not hold them, and together where they
//! are small.
//!
//! Invariants
//! 1. An extent in the making is one of the transaction's new runs: rolled back, it is free again.
//! 2. Pieces and values go to the file without a flush; the commit flushes them before anything refers to them.

use crate::error::Error;
use crate::gather::VALUE_MAX;
use crate::page::PageNumber;
use crate::pager::Pager;
use crate::space::Run;
use crate::storage::{read_exact_at, write_all_at};
use crate::write_txn::WriteTxn;
use crate::writer::read_map_page;

impl Pager {
    /// Reads `len` bytes from the start of page `start` by themselves, whatever was checked before.
    ///
    /// # Errors
    /// [`Error::Damaged`] where they leave the file; an I/O error.
    pub fn read_extent(&self, start: PageNumber, len: u64) -> Result<Vec<u8>, Error> {
        let core = &self.core;
        let file_len = core.file.len().map_err(|e| Error::io(core.doing("looking at"), e))?;
        let at = start.0.checked_mul(core.page_size as u64);
        let inside = at.and_then(|at| at.checked_add(len)).is_some_and(|end| end <= file_len);
        let (Some(at), Ok(size), true) = (at, usize::try_from(len), inside) else {
            return Err(Error::damaged(start, "an extent leaves the file", file_len, len));
        };
        let mut bytes = vec![0; size];
        core.file.will_need(at, len);
        read_exact_at(&*core.file, &mut bytes, at)
            .map_err(|e| Error::io(core.doing(&format!("reading page {start} of")), e))?;
        Ok(bytes)
    }

    /// Writes an extent as it is once more, for one who does not know whether it ever reached the device. Durable after
    /// [`Pager::sync_extents`].
    ///
    /// # Errors
    /// As [`Pager::read_extent`]; a failed write ends all writing.
    pub fn rewrite_extent(&self, start: PageNumber, len: u64) -> Result<(), Error> {
        let (core, bytes) = (&self.core, self.read_extent(start, len)?);
        write_all_at(&*core.file, &bytes, start.0 * core.page_size as u64)
            .map_err(|e| core.poison(Error::io(core.doing("writing a value to"), e)))
    }
}

impl WriteTxn {
    /// Takes room in the file for an extent of `len` bytes, to be filled by [`WriteTxn::fill_extent`].
    ///
    /// # Errors
    /// [`Error::DiskFull`], with nothing changed.
    pub fn begin_extent(&mut self, len: u64) -> Result<Run, Error> {
        let core = self.core.clone();
        let run = self.writer().allocate(&core, len.div_ceil(core.page_size as u64).max(1))?;
        core.forget_run(run);
        self.add_run(run);
        self.widen_view()?;
        Ok(run)
    }

    /// Writes a piece of an extent that this transaction began, `offset` bytes from its start.
    ///
    /// # Errors
    /// An I/O error, after which the database must be reopened.
    ///
    /// # Panics
    /// Where the extent is not this transaction's, or the piece reaches past its end.
    pub fn fill_extent(&mut self, run: Run, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        assert!(self.has_run(run), "only extents in the making may be written");
        let (core, page_size) = (self.core.clone(), self.core.page_size as u64);
        let inside = offset.checked_add(bytes.len() as u64).is_some_and(|end| end <= run.count * page_size);
        assert!(inside, "a piece lies inside its extent");
        write_all_at(&*core.file, bytes, run.start.0 * page_size + offset)
            .map_err(|e| core.poison(Error::io(core.doing("writing a value to"), e)))?;
        self.note_write(run.start.0 * page_size + offset, bytes.len() as u64);
        Ok(())
    }

    /// Gives an extent back that this transaction began and nothing refers to.
    ///
    /// # Errors
    /// A damaged allocation map.
    pub fn abandon_extent(&mut self, run: Run) -> Result<(), Error> {
        if self.take_run(run) {
            self.write_gathered()?;
            let core = self.core.clone();
            self.writer().space.release(run, &|at| read_map_page(&core, at))?;
        }
        Ok(())
    }

    /// Takes a value that begins at page `start`, a page of this transaction's, to be written at once or together with its
    /// neighbours.
    pub(crate) fn put_value(&mut self, start: PageNumber, value: &[u8]) -> Result<(), Error> {
        let page_size = self.core.page_size;
        let at = start.0 * page_size as u64;
        if value.len() > VALUE_MAX {
            return self.write_value(at, value);
        }
        if !self.gathered.add(at, value, page_size) {
            self.write_gathered()?;
            self.gathered.add(at, value, page_size);
        }
        Ok(())
    }

    /// Writes the values that were gathered.
    ///
    /// # Errors
    /// An I/O error, which ends all writing.
    pub(crate) fn write_gathered(&mut self) -> Result<(), Error> {
        let (at, bytes) = self.gathered.take();
        if !bytes.is_empty() {
            self.write_value(at, &bytes)?;
            self.gathered.reuse(bytes);
        }
        Ok(())
    }

    fn write_value(&mut self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let core = &self.core;
        write_all_at(&*core.file, bytes, at)
            .map_err(|e| core.poison(Error::io(core.doing("writing a value to"), e)))?;
        self.note_write(at, bytes.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Error;
    use crate::pager::PagerOptions;
    use crate::sim::SimDisk;
    use crate::snapshot::PageSource as _;
    use std::sync::Arc;

    #[test]
    fn a_value_that_is_not_in_the_file_yet_is_looked_at_like_any_other() {
        let pager = PagerOptions::new().storage(Arc::new(SimDisk::new(5))).create("/values.llmdb").unwrap();
        let mut txn = pager.begin_write().unwrap();
        let (one, other) = (txn.write_extent(&[1; 5_000]).unwrap(), txn.write_extent(&[2; 10]).unwrap());
        assert_eq!(txn.extent(one.start, 5_000, &|bytes| bytes == [1; 5_000]).unwrap(), [1; 5_000]);
        let (bytes, is_checked) = txn.extent_unverified(other.start, 10).unwrap();
        assert_eq!((bytes, is_checked), (&[2; 10][..], false));
        // A reference of a damaged page.
        let refused = txn.extent(one.start, 4_000, &|_| false);
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    }
}
