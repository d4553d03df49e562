//! Checking a whole file: every page in use is read from the file, not through the cache of what was
//! checked before, and the allocation map is compared with what is reachable.
//!
//! Not here: what a page's content means; the layer above says so through [`Visit`].

use crate::error::Error;
use crate::meta::{padding, page_of_slot, read_metas};
use crate::page::{HEADER_SIZE, Kind, Page, PageNumber, Ref};
use crate::pager::Pager;
use crate::snapshot::PageSource as _;
use crate::space::{Run, region_pages};
use crate::storage::read_exact_at;
use crate::writer::read_map_page;
use std::rc::Rc;

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
    /// What is wrong, in the order found.
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
    /// Whether the bytes are what was written.
    pub intact: Intact,
}

/// Says whether bytes are what was written.
pub type Intact = Box<dyn Fn(&[u8]) -> bool>;

/// What the layer above knows of a page: the extents it refers to, and whether its place below `parent` is
/// right. The error names the broken rule.
pub type Visit<'a> = &'a mut dyn FnMut(Page<'_>, Option<Page<'_>>) -> Result<Vec<ExtentUse>, String>;

/// Told how many pages are done, and of how many.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

struct Check<'a> {
    pager: &'a Pager,
    page_count: u64,
    report: CheckReport,
    seen: Vec<u64>,
    seen_count: u64,
    progress: Progress<'a>,
}

impl Pager {
    /// Reads and checks every page in use of the newest checkpoint. Holds the writer for as long as it
    /// takes. Dirty pages must have been checkpointed before.
    ///
    /// # Errors
    /// Only what stops the check itself; damage is in the report.
    pub fn check(&self, visit: Visit<'_>, progress: Progress<'_>) -> Result<CheckReport, Error> {
        let mut txn = self.begin_write()?;
        let meta = txn.writer().meta.clone();
        let mut check = Check {
            pager: self,
            page_count: meta.page_count,
            report: CheckReport::default(),
            seen: vec![0; meta.page_count.div_ceil(64) as usize],
            seen_count: 0,
            progress,
        };
        check.metas()?;
        check.tree(meta.root, visit)?;
        let used = check.space(meta.space_root)?;
        check.compare(&used);
        drop(txn);
        Ok(check.report)
    }
}

impl Check<'_> {
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
        for page in 0..crate::meta::first_page(core.page_size) {
            self.mark(PageNumber(page));
        }
        Ok(())
    }

    /// Marks a page as reached; whether it was not yet.
    fn mark(&mut self, page: PageNumber) -> bool {
        let word = &mut self.seen[(page.0 / 64) as usize];
        let fresh = *word & (1 << (page.0 % 64)) == 0;
        *word |= 1 << (page.0 % 64);
        if fresh {
            self.seen_count += 1;
            (self.progress)(self.seen_count, self.page_count);
        }
        fresh
    }

    fn mark_run(&mut self, run: Run, by: PageNumber) -> bool {
        if run.count == 0 || run.end() > self.page_count {
            self.report
                .add(by, format!("it refers to pages {} to {} outside the file", run.start, run.end()));
            return false;
        }
        for page in run.start.0..run.end() {
            if !self.mark(PageNumber(page)) {
                self.report.add(PageNumber(page), format!("two references lead here, one from page {by}"));
                return false;
            }
        }
        true
    }

    fn tree(&mut self, root: Ref, visit: Visit<'_>) -> Result<(), Error> {
        let mut open: Vec<(Ref, Option<Rc<[u8]>>)> = Vec::new();
        if !root.is_null() {
            open.push((root, None));
        }
        while let Some((at, parent)) = open.pop() {
            let Some(bytes) = self.read(at)? else { continue };
            let bytes: Rc<[u8]> = bytes.into();
            let page = Page::new(&bytes);
            let rule = (self.pager.core.validate)(page);
            if let Err(rule) = rule {
                self.report.add(at.number(), rule);
                continue;
            }
            match visit(page, parent.as_deref().map(Page::new)) {
                Ok(extents) => {
                    for extent in extents {
                        self.extent(&extent, at.number())?;
                    }
                }
                Err(rule) => self.report.add(at.number(), rule),
            }
            for below in page.references().filter(|below| !below.is_null()) {
                open.push((below, Some(bytes.clone())));
            }
        }
        Ok(())
    }

    /// A page from the file; `None` where it is damaged or was read already, which is reported.
    fn read(&mut self, at: Ref) -> Result<Option<Vec<u8>>, Error> {
        if at.is_dirty() || at.number().0 >= self.page_count || at.is_null() {
            self.report.add(at.number(), "a reference leads outside the file");
            return Ok(None);
        }
        if !self.mark(at.number()) {
            self.report.add(at.number(), "two references lead here");
            return Ok(None);
        }
        self.report.pages += 1;
        match read_map_page(&self.pager.core, at) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error @ Error::Damaged { .. }) => {
                self.report.add(at.number(), error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn extent(&mut self, extent: &ExtentUse, by: PageNumber) -> Result<(), Error> {
        if !self.mark_run(extent.run, by) {
            return Ok(());
        }
        let snapshot = self.pager.snapshot();
        self.report.extent_bytes += extent.len;
        self.pager.core.verified_extents.remove(extent.run.start);
        match snapshot.extent(extent.run.start, extent.len, &*extent.intact) {
            Ok(_) => Ok(()),
            Err(error @ Error::Damaged { .. }) => {
                self.report.add(extent.run.start, error.to_string());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Walks the allocation map; answers its bits.
    fn space(&mut self, root: Ref) -> Result<Vec<u64>, Error> {
        let mut regions = Vec::new();
        let mut open = vec![root];
        while let Some(at) = open.pop() {
            if at.is_null() {
                continue;
            }
            let Some(bytes) = self.read(at)? else { continue };
            let page = Page::new(&bytes);
            match page.kind() {
                Kind::SPACE => regions.push(bytes[HEADER_SIZE..].to_vec()),
                Kind::SPACE_INDEX => open.extend(page.references().collect::<Vec<_>>().into_iter().rev()),
                other => self.report.add(at.number(), format!("kind {} in the allocation map", other.0)),
            }
        }
        let mut used = vec![u64::MAX; self.page_count.div_ceil(64) as usize];
        let per_region = region_pages(self.pager.core.page_size);
        for page in 0..self.page_count {
            let bits = regions.get((page / per_region) as usize);
            let bit = page % per_region;
            let set = bits.is_none_or(|bits| bits[(bit / 8) as usize] & (1 << (bit % 8)) != 0);
            if !set {
                used[(page / 64) as usize] &= !(1 << (page % 64));
            }
        }
        Ok(used)
    }

    fn compare(&mut self, used: &[u64]) {
        if !self.report.damage.is_empty() {
            // What damaged pages refer to was not reached: comparing would only repeat the damage.
            return;
        }
        if self.seen_count == crate::meta::first_page(self.pager.core.page_size) {
            return;
        }
        for page in 0..self.page_count {
            let bit = 1 << (page % 64);
            let reached = self.seen[(page / 64) as usize] & bit != 0;
            let held = used[(page / 64) as usize] & bit != 0;
            match (reached, held) {
                (true, false) => self.report.add(PageNumber(page), "in use, but free in the allocation map"),
                (false, true) => self.report.leaked_pages += 1,
                _ => {}
            }
        }
    }
}
