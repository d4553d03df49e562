//! LMDB by hand: the past under (key, inverted number of the change), series under (series, time).
//!
//! ```text
//! past:    key | !number, 8 bytes, big-endian  ->  from | to | value
//! series:  series, 4 bytes | time, 8 bytes with the sign flipped, big-endian  ->  value, 8 bytes
//! ```
//!
//! Keys of facts have one length, so that the bytes of one never run into the number of another.

use super::{
    ChangesBody, Measurement, MeasurementBody, Past, PastReader, PastWriter, PieceBody, Point, QuestionsBody,
    RowBody, Series, resolve::Resolving,
};
use crate::engine::OpenOptions;
use crate::engine::heed::open_env;
use crate::error::{Error, Result};
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, RoTxn, RwTxn, WithoutTls};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

const NAME: &str = "lmdb";
const NUMBER_SIZE: usize = 8;
const PERIOD_SIZE: usize = 16;

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

fn damaged() -> Error {
    Error::engine(NAME, "a record has not the form that was written")
}

fn open(folder: &Path, options: &OpenOptions) -> Result<Open> {
    let env = open_env(folder, options, EnvFlags::NO_SYNC)?;
    let mut txn = env.write_txn().map_err(said)?;
    let database = env.create_database(&mut txn, Some("facts")).map_err(said)?;
    txn.commit().map_err(said)?;
    let open = Open { env, database, newest: AtomicI64::new(0) };
    Ok(open)
}

/// The past of a folder.
pub(in crate::engine) fn open_past(folder: &Path, options: &OpenOptions) -> Result<Box<dyn Past>> {
    let open = open(folder, options)?;
    let txn = open.env.read_txn().map_err(said)?;
    let mut newest = 0;
    // Opened again only after it was filled: what it costs is part of nothing measured.
    for record in open.database.iter(&txn).map_err(said)? {
        newest = newest.max(number_of(record.map_err(said)?.0)?);
    }
    drop(txn);
    open.newest.store(newest, Ordering::Relaxed);
    Ok(Box::new(open))
}

/// The series of a folder.
pub(in crate::engine) fn open_series(folder: &Path, options: &OpenOptions) -> Result<Box<dyn Series>> {
    Ok(Box::new(open(folder, options)?))
}

struct Open {
    env: Env<WithoutTls>,
    database: Database<Bytes, Bytes>,
    /// The number of the newest change.
    newest: AtomicI64,
}

impl Past for Open {
    fn write(&self, body: ChangesBody<'_>) -> Result<i64> {
        let txn = self.env.write_txn().map_err(said)?;
        let newest = self.newest.load(Ordering::Relaxed);
        let mut writer =
            Changes { txn, database: self.database, newest, key: Vec::new(), record: Vec::new() };
        body(&mut writer)?;
        let newest = writer.newest;
        writer.txn.commit().map_err(said)?;
        self.newest.store(newest, Ordering::Relaxed);
        Ok(newest)
    }

    fn read(&self, body: QuestionsBody<'_>) -> Result<()> {
        let txn = self.env.read_txn().map_err(said)?;
        body(&mut Questions { txn: &txn, database: self.database, key: Vec::new() })
    }

    fn settle(&self) -> Result<()> {
        self.env.force_sync().map_err(said)
    }

    fn bytes_in_use(&self) -> Option<u64> {
        in_use(self)
    }
}

fn in_use(open: &Open) -> Option<u64> {
    let txn = open.env.read_txn().ok()?;
    let stat = open.database.stat(&txn).ok()?;
    Some((stat.branch_pages + stat.leaf_pages + stat.overflow_pages) as u64 * u64::from(stat.page_size))
}

struct Changes<'a> {
    txn: RwTxn<'a>,
    database: Database<Bytes, Bytes>,
    newest: i64,
    key: Vec<u8>,
    record: Vec<u8>,
}

impl PastWriter for Changes<'_> {
    fn put(&mut self, key: &[u8], from: i64, to: i64, value: &[u8]) -> Result<()> {
        self.newest += 1;
        place(&mut self.key, key, self.newest);
        self.record.clear();
        self.record.extend_from_slice(&from.to_le_bytes());
        self.record.extend_from_slice(&to.to_le_bytes());
        self.record.extend_from_slice(value);
        self.database.put(&mut self.txn, &self.key, &self.record).map_err(said)
    }
}

/// Where a change stands: newer ones of the same key before older ones.
fn place(out: &mut Vec<u8>, key: &[u8], number: i64) {
    out.clear();
    out.extend_from_slice(key);
    out.extend_from_slice(&(!(number as u64)).to_be_bytes());
}

fn number_of(place: &[u8]) -> Result<i64> {
    let number = place.last_chunk::<NUMBER_SIZE>().ok_or_else(damaged)?;
    Ok(!u64::from_be_bytes(*number) as i64)
}

/// From, to, value.
fn parts(record: &[u8]) -> Result<(i64, i64, &[u8])> {
    let (period, value) = record.split_first_chunk::<PERIOD_SIZE>().ok_or_else(damaged)?;
    let (from, to) = period.split_at(PERIOD_SIZE / 2);
    let number = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).map_err(|_| damaged());
    Ok((number(from)?, number(to)?, value))
}

struct Questions<'a> {
    txn: &'a RoTxn<'a, WithoutTls>,
    database: Database<Bytes, Bytes>,
    key: Vec<u8>,
}

impl<'a> Questions<'a> {
    /// The changes of a key from the newest that counts on, each older than the one before.
    fn changes(
        &mut self,
        key: &[u8],
        known: Option<i64>,
        each: &mut dyn FnMut(i64, i64, i64, &'a [u8]) -> Result<bool>,
    ) -> Result<()> {
        place(&mut self.key, key, known.unwrap_or(i64::MAX));
        let range = (Included(self.key.as_slice()), Unbounded);
        for record in self.database.range(self.txn, &range).map_err(said)? {
            let (place, record) = record.map_err(said)?;
            if place.len() != self.key.len() || !place.starts_with(key) {
                break;
            }
            let (from, to, value) = parts(record)?;
            if !each(number_of(place)?, from, to, value)? {
                break;
            }
        }
        Ok(())
    }

    fn find(&mut self, key: &[u8], at: Point) -> Result<Option<&'a [u8]>> {
        let mut found = None;
        self.changes(key, at.known, &mut |_, from, to, value| {
            if from <= at.valid && at.valid < to {
                found = Some(value);
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }
}

impl PastReader for Questions<'_> {
    fn get(&mut self, key: &[u8], at: Point) -> Result<Option<&[u8]>> {
        self.find(key, at)
    }

    fn scan(&mut self, from: &[u8], limit: usize, at: Point, each: RowBody<'_>) -> Result<usize> {
        let (mut next, mut is_past, mut count) = (from.to_vec(), false, 0);
        while count < limit {
            let lower = if is_past { Excluded(next.as_slice()) } else { Included(next.as_slice()) };
            // The newest change of the next key.
            let Some(first) = self.database.range(self.txn, &(lower, Unbounded)).map_err(said)?.next() else {
                break;
            };
            let (first_place, record) = first.map_err(said)?;
            let key_size = first_place.len().checked_sub(NUMBER_SIZE).ok_or_else(damaged)?;
            let key = &first_place[..key_size];
            let (start, end, value) = parts(record)?;
            let is_known = at.known.is_none_or(|known| number_of(first_place).is_ok_and(|n| n <= known));
            let found = if is_known && start <= at.valid && at.valid < end {
                Some(value)
            } else {
                self.find(key, at)?
            };
            if let Some(value) = found {
                each(key, value)?;
                count += 1;
            }
            // Behind all changes of the key.
            place(&mut next, key, 0);
            is_past = true;
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
        self.changes(key, known, &mut |_, from, to, value| {
            resolving.take(from, to, value);
            Ok(!resolving.is_full())
        })?;
        resolving.give(each)
    }

    fn history(&mut self, key: &[u8], valid: i64, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut believed = Vec::new();
        self.changes(key, None, &mut |_, from, to, value| {
            believed.extend((from <= valid && valid < to).then_some(value));
            Ok(true)
        })?;
        believed.into_iter().rev().try_for_each(each)
    }

    fn changed_keys(&mut self, from: i64, to: i64) -> Result<u64> {
        // There is no order by number but within a key, so each key is looked at.
        let (mut next, mut count) = (Vec::new(), 0);
        loop {
            let lower = if next.is_empty() { Unbounded } else { Excluded(next.as_slice()) };
            let Some(first) = self.database.range(self.txn, &(lower, Unbounded)).map_err(said)?.next() else {
                return Ok(count);
            };
            let (first_place, _) = first.map_err(said)?;
            let key_size = first_place.len().checked_sub(NUMBER_SIZE).ok_or_else(damaged)?;
            let key = first_place[..key_size].to_vec();
            self.changes(&key, Some(to), &mut |number, _, _, _| {
                count += u64::from(number > from);
                Ok(false)
            })?;
            place(&mut next, &key, 0);
        }
    }
}

/// Where a point stands.
fn point_key(series: u32, time: i64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&series.to_be_bytes());
    key[4..].copy_from_slice(&(time ^ i64::MIN).to_be_bytes());
    key
}

impl Series for Open {
    fn insert(&self, points: &mut [Measurement]) -> Result<()> {
        // In the order of the keys, which is what a tree takes best; equal ones stay in theirs.
        points.sort_by_key(|point| (point.series, point.time));
        let mut txn = self.env.write_txn().map_err(said)?;
        for point in points {
            let key = point_key(point.series, point.time);
            self.database.put(&mut txn, &key, &point.value.to_le_bytes()).map_err(said)?;
        }
        txn.commit().map_err(said)
    }

    fn window(&self, series: u32, from: i64, to: i64, each: MeasurementBody<'_>) -> Result<()> {
        let txn = self.env.read_txn().map_err(said)?;
        let (from, to) = (point_key(series, from), point_key(series, to));
        let range = (Included(&from[..]), Excluded(&to[..]));
        for record in self.database.range(&txn, &range).map_err(said)? {
            let (key, value) = record.map_err(said)?;
            let time = key.last_chunk().ok_or_else(damaged)?;
            let value = value.try_into().map_err(|_| damaged())?;
            each(i64::from_be_bytes(*time) ^ i64::MIN, f64::from_le_bytes(value));
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.env.force_sync().map_err(said)
    }

    fn bytes_in_use(&self) -> Option<u64> {
        in_use(self)
    }
}
