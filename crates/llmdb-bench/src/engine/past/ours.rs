//! LLMDB: facts in a bitemporal collection; series as facts, too.
//!
//! ```text
//! key    the number of the series, 4 bytes, big-endian
//! valid  [start, start + 640 s): a stretch of time that begins at a multiple of 640 s
//! value  the points in it, in order: seconds since its start, 4 bytes | value, 8 bytes, little-endian
//! ```
//!
//! A batch is grouped by series and stretch; each stretch that it touches is read, merged and put anew. So late points and
//! corrections of points are an ordinary `put` over time that is past, and what was believed before them stays known. A stretch
//! holds 64 points at one every ten seconds: its value lies in a leaf, and batches that bring a series some tens of points at
//! a time write each stretch once or twice.

use super::{
    ChangesBody, Measurement, MeasurementBody, OPEN, Past, PastReader, PastWriter, PieceBody, Point,
    QuestionsBody, RowBody, Series,
};
use crate::error::{Error, Result};
use llmdb_temporal::{Collection, Known, Period, Temporal, TemporalWrite, ValidTime};
use llmdb_wal::Store;
use std::borrow::Cow;
use std::ops::Bound::{Included, Unbounded};

const NAME: &str = "llmdb";
const COLLECTION: &str = "facts";
/// Seconds of a stretch.
const STRETCH: i64 = 640;
const MICROS: i64 = 1_000_000;
const POINT_SIZE: usize = 12;

fn said(error: impl std::fmt::Display) -> Error {
    Error::engine(NAME, error)
}

/// The past in a store.
pub(in crate::engine) fn open_past(store: Store) -> Result<Box<dyn Past>> {
    Ok(Box::new(Facts { db: Temporal::open(store).map_err(said)? }))
}

/// The series in a store.
pub(in crate::engine) fn open_series(store: Store) -> Result<Box<dyn Series>> {
    Ok(Box::new(Facts { db: Temporal::open(store).map_err(said)? }))
}

struct Facts {
    db: Temporal,
}

impl Facts {
    fn checkpoint(&self) -> Result<()> {
        self.db.store().checkpoint().map_err(said)
    }

    fn in_use(&self) -> Option<u64> {
        let pager = self.db.store().stat().ok()?.pager;
        Some((pager.page_count - pager.free_pages - pager.retired_pages) * pager.page_size as u64)
    }
}

fn instant(micros: i64) -> Result<ValidTime> {
    match micros {
        OPEN => Ok(ValidTime::POS_INF),
        i64::MIN => Ok(ValidTime::NEG_INF),
        micros => ValidTime::from_micros(micros).map_err(said),
    }
}

fn period(from: i64, to: i64) -> Result<Period> {
    Period::new(instant(from)?, instant(to)?).map_err(said)
}

fn known(known: Option<i64>) -> Known {
    known.map_or(Known::Latest, Known::Commit)
}

impl Past for Facts {
    fn write(&self, body: ChangesBody<'_>) -> Result<i64> {
        let mut txn = self.db.begin_write().map_err(said)?;
        body(&mut Changes { txn: &mut txn })?;
        Ok(txn.commit().map_err(said)?.commit.get() as i64)
    }

    fn read(&self, body: QuestionsBody<'_>) -> Result<()> {
        let read = self.db.begin_read().map_err(said)?;
        let Some(collection) = read.collection(COLLECTION).map_err(said)? else {
            return Err(Error::engine(NAME, "nothing was ever put"));
        };
        body(&mut Questions { collection, value: Vec::new() })
    }

    fn settle(&self) -> Result<()> {
        self.checkpoint()
    }

    fn bytes_in_use(&self) -> Option<u64> {
        self.in_use()
    }

    fn pages_checked(&self) -> Option<u64> {
        Some(self.db.store().stat().ok()?.pager.checked_pages)
    }
}

struct Changes<'a> {
    txn: &'a mut TemporalWrite,
}

impl PastWriter for Changes<'_> {
    fn put(&mut self, key: &[u8], from: i64, to: i64, value: &[u8]) -> Result<()> {
        self.txn.put(COLLECTION, key, period(from, to)?, value).map_err(said)
    }
}

struct Questions<'t> {
    collection: Collection<'t>,
    /// A value that had to be put together.
    value: Vec<u8>,
}

impl PastReader for Questions<'_> {
    fn get(&mut self, key: &[u8], at: Point) -> Result<Option<&[u8]>> {
        match self.collection.get_value(key, instant(at.valid)?, known(at.known)).map_err(said)? {
            Some(Cow::Borrowed(value)) => Ok(Some(value)),
            Some(Cow::Owned(value)) => {
                self.value = value;
                Ok(Some(&self.value))
            }
            None => Ok(None),
        }
    }

    fn scan(&mut self, from: &[u8], limit: usize, at: Point, each: RowBody<'_>) -> Result<usize> {
        let rows =
            self.collection.scan_values(Included(from), Unbounded, instant(at.valid)?, known(at.known));
        let mut count = 0;
        for row in rows.map_err(said)?.take(limit) {
            let (key, value) = row.map_err(said)?;
            each(&key, value)?;
            count += 1;
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
        let (window, mut told) = (period(window.0, window.1)?, Ok(()));
        let pieces = self.collection.timeline_values(key, window, known(asked), |valid, value| {
            let valid = valid.common(window).unwrap_or(valid);
            if told.is_ok() {
                told = each(valid.from.micros(), valid.to.micros(), value);
            }
        });
        pieces.map_err(said)?;
        told
    }

    fn history(&mut self, key: &[u8], valid: i64, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let rows = self.collection.history(key, instant(valid)?).map_err(said)?;
        rows.iter().try_for_each(|row| each(&row.value))
    }

    fn changed_keys(&mut self, from: i64, to: i64) -> Result<u64> {
        let commits = (Known::Commit(from), Known::Commit(to));
        let rows = self.collection.diff(commits.0, commits.1, (Unbounded, Unbounded)).map_err(said)?;
        let (mut count, mut last) = (0, Vec::new());
        for row in rows {
            let key = row.map_err(said)?.key;
            // Rows come by key.
            count += u64::from(key != last);
            last = key;
        }
        Ok(count)
    }

    fn meetings(&mut self, one: &[u8], other: &[u8], window: (i64, i64)) -> Result<(u64, u64)> {
        let window = period(window.0, window.1)?;
        let met =
            self.collection.meetings(one, (&self.collection, other), window, Known::Latest).map_err(said)?;
        let length = |meeting: &llmdb_temporal::Meeting| {
            (meeting.valid.to.micros() - meeting.valid.from.micros()) as u64
        };
        Ok((met.len() as u64, met.iter().map(length).sum()))
    }
}

/// Appends a point to a stretch's value.
fn push(value: &mut Vec<u8>, offset: u32, measured: f64) {
    value.extend_from_slice(&offset.to_le_bytes());
    value.extend_from_slice(&measured.to_le_bytes());
}

/// The points of a stretch.
fn points(value: &[u8]) -> Result<impl Iterator<Item = (u32, f64)> + '_> {
    let (points, rest) = value.as_chunks::<POINT_SIZE>();
    if !rest.is_empty() {
        return Err(Error::engine(NAME, "a stretch does not hold whole points"));
    }
    Ok(points.iter().map(|point| {
        let (offset, value) = point.split_at(4);
        // Both have their size: the point has twelve bytes.
        let offset = offset.try_into().map_or(0, u32::from_le_bytes);
        (offset, value.try_into().map_or(0.0, f64::from_le_bytes))
    }))
}

/// Puts new points, in order, among those of a stretch. Of equal times the new one stays, of new ones the last.
fn merged(old: &[u8], new: &[Measurement], start: i64, out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    let mut old = points(old)?.peekable();
    for (at, point) in new.iter().enumerate() {
        if new.get(at + 1).is_some_and(|next| next.time == point.time) {
            continue;
        }
        let offset = (point.time - start) as u32;
        while let Some((before, measured)) = old.next_if(|(before, _)| *before < offset) {
            push(out, before, measured);
        }
        old.next_if(|(same, _)| *same == offset);
        push(out, offset, point.value);
    }
    old.for_each(|(offset, measured)| push(out, offset, measured));
    Ok(())
}

fn stretch_of(time: i64) -> i64 {
    time.div_euclid(STRETCH) * STRETCH
}

impl Series for Facts {
    fn insert(&self, points: &mut [Measurement]) -> Result<()> {
        points.sort_by_key(|point| (point.series, point.time));
        let read = self.db.begin_read().map_err(said)?;
        let collection = read.collection(COLLECTION).map_err(said)?;
        let mut txn = self.db.begin_write().map_err(said)?;
        let mut value = Vec::new();
        for group in points.chunk_by(|one, other| {
            one.series == other.series && stretch_of(one.time) == stretch_of(other.time)
        }) {
            let (key, start) = (group[0].series.to_be_bytes(), stretch_of(group[0].time));
            let from = instant(start * MICROS)?;
            let old = match &collection {
                Some(collection) => collection.get_value(&key, from, Known::Latest).map_err(said)?,
                None => None,
            };
            merged(old.as_deref().unwrap_or_default(), group, start, &mut value)?;
            let valid = period(start * MICROS, (start + STRETCH) * MICROS)?;
            txn.put(COLLECTION, &key, valid, &value).map_err(said)?;
        }
        txn.commit().map(|_| ()).map_err(said)
    }

    fn window(&self, series: u32, from: i64, to: i64, each: MeasurementBody<'_>) -> Result<()> {
        let read = self.db.begin_read().map_err(said)?;
        let Some(collection) = read.collection(COLLECTION).map_err(said)? else { return Ok(()) };
        let (window, mut told) = (period(from * MICROS, to * MICROS)?, Ok(()));
        let pieces =
            collection.timeline_values(&series.to_be_bytes(), window, Known::Latest, |valid, value| {
                let start = valid.from.micros() / MICROS;
                match points(value) {
                    Ok(points) => points.for_each(|(offset, measured)| {
                        let time = start + i64::from(offset);
                        if from <= time && time < to {
                            each(time, measured);
                        }
                    }),
                    Err(error) => told = Err(error),
                }
            });
        pieces.map_err(said)?;
        told
    }

    fn settle(&self) -> Result<()> {
        self.checkpoint()
    }

    fn bytes_in_use(&self) -> Option<u64> {
        self.in_use()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_and_repeated_points_find_their_place() {
        let point = |time, value| Measurement { series: 1, time, value };
        let mut value = Vec::new();
        merged(&[], &[point(640, 1.0), point(660, 2.0)], 640, &mut value).unwrap();
        let mut again = Vec::new();
        let new = [point(650, 3.0), point(660, 4.0), point(660, 5.0), point(700, 6.0)];
        merged(&value, &new, 640, &mut again).unwrap();
        let found: Vec<_> = points(&again).unwrap().collect();
        assert_eq!(found, [(0, 1.0), (10, 3.0), (20, 5.0), (60, 6.0)]);
        assert!(points(&again[1..]).is_err());
    }
}
