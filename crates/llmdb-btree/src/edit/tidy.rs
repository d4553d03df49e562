//! Building a page anew in its place: the same records, or the same children, and nothing else.

use super::path::own_path;
use crate::error::Error;
use crate::node::{branch, leaf};
use crate::tree::TreeRoot;
use llmdb_pager::{Error as PagerError, WriteTxn};

/// Builds the page at a level on the way to `key` anew, a branch with these separators.
pub(crate) fn rebuild(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    key: &[u8],
    level: u8,
    separators: &[Vec<u8>],
) -> Result<(), Error> {
    let mut steps = Vec::new();
    let at = own_path(txn, &mut tree.root, key, &mut steps)?;
    let Some(above) = usize::from(level).checked_sub(1) else {
        leaf::compact(txn.page_mut(at));
        return Ok(());
    };
    let Some(&(at, _)) = steps.iter().rev().nth(above) else {
        let what = "a tree has fewer levels than it had before";
        return Err(PagerError::damaged(at.number(), what, u64::from(level), steps.len() as u64).into());
    };
    if !branch::rebuild(txn.page_mut(at), separators) {
        let what = "a branch cannot be built of its own separators";
        return Err(PagerError::damaged(at.number(), what, "room for them", "less").into());
    }
    Ok(())
}
