//! A reader that is held while a fixed set of keys is rewritten at full speed: how the files grow.

use super::{DISK_FACTOR, DISK_ROOM, SHAPE};
use crate::check::{LEDGER_ENTRY_SIZE, Ledger, fill_key, fill_value, identity_of};
use crate::disk;
use crate::engine::{Engine, Reader};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Better, Durability, Figure, Series};
use crate::rng::Rng;
use crate::workload::bench::Around;
use crate::workload::load::{self, check_all};
use crate::workload::sizes::SpaceSizes;
use crate::workload::{Bench, Case, Counted, Phase, Plan, named};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Records of one transaction.
const BATCH: u64 = 100;
/// How many budgets the reader is held; before, updates run for one.
const HELD: u32 = 6;
/// How often the files are looked at.
const SAMPLE: Duration = Duration::from_millis(100);
/// Snapshots by which the files may grow while the reader is held.
const SNAPSHOTS_MAX: f64 = 1.0;

/// The plan for one durability.
pub(super) fn plan(sizes: SpaceSizes, durability: Durability) -> Plan {
    let records = sizes.records;
    Plan {
        parameters: named([
            ("records", records.to_string()),
            ("per_transaction", BATCH.to_string()),
            ("reader", "held under updates".to_owned()),
        ]),
        durability,
        // A file that grows for as long as the reader is held is what this looks for.
        disk_bytes: records * SHAPE.record_size() * DISK_FACTOR * 10 + DISK_ROOM,
        one_at_a_time: false,
        memory_bytes: (512 << 20) + records * LEDGER_ENTRY_SIZE * 8,
        phases: vec![Phase { longer: HELD + 1, ..Phase::once([]) }],
        make: Box::new(move || {
            Box::new(HeldCase {
                records,
                ledger: Ledger::new(records as usize),
                engine: None,
                snapshot_bytes: 0,
            })
        }),
    }
}

struct HeldCase {
    records: u64,
    ledger: Ledger,
    engine: Option<Box<dyn Engine>>,
    /// What the files took when nothing but the records was in them.
    snapshot_bytes: u64,
}

/// Sizes of the files over time.
struct Watched {
    points: Vec<(f64, f64)>,
    commits: u64,
    recorder: Recorder,
    elapsed: Duration,
}

impl HeldCase {
    fn bytes(&self) -> u64 {
        self.records * SHAPE.record_size()
    }

    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }

    /// Rewrites random records for some time and watches the files.
    fn update(&self, bench: &Bench<'_>, budget: Duration, rng: &mut Rng) -> Result<Watched> {
        let engine = self.engine()?;
        let started = Instant::now();
        let (mut key, mut value) = (SHAPE.key(), SHAPE.value());
        let mut watched =
            Watched { points: Vec::new(), commits: 0, recorder: Recorder::new(started), elapsed: budget };
        let (mut now, mut next_look) = (started, started);
        while now < started + budget {
            bench.stop.check()?;
            if now >= next_look {
                let megabytes = disk::folder_bytes(bench.folder)? as f64 / 1e6;
                watched.points.push(((now - started).as_secs_f64(), megabytes));
                next_look += SAMPLE;
            }
            let numbers: [u64; BATCH as usize] = std::array::from_fn(|_| rng.below(self.records));
            let begin = Instant::now();
            engine.write(&mut |txn| {
                numbers.iter().try_for_each(|&number| {
                    fill_key(&mut key, number, SHAPE.order);
                    fill_value(&mut value, number, self.ledger.next_version(number));
                    txn.put(&key, &value)
                })
            })?;
            now = Instant::now();
            watched.recorder.record(begin, now);
            watched.commits += 1;
        }
        watched.elapsed = started.elapsed();
        let megabytes = disk::folder_bytes(bench.folder)? as f64 / 1e6;
        watched.points.push((watched.elapsed.as_secs_f64(), megabytes));
        Ok(watched)
    }

    /// The same while a reader is held that began before it, and is asked after it.
    fn update_under_a_reader(&self, bench: &Bench<'_>, budget: Duration, rng: &mut Rng) -> Result<Watched> {
        let engine = self.engine()?;
        // Nobody writes now: this is what the reader must see for as long as it lives.
        let versions: Vec<u64> = (0..self.records).map(|number| self.ledger.newest(number)).collect();
        let (began, has_begun) = channel();
        let (release, released) = channel::<()>();
        thread::scope(|scope| {
            let versions = &versions;
            let reader = scope.spawn(move || {
                engine.read(&mut |txn| {
                    // Who waits for it is there until the scope ends; that nobody sends anything ends the wait.
                    let _ = began.send(());
                    let _ = released.recv();
                    expect(txn, versions)
                })
            });
            let watched = has_begun.recv().ok().map(|()| self.update(bench, budget, rng));
            drop(release);
            let read =
                reader.join().unwrap_or_else(|_| Err(Error::WrongAnswer("the reader panicked".to_owned())));
            read?;
            watched.unwrap_or_else(|| Err(Error::WrongAnswer("the reader never began".to_owned())))
        })
    }
}

/// A reader sees every record at the version that it had when the reader began.
fn expect(txn: &mut dyn Reader, versions: &[u64]) -> Result<()> {
    let count = txn.scan(&[0], usize::MAX, &mut |_, value| {
        let (number, version) = identity_of(value).ok_or_else(|| {
            Error::WrongAnswer("a held reader sees bytes that were never written".to_owned())
        })?;
        match versions.get(number as usize) {
            Some(&right) if right == version => Ok(()),
            right => Err(Error::WrongAnswer(format!(
                "a held reader sees record {number} at version {version} instead of {right:?}"
            ))),
        }
    })?;
    if count == versions.len() {
        return Ok(());
    }
    Err(Error::WrongAnswer(format!("a held reader sees {count} records instead of {}", versions.len())))
}

impl Case for HeldCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let engine = bench.open(self.bytes())?;
        load::load(bench, &*engine, SHAPE, 0..self.records)?;
        // A clean close leaves nothing but the records, where the engine can.
        drop(engine);
        self.snapshot_bytes = disk::folder_bytes(bench.folder)?;
        self.engine = Some(bench.open(self.bytes())?);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, budget: Duration) -> Result<Measured> {
        let around = Around::begin(self.engine()?, bench.folder);
        let mut rng = Rng::new(bench.seed);
        let before = self.update(bench, budget / (HELD + 1), &mut rng)?;
        let held = self.update_under_a_reader(bench, budget / (HELD + 1) * HELD, &mut rng)?;
        let mut measured = Measured::new("commit", held.recorder, held.elapsed);
        measured.commits = before.commits + held.commits;
        around.end(self.engine()?, bench.folder, &mut measured);
        measured.user_bytes = held.commits * BATCH * SHAPE.record_size();
        let largest = |points: &[(f64, f64)]| points.iter().fold(0.0, |most: f64, point| most.max(point.1));
        let (start, end) = (largest(&before.points), largest(&held.points));
        let middle = largest(&held.points[..held.points.len().div_ceil(2)]);
        let snapshot = (self.snapshot_bytes as f64 / 1e6).max(f64::MIN_POSITIVE);
        measured.push(Figure::lower("files_before", start, "MB"));
        measured.push(Figure::lower("files_at_most", end, "MB"));
        measured.push(Figure::lower("growth", (end - start).max(0.0) / snapshot, "snapshots"));
        measured.push(Figure::lower(
            "growth_of_second_half",
            (end - middle).max(0.0) / snapshot,
            "snapshots",
        ));
        measured.push(Figure::higher("commits", held.commits as f64 / held.elapsed.as_secs_f64(), "1/s"));
        measured.series.push(Series {
            name: "bytes on disk while a reader is held".to_owned(),
            unit: "MB".to_owned(),
            better: Better::Lower,
            points: held.points,
        });
        Ok(measured)
    }

    fn figures(&self, _bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        let text = format!(
            "a reader held for {:.0} s makes the files grow by one snapshot's pages at most",
            measured.elapsed.as_secs_f64()
        );
        let target = |figure: Figure| match figure.name.as_str() {
            "growth" => figure.target(SNAPSHOTS_MAX, &text),
            _ => figure,
        };
        measured.sample_figures().into_iter().map(target).collect()
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // From the files, not from memory.
        self.engine = None;
        check_all(&*bench.open(self.bytes())?, SHAPE, &self.ledger, self.records)
    }
}
