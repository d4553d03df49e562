//! Holes: pages inside the file that have no room on the device, because they were free and given back.
//!
//! Invariants
//! 1. Before a page is written, the room of every hole that it may lie in is reserved again: a full disk is
//!    an error before anything changed.
//! 2. What was in the file at open is asked of the file system, a region at a time, when a page of it is
//!    first taken. What this process added has room, but for what it gave back itself.
//!
//! Not here: which pages are free (`space`), and when they are given back (`trim`).

use crate::error::Error;
use crate::snapshot::Core;
use crate::space::{Run, region_pages};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Room is reserved this many bytes ahead inside a hole, if there is as much.
const AHEAD: u64 = 1 << 20;

/// The known holes.
pub(crate) struct Holes {
    page_size: u64,
    per_region: u64,
    /// The file's bytes at open.
    open_len: u64,
    /// Regions that the file system was asked about.
    asked: BTreeSet<u64>,
    /// Where each begins and ends, by page; they neither touch nor overlap.
    runs: BTreeMap<u64, u64>,
}

impl Holes {
    pub(crate) fn new(page_size: usize, open_len: u64) -> Self {
        Self {
            page_size: page_size as u64,
            per_region: region_pages(page_size),
            open_len,
            asked: BTreeSet::new(),
            runs: BTreeMap::new(),
        }
    }

    /// Reserves room for a run that was taken.
    ///
    /// # Errors
    /// [`Error::DiskFull`], or what the system says; then the run may not be written.
    pub(crate) fn reserve(&mut self, core: &Core, run: Run) -> Result<(), Error> {
        self.ask(core, run)?;
        while let Some(hole) = self.first_in(run) {
            let start = hole.start.max(run.start.0);
            let needed = hole.end.min(run.end());
            let ahead = hole.end.min(start + AHEAD / self.page_size).max(needed);
            let room = |end: u64| core.file.allocate(start * self.page_size, (end - start) * self.page_size);
            // A disk with no room for what lies ahead may have room for what is needed.
            let reached = match room(ahead) {
                Ok(()) => ahead,
                Err(_) if ahead > needed && room(needed).is_ok() => needed,
                Err(error) => {
                    let wanted = (needed - start) * self.page_size;
                    return Err(Error::allocation(core.doing("reserving room in"), wanted, error));
                }
            };
            self.remove(start..reached);
        }
        Ok(())
    }

    /// Whether a run lies wholly in a known hole.
    pub(crate) fn covers(&mut self, core: &Core, run: Run) -> Result<bool, Error> {
        self.ask(core, run)?;
        Ok(self.first_in(run).is_some_and(|hole| hole.start <= run.start.0 && run.end() <= hole.end))
    }

    /// Remembers that a run's room was given back.
    pub(crate) fn add(&mut self, run: Run) {
        let (mut start, mut end) = (run.start.0, run.end());
        while let Some(hole) = self.touching(start..end) {
            self.runs.remove(&hole.start);
            start = start.min(hole.start);
            end = end.max(hole.end);
        }
        self.runs.insert(start, end);
    }

    fn remove(&mut self, gone: Range<u64>) {
        while let Some(hole) = self.first_in_range(&gone) {
            self.runs.remove(&hole.start);
            if hole.start < gone.start {
                self.runs.insert(hole.start, gone.start);
            }
            if gone.end < hole.end {
                self.runs.insert(gone.end, hole.end);
            }
        }
    }

    fn first_in(&self, run: Run) -> Option<Range<u64>> {
        self.first_in_range(&(run.start.0..run.end()))
    }

    fn first_in_range(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let before = self.runs.range(..=range.start).next_back().filter(|(_, end)| **end > range.start);
        let inside = || self.runs.range(range.start..range.end).next();
        before.or_else(inside).map(|(start, end)| *start..*end)
    }

    fn touching(&self, range: Range<u64>) -> Option<Range<u64>> {
        self.first_in_range(&(range.start.saturating_sub(1)..range.end + 1))
    }

    /// Asks the file system about the regions of a run, once each.
    fn ask(&mut self, core: &Core, run: Run) -> Result<(), Error> {
        for region in run.start.0 / self.per_region..=(run.end() - 1) / self.per_region {
            let size = self.per_region * self.page_size;
            let range = region * size..((region + 1) * size).min(self.open_len);
            if range.is_empty() || !self.asked.insert(region) {
                continue;
            }
            let found = core
                .file
                .holes(range)
                .map_err(|e| Error::io(core.doing("looking for free room inside"), e))?;
            for hole in found {
                let start = hole.start / self.page_size;
                let count = hole.end.div_ceil(self.page_size) - start;
                self.add(Run { start: crate::page::PageNumber(start), count });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PageNumber;

    fn run(range: Range<u64>) -> Run {
        Run { start: PageNumber(range.start), count: range.end - range.start }
    }

    #[test]
    fn neighbours_join_and_what_is_taken_out_leaves_both_sides() {
        let mut holes = Holes::new(4096, 0);
        holes.add(run(10..20));
        holes.add(run(30..40));
        holes.add(run(20..30));
        holes.add(run(50..60));
        assert_eq!(holes.runs, BTreeMap::from([(10, 40), (50, 60)]));
        holes.remove(15..55);
        assert_eq!(holes.runs, BTreeMap::from([(10, 15), (55, 60)]));
        holes.remove(0..100);
        assert!(holes.runs.is_empty());
    }
}
