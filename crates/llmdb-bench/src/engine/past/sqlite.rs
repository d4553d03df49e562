//! SQLite: a history table that is found by (key, number of the change, newest first), with an index by number and a table of
//! the keys; series in a table by (series, time).

use super::{
    ChangesBody, Measurement, MeasurementBody, Past, PastReader, PastWriter, PieceBody, Point, QuestionsBody,
    RowBody, Series, resolve::Resolving,
};
use crate::error::{Error, Result};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

const NAME: &str = "sqlite";

const FACTS: &str = "
CREATE TABLE IF NOT EXISTS facts (
    k BLOB NOT NULL, n INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, v BLOB NOT NULL,
    PRIMARY KEY (k, n DESC)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS facts_by_number ON facts (n, k);
CREATE TABLE IF NOT EXISTS keys (k BLOB PRIMARY KEY NOT NULL) WITHOUT ROWID;";

const POINTS: &str = "
CREATE TABLE IF NOT EXISTS points (
    series INTEGER NOT NULL, time INTEGER NOT NULL, value REAL NOT NULL, PRIMARY KEY (series, time)
) WITHOUT ROWID;";

const GET: &str =
    "SELECT v FROM facts WHERE k = ?1 AND n <= ?2 AND start <= ?3 AND stop > ?3 ORDER BY n DESC LIMIT 1";
const SCAN: &str = "SELECT k, (SELECT v FROM facts f WHERE f.k = keys.k AND n <= ?2 AND start <= ?3 AND stop > ?3 \
                    ORDER BY n DESC LIMIT 1) FROM keys WHERE k >= ?1 ORDER BY k";
const TIMELINE: &str =
    "SELECT start, stop, v FROM facts WHERE k = ?1 AND n <= ?2 AND start < ?4 AND stop > ?3 ORDER BY n DESC";
const HISTORY: &str = "SELECT v FROM facts WHERE k = ?1 AND start <= ?2 AND stop > ?2 ORDER BY n";
const CHANGED: &str = "SELECT count(DISTINCT k) FROM facts WHERE n > ?1 AND n <= ?2";

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

fn open(folder: &Path, schema: &str) -> Result<Open> {
    let connection = super::super::sqlite::connect_unsynced(&folder.join("facts.sqlite"))?;
    connection.execute_batch(schema).map_err(said)?;
    Ok(Open { connection: Mutex::new(connection) })
}

/// The past of a folder.
pub(in crate::engine) fn open_past(folder: &Path) -> Result<Box<dyn Past>> {
    Ok(Box::new(open(folder, FACTS)?))
}

/// The series of a folder.
pub(in crate::engine) fn open_series(folder: &Path) -> Result<Box<dyn Series>> {
    Ok(Box::new(open(folder, POINTS)?))
}

struct Open {
    connection: Mutex<Connection>,
}

impl Open {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_use(&self) -> Option<u64> {
        let connection = self.connection();
        let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).ok();
        let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
        Some((pages * number("PRAGMA page_size")?) as u64)
    }

    fn checkpoint(&self) -> Result<()> {
        self.connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(said)
    }
}

impl Past for Open {
    fn write(&self, body: ChangesBody<'_>) -> Result<i64> {
        let mut connection = self.connection();
        let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(said)?;
        let newest = txn.query_row("SELECT coalesce(max(n), 0) FROM facts", [], |row| row.get(0));
        let mut writer = Changes { newest: newest.map_err(said)?, txn: &txn };
        body(&mut writer)?;
        let newest = writer.newest;
        txn.commit().map_err(said)?;
        Ok(newest)
    }

    fn read(&self, body: QuestionsBody<'_>) -> Result<()> {
        let mut connection = self.connection();
        let txn = connection.transaction().map_err(said)?;
        body(&mut Questions { txn: &txn, value: Vec::new() })?;
        txn.commit().map_err(said)
    }

    fn settle(&self) -> Result<()> {
        self.checkpoint()
    }

    fn bytes_in_use(&self) -> Option<u64> {
        self.in_use()
    }
}

struct Changes<'a> {
    txn: &'a Transaction<'a>,
    newest: i64,
}

impl PastWriter for Changes<'_> {
    fn put(&mut self, key: &[u8], from: i64, to: i64, value: &[u8]) -> Result<()> {
        self.newest += 1;
        let mut insert = self
            .txn
            .prepare_cached("INSERT INTO facts (k, n, start, stop, v) VALUES (?1, ?2, ?3, ?4, ?5)")
            .map_err(said)?;
        insert.execute(params![key, self.newest, from, to, value]).map_err(said)?;
        let mut note = self.txn.prepare_cached("INSERT OR IGNORE INTO keys (k) VALUES (?1)").map_err(said)?;
        note.execute([key]).map_err(said)?;
        Ok(())
    }
}

struct Questions<'a> {
    txn: &'a Transaction<'a>,
    value: Vec<u8>,
}

fn known(known: Option<i64>) -> i64 {
    known.unwrap_or(i64::MAX)
}

impl PastReader for Questions<'_> {
    fn get(&mut self, key: &[u8], at: Point) -> Result<Option<&[u8]>> {
        self.value.clear();
        let mut statement = self.txn.prepare_cached(GET).map_err(said)?;
        let found = statement
            .query_row(params![key, known(at.known), at.valid], |row| {
                self.value.extend_from_slice(row.get_ref(0)?.as_blob()?);
                Ok(())
            })
            .optional()
            .map_err(said)?;
        Ok(found.map(|()| self.value.as_slice()))
    }

    fn scan(&mut self, from: &[u8], limit: usize, at: Point, each: RowBody<'_>) -> Result<usize> {
        let mut statement = self.txn.prepare_cached(SCAN).map_err(said)?;
        let mut rows = statement.query(params![from, known(at.known), at.valid]).map_err(said)?;
        let mut count = 0;
        while count < limit
            && let Some(row) = rows.next().map_err(said)?
        {
            let key = row.get_ref(0).map_err(said)?.as_blob().map_err(said)?;
            if let Some(value) = row.get_ref(1).map_err(said)?.as_blob_or_null().map_err(said)? {
                each(key, value)?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn timeline(
        &mut self,
        key: &[u8],
        window: (i64, i64),
        asked: Option<i64>,
        each: PieceBody<'_>,
    ) -> Result<()> {
        let mut statement = self.txn.prepare_cached(TIMELINE).map_err(said)?;
        let mut rows = statement.query(params![key, known(asked), window.0, window.1]).map_err(said)?;
        let mut resolving = Resolving::new(window);
        while !resolving.is_full()
            && let Some(row) = rows.next().map_err(said)?
        {
            let value = row.get_ref(2).map_err(said)?.as_blob().map_err(said)?;
            resolving.take(row.get(0).map_err(said)?, row.get(1).map_err(said)?, value);
        }
        resolving.give(each)
    }

    fn history(&mut self, key: &[u8], valid: i64, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut statement = self.txn.prepare_cached(HISTORY).map_err(said)?;
        let mut rows = statement.query(params![key, valid]).map_err(said)?;
        while let Some(row) = rows.next().map_err(said)? {
            each(row.get_ref(0).map_err(said)?.as_blob().map_err(said)?)?;
        }
        Ok(())
    }

    fn changed_keys(&mut self, from: i64, to: i64) -> Result<u64> {
        let mut statement = self.txn.prepare_cached(CHANGED).map_err(said)?;
        statement.query_row([from, to], |row| row.get::<_, i64>(0)).map(|count| count as u64).map_err(said)
    }
}

impl Series for Open {
    fn insert(&self, points: &mut [Measurement]) -> Result<()> {
        points.sort_by_key(|point| (point.series, point.time));
        let mut connection = self.connection();
        let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(said)?;
        {
            let mut insert = txn
                .prepare_cached("INSERT OR REPLACE INTO points (series, time, value) VALUES (?1, ?2, ?3)")
                .map_err(said)?;
            for point in points {
                insert.execute(params![point.series, point.time, point.value]).map_err(said)?;
            }
        }
        txn.commit().map_err(said)
    }

    fn window(&self, series: u32, from: i64, to: i64, each: MeasurementBody<'_>) -> Result<()> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT time, value FROM points WHERE series = ?1 AND time >= ?2 AND time < ?3 ORDER BY time",
            )
            .map_err(said)?;
        let mut rows = statement.query(params![series, from, to]).map_err(said)?;
        while let Some(row) = rows.next().map_err(said)? {
            each(row.get(0).map_err(said)?, row.get(1).map_err(said)?);
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.checkpoint()
    }

    fn bytes_in_use(&self) -> Option<u64> {
        self.in_use()
    }
}
