//! A file made of backups: a full one, and those that follow on it.
//!
//! ```text
//! NAME-new   pages and large values where each backup says, a later one over an earlier one
//!            metas, without an allocation map
//!            every page from the root down is read and checked; what none reaches is free
//!            checkpoint: allocation map, flush, metas, flush
//! NAME       from the rename on
//! ```
//!
//! Invariants
//! 1. Nothing is written from a frame that was not found whole.
//! 2. The file has its name only when all of it was checked and is durable.
//! 3. What is checked is the new file as it stands, not what was read from the backups.
//! 4. What an earlier backup had and the last one has no more stands nowhere in it: free pages are zeros.

use super::format::{BackupHeader, Flaw};
use super::read::{Part, StreamReader, damaged};
use crate::check::{Below, Check, Progress};
use crate::error::Error;
use crate::meta::{META_OFFSETS, Meta, first_meta, first_page};
use crate::page::{Page, PageNumber, seal, verify};
use crate::pager::{Pager, PagerOptions};
use crate::space::Run;
use crate::storage::{File, write_all_at};
use crate::writer::read_map_page;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a restored database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Number of its newest commit.
    pub commit: u64,
    /// That commit's time in microseconds since 1970.
    pub time: i64,
    /// Backups that it was made of.
    pub backups: usize,
    /// Pages in use, all of which were checked; those of large values not among them.
    pub pages: u64,
    /// Bytes of large values, all of which were checked.
    pub extent_bytes: u64,
    /// Bytes of the new file.
    pub file_bytes: u64,
}

/// A file in the making, which goes with this unless it got its name.
struct Unfinished {
    options: PagerOptions,
    new: PathBuf,
    is_named: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_named {
            // A failure leaves it to the next attempt.
            let _ = self.options.storage.remove(&self.new);
        }
    }
}

/// What is written into the new file.
struct Target<'a> {
    file: Arc<dyn File>,
    new: &'a Path,
    seed: u64,
    page_size: usize,
    /// Pages written so far end here.
    end: u64,
    /// How often a page was written.
    written: u64,
}

impl PagerOptions {
    /// Makes a new file of backups: a full one, then any number of which each follows on the one before it.
    /// The page size is the backups'. Every page is read from the new file and checked, as by
    /// [`Pager::check`]; `confirm` may find fault with the whole after that. The file has its name only at
    /// the end; what a failure or a crash leaves is removed by the next attempt. `progress` is told of pages
    /// written and checked.
    ///
    /// The new file has an identity of its own and the owner area of these options: it is another database
    /// with the same content, to which later backups of the first cannot be added.
    ///
    /// # Errors
    /// As [`PagerOptions::create`]; [`Error::BackupDamaged`], [`Error::BackupMismatch`]; [`Error::Damaged`] and
    /// [`Error::Unsound`] where pages are not sound or missing.
    pub fn restore<P: Send + Sync>(
        mut self,
        path: impl AsRef<Path>,
        backups: &mut [&mut dyn Read],
        visit: &(impl Fn(Page<'_>, Option<&P>) -> Below<P> + Sync),
        confirm: impl FnOnce() -> Option<String>,
        progress: Progress<'_>,
    ) -> Result<RestoreReport, Error> {
        let path = path.as_ref();
        let count = backups.len();
        let mut backups = backups.iter_mut().enumerate();
        let Some((_, first)) = backups.next() else {
            let (expected, found) = ("a full backup and those that follow on it".into(), "none".into());
            let what = "there is nothing to restore from";
            return Err(Error::BackupMismatch { backup: 1, what, expected, found });
        };
        let mut stream = StreamReader::begin(*first, 1)?;
        let mut header = *stream.header();
        check_follows(None, &header, 1)?;
        self.page_size = header.page_size;
        let (new, (file, lock), identity) = self.begin_new_file(path)?;
        let mut unfinished = Unfinished { options: self.clone(), new: new.clone(), is_named: false };
        let meta = first_meta(header.page_size, identity, self.owner_area);
        let mut target = Target {
            file,
            new: &new,
            seed: meta.seed(),
            page_size: header.page_size,
            end: first_page(header.page_size),
            written: 0,
        };
        target.apply(&mut stream, 1, progress)?;
        for (index, input) in backups {
            let mut stream = StreamReader::begin(*input, index + 1)?;
            check_follows(Some(&header), stream.header(), index + 1)?;
            header = *stream.header();
            target.apply(&mut stream, index + 1, progress)?;
        }
        target.write_metas(meta, &header)?;
        let written = target.written;
        drop(target);
        let pager = self.open_locked(&new, lock)?;
        let mut progress = |done: u64, of: u64| progress(written + done, written + of);
        let checked = check_all(&pager, visit, &mut progress)?;
        if let Some(what) = confirm() {
            return Err(Error::Unsound { page: header.root.number(), what });
        }
        let file_bytes = write_map(&pager, &checked.free)?;
        unfinished.options.name_new_file(&new, path)?;
        unfinished.is_named = true;
        Ok(RestoreReport {
            commit: header.commit,
            time: header.time,
            backups: count,
            pages: checked.pages,
            extent_bytes: checked.extent_bytes,
            file_bytes,
        })
    }
}

/// Whether a backup can be restored on the one before it; none is before a full one.
fn check_follows(before: Option<&BackupHeader>, header: &BackupHeader, backup: usize) -> Result<(), Error> {
    let mismatch =
        |what, expected: String, found: String| Err(Error::BackupMismatch { backup, what, expected, found });
    let base_of = |base: Option<u64>| match base {
        Some(commit) => format!("one since commit {commit}"),
        None => "a full one".into(),
    };
    let base = before.map(|before| before.commit);
    if header.base != base {
        return mismatch("it does not follow on what comes before it", base_of(base), base_of(header.base));
    }
    let Some(before) = before else { return Ok(()) };
    if header.identity != before.identity {
        let (expected, found) = (format!("{:032x}", before.identity), format!("{:032x}", header.identity));
        return mismatch("it is of another database", expected, found);
    }
    if header.page_size != before.page_size {
        let (expected, found) = (before.page_size.to_string(), header.page_size.to_string());
        return mismatch("it has another page size", expected, found);
    }
    if header.commit == before.commit && (header.time, header.root) != (before.time, before.root) {
        let (expected, found) = (format!("{:?}", before.root), format!("{:?}", header.root));
        return mismatch("the same commit has another root", expected, found);
    }
    Ok(())
}

impl Target<'_> {
    fn doing(&self, what: &str) -> String {
        format!("{what} {}", self.new.display())
    }

    /// Writes all that a backup holds.
    fn apply(
        &mut self,
        stream: &mut StreamReader<'_>,
        backup: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let header = *stream.header();
        loop {
            let at = stream.at();
            match stream.next()? {
                None => return Ok(()),
                Some(Part::Pages(pages)) => self.pages(pages, &header)?,
                Some(Part::Piece(start, bytes)) => {
                    let count = (bytes.len() as u64).div_ceil(self.page_size as u64);
                    self.check_place(start.0..start.0.saturating_add(count), &header, (backup, at))?;
                    self.piece(start, bytes)?;
                }
            }
            progress(self.written, self.written);
        }
    }

    /// Whether pages lie in the file that was backed up.
    fn check_place(
        &self,
        pages: Range<u64>,
        header: &BackupHeader,
        (backup, at): (usize, u64),
    ) -> Result<(), Error> {
        if pages.start < first_page(self.page_size) || pages.end > header.page_count {
            let what = "a large value lies outside the file";
            let flaw = Flaw::new(what, header.page_count, pages.start);
            return Err(damaged(backup, at, flaw));
        }
        Ok(())
    }

    /// Checks pages of a backup, makes them this file's and writes them, neighbours together.
    fn pages(&mut self, pages: &mut [u8], header: &BackupHeader) -> Result<(), Error> {
        let seed = header.seed();
        for bytes in pages.chunks_exact_mut(self.page_size) {
            let number = Page::new(bytes).number();
            verify(bytes, seed, number)?;
            let birth = Page::new(bytes).birth();
            let oldest = header.base.map_or(0, |base| base + 1);
            if !(oldest..=header.commit).contains(&birth) {
                let what = "its birth is not among the commits of the backup";
                return Err(Error::damaged(number, what, header.commit, birth));
            }
            if !(first_page(self.page_size)..header.page_count).contains(&number.0) {
                return Err(Error::damaged(number, "it lies outside the file", header.page_count, number.0));
            }
            seal(bytes, self.seed, number);
        }
        let page_size = self.page_size;
        let number_of = |bytes: &[u8], index: usize| Page::new(&bytes[index * page_size..]).number().0;
        let count = pages.len() / page_size;
        let mut first = 0;
        while first < count {
            let start = number_of(pages, first);
            let len = (first..count)
                .take_while(|index| number_of(pages, *index) == start + (index - first) as u64)
                .count();
            let bytes = &pages[first * page_size..(first + len) * page_size];
            self.write(bytes, PageNumber(start))?;
            first += len;
        }
        Ok(())
    }

    /// Writes a piece of a large value, and zeros up to the end of its last page.
    fn piece(&mut self, start: PageNumber, bytes: &[u8]) -> Result<(), Error> {
        let whole = bytes.len().next_multiple_of(self.page_size);
        if whole == bytes.len() {
            return self.write(bytes, start);
        }
        let mut padded = bytes.to_vec();
        padded.resize(whole, 0);
        self.write(&padded, start)
    }

    fn write(&mut self, bytes: &[u8], start: PageNumber) -> Result<(), Error> {
        let count = (bytes.len() / self.page_size) as u64;
        write_all_at(&*self.file, bytes, start.0 * self.page_size as u64)
            .map_err(|e| Error::allocation(self.doing("writing"), bytes.len() as u64, e))?;
        self.end = self.end.max(start.0 + count);
        self.written += count;
        Ok(())
    }

    /// Writes metas that lead to the root, and to no allocation map yet.
    fn write_metas(&self, meta: Meta, header: &BackupHeader) -> Result<(), Error> {
        let BackupHeader { commit, time, root, .. } = *header;
        if root.number().0 >= self.end.max(1) {
            return Err(Error::damaged(root.number(), "the top page is missing", root.number().0, self.end));
        }
        let file_len = self.end * self.page_size as u64;
        let meta = Meta { commit, time, root, page_count: self.end, file_len, ..meta };
        self.file.set_len(file_len).map_err(|e| Error::allocation(self.doing("extending"), file_len, e))?;
        let bytes = meta.encode();
        META_OFFSETS
            .iter()
            .try_for_each(|offset| write_all_at(&*self.file, &bytes, *offset))
            .map_err(|e| Error::allocation(self.doing("writing"), file_len, e))
    }
}

/// What was found where all is sound.
struct Checked {
    pages: u64,
    extent_bytes: u64,
    /// The pages that nothing reaches.
    free: Vec<Run>,
}

fn check_all<P: Send + Sync>(
    pager: &Pager,
    visit: &(impl Fn(Page<'_>, Option<&P>) -> Below<P> + Sync),
    progress: Progress<'_>,
) -> Result<Checked, Error> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let snapshot = pager.snapshot();
    let page_count = snapshot.page_count();
    let mut check = Check::new(pager, page_count, progress);
    check.see_metas();
    check.tree(&snapshot, crate::snapshot::PageSource::root(&snapshot), threads, visit)?;
    let mut damage = std::mem::take(&mut check.report.damage);
    damage.sort_by_key(|damage| damage.page);
    if let Some(first) = damage.into_iter().next() {
        return Err(Error::Unsound { page: first.page, what: first.what });
    }
    Ok(Checked {
        pages: check.report.pages,
        extent_bytes: check.report.extent_bytes,
        free: check.seen.absent_runs(page_count),
    })
}

/// Overwrites a range with zeros, but for what was never written.
fn make_zero(file: &dyn File, start: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let (mut at, end) = (start, start + len);
    // Where the file system knows none, all of it is overwritten.
    let holes = file.holes(start..end).unwrap_or_default();
    for hole in holes.into_iter().chain(std::iter::once(end..end)) {
        while at < hole.start {
            let size = (ZEROS.len() as u64).min(hole.start - at);
            write_all_at(file, &ZEROS[..size as usize], at)?;
            at += size;
        }
        at = at.max(hole.end);
    }
    Ok(())
}

/// Frees what nothing reaches, clears it, and makes all of the file durable with its allocation map. Answers its length.
fn write_map(pager: &Pager, free: &[Run]) -> Result<u64, Error> {
    let mut txn = pager.begin_write()?;
    let core = pager.core.clone();
    for run in free {
        let (start, len) = (run.start.0 * core.page_size as u64, run.count * core.page_size as u64);
        make_zero(&*core.file, start, len)
            .map_err(|e| Error::allocation(core.doing("clearing free pages of"), len, e))?;
        txn.writer().space.release(*run, &|at| read_map_page(&core, at))?;
    }
    txn.checkpoint(pager.owner_area())?;
    core.file.len().map_err(|e| Error::io(core.doing("looking at"), e))
}
