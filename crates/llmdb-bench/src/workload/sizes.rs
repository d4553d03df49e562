//! How much each workload does: the difference between the profiles.

use crate::results::Durability;
use std::time::Duration;

/// The sizes of a run. All workloads take theirs from here.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Keys and values of `read_latency`'s databases, in bytes together.
    pub database_bytes: Vec<u64>,
    /// Records of such a database at most, so that small values do not take hours to load.
    pub database_records_max: u64,
    /// Value and key sizes of `read_latency`; the first are those of the core figures.
    pub read_shapes: Vec<(usize, usize)>,
    /// Keys and values of databases of other shapes than the first, in bytes together, at most.
    pub other_shapes_bytes: u64,
    /// Threads that read; the last one is all cores.
    pub read_threads: Vec<usize>,
    /// Cold reads of a round.
    pub cold_reads: u64,
    /// Value sizes of `write_throughput`.
    pub write_values: Vec<usize>,
    /// Records of one transaction.
    pub transaction_sizes: Vec<u64>,
    /// Committing threads.
    pub write_threads: Vec<usize>,
    /// Bytes that are there before writing is measured.
    pub preload_bytes: u64,
    /// Bytes that one phase may write at most.
    pub write_bytes_max: u64,
    /// YCSB's records.
    pub ycsb_records: u64,
    /// YCSB's operations at most; the time budget may end a run before.
    pub ycsb_operations: u64,
    /// When commits of YCSB's writing workloads count as done.
    pub ycsb_durabilities: Vec<Durability>,
    /// YCSB's threads.
    pub ycsb_threads: Vec<usize>,
    /// Open loop: operations per second of all threads; `None` = closed loop.
    pub ycsb_rate: Option<f64>,
    /// Records of `read_path`.
    pub contest_records: u64,
    /// `commit_path`'s.
    pub commit: CommitSizes,
    /// `space_path`'s.
    pub space: SpaceSizes,
    /// `temporal_queries`' histories.
    pub past_shapes: Vec<PastShape>,
    /// Bytes of a value there.
    pub past_value_size: usize,
    /// Points of `time_series`.
    pub points: u64,
    /// The time for one of the many short phases of the two.
    pub past_phase: Duration,
    /// Bytes of `wasm_perf`'s pages.
    pub wasm_bytes: u64,
    /// Records of `concurrency` and `memory`.
    pub system_records: u64,
    /// Threads that read beside a writer.
    pub concurrent_readers: usize,
    /// Log sizes, as bytes of keys and values committed before the crash.
    pub recovery_log_bytes: Vec<u64>,
    /// Database sizes before the crash.
    pub recovery_database_bytes: Vec<u64>,
    /// Crashes of each plan of `recovery`; `None` = as many as there is time for.
    pub recovery_crashes: Option<u64>,
    /// Most seconds for one phase of one engine.
    pub phase_time: Duration,
    /// Rounds in which engines take turns.
    pub rounds: u32,
    /// When the whole run should be over; phases get shorter to keep to it.
    pub run_time: Duration,
    /// Bytes of the storage probe's file, and the time for each of its parts.
    pub probe: (u64, Duration),
    /// The same for the probes between rounds of durable work.
    pub probe_again: (u64, Duration),
}

/// A history of `temporal_queries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastShape {
    /// Keys.
    pub keys: u64,
    /// Changes of each, the first among them.
    pub versions: u64,
    /// Of a hundred changes, how many are corrections of the past and how many begin later; `None` = the mixes that the history's
    /// place among others gives it.
    pub mix: Option<(u64, u64)>,
}

impl PastShape {
    /// With the mixes of its place.
    pub const fn of(keys: u64, versions: u64) -> Self {
        Self { keys, versions, mix: None }
    }
}

/// How much `commit_path` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitSizes {
    /// Records that are there before single records are committed.
    pub preload: u64,
    /// Records of such a database at most; after them records are written again.
    pub records_max: u64,
    /// Bytes of keys and values of a database that a round fills, at most.
    pub bytes_max: u64,
    /// The same where the files lie in memory.
    pub memory_bytes_max: u64,
    /// Bytes of a large transaction.
    pub transaction_bytes: u64,
    /// Bytes of large values.
    pub large_values: [usize; 2],
    /// Records that are read beside a writer.
    pub read_records: u64,
}

impl CommitSizes {
    const TINY: Self = Self {
        preload: 200,
        records_max: 20_000,
        bytes_max: 4 << 20,
        memory_bytes_max: 2 << 20,
        transaction_bytes: 1 << 20,
        large_values: [4 << 10, 16 << 10],
        read_records: 1_000,
    };
    const USUAL: Self = Self {
        preload: 100_000,
        records_max: 4_000_000,
        bytes_max: 4 << 30,
        memory_bytes_max: 512 << 20,
        transaction_bytes: 16 << 20,
        large_values: [4 << 10, 1 << 20],
        read_records: 200_000,
    };
}

impl Sizes {
    /// For tests and a first look: all workloads in seconds.
    pub fn tiny() -> Self {
        Self {
            database_bytes: vec![256 << 10],
            database_records_max: 4_000_000,
            read_shapes: vec![(256, 16)],
            other_shapes_bytes: u64::MAX,
            read_threads: vec![1, 2],
            cold_reads: 50,
            write_values: vec![256],
            transaction_sizes: vec![1, 100],
            write_threads: vec![1, 2],
            preload_bytes: 64 << 10,
            write_bytes_max: 1 << 20,
            ycsb_records: 1_000,
            ycsb_operations: 1_000,
            ycsb_durabilities: vec![Durability::Sync, Durability::NoLog],
            ycsb_threads: vec![2],
            ycsb_rate: None,
            contest_records: 3_000,
            commit: CommitSizes::TINY,
            space: SpaceSizes::TINY,
            past_shapes: vec![PastShape::of(60, 12), PastShape::of(5, 120)],
            past_value_size: 256,
            points: 20_000,
            past_phase: Duration::from_millis(20),
            wasm_bytes: 2 << 20,
            system_records: 1_000,
            concurrent_readers: 2,
            recovery_log_bytes: vec![128 << 10],
            recovery_database_bytes: vec![256 << 10],
            recovery_crashes: None,
            phase_time: Duration::from_millis(60),
            rounds: 2,
            run_time: Duration::from_secs(60),
            probe: (1 << 20, Duration::from_millis(20)),
            probe_again: (1 << 20, Duration::from_millis(2)),
        }
    }

    /// The core figures, within three minutes on two cores.
    pub fn quick() -> Self {
        Self {
            database_bytes: vec![64 << 20],
            database_records_max: 4_000_000,
            read_shapes: vec![(256, 16)],
            other_shapes_bytes: u64::MAX,
            read_threads: threads_to_all_cores(&[1]),
            cold_reads: 500,
            write_values: vec![256],
            transaction_sizes: vec![1, 100, 10_000],
            write_threads: vec![1, 8],
            preload_bytes: 16 << 20,
            write_bytes_max: 256 << 20,
            ycsb_records: 20_000,
            ycsb_operations: 200_000,
            ycsb_durabilities: vec![Durability::Sync, Durability::NoLog],
            ycsb_threads: threads_to_all_cores(&[]),
            ycsb_rate: None,
            contest_records: 2_000_000,
            commit: CommitSizes::USUAL,
            space: SpaceSizes::USUAL,
            past_shapes: vec![PastShape::of(5_000, 12)],
            past_value_size: 256,
            points: 1_000_000,
            past_phase: Duration::from_millis(160),
            wasm_bytes: 256 << 20,
            system_records: 50_000,
            concurrent_readers: crate::machine::cores().saturating_sub(1).max(1),
            recovery_log_bytes: vec![4 << 20],
            recovery_database_bytes: vec![16 << 20],
            recovery_crashes: None,
            phase_time: Duration::from_secs(2),
            rounds: 4,
            run_time: Duration::from_secs(140),
            probe: (64 << 20, Duration::from_secs(1)),
            probe_again: (32 << 20, Duration::from_millis(50)),
        }
    }

    /// Everything, in about half an hour; beside peers three quarters of one.
    pub fn full() -> Self {
        Self {
            database_bytes: vec![1 << 30],
            database_records_max: 4_000_000,
            read_shapes: vec![(256, 16), (64, 8), (1 << 10, 16), (4 << 10, 64), (64 << 10, 64)],
            other_shapes_bytes: 256 << 20,
            read_threads: threads_to_all_cores(&[1]),
            cold_reads: 5_000,
            write_values: vec![256, 1 << 10, 4 << 10, 1 << 20],
            transaction_sizes: vec![1, 100, 10_000],
            write_threads: vec![1, 8, 32],
            preload_bytes: 32 << 20,
            write_bytes_max: 512 << 20,
            ycsb_records: 100_000,
            ycsb_operations: 1_000_000,
            ycsb_durabilities: vec![Durability::Sync, Durability::NoLog, Durability::None],
            ycsb_threads: threads_to_all_cores(&[1]),
            ycsb_rate: None,
            contest_records: 2_000_000,
            commit: CommitSizes::USUAL,
            space: SpaceSizes::USUAL,
            past_shapes: vec![PastShape::of(6_000, 20), PastShape::of(4, 10_001)],
            past_value_size: 256,
            points: 4_000_000,
            past_phase: Duration::from_millis(250),
            wasm_bytes: 2 << 30,
            system_records: 500_000,
            concurrent_readers: crate::machine::cores(),
            recovery_log_bytes: vec![1 << 20, 8 << 20],
            recovery_database_bytes: vec![64 << 20, 256 << 20],
            recovery_crashes: None,
            phase_time: Duration::from_secs(8),
            rounds: 5,
            run_time: Duration::from_secs(22 * 60),
            probe: (256 << 20, Duration::from_secs(3)),
            probe_again: (64 << 20, Duration::from_millis(100)),
        }
    }
}

/// Some numbers of threads, and that of all cores if it is not among them.
fn threads_to_all_cores(threads: &[usize]) -> Vec<usize> {
    let cores = crate::machine::cores();
    let mut threads = threads.to_vec();
    if !threads.contains(&cores) {
        threads.push(cores);
    }
    threads
}

/// How much `space_path` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceSizes {
    /// Records of a database that readers hold, or of which half is deleted.
    pub records: u64,
    /// Readers that are open at once.
    pub readers: usize,
    /// Bytes of the small and of the large database whose opens are held against each other.
    pub opened_bytes: (u64, u64),
    /// Opens of each.
    pub opens: u64,
}

impl SpaceSizes {
    const TINY: Self = Self { records: 2_000, readers: 200, opened_bytes: (64 << 10, 256 << 10), opens: 2 };
    const USUAL: Self =
        Self { records: 200_000, readers: 10_000, opened_bytes: (10 << 20, 1 << 30), opens: 15 };
}
