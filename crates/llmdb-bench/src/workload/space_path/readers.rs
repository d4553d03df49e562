//! Commits of one thread while no reader is open, and while thousands are.
//!
//! Both halves of a round follow each other at once, another one first each time.

use super::{DISK_FACTOR, DISK_ROOM, SHAPE};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::Measured;
use crate::results::{Durability, Figure};
use crate::workload::bench::Around;
use crate::workload::load;
use crate::workload::sizes::SpaceSizes;
use crate::workload::writing::Writing;
use crate::workload::{Bench, Case, Counted, Phase, Plan, named};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// How many times as long a commit may take beside the readers: no more than two halves without any differ.
const COST_MAX: f64 = 1.05;
/// Stack for each reader that a thread holds.
const STACK_PER_READER: usize = 16 << 10;
/// New records that are committed, at most.
const RECORDS_MAX: u64 = 2_000_000;

/// The plan for one durability.
pub(super) fn plan(sizes: SpaceSizes, durability: Durability) -> Plan {
    let records_max = RECORDS_MAX.min(sizes.records * 10);
    Plan {
        parameters: named([
            ("records", sizes.records.to_string()),
            ("open_readers", format!("0 and {}", sizes.readers)),
        ]),
        durability,
        disk_bytes: records_max * SHAPE.record_size() * DISK_FACTOR + DISK_ROOM,
        one_at_a_time: false,
        memory_bytes: 1 << 30,
        phases: vec![Phase::default()],
        make: Box::new(move || {
            let writing = Writing::new(SHAPE, sizes.records, records_max);
            Box::new(ReadersCase {
                sizes,
                writing,
                bytes_max: records_max * SHAPE.record_size(),
                engine: None,
                rounds: 0,
            })
        }),
    }
}

struct ReadersCase {
    sizes: SpaceSizes,
    writing: Writing,
    bytes_max: u64,
    engine: Option<Box<dyn Engine>>,
    rounds: u64,
}

impl ReadersCase {
    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }

    fn commits(&self, bench: &Bench<'_>, budget: Duration) -> Result<Measured> {
        let engine = self.engine()?;
        let around = Around::begin(engine, bench.folder);
        let mut measured =
            bench.threads("commit", 1, budget, |_, span| self.writing.commit(engine, (0, 1), 1, span))?;
        around.end(engine, bench.folder, &mut measured);
        Ok(measured)
    }

    fn commits_beside(&self, bench: &Bench<'_>, budget: Duration) -> Result<Measured> {
        beside_readers(self.engine()?, self.sizes.readers, || self.commits(bench, budget))
    }
}

impl Case for ReadersCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let engine = bench.open(self.bytes_max)?;
        load::load(bench, &*engine, SHAPE, 0..self.sizes.records)?;
        self.engine = Some(engine);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, budget: Duration) -> Result<Measured> {
        self.rounds += 1;
        let half = budget / 2;
        let (alone, mut beside) = if self.rounds.is_multiple_of(2) {
            let beside = self.commits_beside(bench, half)?;
            (self.commits(bench, half)?, beside)
        } else {
            (self.commits(bench, half)?, self.commits_beside(bench, half)?)
        };
        let (before, after) = (alone.quantile_us(0.5), beside.quantile_us(0.5));
        beside.push(Figure::lower("commit_p50_alone", before, "us"));
        beside.push(Figure::lower("commit_p50_beside_readers", after, "us"));
        beside.push(Figure::lower("cost_of_readers", after / before.max(f64::MIN_POSITIVE), "x"));
        Ok(beside)
    }

    fn figures(&self, _bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        let text = format!(
            "{} open readers cost a writer nothing measurable: at most {COST_MAX} times the median commit",
            self.sizes.readers
        );
        let target = |figure: Figure| match figure.name.as_str() {
            "cost_of_readers" => figure.target(COST_MAX, &text),
            _ => figure,
        };
        measured.sample_figures().into_iter().map(target).collect()
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // From the files, not from memory.
        self.engine = None;
        self.writing.check(&*bench.open(self.bytes_max)?)
    }
}

/// Does something while so many readers are open.
fn beside_readers<T>(engine: &dyn Engine, readers: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (opened, is_open) = channel();
    let (release, released) = channel();
    thread::scope(|scope| {
        let holder = thread::Builder::new().stack_size((readers + 64) * STACK_PER_READER);
        let holding = holder
            .spawn_scoped(scope, move || hold(engine, readers, &mut || wait(&opened, &released)))
            .map_err(|error| Error::io("starting a thread that holds readers", error))?;
        // If the engine refuses, nobody says that the readers are open.
        let done = is_open.recv().ok().map(|()| work());
        drop(release);
        let held =
            holding.join().unwrap_or_else(|_| Err(Error::WrongAnswer("opening readers panicked".to_owned())));
        held?;
        done.unwrap_or_else(|| Err(Error::WrongAnswer("the readers were never open".to_owned())))
    })
}

/// Opens reader after reader, each inside the one before, and then calls `inside`.
fn hold(engine: &dyn Engine, readers: usize, inside: &mut dyn FnMut()) -> Result<()> {
    if readers == 0 {
        inside();
        return Ok(());
    }
    engine.read(&mut |_| hold(engine, readers - 1, inside))
}

/// Says that all are open, and waits until they may go.
fn wait(opened: &Sender<()>, released: &Receiver<()>) {
    // Who waits for it is there until the scope ends; that nobody sends anything is what ends the wait.
    let _ = opened.send(());
    let _ = released.recv();
}
