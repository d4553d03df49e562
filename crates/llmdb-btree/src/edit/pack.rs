//! Packing a row of records, or of children, into as few pages of a transaction as hold them, from the left.

use crate::error::Error;
use crate::node::branch;
use crate::node::leaf::{self, Carried};
use crate::node::{BRANCH, shared_prefix};
use crate::pack::{branch_part, leaf_part};
use llmdb_pager::{PageSource as _, Ref, WriteTxn};

/// A page that was made, and the separator before it; `None` for the first one.
pub(super) type Made = (Option<Vec<u8>>, Ref);

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
        let at = txn.allocate_unwritten()?;
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
