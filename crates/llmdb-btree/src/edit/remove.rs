//! Removing, and filling up what has become too empty.
//!
//! A page less than half full joins a neighbour under the same parent where both fit into nine tenths of a
//! page; a leaf and both its neighbours become two where they fit into that; else the page takes over from a
//! neighbour that has clearly more.
//!
//! Invariants
//! 1. No page's range ever widens but by being built anew: its prefix would no longer be one of all keys
//!    that are routed to it. So an empty leaf with no neighbour to join stays.

use super::children::{Change, even_cut, replace_children};
use super::finger::Finger;
use super::path::{Step, check_place, fences};
use super::spread::{Group, Sibling, at_index, even_cuts, siblings};
use crate::error::Error;
use crate::node::branch::{self, Branch, Separators};
use crate::node::leaf::{self, Leaf};
use crate::node::{BRANCH, shared_prefix};
use crate::pack::fits;
use crate::source::{Node, Source};
use crate::tree::{Tree, TreeRoot};
use crate::value::{LargeRef, Stored};
use llmdb_pager::{Error as PagerError, PageSource as _, Ref, WriteTxn};

/// What a removal took out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Removed {
    Nothing,
    Inline,
    Large(LargeRef),
}

/// Below this many bytes in use a page asks its neighbours.
fn low_mark(page_size: usize) -> usize {
    page_size / 2
}

/// Two pages join where this many bytes hold both.
fn join_mark(page_size: usize) -> usize {
    page_size * 9 / 10
}

/// Removes a record.
pub(crate) fn remove(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    finger: &mut Finger,
    key: &[u8],
) -> Result<Removed, Error> {
    // A record that is not there costs no copy.
    if !finger.holds(key) && Tree::new(Source::Write(txn), *tree).get_stored(key)?.is_none() {
        return Ok(Removed::Nothing);
    }
    finger.put(txn, &mut tree.root, key)?;
    let page = Leaf::new(txn.page(finger.leaf)?);
    let Ok(index) = page.search(key) else { return Ok(Removed::Nothing) };
    let removed = match page.value(index) {
        Stored::Inline(_) => Removed::Inline,
        Stored::Large(large) => Removed::Large(large),
    };
    leaf::remove(txn.page_mut(finger.leaf), index);
    tree.len = tree.len.saturating_sub(1);
    let page = Leaf::new(txn.page(finger.leaf)?);
    if page.used() < low_mark(txn.page_size()) {
        finger.lift();
        if fill_leaf(txn, tree, &mut finger.steps, finger.leaf)? == Filled::Joined {
            fill_branches(txn, tree, &mut finger.steps)?;
        }
        lower(txn, tree)?;
    }
    Ok(removed)
}

/// What was done for a page that is too empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// There is one page less.
    Joined,
    /// A sibling gave something.
    Shared,
    /// Nothing could be done.
    Not,
}

/// Joins a leaf that is too empty with a sibling, or shares with one.
pub(super) fn fill_leaf(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    steps: &mut [Step],
    at: Ref,
) -> Result<Filled, Error> {
    let page_size = txn.page_size();
    let used = Leaf::new(txn.page(at)?).used();
    let found = siblings(txn, steps)?.into_iter().flatten();
    let room = if used == leaf::page_use(Leaf::new(txn.page(at)?).prefix().len(), 0, 0) {
        page_size
    } else {
        join_mark(page_size)
    };
    let order = |sibling: &Sibling| (!txn.is_mine(sibling.at), sibling.used);
    let mut found: Vec<Sibling> = found.collect();
    found.sort_by_key(order);
    for sibling in &found {
        let mut group = Group::alone(txn, steps, at)?;
        group.add(txn, steps, sibling)?;
        let records = group.records();
        if leaf::records_use(group.prefix_len(), &records) <= room
            && group.write(txn, tree, steps, &records, &[])?.is_some()
        {
            return Ok(Filled::Joined);
        }
    }
    // Three become two.
    if let [first, second] = &found[..]
        && used + first.used + second.used <= 2 * room
    {
        let mut group = Group::alone(txn, steps, at)?;
        group.add(txn, steps, first)?;
        group.add(txn, steps, second)?;
        let records = group.records();
        let cuts = even_cuts(&records, group.prefix_len(), 2);
        if records.len() >= 2 && group.write(txn, tree, steps, &records, &cuts)?.is_some() {
            return Ok(Filled::Joined);
        }
    }
    // The fullest sibling gives, if it has an eighth of a page more.
    let fullest = found.iter().max_by_key(|sibling| sibling.used);
    if let Some(sibling) = fullest.filter(|sibling| sibling.used >= used + page_size / 8) {
        let mut group = Group::alone(txn, steps, at)?;
        group.add(txn, steps, sibling)?;
        let records = group.records();
        if records.len() >= 2 {
            let cuts = even_cuts(&records, group.prefix_len(), 2);
            if group.write(txn, tree, steps, &records, &cuts)?.is_some() {
                return Ok(Filled::Shared);
            }
        }
    }
    Ok(Filled::Not)
}

/// Joins branches from the leaf's parent upward for as long as they are too empty.
pub(super) fn fill_branches(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    steps: &mut Vec<Step>,
) -> Result<(), Error> {
    while let Some((at, _)) = steps.pop() {
        if steps.is_empty() || branch::used(Branch::new(txn.page(at)?)) >= low_mark(txn.page_size()) {
            return Ok(());
        }
        if fill_branch(txn, tree, steps)? != Filled::Joined {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether a page is so empty that it asks its neighbours.
pub(super) fn is_low(txn: &WriteTxn, at: Ref) -> Result<bool, Error> {
    let page = txn.page(at)?;
    let used = if page.kind() == BRANCH { branch::used(Branch::new(page)) } else { Leaf::new(page).used() };
    Ok(used < low_mark(txn.page_size()))
}

/// Joins the branch that `steps` lead to with a neighbour, or shares with it.
pub(super) fn fill_branch(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    steps: &mut [Step],
) -> Result<Filled, Error> {
    let Some((parent, index)) = steps.last().copied() else { return Ok(Filled::Not) };
    let children = txn.page(parent)?.ref_count();
    for share in [false, true] {
        for left in [index, index.wrapping_sub(1)] {
            if left.wrapping_add(1) < children
                && left < children
                && branch_pair(txn, tree, steps, left, share)?
            {
                return Ok(if share { Filled::Shared } else { Filled::Joined });
            }
        }
    }
    Ok(Filled::Not)
}

/// Joins children `left` and `left + 1` of a branch, which are branches, or makes them equally full if
/// `share`. Whether that was done.
fn branch_pair(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    steps: &mut [Step],
    left: usize,
    share: bool,
) -> Result<bool, Error> {
    let Some((parent, _)) = steps.last().copied() else { return Ok(false) };
    let page = txn.page(parent)?;
    let level = page.level();
    let between = Branch::new(page).separator(left);
    let pair = [page.reference(left), page.reference(left + 1)];
    let mut separators = Separators::default();
    let mut children = Vec::new();
    for (index, at) in pair.into_iter().enumerate() {
        let Node::Branch(branch) = Source::Write(txn).node(at, Some(level))?.0 else {
            return Err(PagerError::damaged(at.number(), "a leaf where its sibling is a branch", 1, 0).into());
        };
        if !at.is_dirty() {
            at_index(steps, left + index, |steps| check_place(txn, at, steps))?;
        }
        if index == 1 {
            separators.push(&[&between]);
        }
        separators.extend(branch);
        children.extend((0..branch.children()).map(|index| branch.child(index)));
    }
    let slices = separators.slices();
    let (low, _) = at_index(steps, left, |steps| fences(txn, steps))?;
    let (_, high) = at_index(steps, left + 1, |steps| fences(txn, steps))?;
    let (low, high) = (low.as_deref(), high.as_deref());
    let change = |separators, children| Change { first: left, old: 2, separators, children };
    if !share {
        let prefix = shared_prefix(low, high);
        if !fits(txn.page_size(), join_mark(txn.page_size()), prefix, &slices) {
            return Ok(false);
        }
        let own = txn.make_mut(pair[0])?;
        branch::build(txn.page_mut(own), level - 1, prefix, &slices, &children);
        txn.free(pair[1])?;
        replace_children(txn, tree, steps, &change(&[], &[own]))?;
        return Ok(true);
    }
    let cut = even_cut(&slices);
    let before = txn.page(pair[0])?.ref_count();
    if (cut + 1).abs_diff(before) < children.len() / 8 {
        return Ok(false);
    }
    let up = slices[cut];
    let prefixes = [shared_prefix(low, Some(up)), shared_prefix(Some(up), high)];
    let parts = [&slices[..cut], &slices[cut + 1..]];
    if (0..2).any(|part| !fits(txn.page_size(), txn.page_size(), prefixes[part], parts[part])) {
        return Ok(false);
    }
    let own = [txn.make_mut(pair[0])?, txn.make_mut(pair[1])?];
    branch::build(txn.page_mut(own[0]), level - 1, prefixes[0], parts[0], &children[..=cut]);
    branch::build(txn.page_mut(own[1]), level - 1, prefixes[1], parts[1], &children[cut + 1..]);
    replace_children(txn, tree, steps, &change(&[up.to_vec()], &own))?;
    Ok(true)
}

/// Takes roots off that have one child or no record.
pub(super) fn lower(txn: &mut WriteTxn, tree: &mut TreeRoot) -> Result<(), Error> {
    while !tree.root.is_null() {
        let page = txn.page(tree.root)?;
        let below = if page.kind() == BRANCH {
            if Branch::new(page).children() > 1 {
                return Ok(());
            }
            page.reference(0)
        } else {
            if Leaf::new(page).len() > 0 {
                return Ok(());
            }
            Ref::NULL
        };
        txn.free(tree.root)?;
        tree.root = below;
    }
    Ok(())
}
