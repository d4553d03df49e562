//! Building a tree bottom-up from records in key order: full leaves, full branches, each page made once.
//!
//! ```text
//! records ──> leaf ──> level 1 ──> level 2 ...      each level: what is not yet closed
//! ```
//!
//! Invariants
//! 1. A page is closed only when the key behind it is known: its prefix is what its two fences share.
//! 2. Memory is one open page a level, and what one more page may hold.

use crate::node::branch;
use crate::node::leaf::{self, Carried};
use crate::node::{separator, shared_prefix};
use crate::value::{LARGE_REF_SIZE, Stored};
use llmdb_pager::Ref;

/// Takes pages as they are finished, lower ones first.
pub(crate) trait Pages {
    type Error;

    fn page_size(&self) -> usize;

    /// Takes a page, whole but for what the pager writes into its header.
    fn put(&mut self, bytes: &mut [u8]) -> Result<Ref, Self::Error>;
}

/// A record whose leaf is not closed.
struct Record {
    key: Vec<u8>,
    value: Value,
}

impl Record {
    fn carry<'r>(&'r self, room: &'r mut [u8; LARGE_REF_SIZE]) -> Carried<'r> {
        Carried::new(&self.key, &self.value.stored(), room)
    }
}

/// A value as its leaf will hold it.
pub(crate) enum Value {
    Inline(Vec<u8>),
    Large(crate::value::LargeRef),
}

impl Value {
    fn stored(&self) -> Stored<'_> {
        match self {
            Self::Inline(bytes) => Stored::Inline(bytes),
            Self::Large(large) => Stored::Large(*large),
        }
    }
}

/// A child whose branch is not closed, and the separator before it.
struct Child {
    separator: Vec<u8>,
    at: Ref,
}

/// One level that is being built.
struct Open<T> {
    /// The fence before the first item; none at the tree's left edge.
    low: Option<Vec<u8>>,
    items: Vec<T>,
    /// How many of the items make a page that fits, at most.
    closable: usize,
}

impl<T> Open<T> {
    fn new() -> Self {
        Self { low: None, items: Vec::new(), closable: 0 }
    }
}

/// Builds one tree.
pub(crate) struct TreeBuilder<'p, P> {
    pages: &'p mut P,
    leaf: Open<Record>,
    /// Bytes of the open leaf's cells with whole keys.
    cells: usize,
    levels: Vec<Open<Child>>,
    buffer: Vec<u8>,
}

impl<'p, P: Pages> TreeBuilder<'p, P> {
    pub(crate) fn new(pages: &'p mut P) -> Self {
        let buffer = vec![0; pages.page_size()];
        Self { pages, leaf: Open::new(), cells: 0, levels: Vec::new(), buffer }
    }

    /// Where the pages go.
    pub(crate) fn pages(&mut self) -> &mut P {
        self.pages
    }

    /// Appends a record, whose key is greater than all before.
    pub(crate) fn push(&mut self, key: Vec<u8>, value: Value) -> Result<(), P::Error> {
        if let Some(last) = self.leaf.items.last() {
            debug_assert!(last.key < key, "keys rise");
            let high = separator(&last.key, &key);
            if self.leaf_fits(shared_prefix(self.leaf.low.as_deref(), Some(high)).len()) {
                self.leaf.closable = self.leaf.items.len();
            }
        }
        self.cells += leaf::cell_size(key.len(), &value.stored());
        self.leaf.items.push(Record { key, value });
        // Whatever comes behind, no more than this can be the prefix.
        while self.leaf.items.len() > 1 && !self.leaf_fits(self.longest_leaf_prefix()) {
            self.close_leaf(self.leaf.closable.max(1))?;
        }
        Ok(())
    }

    fn longest_leaf_prefix(&self) -> usize {
        let last = self.leaf.items.last().map(|record| record.key.as_slice());
        shared_prefix(self.leaf.low.as_deref(), last).len()
    }

    fn leaf_fits(&self, prefix_len: usize) -> bool {
        let count = self.leaf.items.len();
        leaf::page_use(prefix_len, count, self.cells - count * prefix_len) <= self.buffer.len()
    }

    /// Closes the leaf behind `count` records; the rest begin the next.
    fn close_leaf(&mut self, count: usize) -> Result<(), P::Error> {
        let rest = self.leaf.items.split_off(count);
        let records = std::mem::replace(&mut self.leaf.items, rest);
        let last = &records[records.len() - 1].key;
        let high = self.leaf.items.first().map(|next| separator(last, &next.key).to_vec());
        let low = std::mem::replace(&mut self.leaf.low, high.clone());
        let prefix = shared_prefix(low.as_deref(), high.as_deref());
        let mut rooms = vec![[0; LARGE_REF_SIZE]; records.len()];
        let carry = |(record, room)| Record::carry(record, room);
        let carried: Vec<Carried<'_>> = records.iter().zip(&mut rooms).map(carry).collect();
        leaf::build(&mut self.buffer, prefix, &carried);
        let closed: usize =
            records.iter().map(|record| leaf::cell_size(record.key.len(), &record.value.stored())).sum();
        self.cells -= closed;
        self.leaf.closable = 0;
        let at = self.pages.put(&mut self.buffer)?;
        self.add(0, Child { separator: low.unwrap_or_default(), at })?;
        Ok(())
    }

    /// Appends a child to the branches at `levels[depth]`.
    fn add(&mut self, depth: usize, child: Child) -> Result<(), P::Error> {
        if self.levels.len() == depth {
            self.levels.push(Open::new());
        }
        let level = &mut self.levels[depth];
        if level.items.len() > 1 && branch_fits(self.buffer.len(), level, &child.separator) {
            level.closable = level.items.len();
        }
        level.items.push(child);
        let last = &level.items[level.items.len() - 1].separator;
        // Whatever comes behind, no more than what the fence before shares with the last one is the prefix.
        let overflows = level.items.len() > 2 && !branch_fits(self.buffer.len(), level, last);
        if overflows { self.close_branch(depth, self.levels[depth].closable.max(2)) } else { Ok(()) }
    }

    /// Closes the branch behind `count` children; the rest begin the next.
    fn close_branch(&mut self, depth: usize, count: usize) -> Result<(), P::Error> {
        let level = &mut self.levels[depth];
        let rest = level.items.split_off(count);
        let children = std::mem::replace(&mut level.items, rest);
        let high = level.items.first().map(|next| next.separator.clone());
        let low = std::mem::replace(&mut level.low, high.clone());
        level.closable = 0;
        let prefix = shared_prefix(low.as_deref(), high.as_deref());
        let separators: Vec<&[u8]> = children[1..].iter().map(|child| child.separator.as_slice()).collect();
        let refs: Vec<Ref> = children.iter().map(|child| child.at).collect();
        self.buffer.fill(0);
        branch::build(&mut self.buffer, depth as u8 + 1, prefix, &separators, &refs);
        let at = self.pages.put(&mut self.buffer)?;
        self.add(depth + 1, Child { separator: low.unwrap_or_default(), at })
    }

    /// Closes all pages. Answers the top one; null where there was no record.
    pub(crate) fn finish(mut self) -> Result<Ref, P::Error> {
        while !self.leaf.items.is_empty() {
            // At the right edge there is no prefix.
            let count = if self.leaf_fits(0) { self.leaf.items.len() } else { self.leaf.closable.max(1) };
            self.close_leaf(count)?;
        }
        let mut depth = 0;
        while let Some(level) = self.levels.get(depth) {
            if level.low.is_none() && level.items.len() == 1 {
                return Ok(level.items[0].at);
            }
            while !self.levels[depth].items.is_empty() {
                let level = &self.levels[depth];
                let whole = level.items.len();
                let fits = page_use(self.buffer.len(), &[], level) <= self.buffer.len();
                let count = if fits { whole } else { level.closable.clamp(2, whole) };
                self.close_branch(depth, count)?;
            }
            depth += 1;
        }
        Ok(Ref::NULL)
    }
}

/// Whether a level's children make a page with this fence behind them.
fn branch_fits(page_size: usize, level: &Open<Child>, high: &[u8]) -> bool {
    page_use(page_size, shared_prefix(level.low.as_deref(), Some(high)), level) <= page_size
}

fn page_use(page_size: usize, prefix: &[u8], level: &Open<Child>) -> usize {
    let suffixes = level.items[1..].iter().map(|child| &child.separator[prefix.len()..]);
    branch::page_use(page_size, prefix.len(), suffixes)
}
