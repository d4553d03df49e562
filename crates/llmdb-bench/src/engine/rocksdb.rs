//! RocksDB, with its optimistic transactions, one writer at a time; single records go by its own path, where threads share
//! a flush.

use super::{
    AnswerBody, Engine, EngineKind, OpenOptions, ReadBody, Reader, ScanBody, WriteBody, Writer, cache_bytes,
    locked_version,
};
use crate::error::{Error, Result};
use crate::results::Durability;
use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBPinnableSlice, OptimisticTransactionDB,
    OptimisticTransactionOptions, Options, ReadOptions, SnapshotWithThreadMode, Transaction, WriteOptions,
};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const NAME: &str = "rocksdb";
/// Bytes of a block, as its makers advise for new databases.
const BLOCK_SIZE: usize = 16 << 10;
/// Bits of a key in the filters.
const BLOOM_BITS: f64 = 10.0;

/// RocksDB.
#[derive(Debug)]
pub(super) struct RocksDb;

impl EngineKind for RocksDb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        // The version of the C++ library stands behind the plus sign.
        format!("{} (rocksdb {})", locked_version("librocksdb-sys"), locked_version("rocksdb"))
    }

    fn settings(&self, durability: Durability) -> String {
        let commit = match durability {
            Durability::None => "not flushed",
            _ => "flushed at each commit (WriteOptions::sync)",
        };
        format!(
            "log {commit}, single records by put (threads share flushes), others \
             in optimistic transactions one at a time, its wiki's basic tuning: LZ4, 16 KiB blocks, \
             bloom filters of 10 bits, block cache {} MB with indexes and filters in it, dynamic level sizes, 6 \
             background jobs, 1 MiB bytes_per_sync, newest table format",
            cache_bytes() >> 20
        )
    }

    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let database = OptimisticTransactionDB::open(&tuned(), folder.join("bench.rocksdb")).map_err(said)?;
        let mut write_options = WriteOptions::default();
        write_options.set_sync(options.durability != Durability::None);
        Ok(Box::new(Open { database, options: write_options, writer: Mutex::default() }))
    }
}

/// "Setup Options and Basic Tuning" of RocksDB's wiki.
fn tuned() -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_size(BLOCK_SIZE);
    blocks.set_block_cache(&Cache::new_lru_cache(cache_bytes() as usize));
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(BLOOM_BITS, false);
    blocks.set_format_version(6);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_background_jobs(6);
    options.set_bytes_per_sync(1 << 20);
    options.set_block_based_table_factory(&blocks);
    options
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

struct Open {
    database: OptimisticTransactionDB,
    options: WriteOptions,
    /// Held while a transaction is at work.
    writer: Mutex<()>,
}

impl Engine for Open {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        let snapshot = self.database.snapshot();
        let mut options = ReadOptions::default();
        options.set_snapshot(&snapshot);
        body(&mut RocksReader { database: &self.database, snapshot: &snapshot, options, value: None })
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let _one = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let txn = self.database.transaction_opt(&self.options, &OptimisticTransactionOptions::default());
        body(&mut RocksWriter { txn: &txn })?;
        txn.commit().map_err(said)
    }

    fn put_one(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.database.put_opt(key, value, &self.options).map_err(said)
    }

    fn settle(&self) -> Result<()> {
        self.database.flush_wal(true).map_err(said)?;
        // Its checkpoint: else the next open would read the log into memory and never be cold.
        self.database.flush().map_err(said)
    }
}

struct RocksReader<'a> {
    database: &'a OptimisticTransactionDB,
    snapshot: &'a SnapshotWithThreadMode<'a, OptimisticTransactionDB>,
    /// With the snapshot, which outlives them.
    options: ReadOptions,
    /// The value that was given last is borrowed from here.
    value: Option<DBPinnableSlice<'a>>,
}

impl Reader for RocksReader<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.value = self.database.get_pinned_opt(key, &self.options).map_err(said)?;
        Ok(self.value.as_deref())
    }

    fn get_many(&mut self, keys: &[&[u8]], each: AnswerBody<'_>) -> Result<()> {
        for (at, value) in self.snapshot.multi_get(keys).into_iter().enumerate() {
            each(at, value.map_err(said)?.as_deref())?;
        }
        Ok(())
    }

    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize> {
        let mut iterator = self.snapshot.raw_iterator();
        iterator.seek(from);
        let mut count = 0;
        while let Some((key, value)) = iterator.item().filter(|_| count < limit) {
            each(key, value)?;
            count += 1;
            iterator.next();
        }
        iterator.status().map_err(said)?;
        Ok(count)
    }
}

struct RocksWriter<'a> {
    txn: &'a Transaction<'a, OptimisticTransactionDB>,
}

impl Writer for RocksWriter<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.txn.get_pinned(key).map_err(said)?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.txn.put(key, value).map_err(said)
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        let found = self.txn.get_pinned(key).map_err(said)?.is_some();
        self.txn.delete(key).map_err(said)?;
        Ok(found)
    }
}
