//! Which pages were checked since the file was opened: one bit each, in memory made as it is needed.
//!
//! Invariants
//! 1. A set bit means that the page's checksum, place and structure were found right after its last write
//!    by this process.
//!
//! Not here: the check itself (`snapshot`).

use crate::page::PageNumber;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 512;
const PAGES_PER_CHUNK: u64 = WORDS as u64 * 64;
const CHUNKS_PER_TABLE: u64 = 512;
const TABLES: u64 = 2048;

type Chunk = Box<[AtomicU64; WORDS]>;
type Table = Box<[OnceLock<Chunk>; CHUNKS_PER_TABLE as usize]>;

/// A sparse set of page numbers. 2^35 pages (128 TB of 4 KiB) can be remembered; later ones never are.
#[derive(Debug)]
pub(crate) struct Verified {
    tables: Box<[OnceLock<Table>; TABLES as usize]>,
}

impl Verified {
    pub(crate) fn new() -> Self {
        Self { tables: Box::new([const { OnceLock::new() }; TABLES as usize]) }
    }

    #[inline]
    pub(crate) fn contains(&self, page: PageNumber) -> bool {
        let (table, chunk, word, bit) = place(page);
        self.tables
            .get(table)
            .and_then(OnceLock::get)
            .and_then(|table| table[chunk].get())
            .is_some_and(|chunk| chunk[word].load(Ordering::Relaxed) & bit != 0)
    }

    pub(crate) fn insert(&self, page: PageNumber) {
        let (table, chunk, word, bit) = place(page);
        let Some(table) = self.tables.get(table) else { return };
        let table = table.get_or_init(|| Box::new([const { OnceLock::new() }; CHUNKS_PER_TABLE as usize]));
        let chunk = table[chunk].get_or_init(|| Box::new([const { AtomicU64::new(0) }; WORDS]));
        chunk[word].fetch_or(bit, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, page: PageNumber) {
        let (table, chunk, word, bit) = place(page);
        if let Some(chunk) =
            self.tables.get(table).and_then(OnceLock::get).and_then(|table| table[chunk].get())
        {
            chunk[word].fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

#[inline]
fn place(page: PageNumber) -> (usize, usize, usize, u64) {
    let chunk = page.0 / PAGES_PER_CHUNK;
    let bit = page.0 % PAGES_PER_CHUNK;
    (
        (chunk / CHUNKS_PER_TABLE) as usize,
        (chunk % CHUNKS_PER_TABLE) as usize,
        bit as usize / 64,
        1 << (bit % 64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_kept_apart_near_and_far() {
        let set = Verified::new();
        let pages = [0, 1, 63, 64, 32_767, 32_768, (1 << 34) + 5];
        for page in pages {
            assert!(!set.contains(PageNumber(page)));
            set.insert(PageNumber(page));
        }
        for page in pages {
            assert!(set.contains(PageNumber(page)));
            assert!(!set.contains(PageNumber(page + 2)) || pages.contains(&(page + 2)));
        }
        set.remove(PageNumber(63));
        assert!(!set.contains(PageNumber(63)) && set.contains(PageNumber(64)));
        set.insert(PageNumber(1 << 40));
        assert!(!set.contains(PageNumber(1 << 40)), "beyond the set nothing is remembered");
    }
}
