//! The way from a tree's root to a leaf, all pages of it the transaction's own.

use crate::error::Error;
use crate::node::branch::Branch;
use crate::source::{Node, Source};
use llmdb_pager::page::set_reference;
use llmdb_pager::{PageSource as _, Ref, WriteTxn};

/// The branches above a leaf, root first, and which child was taken.
pub(super) struct Path {
    pub(super) steps: Vec<(Ref, usize)>,
    pub(super) leaf: Ref,
}

/// Copies the path to `key`'s leaf. Answers it and the tree's new root.
pub(super) fn own_path(txn: &mut WriteTxn, root: Ref, key: &[u8]) -> Result<(Path, Ref), Error> {
    let root = txn.make_mut(root)?;
    let mut steps = Vec::new();
    let (mut at, mut above) = (root, None);
    loop {
        let (index, child, level) = match Source::Write(txn).node(at, above)? {
            (Node::Leaf(_), _) => return Ok((Path { steps, leaf: at }, root)),
            (Node::Branch(branch), level) => {
                let index = branch.search(key);
                (index, branch.child(index), level)
            }
        };
        let own = txn.make_mut(child)?;
        if own != child {
            set_reference(txn.page_mut(at), index, own);
        }
        steps.push((at, index));
        (at, above) = (own, Some(level));
    }
}

/// A bound of a page's keys; `None` at the tree's edge.
pub(super) type Fence = Option<Vec<u8>>;

/// The separators around the place that `steps` lead to: keys there are at least the first and below the
/// second; open ends are `None`.
pub(super) fn fences(txn: &WriteTxn, steps: &[(Ref, usize)]) -> Result<(Fence, Fence), Error> {
    let (mut low, mut high) = (None, None);
    for (at, index) in steps.iter().rev() {
        let branch = Branch::new(txn.page(*at)?);
        if low.is_none() && *index > 0 {
            low = Some(branch.separator(index - 1));
        }
        if high.is_none() && *index < branch.separators() {
            high = Some(branch.separator(*index));
        }
    }
    Ok((low, high))
}
