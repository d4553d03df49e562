//! LLMDB: the store with its log.

use super::counted::{CountedStorage, Counters};
use super::past::{self, Past, Series};
use super::{
    AnswerBody, Counts, Engine, EngineKind, OpenOptions, ReadBody, Reader, Replayed, ScanBody, TREE,
    WriteBody, Writer,
};
use crate::error::{Error, Result};
use crate::results::Durability;
use llmdb_btree::compact_to;
use llmdb_pager::PagerOptions;
use llmdb_pager::storage::{DiskStorage, Storage};
use llmdb_wal::{Store, StoreOptions, Tree, TreeId, WriteTxn};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) const FILE: &str = "bench.llmdb";
const NAME: &str = "llmdb";

/// Puts something between the engine and the storage that counts.
pub type Through = fn(Arc<dyn Storage>) -> Arc<dyn Storage>;

/// LLMDB with its log.
#[derive(Clone, Debug)]
pub struct Llmdb {
    disk: Arc<dyn Storage>,
    through: Through,
}

impl Default for Llmdb {
    fn default() -> Self {
        Self::over(Arc::new(DiskStorage))
    }
}

impl Llmdb {
    /// Over another storage than the disk.
    pub fn over(disk: Arc<dyn Storage>) -> Self {
        Self { disk, through: |counted| counted }
    }

    /// On the disk, with something between the engine and the storage that counts.
    pub fn through(through: Through) -> Self {
        Self { disk: Arc::new(DiskStorage), through }
    }
}

impl EngineKind for Llmdb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn settings(&self, durability: Durability) -> String {
        match durability {
            Durability::ReadOnly => "defaults (4 KiB pages), read from the newest checkpoint".to_owned(),
            Durability::Interval => {
                "defaults (4 KiB pages, 64 MiB log) but transactions over 8 MiB past the log, which is flushed every 100 ms".to_owned()
            }
            Durability::None => "defaults (4 KiB pages, 64 MiB log) but transactions over 8 MiB past the log; commits not flushed".to_owned(),
            Durability::Sync | Durability::NoLog => {
                "defaults (4 KiB pages, 64 MiB log) but transactions over 8 MiB past the log; a commit returns when it is flushed".to_owned()
            }
        }
    }

    fn offers(&self, durability: Durability) -> bool {
        durability == Durability::ReadOnly || store_options(durability).is_some()
    }

    fn on_storage(&self, storage: Arc<dyn Storage>) -> Option<Box<dyn EngineKind>> {
        Some(Box::new(Self { disk: storage, through: self.through }))
    }

    fn keeps_past(&self) -> bool {
        true
    }

    fn open_past(&self, folder: &Path, asked: &OpenOptions) -> Result<Box<dyn Past>> {
        past::open_our_past(self.open_store(folder, asked)?)
    }

    fn open_series(&self, folder: &Path, asked: &OpenOptions) -> Result<Box<dyn Series>> {
        past::open_our_series(self.open_store(folder, asked)?)
    }

    fn open(&self, folder: &Path, asked: &OpenOptions) -> Result<Box<dyn Engine>> {
        let storage = CountedStorage::over(self.disk.clone());
        let counters = storage.counters();
        let storage = (self.through)(Arc::new(storage));
        let options = store_options(asked.durability).unwrap_or_default();
        let options = options.storage(storage).owner("llmdb-bench");
        let store = options.open(folder.join(FILE)).map_err(said)?;
        if store.begin_read().map_err(said)?.tree(TREE).map_err(said)?.is_none() {
            let mut txn = store.begin_write().map_err(said)?;
            txn.create_tree(TREE).map_err(said)?;
            txn.commit().map_err(said)?;
        }
        let tree = store.begin_read().map_err(said)?.tree_id(TREE).map_err(said)?.ok_or_else(no_tree)?;
        Ok(Box::new(Open { store, tree, counters }))
    }
}

impl Llmdb {
    /// The store alone, for layers above it.
    fn open_store(&self, folder: &Path, asked: &OpenOptions) -> Result<Store> {
        let options = store_options(asked.durability).unwrap_or_default();
        let options = options.storage((self.through)(self.disk.clone())).owner("llmdb-bench");
        options.open(folder.join(FILE)).map_err(said)
    }
}

/// How often the log is flushed where commits do not wait for it.
const INTERVAL: std::time::Duration = std::time::Duration::from_millis(100);
/// Larger transactions go past the log, as docs/tuning.md advises for loads: nobody here reads the feed of changes.
const RECORD_MAX: u64 = 8 << 20;

/// The store's options for a durability; `None` where it has no such mode.
fn store_options(durability: Durability) -> Option<StoreOptions> {
    let options = StoreOptions::new().log_record_max(RECORD_MAX);
    match durability {
        Durability::Sync => Some(options),
        Durability::Interval => Some(options.durability(llmdb_wal::Durability::Interval(INTERVAL))),
        Durability::None => Some(options.durability(llmdb_wal::Durability::None)),
        // `llmdb-no-log` is the engine for that.
        Durability::NoLog | Durability::ReadOnly => None,
    }
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

fn no_tree() -> Error {
    Error::engine(NAME, "the tree of the benchmark is missing")
}

struct Open {
    store: Store,
    tree: TreeId,
    counters: Arc<Counters>,
}

impl Engine for Open {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        let txn = self.store.begin_read().map_err(said)?;
        let tree = txn.tree_by_id(self.tree).map_err(said)?.ok_or_else(no_tree)?;
        body(&mut TreeReader { tree, engine: NAME })
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let txn = self.store.begin_write().map_err(said)?;
        let tree = txn.open_tree(TREE).map_err(said)?.ok_or_else(no_tree)?;
        let mut writer = StoreWriter { txn, tree };
        body(&mut writer)?;
        writer.txn.commit().map_err(said)?;
        Ok(())
    }

    fn begin_and_end_read(&self) -> Result<()> {
        std::hint::black_box(self.store.begin_read().map_err(said)?);
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.store.checkpoint().map_err(said)
    }

    fn compact_into(&self, folder: &Path) -> Result<()> {
        let reader = self.store.begin_read().map_err(said)?;
        compact_to(&reader, PagerOptions::new(), folder.join(FILE), &mut |_, _| {}).map_err(said)?;
        Ok(())
    }

    fn checkpoint_number(&self) -> Option<u64> {
        self.store.stat().ok().map(|stat| stat.pager.checkpoint)
    }

    fn counts(&self) -> Counts {
        let height = self.store.begin_read().ok().and_then(|txn| {
            let tree = txn.tree(TREE).ok()??;
            tree.height().ok()
        });
        let recovery = self.store.recovery();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        Counts {
            flushes: Some(self.counters.flushes()),
            bytes_written: Some(self.counters.bytes_written()),
            pages_per_get: height.map(u64::from),
            replayed: Some(Replayed {
                commits: recovery.commits,
                log_bytes: recovery.log_bytes,
                pages_fetched: recovery.pages_fetched,
                reading: milliseconds(recovery.reading),
                looking: milliseconds(recovery.looking),
                fetching: milliseconds(recovery.fetching),
                replaying: milliseconds(recovery.replaying),
                flushing: milliseconds(recovery.flushing),
            }),
        }
    }
}

/// Reads a tree of ours, of whichever layer.
pub(super) struct TreeReader<'t> {
    pub(super) tree: Tree<'t>,
    pub(super) engine: &'static str,
}

impl Reader for TreeReader<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.tree.get(key).map_err(|error| Error::engine(self.engine, error))
    }

    fn get_many(&mut self, keys: &[&[u8]], each: AnswerBody<'_>) -> Result<()> {
        let mut outcome = Ok(());
        let found = self.tree.get_many(keys, |at, value| {
            if outcome.is_ok() {
                outcome = each(at, value);
            }
        });
        found.map_err(|error| Error::engine(self.engine, error)).and(outcome)
    }

    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize> {
        let said = |error| Error::engine(self.engine, error);
        let mut cursor = self.tree.cursor();
        let mut stands = limit > 0 && cursor.seek(from).map_err(said)?;
        let mut count = 0;
        while stands {
            each(cursor.key(), cursor.value().map_err(said)?)?;
            count += 1;
            stands = count < limit && cursor.next().map_err(said)?;
        }
        Ok(count)
    }
}

struct StoreWriter {
    txn: WriteTxn,
    tree: TreeId,
}

impl Writer for StoreWriter {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.txn.get(self.tree, key).map_err(said)?;
        if let Some(found) = found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.txn.insert(self.tree, key, value).map_err(said)
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        self.txn.remove(self.tree, key).map_err(said)
    }
}
