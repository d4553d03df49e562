//! The databases that the operations work on: made once a build, copied for each run.
//!
//! Invariants
//! 1. Content depends on nothing but this file, so two builds of the same code count the same.
//! 2. An operation never works on the image itself, only on a copy.
//!
//! Not here: the operations (`operations`).

use super::Error;
use llmdb_temporal::{CommitTime, Period, Temporal, ValidTime};
use llmdb_wal::{Clock, Store, StoreOptions};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Records in the plain database.
pub const RECORDS: u64 = 20_000;
/// Bytes of a value.
pub const VALUE_SIZE: usize = 256;
/// The tree of the plain database.
pub const TREE: &str = "gate";
/// Commits in the log of the database that was not closed.
pub const LOGGED_COMMITS: u64 = 200;
/// The collection of the bitemporal database.
pub const COLLECTION: &str = "gate";
/// Its keys.
pub const TEMPORAL_KEYS: u64 = 200;
/// How often each of them was written.
pub const VERSIONS: u64 = 20;

const LOAD_BATCH: u64 = 1_000;
const PLAIN: &str = "plain.llmdb";
const UNCLOSED: &str = "unclosed.llmdb";
const TEMPORAL: &str = "temporal.llmdb";
const LOG_SUFFIX: &str = "-wal";

/// A folder with the three databases.
#[derive(Debug, Clone)]
pub struct Image {
    folder: PathBuf,
}

impl Image {
    /// Makes the databases in `folder`, replacing what was there.
    ///
    /// # Errors
    /// [`Error::Io`], the store's errors.
    pub fn make(folder: &Path) -> Result<Self, Error> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(Error::io("removing", folder))?;
        }
        fs::create_dir_all(folder).map_err(Error::io("creating", folder))?;
        let image = Self { folder: folder.to_owned() };
        image.make_plain()?;
        image.make_unclosed()?;
        image.make_temporal()?;
        Ok(image)
    }

    /// The databases that [`Image::make`] left in `folder`.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// A copy of the plain database: closed, all records in its tree.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn copy_plain(&self, to: &Path) -> Result<PathBuf, Error> {
        self.copy(PLAIN, to)
    }

    /// A copy of the database that was not closed: its last commits are only in the log.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn copy_unclosed(&self, to: &Path) -> Result<PathBuf, Error> {
        self.copy(&format!("{UNCLOSED}{LOG_SUFFIX}"), to)?;
        self.copy(UNCLOSED, to)
    }

    /// A copy of the bitemporal database.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn copy_temporal(&self, to: &Path) -> Result<PathBuf, Error> {
        self.copy(TEMPORAL, to)
    }

    fn copy(&self, name: &str, to: &Path) -> Result<PathBuf, Error> {
        let (from, to) = (self.folder.join(name), to.join(name));
        fs::copy(&from, &to).map_err(Error::io("copying", &from))?;
        Ok(to)
    }

    fn make_plain(&self) -> Result<(), Error> {
        let store = options().open(self.folder.join(PLAIN))?;
        for start in (0..RECORDS).step_by(LOAD_BATCH as usize) {
            insert(&store, start..start + LOAD_BATCH)?;
        }
        Ok(store.close()?)
    }

    fn make_unclosed(&self) -> Result<(), Error> {
        let work = self.folder.join("work");
        fs::create_dir(&work).map_err(Error::io("creating", &work))?;
        let path = work.join(UNCLOSED);
        fs::copy(self.folder.join(PLAIN), &path).map_err(Error::io("copying", &path))?;
        let store = options().open(&path)?;
        for number in 0..LOGGED_COMMITS {
            insert(&store, RECORDS + number..RECORDS + number + 1)?;
        }
        // Copied while it is open, as a crash would leave it.
        for name in [UNCLOSED.to_owned(), format!("{UNCLOSED}{LOG_SUFFIX}")] {
            let from = work.join(&name);
            fs::copy(&from, self.folder.join(&name)).map_err(Error::io("copying", &from))?;
        }
        store.close()?;
        fs::remove_dir_all(&work).map_err(Error::io("removing", &work))
    }

    fn make_temporal(&self) -> Result<(), Error> {
        let db = Temporal::open(options().open(self.folder.join(TEMPORAL))?)?;
        for version in 0..VERSIONS {
            let mut txn = db.begin_write()?;
            txn.set_time(known_time(version)?)?;
            for number in 0..TEMPORAL_KEYS {
                let period = Period::since(valid_time(version)?);
                txn.put(COLLECTION, &key(number), period, &version_value(number, version))?;
            }
            txn.commit()?;
        }
        let store = db.store().clone();
        drop(db);
        Ok(store.close()?)
    }
}

/// Options that make a run repeatable: a clock that counts instead of telling the time.
pub fn options() -> StoreOptions {
    let ticks = AtomicI64::new(0);
    let clock: Clock = Arc::new(move || ticks.fetch_add(1, Ordering::Relaxed));
    // Without the store's own thread: what that does falls into whichever operation it falls into.
    StoreOptions::new().clock(clock).owner("llmdb-gate").background(false)
}

/// The key of a record: numbers far apart for neighbours, so that inserts land all over the tree.
pub fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&scattered(number).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The value of a record.
pub fn value(number: u64) -> [u8; VALUE_SIZE] {
    let mut value = [0; VALUE_SIZE];
    for (place, chunk) in value.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&scattered(number + place as u64).to_le_bytes());
    }
    value
}

/// The value that a key of the bitemporal database got at a version.
pub fn version_value(number: u64, version: u64) -> [u8; VALUE_SIZE] {
    value(number * VERSIONS + version)
}

/// When a version was recorded.
///
/// # Errors
/// None for the versions that there are.
pub fn known_time(version: u64) -> Result<CommitTime, Error> {
    Ok(CommitTime::from_micros(1_000_000 + version as i64 * 1_000)?)
}

/// From when on a version is valid: later versions begin earlier, so each covers those before it.
///
/// # Errors
/// None for the versions that there are.
pub fn valid_time(version: u64) -> Result<ValidTime, Error> {
    Ok(ValidTime::from_micros((VERSIONS - version) as i64 * 1_000_000)?)
}

/// Inserts records in one commit.
///
/// # Errors
/// The store's errors.
pub fn insert(store: &Store, numbers: std::ops::Range<u64>) -> Result<(), Error> {
    let mut txn = store.begin_write()?;
    let tree = txn.create_tree(TREE)?;
    for number in numbers {
        txn.insert(tree, &key(number), &value(number))?;
    }
    txn.commit()?;
    Ok(())
}

/// A number that looks random and belongs to `number` alone (the finaliser of SplitMix64).
pub fn scattered(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
