//! The trees of a transaction that writes, by number.
//!
//! Not here: their names (`catalog`).

use llmdb_wal::TreeId;

/// The trees that all collections share.
#[derive(Clone, Copy)]
pub(crate) struct SystemTrees {
    pub(crate) catalog: TreeId,
    pub(crate) commits: TreeId,
    pub(crate) times: TreeId,
    pub(crate) ops: TreeId,
}

/// The trees of one collection.
#[derive(Clone, Copy)]
pub(crate) struct CollectionTrees {
    pub(crate) number: u32,
    pub(crate) now: TreeId,
    pub(crate) past: TreeId,
    pub(crate) ranges: TreeId,
    /// There once it was asked for.
    pub(crate) starts: Option<TreeId>,
}
