//! A set of page numbers for a check: one bit each, in memory made as it is needed.
//!
//! Invariants
//! 1. A part of the set is as long as a region of the allocation map, so that the two compare by words.

use crate::page::PageNumber;
use crate::space::{Run, region_pages};
use std::collections::BTreeMap;

/// A sparse set of pages.
pub(crate) struct PageSet {
    per_region: u64,
    regions: BTreeMap<u64, Vec<u64>>,
    count: u64,
}

impl PageSet {
    pub(crate) fn new(page_size: usize) -> Self {
        Self { per_region: region_pages(page_size), regions: BTreeMap::new(), count: 0 }
    }

    /// How many pages are in the set.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Adds a page. Whether it was not in the set.
    pub(crate) fn insert(&mut self, page: PageNumber) -> bool {
        let words = (self.per_region / 64) as usize;
        let region = self.regions.entry(page.0 / self.per_region).or_insert_with(|| vec![0; words]);
        let bit = page.0 % self.per_region;
        let word = &mut region[(bit / 64) as usize];
        let fresh = *word & (1 << (bit % 64)) == 0;
        *word |= 1 << (bit % 64);
        self.count += u64::from(fresh);
        fresh
    }

    /// The pages before `end` that are not in the set, in runs that end with a region at the latest.
    pub(crate) fn absent_runs(&self, end: u64) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for region in 0..end.div_ceil(self.per_region) {
            let base = region * self.per_region;
            let count = self.per_region.min(end - base);
            let Some(words) = self.region(region) else {
                runs.push(Run { start: PageNumber(base), count });
                continue;
            };
            let is_in = |bit: u64| words[(bit / 64) as usize] >> (bit % 64) & 1 == 1;
            let mut at = 0;
            while at < count {
                let len = (at..count).take_while(|bit| !is_in(*bit)).count() as u64;
                if len > 0 {
                    runs.push(Run { start: PageNumber(base + at), count: len });
                }
                at += len.max(1);
            }
        }
        runs
    }

    /// The set's words for one region; `None` where it has no page there.
    pub(crate) fn region(&self, index: u64) -> Option<&[u64]> {
        self.regions.get(&index).map(Vec::as_slice)
    }
}
