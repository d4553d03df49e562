//! Opening a small and a large database, each in a process of its own and with a cold cache: the time it takes,
//! and the memory of the process after one get.
//!
//! Small and large take turns, so that drift of the machine meets both alike.

use super::{DISK_ROOM, SHAPE};
use crate::disk;
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::workload::child::{ChildArguments, Line, Memory, Running, Task};
use crate::workload::load::{self, check_new};
use crate::workload::sizes::SpaceSizes;
use crate::workload::{Bench, Case, Counted, Phase, Plan, named};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Milliseconds by which the two may differ.
const DIFFERENCE_MAX_MS: f64 = 2.0;
/// MB of memory after one get.
const MEMORY_MAX: f64 = 5.0;

/// The plan for one durability.
pub(super) fn plan(sizes: SpaceSizes, durability: Durability) -> Plan {
    let (small, large) = sizes.opened_bytes;
    Plan {
        parameters: named([
            ("small_mb", (small >> 20).to_string()),
            ("large_mb", (large >> 20).to_string()),
            ("opens", sizes.opens.to_string()),
        ]),
        durability,
        disk_bytes: (small + large) * 2 + DISK_ROOM,
        one_at_a_time: true,
        memory_bytes: (512 << 20) + SHAPE.records_in(large) * load::SORT_ENTRY_SIZE,
        phases: vec![Phase::once([])],
        make: Box::new(move || Box::new(OpensCase { sizes, counted: Counted::default() })),
    }
}

struct OpensCase {
    sizes: SpaceSizes,
    counted: Counted,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Small,
    Large,
}

impl OpensCase {
    fn records(&self, which: Which) -> u64 {
        let (small, large) = self.sizes.opened_bytes;
        SHAPE.records_in(if which == Which::Small { small } else { large })
    }

    fn bytes(&self, which: Which) -> u64 {
        self.records(which) * SHAPE.record_size()
    }

    fn folder(&self, bench: &Bench<'_>, which: Which) -> PathBuf {
        bench.folder.join(if which == Which::Small { "small" } else { "large" })
    }

    fn make(&self, bench: &Bench<'_>, which: Which) -> Result<()> {
        let folder = self.folder(bench, which);
        fs::create_dir(&folder).map_err(|error| Error::io(format!("making {}", folder.display()), error))?;
        let engine = Bench { folder: &folder, ..*bench }.open(self.bytes(which))?;
        load::load(bench, &*engine, SHAPE, 0..self.records(which))
    }

    /// Opens it in a process of its own: milliseconds of the open, and MB of memory before it and after a get.
    fn open(&self, bench: &Bench<'_>, which: Which) -> Result<Opened> {
        let folder = self.folder(bench, which);
        disk::evict(&folder)?;
        let arguments = ChildArguments {
            task: Task::Memory,
            engine: bench.kind.name().to_owned(),
            dir: folder,
            no_log: bench.durability == Durability::NoLog,
            records: self.records(which),
            bytes_max: self.bytes(which),
            milliseconds: 0,
            seed: bench.seed,
        };
        let mut child = Running::start(bench, &arguments)?;
        let mut steps = Vec::new();
        while let Some(line) = child.next_line()? {
            if let Line::Memory(step) = line {
                steps.push(step);
            }
        }
        let step = |name: &str| {
            let found = steps.iter().find(|step: &&Memory| step.step == name);
            found.ok_or_else(|| Error::Child(format!("said nothing of {name}")))
        };
        let (start, open, one_key) = (step("start")?, step("open")?, step("one_key")?);
        let megabytes = |step: &Memory| (step.anonymous + step.file) as f64 / f64::from(1 << 20);
        Ok(Opened {
            open_ms: (open.seconds - start.seconds) * 1e3,
            first_get_ms: (one_key.seconds - open.seconds) * 1e3,
            memory: megabytes(one_key) - megabytes(start),
        })
    }

    fn check_one(&self, bench: &Bench<'_>, which: Which) -> Result<Counted> {
        let folder = self.folder(bench, which);
        let engine = Bench { folder: &folder, ..*bench }.open(self.bytes(which))?;
        check_new(&*engine, SHAPE, self.records(which))
    }
}

struct Opened {
    open_ms: f64,
    first_get_ms: f64,
    memory: f64,
}

impl Case for OpensCase {
    fn set_up(&mut self, _bench: &Bench<'_>) -> Result<()> {
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, _budget: Duration) -> Result<Measured> {
        self.make(bench, Which::Small)?;
        self.make(bench, Which::Large)?;
        let begin = Instant::now();
        let mut recorder = Recorder::new(begin);
        let mut all: Option<Measured> = None;
        for _ in 0..self.sizes.opens {
            bench.stop.check()?;
            let (small, large) = (self.open(bench, Which::Small)?, self.open(bench, Which::Large)?);
            recorder.count(Instant::now(), 2);
            let mut both = Measured::new("open", Recorder::new(begin), Duration::ZERO);
            both.push(Figure::lower("open_small", small.open_ms, "ms"));
            both.push(Figure::lower("open_large", large.open_ms, "ms"));
            both.push(Figure::lower("first_get_small", small.first_get_ms, "ms"));
            both.push(Figure::lower("first_get_large", large.first_get_ms, "ms"));
            both.push(Figure::lower("open_takes_small", small.memory, "MB"));
            both.push(Figure::lower("open_takes_large", large.memory, "MB"));
            match &mut all {
                Some(all) => all.join(both),
                None => all = Some(both),
            }
        }
        let mut measured = Measured::new("open", recorder, begin.elapsed());
        measured.samples = all.map(|all| all.samples).unwrap_or_default();
        for which in [Which::Small, Which::Large] {
            let counted = self.check_one(bench, which)?;
            self.counted.expected += counted.expected;
            self.counted.found += counted.found;
            // The next engine's must find room.
            let folder = self.folder(bench, which);
            let removed = fs::remove_dir_all(&folder);
            removed.map_err(|error| Error::io(format!("removing {}", folder.display()), error))?;
        }
        Ok(measured)
    }

    fn figures(&self, _bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        let mut figures = measured.sample_figures();
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).map(|figure| figure.value);
        let difference =
            value("open_large").zip(value("open_small")).map(|(large, small)| (large - small).abs());
        for figure in figures.iter_mut().filter(|figure| figure.name == "open_takes_large") {
            let text = "opening and one get take at most 5 MB, however large the database";
            *figure = figure.clone().target(MEMORY_MAX, text);
        }
        let text = format!("opening takes the same for both, within {DIFFERENCE_MAX_MS} ms");
        let difference = difference.map(|difference| Figure::lower("open_difference", difference, "ms"));
        figures.extend(difference.map(|figure| figure.target(DIFFERENCE_MAX_MS, &text)));
        figures
    }

    fn check(&mut self, _bench: &Bench<'_>) -> Result<Counted> {
        Ok(self.counted)
    }
}
