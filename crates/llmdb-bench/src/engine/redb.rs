//! redb.

use super::{
    Engine, EngineKind, OpenOptions, ReadBody, Reader, ScanBody, TREE, WriteBody, Writer, cache_bytes,
    locked_version,
};
use crate::error::{Error, Result};
use crate::results::Durability;
use redb::{
    AccessGuard, Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition,
};
use std::path::Path;

const NAME: &str = "redb";
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(TREE);

/// redb.
#[derive(Debug)]
pub(super) struct Redb;

impl EngineKind for Redb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        locked_version(NAME)
    }

    fn settings(&self, durability: Durability) -> String {
        let commit = match durability {
            Durability::None => "Durability::None",
            _ => "Durability::Immediate (one-phase commit)",
        };
        format!("{commit}, cache {} MB, otherwise defaults", cache_bytes() >> 20)
    }

    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes() as usize);
        let database = builder.create(folder.join("bench.redb")).map_err(said)?;
        let txn = database.begin_write().map_err(said)?;
        txn.open_table(TABLE).map_err(said)?;
        txn.commit().map_err(said)?;
        Ok(Box::new(Open { database, durable: options.durability != Durability::None }))
    }
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

struct Open {
    database: Database,
    durable: bool,
}

impl Engine for Open {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        let txn = self.database.begin_read().map_err(said)?;
        let table = txn.open_table(TABLE).map_err(said)?;
        body(&mut RedbReader { table, value: None })
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let mut txn = self.database.begin_write().map_err(said)?;
        if !self.durable {
            txn.set_durability(redb::Durability::None).map_err(said)?;
        }
        let mut writer = RedbWriter { table: txn.open_table(TABLE).map_err(said)? };
        body(&mut writer)?;
        drop(writer);
        txn.commit().map_err(said)
    }

    fn settle(&self) -> Result<()> {
        // An empty durable commit makes those before it durable.
        self.database.begin_write().map_err(said)?.commit().map_err(said)
    }
}

struct RedbReader {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    /// The value that was given last is borrowed from here.
    value: Option<AccessGuard<'static, &'static [u8]>>,
}

impl Reader for RedbReader {
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.value = self.table.get(key).map_err(said)?;
        Ok(self.value.as_ref().map(AccessGuard::value))
    }

    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize> {
        let mut count = 0;
        for record in self.table.range(from..).map_err(said)?.take(limit) {
            let (key, value) = record.map_err(said)?;
            each(key.value(), value.value())?;
            count += 1;
        }
        Ok(count)
    }
}

struct RedbWriter<'a> {
    table: Table<'a, &'static [u8], &'static [u8]>,
}

impl Writer for RedbWriter<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.table.get(key).map_err(said)?;
        if let Some(found) = &found {
            value.extend_from_slice(found.value());
        }
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.table.insert(key, value).map_err(said)?;
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.table.remove(key).map_err(said)?.is_some())
    }
}
