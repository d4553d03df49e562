//! Removing, and joining what has become too empty.
//!
//! A page that is less than a quarter full joins a neighbour under the same parent where both fit into
//! four fifths of a page (a whole one, if it is empty).
//!
//! Invariants
//! 1. No page's range ever widens but by a join, which builds it anew: its prefix would no longer be one of
//!    all keys that are routed to it. So an empty leaf with no neighbour to join stays.

use super::insert::fits;
use super::path::{check_place, fences, own_path};
use crate::error::Error;
use crate::node::branch::{self, Branch, Separators};
use crate::node::leaf::{self, Leaf};
use crate::node::{BRANCH, shared_prefix};
use crate::source::Source;
use crate::tree::{Tree, TreeRoot};
use crate::value::{LargeRef, Stored};
use llmdb_pager::{Page, PageSource as _, Ref, WriteTxn};

/// What a removal took out.
pub(crate) enum Removed {
    Nothing,
    Inline,
    Large(LargeRef),
}

/// Removes a record.
pub(crate) fn remove(txn: &mut WriteTxn, tree: &mut TreeRoot, key: &[u8]) -> Result<Removed, Error> {
    let removed = match Tree::new(Source::Write(txn), *tree).get_stored(key)? {
        None => return Ok(Removed::Nothing),
        Some(Stored::Inline(_)) => Removed::Inline,
        Some(Stored::Large(large)) => Removed::Large(large),
    };
    let (path, root) = own_path(txn, tree.root, key)?;
    tree.root = root;
    tree.len -= 1;
    if let Ok(index) = Leaf::new(txn.page(path.leaf)?).search(key) {
        leaf::remove(txn.page_mut(path.leaf), index);
    }
    shrink(txn, tree, path.steps, path.leaf)?;
    Ok(removed)
}

/// Joins pages from the leaf upward for as long as they are too empty, then takes needless roots off.
fn shrink(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    mut steps: Vec<(Ref, usize)>,
    leaf: Ref,
) -> Result<(), Error> {
    let mut at = leaf;
    while let Some((parent, index)) = steps.pop() {
        let (entries, bytes) = used(txn.page(at)?);
        if bytes >= txn.page_size() / 4 {
            return Ok(());
        }
        let room = if entries == 0 { txn.page_size() } else { txn.page_size() / 5 * 4 };
        let alone = Branch::new(txn.page(parent)?).children() == 1;
        if !alone && !join(txn, parent, index, room, &steps)? {
            return Ok(());
        }
        at = parent;
    }
    lower(txn, tree)
}

/// How many entries a page has, and how many bytes they take.
fn used(page: Page<'_>) -> (usize, usize) {
    if page.kind() == BRANCH {
        let branch = Branch::new(page);
        let suffixes: Vec<_> = (0..branch.separators()).map(|index| branch.suffix(index)).collect();
        let bytes = branch::page_use(
            page.bytes().len(),
            branch.prefix().len(),
            suffixes.iter().map(|suffix| suffix.bytes()),
        );
        (branch.children(), bytes)
    } else {
        let leaf = Leaf::new(page);
        (leaf.len(), leaf.used())
    }
}

/// Takes roots off that have one child or no record.
fn lower(txn: &mut WriteTxn, tree: &mut TreeRoot) -> Result<(), Error> {
    loop {
        let page = txn.page(tree.root)?;
        let (is_branch, entries) = (page.kind() == BRANCH, used(page).0);
        let below = if is_branch && entries == 1 { page.reference(0) } else { Ref::NULL };
        if entries > usize::from(is_branch) {
            return Ok(());
        }
        txn.free(tree.root)?;
        tree.root = below;
        if below.is_null() {
            return Ok(());
        }
    }
}

fn rebuild(
    txn: &mut WriteTxn,
    at: Ref,
    level: u8,
    separators: &[&[u8]],
    children: &[Ref],
    steps: &[(Ref, usize)],
) -> Result<(), Error> {
    let (low, high) = fences(txn, steps)?;
    let prefix = shared_prefix(low.as_deref(), high.as_deref());
    branch::build(txn.page_mut(at), level, prefix, separators, children);
    Ok(())
}

/// Joins child `index` of a branch with a neighbour. Whether there was one with room.
fn join(
    txn: &mut WriteTxn,
    parent: Ref,
    index: usize,
    room: usize,
    steps: &[(Ref, usize)],
) -> Result<bool, Error> {
    let children = Branch::new(txn.page(parent)?).children();
    for left in [index, index.wrapping_sub(1)] {
        if left.wrapping_add(1) < children && left < children && join_pair(txn, parent, left, room, steps)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Joins children `left` and `left + 1` of a branch into the first, if both fit.
fn join_pair(
    txn: &mut WriteTxn,
    parent: Ref,
    left: usize,
    room: usize,
    steps: &[(Ref, usize)],
) -> Result<bool, Error> {
    let branch = Branch::new(txn.page(parent)?);
    let (first, second) = (branch.child(left), branch.child(left + 1));
    let between = branch.separator(left);
    let mut around = steps.to_vec();
    around.push((parent, left));
    let (low, _) = fences(txn, &around)?;
    check_place(txn, first, &around)?;
    around.last_mut().expect("pushed above").1 = left + 1;
    let (_, high) = fences(txn, &around)?;
    check_place(txn, second, &around)?;
    let prefix = shared_prefix(low.as_deref(), high.as_deref()).to_vec();
    let joined = if txn.page(first)?.kind() == BRANCH {
        joined_branch(txn, first, second, &between, &prefix, room)?
    } else {
        joined_leaf(txn, first, second, &prefix, room)?
    };
    let Some(bytes) = joined else { return Ok(false) };
    let own = txn.make_mut(first)?;
    txn.page_mut(own).copy_from_slice(&bytes);
    txn.free(second)?;
    llmdb_pager::page::set_reference(txn.page_mut(parent), left, own);
    let page = txn.page(parent)?;
    let (level, old) = (page.level(), Branch::new(page));
    let mut separators = Separators::default();
    separators.extend(old);
    let mut slices = separators.slices();
    let mut children: Vec<Ref> = page.references().collect();
    slices.remove(left);
    children.remove(left + 1);
    rebuild(txn, parent, level, &slices, &children, steps)?;
    Ok(true)
}

fn joined_leaf(
    txn: &WriteTxn,
    first: Ref,
    second: Ref,
    prefix: &[u8],
    room: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let mut records: Vec<(Vec<u8>, Stored<'_>)> = Vec::new();
    for at in [first, second] {
        let leaf = Leaf::new(txn.page(at)?);
        for index in 0..leaf.len() {
            let key = [leaf.prefix(), leaf.suffix(index)].concat();
            records.push((key[prefix.len()..].to_vec(), leaf.value(index)));
        }
    }
    let cells = records.iter().map(|(suffix, value)| leaf::cell_size(suffix.len(), value)).sum();
    if leaf::page_use(prefix.len(), records.len(), cells) > room {
        return Ok(None);
    }
    let mut bytes = vec![0; txn.page_size()];
    leaf::build(&mut bytes, prefix, records.iter().map(|(suffix, value)| (suffix.as_slice(), *value)));
    Ok(Some(bytes))
}

fn joined_branch(
    txn: &WriteTxn,
    first: Ref,
    second: Ref,
    between: &[u8],
    prefix: &[u8],
    room: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let (mut separators, mut children) = (Separators::default(), Vec::new());
    for at in [first, second] {
        let page = txn.page(at)?;
        if at == second {
            separators.push(&[between]);
        }
        separators.extend(Branch::new(page));
        children.extend(page.references());
    }
    let slices = separators.slices();
    if !fits(room, prefix, &slices) {
        return Ok(None);
    }
    let mut bytes = vec![0; txn.page_size()];
    branch::build(&mut bytes, txn.page(first)?.level(), prefix, &slices, &children);
    Ok(Some(bytes))
}
