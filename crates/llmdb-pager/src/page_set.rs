//! A sparse set of page numbers, one bit each, in memory made as it is needed.
//!
//! Invariants
//! 1. A chunk is there only while a page of it is in the set; so the memory follows the set's size.
//!
//! Not here: sets that readers share (`verified`).

use crate::page::PageNumber;
use crate::space::Run;
use std::collections::BTreeMap;

const WORD_BITS: u64 = 64;
const WORDS: usize = 32;
const PAGES_PER_CHUNK: u64 = WORDS as u64 * WORD_BITS;

/// Page numbers, in order.
#[derive(Debug, Default)]
pub(crate) struct PageSet {
    chunks: BTreeMap<u64, [u64; WORDS]>,
}

impl PageSet {
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
    }

    pub(crate) fn insert(&mut self, page: PageNumber) {
        let (chunk, word, bit) = place(page);
        self.chunks.entry(chunk).or_insert([0; WORDS])[word] |= bit;
    }

    /// Takes a page out; whether it was in.
    pub(crate) fn remove(&mut self, page: PageNumber) -> bool {
        let (chunk, word, bit) = place(page);
        let Some(words) = self.chunks.get_mut(&chunk) else { return false };
        let was_in = words[word] & bit != 0;
        words[word] &= !bit;
        if words.iter().all(|word| *word == 0) {
            self.chunks.remove(&chunk);
        }
        was_in
    }

    /// Moves all of `other` here.
    pub(crate) fn append(&mut self, other: Self) {
        for (chunk, theirs) in other.chunks {
            let ours = self.chunks.entry(chunk).or_insert([0; WORDS]);
            for (word, more) in ours.iter_mut().zip(theirs) {
                *word |= more;
            }
        }
    }

    /// All pages, neighbours of a chunk together, in order.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (chunk, words) in &self.chunks {
            for (index, word) in words.iter().enumerate() {
                let base = chunk * PAGES_PER_CHUNK + index as u64 * WORD_BITS;
                for bit in (0..WORD_BITS).filter(|bit| word & (1 << bit) != 0) {
                    match runs.last_mut().filter(|run| run.end() == base + bit) {
                        Some(run) => run.count += 1,
                        None => runs.push(Run::one(PageNumber(base + bit))),
                    }
                }
            }
        }
        runs
    }
}

fn place(page: PageNumber) -> (u64, usize, u64) {
    let bit = page.0 % PAGES_PER_CHUNK;
    (page.0 / PAGES_PER_CHUNK, (bit / WORD_BITS) as usize, 1 << (bit % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_as_runs_across_words_and_chunks() {
        let mut set = PageSet::default();
        let pages: Vec<u64> = (60..70).chain(2040..2060).chain([1 << 40]).collect();
        for page in &pages {
            assert!(!set.remove(PageNumber(*page)));
            set.insert(PageNumber(*page));
        }
        let mut more = PageSet::default();
        more.insert(PageNumber(70));
        more.insert(PageNumber(5_000_000));
        set.append(more);
        let runs: Vec<(u64, u64)> = set.runs().iter().map(|run| (run.start.0, run.count)).collect();
        assert_eq!(runs, [(60, 11), (2040, 20), (5_000_000, 1), (1 << 40, 1)]);
        assert!(!set.remove(PageNumber(71)));
        for page in pages.iter().chain(&[70, 5_000_000]) {
            assert!(set.remove(PageNumber(*page)));
        }
        assert!(set.chunks.is_empty(), "no chunk is left");
    }
}
