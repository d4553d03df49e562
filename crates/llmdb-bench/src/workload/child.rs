//! Work for a process of its own: what must be killed, or must start with nothing in memory.
//!
//! ```text
//! parent                                   child
//! spawns `llmdb-bench child ...`  ------>  does its task
//! reads lines of JSON             <------  one line for each thing that was done
//! ```
//!
//! Not here: what the lines mean to a workload (`memory`, `recovery`).

use super::Bench;
use super::load::Shape;
use crate::check::{KeyOrder, fill_key, fill_value, version_of};
use crate::disk::kilobytes;
use crate::engine::{self, Engine, OpenOptions, Replayed};
use crate::error::{Error, Result};
use crate::results::Durability;
use crate::rng::Rng;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// What records of children look like.
pub const SHAPE: Shape = Shape { key_size: 16, value_size: 256, order: KeyOrder::Random };
/// Records of one transaction of [`Task::Write`].
pub const WRITES_PER_TRANSACTION: u64 = 100;
/// One update in so many operations of [`Task::Memory`].
const UPDATE_EVERY: u64 = 10;

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Task {
    /// Puts records from `first` on until it is killed; a [`Line::Acknowledged`] for each commit.
    Write,
    /// Opens, reads one record, commits one; a line for each.
    Open,
    /// Opens, reads one record, then reads and updates for some time; a [`Line::Memory`] for each step.
    Memory,
}

/// Arguments of a child.
#[derive(Clone, Debug, clap::Args)]
pub struct ChildArguments {
    /// What it does.
    #[arg(long, value_enum)]
    pub task: Task,
    /// The engine.
    #[arg(long)]
    pub engine: String,
    /// The database's folder.
    #[arg(long)]
    pub dir: PathBuf,
    /// Whether the engine has no log.
    #[arg(long)]
    pub no_log: bool,
    /// The first number to write, or how many records there are.
    #[arg(long)]
    pub records: u64,
    /// Bytes that the database will hold at most.
    #[arg(long)]
    pub bytes_max: u64,
    /// For how long.
    #[arg(long, default_value_t = 1_000)]
    pub milliseconds: u64,
    /// The seed of all choices.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What a child says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Line {
    /// Records below this number are durable.
    Acknowledged(u64),
    /// The first record was read.
    FirstRead {
        /// What was replayed for it, where the engine tells.
        replayed: Option<Replayed>,
    },
    /// The first commit is durable.
    FirstCommit,
    /// Memory after a step.
    Memory(Memory),
}

/// Memory of a process, in bytes, and what it did until then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// "start", "open", "one_key" or "running".
    pub step: String,
    /// Since the process began to work, in seconds.
    pub seconds: f64,
    /// Memory of its own.
    pub anonymous: u64,
    /// Mapped files in memory.
    pub file: u64,
    /// Page faults that had to read from the device.
    pub major_faults: u64,
    /// Records read.
    pub gets: u64,
    /// Pages that a get passes through, where the engine tells.
    pub pages_per_get: Option<u64>,
}

/// A child at work; it is killed when this is dropped.
pub struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// When it was started.
    pub started: Instant,
}

impl Running {
    /// Starts a child that works on a folder.
    ///
    /// # Errors
    /// [`Error::NotOffered`] where the run does not know the program.
    pub fn start(bench: &Bench<'_>, arguments: &ChildArguments) -> Result<Self> {
        let Some(program) = bench.program else {
            let what = "a process of its own (run it with the program llmdb-bench)".to_owned();
            return Err(Error::NotOffered { engine: arguments.engine.clone(), what });
        };
        let task = match arguments.task {
            Task::Write => "write",
            Task::Open => "open",
            Task::Memory => "memory",
        };
        let started = Instant::now();
        let mut command = Command::new(program);
        command.args(["child", "--task", task, "--engine", &arguments.engine, "--dir"]).arg(&arguments.dir);
        for (name, value) in [
            ("--records", arguments.records),
            ("--bytes-max", arguments.bytes_max),
            ("--milliseconds", arguments.milliseconds),
            ("--seed", arguments.seed),
        ] {
            command.args([name, &value.to_string()]);
        }
        if arguments.no_log {
            command.arg("--no-log");
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Error::io(format!("starting {}", program.display()), error))?;
        let Some(lines) = child.stdout.take() else { return Err(Error::Child("has no output".to_owned())) };
        Ok(Self { child, lines: BufReader::new(lines), started })
    }

    /// The next thing it says; `None` when it has ended well.
    ///
    /// # Errors
    /// [`Error::Child`] if it ended otherwise.
    pub fn next_line(&mut self) -> Result<Option<Line>> {
        let mut line = String::new();
        let read =
            self.lines.read_line(&mut line).map_err(|error| Error::io("reading a child's output", error))?;
        if read == 0 {
            let status = self.child.wait().map_err(|error| Error::io("waiting for a child", error))?;
            return if status.success() {
                Ok(None)
            } else {
                Err(Error::Child(format!("ended with {status}")))
            };
        }
        let line = serde_json::from_str(&line).map_err(|_| Error::Child(format!("said {line:?}")))?;
        Ok(Some(line))
    }

    /// Kills it at once, as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(mut self) -> Result<()> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map_err(|error| Error::io("killing a child", error))?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does a child's work.
///
/// # Errors
/// An unknown engine, or the engine's own.
pub fn run(arguments: &ChildArguments) -> Result<()> {
    let begin = Instant::now();
    let mut work = Work { arguments, begin, gets: 0, rng: Rng::new(arguments.seed) };
    match arguments.task {
        Task::Write => work.write(),
        Task::Open => work.open_and_serve(),
        Task::Memory => work.memory(),
    }
}

struct Work<'a> {
    arguments: &'a ChildArguments,
    begin: Instant,
    gets: u64,
    rng: Rng,
}

fn say(line: &Line) -> Result<()> {
    let failed = |error| Error::io("telling the parent", error);
    let text = serde_json::to_string(line).map_err(|error| failed(error.into()))? + "\n";
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(failed)
}

impl Work<'_> {
    fn open(&self) -> Result<Box<dyn Engine>> {
        let kind = engine::chosen(std::slice::from_ref(&self.arguments.engine))?.remove(0);
        let durability = if self.arguments.no_log { Durability::NoLog } else { Durability::Sync };
        let options = OpenOptions { durability, bytes_max: self.arguments.bytes_max };
        kind.open(&self.arguments.dir, &options)
    }

    fn write(&mut self) -> Result<()> {
        let engine = self.open()?;
        let mut next = self.arguments.records;
        loop {
            put(&*engine, next..next + WRITES_PER_TRANSACTION)?;
            next += WRITES_PER_TRANSACTION;
            say(&Line::Acknowledged(next))?;
        }
    }

    fn open_and_serve(&mut self) -> Result<()> {
        let engine = self.open()?;
        let number = self.rng.below(self.arguments.records);
        self.get(&*engine, number)?;
        say(&Line::FirstRead { replayed: engine.counts().replayed })?;
        put(&*engine, number..number + 1)?;
        say(&Line::FirstCommit)
    }

    fn memory(&mut self) -> Result<()> {
        self.tell_memory("start", None)?;
        let engine = self.open()?;
        self.tell_memory("open", Some(&*engine))?;
        let number = self.rng.below(self.arguments.records);
        self.get(&*engine, number)?;
        self.tell_memory("one_key", Some(&*engine))?;
        let time = Duration::from_millis(self.arguments.milliseconds);
        let begin = Instant::now();
        for sample in 1..=10 {
            while begin.elapsed() < time * sample / 10 {
                for _ in 1..UPDATE_EVERY {
                    let number = self.rng.below(self.arguments.records);
                    self.get(&*engine, number)?;
                }
                let number = self.rng.below(self.arguments.records);
                put(&*engine, number..number + 1)?;
            }
            self.tell_memory("running", Some(&*engine))?;
        }
        Ok(())
    }

    fn get(&mut self, engine: &dyn Engine, number: u64) -> Result<()> {
        let mut key = SHAPE.key();
        fill_key(&mut key, number, SHAPE.order);
        self.gets += 1;
        engine.read(&mut |txn| match txn.get(&key)?.map(|value| version_of(value, number)) {
            Some(Some(0)) => Ok(()),
            _ => Err(Error::WrongAnswer(format!("record {number} is not what was written"))),
        })
    }

    fn tell_memory(&self, step: &str, engine: Option<&dyn Engine>) -> Result<()> {
        let status =
            fs::read_to_string("/proc/self/status").map_err(|error| Error::io("reading memory", error))?;
        say(&Line::Memory(Memory {
            step: step.to_owned(),
            seconds: self.begin.elapsed().as_secs_f64(),
            anonymous: kilobytes(&status, "RssAnon:").unwrap_or(0),
            file: kilobytes(&status, "RssFile:").unwrap_or(0),
            major_faults: major_faults().unwrap_or(0),
            gets: self.gets,
            pages_per_get: engine.and_then(|engine| engine.counts().pages_per_get),
        }))
    }
}

/// Puts records at version 0, in one transaction.
fn put(engine: &dyn Engine, numbers: std::ops::Range<u64>) -> Result<()> {
    let (mut key, mut value) = (SHAPE.key(), SHAPE.value());
    engine.write(&mut |txn| {
        for number in numbers.clone() {
            fill_key(&mut key, number, SHAPE.order);
            fill_value(&mut value, number, 0);
            txn.put(&key, &value)?;
        }
        Ok(())
    })
}

/// Field 12 of `/proc/self/stat`, after the name in brackets.
fn major_faults() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(9)?.parse().ok()
}
