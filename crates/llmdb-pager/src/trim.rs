//! Giving free room back to the file system while the database is open, and cutting a free end when it is
//! not.
//!
//! Invariants
//! 1. Only pages are given back that are free in memory: no durable checkpoint, no open snapshot and no
//!    value that the log refers to has them (`space`, invariant 1).
//! 2. The file keeps its length while it may be mapped. A page that was given back reads as zeros, and
//!    nothing reads it.

use crate::error::Error;
use crate::meta::read_metas;
use crate::page::PageNumber;
use crate::pager::{Pager, PagerOptions};
use crate::snapshot::Core;
use crate::space::Run;
use crate::writer::{Writer, read_map_page};
use std::path::Path;

/// A shorter run of free pages is not worth a hole, in bytes.
const HOLE_SIZE_MIN: u64 = 64 << 10;

/// What [`Pager::trim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrimReport {
    /// Bytes given back now.
    pub freed_bytes: u64,
    /// Runs that they lay in.
    pub runs: u64,
}

impl Pager {
    /// Gives free pages back to the file system, in runs of 64 KiB and more, and the room behind the last
    /// page: the file keeps its length and takes less of the disk. Readers go on; the writer is held.
    /// Pages that only a reader or a checkpoint still keeps can go with a later call.
    ///
    /// A page is found again when it is needed; then room for it is reserved first, so that a disk that is
    /// full by then is an ordinary error.
    ///
    /// # Errors
    /// [`Error::Io`] where the file system cannot make holes; a damaged allocation map.
    pub fn trim(&self) -> Result<TrimReport, Error> {
        self.visit_free(true)
    }

    /// Gives back the room behind the last page alone, which growth reserves ahead: for a close, or for the end of
    /// a load. Answers how many bytes. As [`Pager::trim`] otherwise, but looks at nothing and costs one call.
    ///
    /// # Errors
    /// [`Error::Io`] where the file system cannot make holes.
    pub fn trim_end(&self) -> Result<u64, Error> {
        let mut txn = self.begin_write()?;
        let core = self.core.clone();
        let writer = txn.writer();
        let end = writer.free_end(core.page_size as u64);
        if end.is_none_or(|end| writer.holes.covers(&core, end).unwrap_or(true)) {
            return Ok(0);
        }
        end.map_or(Ok(0), |end| punch(&core, writer, end).map(|()| end.count * core.page_size as u64))
    }

    /// What [`Pager::trim`] would give back now.
    ///
    /// # Errors
    /// A damaged allocation map.
    pub fn trimmable(&self) -> Result<TrimReport, Error> {
        self.visit_free(false)
    }

    fn visit_free(&self, give_back: bool) -> Result<TrimReport, Error> {
        let mut txn = if give_back { self.begin_write()? } else { self.hold_writer()? };
        let core = self.core.clone();
        let writer = txn.writer();
        writer.reclaim(&core)?;
        let page_size = core.page_size as u64;
        let mut free = writer.space.free_runs(HOLE_SIZE_MIN / page_size, &|at| read_map_page(&core, at))?;
        free.extend(writer.free_end(page_size));
        let mut report = TrimReport::default();
        for run in free {
            if writer.holes.covers(&core, run)? {
                continue;
            }
            if give_back {
                punch(&core, writer, run)?;
            }
            report.freed_bytes += run.count * page_size;
            report.runs += 1;
        }
        Ok(report)
    }
}

impl Writer {
    /// What stands behind the last page, if it is worth a hole.
    fn free_end(&self, page_size: u64) -> Option<Run> {
        let start = self.space.page_count();
        let count = (self.file_len / page_size).saturating_sub(start);
        (count * page_size >= HOLE_SIZE_MIN).then_some(Run { start: PageNumber(start), count })
    }
}

fn punch(core: &Core, writer: &mut Writer, run: Run) -> Result<(), Error> {
    let page_size = core.page_size as u64;
    core.file
        .punch(run.start.0 * page_size, run.count * page_size)
        .map_err(|e| Error::io(core.doing("giving free room back from"), e))?;
    writer.holes.add(run);
    Ok(())
}

impl PagerOptions {
    /// Cuts off what stands behind the last page of a closed file. Answers how many bytes. A file that is
    /// open anywhere is locked; one with a log beside it must have been closed cleanly before, since the
    /// log may refer to values behind the last page of the checkpoint.
    ///
    /// # Errors
    /// As [`PagerOptions::open`].
    pub fn cut_free_end(self, path: impl AsRef<Path>) -> Result<u64, Error> {
        let (file, _lock) = self.open_unmapped(path.as_ref())?;
        let doing = |what: &str| format!("{what} {}", path.as_ref().display());
        let meta = read_metas(&*file, path.as_ref())?.newest;
        let needed = meta.page_count * meta.page_size as u64;
        let len = file.len().map_err(|e| Error::io(doing("looking at"), e))?;
        if len > needed {
            file.set_len(needed)
                .and_then(|()| file.sync_data())
                .map_err(|e| Error::io(doing("cutting the free end of"), e))?;
        }
        Ok(len - needed)
    }
}
