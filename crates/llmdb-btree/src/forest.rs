//! The forest: where every tree of a database begins.
//!
//! The database's top page is a forest page; of level 0 it holds the roots of trees by number, above that
//! references to forest pages. Tree 0 holds the names: name -> number (4 bytes), form (1 byte).
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian), with f = (page size - 32) / 24 rounded down
//!     32   8*f  level 0: roots of trees; above: forest pages; as many as the reference count says
//! 32+8*f  16*f  level 0 only, for each tree: record count (8), form (1; 0 = no such tree), zeros (7)
//! ```
//!
//! Invariants
//! 1. A tree's number is its place; a dropped tree's number may be given to a new one.
//! 2. Only trees that a transaction changed are written back by it.

use crate::error::Error;
use crate::node::FOREST;
use crate::source::Source;
use crate::tree::{FORM_TREE, TreeRoot};
use llmdb_pager::page::{HEADER_SIZE, PAGE_SIZE_DEFAULT, REF_SIZE, read_u64, set_ref_count, set_reference};
use llmdb_pager::{CheckedPages, Error as PagerError, Page, PageSource as _, Ref, WriteTxn};

const STAT_SIZE: usize = 16;
const FORM_AT: usize = 8;
/// The longest tree name, in bytes.
pub(crate) const NAME_SIZE_MAX: usize = 255;
/// Bytes of a record in the names tree.
pub(crate) const NAME_RECORD_SIZE: usize = 5;

/// A tree's number. Valid in the transaction that gave it out and in snapshots that hold the tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct TreeId(pub(crate) u32);

impl TreeId {
    /// The tree of names.
    pub(crate) const NAMES: Self = Self(0);

    /// The number as the log records it.
    pub fn number(self) -> u32 {
        self.0
    }

    /// A tree by the number that the log recorded.
    pub fn from_number(number: u32) -> Self {
        Self(number)
    }
}

fn fan(page_size: usize) -> usize {
    (page_size - HEADER_SIZE) / (REF_SIZE + STAT_SIZE)
}

fn stat_at(page_size: usize, slot: usize) -> usize {
    HEADER_SIZE + fan(page_size) * REF_SIZE + slot * STAT_SIZE
}

pub(crate) fn validate(page: Page<'_>) -> Result<(), &'static str> {
    let (size, count) = (page.bytes().len(), page.ref_count());
    if count > fan(size) {
        return Err("a forest page holds more trees than fit");
    }
    if page.level() > 0 && (count == 0 || page.references().any(Ref::is_null)) {
        return Err("a forest page above level 0 refers to nothing");
    }
    if page.level() > 8 {
        return Err("a forest is deeper than any can be");
    }
    Ok(())
}

/// The forest page at `at`, of `level` where that is known.
#[inline]
pub(crate) fn forest_page(source: Source<'_>, at: Ref, level: Option<u8>) -> Result<Page<'_>, PagerError> {
    let page = source.page(at)?;
    if page.kind() != FOREST || level.is_some_and(|level| page.level() != level) {
        return Err(no_forest_page(at, page));
    }
    Ok(page)
}

#[cold]
fn no_forest_page(at: Ref, page: Page<'_>) -> PagerError {
    let found = u64::from(page.kind().0);
    PagerError::damaged(at.number(), "not the forest page expected here", u64::from(FOREST.0), found)
}

/// How many trees lie below one reference of a page of `level`.
pub(crate) fn width(page_size: usize, level: u8) -> u64 {
    (fan(page_size) as u64).saturating_pow(u32::from(level))
}

/// Where a tree begins; `None` where there is no such tree.
pub(crate) fn root_of(source: Source<'_>, tree: TreeId) -> Result<Option<TreeRoot>, Error> {
    if source.root().is_null() {
        return Ok(None);
    }
    let mut page = forest_page(source, source.root(), None)?;
    let mut rest = u64::from(tree.0);
    while page.level() > 0 {
        let width = width(source.page_size(), page.level());
        if rest / width >= page.ref_count() as u64 {
            return Ok(None);
        }
        let below = page.reference((rest / width) as usize);
        rest %= width;
        page = forest_page(source, below, Some(page.level() - 1))?;
    }
    if rest >= page.ref_count() as u64 {
        return Ok(None);
    }
    let found = stat(page, rest as usize);
    Ok((found.form != 0).then_some(found))
}

/// As [`root_of`], where that is one look at a page that was checked before; `None` where more is to be done.
#[inline]
pub(crate) fn quick_root_of(pages: CheckedPages<'_>, top: Ref, tree: TreeId) -> Option<TreeRoot> {
    let bytes = pages.of_size::<PAGE_SIZE_DEFAULT>()?.get(top)?;
    let (page, slot) = (Page::new(bytes), tree.0 as usize);
    if page.kind() != FOREST || page.level() != 0 || slot >= page.ref_count() {
        return None;
    }
    Some(stat(page, slot)).filter(|found| found.form != 0)
}

/// What a forest page of level 0 says of the tree in a slot.
#[inline]
pub(crate) fn stat(page: Page<'_>, slot: usize) -> TreeRoot {
    let at = stat_at(page.bytes().len(), slot);
    let bytes = page.bytes();
    TreeRoot { root: page.reference(slot), len: read_u64(bytes, at), form: bytes[at + FORM_AT] }
}

/// Writes a tree's beginning back. `None` takes the tree out.
pub(crate) fn set_root(txn: &mut WriteTxn, tree: TreeId, root: Option<TreeRoot>) -> Result<(), Error> {
    let page_size = txn.page_size();
    let mut top = txn.root();
    if top.is_null() {
        top = txn.allocate(FOREST, 0)?;
    }
    while u64::from(tree.0) >= width(page_size, txn.page(top)?.level()).saturating_mul(fan(page_size) as u64)
    {
        let level = txn.page(top)?.level() + 1;
        let above = txn.allocate(FOREST, level)?;
        let bytes = txn.page_mut(above);
        set_ref_count(bytes, 1);
        set_reference(bytes, 0, top);
        top = above;
    }
    top = txn.make_mut(top)?;
    txn.set_root(top);
    let (mut at, mut rest) = (top, u64::from(tree.0));
    loop {
        let level = forest_page(Source::Write(txn), at, None)?.level();
        let width = width(page_size, level);
        let slot = (rest / width) as usize;
        if level == 0 {
            set_stat(txn.page_mut(at), slot, root.unwrap_or(TreeRoot { form: 0, ..TreeRoot::EMPTY }));
            return Ok(());
        }
        rest %= width;
        at = own_child(txn, at, slot, level)?;
    }
}

/// The forest page below `at`, made if need be.
fn own_child(txn: &mut WriteTxn, at: Ref, slot: usize, level: u8) -> Result<Ref, Error> {
    while txn.page(at)?.ref_count() <= slot {
        let child = txn.allocate(FOREST, level - 1)?;
        if level > 1 {
            // A page above level 0 is never empty.
            own_child(txn, child, 0, level - 1)?;
        }
        let count = txn.page(at)?.ref_count();
        let bytes = txn.page_mut(at);
        set_ref_count(bytes, count + 1);
        set_reference(bytes, count, child);
    }
    let child = txn.page(at)?.reference(slot);
    forest_page(Source::Write(txn), child, Some(level - 1))?;
    let own = txn.make_mut(child)?;
    set_reference(txn.page_mut(at), slot, own);
    Ok(own)
}

fn set_stat(bytes: &mut [u8], slot: usize, tree: TreeRoot) {
    let count = Page::new(bytes).ref_count();
    for fresh in count..=slot {
        set_ref_count(bytes, fresh + 1);
        set_reference(bytes, fresh, Ref::NULL);
        let at = stat_at(bytes.len(), fresh);
        bytes[at..at + STAT_SIZE].fill(0);
    }
    set_reference(bytes, slot, tree.root);
    let at = stat_at(bytes.len(), slot);
    bytes[at..at + FORM_AT].copy_from_slice(&tree.len.to_le_bytes());
    bytes[at + FORM_AT] = tree.form;
}

/// How many records all trees have together.
pub(crate) fn record_count(source: Source<'_>) -> Result<u64, Error> {
    let mut count = 0u64;
    let mut open = vec![(source.root(), None)];
    while let Some((at, level)) = open.pop().filter(|(at, _)| !at.is_null()) {
        let page = forest_page(source, at, level)?;
        match page.level() {
            0 => (0..page.ref_count()).for_each(|slot| count = count.saturating_add(stat(page, slot).len)),
            level => open.extend(page.references().map(|below| (below, Some(level - 1)))),
        }
    }
    Ok(count)
}

/// The first number from `from` on that no tree has. O((trees - from) / 169) pages at 4 KiB.
pub(crate) fn free_number(source: Source<'_>, from: TreeId) -> Result<TreeId, Error> {
    let from = u64::from(from.0.max(1));
    let mut number = from;
    if source.root().is_null() {
        return Ok(TreeId(number as u32));
    }
    let top = forest_page(source, source.root(), None)?;
    let mut open = vec![(top, 0)];
    while let Some((page, base)) = open.pop() {
        if page.level() == 0 {
            let end = base + page.ref_count() as u64;
            for here in base.max(from)..end {
                if stat(page, (here - base) as usize).form == 0 {
                    return Ok(TreeId(here as u32));
                }
            }
            number = number.max(end);
            continue;
        }
        let width = width(source.page_size(), page.level());
        for slot in (0..page.ref_count()).rev() {
            let start = base + slot as u64 * width;
            if start.saturating_add(width) > from {
                let below = forest_page(source, page.reference(slot), Some(page.level() - 1))?;
                open.push((below, start));
            }
        }
    }
    Ok(TreeId(number as u32))
}

/// Decodes a record of the names tree.
pub(crate) fn named(record: &[u8]) -> Result<TreeId, Error> {
    let Some((number, [form])) = record.split_first_chunk::<4>() else {
        let found = record.len() as u64;
        return Err(PagerError::damaged(
            Default::default(),
            "a tree's name record is broken",
            NAME_RECORD_SIZE as u64,
            found,
        )
        .into());
    };
    if *form != FORM_TREE {
        return Err(Error::TreeForm { found: *form, known: FORM_TREE });
    }
    Ok(TreeId(u32::from_le_bytes(*number)))
}

/// Encodes a record of the names tree.
pub(crate) fn name_record(tree: TreeId, form: u8) -> [u8; NAME_RECORD_SIZE] {
    let mut record = [form; NAME_RECORD_SIZE];
    record[..4].copy_from_slice(&tree.0.to_le_bytes());
    record
}
