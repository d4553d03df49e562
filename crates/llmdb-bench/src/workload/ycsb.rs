//! `ycsb_a` to `ycsb_f`: YCSB's core workloads, in a closed loop or at a given rate.
//!
//! A record is one value of ten fields of 100 bytes under the key that YCSB gives it. Each operation is a
//! transaction. An update reads the record and writes it back with one field changed, in one write
//! transaction, as YCSB's bindings of key-value engines do; a read-modify-write reads it in a transaction of
//! its own before. In the open loop each operation has an intended start, and its latency counts from there:
//! waiting behind a slow one is part of it (no coordinated omission).
//!
//! Invariants
//! 1. A read returns no version older than the newest that was acknowledged before it began.

use super::bar::{Bar, Of};
use super::bench::{Around, Done, Span};
use super::{Bench, Case, Counted, Phase, Plan, Sizes, Workload, load, named};
use crate::check::{LEDGER_ENTRY_SIZE, Ledger, fill_value, identity_of, version_of};
use crate::engine::{Engine, Writer};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::rng::Rng;
use crate::ycsb::core::{Chooser, FIELD_COUNT, FIELD_SIZE, Kind, MIXES, Mix, Operation};
use crate::ycsb::generators::key_name;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const RECORD_SIZE: usize = FIELD_COUNT * FIELD_SIZE;
const KEY_SIZE_MAX: usize = 24;
/// Records of one loading transaction.
const LOAD_BATCH: u64 = 5_000;
/// What an engine may need beside the records themselves.
const DISK_FACTOR: u64 = 5;

/// All six workloads.
pub(super) fn workloads() -> Vec<Box<dyn Workload>> {
    MIXES.into_iter().map(|mix| Box::new(Ycsb(mix)) as Box<dyn Workload>).collect()
}

struct Ycsb(Mix);

impl Workload for Ycsb {
    fn suite(&self) -> &'static str {
        "ycsb"
    }

    fn name(&self) -> &'static str {
        ["ycsb_a", "ycsb_b", "ycsb_c", "ycsb_d", "ycsb_e", "ycsb_f"][self.place()]
    }

    fn about(&self) -> &'static str {
        [
            "update heavy: half reads, half updates, zipfian",
            "read mostly: 95 % reads, 5 % updates, zipfian",
            "read only, zipfian",
            "read latest: 95 % reads of mostly new records, 5 % inserts",
            "short ranges: 95 % scans of 1 to 100, 5 % inserts, zipfian",
            "read-modify-write: half reads, half read-modify-writes, zipfian",
        ][self.place()]
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let writes = self.0.share(Kind::Read) + self.0.share(Kind::Scan) < 1.0;
        let durabilities = if writes { sizes.ycsb_durabilities.clone() } else { vec![Durability::ReadOnly] };
        let mut plans = Vec::new();
        for durability in durabilities {
            for &threads in &sizes.ycsb_threads {
                plans.push(plan(self.0, sizes, durability, threads));
            }
        }
        plans
    }
}

impl Ycsb {
    fn place(&self) -> usize {
        (self.0.letter as u8 - b'a') as usize
    }
}

fn plan(mix: Mix, sizes: &Sizes, durability: Durability, threads: usize) -> Plan {
    let (records, operations, rate) = (sizes.ycsb_records, sizes.ycsb_operations, sizes.ycsb_rate);
    let keyspace = mix.keyspace(records, operations);
    let looped = rate.map_or("closed".to_owned(), |rate| format!("open, {rate:.0}/s"));
    let setting = Setting { mix, records, operations, threads, rate };
    Plan {
        parameters: named([
            ("records", records.to_string()),
            ("operations_max", operations.to_string()),
            ("threads", threads.to_string()),
            ("loop", looped),
        ]),
        durability,
        disk_bytes: keyspace * (RECORD_SIZE + KEY_SIZE_MAX) as u64 * DISK_FACTOR,
        one_at_a_time: false,
        memory_bytes: (256 << 20) + (records + operations) * LEDGER_ENTRY_SIZE,
        phases: vec![Phase { bars: bars(mix, durability), ..Phase::default() }],
        make: Box::new(move || Box::new(YcsbCase::new(setting))),
    }
}

/// What ours must reach: the best peer's pace, and with scans more than LMDB's. Without a log there are no
/// peers.
fn bars(mix: Mix, durability: Durability) -> Vec<Bar> {
    match (mix.letter, durability) {
        (_, Durability::NoLog) => Vec::new(),
        ('e', _) => vec![Bar::new("throughput", 1.2, Of::Engine("lmdb"))],
        _ => vec![Bar::new("throughput", 1.0, Of::Best)],
    }
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    mix: Mix,
    records: u64,
    operations: u64,
    threads: usize,
    /// Operations per second of all threads.
    rate: Option<f64>,
}

struct YcsbCase {
    setting: Setting,
    ledger: Ledger,
    /// The next number of an insert; taken inside a write transaction, so numbers rise as commits do.
    next_insert: AtomicU64,
    /// The newest acknowledged number.
    newest: AtomicU64,
    /// Operations begun.
    begun: AtomicU64,
    rounds: u64,
    engine: Option<Box<dyn Engine>>,
}

impl YcsbCase {
    fn new(setting: Setting) -> Self {
        let capacity = setting.records + setting.operations + 1;
        Self {
            setting,
            ledger: Ledger::new(capacity as usize),
            next_insert: AtomicU64::new(setting.records),
            newest: AtomicU64::new(setting.records - 1),
            begun: AtomicU64::new(0),
            rounds: 0,
            engine: None,
        }
    }

    fn bytes_max(&self) -> u64 {
        self.ledger.capacity() as u64 * (RECORD_SIZE + KEY_SIZE_MAX) as u64
    }

    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }
}

impl Case for YcsbCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let loading =
            if bench.durability == Durability::ReadOnly { bench.loading()? } else { bench.durability };
        let engine = bench.open_as(loading, self.bytes_max())?;
        let mut next = 0;
        while next < self.setting.records {
            bench.stop.check()?;
            let end = self.setting.records.min(next + LOAD_BATCH);
            engine.write(&mut |txn| {
                let mut record = vec![0; RECORD_SIZE];
                (next..end).try_for_each(|number| {
                    fill_record(&mut record, number, 0);
                    txn.put(key_name(number).as_bytes(), &record)
                })
            })?;
            next = end;
        }
        engine.settle()?;
        drop(engine);
        let engine = bench.open(self.bytes_max())?;
        load::walk(&*engine, &mut |_, _| Ok(()))?;
        self.engine = Some(engine);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, budget: Duration) -> Result<Measured> {
        self.rounds += 1;
        let engine = self.engine()?;
        let around = Around::begin(engine, bench.folder);
        let kinds = Mutex::new(BTreeMap::new());
        let mut measured = bench.threads("operation", self.setting.threads, budget, |thread, span| {
            let rng = Rng::stream(bench.seed ^ (self.rounds << 8), thread as u64);
            Client::new(self, engine, rng).run(span, thread, &kinds)
        })?;
        around.end(engine, bench.folder, &mut measured);
        // A round after the last operation has no pace.
        if measured.operations > 0 {
            measured.push(Figure::higher("throughput", measured.per_second(), "1/s"));
        }
        let kinds = kinds.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (kind, recorder) in &kinds {
            for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
                measured.push(Figure::lower(&format!("{kind}_{name}"), recorder.quantile_us(quantile), "us"));
            }
        }
        Ok(measured)
    }

    fn figures(&self, _bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        let mut figures = measured.sample_figures();
        figures.extend(measured.latency_figures());
        figures
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // From the files, not from memory.
        self.engine = None;
        let engine = bench.open(self.bytes_max())?;
        let found = load::walk(&*engine, &mut |key, record| {
            let number =
                record.get(..FIELD_SIZE).and_then(identity_of).map_or(u64::MAX, |(id, _)| id / ID_STRIDE);
            if number >= self.ledger.capacity() as u64 || key != key_name(number).as_bytes() {
                return Err(Error::WrongAnswer("a record lies under another's key".to_owned()));
            }
            check_record(&self.ledger, number, self.ledger.newest(number), Some(record))
        })?;
        Ok(Counted { expected: self.newest.load(Ordering::Acquire) + 1, found })
    }
}

/// Fields are values of their own: of the record's number and the field's place.
const ID_STRIDE: u64 = 16;

fn fill_field(record: &mut [u8], number: u64, field: usize, version: u64) {
    let bytes = &mut record[field * FIELD_SIZE..(field + 1) * FIELD_SIZE];
    fill_value(bytes, number * ID_STRIDE + field as u64, version);
}

fn fill_record(record: &mut [u8], number: u64, version: u64) {
    for field in 0..FIELD_COUNT {
        fill_field(record, number, field, version);
    }
}

/// Checks every field of a record that is read after `floor` was acknowledged.
fn check_record(ledger: &Ledger, number: u64, floor: u64, record: Option<&[u8]>) -> Result<()> {
    let wrong = |what: String| Err(Error::WrongAnswer(format!("record {number} {what}")));
    let Some(record) = record else { return wrong("is missing".to_owned()) };
    if record.len() != RECORD_SIZE {
        return wrong(format!("has {} bytes", record.len()));
    }
    let mut newest = 0;
    for (field, bytes) in record.chunks(FIELD_SIZE).enumerate() {
        let Some(version) = version_of(bytes, number * ID_STRIDE + field as u64) else {
            return wrong(format!("has bytes in field {field} that were never written"));
        };
        newest = newest.max(version);
    }
    if newest < floor || newest > ledger.newest(number) {
        return wrong(format!("is at version {newest}, but {floor} was acknowledged before"));
    }
    Ok(())
}

/// One thread of a run.
struct Client<'a> {
    case: &'a YcsbCase,
    engine: &'a dyn Engine,
    chooser: Chooser,
    commits: u64,
    user_bytes: u64,
    record: Vec<u8>,
}

impl<'a> Client<'a> {
    fn new(case: &'a YcsbCase, engine: &'a dyn Engine, rng: Rng) -> Self {
        let setting = case.setting;
        let chooser = Chooser::new(setting.mix, setting.records, setting.operations, rng);
        Self { case, engine, chooser, commits: 0, user_bytes: 0, record: Vec::new() }
    }

    fn run(
        mut self,
        span: Span<'_>,
        thread: usize,
        kinds: &Mutex<BTreeMap<&'static str, Recorder>>,
    ) -> Result<Done> {
        let setting = self.case.setting;
        let mut recorder = Recorder::new(span.started);
        let mut mine: BTreeMap<&'static str, Recorder> = BTreeMap::new();
        let mut arrivals =
            setting.rate.map(|rate| Arrivals::new(span.started, rate, setting.threads, thread));
        let mut now = Instant::now();
        while span.goes_on(now) && self.case.begun.fetch_add(1, Ordering::Relaxed) < setting.operations {
            let intended = match &mut arrivals {
                None => None,
                Some(arrivals) => match arrivals.wait(span) {
                    Some(intended) => Some(intended),
                    None => break,
                },
            };
            // An insert's number is given inside its transaction.
            let operation = self.chooser.next(self.case.newest.load(Ordering::Acquire), || 0);
            let begin = intended.unwrap_or_else(Instant::now);
            self.perform(operation)?;
            now = Instant::now();
            recorder.record(begin, now);
            mine.entry(operation.kind.name())
                .or_insert_with(|| Recorder::new(span.started))
                .record(begin, now);
        }
        let mut all = kinds.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, recorder) in mine {
            all.entry(kind).or_insert_with(|| Recorder::new(span.started)).merge(&recorder);
        }
        Ok(Done { recorder, commits: self.commits, user_bytes: self.user_bytes })
    }

    fn perform(&mut self, operation: Operation) -> Result<()> {
        match operation.kind {
            Kind::Read => self.read(operation.number),
            Kind::Update => self.update(operation.number),
            Kind::Insert => self.insert(),
            Kind::Scan => self.scan(operation.number, operation.length as usize),
            Kind::ReadModifyWrite => {
                self.read(operation.number)?;
                self.update(operation.number)
            }
        }
    }

    fn read(&self, number: u64) -> Result<()> {
        let ledger = &self.case.ledger;
        let (key, floor) = (key_name(number), ledger.floor(number));
        self.engine.read(&mut |txn| check_record(ledger, number, floor, txn.get(key.as_bytes())?))
    }

    fn update(&mut self, number: u64) -> Result<()> {
        let (ledger, key, field) = (&self.case.ledger, key_name(number), self.chooser.field());
        let (record, mut version) = (&mut self.record, 0);
        self.engine.write(&mut |txn: &mut dyn Writer| {
            record.clear();
            let found = txn.get(key.as_bytes(), record)?;
            // Nobody else writes now: the record is at its newest version.
            check_record(ledger, number, ledger.newest(number), found.then_some(record))?;
            version = ledger.next_version(number);
            fill_field(record, number, field, version);
            txn.put(key.as_bytes(), record)
        })?;
        ledger.acknowledge(number, version);
        self.wrote(FIELD_SIZE);
        Ok(())
    }

    fn insert(&mut self) -> Result<()> {
        let (case, record, mut number) = (self.case, &mut self.record, 0);
        self.engine.write(&mut |txn| {
            number = case.next_insert.fetch_add(1, Ordering::AcqRel);
            record.resize(RECORD_SIZE, 0);
            fill_record(record, number, 0);
            txn.put(key_name(number).as_bytes(), record)
        })?;
        case.newest.fetch_max(number, Ordering::AcqRel);
        self.wrote(RECORD_SIZE);
        Ok(())
    }

    fn wrote(&mut self, bytes: usize) {
        self.commits += 1;
        self.user_bytes += bytes as u64;
    }

    fn scan(&self, number: u64, length: usize) -> Result<()> {
        let key = key_name(number);
        self.engine.read(&mut |txn| {
            let mut first = true;
            let count = txn.scan(key.as_bytes(), length, &mut |found, record| {
                if std::mem::take(&mut first) && found != key.as_bytes() {
                    return Err(Error::WrongAnswer(format!(
                        "a scan from record {number} on did not begin there"
                    )));
                }
                let owner =
                    record.get(..FIELD_SIZE).and_then(identity_of).map_or(u64::MAX, |(id, _)| id / ID_STRIDE);
                match owner < self.case.ledger.capacity() as u64 {
                    true => check_record(&self.case.ledger, owner, 0, Some(record)),
                    false => {
                        Err(Error::WrongAnswer("a scan gave a record that was never written".to_owned()))
                    }
                }
            })?;
            if first || count > length {
                return Err(Error::WrongAnswer(format!(
                    "a scan of {length} from record {number} on gave {count}"
                )));
            }
            Ok(())
        })
    }
}

/// When the operations of one thread are meant to begin, at a steady rate.
struct Arrivals {
    next: Instant,
    every: Duration,
}

impl Arrivals {
    fn new(started: Instant, rate: f64, threads: usize, thread: usize) -> Self {
        let every = Duration::from_secs_f64(threads as f64 / rate);
        Self { next: started + every.mul_f64(thread as f64 / threads as f64), every }
    }

    /// Waits for the next one, if it is not over already; `None` when the round ends before.
    fn wait(&mut self, span: Span<'_>) -> Option<Instant> {
        let intended = self.next;
        if intended >= span.deadline {
            return None;
        }
        std::thread::sleep(intended.saturating_duration_since(Instant::now()));
        self.next += self.every;
        Some(intended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_tell_their_version_and_damage() {
        let ledger = Ledger::new(10);
        let mut record = vec![0; RECORD_SIZE];
        fill_record(&mut record, 3, 0);
        check_record(&ledger, 3, 0, Some(&record)).unwrap();
        let version = ledger.next_version(3);
        assert!(check_record(&ledger, 3, version, Some(&record)).is_err(), "stale");
        fill_field(&mut record, 3, 7, version);
        check_record(&ledger, 3, version, Some(&record)).unwrap();
        record[250] ^= 1;
        assert!(check_record(&ledger, 3, version, Some(&record)).is_err(), "damaged");
        assert!(check_record(&ledger, 3, 0, None).is_err(), "missing");
    }

    #[test]
    fn arrivals_keep_their_rate_however_late_the_operations_are() {
        let started = Instant::now();
        let stop = super::super::Stop::default();
        let mut arrivals = Arrivals::new(started, 1_000.0, 2, 1);
        std::thread::sleep(Duration::from_millis(30));
        let span = Span::new(started, Duration::from_millis(20), &stop);
        let intended: Vec<Duration> =
            std::iter::from_fn(|| arrivals.wait(span)).map(|at| at.duration_since(started)).collect();
        assert_eq!(intended.len(), 10, "every 2 ms in 20 ms, though all are late");
        assert_eq!(intended[0], Duration::from_millis(1));
        assert_eq!(intended[9], Duration::from_millis(19));
    }
}
