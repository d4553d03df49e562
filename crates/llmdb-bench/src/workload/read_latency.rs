//! `read_latency`: how long reads take, hot and cold, on one and on all cores.
//!
//! Phases on one database of random keys: `get` in a snapshot that serves a thousand, `get` with a
//! transaction of its own, 64 keys at once, scans of 100, a scan of everything, and `get` after the page
//! cache was dropped. Each value read is hashed as a whole, for every engine alike, and is part of the time.

use super::bench::{Done, Span};
use super::load::{self, SORT_ENTRY_SIZE, Shape, check_all};
use super::{Bench, Case, Counted, Phase, Plan, Sizes, Workload, named};
use crate::check::{KeyOrder, LEDGER_ENTRY_SIZE, Ledger, fill_key, identity_of, version_of};
use crate::disk;
use crate::engine::{Engine, Reader};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::rng::Rng;
use std::time::{Duration, Instant};

/// Gets of one snapshot.
const GETS_PER_SNAPSHOT: u64 = 1_000;
/// Keys of one `get_many`.
const MANY: usize = 64;
/// Records of a short scan.
const SCAN: usize = 100;
/// What an engine may need beside the records themselves.
const DISK_FACTOR: u64 = 4;

/// The workload.
#[derive(Debug)]
pub(super) struct ReadLatency;

impl Workload for ReadLatency {
    fn suite(&self) -> &'static str {
        "micro"
    }

    fn name(&self) -> &'static str {
        "read_latency"
    }

    fn about(&self) -> &'static str {
        "gets and scans of random keys: hot and cold, one and all cores, one by one and many at once"
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let mut plans = Vec::new();
        for (nth, &bytes) in sizes.database_bytes.iter().enumerate() {
            for (place, &(value_size, key_size)) in sizes.read_shapes.iter().enumerate() {
                let is_capped = place > 0 && bytes > sizes.other_shapes_bytes;
                // Once for all sizes that are cut to the same.
                if !is_capped || nth == 0 {
                    let bytes = if is_capped { sizes.other_shapes_bytes } else { bytes };
                    plans.push(plan(sizes, bytes, Shape { key_size, value_size, order: KeyOrder::Random }));
                }
            }
        }
        plans
    }
}

/// What a phase reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Get,
    GetAlone,
    Many,
    Scan,
    ScanAll,
    GetCold,
}

impl Read {
    /// The name of its latencies.
    fn name(self) -> &'static str {
        match self {
            Self::Get | Self::GetAlone | Self::GetCold => "get",
            Self::Many => "get_many",
            Self::Scan => "scan",
            Self::ScanAll => "scan_all",
        }
    }

    fn in_words(self) -> String {
        match self {
            Self::Get => format!("get, {GETS_PER_SNAPSHOT} a snapshot"),
            Self::GetAlone => "get, a transaction each".to_owned(),
            Self::Many => format!("get_many of {MANY}"),
            Self::Scan => format!("scan of {SCAN}"),
            Self::ScanAll => "scan of everything".to_owned(),
            Self::GetCold => format!("get, {GETS_PER_SNAPSHOT} a snapshot, cold"),
        }
    }
}

fn plan(sizes: &Sizes, bytes: u64, shape: Shape) -> Plan {
    let mut reads: Vec<(Read, usize)> =
        sizes.read_threads.iter().map(|&threads| (Read::Get, threads)).collect();
    if let Some(&cores) = sizes.read_threads.last().filter(|&&cores| cores > 1) {
        reads.extend([Read::Many, Read::Scan].map(|read| (read, cores)));
    }
    // Cold reads come last: they leave the caches empty.
    reads
        .extend([Read::GetAlone, Read::Many, Read::Scan, Read::ScanAll, Read::GetCold].map(|read| (read, 1)));
    let phases = reads
        .iter()
        .map(|(read, threads)| Phase::of([("read", read.in_words()), ("threads", threads.to_string())]))
        .collect();
    let cold_reads = sizes.cold_reads;
    let records = shape.records_in(bytes).min(sizes.database_records_max);
    let bytes = records * shape.record_size();
    Plan {
        parameters: named([
            ("key", shape.key_size.to_string()),
            ("value", shape.value_size.to_string()),
            ("records", records.to_string()),
        ]),
        durability: Durability::ReadOnly,
        disk_bytes: bytes * DISK_FACTOR,
        one_at_a_time: false,
        memory_bytes: (256 << 20) + records * (LEDGER_ENTRY_SIZE + SORT_ENTRY_SIZE),
        phases,
        make: Box::new(move || Box::new(ReadCase::new(reads.clone(), shape, records, cold_reads))),
    }
}

struct ReadCase {
    reads: Vec<(Read, usize)>,
    shape: Shape,
    bytes: u64,
    records: u64,
    cold_reads: u64,
    ledger: Ledger,
    engine: Option<Box<dyn Engine>>,
    /// Rounds so far: each draws other keys.
    rounds: u64,
}

impl ReadCase {
    fn new(reads: Vec<(Read, usize)>, shape: Shape, records: u64, cold_reads: u64) -> Self {
        let bytes = records * shape.record_size();
        let ledger = Ledger::new(records as usize);
        Self { reads, shape, bytes, records, cold_reads, ledger, engine: None, rounds: 0 }
    }

    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }

    /// Closes the database, drops its files from the page cache and opens it again.
    fn make_cold(&mut self, bench: &Bench<'_>) -> Result<()> {
        self.engine = None;
        disk::evict(bench.folder)?;
        self.engine = Some(bench.open(self.bytes)?);
        Ok(())
    }
}

impl Case for ReadCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let engine = bench.open_as(bench.loading()?, self.bytes)?;
        load::load(bench, &*engine, self.shape, 0..self.records)?;
        drop(engine);
        let engine = bench.open(self.bytes)?;
        load::walk(&*engine, &mut |_, _| Ok(()))?;
        self.engine = Some(engine);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        let (read, threads) = self.reads[phase];
        if read == Read::GetCold {
            self.make_cold(bench)?;
        }
        self.rounds += 1;
        let engine = self.engine()?;
        let reading = Reading { engine, shape: self.shape, records: self.records };
        let seed = bench.seed ^ (self.rounds << 8);
        bench.threads(read.name(), threads, budget, |thread, span| {
            let mut rng = Rng::stream(seed, thread as u64);
            match read {
                Read::Get => reading.gets(span, &mut rng, GETS_PER_SNAPSHOT, u64::MAX),
                Read::GetAlone => reading.gets(span, &mut rng, 1, u64::MAX),
                Read::GetCold => reading.gets(span, &mut rng, GETS_PER_SNAPSHOT, self.cold_reads),
                Read::Many => reading.many(span, &mut rng),
                Read::Scan => reading.scans(span, &mut rng),
                Read::ScanAll => reading.scan_all(span),
            }
        })
    }

    fn figures(&self, bench: &Bench<'_>, phase: usize, measured: &Measured) -> Vec<Figure> {
        let (read, _) = self.reads[phase];
        let name = if matches!(read, Read::Scan | Read::ScanAll) { "rows" } else { "gets" };
        let mut figures = vec![Figure::higher(name, measured.per_second(), "1/s")];
        figures.extend(measured.latency_figures());
        for figure in figures.iter_mut().filter(|figure| figure.name == "get_p99") {
            match (read, bench.probe) {
                (Read::GetCold, Some(probe)) => {
                    let bound = probe.cold_read_us_p99 * 1.5;
                    *figure = figure
                        .clone()
                        .target(bound, &format!("at most 1.5 times the storage's cold read: {bound:.0} us"))
                        .ratio("a cold 4 KiB read of the storage, p99", probe.cold_read_us_p99);
                }
                (Read::Get, _) => *figure = figure.clone().target(60.0, "under 60 us hot"),
                _ => {}
            }
        }
        figures
    }

    fn check(&mut self, _bench: &Bench<'_>) -> Result<Counted> {
        check_all(self.engine()?, self.shape, &self.ledger, self.records)
    }
}

/// What a reading thread knows.
struct Reading<'a> {
    engine: &'a dyn Engine,
    shape: Shape,
    records: u64,
}

impl Reading<'_> {
    fn gets(&self, span: Span<'_>, rng: &mut Rng, per_snapshot: u64, gets_max: u64) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let (mut key, mut begin, mut total) = (self.shape.key(), Instant::now(), 0);
        while span.goes_on(begin) && total < gets_max {
            // With a transaction each, its beginning and end are part of the time.
            let alone = per_snapshot == 1;
            let number = rng.below(self.records);
            fill_key(&mut key, number, self.shape.order);
            let outer = Instant::now();
            self.engine.read(&mut |txn| {
                if alone {
                    return expect(txn.get(&key)?, number);
                }
                let mut count = 0;
                while count < per_snapshot && total < gets_max && span.goes_on(begin) {
                    let number = rng.below(self.records);
                    fill_key(&mut key, number, self.shape.order);
                    begin = Instant::now();
                    expect(txn.get(&key)?, number)?;
                    recorder.record(begin, Instant::now());
                    count += 1;
                    total += 1;
                }
                Ok(())
            })?;
            if alone {
                begin = Instant::now();
                recorder.record(outer, begin);
            }
        }
        Ok(Done::reading(recorder))
    }

    fn many(&self, span: Span<'_>, rng: &mut Rng) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let mut keys: Vec<Vec<u8>> = vec![self.shape.key(); MANY];
        let mut numbers = [0; MANY];
        let mut now = Instant::now();
        while span.goes_on(now) {
            self.engine.read(&mut |txn: &mut dyn Reader| {
                for (key, number) in keys.iter_mut().zip(&mut numbers) {
                    *number = rng.below(self.records);
                    fill_key(key, *number, self.shape.order);
                }
                let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                let (begin, mut answers) = (Instant::now(), 0);
                txn.get_many(&asked, &mut |at, value| {
                    answers += 1;
                    expect(value, numbers[at])
                })?;
                now = Instant::now();
                recorder.record_many(begin, now, MANY as u64);
                complete(answers, MANY)
            })?;
        }
        Ok(Done::reading(recorder))
    }

    fn scans(&self, span: Span<'_>, rng: &mut Rng) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let (mut key, mut now) = (self.shape.key(), Instant::now());
        while span.goes_on(now) {
            let number = rng.below(self.records);
            fill_key(&mut key, number, self.shape.order);
            self.engine.read(&mut |txn| {
                let (begin, mut first) = (Instant::now(), true);
                let count = txn.scan(&key, SCAN, &mut |found, value| {
                    let right = std::mem::take(&mut first).then_some(number);
                    self.expect_record(found, value, right)
                })?;
                now = Instant::now();
                recorder.record_many(begin, now, count as u64);
                // A scan that begins near the end of the database is shorter; how far the end is, nobody
                // knows of random keys. The first record must be there, and no scan is longer.
                complete(usize::from(first), 0)?;
                complete(count.min(SCAN), count)
            })?;
        }
        Ok(Done::reading(recorder))
    }

    fn scan_all(&self, span: Span<'_>) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let mut now = Instant::now();
        while span.goes_on(now) {
            self.engine.read(&mut |txn| {
                let begin = Instant::now();
                let count =
                    txn.scan(&[0], usize::MAX, &mut |key, value| self.expect_record(key, value, None))?;
                now = Instant::now();
                recorder.record_many(begin, now, count as u64);
                complete(count, self.records as usize)
            })?;
        }
        Ok(Done::reading(recorder))
    }

    /// Checks a scanned record by its value's hash and its key's first bytes.
    fn expect_record(&self, key: &[u8], value: &[u8], number: Option<u64>) -> Result<()> {
        let Some((found, 0)) = identity_of(value) else {
            return Err(Error::WrongAnswer("a scan gave a value that was never written".to_owned()));
        };
        let mut id = [0; crate::check::KEY_SIZE_MIN];
        fill_key(&mut id, found, self.shape.order);
        if number.is_some_and(|number| number != found) || !key.starts_with(&id) {
            return Err(Error::WrongAnswer(format!("a scan gave record {found} in a wrong place")));
        }
        Ok(())
    }
}

fn expect(value: Option<&[u8]>, number: u64) -> Result<()> {
    match value.map(|value| version_of(value, number)) {
        Some(Some(0)) => Ok(()),
        Some(_) => {
            Err(Error::WrongAnswer(format!("record {number} has a value that was never written to it")))
        }
        None => Err(Error::WrongAnswer(format!("record {number} is missing"))),
    }
}

fn complete(answers: usize, expected: usize) -> Result<()> {
    if answers == expected {
        return Ok(());
    }
    Err(Error::WrongAnswer(format!("{answers} answers instead of {expected}")))
}
