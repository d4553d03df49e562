//! LMDB, through heed; with a writable map also, where commits are not flushed.

use super::past::{self, Past, Series};
use super::{
    Engine, EngineKind, NextRecord, OpenOptions, ReadBody, Reader, ScanBody, TREE, WriteBody, Writer,
    locked_version,
};
use crate::error::{Error, Result};
use crate::results::Durability;
use heed::types::Bytes;
use heed::{CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, RwTxn, WithoutTls};
use std::ops::Bound;
use std::path::Path;

const NAME: &str = "lmdb";
const NAME_WITH_WRITE_MAP: &str = "lmdb-writemap";
const MAP_SIZE_MIN: u64 = 1 << 30;
/// More than any workload opens at once.
const READERS_MAX: u32 = 16_384;

/// LMDB.
#[derive(Debug, Default)]
pub(super) struct Heed {
    write_map: bool,
}

impl Heed {
    /// With a writable map: a mode of its own for loads that need not be durable.
    pub(super) fn with_write_map() -> Self {
        Self { write_map: true }
    }
}

impl EngineKind for Heed {
    fn name(&self) -> &'static str {
        if self.write_map { NAME_WITH_WRITE_MAP } else { NAME }
    }

    fn version(&self) -> String {
        let version = heed::lmdb_version();
        format!("{}.{}.{} (heed {})", version.major, version.minor, version.patch, locked_version("heed"))
    }

    fn settings(&self, durability: Durability) -> String {
        let sync = match durability {
            Durability::None => "MDB_NOSYNC",
            _ => "each commit flushed",
        };
        let map = if self.write_map { "MDB_WRITEMAP" } else { "no write map" };
        format!("{sync}, MDB_NOTLS, {map}, map size four times the data and at least 1 GiB")
    }

    fn offers(&self, durability: Durability) -> bool {
        if self.write_map {
            return durability == Durability::None;
        }
        matches!(durability, Durability::Sync | Durability::None | Durability::ReadOnly)
    }

    fn keeps_past(&self) -> bool {
        !self.write_map
    }

    fn open_past(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Past>> {
        past::open_lmdb_past(folder, options)
    }

    fn open_series(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Series>> {
        past::open_lmdb_series(folder, options)
    }

    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let env = open_env(folder, options, self.unsynced_flags())?;
        let mut txn = env.write_txn().map_err(said)?;
        let database = env.create_database(&mut txn, Some(TREE)).map_err(said)?;
        txn.commit().map_err(said)?;
        Ok(Box::new(Open { env, database }))
    }
}

impl Heed {
    fn unsynced_flags(&self) -> EnvFlags {
        if self.write_map { EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP } else { EnvFlags::NO_SYNC }
    }
}

/// An environment in a folder; `unsynced` where commits need not be flushed.
#[expect(
    unsafe_code,
    reason = "heed cannot know that nobody else changes the file; the folder is the run's own"
)]
pub(super) fn open_env(folder: &Path, options: &OpenOptions, unsynced: EnvFlags) -> Result<Env<WithoutTls>> {
    let mut env_options = EnvOpenOptions::new().read_txn_without_tls();
    let map_size = (options.bytes_max.saturating_mul(4).max(MAP_SIZE_MIN) + 0xFFFF) & !0xFFFF;
    env_options.map_size(map_size as usize).max_dbs(1).max_readers(READERS_MAX);
    if options.durability == Durability::None {
        // SAFETY: the flag risks the data at a crash of the machine, which this durability means.
        unsafe { env_options.flags(unsynced) };
    }
    // SAFETY: the folder belongs to this run, and each database is opened once at a time.
    unsafe { env_options.open(folder) }.map_err(said)
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

struct Open {
    env: Env<WithoutTls>,
    database: Database<Bytes, Bytes>,
}

impl Engine for Open {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        let txn = self.env.read_txn().map_err(said)?;
        body(&mut LmdbReader { txn: &txn, database: self.database })
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let txn = self.env.write_txn().map_err(said)?;
        let mut writer = LmdbWriter { txn, database: self.database };
        body(&mut writer)?;
        writer.txn.commit().map_err(said)
    }

    fn begin_and_end_read(&self) -> Result<()> {
        std::hint::black_box(self.env.read_txn().map_err(said)?);
        Ok(())
    }

    fn append(&self, per_transaction: u64, next: NextRecord<'_>) -> Result<()> {
        let (mut key, mut value, mut more) = (Vec::new(), Vec::new(), true);
        while more {
            let mut txn = self.env.write_txn().map_err(said)?;
            for _ in 0..per_transaction {
                more = next(&mut key, &mut value);
                if !more {
                    break;
                }
                let put = self.database.put_with_flags(&mut txn, PutFlags::APPEND, &key, &value);
                put.map_err(said)?;
            }
            txn.commit().map_err(said)?;
        }
        Ok(())
    }

    fn compact_into(&self, folder: &Path) -> Result<()> {
        let path = folder.join("data.mdb");
        self.env.copy_to_path(path, CompactionOption::Enabled).map_err(said).map(|_| ())
    }

    fn settle(&self) -> Result<()> {
        self.env.force_sync().map_err(said)
    }
}

struct LmdbReader<'a> {
    txn: &'a RoTxn<'a, WithoutTls>,
    database: Database<Bytes, Bytes>,
}

impl Reader for LmdbReader<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.database.get(self.txn, key).map_err(said)
    }

    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize> {
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(from), Bound::Unbounded);
        let mut count = 0;
        for record in self.database.range(self.txn, &bounds).map_err(said)?.take(limit) {
            let (key, value) = record.map_err(said)?;
            each(key, value)?;
            count += 1;
        }
        Ok(count)
    }
}

struct LmdbWriter<'a> {
    txn: RwTxn<'a>,
    database: Database<Bytes, Bytes>,
}

impl Writer for LmdbWriter<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.database.get(&self.txn, key).map_err(said)?;
        if let Some(found) = found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.database.put(&mut self.txn, key, value).map_err(said)
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        self.database.delete(&mut self.txn, key).map_err(said)
    }
}
