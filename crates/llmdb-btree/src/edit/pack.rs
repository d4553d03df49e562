//! Packing a row of records, or of children, into as few pages as hold them, from the left.
//!
//! Invariants
//! 1. A page is measured with the prefix that its own fences share, so what is packed fits whatever the keys.

use crate::error::Error;
use crate::node::branch;
use crate::node::leaf::{self, Carried};
use crate::node::{BRANCH, LEAF, separator, shared_prefix};
use llmdb_pager::{PageSource as _, Ref, WriteTxn};

/// A page that was made, and the separator before it; `None` for the first one.
pub(super) type Made = (Option<Vec<u8>>, Ref);

/// How many of the records, at most `count`, fit into a leaf that begins at `low`, and where it ends. Keys behind
/// them are at least `high`, which is the end if all of them fit.
pub(super) fn leaf_part(
    records: &[Carried<'_>],
    count: usize,
    low: Option<&[u8]>,
    high: Option<&[u8]>,
    room: usize,
) -> (usize, Option<Vec<u8>>) {
    for part in (2..=count).rev() {
        let end = leaf_end(records, part, high);
        let prefix = shared_prefix(low, end.as_deref());
        if leaf::records_use(prefix.len(), &records[..part]) <= room {
            return (part, end);
        }
    }
    // A record alone fits into any leaf.
    (count.min(1), leaf_end(records, count.min(1), high))
}

/// The fence behind the first `part` records.
fn leaf_end(records: &[Carried<'_>], part: usize, high: Option<&[u8]>) -> Option<Vec<u8>> {
    if part == records.len() {
        return high.map(<[u8]>::to_vec);
    }
    Some(separator(&records[part - 1].key(), &records[part].key()).to_vec())
}

/// How many of the children fit into a branch that begins at `low`. The branch ends at the separator behind
/// them, or at `high` if all of them fit.
pub(super) fn branch_part(
    separators: &[&[u8]],
    low: Option<&[u8]>,
    high: Option<&[u8]>,
    room: usize,
) -> usize {
    for part in (2..=separators.len() + 1).rev() {
        let prefix = shared_prefix(low, separators.get(part - 1).copied().or(high));
        if super::children::fits(room, room, prefix, &separators[..part - 1]) {
            return part;
        }
    }
    1
}

/// Makes leaves of the records between two fences; one at least.
pub(super) fn leaves(
    txn: &mut WriteTxn,
    mut records: &[Carried<'_>],
    mut low: Option<Vec<u8>>,
    high: Option<&[u8]>,
) -> Result<Vec<Made>, Error> {
    let mut made = Vec::new();
    let mut before = None;
    loop {
        let (part, end) = leaf_part(records, records.len(), low.as_deref(), high, txn.page_size());
        let at = txn.allocate(LEAF, 0)?;
        let prefix = shared_prefix(low.as_deref(), end.as_deref());
        leaf::build(txn.page_mut(at), prefix, &records[..part]);
        made.push((before, at));
        records = &records[part..];
        if records.is_empty() {
            return Ok(made);
        }
        (before, low) = (end.clone(), end);
    }
}

/// Makes branches of `level` of the children between two fences; one at least.
pub(super) fn branches<'k>(
    txn: &mut WriteTxn,
    level: u8,
    mut separators: &'k [&'k [u8]],
    mut children: &[Ref],
    mut low: Option<&'k [u8]>,
    high: Option<&[u8]>,
) -> Result<Vec<Made>, Error> {
    let mut made = Vec::new();
    let mut before = None;
    loop {
        let part = branch_part(separators, low, high, txn.page_size());
        let end = separators.get(part - 1).copied();
        let at = txn.allocate(BRANCH, level)?;
        let prefix = shared_prefix(low, end.or(high));
        branch::build(txn.page_mut(at), level, prefix, &separators[..part - 1], &children[..part]);
        made.push((before, at));
        let Some(end) = end else { return Ok(made) };
        (before, low) = (Some(end.to_vec()), Some(end));
        separators = &separators[part..];
        children = &children[part..];
    }
}
