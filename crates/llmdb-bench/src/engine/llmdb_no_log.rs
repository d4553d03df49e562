//! LLMDB's trees without a log: each commit is a checkpoint.

use super::counted::{CountedStorage, Counters};
use super::llmdb::{FILE, TreeReader};
use super::no_flush::without_flushes;
use super::{Counts, Engine, EngineKind, NextRecord, OpenOptions, ReadBody, TREE, WriteBody, Writer};
use crate::error::{Error, Result};
use crate::results::Durability;
use llmdb_btree::{BulkOptions, Database, TreeId, WriteTxn};
use llmdb_pager::PagerOptions;
use llmdb_pager::storage::{DiskStorage, Storage};
use std::path::Path;
use std::sync::Arc;

const NAME: &str = "llmdb-no-log";
/// Memory for dirty pages where commits are not flushed: as much as redb's cache has by default.
const BUDGET: u64 = 1 << 30;

/// LLMDB without a log.
#[derive(Clone, Debug)]
pub struct LlmdbNoLog {
    storage: Arc<dyn Storage>,
}

impl Default for LlmdbNoLog {
    fn default() -> Self {
        Self { storage: Arc::new(DiskStorage) }
    }
}

impl EngineKind for LlmdbNoLog {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn settings(&self, durability: Durability) -> String {
        let flushes = match durability {
            Durability::None => {
                ", but unsynced: written when memory is short and at the end, over a storage that leaves flushes out"
            }
            _ => "",
        };
        format!("the trees alone: defaults (4 KiB pages), no log, each commit a checkpoint{flushes}")
    }

    fn offers(&self, durability: Durability) -> bool {
        matches!(durability, Durability::NoLog | Durability::None | Durability::ReadOnly)
    }

    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let storage = CountedStorage::over(self.storage.clone());
        let counters = storage.counters();
        let durability = options.durability;
        let storage: Arc<dyn Storage> = match durability {
            Durability::None => without_flushes(Arc::new(storage)),
            _ => Arc::new(storage),
        };
        let mut options = PagerOptions::new().storage(storage).owner("llmdb-bench");
        if durability == Durability::None {
            options = options.dirty_budget(BUDGET).send_early(false);
        }
        let path = folder.join(FILE);
        let database = match path.exists() {
            true => Database::open(options, path).map_err(said)?,
            false => Database::create(options, path).map_err(said)?,
        };
        if database.begin_read().tree(TREE).map_err(said)?.is_none() {
            let mut txn = database.begin_write().map_err(said)?;
            txn.create_tree(TREE).map_err(said)?;
            txn.commit().map_err(said)?;
        }
        let is_durable = durability != Durability::None;
        let tree = database.begin_read().tree_id(TREE).map_err(said)?.ok_or_else(no_tree)?;
        Ok(Box::new(Open { database, tree, counters, is_durable }))
    }
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

fn no_tree() -> Error {
    Error::engine(NAME, "the tree of the benchmark is missing")
}

struct Open {
    database: Database,
    tree: TreeId,
    counters: Arc<Counters>,
    is_durable: bool,
}

impl Open {
    fn commit(&self, txn: WriteTxn) -> Result<()> {
        if self.is_durable { txn.commit() } else { txn.commit_unsynced() }.map_err(said)?;
        Ok(())
    }
}

impl Engine for Open {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        let txn = self.database.begin_read();
        let tree = txn.tree_by_id(self.tree).map_err(said)?.ok_or_else(no_tree)?;
        body(&mut TreeReader { tree, engine: NAME })
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let mut txn = self.database.begin_write().map_err(said)?;
        txn.write_behind(self.is_durable);
        let tree = txn.open_tree(TREE).map_err(said)?.ok_or_else(no_tree)?;
        let mut writer = TreesWriter { txn, tree };
        body(&mut writer)?;
        self.commit(writer.txn)
    }

    fn append(&self, per_transaction: u64, next: NextRecord<'_>) -> Result<()> {
        let (mut key, mut value, mut more) = (Vec::new(), Vec::new(), true);
        while more {
            let mut txn = self.database.begin_write().map_err(said)?;
            let tree = txn.open_tree(TREE).map_err(said)?.ok_or_else(no_tree)?;
            let mut load = txn.begin_bulk_load(tree, BulkOptions::new()).map_err(said)?;
            for _ in 0..per_transaction {
                more = next(&mut key, &mut value);
                if !more {
                    break;
                }
                load.push(&key, &value).map_err(said)?;
            }
            load.finish().map_err(said)?;
            self.commit(txn)?;
        }
        Ok(())
    }

    fn write_out(&self) -> Result<()> {
        if self.is_durable { Ok(()) } else { self.database.sync().map_err(said).map(|_| ()) }
    }

    fn compact_into(&self, folder: &Path) -> Result<()> {
        let copied = self.database.compact_to(PagerOptions::new(), folder.join(FILE), &mut |_, _| {});
        copied.map_err(said).map(|_| ())
    }

    fn begin_and_end_read(&self) -> Result<()> {
        std::hint::black_box(self.database.begin_read());
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn counts(&self) -> Counts {
        let txn = self.database.begin_read();
        let height = txn.tree(TREE).ok().flatten().and_then(|tree| tree.height().ok());
        Counts {
            flushes: Some(self.counters.flushes()),
            bytes_written: Some(self.counters.bytes_written()),
            pages_per_get: height.map(u64::from),
            replayed: None,
        }
    }
}

struct TreesWriter {
    txn: WriteTxn,
    tree: TreeId,
}

impl Writer for TreesWriter {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.txn.get(self.tree, key).map_err(said)?;
        if let Some(found) = found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.txn.insert(self.tree, key, value).map_err(said)?;
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        self.txn.remove(self.tree, key).map_err(said)
    }
}
