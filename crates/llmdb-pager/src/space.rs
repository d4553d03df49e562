//! The allocation map: which pages of the file are in use.
//!
//! One bit a page, in pages of kind `SPACE`; above them pages of kind `SPACE_INDEX`, up to one root that
//! the meta names. They are ordinary pages: checked, never overwritten, written only by checkpoints.
//!
//! ```text
//! SPACE (level 0)        32  bits, one a page of the region, least significant first; 1 = in use
//! SPACE_INDEX (level n)  32  references to the pages below it, in order; at level 1 null = a region that is
//!                            all in use, or all free where its count is not 0
//!                  32+8*fan  for each, how many pages below it are free (32 bits, saturating)
//! ```
//!
//! Invariants
//! 1. In memory a page is in use if a durable checkpoint, an open snapshot or the writer may need it.
//! 2. The durable map says "in use" exactly for what is reachable from its own checkpoint.
//! 3. Opening reads none of it; the index is read at the first allocation, a region when it is touched.
//! 4. A region that is neither in the file nor in memory is all in use or all free, as its count says.
//!
//! Not here: when a retired page may be used again (`writer`).

use crate::error::Error;
use crate::page::{
    HEADER_SIZE, Kind, PAGE_NUMBER_END, Page, PageNumber, REF_SIZE, Ref, read_u32, read_u64, set_ref_count,
    set_reference, write_header,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

const WORD_BITS: u64 = 64;
const COUNT_SIZE: usize = 4;

/// A run of neighbouring pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Its first page.
    pub start: PageNumber,
    /// How many pages.
    pub count: u64,
}

impl Run {
    /// One page.
    pub fn one(start: PageNumber) -> Self {
        Self { start, count: 1 }
    }

    /// The page behind its last.
    pub fn end(self) -> u64 {
        self.start.0 + self.count
    }
}

/// How many pages one `SPACE` page speaks of.
pub(crate) fn region_pages(page_size: usize) -> u64 {
    (page_size - HEADER_SIZE) as u64 * 8
}

/// How many references a `SPACE_INDEX` page holds.
fn index_fan(page_size: usize) -> usize {
    (page_size - HEADER_SIZE) / (REF_SIZE + COUNT_SIZE)
}

/// How many free pages a `SPACE_INDEX` page says are below one of its references.
pub(crate) fn index_free(page: Page<'_>, slot: usize) -> u32 {
    let bytes = page.bytes();
    read_u32(bytes, HEADER_SIZE + index_fan(bytes.len()) * REF_SIZE + slot * COUNT_SIZE)
}

struct Region {
    /// A set bit is a page in use; bits beyond the file's end are set.
    used: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Entry {
    at: Ref,
    /// Free pages now, as far as known.
    free: u32,
    /// Free pages as the durable map says.
    durable_free: u32,
    dirty: bool,
}

impl Entry {
    fn new(free: u32) -> Self {
        Self { at: Ref::NULL, free, durable_free: 0, dirty: true }
    }
}

/// One page of the map to be written by a checkpoint.
pub(crate) struct SpacePage {
    pub(crate) run: Run,
    pub(crate) bytes: Vec<u8>,
}

/// Reads a page of the durable map.
pub(crate) type ReadPage<'a> = &'a dyn Fn(Ref) -> Result<Vec<u8>, Error>;

/// The allocation map in memory.
pub(crate) struct Space {
    page_size: usize,
    /// Pages in use end here.
    page_count: u64,
    /// The durable map's top, until the index is loaded.
    unloaded: Option<Ref>,
    /// Regions that were touched until then.
    touched_unloaded: BTreeSet<u64>,
    /// One entry a region.
    entries: Vec<Entry>,
    /// For each index level, lowest first, the pages' references; the last level has one.
    levels: Vec<Vec<Ref>>,
    /// Regions that were touched.
    regions: BTreeMap<u64, Region>,
    /// The region where the last page was found.
    cursor: u64,
    /// No run of this many free pages was there at the last look, and none was given back since.
    none_as_long: u64,
}

impl Space {
    pub(crate) fn new(page_size: usize, page_count: u64, root: Ref) -> Self {
        Self {
            page_size,
            page_count,
            unloaded: Some(root),
            touched_unloaded: BTreeSet::new(),
            entries: Vec::new(),
            levels: Vec::new(),
            regions: BTreeMap::new(),
            cursor: 0,
            none_as_long: u64::MAX,
        }
    }

    pub(crate) fn page_count(&self) -> u64 {
        self.page_count
    }

    /// Bytes of memory that the map takes now.
    pub(crate) fn memory(&self) -> u64 {
        let regions = self.regions.len() as u64 * (region_pages(self.page_size) / 8);
        regions + (self.entries.len() * size_of::<Entry>()) as u64
    }

    /// Free pages inside the file, as far as the index says.
    pub(crate) fn free_count(&mut self, read: ReadPage<'_>) -> Result<u64, Error> {
        self.load_index(read)?;
        Ok(self.entries.iter().map(|entry| u64::from(entry.free)).sum())
    }

    fn load_index(&mut self, read: ReadPage<'_>) -> Result<(), Error> {
        let Some(root) = self.unloaded else { return Ok(()) };
        let regions = self.page_count.div_ceil(region_pages(self.page_size));
        let mut entries = Vec::new();
        let mut levels = Vec::new();
        if root.is_null() {
            entries.resize(regions as usize, Entry::new(0));
        } else {
            let mut level = vec![(root, 0)];
            let top = read(root)?;
            let top = Page::new(&top);
            let height = if top.kind() == Kind::SPACE { 0 } else { top.level() };
            for height in (1..=height).rev() {
                levels.insert(0, level.iter().map(|(at, _)| *at).collect());
                level = self.read_index_level(&level, height, read)?;
                if level.len() as u64 > regions {
                    break;
                }
            }
            if level.len() as u64 != regions {
                return Err(Error::damaged(
                    root.number(),
                    "the allocation map speaks of another file length",
                    regions,
                    level.len() as u64,
                ));
            }
            entries.extend(level.into_iter().map(|(at, free)| Entry {
                at,
                free,
                durable_free: free,
                dirty: false,
            }));
            if entries.len() == 1 {
                // A single region stands at the root, with no index to say how much of it is free.
                entries[0].free = u32::MAX;
            }
        }
        self.entries = entries;
        self.levels = levels;
        if root.is_null() {
            self.make_first_region();
        }
        self.unloaded = None;
        for index in std::mem::take(&mut self.touched_unloaded) {
            self.mark_dirty(index);
        }
        if self.entries.len() == 1 && !root.is_null() {
            self.load_region(0, read)?;
            self.entries[0].durable_free = self.entries[0].free;
        }
        Ok(())
    }

    fn read_index_level(
        &self,
        above: &[(Ref, u32)],
        height: u8,
        read: ReadPage<'_>,
    ) -> Result<Vec<(Ref, u32)>, Error> {
        let fan = index_fan(self.page_size);
        let mut below = Vec::new();
        for (at, _) in above {
            let bytes = read(*at)?;
            let page = Page::new(&bytes);
            let sound = page.kind() == Kind::SPACE_INDEX
                && page.level() == height
                && height > 0
                && (1..=fan).contains(&page.ref_count());
            if !sound {
                return Err(Error::damaged(
                    at.number(),
                    "the allocation index is broken",
                    u64::from(height),
                    u64::from(page.level()),
                ));
            }
            for index in 0..page.ref_count() {
                below.push((page.reference(index), index_free(page, index)));
            }
        }
        if height > 1 {
            let child = read(below[0].0)?;
            if Page::new(&child).level() + 1 != height {
                return Err(Error::damaged(
                    below[0].0.number(),
                    "levels of the allocation index do not fall",
                    u64::from(height) - 1,
                    u64::from(Page::new(&child).level()),
                ));
            }
        }
        Ok(below)
    }

    /// A new file: its metas' pages are in use, nothing else is.
    fn make_first_region(&mut self) {
        self.entries[0] = Entry::new(0);
        self.regions.insert(0, Region::uniform(self.page_size, true));
    }

    fn load_region(&mut self, index: u64, read: ReadPage<'_>) -> Result<(), Error> {
        if self.regions.contains_key(&index) {
            return Ok(());
        }
        let Entry { at, free, .. } = self.entries[index as usize];
        let mut region = if at.is_null() {
            Region::uniform(self.page_size, free == 0)
        } else {
            let bytes = read(at)?;
            if Page::new(&bytes).kind() != Kind::SPACE {
                return Err(Error::damaged(
                    at.number(),
                    "not a page of the allocation map",
                    u64::from(Kind::SPACE.0),
                    u64::from(Page::new(&bytes).kind().0),
                ));
            }
            Region::from_page(&bytes)
        };
        let base = index * region_pages(self.page_size);
        // Whatever the map says: nothing beyond the end is free, nor are the metas' pages.
        for page in self.page_count.max(base)..base + region_pages(self.page_size) {
            region.set(page - base, true);
        }
        for page in base..crate::meta::first_page(self.page_size) {
            region.set(page - base, true);
        }
        self.entries[index as usize].free = region.free_count();
        self.regions.insert(index, region);
        Ok(())
    }

    /// Finds `count` neighbouring free pages and takes them; grows the file's end where there are none. More
    /// than a region has are looked for around regions that are wholly free.
    ///
    /// # Errors
    /// A damaged map, or a file of 2^48 pages.
    pub(crate) fn allocate(&mut self, count: u64, read: ReadPage<'_>) -> Result<Run, Error> {
        self.load_index(read)?;
        let per_region = region_pages(self.page_size);
        if count >= self.none_as_long {
            return self.extend(count, read);
        }
        if count <= per_region {
            let total = self.entries.len() as u64;
            for step in 0..total {
                let index = (self.cursor + step) % total;
                if u64::from(self.entries[index as usize].free) < count {
                    continue;
                }
                self.load_region(index, read)?;
                let found = self.regions[&index].find(count);
                if let Some(offset) = found {
                    self.cursor = index;
                    let run = Run { start: PageNumber(index * per_region + offset), count };
                    self.set(run, true, read)?;
                    return Ok(run);
                }
            }
        } else if let Some(run) = self.find_across(count, read)? {
            self.set(run, true, read)?;
            return Ok(run);
        }
        self.none_as_long = count;
        self.extend(count, read)
    }

    /// A run of free pages that is longer than a region.
    fn find_across(&mut self, count: u64, read: ReadPage<'_>) -> Result<Option<Run>, Error> {
        let per_region = region_pages(self.page_size);
        let is_free = |entry: Option<&Entry>| entry.is_some_and(|entry| u64::from(entry.free) == per_region);
        let mut row = 0;
        for index in 0..self.entries.len() as u64 {
            let entry = self.entries[index as usize];
            let end = (index + 1) * per_region;
            if is_free(Some(&entry)) {
                row += per_region;
                if row >= count {
                    return Ok(Some(Run { start: PageNumber(end - row), count }));
                }
                continue;
            }
            if entry.free == 0 || (row == 0 && !is_free(self.entries.get(index as usize + 1))) {
                row = 0;
                continue;
            }
            self.load_region(index, read)?;
            let region = &self.regions[&index];
            if row > 0 && row + region.free_at_start() >= count {
                return Ok(Some(Run { start: PageNumber(end - per_region - row), count }));
            }
            row = region.free_at_end();
        }
        Ok(None)
    }

    /// Takes `count` pages: the longest free runs of the regions from the last one used on, then new ones
    /// at the end. `taken` gets the runs, in rising order.
    ///
    /// # Errors
    /// As [`Space::allocate`]; what is in `taken` then is taken.
    pub(crate) fn allocate_pages(
        &mut self,
        count: u64,
        taken: &mut Vec<Run>,
        read: ReadPage<'_>,
    ) -> Result<(), Error> {
        self.load_index(read)?;
        let per_region = region_pages(self.page_size);
        let total = if self.none_as_long > 1 { self.entries.len() as u64 } else { 0 };
        let (mut free, mut found): (Vec<Run>, u64) = (Vec::new(), 0);
        for step in 0..total {
            // Enough to choose from: short runs are left for when there is nothing else.
            if found >= count.saturating_mul(2) {
                break;
            }
            let index = (self.cursor + step) % total;
            if self.entries[index as usize].free == 0 {
                continue;
            }
            self.load_region(index, read)?;
            found += u64::from(self.entries[index as usize].free);
            self.regions[&index].free_runs(index * per_region, &mut free);
        }
        free.sort_unstable_by_key(|run| (std::cmp::Reverse(run.count), run.start));
        let mut left = count;
        for run in free {
            if left == 0 {
                break;
            }
            let run = Run { start: run.start, count: run.count.min(left) };
            self.set(run, true, read)?;
            taken.push(run);
            left -= run.count;
        }
        taken.sort_unstable();
        if let Some(last) = taken.last() {
            self.cursor = last.start.0 / per_region;
        }
        if left > 0 {
            self.none_as_long = 1;
            taken.push(self.extend(left, read)?);
        }
        Ok(())
    }

    /// The runs of at least `least` free pages, each inside a region, by page number. Takes memory for the
    /// answer, not for the map.
    pub(crate) fn free_runs(&mut self, least: u64, read: ReadPage<'_>) -> Result<Vec<Run>, Error> {
        self.load_index(read)?;
        let per_region = region_pages(self.page_size);
        let mut found = Vec::new();
        for index in 0..self.entries.len() as u64 {
            if u64::from(self.entries[index as usize].free) < least {
                continue;
            }
            if self.is_uniform(index) {
                found.push(Run { start: PageNumber(index * per_region), count: per_region });
                continue;
            }
            let was_loaded = self.regions.contains_key(&index);
            self.load_region(index, read)?;
            let mut here = Vec::new();
            self.regions[&index].free_runs(index * per_region, &mut here);
            found.extend(here.into_iter().filter(|run| run.count >= least));
            if !was_loaded {
                self.regions.remove(&index);
            }
        }
        Ok(found)
    }

    fn extend(&mut self, count: u64, read: ReadPage<'_>) -> Result<Run, Error> {
        let start = self.page_count;
        let end = start.checked_add(count).filter(|end| *end <= PAGE_NUMBER_END);
        let Some(end) = end else {
            return Err(Error::DiskFull { wanted: count.saturating_mul(self.page_size as u64) });
        };
        let per_region = region_pages(self.page_size);
        let last_known = start.div_ceil(per_region);
        if last_known > 0 {
            self.load_region(last_known - 1, read)?;
        }
        self.page_count = end;
        // All in use, in the pages beyond the end too.
        self.entries.resize(end.div_ceil(per_region) as usize, Entry::new(0));
        let run = Run { start: PageNumber(start), count };
        self.touch(run);
        Ok(run)
    }

    /// Takes exactly these pages, growing the file's end if need be (recovery).
    pub(crate) fn claim(&mut self, run: Run, read: ReadPage<'_>) -> Result<(), Error> {
        self.load_index(read)?;
        if run.end() > self.page_count {
            let gap_start = self.page_count;
            self.extend(run.end() - gap_start, read)?;
            if gap_start < run.start.0 {
                let gap = Run { start: PageNumber(gap_start), count: run.start.0 - gap_start };
                self.set(gap, false, read)?;
            }
        }
        self.set(run, true, read)
    }

    /// Gives pages back: they may be found again at once. The durable map never held them, or has let go
    /// of them already, so it does not change.
    pub(crate) fn release(&mut self, run: Run, read: ReadPage<'_>) -> Result<(), Error> {
        self.load_index(read)?;
        self.set(run, false, read)
    }

    /// Takes the file's end back to where it was, after what was added there was given back.
    pub(crate) fn shrink_to(&mut self, page_count: u64) {
        let per_region = region_pages(self.page_size);
        let last = page_count.div_ceil(per_region) - 1;
        self.page_count = page_count;
        self.entries.truncate(last as usize + 1);
        self.regions.retain(|index, _| *index <= last);
        self.cursor = self.cursor.min(last);
        if let Some(region) = self.regions.get_mut(&last) {
            let beyond = page_count - last * per_region..per_region;
            let taken = beyond.map(|bit| u32::from(region.set(bit, true))).sum::<u32>();
            self.entries[last as usize].free -= taken;
        }
    }

    /// The durable map changes here at the next checkpoint.
    pub(crate) fn touch(&mut self, run: Run) {
        let per_region = region_pages(self.page_size);
        let regions = run.start.0 / per_region..=(run.end() - 1) / per_region;
        match self.unloaded {
            // Opening reads nothing of the map, nor does a commit behind a log that only gives pages back.
            Some(_) => self.touched_unloaded.extend(regions),
            None => regions.for_each(|index| self.mark_dirty(index)),
        }
    }

    fn mark_dirty(&mut self, index: u64) {
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.dirty = true;
        }
    }

    fn set(&mut self, run: Run, used: bool, read: ReadPage<'_>) -> Result<(), Error> {
        let per_region = region_pages(self.page_size);
        if !used {
            self.none_as_long = u64::MAX;
        }
        let mut page = run.start.0;
        while page < run.end() {
            let index = page / per_region;
            let end = run.end().min((index + 1) * per_region);
            if end - page == per_region && self.is_uniform(index) {
                self.entries[index as usize].free = if used { 0 } else { per_region as u32 };
                page = end;
                continue;
            }
            self.load_region(index, read)?;
            let region = self.regions.get_mut(&index).expect("loaded above");
            let mut changed = 0;
            for bit in page..end {
                changed += u32::from(region.set(bit % per_region, used));
            }
            let entry = &mut self.entries[index as usize];
            entry.free = if used { entry.free - changed } else { entry.free + changed };
            page = end;
        }
        if used {
            self.touch(run);
        }
        Ok(())
    }

    /// Whether a region is all in use or all free, and stands nowhere but in the index.
    fn is_uniform(&self, index: u64) -> bool {
        self.entries[index as usize].at.is_null() && !self.regions.contains_key(&index)
    }

    /// Loads every changed region that must be written: all but those that are uniform in this checkpoint too.
    fn load_changed(&mut self, absent: &[Run], read: ReadPage<'_>) -> Result<(), Error> {
        let per_region = region_pages(self.page_size);
        if self.entries.len() == 1 {
            // A single region stands at the root.
            return self.load_region(0, read);
        }
        for index in 0..self.entries.len() as u64 {
            if !self.entries[index as usize].dirty || self.regions.contains_key(&index) {
                continue;
            }
            let region = index * per_region..(index + 1) * per_region;
            let is_whole = |run: &Run| run.start.0 <= region.start && region.end <= run.end();
            if !self.is_uniform(index) || !overlapping(absent, &region).iter().all(is_whole) {
                self.load_region(index, read)?;
            }
        }
        Ok(())
    }

    /// Lays out the durable map for a checkpoint: takes pages for every changed part, and answers where they
    /// will stand. `absent` are the runs that are in use in memory but not in this checkpoint, in order;
    /// `retired` is told of the old pages, which are so too.
    ///
    /// # Errors
    /// A damaged map. Pages taken so far are in the list that `taken` fills, for the caller to give back.
    pub(crate) fn write_out(
        &mut self,
        birth: u64,
        absent: &[Run],
        retired: &mut dyn FnMut(Run),
        taken: &mut Vec<Run>,
        read: ReadPage<'_>,
    ) -> Result<Layout, Error> {
        self.load_index(read)?;
        let fan = index_fan(self.page_size);
        let mut homes: BTreeMap<(usize, usize), Run> = BTreeMap::new();
        // Taking a page for the map changes the map: go on until every changed part has a page.
        loop {
            self.load_changed(absent, read)?;
            let shape = level_sizes(self.entries.len(), fan);
            let mut wanted = Vec::new();
            // Neighbours share what is above them.
            let mut last = vec![usize::MAX; shape.len()];
            for (index, _) in self.entries.iter().enumerate().filter(|(_, entry)| entry.dirty) {
                let mut place = index;
                if shape.len() == 1 || self.regions.contains_key(&(index as u64)) {
                    wanted.push((0, place));
                }
                for (level, last) in last.iter_mut().enumerate().skip(1) {
                    place /= fan;
                    if std::mem::replace(last, place) != place {
                        wanted.push((level, place));
                    }
                }
            }
            wanted.retain(|place| !homes.contains_key(place));
            wanted.sort_unstable();
            wanted.dedup();
            if wanted.is_empty() {
                break;
            }
            for place in wanted {
                if let Some(old) = self.home(place).filter(|old| !old.is_null()) {
                    let old = Run::one(old.number());
                    self.load_region(old.start.0 / region_pages(self.page_size), read)?;
                    self.touch(old);
                    retired(old);
                }
                let run = self.allocate(1, read)?;
                taken.push(run);
                homes.insert(place, run);
            }
        }
        let shape = level_sizes(self.entries.len(), fan);
        Ok(Layout { homes, shape, birth, frees: Vec::new() })
    }

    /// Where a part of the durable map stands now.
    fn home(&self, (level, index): (usize, usize)) -> Option<Ref> {
        match level {
            0 => self.entries.get(index).map(|entry| entry.at),
            _ => self.levels.get(level - 1)?.get(index).copied(),
        }
    }

    /// The pages of a layout. `absent` are runs in use in memory but not in this checkpoint, in order.
    pub(crate) fn render(&self, layout: &mut Layout, absent: &[Run]) -> (Vec<SpacePage>, Ref) {
        let per_region = region_pages(self.page_size);
        let fan = index_fan(self.page_size);
        let mut pages = Vec::new();
        let mut below: Vec<(Ref, u32)> =
            self.entries.iter().map(|entry| (entry.at, entry.durable_free)).collect();
        for (index, slot) in below.iter_mut().enumerate() {
            let region = index as u64 * per_region..(index as u64 + 1) * per_region;
            let absent = overlapping(absent, &region);
            let Some(run) = layout.homes.get(&(0, index)) else {
                if self.entries[index].dirty {
                    let free = if absent.is_empty() { self.entries[index].free } else { per_region as u32 };
                    *slot = (Ref::NULL, free);
                    layout.frees.push((index, free));
                }
                continue;
            };
            let bytes = self.render_region(index as u64, absent);
            *slot = (Ref::page(run.start, layout.birth), Region::from_page(&bytes).free_count());
            layout.frees.push((index, slot.1));
            pages.push(SpacePage { run: *run, bytes });
        }
        for level in 1..layout.shape.len() {
            let mut above = Vec::new();
            for (index, group) in below.chunks(fan).enumerate() {
                let total = group.iter().fold(0u32, |sum, (_, free)| sum.saturating_add(*free));
                let at = match layout.homes.get(&(level, index)) {
                    Some(run) => {
                        pages.push(SpacePage { run: *run, bytes: self.render_index(level, group) });
                        Ref::page(run.start, layout.birth)
                    }
                    None => self.levels[level - 1][index],
                };
                above.push((at, total));
            }
            below = above;
        }
        (pages, below[0].0)
    }

    fn render_region(&self, index: u64, absent: &[Run]) -> Vec<u8> {
        let per_region = region_pages(self.page_size);
        let base = index * per_region;
        let mut region = Region { used: self.regions[&index].used.clone() };
        for run in absent {
            for page in run.start.0.max(base)..run.end().min(base + per_region) {
                region.set(page - base, false);
            }
        }
        let mut bytes = vec![0; self.page_size];
        write_header(&mut bytes, Kind::SPACE, 0);
        for (word, chunk) in region.used.iter().zip(bytes[HEADER_SIZE..].chunks_mut(8)) {
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        bytes
    }

    fn render_index(&self, level: usize, group: &[(Ref, u32)]) -> Vec<u8> {
        render_index(self.page_size, level, group)
    }

    /// The layout's pages are about to be written: what changes from now on is for the next checkpoint.
    pub(crate) fn planned(&mut self, layout: &Layout) {
        for index in layout.regions() {
            self.entries[index].dirty = false;
        }
    }

    /// The layout will not be written after all.
    pub(crate) fn abandoned(&mut self, layout: &Layout) {
        layout.regions().for_each(|index| self.mark_dirty(index as u64));
    }

    /// The layout is durable: from now on it is where the map stands.
    pub(crate) fn installed(&mut self, layout: &Layout) {
        self.levels.resize(layout.shape.len() - 1, Vec::new());
        for (level, refs) in self.levels.iter_mut().enumerate() {
            refs.resize(layout.shape[level + 1], Ref::NULL);
        }
        for ((level, index), run) in &layout.homes {
            let at = Ref::page(run.start, layout.birth);
            match level {
                0 => self.entries[*index].at = at,
                _ => self.levels[level - 1][*index] = at,
            }
        }
        for (index, free) in &layout.frees {
            self.entries[*index].durable_free = *free;
        }
        debug_assert!(self.levels.iter().flatten().all(|at| !at.is_null()));
    }
}

/// Where the parts of a durable map will stand.
pub(crate) struct Layout {
    homes: BTreeMap<(usize, usize), Run>,
    /// How many pages each level has: regions first, the root last.
    shape: Vec<usize>,
    birth: u64,
    /// How many pages are free in each region that is written.
    frees: Vec<(usize, u32)>,
}

impl Layout {
    /// The regions that are written, or said to be all in use or all free.
    fn regions(&self) -> impl Iterator<Item = usize> {
        let written = self.homes.keys().filter(|(level, _)| *level == 0).map(|(_, index)| *index);
        written.chain(self.frees.iter().map(|(index, _)| *index))
    }
}

fn render_index(page_size: usize, level: usize, group: &[(Ref, u32)]) -> Vec<u8> {
    let fan = index_fan(page_size);
    let mut bytes = vec![0; page_size];
    write_header(&mut bytes, Kind::SPACE_INDEX, level as u8);
    set_ref_count(&mut bytes, group.len());
    for (index, (at, free)) in group.iter().enumerate() {
        set_reference(&mut bytes, index, *at);
        let count = HEADER_SIZE + fan * REF_SIZE + index * COUNT_SIZE;
        bytes[count..count + COUNT_SIZE].copy_from_slice(&free.to_le_bytes());
    }
    bytes
}

/// The map of a file whose pages are all in use, its own behind the first `data_pages` included: its pages in
/// the order in which they stand, and the reference to the last of them, its top.
pub(crate) fn full_map(page_size: usize, data_pages: u64, birth: u64) -> (Vec<Vec<u8>>, Ref) {
    let (per_region, fan) = (region_pages(page_size), index_fan(page_size));
    let mut map_pages = 0;
    let shape = loop {
        let shape = level_sizes((data_pages + map_pages).div_ceil(per_region) as usize, fan);
        let needed: usize = shape.iter().sum();
        if needed as u64 <= map_pages {
            break shape;
        }
        map_pages = needed as u64;
    };
    let mut pages = Vec::new();
    let mut next = data_pages;
    let mut below: Vec<(Ref, u32)> = Vec::new();
    for (level, count) in shape.into_iter().enumerate() {
        let mut groups = below.chunks(fan);
        let mut here = Vec::with_capacity(count);
        for _ in 0..count {
            pages.push(match level {
                0 => {
                    let mut bytes = vec![u8::MAX; page_size];
                    write_header(&mut bytes, Kind::SPACE, 0);
                    bytes
                }
                _ => render_index(page_size, level, groups.next().expect("one group for each page")),
            });
            here.push((Ref::page(PageNumber(next), birth), 0));
            next += 1;
        }
        below = here;
    }
    (pages, below[0].0)
}

/// Those of some runs, which are in order and do not overlap, that lie in a range.
fn overlapping<'a>(runs: &'a [Run], range: &Range<u64>) -> &'a [Run] {
    let first = runs.partition_point(|run| run.end() <= range.start);
    let end = runs.partition_point(|run| run.start.0 < range.end);
    runs.get(first..end).unwrap_or_default()
}

fn level_sizes(regions: usize, fan: usize) -> Vec<usize> {
    let mut sizes = vec![regions];
    while *sizes.last().expect("never empty") > 1 {
        sizes.push(sizes.last().expect("never empty").div_ceil(fan));
    }
    sizes
}

impl Region {
    fn uniform(page_size: usize, used: bool) -> Self {
        let word = if used { u64::MAX } else { 0 };
        Self { used: vec![word; region_pages(page_size).div_ceil(WORD_BITS) as usize] }
    }

    fn free_at_start(&self) -> u64 {
        let whole = self.used.iter().take_while(|word| **word == 0).count();
        whole as u64 * WORD_BITS + self.used.get(whole).map_or(0, |word| u64::from(word.trailing_zeros()))
    }

    fn free_at_end(&self) -> u64 {
        let whole = self.used.iter().rev().take_while(|word| **word == 0).count();
        let before = self.used.len().checked_sub(whole + 1).map(|index| self.used[index]);
        whole as u64 * WORD_BITS + before.map_or(0, |word| u64::from(word.leading_zeros()))
    }

    fn from_page(bytes: &[u8]) -> Self {
        let mut used = Vec::with_capacity((bytes.len() - HEADER_SIZE).div_ceil(8));
        for chunk in bytes[HEADER_SIZE..].chunks(8) {
            used.push(read_u64(chunk, 0));
        }
        Self { used }
    }

    fn free_count(&self) -> u32 {
        self.used.iter().map(|word| word.count_zeros()).sum()
    }

    /// Sets one bit; whether it changed.
    fn set(&mut self, bit: u64, used: bool) -> bool {
        let word = &mut self.used[(bit / WORD_BITS) as usize];
        let mask = 1 << (bit % WORD_BITS);
        let was = *word & mask != 0;
        if used {
            *word |= mask;
        } else {
            *word &= !mask;
        }
        was != used
    }

    /// Adds all rows of free bits as runs of pages from `base` on.
    fn free_runs(&self, base: u64, runs: &mut Vec<Run>) {
        let bits = self.used.len() as u64 * WORD_BITS;
        let mut at = self.next(0, false);
        while at < bits {
            let end = self.next(at, true);
            runs.push(Run { start: PageNumber(base + at), count: end - at });
            at = self.next(end, false);
        }
    }

    /// The first bit from `from` on that says `used`; the end where there is none.
    fn next(&self, from: u64, used: bool) -> u64 {
        let mut at = from;
        while let Some(word) = self.used.get((at / WORD_BITS) as usize) {
            let wanted = if used { *word } else { !*word };
            let ahead = (wanted >> (at % WORD_BITS)).trailing_zeros();
            if ahead < u64::BITS {
                return at + u64::from(ahead);
            }
            at = (at / WORD_BITS + 1) * WORD_BITS;
        }
        self.used.len() as u64 * WORD_BITS
    }

    /// The first `count` neighbouring free bits.
    fn find(&self, count: u64) -> Option<u64> {
        let mut run = 0;
        for (index, word) in self.used.iter().enumerate() {
            if *word == u64::MAX {
                run = 0;
                continue;
            }
            if *word == 0 && run + WORD_BITS < count {
                run += WORD_BITS;
                continue;
            }
            for bit in 0..WORD_BITS {
                run = if *word & (1 << bit) == 0 { run + 1 } else { 0 };
                if run == count {
                    return Some(index as u64 * WORD_BITS + bit + 1 - count);
                }
            }
        }
        None
    }
}
