//! The mark from which on answers are kept.
//!
//! Invariants
//! 1. Without a mark all history is kept, which is the same as a mark at commit 0.
//!
//! Not here: setting it (`retain`).

use llmdb_wal::Tree;

use crate::catalog;
use crate::error::Error;

/// The key of the oldest commit that can be asked about.
pub(crate) const KEPT_FROM: &[u8] = b"kept from";

/// The oldest commit that can be asked about; 0 where all can.
pub(crate) fn kept_from(marks: Option<Tree<'_>>) -> Result<u64, Error> {
    let Some(record) = marks.map_or(Ok(None), |marks| marks.get(KEPT_FROM))? else { return Ok(0) };
    record.try_into().map(u64::from_le_bytes).map_err(|_| Error::Damaged {
        place: format!("tree {}", catalog::MARKS),
        key: KEPT_FROM.to_vec(),
        commit: None,
        what: "the mark has not eight bytes".into(),
    })
}

/// The stored mark.
pub(crate) fn record(commit: u64) -> [u8; 8] {
    commit.to_le_bytes()
}
