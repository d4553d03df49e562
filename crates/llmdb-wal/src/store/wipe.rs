//! Leaving nothing in the files but what is there: after records were removed, their bytes too.
//!
//! ```text
//! pages of trees built anew where they hold rests ─> checkpoint ─> log space zeroed ─> free pages zeroed
//! ```
//!
//! What stands where after a record was removed:
//!
//! | where | until |
//! | --- | --- |
//! | holes and free space of leaves and branches, separators | the page is built anew (`llmdb_btree::WriteTxn::tidy`) |
//! | pages that the newest state left | they are free, and overwritten |
//! | behind a shorter large value in its last page | overwritten |
//! | records of the log, those that say that it was removed too | a checkpoint holds the commit, and the space is overwritten |
//! | pages that a transaction spilled and left | they are free, and overwritten |
//!
//! Invariants
//! 1. A crash at any point leaves a whole database; wiping again does what is left.
//! 2. A wipe that says that it is complete leaves no byte in data file and log that no record, separator or page that is there
//!    put there.
//!
//! Not here: who must remember that a wipe is owed (the layers above), what devices keep of blocks that were overwritten or
//! given back, copies and backups that were made before.

use super::Store;
use super::durability::Durability;
use crate::error::Error;
use llmdb_btree::{Tidied, TidyFrom};
use std::sync::PoisonError;

/// Pages that one commit builds anew, at most: 256 MiB of the default size.
const PAGES_MAX: u64 = 65_536;

/// What [`Store::wipe`] did, or what [`Store::rests`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wiped {
    /// Pages of trees that held something beside their records or children.
    pub pages: u64,
    /// Bytes of free pages, and behind large values, that were not zero.
    pub free_bytes: u64,
    /// Bytes of unneeded log space that were not zero.
    pub log_bytes: u64,
    /// Pages that could not be overwritten, as a snapshot that is open still sees them.
    pub kept_pages: u64,
    /// The commit that the oldest open snapshot sees, where pages are kept.
    pub oldest_snapshot: Option<u64>,
}

impl Wiped {
    /// Whether nothing is left.
    pub fn is_complete(&self) -> bool {
        self.kept_pages == 0
    }

    /// Whether nothing was found that is not there.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl Store {
    /// Overwrites everything in data file and log that is not there any more: builds pages anew that hold rests of records,
    /// makes a checkpoint, and overwrites with zeros what log space and pages are free then. Backups and dense copies
    /// made afterwards hold none of it either.
    ///
    /// Snapshots that were open before keep the pages that they see: then [`Wiped::kept_pages`] says how many, and once they
    /// are closed another call does the rest. Transactions wait while trees are walked over and free room is overwritten.
    /// The walk costs a read of all trees; the changed pages are a commit, or a few, with numbers of their own, past the log:
    /// the feed of changes has a gap there ([`Store::changes`]).
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("people.llmdb");
    /// let store = llmdb_wal::Store::open(&path)?;
    /// let people = store.write(|txn| txn.create_tree("people"))?.0;
    /// store.write(|txn| txn.insert(people, b"ada lovelace", b"her secret"))?;
    /// store.write(|txn| txn.remove(people, b"ada lovelace"))?;
    /// assert!(store.wipe()?.is_complete());
    /// assert!(store.rests()?.is_clean());
    /// for file in [path.clone(), llmdb_pager::beside(&path, "-wal")] {
    ///     assert!(!std::fs::read(file)?.windows(10).any(|window| window == b"her secret"));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`]; [`llmdb_pager::Error::ReadOnly`]; a damaged page; a full disk, with nothing lost; an I/O error,
    /// which ends all writing.
    pub fn wipe(&self) -> Result<Wiped, Error> {
        self.inner.check_open()?;
        self.inner.check_writable()?;
        let mut wiped = Wiped::default();
        let mut from = Some(TidyFrom::default());
        while let Some(at) = from {
            let mut txn = self.begin_write()?;
            let tidied = txn.trees.tidy(&at, PAGES_MAX, true)?;
            wiped.add(&tidied);
            // What stood behind large values is overwritten with or without it, and flushed with the free pages.
            if tidied.pages > 0 {
                // Just behind the newest commit: nobody's next one shall get another time for it.
                txn.set_time(i64::MIN);
                txn.commit_with(Durability::NoLog)?;
            }
            from = tidied.next;
        }
        // The store's own thread sees a snapshot of its own until its checkpoint has ended wholly.
        let _none_beside = self.inner.checkpointing.lock().unwrap_or_else(PoisonError::into_inner);
        self.checkpoint()?;
        let newest = self.wipe_log(&mut wiped, true)?;
        let free = self.inner.pager.wipe_free(newest, true)?;
        self.inner.pager.sync_extents()?;
        wiped.free_bytes += free.bytes;
        (wiped.kept_pages, wiped.oldest_snapshot) = (free.kept_pages, free.oldest_snapshot);
        Ok(wiped)
    }

    /// What [`Store::wipe`] would find now, without changing anything: clean says that nothing stands in data file and log
    /// but what is there. Log records behind the newest checkpoint count as there: [`Store::checkpoint`] before.
    ///
    /// # Errors
    /// As [`Store::wipe`].
    pub fn rests(&self) -> Result<Wiped, Error> {
        self.inner.check_open()?;
        self.inner.check_writable()?;
        let mut found = Wiped::default();
        let mut txn = self.begin_write()?;
        let mut from = Some(TidyFrom::default());
        while let Some(at) = from {
            let tidied = txn.trees.tidy(&at, PAGES_MAX, false)?;
            found.add(&tidied);
            from = tidied.next;
        }
        drop(txn);
        let newest = self.wipe_log(&mut found, false)?;
        let free = self.inner.pager.wipe_free(newest, false)?;
        found.free_bytes += free.bytes;
        (found.kept_pages, found.oldest_snapshot) = (free.kept_pages, free.oldest_snapshot);
        Ok(found)
    }

    /// Wipes the log while nobody commits. Answers the newest commit.
    fn wipe_log(&self, wiped: &mut Wiped, overwrite: bool) -> Result<u64, Error> {
        let txn = self.inner.pager.begin_write()?;
        let state = self.inner.log();
        self.inner.flushed_log(&state)?;
        if let Some(log) = &state.log {
            let done = log.wipe(overwrite);
            wiped.log_bytes += done.inspect_err(|error| self.inner.pager.poison(&error.to_string()))?;
        }
        Ok(txn.base_commit())
    }
}

impl Wiped {
    fn add(&mut self, tidied: &Tidied) {
        self.pages += tidied.pages;
        self.free_bytes += tidied.bytes_behind;
    }
}
