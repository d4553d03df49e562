//! fjall, with its single-writer transactions.

use super::{
    Engine, EngineKind, OpenOptions, ReadBody, Reader, ScanBody, TREE, WriteBody, Writer, cache_bytes,
    locked_version,
};
use crate::error::{Error, Result};
use crate::results::Durability;
use fjall::{
    KeyspaceCreateOptions, PersistMode, Readable as _, SingleWriterTxDatabase, SingleWriterTxKeyspace, Slice,
    Snapshot,
};
use std::path::Path;

const NAME: &str = "fjall";

/// fjall.
#[derive(Debug)]
pub(super) struct Fjall;

impl EngineKind for Fjall {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        locked_version(NAME)
    }

    fn settings(&self, durability: Durability) -> String {
        let commit = match durability {
            Durability::None => "PersistMode::Buffer",
            _ => "PersistMode::SyncData at each commit",
        };
        format!("single-writer transactions, {commit}, cache {} MB, otherwise defaults", cache_bytes() >> 20)
    }

    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let builder = SingleWriterTxDatabase::builder(folder.join("bench.fjall")).cache_size(cache_bytes());
        let database = builder.open().map_err(said)?;
        let keyspace = database.keyspace(TREE, KeyspaceCreateOptions::default).map_err(said)?;
        let mode =
            if options.durability == Durability::None { PersistMode::Buffer } else { PersistMode::SyncData };
        Ok(Box::new(Open { database, keyspace, mode }))
    }
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

struct Open {
    database: SingleWriterTxDatabase,
    keyspace: SingleWriterTxKeyspace,
    mode: PersistMode,
}

impl Engine for Open {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        body(&mut FjallReader { snapshot: self.database.read_tx(), keyspace: &self.keyspace, value: None })
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let txn = self.database.write_tx().durability(Some(self.mode));
        let mut writer = FjallWriter { txn, keyspace: &self.keyspace };
        body(&mut writer)?;
        writer.txn.commit().map_err(said)
    }

    fn settle(&self) -> Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(said)?;
        // Its checkpoint: else the next open would read the journal into memory and never be cold.
        self.keyspace.inner().rotate_memtable_and_wait().map_err(said)
    }
}

struct FjallReader<'a> {
    snapshot: Snapshot,
    keyspace: &'a SingleWriterTxKeyspace,
    /// The value that was given last is borrowed from here.
    value: Option<Slice>,
}

impl Reader for FjallReader<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.value = self.snapshot.get(self.keyspace, key).map_err(said)?;
        Ok(self.value.as_deref())
    }

    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize> {
        let mut count = 0;
        for record in self.snapshot.range(self.keyspace, from..).take(limit) {
            let (key, value) = record.into_inner().map_err(said)?;
            each(&key, &value)?;
            count += 1;
        }
        Ok(count)
    }
}

struct FjallWriter<'a> {
    txn: fjall::SingleWriterWriteTx<'a>,
    keyspace: &'a SingleWriterTxKeyspace,
}

impl Writer for FjallWriter<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.txn.get(self.keyspace, key).map_err(said)?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.txn.insert(self.keyspace, key, value);
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        let found = self.txn.contains_key(self.keyspace, key).map_err(said)?;
        self.txn.remove(self.keyspace, key);
        Ok(found)
    }
}
