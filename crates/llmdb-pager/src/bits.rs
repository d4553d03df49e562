//! A set of page numbers for a check: one bit each, in memory made as it is needed.
//!
//! Invariants
//! 1. A part of the set is as long as a region of the allocation map, so that the two compare by words.

use crate::page::PageNumber;
use crate::space::region_pages;
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

    /// The set's words for one region; `None` where it has no page there.
    pub(crate) fn region(&self, index: u64) -> Option<&[u64]> {
        self.regions.get(&index).map(Vec::as_slice)
    }
}
