//! Inserting, and splitting what is full.
//!
//! A leaf splits where the halves are most even, except at the tree's right edge: there a rising sequence
//! leaves full leaves behind. Separators are as short as they can be.

use super::path::{fences, own_path};
use crate::error::Error;
use crate::node::branch::{self, Branch, Separators};
use crate::node::leaf::{self, Leaf};
use crate::node::{BRANCH, LEAF, separator, shared_prefix};
use crate::tree::TreeRoot;
use crate::value::{LargeRef, Stored};
use llmdb_pager::{PageSource as _, Ref, WriteTxn};

/// Inserts or replaces a record. Answers the large value that it replaced.
pub(crate) fn insert(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    key: &[u8],
    value: &Stored<'_>,
) -> Result<Option<LargeRef>, Error> {
    if tree.root.is_null() {
        let at = txn.allocate(LEAF, 0)?;
        leaf::init(txn.page_mut(at), &[]);
        tree.root = at;
    }
    let (path, root) = own_path(txn, tree.root, key)?;
    tree.root = root;
    let page = Leaf::new(txn.page(path.leaf)?);
    let found = page.search(key);
    let replaced = match found.map(|index| page.value(index)) {
        Ok(Stored::Large(large)) => Some(large),
        _ => None,
    };
    let bytes = txn.page_mut(path.leaf);
    let (index, fits) = match found {
        Ok(index) => (index, leaf::replace(bytes, index, key, value)),
        Err(index) => (index, leaf::insert(bytes, index, key, value)),
    };
    if !fits {
        let (low, high) = fences(txn, &path.steps)?;
        let (separator, right) = split_leaf(txn, path.leaf, index, key, value, low, high)?;
        grow(txn, tree, path.steps, separator, right)?;
    }
    tree.len += u64::from(found.is_err());
    Ok(replaced)
}

/// Splits a full leaf around a record that goes in at `index`. Answers the new right leaf and the
/// separator before it.
fn split_leaf(
    txn: &mut WriteTxn,
    at: Ref,
    index: usize,
    key: &[u8],
    value: &Stored<'_>,
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
) -> Result<(Vec<u8>, Ref), Error> {
    let right = txn.allocate(LEAF, 0)?;
    let copy = txn.page(at)?.bytes().to_vec();
    let old = Leaf::new(llmdb_pager::Page::new(&copy));
    let prefix = old.prefix();
    let mut records: Vec<(&[u8], Stored<'_>)> =
        (0..old.len()).map(|index| (old.suffix(index), old.value(index))).collect();
    records.insert(index, (&key[prefix.len()..], *value));
    let at_edge = high.is_none() && index + 1 == records.len();
    let cut = if at_edge { index } else { even_cut(&records) };
    let (left_last, right_first) = (records[cut - 1].0, records[cut].0);
    let between = [prefix, separator(left_last, right_first)].concat();
    let mut fill = |page: Ref, records: &[(&[u8], Stored<'_>)], low: Option<&[u8]>, high: Option<&[u8]>| {
        let shared = shared_prefix(low, high);
        let longer = shared.len() - prefix.len();
        leaf::build(
            txn.page_mut(page),
            shared,
            records.iter().map(|(suffix, value)| (&suffix[longer..], *value)),
        );
    };
    fill(at, &records[..cut], low.as_deref(), Some(&between));
    fill(right, &records[cut..], Some(&between), high.as_deref());
    Ok((between, right))
}

/// Where the two halves are most even in bytes; neither is empty.
fn even_cut(records: &[(&[u8], Stored<'_>)]) -> usize {
    let sizes: Vec<usize> =
        records.iter().map(|(suffix, value)| leaf::cell_size(suffix.len(), value) + 6).collect();
    let total: usize = sizes.iter().sum();
    let mut left = 0;
    let mut best = (usize::MAX, 1);
    for cut in 1..records.len() {
        left += sizes[cut - 1];
        best = best.min((left.max(total - left), cut));
    }
    best.1
}

/// Enters a new child behind the one that each step took, splitting branches and growing the tree as needed.
fn grow(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    mut steps: Vec<(Ref, usize)>,
    mut separator: Vec<u8>,
    mut right: Ref,
) -> Result<(), Error> {
    while let Some((at, index)) = steps.pop() {
        let (low, high) = fences(txn, &steps)?;
        match add_child(txn, at, index, separator, right, low, high)? {
            None => return Ok(()),
            Some((above, new)) => (separator, right) = (above, new),
        }
    }
    let left = tree.root;
    let level = txn.page(left)?.level() + 1;
    let root = txn.allocate(BRANCH, level)?;
    branch::build(txn.page_mut(root), level, &[], &[&separator], &[left, right]);
    tree.root = root;
    Ok(())
}

/// Enters one child into a branch. Where it is full, answers what goes one level up.
fn add_child(
    txn: &mut WriteTxn,
    at: Ref,
    index: usize,
    separator: Vec<u8>,
    child: Ref,
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
) -> Result<Option<(Vec<u8>, Ref)>, Error> {
    let page = txn.page(at)?;
    let (level, old) = (page.level(), Branch::new(page));
    let mut separators = Separators::default();
    separators.extend(old);
    let mut children: Vec<Ref> = page.references().collect();
    children.insert(index + 1, child);
    let mut slices = separators.slices();
    slices.insert(index, &separator);
    let prefix = shared_prefix(low.as_deref(), high.as_deref());
    if fits(txn.page_size(), prefix, &slices) {
        branch::build(txn.page_mut(at), level, prefix, &slices, &children);
        return Ok(None);
    }
    let at_edge = high.is_none() && index + 1 == slices.len();
    let cut = if at_edge { slices.len() - 1 } else { even_branch_cut(&slices) };
    let right = txn.allocate(BRANCH, level)?;
    let up = slices[cut];
    let left_prefix = shared_prefix(low.as_deref(), Some(up));
    branch::build(txn.page_mut(at), level, left_prefix, &slices[..cut], &children[..=cut]);
    let right_prefix = shared_prefix(Some(up), high.as_deref());
    branch::build(txn.page_mut(right), level, right_prefix, &slices[cut + 1..], &children[cut + 1..]);
    Ok(Some((up.to_vec(), right)))
}

pub(super) fn fits(page_size: usize, prefix: &[u8], separators: &[&[u8]]) -> bool {
    branch::page_use(page_size, prefix.len(), separators.iter().map(|separator| &separator[prefix.len()..]))
        <= page_size
}

/// Which separator goes up so that the halves are most even in bytes.
fn even_branch_cut(separators: &[&[u8]]) -> usize {
    let sizes: Vec<usize> = separators.iter().map(|separator| separator.len() + 16).collect();
    let total: usize = sizes.iter().sum();
    let mut left = 0;
    let mut best = (usize::MAX, 0);
    for (cut, size) in sizes.iter().enumerate() {
        best = best.min((left.max(total - left - size), cut));
        left += size;
    }
    best.1
}
