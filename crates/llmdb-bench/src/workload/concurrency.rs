//! `concurrency`: readers alone, a writer alone, both at once, and writers that wait for each other.
//!
//! Readers get random records, a hundred a snapshot. Writers replace random records, one a transaction, at
//! full speed. The wait for the writer's turn is the time from asking for a write transaction until its body
//! runs.

use super::bench::{Around, Done, Span};
use super::load::{self, Shape, check_all};
use super::{Bench, Case, Counted, Phase, Plan, Sizes, Workload, named};
use crate::check::{KeyOrder, Ledger, fill_key, fill_value};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::rng::Rng;
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const GETS_PER_SNAPSHOT: usize = 100;
pub(super) const SHAPE: Shape = Shape { key_size: 16, value_size: 256, order: KeyOrder::Random };

/// The workload.
#[derive(Debug)]
pub(super) struct Concurrency;

impl Workload for Concurrency {
    fn suite(&self) -> &'static str {
        "system"
    }

    fn name(&self) -> &'static str {
        "concurrency"
    }

    fn about(&self) -> &'static str {
        "readers and writers alone and against each other, and the wait for the writer's turn"
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let (records, readers) = (sizes.system_records, sizes.concurrent_readers);
        [Durability::Sync, Durability::NoLog].map(|durability| plan(records, readers, durability)).into()
    }
}

fn plan(records: u64, readers: usize, durability: Durability) -> Plan {
    // Readers, writers.
    let crowds = vec![(readers, 0), (0, 1), (readers, 1), (0, 4)];
    let phases = crowds
        .iter()
        .map(|(readers, writers)| {
            Phase::of([("readers", readers.to_string()), ("writers", writers.to_string())])
        })
        .collect();
    Plan {
        parameters: named([("records", records.to_string())]),
        durability,
        disk_bytes: records * SHAPE.record_size() * 8 + (256 << 20),
        one_at_a_time: false,
        memory_bytes: 256 << 20,
        phases,
        make: Box::new(move || {
            Box::new(ConcurrencyCase {
                crowds: crowds.clone(),
                records,
                ledger: Ledger::new(records as usize),
                engine: None,
                rounds: 0,
                reads_alone: Cell::new(0.0),
                writes_alone: Cell::new(0.0),
            })
        }),
    }
}

struct ConcurrencyCase {
    crowds: Vec<(usize, usize)>,
    records: u64,
    ledger: Ledger,
    engine: Option<Box<dyn Engine>>,
    rounds: u64,
    reads_alone: Cell<f64>,
    writes_alone: Cell<f64>,
}

impl ConcurrencyCase {
    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }

    fn bytes_max(&self) -> u64 {
        self.records * SHAPE.record_size()
    }
}

impl Case for ConcurrencyCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let engine = bench.open(self.bytes_max())?;
        load::load(bench, &*engine, SHAPE, 0..self.records)?;
        load::walk(&*engine, &mut |_, _| Ok(()))?;
        self.engine = Some(engine);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        self.rounds += 1;
        let (readers, writers) = self.crowds[phase];
        let engine = self.engine()?;
        let crowd = Crowd::new(engine, &self.ledger, self.records);
        let around = Around::begin(engine, bench.folder);
        let seed = bench.seed ^ (self.rounds << 8);
        let operation = if readers > 0 { "get" } else { "commit" };
        let mut measured = bench.threads(operation, readers + writers, budget, |thread, span| {
            crowd.work(thread, readers, span, seed)
        })?;
        measured.commits_per_flush = writers.max(1) as u64;
        around.end(engine, bench.folder, &mut measured);
        if let Some(waits) = crowd.waits.into_inner().unwrap_or_else(PoisonError::into_inner) {
            for (name, quantile) in [("writer_wait_p50", 0.5), ("writer_wait_p99", 0.99)] {
                measured.push(Figure::lower(name, waits.quantile_us(quantile), "us"));
            }
        }
        Ok(measured)
    }

    fn figures(&self, _bench: &Bench<'_>, phase: usize, measured: &Measured) -> Vec<Figure> {
        let (readers, writers) = self.crowds[phase];
        let mut figures = Vec::new();
        let seconds = measured.elapsed.as_secs_f64().max(1e-9);
        if readers > 0 {
            let figure = Figure::higher("gets", measured.operations as f64 / seconds, "1/s");
            if writers == 0 {
                self.reads_alone.set(figure.value);
            }
            figures.push(figure.ratio("readers without a writer", self.reads_alone.get()));
        }
        if writers > 0 {
            let figure = Figure::higher("commits", measured.commits as f64 / seconds, "1/s");
            if (readers, writers) == (0, 1) {
                self.writes_alone.set(figure.value);
            }
            figures.push(figure.ratio("one writer without readers", self.writes_alone.get()));
        }
        figures.extend(measured.latency_figures());
        figures.extend(measured.sample_figures());
        figures
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // From the files, not from memory.
        self.engine = None;
        let engine = bench.open(self.bytes_max())?;
        check_all(&*engine, SHAPE, &self.ledger, self.records)
    }
}

/// Readers and writers of one round.
pub(super) struct Crowd<'a> {
    engine: &'a dyn Engine,
    ledger: &'a Ledger,
    records: u64,
    /// How long writers waited for their turn.
    waits: Mutex<Option<Recorder>>,
}

impl<'a> Crowd<'a> {
    /// On records that `ledger` knows.
    pub(super) fn new(engine: &'a dyn Engine, ledger: &'a Ledger, records: u64) -> Self {
        Self { engine, ledger, records, waits: Mutex::new(None) }
    }

    /// What a thread does: the first `readers` read, the others write. Beside readers only the readers'
    /// latencies are recorded.
    pub(super) fn work(&self, thread: usize, readers: usize, span: Span<'_>, seed: u64) -> Result<Done> {
        let rng = Rng::stream(seed, thread as u64);
        if thread < readers { self.reads(span, rng) } else { self.writes(span, rng, readers == 0) }
    }

    fn reads(&self, span: Span<'_>, mut rng: Rng) -> Result<Done> {
        let mut recorder = Recorder::new(span.started);
        let (mut key, mut now) = (SHAPE.key(), Instant::now());
        while span.goes_on(now) {
            let numbers: [u64; GETS_PER_SNAPSHOT] = std::array::from_fn(|_| rng.below(self.records));
            // What was acknowledged before the snapshot began must be in it.
            let floors = numbers.map(|number| self.ledger.floor(number));
            self.engine.read(&mut |txn| {
                for (&number, &floor) in numbers.iter().zip(&floors) {
                    fill_key(&mut key, number, SHAPE.order);
                    let begin = Instant::now();
                    self.ledger.check(number, floor, txn.get(&key)?)?;
                    now = Instant::now();
                    recorder.record(begin, now);
                }
                Ok(())
            })?;
        }
        Ok(Done::reading(recorder))
    }

    fn writes(&self, span: Span<'_>, mut rng: Rng, records_latency: bool) -> Result<Done> {
        let (mut recorder, mut waits) = (Recorder::new(span.started), Recorder::new(span.started));
        let (mut key, mut value) = (SHAPE.key(), SHAPE.value());
        let (mut now, mut commits) = (Instant::now(), 0);
        while span.goes_on(now) {
            let (number, mut version) = (rng.below(self.records), 0);
            fill_key(&mut key, number, SHAPE.order);
            let begin = Instant::now();
            self.engine.write(&mut |txn| {
                waits.record(begin, Instant::now());
                version = self.ledger.next_version(number);
                fill_value(&mut value, number, version);
                txn.put(&key, &value)
            })?;
            now = Instant::now();
            self.ledger.acknowledge(number, version);
            commits += 1;
            if records_latency {
                recorder.record(begin, now);
            }
        }
        let mut all = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *all {
            Some(all) => all.merge(&waits),
            None => *all = Some(waits),
        }
        Ok(Done { recorder, commits, user_bytes: commits * SHAPE.record_size() })
    }
}
