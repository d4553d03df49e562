//! Building a tree from its leaves upward, out of records that come in order: full leaves, full branches, each
//! page made once.
//!
//! ```text
//! level 1    [ child child child ..   the branches and the leaf at the right edge are open:
//! level 0        [ record record ..   lists, not pages
//! ```
//!
//! Invariants
//! 1. A page is closed only when the key behind it is known, so its fences are final and its prefix is what they
//!    share; only the right edge is open, and memory beyond the pages is O(height).
//! 2. Until [`Builder::close`] the tree has no root; its pages hang below the open branches' children.
//!
//! Not here: where pages go, and opening the edge of a tree that is there (`compact`, `edit/bulk`).

use crate::node::branch::{self, Separators};
use crate::node::leaf::{self, Carried};
use crate::node::shared_prefix;
use crate::pack::{branch_part, leaf_part};
use crate::value::{LARGE_REF_SIZE, Stored};
use llmdb_pager::Ref;
use std::ops::Range;

/// Takes pages as they are finished, lower ones first.
pub(crate) trait Pages {
    type Error;

    /// Takes a page, which `make` fills wholly but for what the pager writes into its header.
    /// `is_above_dirty`: it will refer to dirty pages.
    fn put(&mut self, is_above_dirty: bool, make: impl FnOnce(&mut [u8])) -> Result<Ref, Self::Error>;
}

/// A bound of a page's keys; `None` at the tree's edge.
type Fence = Option<Vec<u8>>;

/// The open right edge of a tree.
#[derive(Debug)]
pub(crate) struct Builder {
    page_size: usize,
    /// A page is closed when it would use more than this many bytes.
    room: usize,
    leaf: OpenLeaf,
    /// Open branches, from level 1 upward.
    levels: Vec<OpenBranch>,
    added: u64,
}

/// The leaf in the making.
#[derive(Debug, Default)]
struct OpenLeaf {
    low: Fence,
    /// Keys and values, one behind the other.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Bytes of the cells without a prefix.
    cells: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Range<usize>,
    value: Range<usize>,
    tag: u16,
}

/// A branch in the making.
#[derive(Debug, Default)]
struct OpenBranch {
    low: Fence,
    children: Vec<Ref>,
    /// Those between the children.
    separators: Separators,
}

impl OpenLeaf {
    fn push(&mut self, record: &Carried<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record.front);
        self.bytes.extend_from_slice(record.back);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(record.value);
        self.cells += record.cell_size(0);
        self.entries.push(Entry { key: start..middle, value: middle..self.bytes.len(), tag: record.tag });
    }

    fn records(&self) -> Vec<Carried<'_>> {
        let record = |entry: &Entry| Carried {
            front: &[],
            back: &self.bytes[entry.key.clone()],
            tag: entry.tag,
            value: &self.bytes[entry.value.clone()],
        };
        self.entries.iter().map(record).collect()
    }

    fn last_key(&self) -> Option<&[u8]> {
        self.entries.last().map(|entry| &self.bytes[entry.key.clone()])
    }

    /// Takes the first `count` records out; the leaf begins at `low` from now on.
    fn drop_first(&mut self, count: usize, low: Fence) {
        let start = self.entries.get(count).map_or(self.bytes.len(), |entry| entry.key.start);
        self.bytes.drain(..start);
        for entry in self.entries.drain(..count) {
            self.cells -= leaf::CELL_HEADER_SIZE + entry.key.len() + entry.value.len();
        }
        for entry in &mut self.entries {
            entry.key = entry.key.start - start..entry.key.end - start;
            entry.value = entry.value.start - start..entry.value.end - start;
        }
        self.low = low;
    }
}

impl Builder {
    /// A tree with nothing in it yet.
    pub(crate) fn new(page_size: usize, fill_percent: usize) -> Self {
        let room = page_size * fill_percent / 100;
        Self { page_size, room, leaf: OpenLeaf::default(), levels: Vec::new(), added: 0 }
    }

    /// Opens a branch that is there, below those opened before: its children but for the last one, which is
    /// opened too. `low` is where it begins. Answers where the last child begins.
    pub(crate) fn open_branch(&mut self, branch: branch::Branch<'_>, low: Fence) -> Fence {
        let mut open = OpenBranch { low: low.clone(), ..OpenBranch::default() };
        let mut end = low;
        let last = branch.children() - 1;
        for index in 0..last {
            open.children.push(branch.child(index));
            match index + 1 < last {
                true => open.separators.push(&[branch.prefix(), branch.suffix(index).bytes()]),
                false => end = Some(branch.separator(index)),
            }
        }
        self.levels.insert(0, open);
        end
    }

    /// Opens the leaf at the edge.
    pub(crate) fn open_leaf(&mut self, leaf: leaf::Leaf<'_>, low: Fence) {
        leaf.carry_all().for_each(|record| self.leaf.push(&record));
        self.leaf.low = low;
    }

    /// The last key, if the open leaf has one.
    pub(crate) fn last_key(&self) -> Option<&[u8]> {
        self.leaf.last_key()
    }

    /// How many records were added.
    pub(crate) fn added(&self) -> u64 {
        self.added
    }

    /// The children of all open branches.
    pub(crate) fn held(&self) -> Vec<Ref> {
        self.levels.iter().flat_map(|open| open.children.iter().copied()).collect()
    }

    /// Sets what [`Builder::held`] answered, after pages went elsewhere.
    pub(crate) fn set_held(&mut self, held: &[Ref]) {
        let children = self.levels.iter_mut().flat_map(|open| open.children.iter_mut());
        children.zip(held).for_each(|(child, at)| *child = *at);
    }

    /// Adds a record behind the last one.
    pub(crate) fn push<P: Pages>(
        &mut self,
        pages: &mut P,
        key: &[u8],
        value: &Stored<'_>,
    ) -> Result<(), P::Error> {
        debug_assert!(self.last_key().is_none_or(|last| last < key), "keys rise");
        let mut room = [0; LARGE_REF_SIZE];
        let record = Carried::new(key, value, &mut room);
        let count = self.leaf.entries.len() + 1;
        let prefix = shared_prefix(self.leaf.low.as_deref(), Some(key)).len();
        let cells = self.leaf.cells + record.cell_size(0) - count * prefix;
        if count > 1 && leaf::page_use(prefix, count, cells) > self.room {
            self.close_leaf(pages, Some(key))?;
        }
        self.leaf.push(&record);
        self.added += 1;
        Ok(())
    }

    /// Writes as many records as fit into a leaf. `next` is the key behind them, if there is one.
    fn close_leaf<P: Pages>(&mut self, pages: &mut P, next: Option<&[u8]>) -> Result<(), P::Error> {
        let records = self.leaf.records();
        let low = self.leaf.low.as_deref();
        let high = next.map(|next| match records.last() {
            Some(last) => crate::node::separator(last.back, next).to_vec(),
            None => next.to_vec(),
        });
        let (count, end) = leaf_part(&records, records.len(), low, high.as_deref(), self.page_size);
        let prefix = shared_prefix(low, end.as_deref());
        let at = pages.put(false, |bytes| leaf::build(bytes, prefix, &records[..count]))?;
        let before = self.leaf.low.clone();
        self.leaf.drop_first(count, end);
        self.push_child(pages, 1, before, at)
    }

    /// Adds a child, which begins at `before`, to the open branch of `level`.
    fn push_child<P: Pages>(
        &mut self,
        pages: &mut P,
        level: usize,
        before: Fence,
        child: Ref,
    ) -> Result<(), P::Error> {
        if self.levels.len() < level {
            self.levels.push(OpenBranch::default());
        }
        let open = &mut self.levels[level - 1];
        if open.children.is_empty() {
            open.children.push(child);
            return Ok(());
        }
        let before = before.unwrap_or_default();
        let prefix = shared_prefix(open.low.as_deref(), Some(&before)).len();
        if open.separators.use_with(self.page_size, &before, prefix) > self.room && open.children.len() > 1 {
            self.close_branch(pages, level, Some(&before))?;
        }
        let open = &mut self.levels[level - 1];
        if !open.children.is_empty() {
            open.separators.push(&[&before]);
        }
        open.children.push(child);
        Ok(())
    }

    /// Writes as many children as fit into a branch. `next` is the separator behind them, if there is one.
    fn close_branch<P: Pages>(
        &mut self,
        pages: &mut P,
        level: usize,
        next: Option<&[u8]>,
    ) -> Result<(), P::Error> {
        let open = std::mem::take(&mut self.levels[level - 1]);
        let separators = open.separators.slices();
        let low = open.low.as_deref();
        let count = branch_part(&separators, low, next, self.page_size);
        let end = separators.get(count - 1).copied().or(next);
        let prefix = shared_prefix(low, end);
        let (children, between) = (&open.children[..count], &separators[..count - 1]);
        let is_above_dirty = children.iter().any(|child| child.is_dirty());
        let at = pages.put(is_above_dirty, |bytes| {
            branch::build(bytes, level as u8, prefix, between, children);
        })?;
        let mut rest = OpenBranch { low: end.map(<[u8]>::to_vec), ..OpenBranch::default() };
        rest.children.extend_from_slice(&open.children[count..]);
        for separator in separators.iter().skip(count) {
            rest.separators.push(&[separator]);
        }
        self.levels[level - 1] = rest;
        self.push_child(pages, level + 1, open.low.clone(), at)
    }

    /// Closes the right edge and answers the top page, null where there is no record. Pages at the edge may be
    /// less full than others.
    pub(crate) fn close<P: Pages>(&mut self, pages: &mut P) -> Result<Ref, P::Error> {
        while !self.leaf.entries.is_empty() {
            self.close_leaf(pages, None)?;
        }
        let mut level = 1;
        while level <= self.levels.len() {
            let open = &self.levels[level - 1];
            if level == self.levels.len() && open.children.len() == 1 {
                return Ok(open.children[0]);
            }
            while !self.levels[level - 1].children.is_empty() {
                self.close_branch(pages, level, None)?;
            }
            level += 1;
        }
        Ok(Ref::NULL)
    }
}
