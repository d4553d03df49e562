//! Which pages were checked since the file was opened: one bit each, in memory that the system gives as it is
//! needed (4 KiB for 32,768 pages); and a quick way to the pages whose bit is set.
//!
//! Invariants
//! 1. A set bit means that the page's checksum, place and structure were found right after its last write
//!    by this process.
//! 2. Below the end of a [`CheckedPages`] each page has a bit, is counted by its state, and lies whole in the
//!    first part of the state's map: one comparison stands for three.
//!
//! Not here: the check itself, and other sets of this kind (`snapshot`).
#![expect(unsafe_code, reason = "a mapping of zeros, used as atomic words; pages that need no bounds check")]

use crate::page::{Page, PageNumber, Ref};
use crate::storage::Map;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const WORD_BITS: u64 = 64;

/// A set of page numbers up to a bound; later ones are never remembered, and checked at each use.
pub(crate) struct Verified {
    /// Keeps the words' memory; `None` where there is none.
    _region: Option<Zeros>,
    words: *const AtomicU64,
    count: usize,
}

// SAFETY: the words are atomic, and their memory lives as long as the set.
unsafe impl Send for Verified {}
// SAFETY: as above.
unsafe impl Sync for Verified {}

/// Words that are zero at first, and that the system gives memory for as they are touched.
#[cfg(not(miri))]
type Zeros = memmap2::MmapRaw;
/// The interpreter maps nothing.
#[cfg(miri)]
type Zeros = Vec<AtomicU64>;

#[cfg(not(miri))]
fn zeros(count: usize) -> Option<Zeros> {
    let options =
        memmap2::MmapOptions::new().len(count * size_of::<AtomicU64>()).no_reserve_swap().map_anon();
    options.ok().map(Zeros::from)
}

#[cfg(miri)]
fn zeros(count: usize) -> Option<Zeros> {
    (count < 1 << 20).then(|| (0..count).map(|_| AtomicU64::new(0)).collect())
}

impl Verified {
    /// A set with room for `pages` numbers, or for none where the address space has no room: then every
    /// page is checked at each use.
    pub(crate) fn new(pages: u64) -> Self {
        let count = usize::try_from(pages.div_ceil(WORD_BITS)).unwrap_or(0);
        let region = if count > 0 { zeros(count) } else { None };
        match region {
            Some(region) => Self { words: region.as_ptr().cast(), count, _region: Some(region) },
            None => Self { words: std::ptr::null(), count: 0, _region: None },
        }
    }

    #[inline]
    fn word(&self, page: PageNumber) -> Option<&AtomicU64> {
        let index = (page.0 / WORD_BITS) as usize;
        if index >= self.count {
            return None;
        }
        // SAFETY: below `count`, so inside the mapping, which is page-aligned, zero at first, writable, and
        // lives as long as `self`.
        Some(unsafe { &*self.words.add(index) })
    }

    /// Whether a page is remembered when it is put in.
    pub(crate) fn has_room(&self, page: PageNumber) -> bool {
        self.word(page).is_some()
    }

    #[inline]
    pub(crate) fn contains(&self, page: PageNumber) -> bool {
        self.word(page).is_some_and(|word| word.load(Ordering::Relaxed) >> (page.0 % WORD_BITS) & 1 != 0)
    }

    /// How many numbers below `end` are in the set.
    pub(crate) fn count_below(&self, end: u64) -> u64 {
        let words = (0..end.div_ceil(WORD_BITS)).map_while(|word| self.word(PageNumber(word * WORD_BITS)));
        words.map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }

    pub(crate) fn insert(&self, page: PageNumber) {
        if let Some(word) = self.word(page) {
            word.fetch_or(1 << (page.0 % WORD_BITS), Ordering::Relaxed);
        }
    }

    pub(crate) fn remove(&self, page: PageNumber) {
        if let Some(word) = self.word(page) {
            word.fetch_and(!(1 << (page.0 % WORD_BITS)), Ordering::Relaxed);
        }
    }
}

/// The checked pages of one state of the file, each found by one comparison and its bit. What is not among
/// them (never looked at, dirty, behind the map's first part) is the snapshot's to find.
#[derive(Clone, Copy, Debug)]
pub struct CheckedPages<'s> {
    words: *const AtomicU64,
    bytes: *const u8,
    /// Pages from here on are not among them.
    end: u64,
    page_size: usize,
    is_ended: &'s AtomicBool,
    _borrowed: PhantomData<&'s Map>,
}

/// That of no pages.
static ENDED: AtomicBool = AtomicBool::new(true);

// SAFETY: it borrows a `Map` and a `Verified`, both `Sync`, and only reads: atomic words, and pages that nobody
// writes while the borrow lives.
unsafe impl Send for CheckedPages<'_> {}
// SAFETY: as above.
unsafe impl Sync for CheckedPages<'_> {}

impl<'s> CheckedPages<'s> {
    /// The pages below `page_count` that `verified` knows, in `map`. The file holds `page_count` pages, and
    /// what an open snapshot or the writer can reach of them is not written (`Map::reachable_bytes`).
    #[inline]
    pub(crate) fn new(
        verified: &'s Verified,
        map: &'s Map,
        page_count: u64,
        page_size: usize,
        is_ended: &'s AtomicBool,
    ) -> Self {
        let (bytes, len) = map.first_part();
        let mapped = (len >> page_size.trailing_zeros()) as u64;
        let end = page_count.min(verified.count as u64 * WORD_BITS).min(mapped);
        Self { words: verified.words, bytes, end, page_size, is_ended, _borrowed: PhantomData }
    }

    /// None.
    pub fn none() -> Self {
        let (words, bytes) = (std::ptr::null(), std::ptr::null());
        Self { words, bytes, end: 0, page_size: 0, is_ended: &ENDED, _borrowed: PhantomData }
    }

    /// The same, where pages have `N` bytes and the snapshot may still be read: asked once for each time that one
    /// begins to read.
    #[inline(always)]
    pub fn of_size<const N: usize>(&self) -> Option<CheckedPagesOf<'_, 's, N>> {
        (self.page_size == N && !self.is_ended.load(Ordering::Relaxed)).then_some(CheckedPagesOf(self))
    }
}

/// The checked pages of a file whose pages have `N` bytes.
#[derive(Clone, Copy, Debug)]
pub struct CheckedPagesOf<'c, 's, const N: usize>(&'c CheckedPages<'s>);

impl<'s, const N: usize> CheckedPagesOf<'_, 's, N> {
    /// The page that `at` refers to, if it was checked before and has the birth that `at` speaks of.
    #[inline(always)]
    pub fn get(self, at: Ref) -> Option<&'s [u8; N]> {
        // Of a dirty page this is no page's number; its birth tells below.
        let place = at.number().0;
        if place >= self.0.end {
            return None;
        }
        // SAFETY: below the end there is a word for each page (invariant 2); the words live as long as the
        // set, which is borrowed.
        let word = unsafe { &*self.0.words.add((place / WORD_BITS) as usize) };
        if word.load(Ordering::Relaxed) >> (place % WORD_BITS) & 1 == 0 {
            return None;
        }
        // SAFETY: below the end a page lies whole in the mapped first part, and in the file (invariant 2),
        // and its size is `N` (`of_size`); it is not written while it can be reached.
        let bytes = unsafe { &*self.0.bytes.add(place as usize * N).cast::<[u8; N]>() };
        at.is_of_file_and_fits(Page::new(bytes).birth()).then_some(bytes)
    }

    /// Asks the processor for the cache line at `offset` of the page that `at` refers to; in vain where that is not
    /// among these pages.
    #[inline(always)]
    pub fn prefetch(self, at: Ref, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let place = (at.number().0 as usize).wrapping_mul(N).wrapping_add(offset);
            // SAFETY: a prefetch reads nothing that could be seen and never faults, wherever it points.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.0.bytes.wrapping_add(place).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (at, offset);
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("words", &self.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "far more words than the interpreter has memory for")]
    fn bits_are_kept_apart_near_and_far() {
        let set = Verified::new(1 << 35);
        let pages = [0, 1, 63, 64, 32_767, 32_768, (1 << 34) + 5];
        for page in pages {
            assert!(!set.contains(PageNumber(page)));
            set.insert(PageNumber(page));
        }
        for page in pages {
            assert!(set.contains(PageNumber(page)));
            assert!(!set.contains(PageNumber(page + 2)) || pages.contains(&(page + 2)));
        }
        assert_eq!((set.count_below(0), set.count_below(128), set.count_below(1 << 15)), (0, 4, 5));
        set.remove(PageNumber(63));
        assert!(!set.contains(PageNumber(63)) && set.contains(PageNumber(64)));
        set.insert(PageNumber(1 << 40));
        assert!(!set.contains(PageNumber(1 << 40)), "beyond the set nothing is remembered");
    }

    #[test]
    fn only_checked_pages_inside_state_set_and_map_are_found() {
        const N: usize = 4096;
        let mut file = vec![0_u8; 70 * N];
        for (number, page) in file.chunks_mut(N).enumerate() {
            crate::page::set_birth(page, 7);
            page[100] = number as u8;
        }
        let (address, len) = (file.as_ptr(), file.len());
        // SAFETY: the owner keeps the bytes where they are, and nobody writes them.
        let map = unsafe { Map::new(address, len, std::sync::Arc::new(file)) };
        let set = Verified::new(1000);
        for number in [0, 3, 63, 64, 69, 70, 999] {
            set.insert(PageNumber(number));
        }
        let is_ended = AtomicBool::new(false);
        let found = |page_count: u64| {
            let pages = CheckedPages::new(&set, &map, page_count, N, &is_ended);
            let pages = pages.of_size::<N>().unwrap();
            let seen = |number: &u64| {
                let page = pages.get(Ref::page(PageNumber(*number), 7));
                page.inspect(|page| assert_eq!(u64::from(page[100]), *number)).is_some()
            };
            (0..1001).filter(seen).collect::<Vec<u64>>()
        };
        assert_eq!(found(1000), [0, 3, 63, 64, 69], "the map ends behind page 69");
        assert_eq!(found(64), [0, 3, 63], "the state ends behind page 63");
        assert_eq!(found(0), []);
        let pages = CheckedPages::new(&set, &map, 1000, N, &is_ended);
        assert!(pages.of_size::<8192>().is_none());
        let sized = pages.of_size::<N>().unwrap();
        assert!(sized.get(Ref::page(PageNumber(3), 8)).is_none(), "another birth");
        assert!(sized.get(Ref::frame(3)).is_none(), "a dirty page");
        is_ended.store(true, Ordering::Relaxed);
        assert!(pages.of_size::<N>().is_none(), "an ended reader");
        assert!(CheckedPages::none().of_size::<N>().is_none());
    }

    #[test]
    fn a_set_of_nothing_remembers_nothing() {
        let set = Verified::new(0);
        set.insert(PageNumber(0));
        set.remove(PageNumber(0));
        assert!(!set.contains(PageNumber(0)));
    }
}
