//! `recovery`: how long a database takes to serve again after its process was killed or the power was cut.
//!
//! Killed: a process commits transactions of a hundred records until so many bytes are in them, and is
//! killed by SIGKILL while it goes on. Power cut: the same in this process over files whose power is cut amid
//! a commit (`engine::power`). Either way the page cache is dropped, and a new process opens the database.
//! Times count from the start of that process: to its first read, and to its first durable commit. Afterwards
//! the records are checked: all acknowledged ones are there, and of the transaction that was under way all or
//! nothing. Of a large database only those since the crash before are read each time, and all at the end.

use super::child::{ChildArguments, Line, Running, SHAPE, Task, WRITES_PER_TRANSACTION};
use super::load::{self, check_new};
use super::{Bench, Case, Counted, Phase, Plan, Sizes, Workload, named};
use crate::check::{fill_key, fill_value, version_of};
use crate::disk;
use crate::engine::power;
use crate::engine::{Engine, OpenOptions, Replayed};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::rng::Rng;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Crashes of one plan at most, unless so many are asked for: more in the budget only repeat.
const CRASHES_MAX: u64 = 50;
/// Larger databases are read as a whole only once, at the end.
const WHOLE_BYTES_MAX: u64 = 512 << 20;
/// Writes and flushes before the power goes, at most: a commit or a few.
const CUT_WITHIN: u64 = 12;
/// Transactions after which the power must have gone.
const CUT_TRANSACTIONS: u64 = 64;
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
                    plans.push(plan(database, log, crash, sizes.recovery_crashes));
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

fn plan(database: u64, log: u64, crash: Crash, crashes: Option<u64>) -> Plan {
    let in_words = match crash {
        Crash::Kill => "SIGKILL, cold cache",
        Crash::PowerCut => "power cut (simulated on files), cold cache",
    };
    Plan {
        parameters: named([
            ("crash", in_words.to_owned()),
            ("database_kb", (database >> 10).to_string()),
            ("log_kb", (log >> 10).to_string()),
        ]),
        durability: Durability::Sync,
        disk_bytes: (database + log * crashes.unwrap_or(CRASHES_MAX)) * 3 + (256 << 20),
        one_at_a_time: false,
        memory_bytes: 512 << 20,
        phases: vec![Phase { once: crashes.is_some(), ..Phase::default() }],
        make: Box::new(move || {
            let records = SHAPE.records_in(database);
            Box::new(RecoveryCase {
                crash,
                crashes,
                log,
                preload: records,
                acknowledged: records,
                settled: records,
                rounds: 0,
            })
        }),
    }
}

struct RecoveryCase {
    crash: Crash,
    /// How many there are to be, whatever the time; `None` = as many as there is time for.
    crashes: Option<u64>,
    /// Bytes of keys and values that are committed before each crash, at most.
    log: u64,
    preload: u64,
    /// Records below this number were acknowledged.
    acknowledged: u64,
    /// Records below this number were found after a crash.
    settled: u64,
    rounds: u64,
}

impl RecoveryCase {
    fn bytes_max(&self) -> u64 {
        (self.preload * SHAPE.record_size() + self.log * self.crashes.unwrap_or(CRASHES_MAX)) * 2
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

    /// The number that is reached before this round's crash: where it falls in the log is left to chance.
    fn until(&self, bench: &Bench<'_>) -> u64 {
        let chance = Rng::stream(bench.seed, self.rounds).below(self.log / 4 + 1);
        self.acknowledged + SHAPE.records_in(self.log - chance)
    }

    /// Lets a process write and kills it while it goes on.
    fn kill(&mut self, bench: &Bench<'_>) -> Result<()> {
        let until = self.until(bench);
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

    /// Cuts the power amid a commit and leaves in the files what a disk may hold then.
    fn cut_power(&mut self, bench: &Bench<'_>) -> Result<()> {
        let disk = power::on_disk();
        let power = disk.layer().clone();
        let kind = bench.kind.on_storage(Arc::new(disk)).ok_or_else(|| no_power(bench))?;
        let options = OpenOptions { durability: bench.durability, bytes_max: self.bytes_max() };
        let engine = kind.open(bench.folder, &options)?;
        let until = self.until(bench);
        while self.acknowledged < until {
            bench.stop.check()?;
            put(&*engine, self.acknowledged)?;
            self.acknowledged += WRITES_PER_TRANSACTION;
        }
        power.cut_after(Rng::stream(bench.seed, !self.rounds).below(CUT_WITHIN) as u32);
        let mut transactions = 0..CUT_TRANSACTIONS;
        while put(&*engine, self.acknowledged).is_ok() {
            self.acknowledged += WRITES_PER_TRANSACTION;
            if transactions.next().is_none() {
                return Err(Error::WrongAnswer("commits were acknowledged without power".to_owned()));
            }
        }
        drop(engine);
        let left = power.leave_behind(bench.seed.wrapping_add(self.rounds));
        left.map_err(|error| Error::io("leaving behind what a disk may hold", error))
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
                Line::FirstRead { replayed } => {
                    recorder.record(started, now);
                    read = Some(now);
                    figures.push(Figure::lower("first_read", milliseconds(now - started), "ms"));
                    figures.extend(replayed.iter().flat_map(|replayed| steps(replayed, now - started)));
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
        bench.news.tell(|| format!("{} crashes for time {}", bench.kind.name(), self.rounds));
        match self.crash {
            Crash::Kill => self.kill(bench)?,
            Crash::PowerCut => self.cut_power(bench)?,
        }
        let measured = self.recover(bench)?;
        if self.preload * SHAPE.record_size() <= WHOLE_BYTES_MAX {
            self.settle_count(bench)?;
        } else {
            self.settle_tail(bench)?;
        }
        Ok(measured)
    }

    /// Checks the records since the crash before: all acknowledged ones and whole transactions are there, and
    /// nothing behind them.
    fn settle_tail(&mut self, bench: &Bench<'_>) -> Result<()> {
        let engine = bench.open(self.bytes_max())?;
        let mut count = self.settled;
        engine.read(&mut |txn| {
            let mut key = SHAPE.key();
            let mut is_there = |number| {
                fill_key(&mut key, number, SHAPE.order);
                match txn.get(&key)?.map(|value| version_of(value, number)) {
                    None => Ok(false),
                    Some(Some(0)) => Ok(true),
                    Some(_) => Err(Error::WrongAnswer(format!("record {number} is not what was written"))),
                }
            };
            while is_there(count)? {
                count += 1;
            }
            for number in count..count + 2 * WRITES_PER_TRANSACTION {
                if is_there(number)? {
                    return Err(Error::WrongAnswer(format!("record {number} is there, but not {count}")));
                }
            }
            Ok(())
        })?;
        self.settle(count)
    }

    /// Takes `count` for what there is, if that can be after what was acknowledged.
    fn settle(&mut self, count: u64) -> Result<()> {
        let more = count - self.preload.min(count);
        if count < self.acknowledged || !more.is_multiple_of(WRITES_PER_TRANSACTION) {
            let text = format!("{count} records after a crash, {} were acknowledged", self.acknowledged);
            return Err(Error::WrongAnswer(text));
        }
        (self.acknowledged, self.settled) = (count, count);
        Ok(())
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
        if newest + 1 != count {
            return Err(Error::WrongAnswer(format!(
                "{count} records after a crash, but number {newest} is there"
            )));
        }
        self.settle(count)?;
        check_new(&*engine, SHAPE, count)
    }
}

fn no_power(bench: &Bench<'_>) -> Error {
    let what = "running on files whose power can be cut".to_owned();
    Error::NotOffered { engine: bench.kind.name().to_owned(), what }
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

/// What an open replayed, and how long each step of it took.
fn steps(replayed: &Replayed, whole: Duration) -> Vec<Figure> {
    let megabytes = replayed.log_bytes as f64 / 1e6;
    let mut figures = vec![
        Figure::lower("replayed_commits", replayed.commits as f64, "1"),
        Figure::lower("replayed", megabytes, "MB"),
        Figure::lower("pages_fetched", replayed.pages_fetched as f64, "1"),
        Figure::lower("reading_log", replayed.reading, "ms"),
        Figure::lower("looking_behind", replayed.looking, "ms"),
        Figure::lower("fetching_pages", replayed.fetching, "ms"),
        Figure::lower("replaying", replayed.replaying, "ms"),
        Figure::lower("flushing", replayed.flushing, "ms"),
    ];
    if replayed.log_bytes > 0 {
        figures.push(Figure::higher("replay", megabytes / whole.as_secs_f64(), "MB/s"));
    }
    figures
}

impl Case for RecoveryCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        if self.crash == Crash::PowerCut && bench.kind.on_storage(Arc::new(power::on_disk())).is_none() {
            return Err(no_power(bench));
        }
        let engine = bench.open(self.bytes_max())?;
        load::load(bench, &*engine, SHAPE, 0..self.preload)
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, budget: Duration) -> Result<Measured> {
        let deadline = Instant::now() + budget;
        let crashes = self.crashes;
        let goes_on = |rounds| match crashes {
            Some(crashes) => rounds < crashes,
            None => Instant::now() < deadline && rounds < CRASHES_MAX,
        };
        let mut all = self.crash_once(bench)?;
        while goes_on(self.rounds) {
            all.join(self.crash_once(bench)?);
        }
        Ok(all)
    }

    fn figures(&self, _bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        let mut figures = measured.sample_figures();
        let most = |name: &str| {
            let sample = measured.samples.iter().find(|sample| sample.figure.name == name)?;
            Some(sample.values.iter().fold(0.0, |most: f64, &value| most.max(value)))
        };
        let crashes = measured.operations;
        let text = format!("first read within a second, the worst of {crashes}");
        let worst = most("first_read").map(|worst| Figure::lower("first_read_worst", worst, "ms"));
        figures.extend(worst.map(|figure| figure.target(FIRST_READ_TARGET_MS, &text)));
        figures.extend(most("full_service").map(|worst| Figure::lower("full_service_worst", worst, "ms")));
        figures.extend(most("replayed").map(|most| Figure::lower("replayed_most", most, "MB")));
        figures.push(Figure::higher("crashes", crashes as f64, "1"));
        figures
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        self.settle_count(bench)
    }
}
