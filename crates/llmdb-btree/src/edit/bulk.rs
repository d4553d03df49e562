//! Building a tree from its leaves upward, out of records that come in order.
//!
//! ```text
//! level 1    [ child child child ..   the branches and the leaf at the right edge are open:
//! level 0        [ record record ..   lists, not pages
//! ```
//!
//! Invariants
//! 1. What is closed is a page with final fences; only the right edge is open, so memory beyond the pages is
//!    O(height).
//! 2. Until [`Builder::finish`] the tree has no root; its pages hang below the open branches' children.

use super::pack::{branch_part, leaf_part};
use super::path::{Fence, Step, check_between};
use super::range::settle;
use crate::error::Error;
use crate::node::branch::{self, Separators};
use crate::node::leaf::{self, Carried};
use crate::node::{BRANCH, LEAF, shared_prefix};
use crate::source::{Node, Source};
use crate::tree::TreeRoot;
use crate::value::{LARGE_REF_SIZE, Stored};
use llmdb_pager::{PageSource as _, Ref, WriteTxn};
use std::ops::Range;

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
    /// Opens the right edge of a tree, which may be empty. Pages there become lists, and the tree has no root.
    pub(crate) fn open(txn: &mut WriteTxn, tree: &mut TreeRoot, fill_percent: usize) -> Result<Self, Error> {
        let page_size = txn.page_size();
        let room = page_size * fill_percent / 100;
        let mut builder = Self { page_size, room, leaf: OpenLeaf::default(), levels: Vec::new(), added: 0 };
        let root = std::mem::replace(&mut tree.root, Ref::NULL);
        let (mut at, mut above, mut low) = (root, None, None);
        while !at.is_null() {
            if !at.is_dirty() {
                check_between(txn, at, low.as_deref(), None)?;
            }
            let below = match Source::Write(txn).node(at, above)? {
                (Node::Leaf(leaf), _) => {
                    leaf.carry_all().for_each(|record| builder.leaf.push(&record));
                    builder.leaf.low = low.take();
                    Ref::NULL
                }
                (Node::Branch(branch), level) => {
                    let mut open = OpenBranch { low: low.clone(), ..OpenBranch::default() };
                    let last = branch.children() - 1;
                    for index in 0..last {
                        open.children.push(branch.child(index));
                        match index + 1 < last {
                            true => open.separators.push(&[branch.prefix(), branch.suffix(index).bytes()]),
                            false => low = Some(branch.separator(index)),
                        }
                    }
                    builder.levels.push(open);
                    above = Some(level);
                    branch.child(last)
                }
            };
            txn.free(at)?;
            at = below;
        }
        builder.levels.reverse();
        Ok(builder)
    }

    /// Where the leaf at the right edge of a tree begins; `None` for a tree of one leaf.
    pub(crate) fn edge(txn: &WriteTxn, tree: &TreeRoot) -> Result<Fence, Error> {
        let (mut at, mut above, mut low) = (tree.root, None, None);
        while !at.is_null() {
            let (Node::Branch(branch), level) = Source::Write(txn).node(at, above)? else { break };
            let last = branch.separators();
            if last > 0 {
                low = Some(branch.separator(last - 1));
            }
            (at, above) = (branch.child(last), Some(level));
        }
        Ok(low)
    }

    /// The last key, if the open leaf has one.
    pub(crate) fn last_key(&self) -> Option<&[u8]> {
        self.leaf.last_key()
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
    pub(crate) fn push(&mut self, txn: &mut WriteTxn, key: &[u8], value: &Stored<'_>) -> Result<(), Error> {
        let mut room = [0; LARGE_REF_SIZE];
        let record = Carried::new(key, value, &mut room);
        let count = self.leaf.entries.len() + 1;
        let prefix = shared_prefix(self.leaf.low.as_deref(), Some(key)).len();
        let cells = self.leaf.cells + record.cell_size(0) - count * prefix;
        if count > 1 && leaf::page_use(prefix, count, cells) > self.room {
            self.close_leaf(txn, Some(key))?;
        }
        self.leaf.push(&record);
        self.added += 1;
        Ok(())
    }

    /// Writes as many records as fit into a leaf. `next` is the key behind them, if there is one.
    fn close_leaf(&mut self, txn: &mut WriteTxn, next: Option<&[u8]>) -> Result<(), Error> {
        let records = self.leaf.records();
        let low = self.leaf.low.as_deref();
        let high = next.map(|next| match records.last() {
            Some(last) => crate::node::separator(last.back, next).to_vec(),
            None => next.to_vec(),
        });
        let (count, end) = leaf_part(&records, records.len(), low, high.as_deref(), self.page_size);
        let at = txn.allocate(LEAF, 0)?;
        leaf::build(txn.page_mut(at), shared_prefix(low, end.as_deref()), &records[..count]);
        let before = self.leaf.low.clone();
        self.leaf.drop_first(count, end);
        self.push_child(txn, 1, before, at)
    }

    /// Adds a child, which begins at `before`, to the open branch of `level`.
    fn push_child(
        &mut self,
        txn: &mut WriteTxn,
        level: usize,
        before: Fence,
        child: Ref,
    ) -> Result<(), Error> {
        if self.levels.len() < level {
            self.levels.push(OpenBranch { low: None, ..OpenBranch::default() });
        }
        let open = &mut self.levels[level - 1];
        if open.children.is_empty() {
            open.children.push(child);
            return Ok(());
        }
        let before = before.unwrap_or_default();
        let prefix = shared_prefix(open.low.as_deref(), Some(&before)).len();
        if open.separators.use_with(self.page_size, &before, prefix) > self.room && open.children.len() > 1 {
            self.close_branch(txn, level, Some(&before))?;
        }
        let open = &mut self.levels[level - 1];
        if !open.children.is_empty() {
            open.separators.push(&[&before]);
        }
        open.children.push(child);
        Ok(())
    }

    /// Writes as many children as fit into a branch. `next` is the separator behind them, if there is one.
    fn close_branch(&mut self, txn: &mut WriteTxn, level: usize, next: Option<&[u8]>) -> Result<(), Error> {
        let open = std::mem::take(&mut self.levels[level - 1]);
        let separators = open.separators.slices();
        let low = open.low.as_deref();
        let count = branch_part(&separators, low, next, self.page_size);
        let end = separators.get(count - 1).copied().or(next);
        let at = txn.allocate(BRANCH, level as u8)?;
        let prefix = shared_prefix(low, end);
        branch::build(
            txn.page_mut(at),
            level as u8,
            prefix,
            &separators[..count - 1],
            &open.children[..count],
        );
        let mut rest = OpenBranch { low: end.map(<[u8]>::to_vec), ..OpenBranch::default() };
        rest.children.extend_from_slice(&open.children[count..]);
        for separator in separators.iter().skip(count) {
            rest.separators.push(&[separator]);
        }
        self.levels[level - 1] = rest;
        self.push_child(txn, level + 1, open.low.clone(), at)
    }

    /// Closes the right edge: `tree` is whole again.
    pub(crate) fn finish(
        mut self,
        txn: &mut WriteTxn,
        tree: &mut TreeRoot,
        steps: &mut Vec<Step>,
    ) -> Result<(), Error> {
        let last = self.last_key().map(<[u8]>::to_vec).unwrap_or_default();
        debug_assert!(self.added > 0, "an edge is opened for a record");
        while !self.leaf.entries.is_empty() {
            self.close_leaf(txn, None)?;
        }
        let mut level = 1;
        loop {
            let open = &self.levels[level - 1];
            if level == self.levels.len() && open.children.len() == 1 {
                tree.root = open.children[0];
                break;
            }
            while !self.levels[level - 1].children.is_empty() {
                self.close_branch(txn, level, None)?;
            }
            level += 1;
        }
        tree.len += self.added;
        settle(txn, tree, steps, &last)
    }
}
