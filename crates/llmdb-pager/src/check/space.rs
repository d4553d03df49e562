//! The allocation map as a check sees it, and its comparison with what was reached.

use super::Check;
use crate::error::Error;
use crate::meta::first_page;
use crate::page::{HEADER_SIZE, Kind, Page, PageNumber, Ref, read_u64};
use crate::space::region_pages;
use crate::writer::read_map_page;
use std::collections::BTreeMap;

/// The bits of the durable map.
pub(super) struct DurableMap {
    regions: BTreeMap<u64, Vec<u64>>,
    per_region: u64,
}

impl DurableMap {
    /// The bits of a region; where the map says nothing all is in use. Beyond the end nothing is.
    fn word(&self, region: u64, word: usize, page_count: u64) -> u64 {
        let bits = self.regions.get(&region).map_or(u64::MAX, |bits| bits[word]);
        let first = region * self.per_region + word as u64 * 64;
        match page_count.saturating_sub(first) {
            0 => 0,
            inside @ 1..64 => bits & ((1 << inside) - 1),
            _ => bits,
        }
    }

    /// Pages in use.
    pub(super) fn used_count(&self, page_count: u64) -> u64 {
        let words = (self.per_region / 64) as usize;
        let used_in = |region: &u64| -> u64 {
            (0..words).map(|word| u64::from(self.word(*region, word, page_count).count_ones())).sum()
        };
        let known: u64 = self.regions.keys().map(used_in).sum();
        let unknown = page_count.div_ceil(self.per_region) - self.regions.len() as u64;
        (known + unknown * self.per_region).min(page_count)
    }
}

impl Check<'_> {
    /// Walks the allocation map.
    pub(super) fn space(&mut self, root: Ref) -> Result<DurableMap, Error> {
        let per_region = region_pages(self.pager.page_size());
        let mut map = DurableMap { regions: BTreeMap::new(), per_region };
        let mut open = vec![root];
        let mut next = 0;
        while let Some(at) = open.pop() {
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
                Kind::SPACE_INDEX => open.extend(page.references().collect::<Vec<_>>().into_iter().rev()),
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
        let page_size = self.pager.page_size();
        if self.seen.count() == first_page(page_size) {
            return;
        }
        let words = (map.per_region / 64) as usize;
        let mut leaked = 0;
        let mut free = Vec::new();
        for region in 0..self.page_count.div_ceil(map.per_region) {
            let seen = self.seen.region(region);
            for word in 0..words {
                let held = map.word(region, word, self.page_count);
                let reached = seen.map_or(0, |seen| seen[word]);
                leaked += u64::from((held & !reached).count_ones());
                let base = region * map.per_region + word as u64 * 64;
                let lost = reached & !held;
                free.extend((0..64).filter(|bit| lost >> bit & 1 == 1).map(|bit| PageNumber(base + bit)));
            }
        }
        self.report.leaked_pages = leaked;
        for page in free {
            self.report.add(page, "in use, but free in the allocation map");
        }
    }
}
