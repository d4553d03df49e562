//! Which pages a backup holds: those of the durable checkpoint, from its root down.
//!
//! Invariants
//! 1. The writer is held only while the checkpoint is pinned by a snapshot, which keeps its pages.
//! 2. Each page is read from the file and checked before it is written; so is each large value.
//! 3. What was born up to the base is left out. Mostly it is not even read: a reference holds the low 15
//!    bits of the birth of what it refers to, which says enough while the base is less than 32,768 commits
//!    old.

use super::format::BackupHeader;
use super::write::StreamWriter;
use crate::bits::PageSet;
use crate::check::{Below, ExtentUse, Found, Item, Progress, Work, examine, take_batch};
use crate::error::Error;
use crate::page::{Page, PageNumber, Ref};
use crate::pager::Pager;
use crate::snapshot::{PageSource as _, Snapshot};
use crate::writer::read_map_page;
use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct BackupOptions {
    since: Option<(u64, Option<u128>)>,
}

impl BackupOptions {
    /// All of the database.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only what was written after this commit: that of an earlier backup of this database, on which this one
    /// is restored. That it was one of this database shows at the latest when the two are restored.
    #[must_use]
    pub fn since(mut self, commit: u64) -> Self {
        self.since = Some((commit, None));
        self
    }

    /// Only what was written after an earlier backup, which must be of this database.
    #[must_use]
    pub fn since_backup(mut self, earlier: &BackupHeader) -> Self {
        self.since = Some((earlier.commit, Some(earlier.identity)));
        self
    }
}

/// What a backup holds, as it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Number of the newest commit in it.
    pub commit: u64,
    /// That commit's time in microseconds since 1970.
    pub time: i64,
    /// What was written up to this commit is left out; `None` for a full backup.
    pub base: Option<u64>,
    /// Pages in it, those of large values not among them.
    pub pages: u64,
    /// Bytes of large values in it.
    pub extent_bytes: u64,
    /// Pages that were read for it and left out.
    pub pages_left_out: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Whether what a page refers to goes into the backup, if it is young enough.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Below,
    LeftOut,
}

/// Where visited pages go.
struct Sink<'w> {
    stream: StreamWriter<'w>,
    left_out: u64,
    failed: Option<Error>,
}

struct Walk<'a, 'w> {
    snapshot: &'a Snapshot,
    page_count: u64,
    commit: u64,
    base: Option<u64>,
    seen: PageSet,
    sink: Mutex<Sink<'w>>,
}

impl Pager {
    /// Writes a backup of the durable checkpoint: full, or only of what was written since an earlier one.
    /// Checkpoint before, so that it holds the newest commit. Readers and writers go on meanwhile; what they
    /// replace waits for the end. `visit` says of a page which large values it refers to, and whether the pages
    /// below it are the last; nothing else of its answer counts. `progress` is told of pages.
    ///
    /// Takes memory for a bit a page in the backup, and for the references of up to two million pages.
    ///
    /// # Errors
    /// [`Error::BackupMismatch`] where the base is not a commit of this database's past; a damaged page, which
    /// ends the backup; [`Error::Io`] of `out`, too.
    pub fn backup(
        &self,
        options: BackupOptions,
        out: &mut (dyn Write + Send),
        visit: &(impl Fn(Page<'_>) -> Below<()> + Sync),
        progress: Progress<'_>,
    ) -> Result<BackupReport, Error> {
        let (snapshot, header, used) = self.pin_for_backup(options)?;
        let mut walk = Walk {
            snapshot: &snapshot,
            page_count: header.page_count,
            commit: header.commit,
            base: header.base,
            seen: PageSet::new(header.page_size),
            sink: Mutex::new(Sink { stream: StreamWriter::begin(out, &header)?, left_out: 0, failed: None }),
        };
        let expected = if header.base.is_some() { 0 } else { used };
        walk.run(header.root, visit, &mut |done| progress(done, expected.max(done)))?;
        let Sink { stream, left_out, .. } = walk.sink.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (totals, bytes) = stream.finish()?;
        Ok(BackupReport {
            commit: header.commit,
            time: header.time,
            base: header.base,
            pages: totals.pages,
            extent_bytes: totals.extent_bytes,
            pages_left_out: left_out,
            bytes,
        })
    }

    /// A snapshot of the durable checkpoint, what a backup of it says of itself, and how many pages it has.
    fn pin_for_backup(&self, options: BackupOptions) -> Result<(Snapshot, BackupHeader, u64), Error> {
        let mut txn = self.hold_writer()?;
        let snapshot = txn.pin_checkpoint()?;
        let core = self.core.clone();
        let writer = txn.writer();
        let meta = writer.meta.clone();
        let free = writer.space.free_count(&|at| read_map_page(&core, at))?;
        let base = options.since.map(|(commit, _)| commit);
        if let Some((commit, identity)) = options.since {
            let mismatch = |what, expected: String, found: String| {
                Err(Error::BackupMismatch { backup: 1, what, expected, found })
            };
            if let Some(found) = identity.filter(|found| *found != meta.identity) {
                let what =
                    "the earlier backup is of another database (a restored one has an identity of its own)";
                return mismatch(what, format!("{:032x}", meta.identity), format!("{found:032x}"));
            }
            if commit > meta.commit {
                let what = "the earlier backup is newer than the database";
                return mismatch(
                    what,
                    format!("commit {} or before", meta.commit),
                    format!("commit {commit}"),
                );
            }
        }
        let header = BackupHeader {
            page_size: meta.page_size,
            identity: meta.identity,
            commit: meta.commit,
            time: meta.time,
            base,
            page_count: meta.page_count,
            root: meta.root,
        };
        Ok((snapshot, header, meta.page_count.saturating_sub(free)))
    }
}

impl<'w> Walk<'_, 'w> {
    fn run(
        &mut self,
        root: Ref,
        visit: &(impl Fn(Page<'_>) -> Below<()> + Sync),
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let mut open = Vec::new();
        if !root.is_null() {
            self.follow(Item { at: root, place: None, is_last: false }, &mut open)?;
        }
        let page_size = self.snapshot.page_size();
        let mut before = 0;
        while !open.is_empty() {
            let batch = take_batch(&mut open);
            let found = {
                let take = |page: Page<'_>, _: Option<&Place>| self.take(page, visit);
                let mut done = |pages| progress(before + pages);
                // One thread: pages go into the stream in the order of the file.
                examine(self.snapshot, batch, NonZeroUsize::MIN, &take, &mut done)?
            };
            if let Some(error) = self.sink().failed.take() {
                return Err(error);
            }
            for found in found {
                before += found.pages + self.found(found, page_size, &mut open)?;
                progress(before);
            }
        }
        Ok(())
    }

    fn sink(&self) -> MutexGuard<'_, Sink<'w>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a page that was read and found whole, unless it is too old.
    fn take(&self, page: Page<'_>, visit: &(impl Fn(Page<'_>) -> Below<()> + Sync)) -> Below<Place> {
        let mut sink = self.sink();
        let count = page.ref_count();
        if !self.is_wanted(page.birth()) {
            sink.left_out += 1;
            return Below { places: vec![Place::LeftOut; count], ..Below::default() };
        }
        if sink.failed.is_none() {
            sink.failed = sink.stream.page(page.bytes()).err();
        }
        let below = visit(page);
        Below {
            places: vec![Place::Below; count],
            extents: below.extents,
            is_last: below.is_last,
            flaws: Vec::new(),
        }
    }

    /// Follows what pages that were read together refer to. Answers the pages of large values.
    fn found(
        &mut self,
        found: Found<Place>,
        page_size: usize,
        open: &mut Vec<Work<Place>>,
    ) -> Result<u64, Error> {
        if let Some(damage) = found.damage.into_iter().next() {
            return Err(Error::Unsound { page: damage.page, what: damage.what });
        }
        for item in found.below {
            if item.place == Some(Place::Below) {
                self.follow(item, open)?;
            }
        }
        let mut pages = 0;
        for (extent, by) in found.extents {
            if self.is_wanted(extent.born) {
                self.take_extent(&extent, by, page_size)?;
                pages += extent.run.count;
            }
        }
        Ok(pages)
    }

    fn follow(&mut self, item: Item<Place>, open: &mut Vec<Work<Place>>) -> Result<(), Error> {
        if !self.may_be_wanted(item.at) {
            return Ok(());
        }
        let number = item.at.number();
        let unsound = |what: &str| Error::Unsound { page: number, what: what.into() };
        if item.at.is_dirty() || number.0 >= self.page_count {
            return Err(unsound("a reference leads outside the file"));
        }
        if !self.seen.insert(number) {
            return Err(unsound("two references lead here"));
        }
        open.push(Work::Page(item));
        Ok(())
    }

    fn take_extent(&mut self, extent: &ExtentUse, by: PageNumber, page_size: usize) -> Result<(), Error> {
        let run = extent.run;
        for page in run.start.0..run.end().min(self.page_count) {
            if !self.seen.insert(PageNumber(page)) {
                let what = format!("two references lead here, one from page {by}");
                return Err(Error::Unsound { page: PageNumber(page), what });
            }
        }
        self.snapshot.extent_anew(run.start, extent.len, &*extent.intact)?;
        let (bytes, _) = self.snapshot.extent_unverified(run.start, extent.len)?;
        self.sink().stream.value(run.start, bytes, page_size)
    }

    fn is_wanted(&self, birth: u64) -> bool {
        self.base.is_none_or(|base| birth > base)
    }

    /// Whether what a reference leads to can be younger than the base, as far as the reference says.
    fn may_be_wanted(&self, at: Ref) -> bool {
        !at.is_null() && self.base.is_none_or(|base| at.may_be_born_in(base + 1, self.commit))
    }
}
