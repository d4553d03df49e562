//! Durable transactions over trees: each commit is one log record and one flush, visible after it is
//! durable; checkpoints move what the log holds into the data file.
//!
//! ```text
//! begin_write -> change trees in memory -> append the redo record -> flush the log -> publish
//!                                                                 acknowledged from here
//! ```
//!
//! Invariants
//! 1. A snapshot sees only commits that are durable.
//! 2. After a crash the state is that of some prefix of the commits, with every acknowledged one in it.
//! 3. What is recovered is durable in the data file before it is served.
//! 4. After a failed write or flush nothing is written until the store is opened anew.
//! 5. After a clean close the data file alone is the database.

mod backup;
mod maintenance;
mod options;
mod range;
mod recovery;
mod redo;
mod txn;

pub use backup::restore;
pub use options::{Clock, StoreOptions};
pub use recovery::Recovery;
pub use txn::WriteTxn;

use crate::error::Error;
use crate::log::{Log, Position};
use llmdb_btree::ReadTxn;
use llmdb_pager::storage::Storage;
use llmdb_pager::{CheckReport, Pager, PagerStat, Progress};
use options::Settings;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pager: Pager,
    storage: Arc<dyn Storage>,
    settings: Settings,
    /// Locked only by whoever holds the writer.
    log: Mutex<LogState>,
    recovery: Recovery,
    closed: AtomicBool,
}

/// The log, and what the data file's meta says of it.
#[derive(Debug)]
struct LogState {
    /// Made at the first commit.
    log: Option<Log>,
    path: PathBuf,
    /// Where a log made now begins.
    next: Position,
    /// Whether the meta says that the log is needed.
    marked: bool,
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

    /// Begins to write, after the writer before has finished. May write a checkpoint first.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`llmdb_pager::Error::Poisoned`] after a failed write; [`llmdb_pager::Error::ReadOnly`].
    pub fn begin_write(&self) -> Result<WriteTxn, Error> {
        self.inner.check_open()?;
        self.inner.check_writable()?;
        self.inner.checkpoint_if_due(self.inner.settings.checkpoint_bytes)?;
        let txn = WriteTxn::begin(self.inner.clone())?;
        if txn.dirty_bytes() <= self.inner.settings.dirty_bytes {
            return Ok(txn);
        }
        drop(txn);
        // Frames that only wait for old readers stay after a checkpoint: do not write one for each commit.
        self.inner.checkpoint_if_due(self.inner.settings.checkpoint_bytes / 16)?;
        WriteTxn::begin(self.inner.clone())
    }

    /// Moves everything that the log holds into the data file.
    ///
    /// # Errors
    /// [`llmdb_pager::Error::DiskFull`], with nothing changed; an I/O error, which ends all writing.
    pub fn checkpoint(&self) -> Result<(), Error> {
        self.inner.check_open()?;
        self.inner.check_writable()?;
        self.inner.checkpoint()
    }

    /// Reads and checks every page in use, after a checkpoint.
    ///
    /// # Errors
    /// Only what stops the check itself; damage is in the report.
    pub fn check(&self, progress: Progress<'_>) -> Result<CheckReport, Error> {
        self.inner.check_open()?;
        if !self.inner.is_read_only() {
            self.inner.checkpoint()?;
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
        let log = log.log.as_ref();
        Ok(Stat {
            pager,
            log_bytes: log.map_or(0, Log::live_bytes),
            log_capacity: log.map_or(self.inner.settings.log_capacity, Log::capacity),
            log_flushes: log.map_or(0, |log| log.counts().flushes),
            log_bytes_written: log.map_or(0, |log| log.counts().bytes_written),
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
    /// Log flushes since the open.
    pub log_flushes: u64,
    /// Log bytes written since the open.
    pub log_bytes_written: u64,
}

impl LogState {
    /// Whether the data file alone is not the whole database.
    fn is_needed(&self) -> bool {
        self.marked
    }
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

    /// Writes a checkpoint if the log holds that many bytes.
    fn checkpoint_if_due(&self, log_bytes: u64) -> Result<(), Error> {
        let live = self.log().log.as_ref().map_or(0, Log::live_bytes);
        if live < log_bytes {
            return Ok(());
        }
        match self.checkpoint() {
            // The log still has room: a full disk shows when it has not.
            Err(error) if matches!(error.pager(), Some(llmdb_pager::Error::DiskFull { .. })) => Ok(()),
            other => other,
        }
    }

    fn checkpoint(&self) -> Result<(), Error> {
        let txn = self.pager.begin_write()?;
        let mut log = self.log();
        if !log.is_needed() {
            return Ok(());
        }
        let at = log.log.as_ref().map_or(log.next, Log::end);
        txn.checkpoint(options::owner_area(at, true))?;
        if let Some(log) = log.log.as_mut() {
            log.release(at.lsn);
        }
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        if self.closed.swap(true, Ordering::AcqRel) || self.is_read_only() {
            return Ok(());
        }
        let txn = self.pager.begin_write()?;
        let mut log = self.log();
        if !log.is_needed() {
            return Ok(());
        }
        let at = log.log.as_ref().map_or(log.next, Log::end);
        txn.checkpoint(options::owner_area(at, false))?;
        log.marked = false;
        log.next = at;
        log.log = None;
        self.remove_log(&log.path)
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

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to tell; whatever fails here, the log holds every acknowledged commit.
        let _ = self.close();
    }
}
