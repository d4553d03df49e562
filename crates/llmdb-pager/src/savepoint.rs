//! Savepoints: a transaction goes back to where it was.
//!
//! A savepoint freezes the frames that the transaction has made until then, as a snapshot would: what is changed
//! behind it is copied first. Going back gives the copies back and forgets what was dropped since.
//!
//! Invariants
//! 1. What a savepoint leads to stays as it is until it is gone back to, or the transaction ends.
//! 2. No two savepoints of a process have one number: one of another transaction is none of this.
//! 3. Savepoints are a stack: going back to one forgets those behind it. It stays, and can be gone back to again.
//!
//! Not here: what the layer above has to put back besides (`llmdb_btree::Savepoint`).

use crate::error::Error;
use crate::page::{PageNumber, Ref};
use crate::space::Run;
use crate::write_txn::WriteTxn;
use crate::writer::read_map_page;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of the next savepoint.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A place that a transaction can go back to.
#[derive(Debug)]
pub struct Savepoint {
    number: u64,
    depth: u32,
    root: Ref,
    dropped_frames: usize,
    dropped_runs: usize,
    superseded_frames: usize,
    superseded_pages: usize,
    new_runs: Vec<Run>,
    spilled: Vec<Run>,
}

impl WriteTxn {
    /// Sets a savepoint. Costs nothing by itself but a list of the extents that it wrote so far; pages that were
    /// changed before and are changed behind it are copied once more.
    pub fn savepoint(&mut self) -> Savepoint {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.savepoints.push(number);
        self.depth = self.savepoints.len() as u32;
        Savepoint {
            number,
            depth: self.depth,
            root: self.root,
            dropped_frames: self.dropped_frames.len(),
            dropped_runs: self.dropped_runs.len(),
            superseded_frames: self.superseded_frames.len(),
            superseded_pages: self.superseded_pages.len(),
            new_runs: self.new_runs.clone(),
            spilled: self.spilled.runs(),
        }
    }

    /// Goes back to a savepoint of this transaction. Whether it could: not where an earlier one was gone back to since.
    ///
    /// # Errors
    /// A damaged allocation map.
    pub fn go_back_to(&mut self, savepoint: &Savepoint) -> Result<bool, Error> {
        let place = (savepoint.depth as usize).checked_sub(1);
        if place.and_then(|place| self.savepoints.get(place)) != Some(&savepoint.number) {
            return Ok(false);
        }
        self.savepoints.truncate(savepoint.depth as usize);
        self.root = savepoint.root;
        self.dropped_frames.truncate(savepoint.dropped_frames);
        self.dropped_runs.truncate(savepoint.dropped_runs);
        self.superseded_frames.truncate(savepoint.superseded_frames);
        self.give_back_frames_since(savepoint.depth);
        self.give_back_pages_since(savepoint)?;
        // Frames that are taken from now on are behind it again.
        self.depth = savepoint.depth;
        Ok(true)
    }

    fn give_back_frames_since(&mut self, depth: u32) {
        let mut spare = self.spare_frames.clone();
        spare.sort_unstable();
        let depths = &self.writer_ref().depths;
        let is_since =
            |index: &&u32| depths[**index as usize] >= depth && spare.binary_search(index).is_err();
        let since: Vec<u32> = self.new_frames.iter().filter(is_since).copied().collect();
        self.spare_frames.extend(since);
    }

    fn give_back_pages_since(&mut self, savepoint: &Savepoint) -> Result<(), Error> {
        self.write_gathered()?;
        let freed: Vec<PageNumber> = self.superseded_pages.drain(savepoint.superseded_pages..).collect();
        freed.into_iter().for_each(|page| self.spilled.insert(page));
        let mut runs: Vec<Run> = self.new_runs.clone();
        runs.retain(|run| !savepoint.new_runs.contains(run));
        self.new_runs.clone_from(&savepoint.new_runs);
        for run in self.spilled.runs() {
            for page in run.start.0..run.end() {
                let behind = savepoint.spilled.partition_point(|old| old.end() <= page);
                if savepoint.spilled.get(behind).is_none_or(|old| page < old.start.0) {
                    self.spilled.remove(PageNumber(page));
                    runs.push(Run::one(PageNumber(page)));
                }
            }
        }
        let core = self.core.clone();
        for run in runs {
            self.writer().space.release(run, &|at| read_map_page(&core, at))?;
        }
        Ok(())
    }

    /// Nothing is gone back to any more: what only savepoints kept is free. All values are in the file.
    pub(crate) fn forget_savepoints(&mut self) -> Result<(), Error> {
        self.write_gathered()?;
        let frames = std::mem::take(&mut self.superseded_frames);
        self.spare_frames.extend(frames);
        let core = self.core.clone();
        for page in std::mem::take(&mut self.superseded_pages) {
            self.writer().space.release(Run::one(page), &|at| read_map_page(&core, at))?;
        }
        self.savepoints.clear();
        self.depth = 0;
        Ok(())
    }
}
