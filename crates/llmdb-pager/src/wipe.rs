//! Overwriting what no page needs: free pages, the room behind the last one, and what stands behind a large value in its last
//! page.
//!
//! Invariants
//! 1. Only pages are overwritten that are free in memory: no durable checkpoint, no open snapshot and no value that the log
//!    refers to has them (`space`, invariant 1).
//! 2. Behind a large value its last page's bytes are nobody's: overwriting them changes no value, whole or torn.
//! 3. Zeros are left alone: what was wiped before costs reads, no writes.
//!
//! Not here: bytes inside pages of trees (`llmdb_btree`), the log (`llmdb_wal`), what the device keeps of blocks that the file
//! system took back.

use crate::error::Error;
use crate::page::PageNumber;
use crate::pager::Pager;
use crate::snapshot::Core;
use crate::space::Run;
use crate::storage::{read_exact_at, write_all_at};
use crate::write_txn::WriteTxn;
use crate::writer::read_map_page;

/// Bytes that are looked at at a time.
const STEP: u64 = 1 << 20;

/// What [`Pager::wipe_free`] did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WipedFree {
    /// Bytes of free pages that were not zero, and are now where they were to be overwritten.
    pub bytes: u64,
    /// Pages that no newer state than the given commit's needs, and that are not free yet: a reader keeps them, or the next
    /// checkpoint frees them.
    pub kept_pages: u64,
    /// The commit that the oldest open snapshot sees, where pages are kept.
    pub oldest_snapshot: Option<u64>,
}

impl Pager {
    /// Overwrites everything with zeros that is free, in the file's whole length, and flushes it; with `overwrite` unset only
    /// counts. Tells of pages that were in use up to commit `up_to` and are not free yet. The writer is held; readers go on.
    ///
    /// Reads all free room, and writes what of it is not zero.
    ///
    /// ```
    /// use llmdb_pager::{Kind, PagerOptions, page::HEADER_SIZE};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("pages.llmdb");
    /// let pager = PagerOptions::new().create(&path)?;
    /// let holds = || std::fs::read(&path).unwrap().windows(6).any(|window| window == b"secret");
    ///
    /// let mut txn = pager.begin_write()?;
    /// let page = txn.allocate(Kind(16), 0)?;
    /// txn.page_mut(page)[HEADER_SIZE..][..6].copy_from_slice(b"secret");
    /// txn.set_root(page);
    /// txn.commit_with_checkpoint([0; 64])?;
    ///
    /// let mut txn = pager.begin_write()?;
    /// let root = pager.snapshot().root();
    /// let page = txn.make_mut(root)?;
    /// txn.page_mut(page)[HEADER_SIZE..][..6].fill(0);
    /// txn.set_root(page);
    /// txn.commit_with_checkpoint([0; 64])?;
    /// assert!(holds(), "the page from before is free and as it was");
    ///
    /// let wiped = pager.wipe_free(u64::MAX, true)?;
    /// assert!(wiped.bytes > 0 && wiped.kept_pages == 0 && !holds());
    /// # use llmdb_pager::PageSource as _;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A damaged allocation map; a failed read; a failed write or flush, after which the database must be reopened.
    pub fn wipe_free(&self, up_to: u64, overwrite: bool) -> Result<WipedFree, Error> {
        let mut txn = if overwrite { self.begin_write()? } else { self.hold_writer()? };
        let core = self.core.clone();
        let writer = txn.writer();
        writer.reclaim(&core)?;
        let page_size = core.page_size as u64;
        let mut free = writer.space.free_runs(1, &|at| read_map_page(&core, at))?;
        let end = writer.space.page_count();
        free.push(Run { start: PageNumber(end), count: (writer.file_len / page_size).saturating_sub(end) });
        let mut wiped = WipedFree::default();
        for run in free.into_iter().filter(|run| run.count > 0) {
            if !writer.holes.covers(&core, run)? {
                wiped.bytes += zero(&core, run.start.0 * page_size, run.count * page_size, overwrite)?;
            }
        }
        let kept = writer.retired_runs.iter().filter(|retired| retired.retired <= up_to);
        wiped.kept_pages = kept.map(|retired| retired.run.count).sum();
        if wiped.kept_pages > 0 {
            wiped.oldest_snapshot = core.open_numbers().first().copied();
        }
        if overwrite && wiped.bytes > 0 {
            core.flush().map_err(|error| core.poison(error))?;
        }
        Ok(wiped)
    }
}

impl WriteTxn {
    /// Overwrites with zeros what stands behind the `len` bytes of a large value in its pages, without a flush; with
    /// `overwrite` unset only counts. Answers how many bytes were not zero. The value must be one that this transaction sees.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the run is not the file's, or the value does not fit into it; a failed read; a failed write,
    /// after which the database must be reopened.
    pub fn wipe_behind(&mut self, run: Run, len: u64, overwrite: bool) -> Result<u64, Error> {
        let core = self.core.clone();
        let page_size = core.page_size as u64;
        let (start, size) = (run.start.0 * page_size, run.count * page_size);
        if !self.holds(run) || len > size {
            return Err(Error::damaged(run.start, "a large value leaves the pages of the file", size, len));
        }
        self.write_gathered()?;
        zero(&core, start + len, size - len, overwrite)
    }
}

/// Zeros in the place of `len` bytes from `from` on, where there are others: how many there were.
fn zero(core: &Core, from: u64, len: u64, overwrite: bool) -> Result<u64, Error> {
    let mut found = 0;
    let mut bytes = vec![0; len.min(STEP) as usize];
    for at in (from..from + len).step_by(STEP as usize) {
        let piece = &mut bytes[..(from + len - at).min(STEP) as usize];
        read_exact_at(&*core.file, piece, at)
            .map_err(|e| Error::io(core.doing("reading free room of"), e))?;
        let others = piece.iter().filter(|byte| **byte != 0).count() as u64;
        if others > 0 && overwrite {
            piece.fill(0);
            write_all_at(&*core.file, piece, at)
                .map_err(|e| core.poison(Error::io(core.doing("overwriting free room of"), e)))?;
        }
        found += others;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pager::PagerOptions;
    use crate::sim::SimDisk;
    use crate::storage::{OpenMode, Storage as _};
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn a_value_that_is_said_to_lie_in_the_metas_or_behind_the_file_is_damage_and_nothing_is_written() {
        let disk = Arc::new(SimDisk::new(3));
        let pager = PagerOptions::new().storage(disk.clone()).create("/wipe.llmdb").unwrap();
        let bytes = || {
            let file = disk.open(Path::new("/wipe.llmdb"), OpenMode::Read).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            read_exact_at(&*file, &mut bytes, 0).unwrap();
            bytes
        };
        let before = bytes();
        let mut txn = pager.begin_write().unwrap();
        let good = txn.write_extent(&[7; 10]).unwrap();
        for (start, count, len) in [(0, 1, 10), (1, 1, 0), (1 << 40, 1, 10), (good.start.0, 1, 4097)] {
            let run = Run { start: PageNumber(start), count };
            let refused = txn.wipe_behind(run, len, true);
            assert!(matches!(refused, Err(Error::Damaged { .. })), "{run:?}: {refused:?}");
        }
        assert_eq!(txn.wipe_behind(good, 4, true).unwrap(), 6);
        drop(txn);
        assert_eq!(bytes()[..2 * 4096], before[..2 * 4096], "the metas are as they were");
    }
}
