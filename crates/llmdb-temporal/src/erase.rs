//! Taking a key out of all of time, as if it had never been, and the record that something was.
//!
//! ```text
//! the tree of erasures
//! key, big-endian:  SIZE  DESCRIPTION
//!                      8  commit, u64
//!                      8  place of the operation in its transaction, u64
//! record:              n  why, in the words of who asked for it, UTF-8, n >= 0 bytes
//! ```
//!
//! Invariants
//! 1. No question about any commit finds anything of the key, nor does the change feed tell of it.
//! 2. Nothing of another key changes.
//! 3. The record says when and why, and not what.
//!
//! 4. A commit that erases marks, in itself, that a wipe is owed, until one was complete (`wipe`).
//!
//! Where bytes stay after the commit: places in pages that records left, pages that are free, separators above leaves, and the
//! log. [`Temporal::wipe`](crate::Temporal::wipe) overwrites all of these.
//!
//! Cost: all recorded operations are read once for each erased key, and the index of where facts begin, if there is one.

use std::ops::Bound::Unbounded;

use crate::catalog;
use crate::commits::Commits;
use crate::encoding;
use crate::error::Error;
use crate::marks;
use crate::ops::{self, Log};
use crate::read::TemporalRead;
use crate::starts;
use crate::types::Erasure;
use crate::write::TemporalWrite;

impl TemporalWrite {
    /// Takes a key out of all of time: its beliefs, as of whatever commit, and its operations, those of this transaction
    /// too. Records that something was erased and why, without saying what, so the reason should not name it. Whether
    /// there was anything; where there was not, nothing is recorded.
    ///
    /// From this commit on no question finds anything of it, and the key can be put anew. Its bytes stay in places of the
    /// data file and the log that are free or stale, until [`Temporal::wipe`](crate::Temporal::wipe) was called and complete:
    /// that it is owed is part of this commit, and outlives a crash.
    ///
    /// ```
    /// use llmdb_temporal::{Known, Period, Temporal, ValidTime};
    /// # use llmdb_wal::StoreOptions;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Temporal::open(StoreOptions::new().open(folder.path().join("people.llmdb"))?)?;
    /// let mut tx = db.begin_write()?;
    /// tx.put("people", b"ada", Period::ALL, b"Paris")?;
    /// let then = tx.commit()?;
    /// let mut tx = db.begin_write()?;
    /// assert!(tx.erase("people", b"ada", "asked for by mail on 3 March")?);
    /// tx.commit()?;
    /// let read = db.begin_read()?;
    /// let noon = ValidTime::from_micros(0)?;
    /// assert_eq!(read.get("people", b"ada", noon, Known::At(then.at))?, None);
    /// assert_eq!(read.erasures()?[0].reason, "asked for by mail on 3 March");
    /// drop(read);
    /// assert!(db.wipe()?.is_complete());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A collection name or key that does not fit; [`Error::ValueTooLong`] for the reason; [`Error::TransactionFailed`]; the
    /// store's errors, after which the transaction can only be dropped.
    pub fn erase(&mut self, collection: &str, key: &[u8], reason: &str) -> Result<bool, Error> {
        if self.failed {
            return Err(Error::TransactionFailed);
        }
        catalog::check_name(collection)?;
        self.check_key(key)?;
        if reason.len() > REASON_SIZE_MAX {
            return Err(Error::ValueTooLong { length: reason.len(), limit: REASON_SIZE_MAX });
        }
        let result = self.take_out(collection, key, reason);
        self.failed = result.is_err();
        result
    }

    fn take_out(&mut self, collection: &str, key: &[u8], reason: &str) -> Result<bool, Error> {
        self.apply_pending()?;
        let Some(trees) = self.open(collection)? else { return Ok(false) };
        let prefix = encoding::prefix(key);
        let mut operations = Vec::new();
        for row in Log::between(Some(self.txn.tree(self.system.ops)?), None, u64::MAX) {
            let (commit, index, recorded) = row?;
            if recorded.collection == trees.number && recorded.key == key {
                operations.push(ops::log_key(commit, index));
            }
        }
        for operation in &operations {
            self.txn.remove(self.system.ops, operation)?;
        }
        let was_there = self.txn.remove(trees.now, &prefix)?;
        self.txn.remove_prefix(trees.past, &prefix)?;
        self.txn.remove_prefix(trees.ranges, &prefix)?;
        self.drop_filter(trees.number)?;
        if let Some(starts) = trees.starts {
            for entry in starts::entries_of(self.txn.tree(starts)?, &prefix)? {
                self.txn.remove(starts, &entry)?;
            }
        }
        if !was_there && operations.is_empty() {
            return Ok(false);
        }
        let erased = self.txn.create_tree(catalog::ERASED)?;
        let place = u128::from(self.number().get()) << 64 | u128::from(self.next_index()?);
        self.txn.insert(erased, &place.to_be_bytes(), reason.as_bytes())?;
        let marks = self.txn.create_tree(catalog::MARKS)?;
        self.txn.insert(marks, marks::WIPE_OWED, &marks::record(self.number().get()))?;
        self.operation_count += 1;
        Ok(true)
    }
}

/// Bytes that a reason may have.
const REASON_SIZE_MAX: usize = 64 << 10;

impl TemporalRead {
    /// When and why something was erased, in order.
    ///
    /// # Errors
    /// The store's errors, and [`Error::Damaged`].
    pub fn erasures(&self) -> Result<Vec<Erasure>, Error> {
        let Some(tree) = self.txn().tree(catalog::ERASED)? else { return Ok(Vec::new()) };
        let commits = Commits::of(self.txn())?;
        let mut found = Vec::new();
        for row in tree.range(Unbounded, Unbounded) {
            let (key, record) = row?;
            let commit =
                key.first_chunk().filter(|_| key.len() == 16).map(|commit| u64::from_be_bytes(*commit));
            let reason = std::str::from_utf8(record);
            let (Some(commit), Ok(reason)) = (commit, reason) else {
                let what = "the record of an erasure has no commit, or a reason that is not UTF-8".into();
                return Err(Error::Damaged {
                    place: format!("tree {}", catalog::ERASED),
                    key,
                    commit: None,
                    what,
                });
            };
            found.push(Erasure { commit: commits.stamp(commit)?, reason: reason.to_owned() });
        }
        Ok(found)
    }
}
