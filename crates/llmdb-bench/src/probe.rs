//! What the storage can do without any engine: the measure of every durable figure of the same run.
//!
//! A [`Prober`] probes as a run begins and again, in short, between the rounds of durable work: storage of
//! virtual machines drifts by a tenth and more within minutes, so a figure is held against the probes that
//! were taken around it.
//!
//! Invariants
//! 1. Overwrites go to blocks that were written and flushed before, so no file system journal takes part.
//! 2. Sequential writes go to a new file, as those of an engine that grows do.
//!
//! Not here: engines.

use crate::disk;
use crate::error::{Error, Result};
use crate::measure::median;
use crate::results::{Probe, ProbeSpread};
use crate::rng::Rng;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

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

impl ProbeSize {
    fn chunks(self) -> u64 {
        (self.file_bytes / CHUNK as u64).max(1)
    }
}

/// Measures the storage under `folder`, in files that are removed.
///
/// # Errors
/// The system's.
pub fn probe(folder: &Path, size: ProbeSize) -> Result<Probe> {
    Ok(Prober::begin(folder, size, size)?.first)
}

/// Probes of the storage over the time of a run.
#[derive(Debug)]
pub struct Prober {
    own: TempDir,
    /// Written and flushed before: overwrites go here.
    file: File,
    blocks: u64,
    again: ProbeSize,
    first: Probe,
    all: Vec<Probe>,
}

impl Prober {
    /// Measures all of `size`; later probes are of size `again`. Its files go when it is dropped.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(folder: &Path, size: ProbeSize, again: ProbeSize) -> Result<Self> {
        let own = tempfile::Builder::new().prefix("llmdb-probe-").tempdir_in(folder).map_err(failed)?;
        let file = new_file(own.path(), "probe").map_err(failed)?;
        let sequential_sync_mb_s = sequential(&file, size.chunks()).map_err(failed)?;
        let blocks = size.chunks() * (CHUNK / BLOCK) as u64;
        let overwrites = overwrite(&file, blocks, size.time).map_err(failed)?;
        disk::evict(own.path())?;
        let reads = cold_reads(&file, blocks, size.time).map_err(failed)?;
        let first = Probe {
            overwrite_sync_us_p50: quantile(&overwrites, 0.5),
            overwrite_sync_us_p99: quantile(&overwrites, 0.99),
            sequential_sync_mb_s,
            cold_read_us_p50: quantile(&reads, 0.5),
            cold_read_us_p99: quantile(&reads, 0.99),
        };
        Ok(Self { own, file, blocks, again, first, all: vec![first] })
    }

    /// What was measured at the beginning.
    pub fn first(&self) -> Probe {
        self.first
    }

    /// Measures writes again; cold reads stay what they were at the beginning.
    ///
    /// # Errors
    /// The system's.
    pub fn again(&mut self) -> Result<Probe> {
        let overwrites = overwrite(&self.file, self.blocks, self.again.time).map_err(failed)?;
        let sequential_sync_mb_s = self.sequential_again().map_err(failed)?;
        let probe = Probe {
            overwrite_sync_us_p50: quantile(&overwrites, 0.5),
            overwrite_sync_us_p99: quantile(&overwrites, 0.99),
            sequential_sync_mb_s,
            ..self.first
        };
        self.all.push(probe);
        Ok(probe)
    }

    fn sequential_again(&self) -> std::io::Result<f64> {
        let name = "sequential";
        let file = new_file(self.own.path(), name)?;
        let rate = sequential(&file, self.again.chunks())?;
        drop(file);
        std::fs::remove_file(self.own.path().join(name))?;
        Ok(rate)
    }

    /// Each of the storage's figures as the median of all probes, and how far they went.
    pub fn summary(&self) -> (Probe, ProbeSpread) {
        let bounds = |figure: fn(&Probe) -> f64| {
            let values = || self.all.iter().map(figure);
            (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max))
        };
        let spread = ProbeSpread {
            count: self.all.len() as u64,
            overwrite_sync_us_p50: bounds(|probe| probe.overwrite_sync_us_p50),
            sequential_sync_mb_s: bounds(|probe| probe.sequential_sync_mb_s),
        };
        (middle(&self.all).unwrap_or(self.first), spread)
    }
}

/// Each figure as the median of some probes; `None` of none.
pub fn middle(probes: &[Probe]) -> Option<Probe> {
    let of = |figure: fn(&Probe) -> f64| median(&probes.iter().map(figure).collect::<Vec<_>>());
    (!probes.is_empty()).then(|| Probe {
        overwrite_sync_us_p50: of(|probe| probe.overwrite_sync_us_p50),
        overwrite_sync_us_p99: of(|probe| probe.overwrite_sync_us_p99),
        sequential_sync_mb_s: of(|probe| probe.sequential_sync_mb_s),
        cold_read_us_p50: of(|probe| probe.cold_read_us_p50),
        cold_read_us_p99: of(|probe| probe.cold_read_us_p99),
    })
}

fn new_file(folder: &Path, name: &str) -> std::io::Result<File> {
    File::options().create_new(true).read(true).write(true).open(folder.join(name))
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
    fn probes_of_a_run_are_summed_up_by_their_median() {
        let folder = tempfile::tempdir().unwrap();
        let size = ProbeSize { file_bytes: 1 << 20, time: Duration::from_millis(2) };
        let mut prober = Prober::begin(folder.path(), size, size).unwrap();
        let again = prober.again().unwrap();
        assert_eq!(again.cold_read_us_p50, prober.first().cold_read_us_p50);
        let (middle, spread) = prober.summary();
        let (least, most) = spread.overwrite_sync_us_p50;
        assert!(least <= middle.overwrite_sync_us_p50 && middle.overwrite_sync_us_p50 <= most);
        assert_eq!(spread.count, 2);
        drop(prober);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(super::middle(&[]), None);
    }

    #[test]
    fn quantiles_of_few_values_are_among_them() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[3.0, 1.0], 0.99), 3.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
