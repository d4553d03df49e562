//! The marks: from which commit on answers are kept, and whether bytes of what was erased are still to be overwritten.
//!
//! Invariants
//! 1. Without a mark all history is kept, which is the same as a mark at commit 0.
//! 2. A commit that erases sets the mark that a wipe is owed; only a wipe that was complete takes it away.
//!
//! Not here: setting them (`retain`, `erase`), wiping (`wipe`).

use llmdb_wal::Tree;

use crate::catalog;
use crate::error::Error;

/// The key of the oldest commit that can be asked about.
pub(crate) const KEPT_FROM: &[u8] = b"kept from";

/// The key of the newest commit with an erasure whose bytes are not overwritten yet.
pub(crate) const WIPE_OWED: &[u8] = b"wipe owed";

/// The oldest commit that can be asked about; 0 where all can.
pub(crate) fn kept_from(marks: Option<Tree<'_>>) -> Result<u64, Error> {
    Ok(commit(marks, KEPT_FROM)?.unwrap_or(0))
}

/// The newest commit whose erasures are not overwritten yet.
pub(crate) fn wipe_owed(marks: Option<Tree<'_>>) -> Result<Option<u64>, Error> {
    commit(marks, WIPE_OWED)
}

fn commit(marks: Option<Tree<'_>>, mark: &[u8]) -> Result<Option<u64>, Error> {
    let Some(record) = marks.map_or(Ok(None), |marks| marks.get(mark))? else { return Ok(None) };
    record.try_into().map(u64::from_le_bytes).map(Some).map_err(|_| Error::Damaged {
        place: format!("tree {}", catalog::MARKS),
        key: mark.to_vec(),
        commit: None,
        what: "the mark has not eight bytes".into(),
    })
}

/// The stored mark.
pub(crate) fn record(commit: u64) -> [u8; 8] {
    commit.to_le_bytes()
}
