//! LMDB, through heed.

use super::{
    Engine, EngineKind, OpenOptions, ReadBody, Reader, ScanBody, TREE, WriteBody, Writer, locked_version,
};
use crate::error::{Error, Result};
use crate::results::Durability;
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};
use std::ops::Bound;
use std::path::Path;

const NAME: &str = "lmdb";
const MAP_SIZE_MIN: u64 = 1 << 30;

/// LMDB.
#[derive(Debug)]
pub(super) struct Heed;

impl EngineKind for Heed {
    fn name(&self) -> &'static str {
        NAME
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
        format!("{sync}, MDB_NOTLS, no write map, map size four times the data and at least 1 GiB")
    }

    fn offers(&self, durability: Durability) -> bool {
        matches!(durability, Durability::Sync | Durability::None | Durability::ReadOnly)
    }

    #[expect(
        unsafe_code,
        reason = "heed cannot know that nobody else changes the file; the folder is the run's own"
    )]
    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let mut env_options = EnvOpenOptions::new().read_txn_without_tls();
        let map_size = (options.bytes_max.saturating_mul(4).max(MAP_SIZE_MIN) + 0xFFFF) & !0xFFFF;
        env_options.map_size(map_size as usize).max_dbs(1).max_readers(1_024);
        if options.durability == Durability::None {
            // SAFETY: the flag risks the data at a crash of the machine, which this durability means.
            unsafe { env_options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the folder belongs to this run, and each database is opened once at a time.
        let env = unsafe { env_options.open(folder) }.map_err(said)?;
        let mut txn = env.write_txn().map_err(said)?;
        let database = env.create_database(&mut txn, Some(TREE)).map_err(said)?;
        txn.commit().map_err(said)?;
        Ok(Box::new(Open { env, database }))
    }
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
