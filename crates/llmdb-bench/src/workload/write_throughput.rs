//! `write_throughput`: how fast records become durable.
//!
//! Threads put new records in transactions of so many, into a database that holds some already. Commits per
//! second, MB of keys and values per second, bytes written by the device for each byte of the user's (with
//! the file system flushed at both ends), and bytes on disk afterwards. Then every record is read and
//! checked, and flushes are counted: an engine that skipped one fails.

use super::bench::{Around, Done};
use super::load::{self, Shape, check_all};
use super::{Bench, Case, Counted, Phase, Plan, Sizes, Workload, named};
use crate::check::{KeyOrder, Ledger, fill_key, fill_value};
use crate::disk;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What an engine may need beside the records themselves.
const DISK_FACTOR: u64 = 4;
const KEY_SIZE: usize = 16;

/// The workload.
#[derive(Debug)]
pub(super) struct WriteThroughput;

impl Workload for WriteThroughput {
    fn suite(&self) -> &'static str {
        "micro"
    }

    fn name(&self) -> &'static str {
        "write_throughput"
    }

    fn about(&self) -> &'static str {
        "new records in transactions, by each durability, size, order and number of committing threads"
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let mut plans = Vec::new();
        for durability in [Durability::Sync, Durability::NoLog, Durability::Interval, Durability::None] {
            for &value_size in &sizes.write_values {
                // Between none and sync, at the first size only: what is flushed some time later costs what none does.
                if durability == Durability::Interval && Some(&value_size) != sizes.write_values.first() {
                    continue;
                }
                for order in [KeyOrder::Random, KeyOrder::Sequential] {
                    for write in writes(sizes, value_size, order) {
                        plans.push(plan(sizes, durability, write));
                    }
                }
            }
        }
        plans
    }
}

/// The parameters of one plan.
#[derive(Clone, Copy, Debug)]
struct Write {
    shape: Shape,
    per_transaction: u64,
    threads: usize,
}

/// Several threads matter for small transactions of small records under random keys; large ones are about bytes, and
/// for single records larger than the first size the order of keys is nothing.
fn writes(sizes: &Sizes, value_size: usize, order: KeyOrder) -> Vec<Write> {
    let shape = Shape { key_size: KEY_SIZE, value_size, order };
    let is_first = Some(&value_size) == sizes.write_values.first();
    let mut writes = Vec::new();
    for &per_transaction in &sizes.transaction_sizes {
        if !is_first && per_transaction == 1 && order == KeyOrder::Sequential {
            continue;
        }
        let bytes = per_transaction * shape.record_size();
        if bytes > sizes.write_bytes_max / 4 {
            continue;
        }
        for &threads in &sizes.write_threads {
            let crowd = threads > 1;
            if !(crowd && (per_transaction > 1 || order == KeyOrder::Sequential || !is_first)) {
                writes.push(Write { shape, per_transaction, threads });
            }
        }
    }
    writes
}

fn plan(sizes: &Sizes, durability: Durability, write: Write) -> Plan {
    let (preload, bytes_max) = (sizes.preload_bytes, sizes.write_bytes_max);
    let order = match write.shape.order {
        KeyOrder::Random => "random",
        KeyOrder::Sequential => "sequential",
    };
    Plan {
        parameters: named([
            ("key", write.shape.key_size.to_string()),
            ("value", write.shape.value_size.to_string()),
            ("order", order.to_owned()),
            ("per_transaction", write.per_transaction.to_string()),
            ("threads", write.threads.to_string()),
            ("preload_mb", (preload >> 20).to_string()),
        ]),
        durability,
        disk_bytes: (preload + bytes_max) * DISK_FACTOR,
        one_at_a_time: false,
        memory_bytes: 512 << 20,
        phases: vec![Phase::default()],
        make: Box::new(move || Box::new(WriteCase::new(write, preload, bytes_max))),
    }
}

struct WriteCase {
    write: Write,
    bytes_max: u64,
    preload_bytes: u64,
    preload: u64,
    ledger: Ledger,
    /// The next number that nobody has taken.
    next: AtomicU64,
    /// Records in acknowledged commits.
    acknowledged: AtomicU64,
    engine: Option<Box<dyn Engine>>,
}

impl WriteCase {
    fn new(write: Write, preload_bytes: u64, bytes_max: u64) -> Self {
        let preload = write.shape.records_in(preload_bytes);
        let capacity = preload + write.shape.records_in(bytes_max) + write.per_transaction;
        Self {
            write,
            bytes_max,
            preload_bytes,
            preload,
            ledger: Ledger::new(capacity as usize),
            next: AtomicU64::new(preload),
            acknowledged: AtomicU64::new(preload),
            engine: None,
        }
    }

    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }

    /// Takes the numbers of one transaction; `None` when there is no room for more.
    fn take(&self) -> Option<std::ops::Range<u64>> {
        let count = self.write.per_transaction;
        let begin = self.next.fetch_add(count, Ordering::Relaxed);
        (begin + count <= self.ledger.capacity() as u64).then_some(begin..begin + count)
    }
}

impl Case for WriteCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let engine = bench.open(self.preload_bytes + self.bytes_max)?;
        load::load(bench, &*engine, self.write.shape, 0..self.preload)?;
        self.engine = Some(engine);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, budget: Duration) -> Result<Measured> {
        let engine = self.engine()?;
        disk::sync_all(bench.folder)?;
        let (device, around) = (disk::device_counts(bench.folder), Around::begin(engine, bench.folder));
        let write = self.write;
        let mut measured = bench.threads("commit", write.threads, budget, |_, span| {
            let mut recorder = Recorder::new(span.started);
            let (mut key, mut value) = (write.shape.key(), write.shape.value());
            let (mut now, mut commits) = (Instant::now(), 0);
            while span.goes_on(now) {
                let Some(numbers) = self.take() else { break };
                let begin = Instant::now();
                engine.write(&mut |txn| {
                    for number in numbers.clone() {
                        fill_key(&mut key, number, write.shape.order);
                        fill_value(&mut value, number, 0);
                        txn.put(&key, &value)?;
                    }
                    Ok(())
                })?;
                now = Instant::now();
                recorder.record(begin, now);
                self.acknowledged.fetch_add(write.per_transaction, Ordering::Relaxed);
                commits += 1;
            }
            let user_bytes = commits * write.per_transaction * write.shape.record_size();
            Ok(Done { recorder, commits, user_bytes })
        })?;
        around.end(engine, bench.folder, &mut measured);
        disk::sync_all(bench.folder)?;
        // Without a commit, as when there is no more room, there is nothing to hold the bytes against.
        let after = disk::device_counts(bench.folder).filter(|_| measured.user_bytes > 0);
        if let Some((before, after)) = device.zip(after) {
            let written = (after.bytes_written - before.bytes_written) as f64;
            let amplification = written / measured.user_bytes as f64;
            measured.push(Figure::lower("write_amplification", amplification, "x"));
        }
        Ok(measured)
    }

    fn figures(&self, bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        let seconds = measured.elapsed.as_secs_f64().max(1e-9);
        let mut megabytes = Figure::higher("user_data", measured.user_bytes as f64 / 1e6 / seconds, "MB/s");
        if let Some(probe) = bench.probe {
            megabytes = megabytes.ratio("the storage's sequential rate", probe.sequential_sync_mb_s);
        }
        if let Some((bound, text)) = self.bandwidth_target(bench) {
            megabytes = megabytes.target(bound, &text);
        }
        let mut figures =
            vec![Figure::higher("commits", measured.commits as f64 / seconds, "1/s"), megabytes];
        for figure in measured.latency_figures() {
            figures.push(self.commit_latency(bench, figure));
        }
        figures.extend(measured.sample_figures());
        // The device's count is everybody's: good for a check, not for a figure.
        if let Some(flushes) = measured.flushes.filter(|_| measured.bytes_written.is_some()) {
            let each = flushes as f64 / measured.commits.max(1) as f64;
            figures.push(Figure::lower("flushes_per_commit", each, "1"));
        }
        if let Ok(bytes) = disk::folder_bytes(bench.folder) {
            let user = self.acknowledged.load(Ordering::Relaxed) * self.write.shape.record_size();
            figures.push(Figure::lower("space_amplification", bytes as f64 / user.max(1) as f64, "x"));
        }
        figures
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // From the files, not from memory.
        self.engine = None;
        let engine = self.engine.insert(bench.open(self.preload_bytes + self.bytes_max)?);
        check_all(&**engine, self.write.shape, &self.ledger, self.acknowledged.load(Ordering::Relaxed))
    }
}

impl WriteCase {
    /// What large durable transactions should reach.
    fn bandwidth_target(&self, bench: &Bench<'_>) -> Option<(f64, String)> {
        let large = self.write.per_transaction * self.write.shape.record_size() >= 2 << 20;
        if !large || !bench.durability.is_durable() {
            return None;
        }
        if self.write.shape.value_size >= 4 << 10 {
            return Some((250.0, "at least 250 MB/s in large transactions".to_owned()));
        }
        let share = if bench.durability == Durability::Sync { 0.45 } else { 0.85 };
        let probe = bench.probe.filter(|_| self.write.shape.order == KeyOrder::Sequential)?;
        let bound = probe.sequential_sync_mb_s * share;
        Some((bound, format!("at least {share} of the storage's sequential rate: {bound:.0} MB/s")))
    }

    /// A durable commit's latency, with its ratio to the storage's own.
    fn commit_latency(&self, bench: &Bench<'_>, figure: Figure) -> Figure {
        let Some(probe) = bench.probe.filter(|_| bench.durability.is_durable()) else { return figure };
        let single = self.write.per_transaction == 1 && self.write.threads == 1;
        match figure.name.as_str() {
            "commit_p50" => {
                let bound = probe.overwrite_sync_us_p50 * 1.15;
                let text = format!("a log's commit at most 1.15 times the storage's own: {bound:.0} us");
                let figure =
                    figure.ratio("a 4 KiB overwrite and flush of the storage", probe.overwrite_sync_us_p50);
                let small = self.write.shape.value_size <= 1 << 10 && bench.durability == Durability::Sync;
                if single && small { figure.target(bound, &text) } else { figure }
            }
            "commit_p99" => figure.ratio("a 4 KiB overwrite and flush, p99", probe.overwrite_sync_us_p99),
            _ => figure,
        }
    }
}
