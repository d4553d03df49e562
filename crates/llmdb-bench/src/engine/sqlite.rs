//! SQLite, through rusqlite, compiled in.

use super::past::{self, Past, Series};
use super::{Engine, EngineKind, OpenOptions, ReadBody, Reader, ScanBody, WriteBody, Writer, locked_version};
use crate::error::{Error, Result};
use crate::results::Durability;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const NAME: &str = "sqlite";
/// Pages that a connection keeps, in KiB; the system's page cache keeps the rest.
const CACHE_KIB: u32 = 64 << 10;

/// SQLite.
#[derive(Debug)]
pub(super) struct Sqlite;

impl EngineKind for Sqlite {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        format!("{} (rusqlite {})", rusqlite::version(), locked_version("rusqlite"))
    }

    fn settings(&self, durability: Durability) -> String {
        format!(
            "WAL, synchronous={}, WITHOUT ROWID table, cache {} MB a connection, mmap_size 1 GiB, cached statements",
            synchronous(durability),
            CACHE_KIB >> 10
        )
    }

    fn offers(&self, durability: Durability) -> bool {
        matches!(
            durability,
            Durability::Sync | Durability::Interval | Durability::None | Durability::ReadOnly
        )
    }

    fn open_past(&self, folder: &Path, _options: &OpenOptions) -> Result<Box<dyn Past>> {
        past::open_sqlite_past(folder)
    }

    fn open_series(&self, folder: &Path, _options: &OpenOptions) -> Result<Box<dyn Series>> {
        past::open_sqlite_series(folder)
    }

    fn keeps_past(&self) -> bool {
        true
    }

    fn open(&self, folder: &Path, options: &OpenOptions) -> Result<Box<dyn Engine>> {
        let path = folder.join("bench.sqlite");
        let writer = connect(&path, options.durability)?;
        writer
            .execute_batch("CREATE TABLE IF NOT EXISTS bench (k BLOB PRIMARY KEY NOT NULL, v BLOB NOT NULL) WITHOUT ROWID")
            .map_err(said)?;
        Ok(Box::new(Open {
            path,
            durability: options.durability,
            writer: Mutex::new(writer),
            readers: Mutex::new(Vec::new()),
        }))
    }
}

/// In WAL mode FULL flushes at each commit, NORMAL at checkpoints.
fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Interval => "NORMAL",
        Durability::None => "OFF",
        _ => "FULL",
    }
}

fn connect(path: &Path, durability: Durability) -> Result<Connection> {
    let connection = Connection::open(path).map_err(said)?;
    let level = synchronous(durability);
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous={level}; PRAGMA cache_size=-{CACHE_KIB}; \
             PRAGMA mmap_size=1073741824; PRAGMA busy_timeout=60000;"
        ))
        .map_err(said)?;
    Ok(connection)
}

/// A connection of the same settings whose commits are not flushed.
pub(super) fn connect_unsynced(path: &Path) -> Result<Connection> {
    connect(path, Durability::None)
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

struct Open {
    path: PathBuf,
    durability: Durability,
    writer: Mutex<Connection>,
    /// Connections that no reader uses now.
    readers: Mutex<Vec<Connection>>,
}

impl Open {
    fn free_readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Open {
    fn read(&self, body: ReadBody<'_>) -> Result<()> {
        let free = self.free_readers().pop();
        let mut connection = match free {
            Some(connection) => connection,
            None => connect(&self.path, self.durability)?,
        };
        let txn = connection.transaction().map_err(said)?;
        body(&mut SqliteReader { txn: &txn, value: Vec::new() })?;
        txn.commit().map_err(said)?;
        self.free_readers().push(connection);
        Ok(())
    }

    fn write(&self, body: WriteBody<'_>) -> Result<()> {
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(said)?;
        body(&mut SqliteWriter { txn: &txn })?;
        txn.commit().map_err(said)
    }

    fn settle(&self) -> Result<()> {
        let connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(said)
    }
}

const GET: &str = "SELECT v FROM bench WHERE k = ?1";

/// Appends a key's value to `value`.
fn get_into(connection: &Connection, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
    let mut statement = connection.prepare_cached(GET).map_err(said)?;
    let found = statement
        .query_row([key], |row| {
            value.extend_from_slice(row.get_ref(0)?.as_blob()?);
            Ok(())
        })
        .optional()
        .map_err(said)?;
    Ok(found.is_some())
}

struct SqliteReader<'a> {
    txn: &'a Connection,
    value: Vec<u8>,
}

impl Reader for SqliteReader<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.value.clear();
        let found = get_into(self.txn, key, &mut self.value)?;
        Ok(found.then_some(self.value.as_slice()))
    }

    fn scan(&mut self, from: &[u8], limit: usize, each: ScanBody<'_>) -> Result<usize> {
        let mut statement = self
            .txn
            .prepare_cached("SELECT k, v FROM bench WHERE k >= ?1 ORDER BY k LIMIT ?2")
            .map_err(said)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![from, limit]).map_err(said)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(said)? {
            let key = row.get_ref(0).map_err(said)?.as_blob().map_err(said)?;
            let value = row.get_ref(1).map_err(said)?.as_blob().map_err(said)?;
            each(key, value)?;
            count += 1;
        }
        Ok(count)
    }
}

struct SqliteWriter<'a> {
    txn: &'a Connection,
}

impl Writer for SqliteWriter<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        get_into(self.txn, key, value)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut statement =
            self.txn.prepare_cached("INSERT OR REPLACE INTO bench (k, v) VALUES (?1, ?2)").map_err(said)?;
        statement.execute(params![key, value]).map_err(said)?;
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool> {
        let mut statement = self.txn.prepare_cached("DELETE FROM bench WHERE k = ?1").map_err(said)?;
        Ok(statement.execute([key]).map_err(said)? > 0)
    }
}
