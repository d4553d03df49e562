//! Engines that answer about two times, and hold series of points: what the temporal suites run on.
//!
//! | engine | the past | series |
//! | --- | --- | --- |
//! | llmdb | a bitemporal collection | chunks of points as facts, each valid in its stretch of time |
//! | lmdb | a tree by (key, inverted number of the change), walked back until a change covers the instant | a tree by (series, time) |
//! | sqlite | a table of changes by (key, number of the change, newest first), an index by number | a table by (series, time) |
//! | surrealkv | its own versions of a key, stamped with the number of the change, walked back alike | a tree by (series, time) |
//!
//! Invariants
//! 1. Peers answer both axes: the newest change not later than what is known whose period holds the instant.
//! 2. Values are given as far as possible without a copy, as each engine's users would read them.
//!
//! Not here: what is asked and what is right (`workload::past`, `workload::time_series`).

#[cfg(feature = "peers")]
mod lmdb;
mod ours;
#[cfg(any(feature = "peers", feature = "surrealkv"))]
mod resolve;
#[cfg(feature = "peers")]
mod sqlite;
#[cfg(feature = "surrealkv")]
mod surrealkv;
mod wrong;

#[cfg(feature = "peers")]
pub(super) use lmdb::{open_past as open_lmdb_past, open_series as open_lmdb_series};
pub(super) use ours::{open_past as open_our_past, open_series as open_our_series};
#[cfg(feature = "peers")]
pub(super) use sqlite::{open_past as open_sqlite_past, open_series as open_sqlite_series};
#[cfg(feature = "surrealkv")]
pub(super) use surrealkv::{open_past as open_surrealkv_past, open_series as open_surrealkv_series};
pub(super) use wrong::{WrongPast, WrongSeries};

use crate::error::Result;

/// The end of a period without one.
pub const OPEN: i64 = i64::MAX;

/// A point of both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The instant of valid time.
    pub valid: i64,
    /// What [`Past::write`] returned for the newest commit that counts; `None` = all.
    pub known: Option<i64>,
}

/// A body that writes changes.
pub type ChangesBody<'a> = &'a mut dyn FnMut(&mut dyn PastWriter) -> Result<()>;
/// A body that asks.
pub type QuestionsBody<'a> = &'a mut dyn FnMut(&mut dyn PastReader) -> Result<()>;
/// What is given the pieces of a timeline: from, to, value.
pub type PieceBody<'a> = &'a mut dyn FnMut(i64, i64, &[u8]) -> Result<()>;
/// What is given keys and values.
pub type RowBody<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// An open database of facts with two times.
pub trait Past: Send + Sync {
    /// Commits the changes that `body` makes, without a flush. Returns what stands for the commit in a [`Point`].
    ///
    /// # Errors
    /// The engine's own or the body's.
    fn write(&self, body: ChangesBody<'_>) -> Result<i64>;

    /// Runs `body` in one snapshot.
    ///
    /// # Errors
    /// The engine's own or the body's.
    fn read(&self, body: QuestionsBody<'_>) -> Result<()>;

    /// Brings everything into its place in the file, as before a long time of reading.
    ///
    /// # Errors
    /// The engine's own.
    fn settle(&self) -> Result<()>;

    /// Bytes of pages in use, where the engine tells.
    fn bytes_in_use(&self) -> Option<u64> {
        None
    }

    /// Pages that were read and checked since the open, where the engine counts them.
    fn pages_checked(&self) -> Option<u64> {
        None
    }
}

/// A write transaction.
pub trait PastWriter {
    /// From this commit on `key` has `value` in `[from, to)`.
    ///
    /// # Errors
    /// The engine's own.
    fn put(&mut self, key: &[u8], from: i64, to: i64, value: &[u8]) -> Result<()>;
}

/// A snapshot.
pub trait PastReader {
    /// What was believed about a key.
    ///
    /// # Errors
    /// The engine's own.
    fn get(&mut self, key: &[u8], at: Point) -> Result<Option<&[u8]>>;

    /// At most `limit` keys with a value from `from` on, in order; returns how many.
    ///
    /// # Errors
    /// The engine's own or that of `each`.
    fn scan(&mut self, from: &[u8], limit: usize, at: Point, each: RowBody<'_>) -> Result<usize>;

    /// The pieces of a key's timeline in a window, cut to it, in order.
    ///
    /// # Errors
    /// The engine's own or that of `each`.
    fn timeline(
        &mut self,
        key: &[u8],
        window: (i64, i64),
        known: Option<i64>,
        each: PieceBody<'_>,
    ) -> Result<()>;

    /// The values that were believed about an instant, in the order of the commits. Equal ones that follow each other may
    /// come as one or as several.
    ///
    /// # Errors
    /// The engine's own or that of `each`.
    fn history(&mut self, key: &[u8], valid: i64, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

    /// How many keys are believed otherwise at one commit than at another, later one.
    ///
    /// # Errors
    /// The engine's own.
    fn changed_keys(&mut self, from: i64, to: i64) -> Result<u64>;

    /// Where two timelines both have a value in a window: how often, and the sum of the lengths. By default by walking over
    /// both timelines.
    ///
    /// # Errors
    /// The engine's own.
    fn meetings(&mut self, one: &[u8], other: &[u8], window: (i64, i64)) -> Result<(u64, u64)> {
        let mut pieces = |key: &[u8]| -> Result<Vec<(i64, i64)>> {
            let mut pieces = Vec::new();
            self.timeline(key, window, None, &mut |from, to, _| {
                pieces.push((from, to));
                Ok(())
            })?;
            Ok(pieces)
        };
        let (one, other) = (pieces(one)?, pieces(other)?);
        let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
        let (mut count, mut length) = (0, 0);
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let (from, to) = (a.0.max(b.0), a.1.min(b.1));
            if from < to {
                count += 1;
                length += (to - from) as u64;
            }
            if a.1 <= b.1 {
                left.next();
            } else {
                right.next();
            }
        }
        Ok((count, length))
    }
}

/// A point of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Which series.
    pub series: u32,
    /// When, in seconds.
    pub time: i64,
    /// What.
    pub value: f64,
}

/// What is given the points of a window, in order.
pub type MeasurementBody<'a> = &'a mut dyn FnMut(i64, f64);

/// An open database of series.
pub trait Series: Send + Sync {
    /// Commits points, without a flush. A later point of the same series and time replaces the earlier one, also in a batch.
    /// The batch may be put into another order.
    ///
    /// # Errors
    /// The engine's own.
    fn insert(&self, points: &mut [Measurement]) -> Result<()>;

    /// The points of a series in `[from, to)`, in order.
    ///
    /// # Errors
    /// The engine's own.
    fn window(&self, series: u32, from: i64, to: i64, each: MeasurementBody<'_>) -> Result<()>;

    /// Brings everything into its place in the file.
    ///
    /// # Errors
    /// The engine's own.
    fn settle(&self) -> Result<()>;

    /// Bytes of pages in use, where the engine tells.
    fn bytes_in_use(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests;
