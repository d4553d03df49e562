//! A function in WebAssembly over all zones: their offsets today.

use std::time::{Duration, Instant};

use llmdb::wasm::{Runtime, guests};
use llmdb::{Error, KeyRange, Known, ReadTxn, ValidTime, reduce};

use super::broken;
use super::data::ZONES;
use crate::exit::Failure;

/// What the function found, and what it took.
#[derive(Debug)]
pub(crate) struct Reduction {
    pub(crate) count: i64,
    pub(crate) least: i64,
    pub(crate) greatest: i64,
    pub(crate) sum: i64,
    pub(crate) fuel: u64,
    pub(crate) compile_time: Duration,
    /// Scan and function together.
    pub(crate) run_time: Duration,
}

pub(crate) fn run(read: &ReadTxn, now: ValidTime) -> Result<Reduction, Failure> {
    let start = Instant::now();
    let module = Runtime::default()
        .compile_named("offset_stats", guests::OFFSET_STATS.as_bytes())
        .map_err(llmdb_query::Error::from)
        .map_err(Error::from)?;
    let compile_time = start.elapsed();
    let start = Instant::now();
    let reduced = reduce(read.temporal(), ZONES, &KeyRange::ALL, now, Known::Latest, &module, "offset_stats")
        .map_err(Error::from)?;
    let run_time = start.elapsed();
    let numbers: Vec<i64> =
        reduced.output.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    let [count, least, greatest, sum] = numbers[..] else {
        return Err(broken("offset_stats gave another answer than four numbers"));
    };
    Ok(Reduction { count, least, greatest, sum, fuel: reduced.stats.fuel_used, compile_time, run_time })
}
