//! The way from a tree's root to a leaf, all pages of it the transaction's own.

use crate::error::Error;
use crate::node::branch::Branch;
use crate::node::leaf::Leaf;
use crate::node::{BRANCH, shared_prefix};
use crate::source::{Node, Source};
use llmdb_pager::page::set_reference;
use llmdb_pager::{Error as PagerError, PageSource as _, Ref, WriteTxn};
use std::cmp::Ordering;

/// A branch on the way down, and which child was taken.
pub(super) type Step = (Ref, usize);

/// Copies the path to `key`'s leaf, into `steps`, root first; `root` follows. Answers the leaf.
pub(super) fn own_path(
    txn: &mut WriteTxn,
    root: &mut Ref,
    key: &[u8],
    steps: &mut Vec<Step>,
) -> Result<Ref, Error> {
    steps.clear();
    let old = *root;
    *root = txn.make_mut(old)?;
    // Dirty pages were built here; a page of the file may have been made to harm.
    let (mut at, mut above, mut is_from_file) = (*root, None, !old.is_dirty());
    loop {
        if is_from_file {
            check_place(txn, at, steps)?;
        }
        let (index, child, level) = match Source::Write(txn).node(at, above)? {
            (Node::Leaf(_), _) => return Ok(at),
            (Node::Branch(branch), level) => {
                let index = branch.search(key);
                let child = branch.child(index);
                if level == 1 {
                    Leaf::prefetch_page(txn, child);
                }
                (index, child, level)
            }
        };
        let own = txn.make_mut(child)?;
        if own != child {
            set_reference(txn.page_mut(at), index, own);
        }
        steps.push((at, index));
        (at, above, is_from_file) = (own, Some(level), !child.is_dirty());
    }
}

/// A bound of a page's keys; `None` at the tree's edge.
pub(super) type Fence = Option<Vec<u8>>;

/// The separators around the place that `steps` lead to: keys there are at least the first and below the
/// second; open ends are `None`.
pub(super) fn fences(txn: &WriteTxn, steps: &[Step]) -> Result<(Fence, Fence), Error> {
    Ok((low_fence(txn, steps)?, high_fence(txn, steps)?))
}

/// The first of [`fences`].
pub(super) fn low_fence(txn: &WriteTxn, steps: &[Step]) -> Result<Fence, Error> {
    match steps.iter().rev().find(|(_, index)| *index > 0) {
        Some((at, index)) => Ok(Some(Branch::new(txn.page(*at)?).separator(index - 1))),
        None => Ok(None),
    }
}

/// The second of [`fences`].
pub(super) fn high_fence(txn: &WriteTxn, steps: &[Step]) -> Result<Fence, Error> {
    for (at, index) in steps.iter().rev() {
        let branch = Branch::new(txn.page(*at)?);
        if *index < branch.separators() {
            return Ok(Some(branch.separator(*index)));
        }
    }
    Ok(None)
}

/// Checks that a page's prefix and keys fit the fences around its place: what changes it relies on that,
/// and a file may have been made to harm.
pub(super) fn check_place(txn: &WriteTxn, at: Ref, steps: &[Step]) -> Result<(), Error> {
    let (low, high) = fences(txn, steps)?;
    check_between(txn, at, low.as_deref(), high.as_deref())
}

/// As [`check_place`], for fences that are known.
pub(super) fn check_between(
    txn: &WriteTxn,
    at: Ref,
    low: Option<&[u8]>,
    high: Option<&[u8]>,
) -> Result<(), Error> {
    let page = txn.page(at)?;
    let is_between = |front: &[u8], first: &[u8], last: &[u8]| {
        low.is_none_or(|low| compare(front, first, low).is_ge())
            && high.is_none_or(|high| compare(front, last, high).is_lt())
    };
    let (prefix, fits) = if page.kind() == BRANCH {
        let branch = Branch::new(page);
        let last = branch.separators().checked_sub(1);
        let fits = last.is_none_or(|last| is_between(&[], &branch.separator(0), &branch.separator(last)));
        (branch.prefix(), fits)
    } else {
        let leaf = Leaf::new(page);
        let last = leaf.len().checked_sub(1);
        let fits = last.is_none_or(|last| is_between(leaf.prefix(), leaf.suffix(0), leaf.suffix(last)));
        (leaf.prefix(), fits)
    };
    if prefix == shared_prefix(low, high) && fits {
        return Ok(());
    }
    Err(PagerError::damaged(
        at.number(),
        "keys do not fit the page's place",
        "keys between its fences",
        "others",
    )
    .into())
}

/// How a key in two parts stands to a whole one.
fn compare(front: &[u8], back: &[u8], whole: &[u8]) -> Ordering {
    match whole.split_at_checked(front.len()) {
        Some((head, rest)) => front.cmp(head).then_with(|| back.cmp(rest)),
        None => front.cmp(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_in_two_parts_stands_where_the_whole_one_does(
            key in prop::collection::vec(0u8..3, 0..6),
            whole in prop::collection::vec(0u8..3, 0..6),
            at in 0usize..6,
        ) {
            let (front, back) = key.split_at(at.min(key.len()));
            prop_assert_eq!(compare(front, back, &whole), key.cmp(&whole));
        }
    }
}
