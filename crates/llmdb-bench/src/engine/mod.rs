//! An engine as workloads see it, and one adapter a file.
//!
//! Invariants
//! 1. A workload runs unchanged on every engine.
//! 2. An engine says which durabilities it offers; another is never faked.
//! 3. Each adapter gives its engine the settings that its makers recommend, and says which in words.
//!
//! To add an engine: a file with an [`EngineKind`] and an [`Engine`], and a line in [`all`].

#[cfg(feature = "canopydb")]
mod canopydb;
pub mod counted;
#[cfg(feature = "peers")]
mod fjall;
#[cfg(feature = "peers")]
mod heed;
pub mod layer;
#[cfg(feature = "libmdbx")]
mod libmdbx;
mod llmdb;
mod llmdb_no_log;
mod no_flush;
pub mod past;
pub mod power;
#[cfg(feature = "peers")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "peers")]
mod sqlite;
#[cfg(feature = "surrealkv")]
mod surrealkv;
pub mod wrong;

pub use counted::{CountedStorage, Counters};
pub use llmdb::{Llmdb, Through};
pub use llmdb_no_log::LlmdbNoLog;

use crate::error::{Error, Result};
use crate::results::Durability;
use llmdb_pager::storage::Storage;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// The one tree, table, keyspace or collection that workloads use.
const TREE: &str = "bench";

/// An engine that can be opened.
pub trait EngineKind: Send + Sync {
    /// Its name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// Its version.
    fn version(&self) -> String;

    /// The settings that it gets with that durability, in words.
    fn settings(&self, durability: Durability) -> String;

    /// Whether it has that durability. By default commits that are flushed and ones that are not.
    fn offers(&self, durability: Durability) -> bool {
        matches!(durability, Durability::Sync | Durability::None | Durability::ReadOnly)
    }

    /// The same engine on another storage than the disk, if it can run there.
    fn on_storage(&self, storage: Arc<dyn Storage>) -> Option<Box<dyn EngineKind>> {
        let _ = storage;
        None
    }

    /// Opens or creates a database in a folder.
    ///
    /// # Errors
    /// The engine's own.
    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>>;

    /// Whether [`Self::open_past`] and [`Self::open_series`] are offered.
    fn keeps_past(&self) -> bool {
        false
    }

    /// Opens or creates a database of facts with two times in a folder that holds none of another kind.
    ///
    /// # Errors
    /// [`Error::NotOffered`], or the engine's own.
    fn open_past(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn past::Past>> {
        let _ = (folder, options);
        Err(Error::NotOffered { engine: self.name().to_owned(), what: "facts with two times".to_owned() })
    }

    /// Opens or creates a database of series in a folder that holds none of another kind.
    ///
    /// # Errors
    /// [`Error::NotOffered`], or the engine's own.
    fn open_series(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn past::Series>> {
        let _ = (folder, options);
        Err(Error::NotOffered { engine: self.name().to_owned(), what: "series of points".to_owned() })
    }
}

/// How a workload opens an engine.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// When a commit counts as done.
    pub durability: Durability,
    /// Bytes of keys and values that the database will hold at most: for engines that must be told.
    pub bytes_max: u64,
}

/// A body of a read transaction.
pub type ReadBody<'a> = &'a mut dyn FnMut(&mut dyn Reader) -> Result<()>;
/// Puts the next record into a key and a value; `false` if there is none.
pub type NextRecord<'a> = &'a mut dyn FnMut(&mut Vec<u8>, &mut Vec<u8>) -> bool;
/// A body of a write transaction.
pub type WriteBody<'a> = &'a mut dyn FnMut(&mut dyn Writer) -> Result<()>;

/// An open database.
pub trait Engine: Send + Sync {
    /// Runs `body` in one read transaction.
    ///
    /// # Errors
    /// The engine's own or the body's.
    fn read(&self, body: ReadBody<'_>) -> Result<()>;

    /// Runs `body` in one write transaction and commits it, if the body returned `Ok`.
    ///
    /// # Errors
    /// The engine's own or the body's.
    fn write(&self, body: WriteBody<'_>) -> Result<()>;

    /// Inserts or replaces one record in a transaction of its own: by the engine's own path for that, where it has one in
    /// which threads share a flush.
    ///
    /// # Errors
    /// The engine's own.
    fn put_one(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(&mut |txn| txn.put(key, value))
    }

    /// Begins a read transaction and ends it, with nothing in between.
    ///
    /// # Errors
    /// The engine's own.
    fn begin_and_end_read(&self) -> Result<()> {
        self.read(&mut |_| Ok(()))
    }

    /// Writes records that come in the order of their keys, all of them above those that are there, in
    /// transactions of so many: by the engine's own path for that, where it has one.
    ///
    /// # Errors
    /// The engine's own.
    fn append(&self, per_transaction: u64, next: NextRecord<'_>) -> Result<()> {
        let (mut key, mut value, mut more) = (Vec::new(), Vec::new(), true);
        while more {
            self.write(&mut |txn| {
                for _ in 0..per_transaction {
                    more = next(&mut key, &mut value);
                    if !more {
                        break;
                    }
                    txn.put(&key, &value)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Hands what the engine still holds in its own memory to the system, without a flush: the end of a load
    /// that need not be durable, for engines that write later than they commit.
    ///
    /// # Errors
    /// The engine's own.
    fn write_out(&self) -> Result<()> {
        Ok(())
    }

    /// Makes everything durable and tidies up, as before a long time of reading: a checkpoint, where the
    /// engine has such a thing.
    ///
    /// # Errors
    /// The engine's own.
    fn settle(&self) -> Result<()>;

    /// Writes a dense copy of what is committed into another folder, where [`EngineKind::open`] finds it.
    ///
    /// # Errors
    /// [`Error::NotOffered`] where the engine has no such thing, or its own.
    fn compact_into(&self, folder: &Path) -> Result<()> {
        let _ = folder;
        Err(Error::NotOffered { engine: "this engine".to_owned(), what: "a dense copy".to_owned() })
    }

    /// The number of its newest checkpoint, where it has such a thing; not asked while anything is measured.
    fn checkpoint_number(&self) -> Option<u64> {
        None
    }

    /// Counts since the open; all `None` where the engine cannot tell.
    fn counts(&self) -> Counts {
        Counts::default()
    }
}

/// What an open replayed from the log, and how long its steps took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// Commits.
    pub commits: u64,
    /// Bytes of log that they took.
    pub log_bytes: u64,
    /// Pages that were fetched for them ahead.
    pub pages_fetched: u64,
    /// Milliseconds of reading the log's tail, ...
    pub reading: f64,
    /// ... of looking through the rest of the log, ...
    pub looking: f64,
    /// ... of fetching pages, ...
    pub fetching: f64,
    /// ... of replaying, ...
    pub replaying: f64,
    /// ... and of making durable what was not proven to be.
    pub flushing: f64,
}

/// Counts that an open engine can give.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Flushes of files.
    pub flushes: Option<u64>,
    /// Bytes written to files.
    pub bytes_written: Option<u64>,
    /// Pages that a point read passes through.
    pub pages_per_get: Option<u64>,
    /// What the open replayed.
    pub replayed: Option<Replayed>,
}

/// A read transaction.
pub trait Reader {
    /// The value of a key, as far as possible borrowed from the engine.
    ///
    /// # Errors
    /// The engine's own.
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>>;

    /// The values of several keys, each given to `each` with the key's index. By default one by one.
    ///
    /// # Errors
    /// The engine's own or that of `each`.
    fn get_many(&mut self, keys: &[&[u8]], each: AnswerBody<'_>) -> Result<()> {
        for (at, key) in keys.iter().enumerate() {
            let value = self.get(key)?;
            each(at, value)?;
        }
        Ok(())
    }

    /// At most `limit` records from the first key on that is not below `from`, in order; returns how many.
    ///
    /// # Errors
    /// The engine's own or that of `each`.
    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize>;
}

/// What is given the answers of [`Reader::get_many`].
pub type AnswerBody<'a> = &'a mut dyn FnMut(usize, Option<&[u8]>) -> Result<()>;
/// What is given a scan's keys and values.
pub type ScanBody<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// A write transaction.
pub trait Writer {
    /// Appends the value of a key to `value`, as this transaction sees it; `false` if there is none.
    ///
    /// # Errors
    /// The engine's own.
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool>;

    /// Inserts or replaces.
    ///
    /// # Errors
    /// The engine's own.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Removes; `false` if there was nothing.
    ///
    /// # Errors
    /// The engine's own.
    fn remove(&mut self, key: &[u8]) -> Result<bool>;
}

/// All engines of this build, ours first.
pub fn all() -> Vec<Box<dyn EngineKind>> {
    vec![
        Box::new(Llmdb::default()),
        Box::new(LlmdbNoLog::default()),
        #[cfg(feature = "peers")]
        Box::new(heed::Heed::default()),
        #[cfg(feature = "peers")]
        Box::new(heed::Heed::with_write_map()),
        #[cfg(feature = "peers")]
        Box::new(redb::Redb),
        #[cfg(feature = "peers")]
        Box::new(fjall::Fjall),
        #[cfg(feature = "peers")]
        Box::new(sqlite::Sqlite),
        #[cfg(feature = "libmdbx")]
        Box::new(libmdbx::Libmdbx),
        #[cfg(feature = "rocksdb")]
        Box::new(rocksdb::RocksDb),
        #[cfg(feature = "canopydb")]
        Box::new(canopydb::Canopydb),
        #[cfg(feature = "surrealkv")]
        Box::new(surrealkv::SurrealKv),
    ]
}

/// A peer's own cache: a quarter of the memory, at most 1 GiB. Ours and LMDB use the system's page cache.
#[cfg(any(feature = "peers", feature = "rocksdb", feature = "canopydb", feature = "surrealkv"))]
fn cache_bytes() -> u64 {
    (crate::disk::memory_bytes().unwrap_or(1 << 30) / 4).min(1 << 30)
}

/// A dependency's version, as the lock file of this build has it.
#[cfg(any(
    feature = "peers",
    feature = "rocksdb",
    feature = "libmdbx",
    feature = "canopydb",
    feature = "surrealkv"
))]
fn locked_version(name: &str) -> String {
    let lock = include_str!("../../../../Cargo.lock");
    let entry = format!("name = \"{name}\"\nversion = \"");
    let version = lock.split_once(&entry).and_then(|(_, after)| after.split_once('"'));
    version.map_or_else(|| "unknown".to_owned(), |(version, _)| version.to_owned())
}

/// The engines of these names, or all if there are none.
///
/// # Errors
/// [`Error::UnknownEngine`], which lists the known ones.
pub fn chosen(names: &[String]) -> Result<Vec<Box<dyn EngineKind>>> {
    let known: Vec<&str> = all().iter().map(|kind| kind.name()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Error::UnknownEngine { name: name.clone(), known: known.join(", ") });
    }
    Ok(all()
        .into_iter()
        .filter(|kind| names.is_empty() || names.iter().any(|name| name == kind.name()))
        .collect())
}

#[cfg(test)]
mod tests;
