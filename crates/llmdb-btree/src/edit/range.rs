//! Removing all records of a range: pages that lie wholly inside it are freed without a look at single
//! records, pages at its two ends are built anew.
//!
//! ```text
//!        [ .. A | freed | freed | B .. ]      the range begins below A and ends below B:
//!             \                  /            A's pages now end where B begins
//! ```
//!
//! Invariants
//! 1. Only the pages on the two paths to the range's ends change their fences, and those are built anew with
//!    the prefix that follows.

use super::finger::Finger;
use super::pack::{Made, branches, leaves};
use super::path::{Fence, Step, check_between};
use super::remove::{Filled, fill_branch, fill_leaf, is_low, lower};
use crate::drop::free_pages;
use crate::error::Error;
use crate::node::branch::{Branch, Separators};
use crate::node::leaf::{Carried, Leaf};
use crate::source::{Node, Source};
use crate::tree::TreeRoot;
use crate::value::Stored;
use llmdb_pager::page::set_reference;
use llmdb_pager::{Page, PageSource as _, Ref, WriteTxn};

/// After so many changes filling up a path ends, whatever is left to do.
const SETTLE_STEPS_MAX: usize = 100;

/// The keys from `low` (inside) to `high` (outside); open ends are `None`.
#[derive(Clone, Copy)]
pub(crate) struct KeyRange<'k> {
    pub(crate) low: Option<&'k [u8]>,
    pub(crate) high: Option<&'k [u8]>,
}

/// Removes the records of a range. Answers how many there were.
pub(crate) fn remove_range(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    finger: &mut Finger,
    range: KeyRange<'_>,
) -> Result<u64, Error> {
    finger.lift();
    if tree.root.is_null() || range.high.is_some_and(|high| range.low.is_some_and(|low| high <= low)) {
        return Ok(0);
    }
    let KeyRange { low: None, high: None } = range else {
        return remove_part(txn, tree, finger, range);
    };
    let count = free_pages(txn, tree.root)?;
    *tree = TreeRoot { root: Ref::NULL, len: 0, ..*tree };
    Ok(count)
}

fn remove_part(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    finger: &mut Finger,
    range: KeyRange<'_>,
) -> Result<u64, Error> {
    let mut cut = Cut { removed: 0 };
    let open = Fences { low: None, high: None };
    let (_, level) = Source::Write(txn).node(tree.root, None)?;
    let mut made = cut.cut(txn, tree.root, None, [&open, &open], range)?;
    let mut level = level;
    while made.len() > 1 {
        level += 1;
        made = branches_of(txn, level, &made)?;
    }
    tree.root = made[0].1;
    tree.len = tree.len.saturating_sub(cut.removed);
    for end in [range.low, range.high].into_iter().flatten() {
        settle(txn, tree, &mut finger.steps, end)?;
    }
    Ok(cut.removed)
}

fn branches_of(txn: &mut WriteTxn, level: u8, made: &[Made]) -> Result<Vec<Made>, Error> {
    let separators: Vec<&[u8]> = made.iter().filter_map(|(before, _)| before.as_deref()).collect();
    let children: Vec<Ref> = made.iter().map(|(_, at)| *at).collect();
    branches(txn, level, &separators, &children, None, None)
}

/// The bounds of a page's keys.
struct Fences {
    low: Fence,
    high: Fence,
}

struct Cut {
    removed: u64,
}

impl Cut {
    /// Takes the range out of the page at `at`, whose fences were and will be those of `fences`. Answers
    /// what takes its place.
    fn cut(
        &mut self,
        txn: &mut WriteTxn,
        at: Ref,
        above: Option<u8>,
        fences: [&Fences; 2],
        range: KeyRange<'_>,
    ) -> Result<Vec<Made>, Error> {
        let (node, level) = Source::Write(txn).node(at, above)?;
        let is_leaf = matches!(node, Node::Leaf(_));
        if !at.is_dirty() {
            check_between(txn, at, fences[0].low.as_deref(), fences[0].high.as_deref())?;
        }
        let copy = txn.page(at)?.bytes().to_vec();
        txn.free(at)?;
        if is_leaf {
            self.cut_leaf(txn, Leaf::new(Page::new(&copy)), fences[1], range)
        } else {
            self.cut_branch(txn, Page::new(&copy), level, fences, range)
        }
    }

    fn cut_leaf(
        &mut self,
        txn: &mut WriteTxn,
        leaf: Leaf<'_>,
        fences: &Fences,
        range: KeyRange<'_>,
    ) -> Result<Vec<Made>, Error> {
        let place = |key: &[u8]| leaf.search(key).unwrap_or_else(|place| place);
        let start = range.low.map_or(0, place);
        let end = range.high.map_or(leaf.len(), place).max(start);
        for index in start..end {
            if let Stored::Large(large) = leaf.value(index) {
                txn.free_extent(large.run(txn.page_size()), large.born);
            }
        }
        self.removed += (end - start) as u64;
        let records: Vec<Carried<'_>> =
            (0..start).chain(end..leaf.len()).map(|index| leaf.carry(index)).collect();
        leaves(txn, &records, fences.low.clone(), fences.high.as_deref())
    }

    fn cut_branch(
        &mut self,
        txn: &mut WriteTxn,
        page: Page<'_>,
        level: u8,
        [old, new]: [&Fences; 2],
        range: KeyRange<'_>,
    ) -> Result<Vec<Made>, Error> {
        let branch = Branch::new(page);
        let mut all = Separators::default();
        all.extend(branch);
        let all = all.slices();
        let first = range.low.map(|low| branch.search(low));
        let last = range.high.map(|high| branch.search(high));
        let fences_at = |index: usize, outer: &Fences| Fences {
            low: index.checked_sub(1).map_or(outer.low.clone(), |before| Some(all[before].to_vec())),
            high: all.get(index).map_or(outer.high.clone(), |behind| Some(behind.to_vec())),
        };
        // What stays left of the range, what is left of its first and last page, what stays right of it.
        let mut row = Row::default();
        for index in 0..first.unwrap_or(0) {
            row.push(index.checked_sub(1).map(|before| all[before].to_vec()), branch.child(index));
        }
        if let Some(index) = first {
            let mut after = fences_at(index, new);
            let mut inner = KeyRange { low: range.low, high: None };
            if last == first {
                inner.high = range.high;
            } else {
                after.high = last.map_or(new.high.clone(), |last| Some(all[last - 1].to_vec()));
            }
            let made =
                self.cut(txn, branch.child(index), Some(level), [&fences_at(index, old), &after], inner)?;
            row.extend(index.checked_sub(1).map(|before| all[before].to_vec()), made);
        }
        for index in first.map_or(0, |first| first + 1)..last.unwrap_or(branch.children()) {
            self.removed += free_below(txn, branch.child(index), level)?;
        }
        if let Some(index) = last.filter(|last| first != Some(*last)) {
            let mut after = fences_at(index, new);
            if first.is_none() {
                after.low = new.low.clone();
            }
            let inner = KeyRange { low: None, high: range.high };
            let made =
                self.cut(txn, branch.child(index), Some(level), [&fences_at(index, old), &after], inner)?;
            row.extend(first.map(|_| all[index - 1].to_vec()), made);
        }
        for index in last.map_or(branch.children(), |last| last + 1)..branch.children() {
            row.push(Some(all[index - 1].to_vec()), branch.child(index));
        }
        let separators: Vec<&[u8]> = row.separators.iter().map(Vec::as_slice).collect();
        branches(txn, level, &separators, &row.children, new.low.as_deref(), new.high.as_deref())
    }
}

fn free_below(txn: &mut WriteTxn, at: Ref, above: u8) -> Result<u64, Error> {
    Source::Write(txn).node(at, Some(above))?;
    free_pages(txn, at)
}

/// Children in the making, and the separators between them.
#[derive(Default)]
struct Row {
    separators: Vec<Vec<u8>>,
    children: Vec<Ref>,
}

impl Row {
    fn push(&mut self, before: Option<Vec<u8>>, child: Ref) {
        if !self.children.is_empty() {
            self.separators.extend(before);
        }
        self.children.push(child);
    }

    fn extend(&mut self, before: Option<Vec<u8>>, made: Vec<Made>) {
        for (index, (between, at)) in made.into_iter().enumerate() {
            self.push(if index == 0 { before.clone() } else { between }, at);
        }
    }
}

/// Fills up the pages on the way to `key` that are too empty, from the root down.
pub(super) fn settle(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    steps: &mut Vec<Step>,
    key: &[u8],
) -> Result<(), Error> {
    for _ in 0..SETTLE_STEPS_MAX {
        lower(txn, tree)?;
        if tree.root.is_null() || !settle_once(txn, tree, steps, key)? {
            break;
        }
    }
    lower(txn, tree)
}

/// Goes down to the first page that is too empty and can be filled up. Whether there was one.
fn settle_once(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    steps: &mut Vec<Step>,
    key: &[u8],
) -> Result<bool, Error> {
    steps.clear();
    tree.root = txn.make_mut(tree.root)?;
    let (mut at, mut above) = (tree.root, None);
    loop {
        let (index, child, level) = match Source::Write(txn).node(at, above)? {
            (Node::Leaf(_), _) => return Ok(false),
            (Node::Branch(branch), level) => {
                let index = branch.search(key);
                (index, branch.child(index), level)
            }
        };
        Source::Write(txn).node(child, Some(level))?;
        let own = txn.make_mut(child)?;
        set_reference(txn.page_mut(at), index, own);
        steps.push((at, index));
        if is_low(txn, own)? {
            let filled = match Source::Write(txn).node(own, Some(level))?.0 {
                Node::Leaf(_) => fill_leaf(txn, tree, steps, own)?,
                Node::Branch(_) => fill_branch(txn, tree, steps)?,
            };
            // The path has changed its shape: what is below is found from the root again.
            if filled != Filled::Not {
                return Ok(true);
            }
        }
        (at, above) = (own, Some(level));
    }
}
