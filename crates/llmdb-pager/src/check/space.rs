//! The allocation map as a check sees it, and its comparison with what was reached.

use super::Check;
use crate::error::Error;
use crate::meta::first_page;
use crate::page::{HEADER_SIZE, Kind, Page, PageNumber, Ref, read_u64};
use crate::space::{index_free, region_pages};
use crate::writer::read_map_page;
use std::collections::BTreeMap;

/// The bits of the durable map.
pub(super) struct DurableMap {
    regions: BTreeMap<u64, Vec<u64>>,
    /// Regions without bits that are all free, one bit each; the others without bits are all in use.
    free: Vec<u64>,
    per_region: u64,
    page_count: u64,
}

impl DurableMap {
    fn region_count(&self) -> u64 {
        self.page_count.div_ceil(self.per_region)
    }

    /// Pages of a region that lie in the file.
    fn pages_in(&self, region: u64) -> u64 {
        self.per_region.min(self.page_count - region * self.per_region)
    }

    fn is_free(&self, region: u64) -> bool {
        self.free.get((region / 64) as usize).is_some_and(|word| word >> (region % 64) & 1 == 1)
    }

    fn set_free(&mut self, region: u64) {
        let word = (region / 64) as usize;
        if self.free.len() <= word {
            self.free.resize(word + 1, 0);
        }
        self.free[word] |= 1 << (region % 64);
    }

    /// Pages in use.
    pub(super) fn used_count(&self) -> u64 {
        (0..self.region_count())
            .map(|region| match self.regions.get(&region) {
                _ if self.is_free(region) => 0,
                Some(bits) => {
                    let beyond = self.per_region - self.pages_in(region);
                    let used: u64 = bits.iter().map(|word| u64::from(word.count_ones())).sum();
                    used.saturating_sub(beyond)
                }
                None => self.pages_in(region),
            })
            .sum()
    }
}

/// A part of the map that is still to be walked.
enum Part {
    Page(Ref),
    /// A region that stands in the index alone.
    Uniform {
        is_free: bool,
    },
}

impl Check<'_> {
    /// Walks the allocation map.
    pub(super) fn space(&mut self, root: Ref) -> Result<DurableMap, Error> {
        let per_region = region_pages(self.pager.page_size());
        let mut map = DurableMap {
            regions: BTreeMap::new(),
            free: Vec::new(),
            per_region,
            page_count: self.page_count,
        };
        let mut open = vec![Part::Page(root)];
        let mut next = 0;
        while let Some(part) = open.pop() {
            let at = match part {
                Part::Page(at) => at,
                Part::Uniform { is_free } => {
                    if is_free {
                        map.set_free(next);
                    }
                    next += 1;
                    continue;
                }
            };
            if at.is_null() || !self.reach(at) {
                continue;
            }
            self.report.pages += 1;
            let bytes = match read_map_page(&self.pager.core, at) {
                Ok(bytes) => bytes,
                Err(error @ Error::Damaged { .. }) => {
                    self.report.add(at.number(), error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let page = Page::new(&bytes);
            match page.kind() {
                Kind::SPACE => {
                    let words = bytes[HEADER_SIZE..].chunks_exact(8).map(|word| read_u64(word, 0)).collect();
                    map.regions.insert(next, words);
                    next += 1;
                }
                Kind::SPACE_INDEX => open.extend((0..page.ref_count()).rev().map(|slot| {
                    let below = page.reference(slot);
                    match page.level() {
                        1 if below.is_null() => Part::Uniform { is_free: index_free(page, slot) > 0 },
                        _ => Part::Page(below),
                    }
                })),
                other => self.report.add(at.number(), format!("kind {} in the allocation map", other.0)),
            }
        }
        Ok(map)
    }

    pub(super) fn compare(&mut self, map: &DurableMap) {
        if !self.report.damage.is_empty() {
            // What damaged pages refer to was not reached: comparing would only repeat the damage.
            return;
        }
        if self.seen.count() == first_page(self.pager.page_size()) {
            return;
        }
        let mut leaked = 0;
        let mut lost = Vec::new();
        for region in 0..map.region_count() {
            let seen = self.seen.region(region);
            let bits = map.regions.get(&region);
            match (seen, bits) {
                (None, None) if map.is_free(region) => continue,
                (None, None) => {
                    leaked += map.pages_in(region);
                    continue;
                }
                _ => {}
            }
            let uniform = if map.is_free(region) { 0 } else { u64::MAX };
            for word in 0..(map.per_region / 64) as usize {
                let first = region * map.per_region + word as u64 * 64;
                let inside = match map.page_count.saturating_sub(first) {
                    0 => break,
                    pages @ 1..64 => (1 << pages) - 1,
                    _ => u64::MAX,
                };
                let held = bits.map_or(uniform, |bits| bits[word]) & inside;
                let reached = seen.map_or(0, |seen| seen[word]);
                leaked += u64::from((held & !reached).count_ones());
                let free = reached & !held;
                lost.extend((0..64).filter(|bit| free >> bit & 1 == 1).map(|bit| PageNumber(first + bit)));
            }
        }
        self.report.leaked_pages = leaked;
        for page in lost {
            self.report.add(page, "in use, but free in the allocation map");
        }
    }
}
