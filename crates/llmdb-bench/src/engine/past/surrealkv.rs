//! surrealkv by its own versions: each change is a version of its key, stamped with the number of the change; series under
//! (series, time).
//!
//! ```text
//! past:    key @ number of the change                                            ->  from | to | value
//! series:  series, 4 bytes | time, 8 bytes with the sign flipped, big-endian  ->  value, 8 bytes
//! ```
//!
//! Its versions know one time. Here that is the time of knowing, so that `get_at` answers what the newest change was at a
//! commit; where that change is not about the instant, the older versions are walked back by `history` until one is. Both
//! read every version that the key has, whatever is asked: `get_at` from the oldest on, `history` into memory. There is no scan as of a
//! version and no order by number: such scans walk the history of all keys of the range.
//!
//! Keys have fewer than [`KEY_MAX`] bytes.

use super::{
    ChangesBody, Measurement, MeasurementBody, Past, PastReader, PastWriter, PieceBody, Point, QuestionsBody,
    RowBody, Series, resolve::Resolving,
};
use crate::engine::OpenOptions;
use crate::engine::surrealkv::{Database, Versions, said};
use crate::error::{Error, Result};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use surrealkv::{HistoryOptions, LSMIterator, Mode, Transaction};

const PERIOD_SIZE: usize = 16;
/// No key is longer.
const KEY_MAX: usize = 64;
/// Above all keys.
const END: &[u8] = &[0xFF; KEY_MAX];

fn damaged() -> Error {
    said("a record has not the form that was written")
}

/// The past of a folder.
pub(in crate::engine) fn open_past(folder: &Path, options: &OpenOptions) -> Result<Box<dyn Past>> {
    let database = Database::open(folder, options, Versions::All)?;
    Ok(Box::new(Facts { database, newest: Mutex::new(None) }))
}

/// The series of a folder.
pub(in crate::engine) fn open_series(folder: &Path, options: &OpenOptions) -> Result<Box<dyn Series>> {
    Ok(Box::new(Points { database: Database::open(folder, options, Versions::Newest)? }))
}

struct Facts {
    database: Database,
    /// The number of the newest change, once it was looked for. Held while a transaction is at work.
    newest: Mutex<Option<i64>>,
}

impl Facts {
    /// What an earlier open left: looked for by the first commit, so that opens to read pay nothing for it.
    fn newest_of_all(&self) -> Result<i64> {
        let (txn, mut newest) = (self.database.snapshot()?, 0);
        walk(&txn, (&[0], END), (0, u64::MAX), &mut |_, number, _| {
            newest = newest.max(number);
            Ok(true)
        })?;
        Ok(newest)
    }
}

impl Past for Facts {
    fn write(&self, body: ChangesBody<'_>) -> Result<i64> {
        let mut held = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = match *held {
            Some(newest) => newest,
            None => self.newest_of_all()?,
        };
        let txn = self.database.begin(Mode::WriteOnly)?;
        let mut writer = Changes { txn, newest, record: Vec::new() };
        body(&mut writer)?;
        self.database.commit(&mut writer.txn).map_err(said)?;
        *held = Some(writer.newest);
        Ok(writer.newest)
    }

    fn read(&self, body: QuestionsBody<'_>) -> Result<()> {
        body(&mut Questions { txn: self.database.snapshot()?, record: Vec::new() })
    }

    fn settle(&self) -> Result<()> {
        self.database.settle(true)
    }
}

struct Changes {
    txn: Transaction,
    newest: i64,
    record: Vec<u8>,
}

impl PastWriter for Changes {
    fn put(&mut self, key: &[u8], from: i64, to: i64, value: &[u8]) -> Result<()> {
        if key.len() >= KEY_MAX {
            return Err(said(format!("keys of facts have fewer than {KEY_MAX} bytes here")));
        }
        self.newest += 1;
        self.record.clear();
        self.record.extend_from_slice(&from.to_le_bytes());
        self.record.extend_from_slice(&to.to_le_bytes());
        self.record.extend_from_slice(value);
        self.txn.set_at(key, &self.record, self.newest as u64).map_err(said)
    }
}

/// From, to, value.
fn parts(record: &[u8]) -> Result<(i64, i64, &[u8])> {
    let (period, value) = record.split_first_chunk::<PERIOD_SIZE>().ok_or_else(damaged)?;
    let (from, to) = period.split_at(PERIOD_SIZE / 2);
    let number = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).map_err(|_| damaged());
    Ok((number(from)?, number(to)?, value))
}

/// What is given a key, the number of a change and its record; `false` ends it.
type VersionBody<'a> = &'a mut dyn FnMut(&[u8], i64, &[u8]) -> Result<bool>;
/// What is given a change's from, to and value; `false` ends it.
type ChangeBody<'a> = &'a mut dyn FnMut(i64, i64, &[u8]) -> Result<bool>;

/// The versions of the keys of a range whose numbers are in another: by key, newest first.
fn walk(txn: &Transaction, keys: (&[u8], &[u8]), numbers: (u64, u64), each: VersionBody<'_>) -> Result<()> {
    let options = HistoryOptions::new().with_ts_range(numbers.0, numbers.1);
    let mut cursor = txn.history_with_options(keys.0, keys.1, &options).map_err(said)?;
    let mut stands = cursor.seek_first().map_err(said)?;
    while stands {
        let version = cursor.key();
        let goes_on =
            each(version.user_key(), version.timestamp() as i64, &cursor.value_ref().map_err(said)?)?;
        stands = goes_on && cursor.next().map_err(said)?;
    }
    Ok(())
}

struct Questions {
    txn: Transaction,
    /// The record whose value was given last.
    record: Vec<u8>,
}

fn up_to(known: Option<i64>) -> (u64, u64) {
    (0, known.map_or(u64::MAX, |number| number as u64))
}

impl Questions {
    /// The changes of a key from the newest that counts on, each older than the one before.
    fn changes(&self, key: &[u8], known: Option<i64>, each: ChangeBody<'_>) -> Result<()> {
        let behind = [key, &[0]].concat();
        walk(&self.txn, (key, &behind), up_to(known), &mut |_, _, record| {
            let (from, to, value) = parts(record)?;
            each(from, to, value)
        })
    }

    /// Walks back to the change that is about the instant, and puts its record into `out`.
    fn walk_back(&self, key: &[u8], at: Point, out: &mut Vec<u8>) -> Result<bool> {
        let (behind, mut found) = ([key, &[0]].concat(), false);
        walk(&self.txn, (key, &behind), up_to(at.known), &mut |_, _, record| {
            found = is_about(record, at.valid)?;
            if found {
                out.clear();
                out.extend_from_slice(record);
            }
            Ok(!found)
        })?;
        Ok(found)
    }

    /// Keys in force now: the newest version of each is one step, and seldom not the answer.
    fn scan_newest(&self, from: &[u8], limit: usize, at: Point, each: RowBody<'_>) -> Result<usize> {
        let mut cursor = self.txn.scan(from..).map_err(said)?;
        let mut stands = limit > 0 && cursor.seek_first().map_err(said)?;
        let (mut count, mut older) = (0, Vec::new());
        while stands {
            let (key, newest) = (cursor.key(), cursor.value_ref().map_err(said)?);
            if is_about(&newest, at.valid)? {
                each(key.user_key(), &newest[PERIOD_SIZE..])?;
                count += 1;
            } else if self.walk_back(key.user_key(), at, &mut older)? {
                each(key.user_key(), &older[PERIOD_SIZE..])?;
                count += 1;
            }
            drop(newest);
            stands = count < limit && cursor.next().map_err(said)?;
        }
        Ok(count)
    }
}

fn is_about(record: &[u8], valid: i64) -> Result<bool> {
    let (from, to, _) = parts(record)?;
    Ok(from <= valid && valid < to)
}

impl PastReader for Questions {
    fn get(&mut self, key: &[u8], at: Point) -> Result<Option<&[u8]>> {
        let newest = match at.known {
            None => self.txn.get(key),
            Some(number) => self.txn.get_at(key, number as u64),
        };
        let Some(newest) = newest.map_err(said)? else { return Ok(None) };
        let mut record = std::mem::take(&mut self.record);
        let found = if is_about(&newest, at.valid)? {
            record = newest;
            true
        } else {
            self.walk_back(key, at, &mut record)?
        };
        self.record = record;
        Ok(found.then(|| &self.record[PERIOD_SIZE..]))
    }

    fn scan(&mut self, from: &[u8], limit: usize, at: Point, each: RowBody<'_>) -> Result<usize> {
        if at.known.is_none() {
            return self.scan_newest(from, limit, at, each);
        }
        let (mut count, mut last) = (0, Vec::new());
        if limit > 0 {
            walk(&self.txn, (from, END), up_to(at.known), &mut |key, _, record| {
                // Of a key that was answered only older versions are left.
                if key != last && is_about(record, at.valid)? {
                    each(key, &record[PERIOD_SIZE..])?;
                    last.clear();
                    last.extend_from_slice(key);
                    count += 1;
                }
                Ok(count < limit)
            })?;
        }
        Ok(count)
    }

    fn timeline(
        &mut self,
        key: &[u8],
        window: (i64, i64),
        known: Option<i64>,
        each: PieceBody<'_>,
    ) -> Result<()> {
        let mut resolving = Resolving::new(window);
        self.changes(key, known, &mut |from, to, value| {
            resolving.take(from, to, value);
            Ok(!resolving.is_full())
        })?;
        resolving.give(each)
    }

    fn history(&mut self, key: &[u8], valid: i64, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut believed = Vec::new();
        self.changes(key, None, &mut |from, to, value| {
            believed.extend((from <= valid && valid < to).then(|| value.to_vec()));
            Ok(true)
        })?;
        believed.iter().rev().try_for_each(|value| each(value))
    }

    fn changed_keys(&mut self, from: i64, to: i64) -> Result<u64> {
        // Tables that hold only older versions are passed over; of the others every version is read.
        let (mut count, mut last) = (0, Vec::new());
        walk(&self.txn, (&[0], END), (from as u64 + 1, to as u64), &mut |key, _, _| {
            if key != last {
                last.clear();
                last.extend_from_slice(key);
                count += 1;
            }
            Ok(true)
        })?;
        Ok(count)
    }
}

/// Where a point stands.
fn point_key(series: u32, time: i64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&series.to_be_bytes());
    key[4..].copy_from_slice(&(time ^ i64::MIN).to_be_bytes());
    key
}

struct Points {
    database: Database,
}

impl Series for Points {
    fn insert(&self, points: &mut [Measurement]) -> Result<()> {
        let mut txn = self.database.begin(Mode::WriteOnly)?;
        for point in points {
            txn.set(&point_key(point.series, point.time), &point.value.to_le_bytes()).map_err(said)?;
        }
        self.database.commit(&mut txn).map_err(said)
    }

    fn window(&self, series: u32, from: i64, to: i64, each: MeasurementBody<'_>) -> Result<()> {
        let txn = self.database.snapshot()?;
        let (from, to) = (point_key(series, from), point_key(series, to));
        let mut cursor = txn.scan(&from[..]..&to[..]).map_err(said)?;
        let mut stands = cursor.seek_first().map_err(said)?;
        while stands {
            let key = cursor.key();
            let time = key.user_key().last_chunk().ok_or_else(damaged)?;
            let value = cursor.value_ref().map_err(said)?;
            let value = (*value).try_into().map_err(|_| damaged())?;
            each(i64::from_be_bytes(*time) ^ i64::MIN, f64::from_le_bytes(value));
            stands = cursor.next().map_err(said)?;
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.database.settle(true)
    }
}
