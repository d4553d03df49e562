//! Which pages were checked since the file was opened: one bit each, in memory that the system gives as it is
//! needed (4 KiB for 32,768 pages).
//!
//! Invariants
//! 1. A set bit means that the page's checksum, place and structure were found right after its last write
//!    by this process.
//!
//! Not here: the check itself, and other sets of this kind (`snapshot`).
#![expect(unsafe_code, reason = "a mapping of zeros, used as atomic words")]

use crate::page::PageNumber;
use memmap2::{MmapOptions, MmapRaw};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

const WORD_BITS: u64 = 64;

/// A set of page numbers up to a bound; later ones are never remembered, and checked at each use.
pub(crate) struct Verified {
    /// Keeps the words' memory; `None` where there is none.
    _region: Option<MmapRaw>,
    words: *const AtomicU64,
    count: usize,
}

// SAFETY: the words are atomic, and their memory lives as long as the set.
unsafe impl Send for Verified {}
// SAFETY: as above.
unsafe impl Sync for Verified {}

impl Verified {
    /// A set with room for `pages` numbers, or for none where the address space has no room: then every
    /// page is checked at each use.
    pub(crate) fn new(pages: u64) -> Self {
        let count = usize::try_from(pages.div_ceil(WORD_BITS)).unwrap_or(0);
        let region = (count > 0)
            .then(|| MmapOptions::new().len(count * size_of::<AtomicU64>()).no_reserve_swap().map_anon())
            .and_then(Result::ok)
            .map(MmapRaw::from);
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

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("words", &self.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
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
    fn a_set_of_nothing_remembers_nothing() {
        let set = Verified::new(0);
        set.insert(PageNumber(0));
        set.remove(PageNumber(0));
        assert!(!set.contains(PageNumber(0)));
    }
}
