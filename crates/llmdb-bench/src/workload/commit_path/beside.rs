//! Reads alone, and the same beside a writer that commits as fast as it can.
//!
//! Both halves of a round follow each other at once, so that drift of the machine meets both alike.

use super::DISK_FACTOR;
use crate::check::{LEDGER_ENTRY_SIZE, Ledger};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::Measured;
use crate::results::{Durability, Figure, Unmeasurable};
use crate::workload::bench::Around;
use crate::workload::concurrency::{Crowd, SHAPE};
use crate::workload::load::{self, check_all};
use crate::workload::sizes::CommitSizes;
use crate::workload::{Bench, Case, Counted, Phase, Plan, named};
use std::time::Duration;

/// What a reader must keep of its pace beside a writer.
const KEPT_MIN: f64 = 0.85;

/// The plan: one reader, with and without a writer.
pub(super) fn plan(sizes: CommitSizes) -> Plan {
    let records = sizes.read_records;
    Plan {
        parameters: named([("records", records.to_string()), ("readers", "1".to_owned())]),
        durability: Durability::Sync,
        disk_bytes: records * SHAPE.record_size() * DISK_FACTOR * 2 + (256 << 20),
        one_at_a_time: false,
        memory_bytes: (256 << 20) + records * LEDGER_ENTRY_SIZE * 8,
        phases: vec![Phase::of([("writers", "0, then 1".to_owned())])],
        make: Box::new(move || {
            Box::new(BesideCase { records, ledger: Ledger::new(records as usize), engine: None, rounds: 0 })
        }),
    }
}

struct BesideCase {
    records: u64,
    ledger: Ledger,
    engine: Option<Box<dyn Engine>>,
    rounds: u64,
}

impl BesideCase {
    fn bytes(&self) -> u64 {
        self.records * SHAPE.record_size()
    }

    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }

    /// One reader, and `writers` beside it.
    fn run(&self, bench: &Bench<'_>, writers: usize, budget: Duration) -> Result<Measured> {
        let engine = self.engine()?;
        let crowd = Crowd::new(engine, &self.ledger, self.records);
        let around = Around::begin(engine, bench.folder);
        let seed = bench.seed ^ (self.rounds << 8);
        let mut measured =
            bench.threads("get", 1 + writers, budget, |thread, span| crowd.work(thread, 1, span, seed))?;
        measured.commits_per_flush = writers.max(1) as u64;
        around.end(engine, bench.folder, &mut measured);
        Ok(measured)
    }
}

impl Case for BesideCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let engine = bench.open(self.bytes())?;
        load::load(bench, &*engine, SHAPE, 0..self.records)?;
        load::walk(&*engine, &mut |_, _| Ok(()))?;
        self.engine = Some(engine);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, budget: Duration) -> Result<Measured> {
        self.rounds += 1;
        let alone = self.run(bench, 0, budget / 2)?;
        let mut beside = self.run(bench, 1, budget / 2)?;
        let (before, after) = (alone.per_second(), beside.per_second());
        let commits = beside.commits as f64 / beside.elapsed.as_secs_f64().max(1e-9);
        beside.push(Figure::higher("gets_alone", before, "1/s"));
        beside.push(Figure::higher("gets", after, "1/s"));
        beside.push(Figure::higher("commits", commits, "1/s"));
        beside.push(Figure::higher("gets_kept", after / before.max(f64::MIN_POSITIVE), "x"));
        Ok(beside)
    }

    fn figures(&self, _bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        let text = format!("a reader keeps at least {KEPT_MIN} of its pace beside a writer at full speed");
        let target = |figure: Figure| match figure.name.as_str() {
            "gets_kept" if has_cores() => figure.target(KEPT_MIN, &text),
            _ => figure,
        };
        let mut figures: Vec<_> = measured.sample_figures().into_iter().map(target).collect();
        figures.extend(measured.latency_figures());
        figures
    }

    fn unmeasurable(&self, _bench: &Bench<'_>, _phase: usize, _measured: &Measured) -> Vec<Unmeasurable> {
        let target = format!("a reader keeps at least {KEPT_MIN} of its pace beside a writer at full speed");
        let why = "two processors are needed, one for each".to_owned();
        Vec::from_iter((!has_cores()).then_some(Unmeasurable { target, why }))
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // From the files, not from memory.
        self.engine = None;
        check_all(&*bench.open(self.bytes())?, SHAPE, &self.ledger, self.records)
    }
}

fn has_cores() -> bool {
    crate::machine::cores() > 1
}
