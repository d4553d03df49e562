//! Single records committed into a database that holds some: by crowds of threads, without flushes, and for
//! long enough that checkpoints fall into it.

use super::{DISK_FACTOR, SHAPE};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::Measured;
use crate::results::{Durability, Figure, Unmeasurable};
use crate::workload::bar::{Bar, Of};
use crate::workload::bench::Around;
use crate::workload::load;
use crate::workload::sizes::CommitSizes;
use crate::workload::writing::{THREADS_MAX, Writing};
use crate::workload::{Bench, Case, Counted, Phase, Plan, named};
use std::time::Duration;

/// Threads that commit, and what their commits a second must reach.
fn crowd_bars() -> [(usize, Vec<Bar>); 4] {
    let of_32 = Bar::new("commits", 1.0, Of::Own).in_phase(2, "commits of 32 threads");
    [
        (1, Vec::new()),
        (8, vec![Bar::new("commits", 1.5, Of::Best)]),
        (32, vec![Bar::new("commits", 1.8, Of::Best)]),
        (THREADS_MAX, vec![of_32]),
    ]
}

/// How many times its median the slowest of 1,000 commits may take.
const TAIL_MAX: f64 = 10.0;
/// How many times the storage's own overwrite and flush a commit may take.
const OVERWRITES_MAX: f64 = 1.15;
/// Flushes of a commit: one, and now and then those of a checkpoint.
const FLUSHES_MAX: f64 = 1.01;
/// How many budgets the long run takes.
const LONG: u32 = 6;

/// Durable commits by 1 to 64 threads.
pub(super) fn crowds(sizes: CommitSizes) -> Plan {
    let phases = crowd_bars().map(|(threads, bars)| {
        let phase = Phase::of([("threads", threads.to_string())]);
        (Kind::Crowd { threads }, Phase { bars, ..phase })
    });
    plan(sizes, Durability::Sync, phases.into())
}

/// Commits of one thread in another durability.
pub(super) fn alone(sizes: CommitSizes, durability: Durability) -> Plan {
    let phase = Phase::of([("threads", "1".to_owned())]);
    let bars = vec![Bar::new("commits", 2.0, Of::Engine("lmdb"))];
    plan(sizes, durability, vec![(Kind::Crowd { threads: 1 }, Phase { bars, ..phase })])
}

/// Durable commits of one thread for long enough that checkpoints fall into it.
pub(super) fn long(sizes: CommitSizes) -> Plan {
    let phase = Phase::once([("threads", "1".to_owned()), ("run", "long, with checkpoints".to_owned())]);
    plan(sizes, Durability::Sync, vec![(Kind::Long, Phase { longer: LONG, ..phase })])
}

fn plan(sizes: CommitSizes, durability: Durability, phases: Vec<(Kind, Phase)>) -> Plan {
    let (kinds, phases): (Vec<_>, Vec<_>) = phases.into_iter().unzip();
    Plan {
        parameters: named([
            ("key", SHAPE.key_size.to_string()),
            ("value", SHAPE.value_size.to_string()),
            ("order", "random".to_owned()),
            ("per_transaction", "1".to_owned()),
            ("preload", sizes.preload.to_string()),
        ]),
        durability,
        disk_bytes: sizes.records_max * SHAPE.record_size() * DISK_FACTOR,
        one_at_a_time: false,
        memory_bytes: 1 << 30,
        phases,
        make: Box::new(move || {
            let writing = Writing::new(SHAPE, sizes.preload, sizes.records_max);
            Box::new(CommitCase { kinds: kinds.clone(), sizes, writing, engine: None })
        }),
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Crowd { threads: usize },
    Long,
}

impl Kind {
    fn threads(self) -> usize {
        if let Self::Crowd { threads } = self { threads } else { 1 }
    }
}

struct CommitCase {
    kinds: Vec<Kind>,
    sizes: CommitSizes,
    writing: Writing,
    engine: Option<Box<dyn Engine>>,
}

impl CommitCase {
    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }

    fn bytes_max(&self) -> u64 {
        self.sizes.records_max * SHAPE.record_size()
    }
}

impl Case for CommitCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let engine = bench.open(self.bytes_max())?;
        load::load(bench, &*engine, SHAPE, 0..self.sizes.preload)?;
        self.engine = Some(engine);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        let (engine, threads) = (self.engine()?, self.kinds[phase].threads());
        let (around, before) = (Around::begin(engine, bench.folder), engine.checkpoint_number());
        let mut measured = bench.threads("commit", threads, budget, |thread, span| {
            self.writing.commit(engine, (thread, threads), 1, span)
        })?;
        around.end(engine, bench.folder, &mut measured);
        measured.push(Figure::higher("commits", measured.per_second(), "1/s"));
        if let Some((before, after)) = before.zip(engine.checkpoint_number()) {
            measured.push(Figure::lower("checkpoints", after.saturating_sub(before) as f64, "1"));
        }
        Ok(measured)
    }

    fn figures(&self, bench: &Bench<'_>, phase: usize, measured: &Measured) -> Vec<Figure> {
        let mut figures = measured.sample_figures();
        figures.extend(measured.latency_figures());
        match self.kinds[phase] {
            Kind::Long => {
                let times = measured.quantile_us(0.999) / measured.quantile_us(0.5).max(f64::MIN_POSITIVE);
                let text = format!("the slowest of 1,000 commits at most {TAIL_MAX} times the median");
                figures.push(Figure::lower("commit_p999_to_p50", times, "x").target(TAIL_MAX, &text));
            }
            Kind::Crowd { threads: 1 } if bench.durability.is_durable() => {
                figures.extend(to_storage(bench, measured));
                figures.extend(flushes(measured));
            }
            Kind::Crowd { .. } => {
                figures.extend(flushes(measured).map(|figure| Figure { target: None, ..figure }))
            }
        }
        figures
    }

    fn unmeasurable(&self, bench: &Bench<'_>, phase: usize, measured: &Measured) -> Vec<Unmeasurable> {
        let mut why_not = Vec::new();
        let mut say = |target: &str, why: &str| {
            why_not.push(Unmeasurable { target: target.to_owned(), why: why.to_owned() });
        };
        match self.kinds[phase] {
            Kind::Long => {
                let checkpoints = measured.samples.iter().find(|sample| sample.figure.name == "checkpoints");
                if checkpoints.is_some_and(|sample| sample.values.iter().all(|&count| count < 1.0)) {
                    say(
                        "the longest waits beside checkpoints",
                        "none fell into the run: give it more seconds",
                    );
                }
            }
            Kind::Crowd { threads: 1 } if bench.durability.is_durable() && bench.probe.is_none() => {
                say("a commit at most 1.15 times the storage's own", "the storage was not probed");
            }
            Kind::Crowd { .. } => {}
        }
        why_not
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // From the files, not from memory.
        self.engine = None;
        self.writing.check(&*bench.open(self.bytes_max())?)
    }
}

/// The median commit beside the storage's own overwrite and flush.
fn to_storage(bench: &Bench<'_>, measured: &Measured) -> Option<Figure> {
    let overwrite = bench.probe?.overwrite_sync_us_p50;
    let text = format!(
        "a commit at most {OVERWRITES_MAX} times a 4 KiB overwrite and flush of the storage, {overwrite:.0} us here"
    );
    let times = measured.quantile_us(0.5) / overwrite.max(f64::MIN_POSITIVE);
    Some(Figure::lower("commit_p50_to_storage", times, "x").target(OVERWRITES_MAX, &text))
}

/// Flushes of a commit: as ours asks for them, for others by the device, which counts everybody's.
fn flushes(measured: &Measured) -> Option<Figure> {
    let each = measured.flushes? as f64 / measured.commits.max(1) as f64;
    let text = "one flush a commit, and now and then those of a checkpoint";
    Some(Figure::lower("flushes_per_commit", each, "1").target(FLUSHES_MAX, text))
}
