//! canopydb.

use super::{
    Engine, EngineKind, OpenOptions, ReadBody, Reader, ScanBody, TREE, WriteBody, Writer, cache_bytes,
    locked_version,
};
use crate::error::{Error, Result};
use crate::results::Durability;
use canopydb::{Bytes, Database, DbOptions, EnvOptions, Tree};
use std::path::Path;

const NAME: &str = "canopydb";

/// canopydb.
#[derive(Debug)]
pub(super) struct Canopydb;

impl EngineKind for Canopydb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        locked_version(NAME)
    }

    fn settings(&self, durability: Durability) -> String {
        let commit = match durability {
            Durability::None => "commits not flushed, no flushes in the background",
            _ => "log flushed at each commit",
        };
        format!("{commit}, cache {} MB, otherwise defaults (no page checksums)", cache_bytes() >> 20)
    }

    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let sync = options.durability != Durability::None;
        let mut env_options = EnvOptions::new(folder);
        env_options.page_cache_size = cache_bytes() as usize;
        env_options.disable_fsync = !sync;
        let mut db_options = DbOptions::new();
        db_options.default_commit_sync = sync;
        let database = Database::with_options(env_options, db_options).map_err(said)?;
        let txn = database.begin_write().map_err(said)?;
        txn.get_or_create_tree(TREE.as_bytes()).map_err(said)?;
        txn.commit().map_err(said)?;
        Ok(Box::new(Open { database }))
    }
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

struct Open {
    database: Database,
}

impl Engine for Open {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        let txn = self.database.begin_read().map_err(said)?;
        let tree = txn.get_tree(TREE.as_bytes()).map_err(said)?;
        let tree = tree.ok_or_else(|| said("the tree of the benchmark is missing"))?;
        body(&mut CanopyReader { tree: &tree, value: None })
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let txn = self.database.begin_write().map_err(said)?;
        {
            let mut tree = txn.get_or_create_tree(TREE.as_bytes()).map_err(said)?;
            body(&mut CanopyWriter { tree: &mut tree })?;
        }
        txn.commit().map_err(said)?;
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.database.sync().map_err(said)?;
        self.database.checkpoint().map_err(said)
    }
}

struct CanopyReader<'a> {
    tree: &'a Tree<'a>,
    /// The value that was given last is borrowed from here.
    value: Option<Bytes>,
}

impl Reader for CanopyReader<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.value = self.tree.get(key).map_err(said)?;
        Ok(self.value.as_deref())
    }

    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize> {
        let mut count = 0;
        for record in self.tree.range(from..).map_err(said)?.take(limit) {
            let (key, value) = record.map_err(said)?;
            each(&key, &value)?;
            count += 1;
        }
        Ok(count)
    }
}

struct CanopyWriter<'a, 't> {
    tree: &'a mut Tree<'t>,
}

impl Writer for CanopyWriter<'_, '_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.tree.get(key).map_err(said)?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.tree.insert(key, value).map_err(said)
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        self.tree.delete(key).map_err(said)
    }
}
