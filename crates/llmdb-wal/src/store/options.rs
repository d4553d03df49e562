//! How to open a store, and what it keeps in the data file's meta.
//!
//! ```text
//! the meta's owner area
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  LSN where recovery begins to read the log
//!      8     8  checksum of the record before it
//!     16     1  1 = the log holds commits that the data file does not
//!     17    47  zero
//! ```

use super::Store;
use super::durability::Durability;
use crate::error::Error;
use crate::log::Position;
use llmdb_pager::meta::OWNER_AREA_SIZE;
use llmdb_pager::page::{PAGE_SIZE_DEFAULT, read_u64};
use llmdb_pager::storage::{DiskStorage, Storage};
use llmdb_pager::{OnSlowReader, PagerOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time: microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

const LOG_CAPACITY: u64 = 64 << 20;
const CHECKPOINT_BYTES: u64 = 32 << 20;
const DIRTY_BYTES: u64 = 256 << 20;
/// A device that reads 50,000 pages a second, 32 at a time, reads these in two thirds of a second.
const RECOVERY_PAGES: u64 = 32 << 10;
/// Fewer than these need not be waited for.
const DIRTY_PAGES_MIN: u64 = 8 << 10;
/// Who flushes nothing cannot ask for much after a power cut, and a process that died left the pages in the cache.
const RECOVERY_PAGES_UNFLUSHED: u64 = 64 << 10;

/// How to open or create a database.
#[derive(Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    pub(super) settings: Settings,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) page_size: usize,
    pub(super) owner: String,
    pub(super) create: bool,
    pub(super) read_only: bool,
    pub(super) slow_reader: Option<(Duration, OnSlowReader)>,
    pub(super) max_reader_age: Option<Duration>,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) clock: Clock,
    pub(super) checkpoint_bytes: u64,
    pub(super) dirty_bytes: u64,
    pub(super) log_capacity: u64,
    pub(super) log_record_max: u64,
    /// Unless told: by the durability.
    pub(super) recovery_pages: Option<u64>,
    pub(super) durability: Durability,
    pub(super) background: bool,
    pub(super) progress: Option<OnProgress>,
}

/// Is told how far recovery is: records replayed, and all that there are.
pub type OnProgress = Arc<dyn Fn(u64, u64) + Send + Sync>;

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("checkpoint_bytes", &self.checkpoint_bytes)
            .field("log_capacity", &self.log_capacity)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The most pages that are changed and in no checkpoint: for the time of recovery, and for their memory; but small
    /// budgets make no transaction wait for each checkpoint.
    pub(super) fn pages_max(&self, page_size: usize) -> u64 {
        let told = self.recovery_pages.unwrap_or(match self.durability {
            Durability::None => RECOVERY_PAGES_UNFLUSHED,
            _ => RECOVERY_PAGES,
        });
        told.min((self.dirty_bytes / page_size as u64).max(DIRTY_PAGES_MIN))
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl StoreOptions {
    /// 4 KiB pages on the real file system, the system's clock, created if missing.
    pub fn new() -> Self {
        Self {
            settings: Settings {
                clock: Arc::new(system_micros),
                checkpoint_bytes: CHECKPOINT_BYTES,
                dirty_bytes: DIRTY_BYTES,
                log_capacity: LOG_CAPACITY,
                log_record_max: u64::MAX,
                recovery_pages: None,
                durability: Durability::Sync,
                background: true,
                progress: None,
            },
            storage: Arc::new(DiskStorage),
            page_size: PAGE_SIZE_DEFAULT,
            owner: "a program".into(),
            create: true,
            read_only: false,
            slow_reader: None,
            max_reader_age: None,
        }
    }

    /// Bytes of a page in a new database: a power of two from 4 to 64 KiB. An existing one keeps its own.
    #[must_use]
    pub fn page_size(mut self, bytes: usize) -> Self {
        self.page_size = bytes;
        self
    }

    /// Where the files live.
    #[must_use]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = storage;
        self
    }

    /// The clock that commits are stamped with.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Names the command in the lock file, for whoever finds the database locked.
    #[must_use]
    pub fn owner(mut self, command: &str) -> Self {
        self.owner = command.into();
        self
    }

    /// Whether a missing database is created; it is unless this says no.
    #[must_use]
    pub fn create(mut self, yes: bool) -> Self {
        self.create = yes;
        self
    }

    /// When commits are durable; before they return, unless this says otherwise.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// The pages that recovery may have to read and change (default 32,768; 65,536 with [`Durability::None`]): so that
    /// opening after a power cut, with a cold cache, stays under a second whatever the database's size. A checkpoint is begun at half of them, and
    /// transactions keep step with it while it is written. One that alone changes more than half waits for its own.
    #[must_use]
    pub fn recovery_pages(mut self, pages: u64) -> Self {
        self.settings.recovery_pages = Some(pages);
        self
    }

    /// Whether checkpoints are written, and intervals kept, by a thread of the store's own; they are unless this
    /// says no. Then the thread that begins a transaction writes the checkpoint that is due, and it waits.
    #[must_use]
    pub fn background(mut self, yes: bool) -> Self {
        self.settings.background = yes;
        self
    }

    /// Is told how far recovery is, while the database is opened after a crash.
    #[must_use]
    pub fn on_recovery(mut self, tell: OnProgress) -> Self {
        self.settings.progress = Some(tell);
        self
    }

    /// Opens an existing database for reading only: nothing is written to its files or its folder, which may be
    /// read-only themselves, and nothing is created. Any number of processes may read like this at once; none
    /// while one has it open for writing. A database that was not closed cleanly is refused
    /// ([`Error::NotClosed`]): its newest commits are in the log, and recovering them writes.
    ///
    /// ```
    /// use llmdb_wal::{Store, StoreOptions};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("notes.llmdb");
    /// Store::open(&path)?.close()?;
    /// let one = StoreOptions::new().read_only(true).open(&path)?;
    /// let other = StoreOptions::new().read_only(true).open(&path)?;
    /// assert_eq!(one.begin_read()?.seq(), other.begin_read()?.seq());
    /// assert_eq!(one.begin_write().unwrap_err().code(), "LLMDB-P19");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn read_only(mut self, yes: bool) -> Self {
        self.read_only = yes;
        self
    }

    /// A checkpoint is begun when the log holds this many bytes (default 32 MiB).
    #[must_use]
    pub fn checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.settings.checkpoint_bytes = bytes;
        self
    }

    /// Dirty pages take about this many bytes of memory at most (default 256 MiB): a checkpoint is begun at half of
    /// it, and a transaction that would need more spills.
    #[must_use]
    pub fn dirty_bytes(mut self, bytes: u64) -> Self {
        self.settings.dirty_bytes = bytes;
        self
    }

    /// How many bytes a new log can hold (default 64 MiB; 256 KiB to 8 GiB). A transaction that does not fit is written to
    /// the data file by a checkpoint of its own, as is one that the disk has no room for in the log.
    #[must_use]
    pub fn log_capacity(mut self, bytes: u64) -> Self {
        self.settings.log_capacity = bytes;
        self
    }

    /// A transaction that would be a larger record of the log than this many bytes is not logged: its pages are made
    /// durable by a checkpoint of its own before its commit returns (default: whatever fits into the log is logged).
    /// So what is loaded in large transactions is written once and not twice. Whoever reads [`Store::changes`] is
    /// told of a gap there, and has to look at a snapshot.
    #[must_use]
    pub fn log_record_max(mut self, bytes: u64) -> Self {
        self.settings.log_record_max = bytes;
        self
    }

    /// As [`llmdb_pager::PagerOptions::on_slow_reader`].
    #[must_use]
    pub fn on_slow_reader(mut self, after: Duration, tell: OnSlowReader) -> Self {
        self.slow_reader = Some((after, tell));
        self
    }

    /// As [`llmdb_pager::PagerOptions::max_reader_age`].
    #[must_use]
    pub fn max_reader_age(mut self, limit: Duration) -> Self {
        self.max_reader_age = Some(limit);
        self
    }

    /// The options of the data file.
    pub(super) fn pager_options(&self) -> PagerOptions {
        let mut pager = PagerOptions::new()
            .storage(self.storage.clone())
            .page_size(self.page_size)
            .owner(&self.owner)
            .validate(llmdb_btree::validate)
            .dirty_budget(self.settings.dirty_bytes)
            .send_early(self.settings.durability != Durability::None)
            .read_only(self.read_only);
        if let Some((after, tell)) = &self.slow_reader {
            pager = pager.on_slow_reader(*after, tell.clone());
        }
        if let Some(limit) = self.max_reader_age {
            pager = pager.max_reader_age(limit);
        }
        pager
    }

    /// Opens the database, recovering what a crash left, or creates it.
    ///
    /// # Errors
    /// What the file is instead, as [`llmdb_pager::PagerOptions::open`]; [`Error::ForeignLog`],
    /// [`Error::LogDamaged`], [`Error::LogMissing`]; a lock held elsewhere.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store, Error> {
        super::recovery::open(self, path.as_ref())
    }
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn system_micros() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

/// The owner area that says where the log begins.
pub(super) fn owner_area(at: Position, log_needed: bool) -> [u8; OWNER_AREA_SIZE] {
    let mut area = [0; OWNER_AREA_SIZE];
    area[0..8].copy_from_slice(&at.lsn.to_le_bytes());
    area[8..16].copy_from_slice(&at.chain.to_le_bytes());
    area[16] = u8::from(log_needed);
    area
}

/// Where the log begins, and whether it is needed.
pub(super) fn read_owner_area(area: &[u8; OWNER_AREA_SIZE]) -> (Position, bool) {
    (Position { lsn: read_u64(area, 0), chain: read_u64(area, 8) }, area[16] != 0)
}
