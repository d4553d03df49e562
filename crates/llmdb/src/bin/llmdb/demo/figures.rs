//! Measured times of reads.
//!
//! Invariants
//! 1. What was read is compared with a naive search through the statements, outside of the measured time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use llmdb::{CommitTime, Known, ReadTxn, ValidTime, Value};
use serde_json::Value as Json;

use super::data::{Statement, ZONES};
use crate::exit::Failure;

/// Reads of each kind.
const READ_COUNT: usize = 20_000;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) read_count: usize,
    /// All reads of what is believed now.
    pub(crate) latest: Duration,
    /// The same zones and instants, as known when a random release came out.
    pub(crate) as_of: Duration,
    /// One scan of all zones.
    pub(crate) scan: Duration,
    pub(crate) zone_count: usize,
    /// Reads that a naive search answers differently.
    pub(crate) wrong: usize,
}

impl Figures {
    /// Microseconds for one of the reads that took `all`.
    pub(crate) fn micros_each(&self, all: Duration) -> f64 {
        all.as_secs_f64() * 1e6 / self.read_count as f64
    }
}

/// One read: a zone, an instant of the world, and when it was known.
struct Point<'s> {
    key: &'s str,
    valid_at: ValidTime,
    release: CommitTime,
}

pub(crate) fn measure(read: &ReadTxn, now: ValidTime, statements: &[Statement]) -> Result<Figures, Failure> {
    let points = points(statements)?;
    let (latest, found_latest) = time(read, &points, |_| Known::Latest)?;
    let (as_of, found_as_of) = time(read, &points, |point| Known::At(point.release))?;
    let (scan, zone_count) = time_scan(read, now)?;
    let naive = Naive::of(statements);
    let wrong = points
        .iter()
        .zip(found_latest.iter().zip(&found_as_of))
        .filter(|(point, (latest, as_of))| {
            let at = point.valid_at.micros();
            naive.value(point.key, at, i64::MAX) != value(latest)
                || naive.value(point.key, at, point.release.micros()) != value(as_of)
        })
        .count();
    Ok(Figures { read_count: points.len(), latest, as_of, scan, zone_count, wrong })
}

type Found = Option<Vec<u8>>;

fn time<'s>(
    read: &ReadTxn,
    points: &[Point<'s>],
    known: impl Fn(&Point<'s>) -> Known,
) -> Result<(Duration, Vec<Found>), Failure> {
    let mut found = Vec::with_capacity(points.len());
    let start = Instant::now();
    for point in points {
        let value = read.temporal().get_value(ZONES, point.key.as_bytes(), point.valid_at, known(point));
        found.push(value.map_err(llmdb::Error::from)?.map(|stored| stored.into_owned()));
    }
    Ok((start.elapsed(), found))
}

fn time_scan(read: &ReadTxn, now: ValidTime) -> Result<(Duration, usize), Failure> {
    use std::ops::Bound::Unbounded;
    let start = Instant::now();
    let zones =
        read.temporal().scan(ZONES, Unbounded, Unbounded, now, Known::Latest).map_err(llmdb::Error::from)?;
    let count = zones.map(|zone| zone.map(|_| 1)).sum::<Result<usize, _>>().map_err(llmdb::Error::from)?;
    Ok((start.elapsed(), count))
}

/// The points to read: the same in every run.
fn points(statements: &[Statement]) -> Result<Vec<Point<'_>>, Failure> {
    let mut state = 2023_u64;
    let mut random = move |below: usize| {
        // Knuth's MMIX generator; the high bits are good enough to choose statements.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    (0..READ_COUNT)
        .map(|_| {
            let said = &statements[random(statements.len())];
            let valid_at =
                ValidTime::from_micros(said.from + (said.to - said.from) / 2).map_err(llmdb::Error::from)?;
            let release = statements[random(statements.len())].tx;
            let release = CommitTime::from_micros(release).map_err(llmdb::Error::from)?;
            Ok(Point { key: &said.key, valid_at, release })
        })
        .collect()
}

fn value(stored: &Found) -> Option<Json> {
    let stored = stored.as_ref()?;
    Value::decode(stored).ok()?.as_json().cloned()
}

/// The statements by zone, searched from the last one back.
struct Naive<'s> {
    zones: HashMap<&'s str, Vec<&'s Statement>>,
}

impl<'s> Naive<'s> {
    fn of(statements: &'s [Statement]) -> Self {
        let mut zones: HashMap<&str, Vec<&Statement>> = HashMap::new();
        for statement in statements {
            zones.entry(&statement.key).or_default().push(statement);
        }
        Self { zones }
    }

    fn value(&self, key: &str, at: i64, known: i64) -> Option<Json> {
        let said = self.zones.get(key)?;
        let last = said.iter().rev().find(|said| said.tx <= known && said.from <= at && at < said.to)?;
        last.value.clone()
    }
}
