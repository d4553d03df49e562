//! The change feed: what was committed since a commit, read from the log.
//!
//! Invariants
//! 1. Only durable commits are told, in order, each once, without a gap; who resumes behind the last number that it was
//!    told misses nothing.
//! 2. What the log does not hold any more is an error that names the oldest commit that it has.

use super::redo::{Redo, operations, time_of};
use super::{CommitSeq, Inner, Receipt, Store};
use crate::error::Error;
use crate::log::Record;
use llmdb_btree::{LargeRef, TreeId};

/// A commit as the feed tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its number and time.
    pub receipt: Receipt,
    /// What it did, in the order in which it did it.
    pub changes: Vec<Change>,
}

/// One thing that a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A record was inserted or replaced.
    Insert {
        /// The tree.
        tree: TreeId,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// A record with a large value was inserted or replaced. The log knows where the value stands, not what it is:
    /// read it from a snapshot, where it may have been replaced since.
    InsertLarge {
        /// The tree.
        tree: TreeId,
        /// The key.
        key: Vec<u8>,
        /// Length and hash of the value, among others.
        value: LargeRef,
    },
    /// A record was removed.
    Remove {
        /// The tree.
        tree: TreeId,
        /// The key.
        key: Vec<u8>,
    },
    /// The records of a range of keys were removed.
    RemoveRange {
        /// The tree.
        tree: TreeId,
        /// The first key that may have been in it; empty = no bound.
        low: Vec<u8>,
        /// The first key behind it; empty = no bound.
        high: Vec<u8>,
    },
    /// A tree was made.
    CreateTree {
        /// The tree.
        tree: TreeId,
        /// Its name.
        name: String,
    },
    /// A tree was dropped, with all its records.
    DropTree {
        /// Its name.
        name: String,
    },
}

impl Store {
    /// The durable commits from number `from` on, at most `count`, oldest first; fewer, or none, where there are no more
    /// yet. Go on with the last one's number plus one. The log holds the newest `log_capacity` bytes of them, since
    /// the database was opened or, after a crash, since the checkpoint before it.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let store = llmdb_wal::Store::open(folder.path().join("notes.llmdb"))?;
    /// let mut txn = store.begin_write()?;
    /// let notes = txn.create_tree("notes")?;
    /// txn.insert(notes, b"monday", b"rain")?;
    /// txn.commit()?;
    /// let told = store.changes(1, 100)?;
    /// assert_eq!((told.len(), told[0].changes.len()), (1, 2));
    /// assert!(store.changes(2, 100)?.is_empty(), "nothing new yet");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::CommitsGone`] where `from` is older than the log; [`Error::LogDamaged`].
    pub fn changes(&self, from: CommitSeq, count: usize) -> Result<Vec<Committed>, Error> {
        self.inner.check_open()?;
        self.inner.changes(from, count)
    }

    /// The oldest commit that [`Store::changes`] can begin with; `None` where the log holds none.
    pub fn oldest_change(&self) -> Option<CommitSeq> {
        self.inner.log().log.as_ref()?.oldest_commit()
    }
}

impl Inner {
    fn changes(&self, from: CommitSeq, count: usize) -> Result<Vec<Committed>, Error> {
        let newest = self.pager.snapshot().commit();
        let log = self.log().log.clone();
        let Some(log) = log.filter(|log| log.oldest_commit().is_some()) else {
            return if from > newest {
                Ok(Vec::new())
            } else {
                Err(Error::CommitsGone { wanted: from, oldest: newest + 1 })
            };
        };
        let mut told = Vec::new();
        if count == 0 {
            return Ok(told);
        }
        log.read_from(from.max(1), &mut |record| {
            told.push(committed(&record).map_err(|what| Error::LogDamaged {
                path: log.path().into(),
                lsn: record.lsn,
                what,
            })?);
            Ok(told.len() < count)
        })?;
        Ok(told)
    }
}

fn committed(record: &Record<'_>) -> Result<Committed, &'static str> {
    let time = time_of(&record.payload).ok_or("a record is too short")?;
    let changes = operations(&record.payload).map(|op| op.map(Change::from)).collect::<Result<_, _>>()?;
    Ok(Committed { receipt: Receipt { seq: record.commit, time }, changes })
}

impl From<Redo<'_>> for Change {
    fn from(op: Redo<'_>) -> Self {
        let id = TreeId::from_number;
        match op {
            Redo::Insert { tree, key, value } => {
                Self::Insert { tree: id(tree), key: key.into(), value: value.into() }
            }
            Redo::InsertLarge { tree, key, value } => {
                Self::InsertLarge { tree: id(tree), key: key.into(), value }
            }
            Redo::Remove { tree, key } => Self::Remove { tree: id(tree), key: key.into() },
            Redo::RemoveRange { tree, low, high } => {
                Self::RemoveRange { tree: id(tree), low: low.into(), high: high.into() }
            }
            Redo::CreateTree { tree, name } => Self::CreateTree { tree: id(tree), name: name.into() },
            Redo::DropTree { name } => Self::DropTree { name: name.into() },
        }
    }
}
