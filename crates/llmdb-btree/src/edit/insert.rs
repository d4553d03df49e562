//! Inserting, and what a full leaf does.
//!
//! ```text
//! a run of rising inserts    split at the insert: full leaves stay behind (likewise falling, and at the edges)
//! a sibling has room         share the records evenly with it
//! a sibling is full too      two leaves become three
//! no sibling                 one leaf becomes two
//! ```
//!
//! Separators are as short as they can be.

use super::finger::{Finger, Run};
use super::path::Step;
use super::spread::{Group, Sibling, even_cuts, sibling, sibling_places};
use crate::error::Error;
use crate::limits::is_inline;
use crate::node::LEAF;
use crate::node::leaf::{self, Carried, Leaf};
use crate::tree::TreeRoot;
use crate::value::{LARGE_REF_SIZE, LargeRef, Stored};
use llmdb_pager::{Error as PagerError, PageSource as _, WriteTxn};

/// A sibling takes records over when this part of a page is free in it. Less, and the next inserts would
/// soon shift again; more, and leaves stay emptier.
const SHIFT_ROOM: usize = 8;

/// Inserts or replaces a record. Answers the large value that it replaced.
pub(crate) fn insert(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    finger: &mut Finger,
    key: &[u8],
    value: &Stored<'_>,
) -> Result<Option<LargeRef>, Error> {
    if tree.root.is_null() {
        finger.lift();
        let at = txn.allocate(LEAF, 0)?;
        leaf::init(txn.page_mut(at), &[]);
        tree.root = at;
    }
    finger.put(txn, &mut tree.root, key)?;
    let page = Leaf::new(txn.page(finger.leaf)?);
    let found = page.search(key);
    let replaced = match found.map(|index| page.value(index)) {
        Ok(Stored::Large(large)) => Some(large),
        _ => None,
    };
    put_in(txn, tree, finger, found, key, value)?;
    Ok(replaced)
}

/// Replaces or inserts a record by one that is made of what stands there, all of it in the leaf. Whether that was done: not
/// where the tree is empty, a value does not stand in the leaf, or `make` does not want to.
pub(crate) fn change(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    finger: &mut Finger,
    key: &[u8],
    new: &mut Vec<u8>,
    make: impl FnOnce(Option<&[u8]>, &mut Vec<u8>) -> bool,
) -> Result<bool, Error> {
    if tree.root.is_null() {
        return Ok(false);
    }
    finger.put(txn, &mut tree.root, key)?;
    let page = Leaf::new(txn.page(finger.leaf)?);
    let found = page.search(key);
    let old = match found.map(|index| page.value(index)) {
        Ok(Stored::Inline(old)) => Some(old),
        Ok(Stored::Large(_)) => return Ok(false),
        Err(_) => None,
    };
    new.clear();
    if !make(old, new) || !is_inline(txn.page_size(), key.len(), new.len() as u64) {
        return Ok(false);
    }
    put_in(txn, tree, finger, found, key, &Stored::Inline(new))?;
    Ok(true)
}

/// Puts a record into the finger's leaf, at the place that was found for it.
fn put_in(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    finger: &mut Finger,
    found: Result<usize, usize>,
    key: &[u8],
    value: &Stored<'_>,
) -> Result<(), Error> {
    let bytes = txn.page_mut(finger.leaf);
    let fits = match found {
        Ok(index) => leaf::replace(bytes, index, key, value),
        Err(index) => {
            finger.inserted(index);
            leaf::insert(bytes, index, key, value)
        }
    };
    if !fits {
        overflow(txn, tree, finger, found, key, value)?;
    }
    tree.len += u64::from(found.is_err());
    Ok(())
}

/// Makes room for a record that belongs at an index of the finger's leaf, and puts it in.
fn overflow(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    finger: &mut Finger,
    place: Result<usize, usize>,
    key: &[u8],
    value: &Stored<'_>,
) -> Result<(), Error> {
    let mut room = [0; LARGE_REF_SIZE];
    let record = Carried::new(key, value, &mut room);
    let mut group = Group::alone(txn, &finger.steps, finger.leaf)?;
    finger.lift();
    let index = match place {
        Ok(index) => index,
        Err(index) => {
            if run_split(txn, tree, finger, &mut group, index, record)? {
                return Ok(());
            }
            index
        }
    };
    finger.rest();
    if share(txn, tree, &mut finger.steps, &mut group, index, record)? {
        return Ok(());
    }
    group.drop_sibling();
    let records = group.records_with(index, record);
    let even = even_cuts(&records, group.prefix_len(), 2);
    // The even cut fits unless a page was made to harm: no cell takes more than half a leaf.
    for cut in even.into_iter().chain(1..records.len()) {
        if group.write(txn, tree, &finger.steps, &records, &[cut])?.is_some() {
            return Ok(());
        }
    }
    let (number, cells) = (group.number(), records.len() as u64);
    Err(PagerError::damaged(number, "a leaf's cells are larger than any can be", "half a page each", cells)
        .into())
}

/// Splits at the insert where the latest ones were a run, or at the tree's edge. Whether that was done.
fn run_split(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    finger: &mut Finger,
    group: &mut Group,
    index: usize,
    record: Carried<'_>,
) -> Result<bool, Error> {
    let count = group.len();
    let run = match finger.run() {
        Run::None if group.high.is_none() && index == count => Run::Rising,
        Run::None if group.low.is_none() && index == 0 => Run::Falling,
        Run::None => return Ok(false),
        run => run,
    };
    // What stands beyond the run moves to the sibling there, if it has room, and the run fills the leaf.
    let beyond = if run == Run::Rising { index..count } else { 0..index };
    if !beyond.is_empty() {
        let prefix_len = group.prefix_len();
        let size: usize = group.records()[beyond].iter().map(|record| record.cost(prefix_len)).sum();
        let at = if run == Run::Rising { group.first + 1 } else { group.first.wrapping_sub(1) };
        let sibling = sibling(txn, &mut finger.steps, at)?;
        if let Some(sibling) = sibling.filter(|sibling| sibling.used + size <= txn.page_size()) {
            group.add(txn, &mut finger.steps, &sibling)?;
            let records = group.records_with(index, record);
            let (cut, part, place) = match run {
                Run::Rising => (index + 1, 0, index),
                _ => (group.border() + index, 1, 0),
            };
            if let Some(leaves) = group.write(txn, tree, &finger.steps, &records, &[cut])? {
                finger.moved(leaves[part], place);
                return Ok(true);
            }
            group.drop_sibling();
        }
    }
    // The half without the run is left at least half full; the run fills the other.
    let behind = match run {
        Run::Rising => index * 2 >= count,
        _ => (count - index) * 2 < count,
    };
    let records = group.records_with(index, record);
    let (cut, part, place) = if behind { (index, 1, 0) } else { (index + 1, 0, index) };
    if cut == 0 || cut == records.len() {
        return Ok(false);
    }
    let Some(leaves) = group.write(txn, tree, &finger.steps, &records, &[cut])? else { return Ok(false) };
    finger.moved(leaves[part], place);
    Ok(true)
}

/// Shares the records with a sibling: two leaves stay two if there is room, and become three if not. Whether
/// that was done.
fn share(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    steps: &mut [Step],
    group: &mut Group,
    index: usize,
    record: Carried<'_>,
) -> Result<bool, Error> {
    let limit = txn.page_size() - txn.page_size() / SHIFT_ROOM - record.cost(group.prefix_len());
    // The first one with room is it; one that is the transaction's own already costs no copy.
    let mut best: Option<Sibling> = None;
    for place in sibling_places(txn, steps)?.into_iter().flatten() {
        let found = sibling(txn, steps, place)?;
        if let Some(found) = found.filter(|found| best.is_none() || found.used <= limit) {
            best = Some(found);
        }
        if best.as_ref().is_some_and(|best| best.used <= limit) {
            break;
        }
    }
    let Some(sibling) = best else { return Ok(false) };
    let has_room = Leaf::new(txn.page(sibling.at)?).used() <= limit;
    group.add(txn, steps, &sibling)?;
    let records = group.records_with(index, record);
    let prefix_len = group.prefix_len();
    for parts in if has_room { 2..=3 } else { 3..=3 } {
        if records.len() >= parts {
            let cuts = even_cuts(&records, prefix_len, parts);
            if group.write(txn, tree, steps, &records, &cuts)?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
