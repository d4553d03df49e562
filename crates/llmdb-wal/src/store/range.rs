//! Removing many records of a store at once: one operation in the log, however many there were.

use super::WriteTxn;
use super::redo::Redo;
use crate::error::Error;
use llmdb_btree::TreeId;
use std::ops::Bound;

impl WriteTxn {
    /// Removes the records of a tree between two bounds, as [`llmdb_btree::WriteTxn::remove_range`]. Answers how many
    /// there were. The log gets the two bounds.
    ///
    /// ```
    /// use std::ops::Bound::{Excluded, Included};
    /// # let folder = tempfile::tempdir()?;
    /// # let store = llmdb_wal::Store::open(folder.path().join("r.llmdb"))?;
    /// let mut txn = store.begin_write()?;
    /// let days = txn.create_tree("days")?;
    /// for day in [b"2026-01-31", b"2026-02-01", b"2026-02-02", b"2026-03-01"] {
    ///     txn.insert(days, day, b"")?;
    /// }
    /// assert_eq!(txn.remove_range(days, Included(b"2026-02"), Excluded(b"2026-03"))?, 2);
    /// assert_eq!(txn.remove_prefix(days, b"2026-03")?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A damaged page, which ends the transaction.
    pub fn remove_range(
        &mut self,
        tree: TreeId,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
    ) -> Result<u64, Error> {
        // No key is empty, so an empty bound says that there is none.
        let behind = |key: &[u8]| [key, &[0]].concat();
        let low = match low {
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => behind(key),
            Bound::Unbounded => Vec::new(),
        };
        let high = match high {
            Bound::Included(key) => behind(key),
            Bound::Excluded([]) => return Ok(0),
            Bound::Excluded(key) => key.to_vec(),
            Bound::Unbounded => Vec::new(),
        };
        let removed = self.trees.remove_range(tree, Bound::Included(&low), high_bound(&high))?;
        if removed > 0 {
            self.redo.push(Redo::RemoveRange { tree: tree.number(), low: &low, high: &high });
        }
        Ok(removed)
    }

    /// Removes the records of a tree whose keys begin with `prefix`; all, if it is empty. As
    /// [`WriteTxn::remove_range`].
    ///
    /// # Errors
    /// As [`WriteTxn::remove_range`].
    pub fn remove_prefix(&mut self, tree: TreeId, prefix: &[u8]) -> Result<u64, Error> {
        let mut behind = prefix.to_vec();
        while behind.pop_if(|last| *last == u8::MAX).is_some() {}
        if let Some(last) = behind.last_mut() {
            *last += 1;
        }
        self.remove_range(tree, Bound::Included(prefix), high_bound(&behind))
    }
}

/// The upper bound that bytes in a log mean.
pub(super) fn high_bound(high: &[u8]) -> Bound<&[u8]> {
    if high.is_empty() { Bound::Unbounded } else { Bound::Excluded(high) }
}
