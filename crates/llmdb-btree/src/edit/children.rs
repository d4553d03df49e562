//! Changing which children a branch has, in place where that can be, and what follows above it.

use super::path::{Step, fences};
use crate::error::Error;
use crate::node::branch::{self, Branch, Separators};
use crate::node::{BRANCH, shared_prefix};
use crate::pack::fits;
use crate::tree::TreeRoot;
use llmdb_pager::page::set_reference;
use llmdb_pager::{Error as PagerError, PageSource as _, Ref, WriteTxn};

/// What takes the place of `old` neighbouring children, from child `first` on: children, and the separators
/// between them.
pub(super) struct Change<'c> {
    pub(super) first: usize,
    pub(super) old: usize,
    pub(super) separators: &'c [Vec<u8>],
    pub(super) children: &'c [Ref],
}

/// Makes a change in the branch that `steps` end with. A branch that overflows splits, and so on upward;
/// with no steps left the tree grows by a level.
pub(super) fn replace_children(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    steps: &[Step],
    change: &Change<'_>,
) -> Result<(), Error> {
    let Some(((at, _), above)) = steps.split_last() else {
        return grow(txn, tree, change);
    };
    if change_in_place(txn.page_mut(*at), change) {
        return Ok(());
    }
    let page = txn.page(*at)?;
    let level = page.level();
    let mut all = Separators::default();
    all.extend(Branch::new(page));
    let mut children: Vec<Ref> = page.references().collect();
    let Change { first, old, .. } = *change;
    children.splice(first..first + old, change.children.iter().copied());
    let mut separators = all.slices();
    separators.splice(first..first + old - 1, change.separators.iter().map(Vec::as_slice));
    let (low, high) = fences(txn, above)?;
    let prefix = shared_prefix(low.as_deref(), high.as_deref());
    if fits(txn.page_size(), txn.page_size(), prefix, &separators) {
        branch::build(txn.page_mut(*at), level, prefix, &separators, &children);
        return Ok(());
    }
    let at_edge = high.is_none() && first + old == all.len() + 1;
    let edge_cut = at_edge.then_some(separators.len() - 1);
    // The even cut fits unless a page was made to harm: no separator takes more than a third of a branch.
    let cuts = edge_cut.into_iter().chain([even_cut(&separators)]).chain(0..separators.len());
    let Some((cut, prefixes)) = cuts.into_iter().find_map(|cut| {
        let up = separators[cut];
        let prefixes = [shared_prefix(low.as_deref(), Some(up)), shared_prefix(Some(up), high.as_deref())];
        let both = fits(txn.page_size(), txn.page_size(), prefixes[0], &separators[..cut])
            && fits(txn.page_size(), txn.page_size(), prefixes[1], &separators[cut + 1..]);
        both.then_some((cut, prefixes))
    }) else {
        let (what, count) = ("separators are longer than any can be", separators.len() as u64);
        return Err(PagerError::damaged(at.number(), what, "a third of a page each", count).into());
    };
    let right = txn.allocate(BRANCH, level)?;
    let up = separators[cut];
    branch::build(txn.page_mut(*at), level, prefixes[0], &separators[..cut], &children[..=cut]);
    branch::build(txn.page_mut(right), level, prefixes[1], &separators[cut + 1..], &children[cut + 1..]);
    let first = above.last().map_or(0, |(_, index)| *index);
    let change = Change { first, old: 1, separators: &[up.to_vec()], children: &[*at, right] };
    replace_children(txn, tree, above, &change)
}

/// A new root above what was the root and has split.
fn grow(txn: &mut WriteTxn, tree: &mut TreeRoot, change: &Change<'_>) -> Result<(), Error> {
    if let [root] = change.children {
        tree.root = *root;
        return Ok(());
    }
    let level = txn.page(change.children[0])?.level() + 1;
    let root = txn.allocate(BRANCH, level)?;
    let separators: Vec<&[u8]> = change.separators.iter().map(Vec::as_slice).collect();
    branch::build(txn.page_mut(root), level, &[], &separators, change.children);
    tree.root = root;
    Ok(())
}

/// Whether the change could be made without building the branch anew. If not, only separators that the
/// change replaces have changed.
fn change_in_place(bytes: &mut [u8], change: &Change<'_>) -> bool {
    let Change { first, separators, children, .. } = *change;
    let done = match (change.old, children) {
        (1, [_]) => true,
        (1, [_, second]) => branch::insert_child(bytes, first, &separators[0], *second),
        (2, [_]) => {
            branch::remove_child(bytes, first);
            true
        }
        (2, [_, _]) => branch::set_separator(bytes, first, &separators[0]),
        (3, [_, _]) => {
            let set = branch::set_separator(bytes, first, &separators[0]);
            if set {
                branch::remove_child(bytes, first + 1);
            }
            set
        }
        (2, [_, _, third]) => {
            branch::set_separator(bytes, first, &separators[0])
                && branch::insert_child(bytes, first + 1, &separators[1], *third)
        }
        _ => false,
    };
    if done {
        for (index, child) in children.iter().enumerate() {
            set_reference(bytes, first + index, *child);
        }
    }
    done
}

/// Which separator goes up so that the halves are most even in bytes.
pub(super) fn even_cut(separators: &[&[u8]]) -> usize {
    let sizes = || separators.iter().map(|separator| separator.len() + 16);
    let total: usize = sizes().sum();
    let mut left = 0;
    let mut best = (usize::MAX, 0);
    for (cut, size) in sizes().enumerate() {
        best = best.min((left.max(total - left - size), cut));
        left += size;
    }
    best.1
}
