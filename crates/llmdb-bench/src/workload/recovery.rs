//! `recovery`: how long a database takes to serve again after its process was killed or the power was cut.
//!
//! Killed: a process commits transactions of a hundred records until so many bytes are in them, and is
//! killed by SIGKILL while it goes on. Power cut: the same on the simulated disk, whose power is cut amid a
//! commit; what a disk might hold then is written into files. Either way the page cache is dropped, and a
//! new process opens the database. Times count from the start of that process: to its first read, and to
//! its first durable commit. Afterwards every record is checked: all acknowledged ones are there, and of the
//! transaction that was under way all or nothing.

use super::child::{ChildArguments, Line, Running, SHAPE, Task, WRITES_PER_TRANSACTION};
use super::load::{self, check_all};
use super::{Bench, Case, Counted, Phase, Plan, Sizes, Workload, named};
use crate::check::{Ledger, fill_key, fill_value};
use crate::disk;
use crate::engine::{Engine, OpenOptions};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use llmdb_pager::sim::{SimDisk, SimOptions};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The simulated disk keeps everything in memory: no larger databases there.
const SIMULATED_BYTES_MAX: u64 = 96 << 20;
/// A simulated file's room for each byte of the records: for what copy on write leaves behind.
const SIMULATED_ROOM: u64 = 4;
/// A simulated file's room for anything else, such as a log that is preallocated.
const SIMULATED_ROOM_MIN: u64 = 128 << 20;
/// Crashes of one plan at most: more in the budget only repeat.
const CRASHES_MAX: u64 = 50;
const FIRST_READ_TARGET_MS: f64 = 1_000.0;

/// The workload.
#[derive(Debug)]
pub(super) struct Recovery;

impl Workload for Recovery {
    fn suite(&self) -> &'static str {
        "system"
    }

    fn name(&self) -> &'static str {
        "recovery"
    }

    fn about(&self) -> &'static str {
        "time to first read and to full service after SIGKILL and after a simulated power cut, cold"
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let mut plans = Vec::new();
        for &database in &sizes.recovery_database_bytes {
            for &log in &sizes.recovery_log_bytes {
                for crash in [Crash::Kill, Crash::PowerCut] {
                    if crash == Crash::Kill || database + log <= SIMULATED_BYTES_MAX {
                        plans.push(plan(database, log, crash));
                    }
                }
            }
        }
        plans
    }
}

/// How the database comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Kill,
    PowerCut,
}

fn plan(database: u64, log: u64, crash: Crash) -> Plan {
    let in_words = match crash {
        Crash::Kill => "SIGKILL, cold cache",
        Crash::PowerCut => "power cut (simulated), cold cache",
    };
    Plan {
        parameters: named([
            ("crash", in_words.to_owned()),
            ("database_kb", (database >> 10).to_string()),
            ("log_kb", (log >> 10).to_string()),
        ]),
        durability: Durability::Sync,
        disk_bytes: (database + log * CRASHES_MAX) * 4 + (256 << 20),
        memory_bytes: match crash {
            Crash::Kill => 256 << 20,
            Crash::PowerCut => 1 << 30,
        },
        phases: vec![Phase::default()],
        make: Box::new(move || {
            let records = SHAPE.records_in(database);
            Box::new(RecoveryCase { crash, log, preload: records, acknowledged: records, rounds: 0 })
        }),
    }
}

struct RecoveryCase {
    crash: Crash,
    /// Bytes of keys and values that are committed before each crash.
    log: u64,
    preload: u64,
    /// Records below this number were acknowledged.
    acknowledged: u64,
    rounds: u64,
}

impl RecoveryCase {
    fn bytes_max(&self) -> u64 {
        (self.preload * SHAPE.record_size() + self.log * CRASHES_MAX) * 2
    }

    fn arguments(&self, bench: &Bench<'_>, task: Task, records: u64) -> ChildArguments {
        ChildArguments {
            task,
            engine: bench.kind.name().to_owned(),
            dir: bench.folder.to_owned(),
            no_log: false,
            records,
            bytes_max: self.bytes_max(),
            milliseconds: 0,
            seed: bench.seed ^ self.rounds,
        }
    }

    /// Lets a process write and kills it while it goes on.
    fn kill(&mut self, bench: &Bench<'_>) -> Result<()> {
        let until = self.acknowledged + SHAPE.records_in(self.log);
        let mut child = Running::start(bench, &self.arguments(bench, Task::Write, self.acknowledged))?;
        while self.acknowledged < until {
            bench.stop.check()?;
            match child.next_line()? {
                Some(Line::Acknowledged(number)) => self.acknowledged = number,
                _ => return Err(Error::Child("ended before it was killed".to_owned())),
            }
        }
        child.kill()?;
        // What the child acknowledged since, nobody read: `settle_count` finds out from the database.
        Ok(())
    }

    /// Cuts the power of a simulated disk and writes what it may hold into files.
    fn cut_power(&mut self, bench: &Bench<'_>) -> Result<()> {
        let records = self.preload * SHAPE.record_size() + self.log;
        let options = SimOptions {
            seed: bench.seed ^ self.rounds,
            file_capacity: (records * SIMULATED_ROOM + SIMULATED_ROOM_MIN) as usize,
            ..SimOptions::default()
        };
        let disk = SimDisk::with_options(options);
        let Some(kind) = bench.kind.on_storage(Arc::new(disk.clone())) else {
            let what = "running on the simulated disk".to_owned();
            return Err(Error::NotOffered { engine: bench.kind.name().to_owned(), what });
        };
        let folder = Path::new("");
        let options = OpenOptions { durability: bench.durability, bytes_max: self.bytes_max() };
        let engine = kind.open(folder, &options)?;
        load::load(bench, &*engine, SHAPE, 0..self.preload)?;
        self.acknowledged = self.preload;
        while self.acknowledged < self.preload + SHAPE.records_in(self.log) {
            bench.stop.check()?;
            put(&*engine, self.acknowledged)?;
            self.acknowledged += WRITES_PER_TRANSACTION;
        }
        disk.cut_power_at(disk.op_count());
        if put(&*engine, self.acknowledged).is_ok() {
            return Err(Error::WrongAnswer("a commit was acknowledged without power".to_owned()));
        }
        drop(engine);
        let image = disk.crash_image(bench.seed.wrapping_add(self.rounds));
        empty(bench.folder)?;
        for path in image.files() {
            let (Some(name), Some(bytes)) = (path.file_name(), image.read_file(&path)) else { continue };
            let target = bench.folder.join(name);
            fs::write(&target, bytes).map_err(|e| Error::io(format!("writing {}", target.display()), e))?;
        }
        Ok(())
    }

    /// Opens the database in a new process with a cold cache, and measures it.
    fn recover(&mut self, bench: &Bench<'_>) -> Result<Measured> {
        disk::evict(bench.folder)?;
        let mut child = Running::start(bench, &self.arguments(bench, Task::Open, self.acknowledged))?;
        let started = child.started;
        let mut recorder = Recorder::new(started);
        let (mut read, mut figures) = (None, Vec::new());
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        while let Some(line) = child.next_line()? {
            let now = Instant::now();
            match line {
                Line::FirstRead { replayed_commits, replayed_bytes } => {
                    recorder.record(started, now);
                    read = Some(now);
                    figures.push(
                        Figure::lower("first_read", milliseconds(now - started), "ms")
                            .target(FIRST_READ_TARGET_MS, "first read within a second"),
                    );
                    figures
                        .extend(replayed_commits.map(|n| Figure::lower("replayed_commits", n as f64, "1")));
                    if let Some(bytes) = replayed_bytes.filter(|&bytes| bytes > 0) {
                        let rate = bytes as f64 / 1e6 / (now - started).as_secs_f64();
                        figures.push(Figure::higher("replay", rate, "MB/s"));
                    }
                }
                Line::FirstCommit => {
                    figures.push(Figure::lower("full_service", milliseconds(now - started), "ms"));
                }
                _ => return Err(Error::Child("said something that nobody asked for".to_owned())),
            }
        }
        if read.is_none() {
            return Err(Error::Child("ended before its first read".to_owned()));
        }
        let mut measured = Measured::new("first_read", recorder, started.elapsed());
        for figure in figures {
            measured.push(figure);
        }
        Ok(measured)
    }

    fn crash_once(&mut self, bench: &Bench<'_>) -> Result<Measured> {
        self.rounds += 1;
        match self.crash {
            Crash::Kill => self.kill(bench)?,
            Crash::PowerCut => self.cut_power(bench)?,
        }
        let measured = self.recover(bench)?;
        self.settle_count(bench)?;
        Ok(measured)
    }

    /// Checks all records; of the transactions that nobody knows to be acknowledged each is there as a
    /// whole, and none without those before it.
    fn settle_count(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        let engine = bench.open(self.bytes_max())?;
        let mut newest = 0;
        let mut count = 0;
        load::walk(&*engine, &mut |_, value| {
            newest = newest.max(crate::check::identity_of(value).map_or(0, |(number, _)| number));
            count += 1;
            Ok(())
        })?;
        let more = count - self.preload.min(count);
        if count < self.acknowledged || newest + 1 != count || more % WRITES_PER_TRANSACTION != 0 {
            let text = format!("{count} records after a crash, {} were acknowledged", self.acknowledged);
            return Err(Error::WrongAnswer(text));
        }
        self.acknowledged = count;
        check_all(&*engine, SHAPE, &Ledger::new(count as usize), count)
    }
}

/// Puts one transaction of records from `first` on.
fn put(engine: &dyn Engine, first: u64) -> Result<()> {
    let (mut key, mut value) = (SHAPE.key(), SHAPE.value());
    engine.write(&mut |txn| {
        for number in first..first + WRITES_PER_TRANSACTION {
            fill_key(&mut key, number, SHAPE.order);
            fill_value(&mut value, number, 0);
            txn.put(&key, &value)?;
        }
        Ok(())
    })
}

/// Removes the files of a folder.
fn empty(folder: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("emptying {}", folder.display()), error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
    }
    Ok(())
}

impl Case for RecoveryCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        match self.crash {
            Crash::Kill => {
                let engine = bench.open(self.bytes_max())?;
                load::load(bench, &*engine, SHAPE, 0..self.preload)
            }
            Crash::PowerCut => Ok(()),
        }
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, budget: Duration) -> Result<Measured> {
        let deadline = Instant::now() + budget;
        let mut all = self.crash_once(bench)?;
        while Instant::now() < deadline && self.rounds < CRASHES_MAX {
            all.join(self.crash_once(bench)?);
        }
        Ok(all)
    }

    fn figures(&self, _bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        let mut figures = measured.sample_figures();
        let first_reads = measured.samples.iter().filter(|sample| sample.figure.name == "first_read");
        let worst =
            first_reads.flat_map(|sample| &sample.values).fold(0.0, |worst: f64, &value| worst.max(value));
        figures.push(
            Figure::lower("first_read_worst", worst, "ms")
                .target(FIRST_READ_TARGET_MS, "first read within a second"),
        );
        figures
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        self.settle_count(bench)
    }
}
