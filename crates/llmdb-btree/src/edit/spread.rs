//! Spreading the records of neighbouring leaves over as many leaves as asked for. Splits, shifts to a
//! sibling and joins are all this.
//!
//! Invariants
//! 1. The range of keys that the leaves hold together stays as it is; only borders between them move, and
//!    each leaf is built anew with the prefix that its new fences share.

use super::children::{Change, replace_children};
use super::path::{Fence, Step, check_place, fences, high_fence, low_fence};
use crate::error::Error;
use crate::node::leaf::{self, Carried, Leaf};
use crate::node::{separator, shared_prefix};
use crate::source::{Node, Source};
use crate::tree::TreeRoot;
use llmdb_pager::{Error as PagerError, Page, PageNumber, PageSource as _, Ref, WriteTxn};

/// Copies of neighbouring leaves under one parent, for records to be borrowed from while the leaves change:
/// one leaf, and the siblings beside it that were added.
pub(super) struct Group {
    /// The first one's place among the parent's children.
    pub(super) first: usize,
    pages: Vec<(Ref, Vec<u8>)>,
    /// Which of the pages is the one that the group began with.
    main: usize,
    pub(super) low: Fence,
    pub(super) high: Fence,
    /// The fence between the leaf and the sibling that came last.
    inner: Fence,
}

impl Group {
    /// The leaf that `steps` lead to, alone.
    pub(super) fn alone(txn: &WriteTxn, steps: &[Step], at: Ref) -> Result<Self, Error> {
        let (low, high) = fences(txn, steps)?;
        let first = steps.last().map_or(0, |(_, index)| *index);
        let pages = vec![(at, txn.page(at)?.bytes().to_vec())];
        Ok(Self { first, pages, main: 0, low, high, inner: None })
    }

    /// Takes a sibling in that [`sibling`] looked at.
    pub(super) fn add(&mut self, txn: &WriteTxn, steps: &mut [Step], sibling: &Sibling) -> Result<(), Error> {
        let bytes = txn.page(sibling.at)?.bytes().to_vec();
        if sibling.index > self.first {
            let high = at_index(steps, sibling.index, |steps| high_fence(txn, steps))?;
            self.pages.push((sibling.at, bytes));
            self.inner = std::mem::replace(&mut self.high, high);
        } else {
            let low = at_index(steps, sibling.index, |steps| low_fence(txn, steps))?;
            self.pages.insert(0, (sibling.at, bytes));
            self.main = 1;
            self.inner = std::mem::replace(&mut self.low, low);
            self.first = sibling.index;
        }
        Ok(())
    }

    /// Lets the sibling go, if there is one.
    pub(super) fn drop_sibling(&mut self) {
        if self.pages.len() < 2 {
            return;
        }
        self.pages.remove(1 - self.main);
        if self.main == 0 {
            self.high = self.inner.take();
        } else {
            self.low = self.inner.take();
            self.first += 1;
            self.main = 0;
        }
    }

    /// How many records the leaf has that the group began with.
    pub(super) fn len(&self) -> usize {
        Leaf::new(Page::new(&self.pages[self.main].1)).len()
    }

    /// That leaf's number in the file; meaningless while it is dirty.
    pub(super) fn number(&self) -> PageNumber {
        self.pages[self.main].0.number()
    }

    /// How many records stand before that leaf's.
    pub(super) fn border(&self) -> usize {
        if self.main == 0 { 0 } else { Leaf::new(Page::new(&self.pages[0].1)).len() }
    }

    /// All records, in order.
    pub(super) fn records(&self) -> Vec<Carried<'_>> {
        let mut records = Vec::with_capacity(self.len_of_all());
        for (_, bytes) in &self.pages {
            records.extend(Leaf::new(Page::new(bytes)).carry_all());
        }
        records
    }

    /// All records and a new one, which goes to `index` of the leaf that the group began with.
    pub(super) fn records_with<'g>(&'g self, index: usize, record: Carried<'g>) -> Vec<Carried<'g>> {
        let mut records = Vec::with_capacity(self.len_of_all() + 1);
        for (page, (_, bytes)) in self.pages.iter().enumerate() {
            let mut rest = Leaf::new(Page::new(bytes)).carry_all();
            if page == self.main {
                records.extend(rest.by_ref().take(index));
                records.push(record);
            }
            records.extend(rest);
        }
        records
    }

    fn len_of_all(&self) -> usize {
        self.pages.iter().map(|(_, bytes)| Leaf::new(Page::new(bytes)).len()).sum()
    }

    /// How many bytes all keys between the outer fences share at least.
    pub(super) fn prefix_len(&self) -> usize {
        shared_prefix(self.low.as_deref(), self.high.as_deref()).len()
    }

    /// Writes `records` into leaves that begin at 0 and at each of `cuts`. Whether they fit; if not, nothing
    /// has changed.
    pub(super) fn write(
        &self,
        txn: &mut WriteTxn,
        tree: &mut TreeRoot,
        steps: &[Step],
        records: &[Carried<'_>],
        cuts: &[usize],
    ) -> Result<Option<Vec<Ref>>, Error> {
        let separators: Vec<Vec<u8>> = cuts.iter().map(|cut| separator_at(records, *cut)).collect();
        let parts: Vec<(&[u8], &[Carried<'_>])> = (0..=cuts.len())
            .map(|part| {
                let low = if part == 0 { self.low.as_deref() } else { Some(separators[part - 1].as_slice()) };
                let high = separators.get(part).map(Vec::as_slice).or(self.high.as_deref());
                let start = if part == 0 { 0 } else { cuts[part - 1] };
                let end = cuts.get(part).copied().unwrap_or(records.len());
                (shared_prefix(low, high), &records[start..end])
            })
            .collect();
        let page_size = txn.page_size();
        if parts.iter().any(|(prefix, records)| leaf::records_use(prefix.len(), records) > page_size) {
            return Ok(None);
        }
        let mut children = Vec::with_capacity(parts.len());
        for (part, (prefix, records)) in parts.iter().enumerate() {
            let at = match self.pages.get(part) {
                Some((at, _)) => txn.renew(*at)?,
                None => txn.allocate_unwritten()?,
            };
            leaf::build(txn.page_mut(at), prefix, records);
            children.push(at);
        }
        for (at, _) in self.pages.iter().skip(parts.len()) {
            txn.free(*at)?;
        }
        let change =
            Change { first: self.first, old: self.pages.len(), separators: &separators, children: &children };
        replace_children(txn, tree, steps, &change)?;
        Ok(Some(children))
    }
}

/// The shortest key that parts the records before `cut` from those behind it.
fn separator_at(records: &[Carried<'_>], cut: usize) -> Vec<u8> {
    let (left, right) = (&records[cut - 1], &records[cut]);
    if left.front.as_ptr() == right.front.as_ptr() && left.front.len() == right.front.len() {
        return [left.front, separator(left.back, right.back)].concat();
    }
    separator(&left.key(), &right.key()).to_vec()
}

/// Where to cut the records so that `parts` leaves are most even in bytes; none is empty.
pub(super) fn even_cuts(records: &[Carried<'_>], prefix_len: usize, parts: usize) -> Vec<usize> {
    let cost = |record: &Carried<'_>| record.cost(prefix_len);
    let total: usize = records.iter().map(cost).sum();
    let mut cuts = Vec::with_capacity(parts);
    let (mut before, mut index) = (0, 0);
    for part in 1..parts {
        let goal = total * part / parts;
        let last = records.len() - (parts - part);
        index += 1;
        before += cost(&records[index - 1]);
        // Past the goal by less than half a record at most.
        while index < last && before + cost(&records[index]) / 2 <= goal {
            before += cost(&records[index]);
            index += 1;
        }
        cuts.push(index);
    }
    cuts
}

/// A leaf beside another, under the same parent.
pub(super) struct Sibling {
    pub(super) index: usize,
    pub(super) at: Ref,
    /// Bytes in use; from [`sibling`] alone, holes count too.
    pub(super) used: usize,
}

/// The sibling at `index` under the parent that `steps` end with; a page of the file is checked first. None where
/// recovery would have to wait for the device: a page fuller or emptier than it could be costs less.
pub(super) fn sibling(txn: &WriteTxn, steps: &mut [Step], index: usize) -> Result<Option<Sibling>, Error> {
    let Some((parent, _)) = steps.last() else { return Ok(None) };
    let page = txn.page(*parent)?;
    if index >= page.ref_count() {
        return Ok(None);
    }
    let at = page.reference(index);
    if !txn.is_worth_reading(at) {
        return Ok(None);
    }
    let Node::Leaf(leaf) = Source::Write(txn).node(at, Some(page.level()))?.0 else {
        return Err(PagerError::damaged(at.number(), "a branch where its sibling is a leaf", 0, 1).into());
    };
    let used = leaf.used_at_most();
    if !at.is_dirty() {
        at_index(steps, index, |steps| check_place(txn, at, steps))?;
    }
    Ok(Some(Sibling { index, at, used }))
}

/// Where the neighbours of the leaf stand that `steps` lead to; the transaction's own first, else the one on
/// the right. None is looked at.
pub(super) fn sibling_places(txn: &WriteTxn, steps: &[Step]) -> Result<[Option<usize>; 2], Error> {
    let Some((parent, index)) = steps.last().copied() else { return Ok([None, None]) };
    let page = txn.page(parent)?;
    let right = Some(index + 1).filter(|right| *right < page.ref_count());
    let left = index.checked_sub(1);
    let is_mine = |place: Option<usize>| place.is_some_and(|place| txn.is_mine(page.reference(place)));
    Ok(if is_mine(left) && !is_mine(right) { [left, right] } else { [right, left] })
}

/// Both neighbours of the leaf that `steps` lead to; the one on the right first.
pub(super) fn siblings(txn: &WriteTxn, steps: &mut [Step]) -> Result<[Option<Sibling>; 2], Error> {
    let Some((_, index)) = steps.last().copied() else { return Ok([None, None]) };
    let right = sibling(txn, steps, index + 1)?;
    let left = if index > 0 { sibling(txn, steps, index - 1)? } else { None };
    let mut found = [right, left];
    for sibling in found.iter_mut().flatten() {
        sibling.used = Leaf::new(txn.page(sibling.at)?).used();
    }
    Ok(found)
}

/// Looks along `steps` as if the last one had taken child `index`.
pub(super) fn at_index<T>(steps: &mut [Step], index: usize, look: impl FnOnce(&[Step]) -> T) -> T {
    let Some(last) = steps.len().checked_sub(1) else { return look(steps) };
    let real = std::mem::replace(&mut steps[last].1, index);
    let found = look(steps);
    steps[last].1 = real;
    found
}
