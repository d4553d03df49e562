//! Large transactions of one thread into a database that is empty as a round begins: batches over a growing
//! set, large values, sorted records, and files in memory.
//!
//! Invariants
//! 1. Only one database is there at a time: it is checked and removed as its round ends.
//! 2. What an engine still holds back is written out before the bytes of the device are counted.

use super::{DISK_FACTOR, SHAPE};
use crate::check::{KeyOrder, fill_key, fill_value};
use crate::disk;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure, Unmeasurable};
use crate::workload::bar::{Bar, Of};
use crate::workload::bench::{Around, Done, Span};
use crate::workload::load::Shape;
use crate::workload::sizes::CommitSizes;
use crate::workload::writing::Writing;
use crate::workload::{Bench, Case, Counted, Phase, Plan, named};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Records of a batch.
const BATCH: u64 = 1_000;
/// How many budgets the growing set takes.
const GROWING: u32 = 3;
/// Peers that keep their records in a tree: the ones whose batches ours must beat by far.
const TREES: [&str; 4] = ["lmdb", "redb", "canopydb", "libmdbx"];
/// Where files lie in memory.
const MEMORY: &str = "/dev/shm";
/// What an engine may need in memory beside the records themselves, such as a preallocated log.
const MEMORY_ROOM: u64 = 256 << 20;
/// MB/s that large values and files in memory must reach.
const BANDWIDTH: f64 = 250.0;
/// MB/s of the storage from which on it can be asked for.
const BANDWIDTH_OF_STORAGE: f64 = 300.0;

/// What a plan fills its databases with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    /// Batches over a growing set.
    Growing,
    /// Values of so many bytes, large transactions.
    Large(usize),
    /// Records in the order of their keys, large transactions.
    Sorted,
    /// Random records in files that lie in memory, so many a transaction.
    InMemory(u64),
}

/// All plans of this file.
pub(super) fn plans(sizes: CommitSizes) -> Vec<Plan> {
    let per_transaction = sizes.transaction_bytes / SHAPE.record_size();
    let mut plans = vec![plan(sizes, Durability::Sync, vec![Fill::Growing])];
    let large = sizes.large_values.map(|value| plan(sizes, Durability::Sync, vec![Fill::Large(value)]));
    plans.extend(large);
    plans.extend([Durability::Sync, Durability::NoLog].map(|log| plan(sizes, log, vec![Fill::Sorted])));
    let in_memory = vec![Fill::InMemory(per_transaction), Fill::InMemory(BATCH)];
    plans.push(plan(sizes, Durability::Sync, in_memory));
    plans
}

fn plan(sizes: CommitSizes, durability: Durability, fills: Vec<Fill>) -> Plan {
    let fill = fills[0];
    let in_words = match fill {
        Fill::Growing => "batches over a growing set",
        Fill::Large(_) => "large values",
        Fill::Sorted => "sorted records",
        Fill::InMemory(_) => "random records, files in memory",
    };
    let in_memory = if let Fill::InMemory(_) = fill { sizes.memory_bytes_max * DISK_FACTOR } else { 0 };
    Plan {
        parameters: named([
            ("fill", in_words.to_owned()),
            ("key", SHAPE.key_size.to_string()),
            ("value", fill.shape().value_size.to_string()),
        ]),
        durability,
        disk_bytes: sizes.bytes_max * DISK_FACTOR,
        one_at_a_time: true,
        memory_bytes: (1 << 30) + in_memory,
        phases: fills.iter().map(|fill| fill.phase(sizes)).collect(),
        make: Box::new(move || {
            Box::new(FillCase { fills: fills.clone(), sizes, counted: Counted::default() })
        }),
    }
}

impl Fill {
    fn shape(self) -> Shape {
        match self {
            Self::Large(value_size) => Shape { value_size, ..SHAPE },
            Self::Sorted => Shape { order: KeyOrder::Sequential, ..SHAPE },
            Self::Growing | Self::InMemory(_) => SHAPE,
        }
    }

    fn per_transaction(self, sizes: CommitSizes) -> u64 {
        match self {
            Self::Growing => BATCH,
            Self::Large(_) | Self::Sorted => (sizes.transaction_bytes / self.shape().record_size()).max(1),
            Self::InMemory(count) => count,
        }
    }

    fn bytes_max(self, sizes: CommitSizes) -> u64 {
        if let Self::InMemory(_) = self { sizes.memory_bytes_max } else { sizes.bytes_max }
    }

    fn phase(self, sizes: CommitSizes) -> Phase {
        let named = [("per_transaction", self.per_transaction(sizes).to_string())];
        let lmdb = Of::Engine("lmdb");
        match self {
            Self::Growing => {
                let bars = vec![
                    Bar::new("user_data", 2.0, Of::BestAmong(&TREES)),
                    Bar::new("write_amplification", 0.5, lmdb),
                ];
                Phase { bars, longer: GROWING, ..Phase::once(named) }
            }
            Self::Large(_) => Phase { bars: vec![Bar::new("user_data", 1.0, lmdb)], ..Phase::of(named) },
            Self::Sorted | Self::InMemory(_) => Phase::of(named),
        }
    }
}

struct FillCase {
    fills: Vec<Fill>,
    sizes: CommitSizes,
    /// Records of all rounds.
    counted: Counted,
}

impl FillCase {
    /// A database filled for `budget` in `folder`, and what it was found to hold afterwards.
    fn fill(&self, bench: &Bench<'_>, fill: Fill, budget: Duration) -> Result<(Measured, Counted)> {
        let (shape, bytes_max) = (fill.shape(), fill.bytes_max(self.sizes));
        let engine = bench.open(bytes_max)?;
        let writing = Writing::new(shape, 0, shape.records_in(bytes_max));
        // What the page cache still holds back of others shall not be written in this one's time.
        disk::sync_all(bench.folder)?;
        let (device, around) = (disk::device_counts(bench.folder), Around::begin(&*engine, bench.folder));
        let per_transaction = fill.per_transaction(self.sizes);
        let mut measured = bench.threads("commit", 1, budget, |_, span| match fill {
            Fill::Sorted => append(&*engine, &writing, shape, per_transaction, span),
            _ => writing.commit(&*engine, (0, 1), per_transaction, span),
        })?;
        around.end(&*engine, bench.folder, &mut measured);
        bench.stop.check()?;
        let seconds = measured.elapsed.as_secs_f64().max(1e-9);
        measured.push(Figure::higher("user_data", measured.user_bytes as f64 / 1e6 / seconds, "MB/s"));
        engine.settle()?;
        disk::sync_all(bench.folder)?;
        if let Some((before, after)) = device.zip(disk::device_counts(bench.folder)) {
            let written = after.bytes_written.saturating_sub(before.bytes_written) as f64;
            let amplification = written / measured.user_bytes.max(1) as f64;
            measured.push(Figure::lower("write_amplification", amplification, "x"));
        }
        let held = (writing.count() * shape.record_size()).max(1) as f64;
        let space = disk::folder_bytes(bench.folder)? as f64 / held;
        measured.push(Figure::lower("space_amplification", space, "x"));
        // From the files, not from memory.
        drop(engine);
        let counted = writing.check(&*bench.open(bytes_max)?)?;
        Ok((measured, counted))
    }

    /// A folder for one round, in memory if it is to be there; `None` if there is no room.
    fn home(&self, bench: &Bench<'_>, fill: Fill) -> Result<Option<TempDir>> {
        let within = match fill {
            Fill::InMemory(_) if self.why_not_in_memory().is_some() => return Ok(None),
            Fill::InMemory(_) => Path::new(MEMORY),
            _ => bench.folder,
        };
        let made = tempfile::Builder::new().prefix("llmdb-bench-").tempdir_in(within);
        made.map(Some).map_err(|error| Error::io(format!("making a folder in {}", within.display()), error))
    }

    fn why_not_in_memory(&self) -> Option<String> {
        let needed = self.sizes.memory_bytes_max * DISK_FACTOR + MEMORY_ROOM;
        match disk::free_bytes(Path::new(MEMORY)) {
            Err(_) => Some(format!("there is no {MEMORY} here")),
            Ok(free) if free < needed => {
                Some(format!("{MEMORY} has {} MB free, {} are needed", free >> 20, needed >> 20))
            }
            Ok(_) => None,
        }
    }
}

impl Case for FillCase {
    fn set_up(&mut self, _bench: &Bench<'_>) -> Result<()> {
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        let fill = self.fills[phase];
        let Some(home) = self.home(bench, fill)? else {
            let now = Instant::now();
            return Ok(Measured::new("commit", Recorder::new(now), Duration::ZERO));
        };
        let (measured, counted) = self.fill(&Bench { folder: home.path(), ..*bench }, fill, budget)?;
        self.counted.expected += counted.expected;
        self.counted.found += counted.found;
        let doing = format!("removing {}", home.path().display());
        home.close().map_err(|error| Error::io(doing, error))?;
        Ok(measured)
    }

    fn figures(&self, bench: &Bench<'_>, phase: usize, measured: &Measured) -> Vec<Figure> {
        let fill = self.fills[phase];
        let storage = bench.probe.map(|probe| probe.sequential_sync_mb_s);
        let mut figures = Vec::new();
        for figure in measured.sample_figures() {
            figures.push(match (fill, figure.name.as_str()) {
                (Fill::Large(_), "user_data") if storage.is_some_and(|rate| rate >= BANDWIDTH_OF_STORAGE) => {
                    figure.target(BANDWIDTH, "at least 250 MB/s")
                }
                (Fill::Large(_), "write_amplification") => {
                    figure.target(1.1, "large values written once: at most 1.1 bytes each")
                }
                (Fill::InMemory(count), "user_data") if count != BATCH => {
                    figure.target(BANDWIDTH, "at least 250 MB/s where the files lie in memory")
                }
                _ => figure,
            });
        }
        let rate = figures.iter().find(|figure| figure.name == "user_data").map(|figure| figure.value);
        if let Some((rate, storage)) = rate.zip(storage).filter(|_| fill == Fill::Sorted) {
            figures.push(share_of_storage(bench.durability, rate, storage));
        }
        figures.extend(measured.latency_figures());
        figures
    }

    fn unmeasurable(&self, bench: &Bench<'_>, phase: usize, _measured: &Measured) -> Vec<Unmeasurable> {
        let say = |target: &str, why: String| Unmeasurable { target: target.to_owned(), why };
        match (self.fills[phase], bench.probe.map(|probe| probe.sequential_sync_mb_s)) {
            (Fill::InMemory(count), _) if count != BATCH => {
                let why = self.why_not_in_memory().into_iter();
                why.map(|why| say("at least 250 MB/s where the files lie in memory", why)).collect()
            }
            (Fill::Large(_), Some(rate)) if rate < BANDWIDTH_OF_STORAGE => {
                vec![say(
                    "at least 250 MB/s of large values",
                    format!("the storage alone does {rate:.0} MB/s"),
                )]
            }
            (Fill::Large(_) | Fill::Sorted, None) => {
                vec![say("large transactions at the storage's pace", "the storage was not probed".to_owned())]
            }
            _ => Vec::new(),
        }
    }

    fn check(&mut self, _bench: &Bench<'_>) -> Result<Counted> {
        Ok(self.counted)
    }
}

/// Sorted records beside what the storage does in sequence.
fn share_of_storage(durability: Durability, rate: f64, storage: f64) -> Figure {
    let (share, log) = if durability == Durability::NoLog { (0.85, "without") } else { (0.45, "with") };
    let text =
        format!("at least {share} of the storage's sequential rate, {storage:.0} MB/s here, {log} a log");
    Figure::higher("user_data_to_storage", rate / storage.max(f64::MIN_POSITIVE), "x").target(share, &text)
}

/// Appends records in the order of their keys, in whole transactions, until the time is over.
fn append(
    engine: &dyn Engine,
    writing: &Writing,
    shape: Shape,
    per_transaction: u64,
    span: Span<'_>,
) -> Result<Done> {
    let (mut recorder, mut records) = (Recorder::new(span.started), 0_u64);
    engine.append(per_transaction, &mut |key, value| {
        // Only whole transactions, and none that goes back to the first key.
        let begins = records % per_transaction == 0;
        if begins && (writing.room() < per_transaction || !span.goes_on(Instant::now())) {
            return false;
        }
        let number = writing.take();
        key.resize(shape.key_size, 0);
        value.resize(shape.value_size, 0);
        fill_key(key, number, shape.order);
        fill_value(value, number, 0);
        records += 1;
        true
    })?;
    let commits = records / per_transaction;
    recorder.record_many(span.started, Instant::now(), commits);
    Ok(Done { recorder, commits, user_bytes: records * shape.record_size() })
}
