//! Overwriting the bytes of what was erased, and the proof that none is left.
//!
//! ```text
//! erase: the commit says that a wipe is owed ──> wipe: the store overwrites all that is not there ──> no longer owed
//!                                                       a crash on the way: still owed
//! ```
//!
//! Invariants
//! 1. A wipe is owed from the commit that erased until a wipe after it was complete and flushed, crashes or not.
//! 2. One that was erased while a wipe went on is owed a wipe of its own.
//!
//! Not here: how (`llmdb_wal::Store::wipe`).

use llmdb_wal::Wiped;

use crate::catalog;
use crate::database::Temporal;
use crate::error::Error;
use crate::marks;
use crate::types::CommitNumber;

impl Temporal {
    /// The newest commit with an erasure whose bytes may still stand in the files; `None` where no wipe is owed.
    ///
    /// # Errors
    /// The store's errors, and [`Error::Damaged`].
    pub fn wipe_owed(&self) -> Result<Option<CommitNumber>, Error> {
        let read = self.store().begin_read()?;
        Ok(marks::wipe_owed(read.tree(catalog::MARKS)?)?.map(CommitNumber::new))
    }

    /// Overwrites the bytes of everything that was erased, in data file and log, and of all else that is not there any more:
    /// see [`Store::wipe`](llmdb_wal::Store::wipe). Where that was complete, no wipe is owed any more. Where a snapshot that
    /// was open before keeps pages it is not complete, and still owed: call again when the snapshot is closed.
    ///
    /// Cost: a read of all trees, and writes of what is found; transactions wait meanwhile. Its own commits have numbers, at
    /// which nothing changes.
    ///
    /// ```
    /// use llmdb_temporal::{Period, Temporal};
    /// # use llmdb_wal::StoreOptions;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("people.llmdb");
    /// # let db = Temporal::open(StoreOptions::new().open(&path)?)?;
    /// let mut tx = db.begin_write()?;
    /// tx.put("people", b"ada lovelace", Period::ALL, b"her secret")?;
    /// tx.commit()?;
    /// let mut tx = db.begin_write()?;
    /// tx.erase("people", b"ada lovelace", "asked for on 3 March")?;
    /// tx.commit()?;
    /// assert!(db.wipe_owed()?.is_some());
    /// assert!(db.wipe()?.is_complete());
    /// assert!(db.wipe_owed()?.is_none());
    /// let bytes = std::fs::read(&path)?;
    /// assert!(!bytes.windows(8).any(|window| window == b"lovelace" || window == b"r secret"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The store's errors: a damaged page, a full disk, a failing one. It is still owed then.
    pub fn wipe(&self) -> Result<Wiped, Error> {
        let owed = self.wipe_owed()?;
        let wiped = self.store().wipe()?;
        if let Some(owed) = owed.filter(|_| wiped.is_complete()) {
            self.settle(owed)?;
        }
        Ok(wiped)
    }

    /// Takes the mark away, if it is still the one of this commit.
    fn settle(&self, owed: CommitNumber) -> Result<(), Error> {
        let mut txn = self.store().begin_write()?;
        let Some(marks) = txn.open_tree(catalog::MARKS)? else { return Ok(()) };
        if marks::wipe_owed(Some(txn.tree(marks)?))? != Some(owed.get()) {
            return Ok(());
        }
        txn.remove(marks, marks::WIPE_OWED)?;
        // Just behind the newest commit: nobody's next one shall get another time for it.
        txn.set_time(i64::MIN);
        txn.commit()?;
        Ok(())
    }
}
