//! surrealkv, an LSM tree whose commits are asynchronous: one runtime inside each open database, on which its flusher and its
//! compactions run; each call blocks its own thread until the runtime has done it (`block_on`). Reads are synchronous and
//! never enter the runtime.
//!
//! Invariants
//! 1. Single records are committed by as many threads as call, each in a transaction of its own that only writes, so that
//!    surrealkv's own group commit lets them share a flush; other transactions are optimistic ones, one at a time.
//! 2. Versions are kept only where the past is asked for (`past::surrealkv`), as a plain table has none elsewhere.

use super::past::{self, Past, Series};
use super::{
    Engine, EngineKind, OpenOptions, ReadBody, Reader, ScanBody, WriteBody, Writer, cache_bytes,
    locked_version,
};
use crate::error::{Error, Result};
use crate::results::Durability;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use surrealkv::{CompactRangeOptions, LSMIterator as _, Mode, Options, Transaction, Tree, TreeBuilder};
use tokio::runtime::{Builder, Runtime};

const NAME: &str = "surrealkv";
/// How often a single record is committed again because another thread's commit of the same key was quicker.
const TRIES: usize = 1_000;

/// surrealkv.
#[derive(Debug)]
pub(super) struct SurrealKv;

impl EngineKind for SurrealKv {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        locked_version(NAME)
    }

    fn settings(&self, durability: Durability) -> String {
        let commit = match durability {
            Durability::None => "Durability::Eventual",
            _ => "Durability::Immediate, log preallocated",
        };
        format!(
            "{commit}, single records in transactions of their own from all threads (they share flushes), others one at a \
             time, block cache {} MB, otherwise defaults (no value log, no compression, 100 MB memtable); versions kept \
             for ever where the past is asked for, else none; one tokio runtime, each call waits on it",
            cache_bytes() >> 20
        )
    }

    fn keeps_past(&self) -> bool {
        true
    }

    fn open_past(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Past>> {
        past::open_surrealkv_past(folder, options)
    }

    fn open_series(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Series>> {
        past::open_surrealkv_series(folder, options)
    }

    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let database = Database::open(folder, options, Versions::Newest)?;
        Ok(Box::new(Open { database, writer: Mutex::default() }))
    }
}

pub(super) fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

/// Which versions of a key are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    Newest,
    All,
}

/// A tree with the runtime that it lives on.
pub(super) struct Database {
    tree: Tree,
    durability: surrealkv::Durability,
    runtime: Runtime,
}

impl Database {
    pub(super) fn open(folder: &Path, asked: &OpenOptions, versions: Versions) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .enable_time()
            .thread_name("surrealkv")
            .build()
            .map_err(|error| Error::io("starting surrealkv's runtime", error))?;
        let is_durable = asked.durability != Durability::None;
        let options = Options::new()
            .with_path(folder.join("bench.surrealkv"))
            .with_block_cache_capacity(cache_bytes())
            .with_versioning(versions == Versions::All, 0)
            .with_wal_preallocation(is_durable);
        // It starts tasks as it opens.
        let tree = {
            let _inside = runtime.enter();
            TreeBuilder::with_options(options).build().map_err(said)?
        };
        let durability =
            if is_durable { surrealkv::Durability::Immediate } else { surrealkv::Durability::Eventual };
        Ok(Self { tree, durability, runtime })
    }

    /// A snapshot.
    pub(super) fn snapshot(&self) -> Result<Transaction> {
        self.tree.begin_with_mode(Mode::ReadOnly).map_err(said)
    }

    /// A transaction that commits as durably as the database was opened.
    pub(super) fn begin(&self, mode: Mode) -> Result<Transaction> {
        Ok(self.tree.begin_with_mode(mode).map_err(said)?.with_durability(self.durability))
    }

    /// Commits, and waits until that is done.
    pub(super) fn commit(&self, txn: &mut Transaction) -> surrealkv::Result<()> {
        self.runtime.block_on(txn.commit())
    }

    /// Makes all commits durable and writes the memtable into a table; brought together with all older ones into one sorted
    /// run, if `into_one`.
    pub(super) fn settle(&self, into_one: bool) -> Result<()> {
        let _inside = self.runtime.enter();
        self.tree.flush_wal(true).map_err(said)?;
        let options = CompactRangeOptions {
            target_level: if into_one { None } else { Some(0) },
            rewrite_bottommost: false,
            ..CompactRangeOptions::default()
        };
        self.tree.compact_range(None, None, &options).map_err(said)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Its own drop would close it some time later, and the next open of the folder needs its lock. What fails here shows
        // as what is missing after that open.
        drop(self.runtime.block_on(self.tree.close()));
    }
}

struct Open {
    database: Database,
    /// Held while a transaction is at work.
    writer: Mutex<()>,
}

impl Engine for Open {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        body(&mut TreeReader { txn: self.database.snapshot()?, value: None })
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let _one = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut txn = self.database.begin(Mode::ReadWrite)?;
        body(&mut TreeWriter { txn: &mut txn })?;
        self.database.commit(&mut txn).map_err(said)
    }

    fn put_one(&self, key: &[u8], value: &[u8]) -> Result<()> {
        use surrealkv::Error::{TransactionRetry, TransactionWriteConflict};
        for _ in 0..TRIES {
            let mut txn = self.database.begin(Mode::WriteOnly)?;
            txn.set(key, value).map_err(said)?;
            match self.database.commit(&mut txn) {
                Err(TransactionWriteConflict | TransactionRetry) => {}
                done => return done.map_err(said),
            }
        }
        Err(said(format!(
            "a record of its own was refused {TRIES} times: others commit the same key without end"
        )))
    }

    fn write_out(&self) -> Result<()> {
        self.database.tree.flush_wal(false).map_err(said)
    }

    fn settle(&self) -> Result<()> {
        // Its checkpoint: else the next open would read the log into memory and never be cold.
        self.database.settle(false)
    }
}

struct TreeReader {
    txn: Transaction,
    /// The value that was given last is borrowed from here.
    value: Option<Vec<u8>>,
}

impl Reader for TreeReader {
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.value = self.txn.get(key).map_err(said)?;
        Ok(self.value.as_deref())
    }

    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize> {
        let mut cursor = self.txn.scan(from..).map_err(said)?;
        let mut stands = limit > 0 && cursor.seek_first().map_err(said)?;
        let mut count = 0;
        while stands {
            each(cursor.key().user_key(), &cursor.value_ref().map_err(said)?)?;
            count += 1;
            stands = count < limit && cursor.next().map_err(said)?;
        }
        Ok(count)
    }
}

struct TreeWriter<'a> {
    txn: &'a mut Transaction,
}

impl Writer for TreeWriter<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        // Holds the commit against other threads' single records, too.
        let found = self.txn.get_for_update(key).map_err(said)?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.txn.set(key, value).map_err(said)
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        let found = self.txn.get(key).map_err(said)?.is_some();
        self.txn.delete(key).map_err(said)?;
        Ok(found)
    }
}
