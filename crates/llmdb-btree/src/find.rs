//! Single gets in a snapshot: the way from the root to the record, for pages of a known size that were checked before.
//!
//! A get waits for memory and does little else, so what counts is how much of the next one fits into the
//! processor's window behind it: instructions are saved here, and no branch waits for memory whose outcome
//! cannot be guessed. What is out of the ordinary is left to the general way, which begins anew: a page that is not
//! what it should be, a large value, a reader that was ended. A page that is dirty, or that nobody looked at so far,
//! costs a call.
//!
//! Invariants
//! 1. Levels fall strictly, so a descent ends whatever the file holds.
//! 2. What is found or missed here is so by `source::leaf_of` and `Leaf::find`.
//!
//! Not here: many gets at once (`find_many`), reads inside a write transaction and the errors (`source`).

use crate::node::lanes::{Lanes, Task, prefetch_line, with_lanes};
use crate::node::leaf::Leaf;
use crate::node::{BRANCH, LEAF, branch, leaf};
use crate::source::Source;
use llmdb_pager::page::{KIND, LEVEL};
use llmdb_pager::{CheckedPages, CheckedPagesOf, Kind, Page, Ref};

/// A branch that nobody looked at so far is fetched with the aligned block of so many bytes around it, ...
const BRANCHES_AROUND: usize = 256 << 10;
/// ... where at least one page of so many in that block is its sibling: a checkpoint puts the branches of a level side by
/// side, and every get needs them; where they stand among leaves, a block costs ten times what a page does.
const SIBLINGS_ONE_IN: usize = 4;

/// Why a quick look has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// There is no such key.
    Absent,
    /// The general way has to be gone.
    Unusual,
}

/// What a quick look needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quick<'t> {
    source: Source<'t>,
    pages: CheckedPages<'t>,
    root: Ref,
}

impl<'t> Quick<'t> {
    /// For the tree at `root`.
    #[inline]
    pub(crate) fn new(source: Source<'t>, root: Ref) -> Self {
        let pages = match source {
            Source::Snapshot(snapshot) => snapshot.checked_pages(),
            Source::Write(_) => CheckedPages::none(),
        };
        Self::of_pages(source, pages, root)
    }

    /// For the tree at `root`, with the source's checked pages.
    #[inline]
    pub(crate) fn of_pages(source: Source<'t>, pages: CheckedPages<'t>, root: Ref) -> Self {
        Self { source, pages, root }
    }

    pub(crate) fn pages(&self) -> &CheckedPages<'t> {
        &self.pages
    }

    pub(crate) fn root(&self) -> Ref {
        self.root
    }

    /// The value of `key`, where that stands in its leaf.
    #[inline(always)]
    pub(crate) fn find(&self, key: &[u8]) -> Result<&'t [u8], Miss> {
        match self.pages.of_size::<4096>() {
            Some(pages) => with_lanes(Find { quick: self, pages, key }),
            None => self.find_otherwise(key),
        }
    }

    /// The leaf in which `key` belongs.
    #[inline(always)]
    pub(crate) fn leaf(&self, key: &[u8]) -> Result<Leaf<'t>, Miss> {
        match self.pages.of_size::<4096>() {
            Some(pages) => with_lanes(FindLeaf { quick: self, pages, key }),
            None => Err(Miss::Unusual),
        }
    }

    /// As [`Quick::find`], with larger pages.
    #[inline(never)]
    fn find_otherwise(&self, key: &[u8]) -> Result<&'t [u8], Miss> {
        if let Some(pages) = self.pages.of_size::<{ 8 << 10 }>() {
            return with_lanes(Find { quick: self, pages, key });
        }
        if let Some(pages) = self.pages.of_size::<{ 16 << 10 }>() {
            return with_lanes(Find { quick: self, pages, key });
        }
        if let Some(pages) = self.pages.of_size::<{ 32 << 10 }>() {
            return with_lanes(Find { quick: self, pages, key });
        }
        if let Some(pages) = self.pages.of_size::<{ 64 << 10 }>() {
            return with_lanes(Find { quick: self, pages, key });
        }
        Err(Miss::Unusual)
    }
}

/// One get, in pages of `N` bytes.
#[derive(Clone, Copy)]
struct Find<'q, 't, 'k, const N: usize> {
    quick: &'q Quick<'t>,
    pages: CheckedPagesOf<'q, 't, N>,
    key: &'k [u8],
}

impl<'t, const N: usize> Task for Find<'_, 't, '_, N> {
    type Output = Result<&'t [u8], Miss>;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Self::Output {
        let bytes = leaf_bytes::<N, L>(self.quick, self.pages, self.key)?;
        let record = leaf::find_in::<N, L>(bytes, self.key).ok_or(Miss::Absent)?;
        record.inline().ok_or(Miss::Unusual)
    }
}

/// One way to a leaf, in pages of `N` bytes.
#[derive(Clone, Copy)]
struct FindLeaf<'q, 't, 'k, const N: usize> {
    quick: &'q Quick<'t>,
    pages: CheckedPagesOf<'q, 't, N>,
    key: &'k [u8],
}

impl<'t, const N: usize> Task for FindLeaf<'_, 't, '_, N> {
    type Output = Result<Leaf<'t>, Miss>;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Self::Output {
        leaf_bytes::<N, L>(self.quick, self.pages, self.key).map(|bytes| Leaf::new(Page::new(bytes)))
    }
}

/// The way from the root to the leaf in which a key belongs; the first lines of that are asked for.
#[inline(always)]
fn leaf_bytes<'t, const N: usize, L: Lanes>(
    quick: &Quick<'t>,
    pages: CheckedPagesOf<'_, 't, N>,
    key: &[u8],
) -> Result<&'t [u8; N], Miss> {
    let page = |at, level, parent| page_of(quick, pages, at, level, parent);
    let mut bytes = page(quick.root, u8::MAX, None)?;
    let mut level = bytes[LEVEL];
    while level > 1 {
        check(bytes, BRANCH, level)?;
        level -= 1;
        bytes = page(branch::child_of::<N, L>(bytes, key, false), level, Some(bytes))?;
    }
    if level == 1 {
        check(bytes, BRANCH, 1)?;
        bytes = page(branch::child_of::<N, L>(bytes, key, true), 0, Some(bytes))?;
    }
    check(bytes, LEAF, 0)?;
    // With the first line, they hold all heads and places of cells of up to sixteen records.
    prefetch_line(bytes, 64);
    prefetch_line(bytes, 128);
    Ok(bytes)
}

/// A page on the way, below `parent`.
#[inline(always)]
pub(crate) fn page_of<'t, const N: usize>(
    quick: &Quick<'t>,
    pages: CheckedPagesOf<'_, 't, N>,
    at: Ref,
    level: u8,
    parent: Option<&[u8; N]>,
) -> Result<&'t [u8; N], Miss> {
    pages.get(at).or_else(|| other_page(quick.source, at, level, parent)).ok_or(Miss::Unusual)
}

/// Whether a page is what is expected here.
#[inline(always)]
pub(crate) fn check<const N: usize>(bytes: &[u8; N], kind: Kind, level: u8) -> Result<(), Miss> {
    let found = [bytes[KIND], bytes[LEVEL]];
    if u16::from_le_bytes(found) == u16::from_le_bytes([kind.0, level]) { Ok(()) } else { Err(Miss::Unusual) }
}

/// A page that is dirty, or that nobody looked at so far; `None` where it is damaged.
#[inline(never)]
fn other_page<'t, const N: usize>(
    source: Source<'t>,
    at: Ref,
    level: u8,
    parent: Option<&[u8; N]>,
) -> Option<&'t [u8; N]> {
    if let Some(parent) = parent.filter(|_| level > 0) {
        let around = (BRANCHES_AROUND / N) as u64;
        let is_beside = |sibling: &Ref| sibling.number().0 / around == at.number().0 / around;
        let siblings = Page::new(parent).references().filter(is_beside).count() as u64;
        if siblings * SIBLINGS_ONE_IN as u64 >= around {
            source.will_need_around(at, around);
        }
    }
    source.page(at).ok()?.bytes().first_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::lanes::Plain;
    use crate::{Database, Tree};
    use llmdb_pager::PagerOptions;
    use llmdb_pager::sim::SimDisk;
    use std::sync::Arc;

    /// Asks for a key by lanes that every processor has.
    fn find_plainly<'t>(quick: &Quick<'t>, key: &[u8]) -> Result<&'t [u8], Miss> {
        fn of_size<'t, const N: usize>(quick: &Quick<'t>, key: &[u8]) -> Option<Result<&'t [u8], Miss>> {
            let pages = quick.pages.of_size::<N>()?;
            Some(Find { quick, pages, key }.run::<Plain>())
        }
        of_size::<4096>(quick, key)
            .or_else(|| of_size::<8192>(quick, key))
            .or_else(|| of_size::<16384>(quick, key))
            .or_else(|| of_size::<65536>(quick, key))
            .expect("a page size of the test")
    }

    /// Each way finds the same of a key; whether there is one.
    fn agree(tree: &Tree<'_>, key: &[u8]) -> bool {
        let general = tree.get_stored(key).unwrap();
        let (source, root) = tree.parts();
        let quick = Quick::new(source, root.root);
        let (found, plainly) = (quick.find(key), find_plainly(&quick, key));
        assert_eq!(found, plainly, "{}", key.escape_ascii());
        match found {
            Ok(value) => assert_eq!(general, Some(crate::Stored::Inline(value)), "{}", key.escape_ascii()),
            Err(Miss::Absent) => assert_eq!(general, None, "{}", key.escape_ascii()),
            // Only an empty tree and large values are unusual here.
            Err(Miss::Unusual) => assert!(!matches!(general, Some(crate::Stored::Inline(_)))),
        }
        general.is_some()
    }

    /// Many at once find what each alone does.
    fn agree_together(tree: &Tree<'_>, keys: &[Vec<u8>]) {
        let mut told = 0;
        tree.get_many(keys, |at, value| {
            assert_eq!((at, value), (told, tree.get(&keys[at]).unwrap()), "{}", keys[at].escape_ascii());
            told += 1;
        })
        .unwrap();
        assert_eq!(told, keys.len());
    }

    fn mix(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    }

    /// Keys of every sort: short, random, with long runs that they share, longer than four bytes behind a
    /// page's prefix.
    fn key(n: u64) -> Vec<u8> {
        let word = mix(n).to_be_bytes();
        match n % 4 {
            0 => word.to_vec(),
            1 => [&word[..], &word].concat(),
            2 => [b"shared by very many keys/", &word[..1 + (n % 7) as usize]].concat(),
            _ => [&[7; 9][..], &word[..2], &[0, 0], &word].concat(),
        }
    }

    #[test]
    fn quick_and_general_ways_agree_in_dirty_and_in_durable_pages() {
        let count = if cfg!(miri) { 60 } else { 6_000 };
        for page_size in [4096, 8192, 16384, 65536] {
            let options = PagerOptions::new().storage(Arc::new(SimDisk::new(7))).page_size(page_size);
            let db = Database::create(options, "/quick.llmdb").unwrap();
            let mut txn = db.begin_write().unwrap();
            let id = txn.create_tree("t").unwrap();
            txn.commit().unwrap();
            assert!(!agree(&db.begin_read().tree("t").unwrap().unwrap(), b"nothing there"));
            for round in 0..3 {
                let mut txn = db.begin_write().unwrap();
                for n in (0..count).filter(|n| mix(*n) % 3 == round) {
                    let len = if n % 97 == 0 { page_size } else { (mix(n) % 90) as usize };
                    txn.insert(id, &key(n), &vec![n as u8; len]).unwrap();
                }
                if round == 1 { txn.commit_unsynced() } else { txn.commit() }.unwrap();
                let reader = db.begin_read();
                let tree = reader.tree_by_id(id).unwrap().unwrap();
                for n in 0..count {
                    let is_there = agree(&tree, &key(n));
                    assert!(is_there || mix(n) % 3 > round);
                    agree(&tree, &[&key(n)[..], &[0]].concat());
                    agree(&tree, &key(n)[1..]);
                }
                agree(&tree, &[]);
                // Runs without a large value go the quick way, others the general one.
                let present: Vec<Vec<u8>> = (0..count).map(key).collect();
                let absent = (0..count).map(|n| key(n)[1..].to_vec()).collect::<Vec<_>>();
                agree_together(&tree, &present);
                agree_together(&tree, &absent);
                agree_together(&tree, &[Vec::new()]);
            }
        }
    }
}
