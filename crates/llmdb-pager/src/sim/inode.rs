//! One file: what reads see, what is durable, and what is between.
//!
//! Invariants
//! 1. The durable version of a sector without a chain is what the cache holds there; a chain starts with
//!    the durable version and goes on with the pending ones, oldest first.
//! 2. After the chain's last version the cache may still differ: the device lost or misplaced a write, or a
//!    failed sync dropped it. Only then does a chain outlive a sync.
//! 3. The cache is zero from the file's length on.
//!
//! Storing the durable state as a difference is what makes an image cost one copy of the file.

use super::buffer::Cache;
use super::rng::Rng;
use crate::storage::Map;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

/// The unit that persists as a whole, except in flight.
pub(super) const SECTOR_SIZE: usize = 512;
/// The unit of space.
pub(super) const BLOCK_SIZE: usize = 4096;

type Sector = [u8; SECTOR_SIZE];

/// A sector's content, and the place of the write that made it in the order of all changes.
#[derive(Clone, Debug)]
struct Version {
    sequence: u64,
    bytes: Sector,
}

/// What the device makes of a write that the cache took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Lost,
    /// The bytes end up at this offset.
    Misdirected(usize),
}

/// How an image holds one file.
#[derive(Debug)]
pub(super) struct FileOutcome<'a> {
    /// Which of the lengths, 0 being the durable one.
    pub(super) len: usize,
    /// Which version of each pending sector, in order, 0 being the durable one.
    pub(super) sectors: &'a [usize],
    pub(super) torn: Option<Torn>,
    /// Garbage where the file had not durably grown to and nothing persisted; else zeros.
    pub(super) garbage: Option<Rng>,
}

/// A sector that was being written when the power went: the newest version up to a byte, the one before
/// from there on, or the other way round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Torn {
    pub(super) sector: usize,
    pub(super) cut: usize,
    pub(super) tail_first: bool,
}

#[derive(Debug)]
pub(super) struct Inode {
    cache: Cache,
    len: usize,
    chains: BTreeMap<usize, Vec<Version>>,
    durable_len: usize,
    /// Lengths since the last sync with their sequence; the last one is `len`.
    pending_lens: Vec<(u64, usize)>,
    blocks: Blocks,
    /// Handles that are open.
    pub(super) open_count: usize,
}

impl Inode {
    pub(super) fn new(capacity: usize, bytes: &[u8]) -> Self {
        let mut blocks = Blocks::default();
        blocks.set(0..bytes.len());
        Self {
            cache: Cache::new(capacity, bytes),
            len: bytes.len(),
            chains: BTreeMap::new(),
            durable_len: bytes.len(),
            pending_lens: Vec::new(),
            blocks,
            open_count: 0,
        }
    }

    /// The same state in other memory, with no handles.
    pub(super) fn fork(&self) -> Self {
        Self {
            cache: Cache::new(self.cache.capacity(), self.bytes()),
            len: self.len,
            chains: self.chains.clone(),
            durable_len: self.durable_len,
            pending_lens: self.pending_lens.clone(),
            blocks: self.blocks.clone(),
            open_count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(super) fn map(&self, len: usize) -> Map {
        self.cache.map(len)
    }

    /// What reads see.
    pub(super) fn bytes(&self) -> &[u8] {
        self.cache.bytes(0..self.len)
    }

    /// Takes a write that fits the capacity.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8], fate: Fate, sequence: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        self.blocks.set(offset..end);
        let sectors = sectors_of(offset..end);
        let before: Vec<Sector> = sectors.clone().map(|sector| self.cached(sector)).collect();
        self.cache.write(offset, bytes);
        if end > self.len {
            self.change_len(end, sequence);
        }
        for (sector, before) in sectors.zip(&before) {
            let newest =
                if fate == Fate::Kept { &self.cached(sector) } else { self.newest(sector).unwrap_or(before) };
            self.record(sector, before, *newest, sequence);
        }
        if let Fate::Misdirected(target) = fate {
            self.misplace(target, bytes, sequence);
        }
    }

    /// Puts bytes on the device that the cache knows nothing of.
    fn misplace(&mut self, offset: usize, bytes: &[u8], sequence: u64) {
        let end = (offset + bytes.len()).min(self.len);
        for sector in sectors_of(offset..end) {
            let cached = self.cached(sector);
            let mut newest = *self.newest(sector).unwrap_or(&cached);
            let start = sector * SECTOR_SIZE;
            let from = start.max(offset);
            let to = (start + SECTOR_SIZE).min(end);
            newest[from - start..to - start].copy_from_slice(&bytes[from - offset..to - offset]);
            self.record(sector, &cached, newest, sequence);
        }
    }

    /// Makes `newest` what the device will hold of a sector; `before` is durable if nothing was pending.
    fn record(&mut self, sector: usize, before: &Sector, newest: Sector, sequence: u64) {
        let cached = self.cached(sector);
        match self.chains.entry(sector) {
            Entry::Occupied(mut chain) => {
                let chain = chain.get_mut();
                if chain.last().is_some_and(|last| last.bytes != newest) {
                    chain.push(Version { sequence, bytes: newest });
                }
            }
            Entry::Vacant(entry) => {
                if *before != newest {
                    let durable = Version { sequence: 0, bytes: *before };
                    entry.insert(vec![durable, Version { sequence, bytes: newest }]);
                } else if newest != cached {
                    entry.insert(vec![Version { sequence: 0, bytes: newest }]);
                }
            }
        }
    }

    /// Cuts or extends; the capacity is checked by the caller.
    pub(super) fn set_len(&mut self, len: usize, sequence: u64) {
        if len < self.len {
            let sectors = sectors_of(len..self.len);
            let before: Vec<Sector> = sectors.clone().map(|sector| self.cached(sector)).collect();
            self.cache.zero(len..self.len);
            for (sector, before) in sectors.zip(&before) {
                self.record(sector, before, self.cached(sector), sequence);
            }
            self.blocks.clear_from(len);
        }
        self.change_len(len, sequence);
    }

    /// Reserves space, extending the file.
    pub(super) fn allocate(&mut self, range: Range<usize>, sequence: u64) {
        self.blocks.set(range.clone());
        if range.end > self.len {
            self.change_len(range.end, sequence);
        }
    }

    /// Gives blocks back: they read as zeros, which is as pending as a write of zeros.
    pub(super) fn punch(&mut self, blocks: Range<usize>, sequence: u64) {
        let range = blocks.start * BLOCK_SIZE..(blocks.end * BLOCK_SIZE).min(self.len);
        if range.is_empty() {
            return;
        }
        let sectors = sectors_of(range.clone());
        let before: Vec<Sector> = sectors.clone().map(|sector| self.cached(sector)).collect();
        self.cache.zero(range);
        for (sector, before) in sectors.zip(&before) {
            self.record(sector, before, self.cached(sector), sequence);
        }
        self.blocks.clear(blocks);
    }

    /// The parts of a range that have no space.
    pub(super) fn holes(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let size = BLOCK_SIZE as u64;
        let end = range.end.min(self.len as u64);
        let mut found: Vec<Range<u64>> = Vec::new();
        for block in range.start / size..end.div_ceil(size) {
            if !self.blocks.has(block as usize) {
                let hole = (block * size).max(range.start)..((block + 1) * size).min(end);
                match found.last_mut() {
                    Some(last) if last.end == hole.start => last.end = hole.end,
                    _ => found.push(hole),
                }
            }
        }
        found
    }

    /// An allocation failed on the way and was undone: a power cut may find the longer file.
    pub(super) fn allocate_in_vain(&mut self, reached: usize, sequence: u64) {
        let before = self.len;
        if reached > before {
            self.change_len(reached, sequence);
            self.change_len(before, sequence);
        }
    }

    fn change_len(&mut self, len: usize, sequence: u64) {
        if len != self.len {
            self.len = len;
            self.pending_lens.push((sequence, len));
        }
    }

    /// All that is pending becomes durable.
    pub(super) fn sync(&mut self) {
        let cache = &self.cache;
        self.chains.retain(|&sector, chain| {
            chain.drain(..chain.len() - 1);
            chain[0].sequence = 0;
            chain[0].bytes != cached(cache, sector)
        });
        if let Some((_, len)) = self.pending_lens.drain(..).next_back() {
            self.durable_len = len;
        }
    }

    /// What is pending of a range becomes durable, of the length nothing.
    pub(super) fn sync_range(&mut self, range: Range<usize>) {
        let cache = &self.cache;
        let sectors = sectors_of(range);
        self.chains.retain(|&sector, chain| {
            if !sectors.contains(&sector) {
                return true;
            }
            chain.drain(..chain.len() - 1);
            chain[0].sequence = 0;
            chain[0].bytes != cached(cache, sector)
        });
    }

    /// A random part becomes durable; the rest is forgotten, though the cache goes on showing it.
    pub(super) fn sync_forgets(&mut self, rng: &mut Rng) {
        for chain in self.chains.values_mut() {
            chain.truncate(if chain.len() > 1 && rng.coin() { chain.len() } else { 1 });
        }
        if rng.coin() {
            self.pending_lens.clear();
        }
        self.sync();
    }

    /// All that is pending is dropped, from the cache too.
    pub(super) fn revert(&mut self) {
        for chain in self.chains.values_mut() {
            chain.truncate(1);
        }
        self.pending_lens.clear();
        self.drop_cache();
    }

    /// What is not pending is read anew from the device.
    pub(super) fn drop_cache(&mut self) {
        if self.pending_lens.is_empty() && self.durable_len != self.len {
            self.cache.detach(self.len);
            let (short, long) = (self.durable_len.min(self.len), self.len);
            self.cache.zero(short..long);
            self.len = self.durable_len;
        }
        if self.chains.values().all(|chain| chain.len() > 1) {
            return;
        }
        self.cache.detach(self.len);
        let (cache, len) = (&mut self.cache, self.len);
        self.chains.retain(|&sector, chain| {
            if chain.len() > 1 {
                return true;
            }
            let place = visible(sector, len);
            cache.write(place.start, &chain[0].bytes[..place.len()]);
            chain[0].bytes != cached(cache, sector)
        });
    }

    /// Changes the bytes of a range in the cache and in every version on the device.
    pub(super) fn damage(&mut self, range: Range<usize>, change: impl Fn(usize, &mut u8)) {
        self.cache.detach(self.len);
        let mut bytes = self.cache.bytes(range.clone()).to_vec();
        bytes.iter_mut().zip(range.clone()).for_each(|(byte, at)| change(at, byte));
        self.cache.write(range.start, &bytes);
        for (&sector, chain) in self.chains.range_mut(sectors_of(range.clone())) {
            let start = sector * SECTOR_SIZE;
            for at in range.start.max(start)..range.end.min(start + SECTOR_SIZE) {
                chain.iter_mut().for_each(|version| change(at, &mut version.bytes[at - start]));
            }
        }
    }

    /// How many pending lengths there are.
    pub(super) fn pending_len_count(&self) -> usize {
        self.pending_lens.len()
    }

    /// The sequences of the pending lengths.
    pub(super) fn len_sequences(&self) -> impl Iterator<Item = u64> {
        self.pending_lens.iter().map(|&(sequence, _)| sequence)
    }

    /// The sectors that have pending versions, with these versions' sequences, in order.
    pub(super) fn pending_sectors(
        &self,
    ) -> impl Iterator<Item = (usize, impl ExactSizeIterator<Item = u64>)> {
        let pending = self.chains.iter().filter(|(_, chain)| chain.len() > 1);
        pending.map(|(&sector, chain)| (sector, chain[1..].iter().map(|version| version.sequence)))
    }

    /// The length by its choice, 0 being the durable one.
    pub(super) fn len_of_choice(&self, choice: usize) -> usize {
        choice.checked_sub(1).map_or(self.durable_len, |index| self.pending_lens[index].1)
    }

    /// What a file of `len` bytes shows of a pending sector by its choice.
    pub(super) fn shown(&self, sector: usize, choice: usize, len: usize) -> &[u8] {
        &self.chains[&sector][choice].bytes[..visible(sector, len).len()]
    }

    /// The file that a machine finds after a power cut.
    pub(super) fn image(&self, outcome: &FileOutcome<'_>) -> Self {
        let len = self.len_of_choice(outcome.len);
        let mut image = Self::new(self.capacity(), self.cache.bytes(0..len.min(self.len)));
        image.len = len;
        image.durable_len = len;
        image.blocks = self.blocks.clone();
        image.blocks.clear_from(len);
        let grown = self.durable_len.div_ceil(SECTOR_SIZE)..len.div_ceil(SECTOR_SIZE);
        if let Some(mut rng) = outcome.garbage.clone().filter(|_| !grown.is_empty()) {
            let mut garbage = vec![0; len - grown.start * SECTOR_SIZE];
            rng.fill(&mut garbage);
            image.cache.write(grown.start * SECTOR_SIZE, &garbage);
        }
        let mut choices = outcome.sectors.iter();
        for (&sector, chain) in &self.chains {
            let choice = if chain.len() > 1 { choices.next().copied().unwrap_or(0) } else { 0 };
            let place = visible(sector, len);
            let keep_garbage = choice == 0 && outcome.garbage.is_some() && grown.contains(&sector);
            let torn = outcome.torn.filter(|torn| torn.sector == sector);
            if let Some(torn) = torn {
                image.cache.write(place.start, &torn.mix(chain)[..place.len()]);
            } else if !keep_garbage {
                image.cache.write(place.start, &chain[choice].bytes[..place.len()]);
            }
            if image.cache.bytes(place.clone()).iter().any(|byte| *byte != 0) {
                // A hole that did not persist still has its space.
                image.blocks.set(place);
            }
        }
        image
    }

    /// The newest version that the device has, where that may not be what the cache holds.
    fn newest(&self, sector: usize) -> Option<&Sector> {
        Some(&self.chains.get(&sector)?.last()?.bytes)
    }

    fn cached(&self, sector: usize) -> Sector {
        cached(&self.cache, sector)
    }
}

impl Torn {
    fn mix(self, chain: &[Version]) -> Sector {
        let newest = &chain[chain.len() - 1].bytes;
        let before = &chain[chain.len().saturating_sub(2)].bytes;
        let (head, tail) = if self.tail_first { (before, newest) } else { (newest, before) };
        let mut mixed = *tail;
        mixed[..self.cut].copy_from_slice(&head[..self.cut]);
        mixed
    }
}

/// Which 4-KiB blocks of a file have space.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks(Vec<u64>);

impl Blocks {
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn has(&self, block: usize) -> bool {
        self.0.get(block / 64).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    fn set(&mut self, range: Range<usize>) {
        let blocks = blocks_of(range);
        if self.0.len() * 64 < blocks.end {
            self.0.resize(blocks.end.div_ceil(64), 0);
        }
        for block in blocks {
            self.0[block / 64] |= 1 << (block % 64);
        }
    }

    fn clear(&mut self, blocks: Range<usize>) {
        for block in blocks {
            if let Some(word) = self.0.get_mut(block / 64) {
                *word &= !(1 << (block % 64));
            }
        }
    }

    fn clear_from(&mut self, len: usize) {
        for block in len.div_ceil(BLOCK_SIZE)..self.0.len() * 64 {
            self.0[block / 64] &= !(1 << (block % 64));
        }
    }
}

/// The blocks that `range` touches.
pub(super) fn blocks_of(range: Range<usize>) -> Range<usize> {
    if range.is_empty() { 0..0 } else { range.start / BLOCK_SIZE..range.end.div_ceil(BLOCK_SIZE) }
}

/// The sectors that `range` touches.
pub(super) fn sectors_of(range: Range<usize>) -> Range<usize> {
    range.start / SECTOR_SIZE..range.end.div_ceil(SECTOR_SIZE)
}

/// Where a sector lies in a file of `len` bytes, which may cut it or leave it out.
fn visible(sector: usize, len: usize) -> Range<usize> {
    let start = (sector * SECTOR_SIZE).min(len);
    start..(start + SECTOR_SIZE).min(len)
}

/// A sector of the cache; zero beyond the capacity, which need not be a whole number of sectors.
fn cached(cache: &Cache, sector: usize) -> Sector {
    let mut bytes = [0; SECTOR_SIZE];
    let start = sector * SECTOR_SIZE;
    let end = (start + SECTOR_SIZE).min(cache.capacity());
    bytes[..end - start].copy_from_slice(cache.bytes(start..end));
    bytes
}
