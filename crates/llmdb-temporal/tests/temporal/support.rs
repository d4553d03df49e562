//! Databases for tests: on the simulated disk, with a clock that the test sets.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use llmdb_pager::sim::SimDisk;
use llmdb_temporal::{CommitTime, Error, Period, Temporal, ValidTime};
use llmdb_wal::StoreOptions;

/// Small, so that checkpoints come every few commits.
const CHECKPOINT_BYTES: u64 = 20_000;

/// Less than a file of the simulated disk can hold, and little enough to go round many times.
const LOG_CAPACITY: u64 = 1 << 20;

/// A database, the disk under it and the clock beside it.
pub(crate) struct Bench {
    pub(crate) disk: SimDisk,
    path: PathBuf,
    clock: Arc<AtomicI64>,
    db: Option<Temporal>,
    block_size_max: usize,
}

/// Blocks of two, three, six break points, and as large as pages allow.
pub(crate) const BLOCK_SIZES: [usize; 4] = [84, 108, 180, usize::MAX];

impl Bench {
    /// An empty database.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_blocks(seed, usize::MAX)
    }

    /// An empty database with blocks of at most some bytes.
    pub(crate) fn with_blocks(seed: u64, block_size_max: usize) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let path = PathBuf::from(format!("test-{}.llmdb", COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut bench =
            Self { disk: SimDisk::new(seed), path, clock: Arc::default(), db: None, block_size_max };
        bench.open().expect("a new database opens");
        bench
    }

    pub(crate) fn db(&self) -> &Temporal {
        self.db.as_ref().expect("the database is open")
    }

    pub(crate) fn set_clock(&self, micros: i64) {
        self.clock.store(micros, Ordering::Relaxed);
    }

    /// Closes and opens.
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        if let Some(db) = self.db.take() {
            let store = db.store().clone();
            drop(db);
            store.close()?;
        }
        self.open()
    }

    /// Continues on another disk, such as one after a power cut; the old database is dropped as it is.
    pub(crate) fn continue_on(&mut self, disk: SimDisk) -> Result<(), Error> {
        self.db = None;
        self.disk = disk;
        self.open()
    }

    fn open(&mut self) -> Result<(), Error> {
        let clock = Arc::clone(&self.clock);
        let store = StoreOptions::new()
            .storage(Arc::new(self.disk.clone()))
            .clock(Arc::new(move || clock.load(Ordering::Relaxed)))
            .checkpoint_bytes(CHECKPOINT_BYTES)
            .log_capacity(LOG_CAPACITY)
            .open(&self.path)?;
        self.db = Some(Temporal::open(store)?.with_block_size_max(self.block_size_max));
        Ok(())
    }
}

pub(crate) fn at(micros: i64) -> ValidTime {
    ValidTime::from_micros(micros).unwrap()
}

pub(crate) fn span(from: i64, to: i64) -> Period {
    Period::new(at(from), at(to)).unwrap()
}

pub(crate) fn time(micros: i64) -> CommitTime {
    CommitTime::from_micros(micros).unwrap()
}

/// How many random histories to play: times the number in `LLMDB_SOAK`, for long runs by hand.
pub(crate) fn cases(usual: u32) -> u32 {
    let factor = std::env::var("LLMDB_SOAK").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    usual * factor
}
