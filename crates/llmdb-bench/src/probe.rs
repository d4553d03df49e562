//! What the storage can do without any engine: the measure of every durable figure of the same run.
//!
//! Invariants
//! 1. Overwrites go to blocks that were written and flushed before, so no file system journal takes part.
//!
//! Not here: engines.

use crate::disk;
use crate::error::{Error, Result};
use crate::results::Probe;
use crate::rng::Rng;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK: usize = 4 << 10;
const CHUNK: usize = 1 << 20;

/// How much the probe does.
#[derive(Clone, Copy, Debug)]
pub struct ProbeSize {
    /// Bytes of its file.
    pub file_bytes: u64,
    /// How long each of its parts takes at most.
    pub time: Duration,
}

/// Measures the storage under `folder`, in a file that is removed.
///
/// # Errors
/// The system's.
pub fn probe(folder: &Path, size: ProbeSize) -> Result<Probe> {
    let own = tempfile::Builder::new().prefix("llmdb-probe-").tempdir_in(folder).map_err(failed)?;
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(own.path().join("probe"))
        .map_err(failed)?;
    let chunks = (size.file_bytes / CHUNK as u64).max(1);
    let sequential_sync_mb_s = sequential(&file, chunks).map_err(failed)?;
    let blocks = chunks * (CHUNK / BLOCK) as u64;
    let overwrites = overwrite(&file, blocks, size.time).map_err(failed)?;
    disk::evict(own.path())?;
    let reads = cold_reads(&file, blocks, size.time).map_err(failed)?;
    Ok(Probe {
        overwrite_sync_us_p50: quantile(&overwrites, 0.5),
        overwrite_sync_us_p99: quantile(&overwrites, 0.99),
        sequential_sync_mb_s,
        cold_read_us_p50: quantile(&reads, 0.5),
        cold_read_us_p99: quantile(&reads, 0.99),
    })
}

fn failed(error: std::io::Error) -> Error {
    Error::io("probing the storage", error)
}

fn sequential(file: &File, chunks: u64) -> std::io::Result<f64> {
    let chunk = vec![0xA5; CHUNK];
    let begin = Instant::now();
    for at in 0..chunks {
        file.write_all_at(&chunk, at * CHUNK as u64)?;
    }
    file.sync_data()?;
    Ok((chunks * CHUNK as u64) as f64 / 1e6 / begin.elapsed().as_secs_f64())
}

fn overwrite(file: &File, blocks: u64, time: Duration) -> std::io::Result<Vec<f64>> {
    let (block, begin) = ([0x5A; BLOCK], Instant::now());
    let mut times = Vec::new();
    while times.is_empty() || begin.elapsed() < time {
        let each = Instant::now();
        file.write_all_at(&block, (times.len() as u64 % blocks) * BLOCK as u64)?;
        file.sync_data()?;
        times.push(each.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

/// Reads each block at most once, so that none is read from the cache.
fn cold_reads(file: &File, blocks: u64, time: Duration) -> std::io::Result<Vec<f64>> {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random)?;
    let (mut block, begin, mut rng) = ([0; BLOCK], Instant::now(), Rng::new(1));
    let mut order: Vec<u64> = (0..blocks).collect();
    let mut times = Vec::new();
    while !order.is_empty() && (times.is_empty() || begin.elapsed() < time) {
        let at = order.swap_remove(rng.below(order.len() as u64) as usize);
        let each = Instant::now();
        file.read_exact_at(&mut block, at * BLOCK as u64)?;
        times.push(each.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

fn quantile(values: &[f64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * quantile) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_measures_all_parts_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let size = ProbeSize { file_bytes: 2 << 20, time: Duration::from_millis(20) };
        let probe = probe(folder.path(), size).unwrap();
        assert!(
            probe.overwrite_sync_us_p50 > 0.0 && probe.overwrite_sync_us_p99 >= probe.overwrite_sync_us_p50
        );
        assert!(probe.sequential_sync_mb_s > 0.0 && probe.cold_read_us_p50 > 0.0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn quantiles_of_few_values_are_among_them() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[3.0, 1.0], 0.99), 3.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
