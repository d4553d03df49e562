//! Checking a whole file: every page in use is read from the file, not through the cache of what was
//! checked before, and the allocation map is compared with what is reachable.
//!
//! ```text
//! under the writer   metas and allocation map are read, the checkpoint is pinned by a snapshot
//! with no lock       batch of references, sorted by page ── threads: read, verify, visit ──┐
//!                        ^────── what they refer to, marked as reached in one order ───────┘
//! ```
//!
//! Invariants
//! 1. A page is read at most once: a second reference to it is damage.
//! 2. The report does not depend on how many threads there are.
//! 3. What is checked is one checkpoint. A snapshot of it is held, so that the writer may go on meanwhile.
//!
//! Not here: what a page's content means; the layer above says so ([`Below`]).

mod read;
mod space;

use crate::bits::PageSet;
use crate::error::Error;
use crate::meta::{Meta, first_page, padding, page_of_slot, read_metas};
use crate::page::{Page, PageNumber, Ref};
use crate::pager::Pager;
use crate::snapshot::Snapshot;
use crate::space::Run;
use crate::storage::read_exact_at;
pub(crate) use read::{Found, Item, Work, examine, take_batch};
use space::DurableMap;
use std::num::NonZeroUsize;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The page.
    pub page: PageNumber,
    /// What is wrong with it.
    pub what: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Pages read.
    pub pages: u64,
    /// Bytes of large values read.
    pub extent_bytes: u64,
    /// What is wrong, by page number.
    pub damage: Vec<Damage>,
    /// Pages that the map holds in use and nothing reaches.
    pub leaked_pages: u64,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.leaked_pages == 0
    }

    fn add(&mut self, page: PageNumber, what: impl Into<String>) {
        self.damage.push(Damage { page, what: what.into() });
    }
}

/// An extent that a page refers to, with the way to check its bytes.
pub struct ExtentUse {
    /// Its pages.
    pub run: Run,
    /// Its bytes; the last page may be longer.
    pub len: u64,
    /// The commit that wrote it.
    pub born: u64,
    /// Whether the bytes are what was written.
    pub intact: Intact,
}

/// Says whether bytes are what was written.
pub type Intact = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// What the layer above says of a page when it is shown one, with the place that the page above gave it
/// (`None` for the top page, and where that one gave none). `P` is what it wants to know of a page's place.
pub struct Below<P> {
    /// The place of each page below, in the order of the references; null ones count.
    pub places: Vec<P>,
    /// The extents that the page refers to.
    pub extents: Vec<ExtentUse>,
    /// Whether the pages below refer to no further pages, which lets them be read in the file's order.
    pub is_last: bool,
    /// The rules that the page breaks at its place.
    pub flaws: Vec<String>,
}

impl<P> Default for Below<P> {
    fn default() -> Self {
        Self { places: Vec::new(), extents: Vec::new(), is_last: false, flaws: Vec::new() }
    }
}

/// Told how many pages are done, and of how many.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

pub(crate) struct Check<'a> {
    pager: &'a Pager,
    page_count: u64,
    pub(crate) report: CheckReport,
    pub(crate) seen: PageSet,
    /// Pages in use, as far as known, for the progress.
    expected: u64,
    progress: Progress<'a>,
}

impl Pager {
    /// Reads and checks every page in use of the newest checkpoint, on as many threads as the machine has
    /// cores, in the file's order as far as pages are known. Holds the writer only while it reads the
    /// metas and the allocation map (one page in 32,512 of 4 KiB); then writing may go on, and what it
    /// frees waits until the check ends. What is dirty is not checked: checkpoint before.
    ///
    /// Takes memory for a bit a page in use, and for the references of up to two million pages.
    ///
    /// # Errors
    /// Only what stops the check itself; damage is in the report.
    pub fn check<P: Send + Sync>(
        &self,
        visit: &(impl Fn(Page<'_>, Option<&P>) -> Below<P> + Sync),
        progress: Progress<'_>,
    ) -> Result<CheckReport, Error> {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.check_on(threads, visit, progress)
    }

    /// As [`Pager::check`], on so many threads.
    ///
    /// # Errors
    /// As [`Pager::check`].
    pub fn check_on<P: Send + Sync>(
        &self,
        threads: NonZeroUsize,
        visit: &(impl Fn(Page<'_>, Option<&P>) -> Below<P> + Sync),
        progress: Progress<'_>,
    ) -> Result<CheckReport, Error> {
        let mut check = Check::new(self, 0, progress);
        let (snapshot, meta, map) = check.begin()?;
        check.tree(&snapshot, meta.root, threads, visit)?;
        check.compare(&map);
        check.report.damage.sort_by_key(|damage| damage.page);
        Ok(check.report)
    }

    /// Metas and map, for the scrubber.
    pub(crate) fn check_metas_and_map(&self) -> Result<Vec<Damage>, Error> {
        let progress: Progress<'_> = &mut |_, _| {};
        let mut check = Check::new(self, 0, progress);
        check.begin()?;
        Ok(check.report.damage)
    }
}

impl<'a> Check<'a> {
    /// Of a file whose pages in use end at `page_count`.
    pub(crate) fn new(pager: &'a Pager, page_count: u64, progress: Progress<'a>) -> Self {
        Self {
            pager,
            page_count,
            report: CheckReport::default(),
            seen: PageSet::new(pager.page_size()),
            expected: page_count,
            progress,
        }
    }

    /// What is checked under the writer, and a snapshot that keeps the rest.
    fn begin(&mut self) -> Result<(Snapshot, Meta, DurableMap), Error> {
        let mut txn = self.pager.hold_writer()?;
        let snapshot = txn.pin_checkpoint()?;
        let meta = txn.writer().meta.clone();
        self.page_count = meta.page_count;
        self.expected = meta.page_count;
        self.metas()?;
        let map = self.space(meta.space_root)?;
        self.expected = map.used_count();
        Ok((snapshot, meta, map))
    }

    fn metas(&mut self) -> Result<(), Error> {
        let core = &self.pager.core;
        let found = read_metas(&*core.file, &core.path)?;
        let at_open = self.pager.damaged_metas();
        for (slot, at_open) in at_open.into_iter().enumerate() {
            if found.damaged[slot] || at_open {
                self.report.add(
                    page_of_slot(slot, core.page_size),
                    format!("meta copy {slot} is damaged; the other one is whole and in use"),
                );
            }
        }
        let padding = padding(core.page_size);
        let mut bytes = vec![0; (padding.end - padding.start) as usize];
        read_exact_at(&*core.file, &mut bytes, padding.start)
            .map_err(|e| Error::io(core.doing("reading"), e))?;
        if bytes.iter().any(|byte| *byte != 0) {
            self.report.add(
                PageNumber(padding.start / core.page_size as u64),
                "bytes behind the metas are not zero",
            );
        }
        self.see_metas();
        Ok(())
    }

    /// The pages of the metas are in use.
    pub(crate) fn see_metas(&mut self) {
        for page in 0..first_page(self.pager.page_size()) {
            self.seen.insert(PageNumber(page));
        }
    }

    fn tell_progress(&mut self, done: u64) {
        (self.progress)(done, self.expected.max(done));
    }

    /// Marks a page as reached; whether it is there and was not yet.
    fn reach(&mut self, at: Ref) -> bool {
        let sound = !at.is_dirty() && !at.is_null() && at.number().0 < self.page_count;
        if !sound {
            self.report.add(at.number(), "a reference leads outside the file");
            return false;
        }
        let fresh = self.seen.insert(at.number());
        if !fresh {
            self.report.add(at.number(), "two references lead here");
        }
        fresh
    }

    fn reach_run(&mut self, run: Run, by: PageNumber) -> bool {
        if run.count == 0 || run.end() > self.page_count {
            self.report
                .add(by, format!("it refers to pages {} to {} outside the file", run.start, run.end()));
            return false;
        }
        for page in run.start.0..run.end() {
            if !self.seen.insert(PageNumber(page)) {
                self.report.add(PageNumber(page), format!("two references lead here, one from page {by}"));
                return false;
            }
        }
        true
    }

    pub(crate) fn tree<P: Send + Sync>(
        &mut self,
        snapshot: &Snapshot,
        root: Ref,
        threads: NonZeroUsize,
        visit: &(impl Fn(Page<'_>, Option<&P>) -> Below<P> + Sync),
    ) -> Result<(), Error> {
        let mut open: Vec<Work<P>> = Vec::new();
        if !root.is_null() && self.reach(root) {
            open.push(Work::Page(Item { at: root, place: None, is_last: false }));
        }
        while !open.is_empty() {
            let batch = take_batch(&mut open);
            let before = self.report.pages + self.report.extent_bytes.div_ceil(self.pager.page_size() as u64);
            let found = {
                let mut done = |pages| self.tell_progress(before + pages);
                examine(snapshot, batch, threads, visit, &mut done)?
            };
            for found in found {
                self.follow(found, &mut open);
            }
        }
        self.tell_progress(self.seen.count());
        Ok(())
    }

    fn follow<P>(&mut self, found: Found<P>, open: &mut Vec<Work<P>>) {
        self.report.pages += found.pages;
        self.report.extent_bytes += found.extent_bytes;
        self.report.damage.extend(found.damage);
        for item in found.below {
            if self.reach(item.at) {
                open.push(Work::Page(item));
            }
        }
        for (extent, by) in found.extents {
            if self.reach_run(extent.run, by) {
                open.push(Work::Extent(extent));
            }
        }
    }
}
