//! Reads of a database that was loaded in random order.

use super::keys::{ENTRY_SIZE, Entry, Keys, sum_of};
use super::{DISK_FACTOR, PER_TRANSACTION, SHAPE, TIMED_EVERY};
use crate::check::{LEDGER_ENTRY_SIZE, Ledger};
use crate::disk;
use crate::engine::{Engine, Reader};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::workload::bar::{Bar, Of};
use crate::workload::bench::{Done, Span};
use crate::workload::load::{self, check_all};
use crate::workload::{Bench, Case, Counted, Phase, Plan, Sizes, named};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Gets of one block, and of one snapshot.
const BLOCK: usize = 1_000;
/// Keys of one `get_many`.
const MANY: usize = 64;
/// Records of a range.
const RANGE: usize = 100;

/// What a phase reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Get { threads: usize },
    GetAlone,
    Many,
    Range,
    ScanAll,
    BeginEnd,
    Cold,
}

/// Cold reads come last: they leave the caches empty.
const READS: [Read; 8] = [
    Read::Get { threads: 1 },
    Read::Get { threads: 2 },
    Read::GetAlone,
    Read::Many,
    Read::Range,
    Read::ScanAll,
    Read::BeginEnd,
    Read::Cold,
];

impl Read {
    fn in_words(self) -> String {
        match self {
            Self::Get { .. } => "get, from a snapshot".to_owned(),
            Self::GetAlone => "get, a transaction each".to_owned(),
            Self::Many => format!("get_many of {MANY}"),
            Self::Range => format!("ranges of {RANGE}, all bytes"),
            Self::ScanAll => "scan of everything, all bytes".to_owned(),
            Self::BeginEnd => "begin and end of a read transaction".to_owned(),
            Self::Cold => "get, cold".to_owned(),
        }
    }

    fn threads(self) -> usize {
        if let Self::Get { threads } = self { threads } else { 1 }
    }

    /// The name of its latencies.
    fn operation(self) -> &'static str {
        match self {
            Self::Get { .. } | Self::GetAlone | Self::Cold => "get",
            Self::Many => "get_many",
            Self::Range | Self::ScanAll => "row",
            Self::BeginEnd => "begin_end",
        }
    }

    /// The name of its rate.
    fn rate(self) -> &'static str {
        match self {
            Self::Get { .. } | Self::GetAlone | Self::Cold | Self::Many => "gets",
            Self::Range => "ranges",
            Self::ScanAll => "rows",
            Self::BeginEnd => "transactions",
        }
    }

    /// What it must reach.
    fn bars(self) -> Vec<Bar> {
        let lmdb = Of::Engine("lmdb");
        match self {
            Self::Get { .. } => vec![Bar::new("gets", 3.0, lmdb), Bar::new("get_p99", 1.0, lmdb)],
            Self::GetAlone => vec![Bar::new("gets", 3.0, lmdb)],
            Self::Many => vec![Bar::new("gets", 7.0, lmdb).in_phase(0, "single gets")],
            Self::Range => vec![Bar::new("ranges", 2.5, Of::Best)],
            Self::ScanAll => vec![Bar::new("rows", 2.5, Of::Best)],
            Self::BeginEnd => Vec::new(),
            Self::Cold => vec![Bar::new("gets", 1.1, Of::Best)],
        }
    }
}

/// The plan of all reads.
pub(super) fn plan(sizes: &Sizes, records: u64, keys: Arc<OnceLock<Keys>>) -> Plan {
    let cold_reads = sizes.cold_reads as usize;
    let phases = READS.iter().map(|read| {
        let phase = Phase::of([("read", read.in_words()), ("threads", read.threads().to_string())]);
        Phase { bars: read.bars(), ..phase }
    });
    Plan {
        parameters: named([
            ("key", SHAPE.key_size.to_string()),
            ("value", SHAPE.value_size.to_string()),
            ("records", records.to_string()),
        ]),
        durability: Durability::ReadOnly,
        disk_bytes: records * SHAPE.record_size() * DISK_FACTOR,
        one_at_a_time: false,
        // The ledger is each engine's own, but small; the keys are shared.
        memory_bytes: (512 << 20) + records * (LEDGER_ENTRY_SIZE * 8 + ENTRY_SIZE),
        phases: phases.collect(),
        make: Box::new(move || {
            Box::new(ReadCase {
                records,
                cold_reads,
                keys: keys.clone(),
                ledger: Ledger::new(records as usize),
                engine: None,
                rounds: 0,
            })
        }),
    }
}

struct ReadCase {
    records: u64,
    cold_reads: usize,
    keys: Arc<OnceLock<Keys>>,
    ledger: Ledger,
    engine: Option<Box<dyn Engine>>,
    /// Rounds so far: each begins at another key.
    rounds: u64,
}

impl ReadCase {
    fn bytes(&self) -> u64 {
        self.records * SHAPE.record_size()
    }

    fn keys(&self, bench: &Bench<'_>) -> &Keys {
        self.keys.get_or_init(|| Keys::new(self.records, bench.seed))
    }

    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }

    /// Closes the database, drops its files from the page cache and opens it again.
    fn make_cold(&mut self, bench: &Bench<'_>) -> Result<()> {
        self.engine = None;
        disk::evict(bench.folder)?;
        self.engine = Some(bench.open(self.bytes())?);
        Ok(())
    }
}

impl Case for ReadCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let unflushed = Some(Durability::None).filter(|&none| bench.kind.offers(none));
        let loading = unflushed.map_or_else(|| bench.loading(), Ok)?;
        let engine = bench.open_as(loading, self.bytes())?;
        // Numbers in their own order are keys in a random one.
        let numbers: Vec<u64> = (0..self.records).collect();
        for batch in numbers.chunks(PER_TRANSACTION as usize) {
            bench.stop.check()?;
            load::put(&*engine, SHAPE, batch)?;
        }
        engine.settle()?;
        drop(engine);
        let engine = bench.open(self.bytes())?;
        load::walk(&*engine, &mut |_, _| Ok(()))?;
        self.engine = Some(engine);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        let read = READS[phase];
        if read == Read::Cold {
            self.make_cold(bench)?;
        }
        self.rounds += 1;
        let (engine, keys) = (self.engine()?, self.keys(bench));
        let mut measured = bench.threads(read.operation(), read.threads(), budget, |thread, span| {
            // Far apart, so that no thread and no round goes over the keys of another.
            let places = (self.rounds as usize * 7 + thread * 3) * keys.entries.len() / 41;
            let mut reading = Reading { engine, keys, next: places % keys.entries.len() };
            match read {
                Read::Get { .. } => reading.gets(span),
                Read::GetAlone => reading.gets_alone(span),
                Read::Many => reading.many(span),
                Read::Range => reading.ranges(span),
                Read::ScanAll => reading.scan_all(span),
                Read::BeginEnd => reading.begin_end(span),
                Read::Cold => reading.cold(span, self.cold_reads),
            }
        })?;
        let per_unit = if read == Read::Range { RANGE as f64 } else { 1.0 };
        measured.push(Figure::higher(read.rate(), measured.per_second() / per_unit, "1/s"));
        if measured.quantile_us(0.99) > 0.0 {
            let name = format!("{}_p99", read.operation());
            measured.push(Figure::lower(&name, measured.quantile_us(0.99), "us"));
        }
        Ok(measured)
    }

    fn figures(&self, bench: &Bench<'_>, phase: usize, measured: &Measured) -> Vec<Figure> {
        let mut figures = measured.sample_figures();
        figures.extend(measured.latency_figures().into_iter().filter(|figure| figure.name.ends_with("p50")));
        for figure in &mut figures {
            let bound = match (READS[phase], figure.name.as_str(), bench.probe) {
                (Read::Get { threads: 1 }, "get_p99", _) => (60.0, "under 60 us hot".to_owned()),
                (Read::Cold, "get_p99", Some(probe)) => {
                    let bound = probe.cold_read_us_p99 * 1.5;
                    (bound, format!("at most 1.5 times the storage's cold read: {bound:.0} us"))
                }
                (Read::BeginEnd, "begin_end_p50", _) => (0.020, "at most 20 ns".to_owned()),
                _ => continue,
            };
            *figure = figure.clone().target(bound.0, &bound.1);
        }
        figures
    }

    fn check(&mut self, _bench: &Bench<'_>) -> Result<Counted> {
        check_all(self.engine()?, SHAPE, &self.ledger, self.records)
    }
}

/// What a reading thread knows.
struct Reading<'a> {
    engine: &'a dyn Engine,
    keys: &'a Keys,
    next: usize,
}

impl<'a> Reading<'a> {
    /// The next so many keys, fewer at the end of all.
    fn take(&mut self, count: usize) -> &'a [Entry] {
        let entries = &self.keys.entries;
        let from = if self.next >= entries.len() { 0 } else { self.next };
        self.next = (from + count).min(entries.len());
        &entries[from..self.next]
    }

    fn gets(&mut self, span: Span<'_>) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let (mut now, mut blocks) = (Instant::now(), 0_u64);
        while span.goes_on(now) {
            let entries = self.take(BLOCK);
            let timed = blocks % TIMED_EVERY == TIMED_EVERY / 2;
            self.engine.read(&mut |txn| {
                if timed {
                    return timed_gets(txn, entries, &mut recorder);
                }
                entries.iter().try_for_each(|entry| expect(txn.get(&entry.key)?, entry))
            })?;
            now = Instant::now();
            recorder.count(now, if timed { 0 } else { entries.len() as u64 });
            blocks += 1;
        }
        Ok(Done::reading(recorder))
    }

    fn gets_alone(&mut self, span: Span<'_>) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let mut now = Instant::now();
        while span.goes_on(now) {
            let entries = self.take(BLOCK);
            for entry in entries {
                self.engine.read(&mut |txn| expect(txn.get(&entry.key)?, entry))?;
            }
            let begin = std::mem::replace(&mut now, Instant::now());
            recorder.record_many(begin, now, entries.len() as u64);
        }
        Ok(Done::reading(recorder))
    }

    fn many(&mut self, span: Span<'_>) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let mut now = Instant::now();
        while span.goes_on(now) {
            self.engine.read(&mut |txn| {
                for _ in 0..BLOCK / MANY {
                    let entries = self.take(MANY);
                    let mut asked: [&[u8]; MANY] = [&[]; MANY];
                    for (asked, entry) in asked.iter_mut().zip(entries) {
                        *asked = &entry.key;
                    }
                    let mut answers = 0;
                    txn.get_many(&asked[..entries.len()], &mut |at, value| {
                        answers += 1;
                        expect(value, &entries[at])
                    })?;
                    let begin = std::mem::replace(&mut now, Instant::now());
                    recorder.record_many(begin, now, entries.len() as u64);
                    complete(answers, entries.len())?;
                }
                Ok(())
            })?;
        }
        Ok(Done::reading(recorder))
    }

    fn ranges(&mut self, span: Span<'_>) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let mut now = Instant::now();
        while span.goes_on(now) {
            let entries = self.take(BLOCK);
            self.engine.read(&mut |txn| {
                for entry in entries {
                    if !span.goes_on(now) {
                        break;
                    }
                    let expected = self.keys.range_from(entry, RANGE);
                    right(sum_up(txn, &entry.key, RANGE)?, expected)?;
                    let begin = std::mem::replace(&mut now, Instant::now());
                    recorder.record_many(begin, now, expected.0 as u64);
                }
                Ok(())
            })?;
        }
        Ok(Done::reading(recorder))
    }

    fn scan_all(&mut self, span: Span<'_>) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let (count, mut now) = (self.keys.entries.len(), Instant::now());
        while span.goes_on(now) {
            self.engine.read(&mut |txn| right(sum_up(txn, &[0], usize::MAX)?, (count, self.keys.total())))?;
            let begin = std::mem::replace(&mut now, Instant::now());
            recorder.record_many(begin, now, count as u64);
        }
        Ok(Done::reading(recorder))
    }

    fn begin_end(&mut self, span: Span<'_>) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let mut now = Instant::now();
        while span.goes_on(now) {
            for _ in 0..BLOCK {
                self.engine.begin_and_end_read()?;
            }
            let begin = std::mem::replace(&mut now, Instant::now());
            recorder.record_many(begin, now, BLOCK as u64);
        }
        Ok(Done::reading(recorder))
    }

    fn cold(&mut self, span: Span<'_>, gets_max: usize) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let entries = self.take(gets_max);
        self.engine.read(&mut |txn| {
            let mut rest = entries;
            while !rest.is_empty() && span.goes_on(Instant::now()) {
                let (some, others) = rest.split_at(rest.len().min(16));
                timed_gets(txn, some, &mut recorder)?;
                rest = others;
            }
            Ok(())
        })?;
        Ok(Done::reading(recorder))
    }
}

fn timed_gets(txn: &mut dyn Reader, entries: &[Entry], recorder: &mut Recorder) -> Result<()> {
    let mut now = Instant::now();
    for entry in entries {
        expect(txn.get(&entry.key)?, entry)?;
        let begin = std::mem::replace(&mut now, Instant::now());
        recorder.record(begin, now);
    }
    Ok(())
}

/// How many records a scan gives, and what all their bytes add up to.
fn sum_up(txn: &mut dyn Reader, from: &[u8], limit: usize) -> Result<(usize, u64)> {
    let mut sum = 0_u64;
    let count = txn.scan(from, limit, &mut |_, value| {
        sum = sum.wrapping_add(sum_of(value));
        Ok(())
    })?;
    Ok((count, sum))
}

/// Holds an answer against its record. What it costs stands between two gets and hides how well they overlap, so the
/// usual case is one straight run of instructions.
#[inline]
fn expect(value: Option<&[u8]>, entry: &Entry) -> Result<()> {
    let whole: Option<&[u8; SHAPE.value_size]> = value.and_then(|value| value.try_into().ok());
    if whole.is_some_and(|whole| sum_of(whole) == entry.sum) {
        return Ok(());
    }
    Err(wrong(value))
}

#[cold]
fn wrong(value: Option<&[u8]>) -> Error {
    let words = match value {
        Some(_) => "a key has a value that was never written to it",
        None => "a key that was written is missing",
    };
    Error::WrongAnswer(words.to_owned())
}

fn right(found: (usize, u64), expected: (usize, u64)) -> Result<()> {
    complete(found.0, expected.0)?;
    if found.1 == expected.1 {
        return Ok(());
    }
    Err(Error::WrongAnswer("a scan's values do not add up to what was written".to_owned()))
}

fn complete(answers: usize, expected: usize) -> Result<()> {
    if answers == expected {
        return Ok(());
    }
    Err(Error::WrongAnswer(format!("{answers} answers instead of {expected}")))
}
