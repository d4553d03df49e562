//! Durable transactions over trees: each commit is one log record, visible after it is durable; checkpoints move
//! what the log holds into the data file.
//!
//! ```text
//! begin_write -> change trees in memory -> append the redo record -> (writer free) -> flush the log -> publish
//!                                                                 one flush for many     acknowledged from here
//! ```
//!
//! Invariants
//! 1. A snapshot sees only commits that are durable, but for those that were not asked to be
//!    ([`Durability`]).
//! 2. After a crash the state is that of some prefix of the commits, with every acknowledged one in it.
//! 3. What is recovered is durable before it is served.
//! 4. After a failed write or flush nothing is written until the store is opened anew.
//! 5. After a clean close the data file alone is the database.

mod ahead;
mod backup;
mod changes;
mod checkpoints;
mod commit;
mod durability;
mod flusher;
mod keeper;
mod maintenance;
mod options;
mod queue;
mod range;
mod recovery;
mod redo;
mod replay;
mod txn;
mod wipe;

pub use backup::restore;
pub use changes::{Change, Committed};
pub use checkpoints::RunningCheckpoint;
pub use durability::Durability;
pub use options::{Clock, OnProgress, StoreOptions};
pub use queue::{Batch, Ticket, WriteQueue};
pub use recovery::Recovery;
pub use txn::{Savepoint, WriteTxn};
pub use wipe::Wiped;

use crate::error::Error;
use crate::log::{Log, Position};
use flusher::Flusher;
use keeper::Keeper;
use llmdb_btree::ReadTxn;
use llmdb_pager::storage::Storage;
use llmdb_pager::{CheckReport, CheckpointProgress, Pager, PagerStat, Progress};
use options::Settings;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A commit's place in the order of all: 0 = nothing committed, 1 = the first. Dense.
pub type CommitSeq = u64;

/// What a commit was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its number.
    pub seq: CommitSeq,
    /// Its time, microseconds since 1970: later than every earlier commit's.
    pub time: i64,
}

/// An open database of durable trees. Clones share it; the last one to go closes it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Shared>,
}

/// What handles and transactions share: when the last goes, the store is closed, there and then. The store's own
/// thread is not among them.
#[derive(Debug)]
struct Shared(Arc<Inner>);

impl std::ops::Deref for Shared {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Shared {
    /// Sees to it that the log is flushed each `interval`, or as it was said before.
    fn keep_interval(&self, interval: Duration) -> Result<(), Error> {
        if self.settings.background {
            self.flusher.start(Arc::downgrade(&self.0), interval)?;
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody is left to tell; whatever fails here, the log holds every acknowledged commit.
        let _ = self.0.close();
    }
}

#[derive(Debug)]
struct Inner {
    pager: Pager,
    storage: Arc<dyn Storage>,
    settings: Settings,
    /// Changed only by whoever holds the writer.
    log: Mutex<LogState>,
    recovery: Recovery,
    closed: AtomicBool,
    keeper: Arc<Keeper>,
    flusher: Arc<Flusher>,
    /// One checkpoint in the background at a time.
    checkpointing: Mutex<()>,
    /// How many pages the newest state has that no checkpoint holds.
    pages_dirty: AtomicU64,
    /// How many operations the log holds that no checkpoint does, as far as they came since the open.
    operations: AtomicU64,
    /// The checkpoint that was planned last.
    in_flight: Mutex<Option<CheckpointProgress>>,
    /// Whether the last checkpoint in the background failed, as where the disk is full.
    is_stuck: AtomicBool,
}

/// The log, and what the data file's meta says of it.
#[derive(Debug)]
struct LogState {
    /// Made at the first commit.
    log: Option<Arc<Log>>,
    path: PathBuf,
    /// Where a log made now begins.
    next: Position,
    /// Whether the meta says that the log is needed.
    marked: bool,
    /// Memory for what the next transaction records.
    redo_memory: Vec<u8>,
}

impl Store {
    /// Opens or creates a database with default options.
    ///
    /// # Errors
    /// As [`StoreOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        StoreOptions::new().open(path)
    }

    /// Begins to read: what is committed now, unchanged for as long as it is held.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn begin_read(&self) -> Result<ReadTxn, Error> {
        self.inner.check_open()?;
        Ok(ReadTxn::of(self.inner.pager.snapshot()))
    }

    /// Begins to write, after the writer before has finished.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`llmdb_pager::Error::Poisoned`] after a failed write; [`llmdb_pager::Error::ReadOnly`].
    pub fn begin_write(&self) -> Result<WriteTxn, Error> {
        self.inner.check_open()?;
        self.inner.check_writable()?;
        self.inner.before_write()?;
        WriteTxn::begin(self.inner.clone())
    }

    /// Begins to write, changes what `change` says, and commits: what it answers, and the receipt. Where it fails
    /// nothing is changed. It is called once: nothing is retried.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let store = llmdb_wal::Store::open(folder.path().join("notes.llmdb"))?;
    /// let (notes, receipt) = store.write(|txn| {
    ///     let notes = txn.create_tree("notes")?;
    ///     txn.insert(notes, b"monday", b"rain")?;
    ///     Ok(notes)
    /// })?;
    /// assert_eq!(receipt.seq, 1);
    /// # let _ = notes;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::begin_write`], `change`, and [`WriteTxn::commit`].
    pub fn write<T>(
        &self,
        change: impl FnOnce(&mut WriteTxn) -> Result<T, Error>,
    ) -> Result<(T, Receipt), Error> {
        let mut txn = self.begin_write()?;
        let answer = change(&mut txn)?;
        Ok((answer, txn.commit()?))
    }

    /// Reads and checks every page in use, after a checkpoint.
    ///
    /// # Errors
    /// Only what stops the check itself; damage is in the report.
    pub fn check(&self, progress: Progress<'_>) -> Result<CheckReport, Error> {
        self.inner.check_open()?;
        if !self.inner.is_read_only() {
            self.checkpoint()?;
        }
        Ok(llmdb_btree::check(&self.inner.pager, progress)?)
    }

    /// Counts of the open database.
    ///
    /// # Errors
    /// A damaged allocation map.
    pub fn stat(&self) -> Result<Stat, Error> {
        self.inner.check_open()?;
        let pager = self.inner.pager.stat()?;
        let log = self.inner.log();
        let log = log.log.as_deref();
        let counts = log.map(Log::counts).unwrap_or_default();
        Ok(Stat {
            pager,
            log_bytes: log.map_or(0, Log::live_bytes),
            log_capacity: log.map_or(self.inner.settings.log_capacity, Log::capacity),
            log_records: counts.records,
            log_flushes: counts.flushes,
            log_bytes_written: counts.bytes_written,
        })
    }

    /// What opening had to recover.
    pub fn recovery(&self) -> Recovery {
        self.inner.recovery
    }

    /// The database's path.
    pub fn path(&self) -> &Path {
        self.inner.pager.path()
    }

    /// The longest possible key, in bytes.
    pub fn max_key_size(&self) -> usize {
        llmdb_btree::key_size_max(self.inner.pager.page_size())
    }

    /// Closes the database for all handles: after it the data file alone is the database. Open snapshots
    /// stay readable.
    ///
    /// # Errors
    /// As [`Store::checkpoint`]; what was acknowledged stays durable in the log all the same.
    pub fn close(self) -> Result<(), Error> {
        self.inner.close()
    }
}

/// Counts of an open database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// The data file's.
    pub pager: PagerStat,
    /// Bytes of the log that recovery would read.
    pub log_bytes: u64,
    /// Bytes that the log can hold.
    pub log_capacity: u64,
    /// Log records since the open: commits that went through the log.
    pub log_records: u64,
    /// Log flushes since the open.
    pub log_flushes: u64,
    /// Log bytes written since the open.
    pub log_bytes_written: u64,
}

impl Inner {
    fn log(&self) -> MutexGuard<'_, LogState> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_read_only(&self) -> bool {
        self.pager.is_read_only()
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    fn check_writable(&self) -> Result<(), Error> {
        if self.is_read_only() {
            return Err(llmdb_pager::Error::ReadOnly { path: self.pager.path().into() }.into());
        }
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        if self.closed.swap(true, Ordering::AcqRel) || self.is_read_only() {
            return Ok(());
        }
        self.keeper.stop();
        self.flusher.stop();
        let txn = self.pager.begin_write()?;
        let mut state = self.log();
        if !state.marked {
            return Ok(());
        }
        let at = self.flushed_log(&state)?;
        txn.checkpoint(options::owner_area(at, false))?;
        state.marked = false;
        state.next = at;
        state.log = None;
        self.remove_log(&state.path)
    }

    fn remove_log(&self, path: &Path) -> Result<(), Error> {
        let doing = |what: &str| format!("{what} {}", path.display());
        self.storage.remove(path).map_err(|e| llmdb_pager::Error::io(doing("removing"), e))?;
        self.storage
            .sync_dir(path)
            .map_err(|e| llmdb_pager::Error::io(doing("flushing the folder of"), e))?;
        Ok(())
    }
}
