//! Pages that are finished when they are made go to the file at once, in rows, with no frame between: what a load
//! in key order makes is not changed again soon.
//!
//! As spilled pages (`spill`) they stand on free pages, without a flush, and nothing durable and no snapshot
//! reaches them before the commit: a crash or a rollback leaves nothing behind.
//!
//! Invariants
//! 1. A page is readable, by this transaction too, only after [`PageStream::end`] answered `Ok`.
//! 2. Every page that was taken ahead is among the transaction's spilled ones until it is given back, so a
//!    transaction that is dropped gives all of them back.
//! 3. A page of the stream refers to no frame: only a dirty page may.
//!
//! Not here: which pages are finished (`llmdb-btree`, bulk loads).

use crate::error::Error;
use crate::page::{Page, PageNumber, Ref, seal, set_birth};
use crate::rows::Row;
use crate::space::Run;
use crate::write_txn::WriteTxn;
use std::ops::Range;

/// Pages are taken, and written, so many bytes at a time: the largest piece in which the system keeps a file.
const STREAM_ROW_SIZE: usize = 2 << 20;

/// The most finished pages of a load that stay in memory.
const KEPT_PAGES_MAX: usize = 256;

/// Where finished pages go. Belongs to one transaction, which is named at each call.
#[derive(Debug)]
pub struct PageStream {
    row: Row,
    /// Pages taken and not used yet: those of `next`, then those of the runs, from the last one on.
    next: Range<u64>,
    runs: Vec<Run>,
}

impl PageStream {
    /// A stream into the file of `txn`; nothing is taken before the first page. `None` where pages must stay in
    /// memory ([`WriteTxn::hold_in_memory`]).
    pub fn begin(txn: &WriteTxn) -> Option<Self> {
        let row = Row::new(txn.core.page_size, STREAM_ROW_SIZE, usize::MAX).sent_early(txn.sends_early());
        txn.may_write_ahead().then(|| Self { row, next: 0..0, runs: Vec::new() })
    }

    /// Puts a page, which `make` fills wholly but for number, birth and checksum; it was zeros, or another page.
    /// The answer leads to it after [`PageStream::end`].
    ///
    /// # Errors
    /// [`Error::DiskFull`]; an I/O error, which ends all writing. The transaction must be dropped after either.
    ///
    /// # Panics
    /// Where the page refers to a dirty one.
    pub fn put(&mut self, txn: &mut WriteTxn, make: impl FnOnce(&mut [u8])) -> Result<Ref, Error> {
        let core = txn.core.clone();
        let number = self.take(txn)?;
        let bytes = self.row.page(&core, number).map_err(|error| core.poison(error))?;
        make(bytes);
        assert!(!Page::new(bytes).references().any(Ref::is_dirty), "a page of the file refers to no frame");
        let commit = txn.commit();
        set_birth(bytes, commit);
        seal(bytes, core.seed, number);
        Ok(Ref::page(number, commit))
    }

    /// Writes what is left, and gives back what was taken ahead.
    ///
    /// # Errors
    /// As [`PageStream::put`].
    pub fn end(mut self, txn: &mut WriteTxn) -> Result<(), Error> {
        let core = txn.core.clone();
        self.row.flush(&core).map_err(|error| core.poison(error))?;
        let rest = Run { start: PageNumber(self.next.start), count: self.next.end - self.next.start };
        self.runs.push(rest);
        for run in self.runs.iter().filter(|run| run.count > 0) {
            txn.give_back_ahead(*run)?;
        }
        Ok(())
    }

    fn take(&mut self, txn: &mut WriteTxn) -> Result<PageNumber, Error> {
        if self.next.is_empty() {
            if self.runs.is_empty() {
                let page_size = txn.core.page_size;
                self.runs = txn.take_ahead((STREAM_ROW_SIZE / page_size) as u64)?;
                self.runs.reverse();
            }
            let run = self.runs.pop().expect("pages were taken just now");
            self.next = run.start.0..run.end();
        }
        let number = PageNumber(self.next.start);
        self.next.start += 1;
        Ok(number)
    }
}

impl WriteTxn {
    /// Whether pages may be written before the commit.
    pub(crate) fn may_write_ahead(&self) -> bool {
        self.spill_at != usize::MAX
    }

    /// Takes pages that will be written before the commit.
    fn take_ahead(&mut self, count: u64) -> Result<Vec<Run>, Error> {
        let core = self.core.clone();
        self.writer().reclaim_if_worth(&core)?;
        let runs = self.writer().allocate_pages(&core, count)?;
        for run in &runs {
            (run.start.0..run.end()).for_each(|page| self.spilled.insert(PageNumber(page)));
        }
        self.widen_view()?;
        Ok(runs)
    }

    /// Gives pages back that were taken and not written.
    fn give_back_ahead(&mut self, run: Run) -> Result<(), Error> {
        let core = self.core.clone();
        for page in run.start.0..run.end() {
            self.spilled.remove(PageNumber(page));
        }
        let end = self.writer_ref().space.page_count();
        // The file's end goes back with them, if nothing stands behind.
        let page_count = if run.end() == end { run.start.0.max(self.page_count_before) } else { end };
        self.writer().give_back_pages(&core, &[run], page_count)?;
        self.widen_view()
    }

    /// How many finished pages of a load stay in memory: a small load need not reach the file before its commit.
    pub fn pages_worth_keeping(&self) -> usize {
        (self.writer_ref().budget / 8).min(KEPT_PAGES_MAX)
    }
}
