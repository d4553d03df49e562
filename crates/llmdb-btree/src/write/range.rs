//! Removing many records at once.

use crate::database::WriteTxn;
use crate::edit;
use crate::error::Error;
use crate::forest::TreeId;
use std::ops::Bound;

impl WriteTxn {
    /// Removes the records of `tree` between two bounds. Answers how many there were. Pages inside are freed
    /// as wholes: O(height + pages that are freed).
    ///
    /// ```
    /// use std::ops::Bound::{Excluded, Included};
    /// # let folder = tempfile::tempdir()?;
    /// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("r.llmdb"))?;
    /// let mut txn = db.begin_write()?;
    /// let tree = txn.create_tree("numbers")?;
    /// for n in 0..1_000u32 {
    ///     txn.insert(tree, &n.to_be_bytes(), b"")?;
    /// }
    /// let (low, high) = (100u32.to_be_bytes(), 900u32.to_be_bytes());
    /// assert_eq!(txn.remove_range(tree, Included(&low), Excluded(&high))?, 800);
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
        let behind = |key: &[u8]| [key, &[0]].concat();
        let low = match low {
            Bound::Included(key) => Some(key.to_vec()),
            Bound::Excluded(key) => Some(behind(key)),
            Bound::Unbounded => None,
        };
        let high = match high {
            Bound::Included(key) => Some(behind(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
            Bound::Unbounded => None,
        };
        let range = edit::KeyRange { low: low.as_deref(), high: high.as_deref() };
        self.guard(|txn| {
            if !txn.has_tree(tree)? {
                return Ok(0);
            }
            txn.edit(tree, |pager, root, finger| edit::remove_range(pager, root, finger, range))
        })
    }

    /// Removes the records of `tree` whose keys begin with `prefix`; all, if it is empty. As
    /// [`WriteTxn::remove_range`].
    ///
    /// # Errors
    /// As [`WriteTxn::remove_range`].
    pub fn remove_prefix(&mut self, tree: TreeId, prefix: &[u8]) -> Result<u64, Error> {
        let end = prefix.iter().rposition(|byte| *byte < u8::MAX).map(|last| {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        });
        let high = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.remove_range(tree, Bound::Included(prefix), high)
    }
}
