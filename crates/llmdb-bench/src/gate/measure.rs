//! Runs an operation round by round, with a watch that counts or tells the time.
//!
//! Invariants
//! 1. What a watch sees lies between its `start` and its `stop`, and is divided by the rounds in between.
//! 2. All measured work happens inside `llmdb_gate_measured`, which valgrind knows by its name.
//!
//! Not here: the operations, the order of builds (`clock`).

use super::Error;
use super::counts::{ALLOCATIONS, BYTES_ALLOCATED, BYTES_WRITTEN, Counts, FLUSHES, PAGES, PAGES_WRITTEN};
use super::image::Image;
use super::operations::{Operation, cold_pages};
use super::plant::Plant;
use crate::engine::{CountedStorage, Counters};
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

/// How much was asked of the allocator so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// New and grown blocks.
    pub calls: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Reads the program's allocator. A library has none of its own: the program passes this in.
pub type ReadAllocated = fn() -> Allocated;

/// One operation at work.
pub struct Bench<'a> {
    operation: &'static Operation,
    image: &'a Image,
    work: &'a Path,
    storage: CountedStorage,
    plant: Option<Plant>,
    timed: bool,
    watch: Watch,
}

enum Watch {
    Nothing,
    Count { read: ReadAllocated, sum: Sum },
    Time { blocks_ns: Vec<f64> },
}

#[derive(Clone, Copy, Default)]
struct Sum {
    rounds: u64,
    allocated: Allocated,
    written: Written,
}

/// What was handed to the file system so far.
#[derive(Clone, Copy, Default)]
struct Written {
    bytes: u64,
    blocks: u64,
    flushes: u64,
}

impl Written {
    fn so_far(counters: &Counters) -> Self {
        Self {
            bytes: counters.bytes_written(),
            blocks: counters.blocks_written(),
            flushes: counters.flushes() + counters.folder_flushes(),
        }
    }
}

impl<'a> Bench<'a> {
    /// The databases to copy from.
    pub fn image(&self) -> &'a Image {
        self.image
    }

    /// Where to copy them to.
    pub fn work(&self) -> &'a Path {
        self.work
    }

    /// The storage, which counts.
    pub fn storage(&self) -> &CountedStorage {
        &self.storage
    }

    /// The slowdown that is planted.
    pub fn plant(&self) -> Option<Plant> {
        self.plant
    }

    /// All rounds, in the pieces in which they must be measured.
    pub fn blocks(&self) -> Vec<Range<u64>> {
        let Operation { warm_rounds, counted_rounds, timed_rounds, block, .. } = *self.operation;
        let rounds = if self.timed { timed_rounds } else { counted_rounds };
        let end = warm_rounds + rounds;
        let starts = (0..warm_rounds).step_by(block as usize);
        let warm = starts.map(|start| start..(start + block).min(warm_rounds));
        let starts = (warm_rounds..end).step_by(block as usize);
        warm.chain(starts.map(|start| start..(start + block).min(end))).collect()
    }

    /// Does the rounds of a block; those beyond the warm ones are measured.
    ///
    /// # Errors
    /// What `round` returns.
    pub fn measure(
        &mut self,
        rounds: Range<u64>,
        round: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (name, plant) = (self.operation.name, self.plant);
        if rounds.start < self.operation.warm_rounds {
            // Not by the function below, nor by one that the compiler could find to be the same.
            return rounds.into_iter().try_for_each(round);
        }
        let count = rounds.end - rounds.start;
        let counters = self.storage.counters();
        match &mut self.watch {
            Watch::Nothing => llmdb_gate_measured(name, plant, rounds, round),
            Watch::Count { read, sum } => {
                let before = (read(), Written::so_far(&counters));
                llmdb_gate_measured(name, plant, rounds, round)?;
                sum.add(before, (read(), Written::so_far(&counters)), count);
                Ok(())
            }
            Watch::Time { blocks_ns } => {
                let start = Instant::now();
                llmdb_gate_measured(name, plant, rounds, round)?;
                blocks_ns.push(start.elapsed().as_nanos() as f64 / count as f64);
                Ok(())
            }
        }
    }
}

impl Sum {
    fn add(&mut self, before: (Allocated, Written), after: (Allocated, Written), rounds: u64) {
        self.rounds += rounds;
        self.allocated.calls += after.0.calls - before.0.calls;
        self.allocated.bytes += after.0.bytes - before.0.bytes;
        self.written.bytes += after.1.bytes - before.1.bytes;
        self.written.blocks += after.1.blocks - before.1.blocks;
        self.written.flushes += after.1.flushes - before.1.flushes;
    }

    fn counts(&self) -> Counts {
        let per_round = |sum: u64| sum as f64 / self.rounds.max(1) as f64;
        Counts::from([
            (ALLOCATIONS.to_owned(), per_round(self.allocated.calls)),
            (BYTES_ALLOCATED.to_owned(), per_round(self.allocated.bytes)),
            (BYTES_WRITTEN.to_owned(), per_round(self.written.bytes)),
            (PAGES_WRITTEN.to_owned(), per_round(self.written.blocks)),
            (FLUSHES.to_owned(), per_round(self.written.flushes)),
        ])
    }
}

/// What valgrind counts: it looks at nothing outside a function of this name.
#[inline(never)]
fn llmdb_gate_measured(
    operation: &str,
    plant: Option<Plant>,
    rounds: Range<u64>,
    round: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<(), Error> {
    for number in rounds {
        round(number)?;
        if Plant::doubles(plant, operation, number) {
            round(number + Plant::EXTRA_ROUND)?;
        }
    }
    Ok(())
}

/// Where and how an operation runs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The databases to copy from.
    pub image: &'a Image,
    /// An empty folder on the same file system.
    pub work: &'a Path,
    /// A slowdown on purpose.
    pub plant: Option<Plant>,
}

/// Counts everything of an operation but its instructions.
///
/// # Errors
/// [`Error::WrongAnswer`], [`Error::Io`], the store's errors.
pub fn count(operation: &'static Operation, place: Place<'_>, read: ReadAllocated) -> Result<Counts, Error> {
    let watch = run(operation, place, false, Watch::Count { read, sum: Sum::default() })?;
    let mut counts = match watch {
        Watch::Count { sum, .. } => sum.counts(),
        Watch::Nothing | Watch::Time { .. } => Counts::new(),
    };
    counts.insert(PAGES.to_owned(), cold_pages(place.image, place.work, operation)?);
    Ok(counts)
}

/// Does the rounds that are counted and nothing besides, for valgrind to look on.
///
/// # Errors
/// As [`count`].
pub fn run_counted(operation: &'static Operation, place: Place<'_>) -> Result<(), Error> {
    run(operation, place, false, Watch::Nothing).map(|_| ())
}

/// Nanoseconds of one round: the median of the blocks.
///
/// # Errors
/// As [`count`].
pub fn time(operation: &'static Operation, place: Place<'_>) -> Result<f64, Error> {
    Ok(match run(operation, place, true, Watch::Time { blocks_ns: Vec::new() })? {
        Watch::Time { mut blocks_ns } => super::clock::median(&mut blocks_ns),
        Watch::Nothing | Watch::Count { .. } => 0.0,
    })
}

fn run(operation: &'static Operation, place: Place<'_>, timed: bool, watch: Watch) -> Result<Watch, Error> {
    let Place { image, work, plant } = place;
    let storage = CountedStorage::default();
    let mut bench = Bench { operation, image, work, storage, plant, timed, watch };
    (operation.run)(&mut bench)?;
    Ok(bench.watch)
}
