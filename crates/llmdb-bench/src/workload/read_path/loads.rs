//! Loads into an empty database without flushes, in the order of keys and in a random one; and how much of
//! the disk a random load leaves in use.

use super::{DISK_FACTOR, PER_TRANSACTION, SHAPE};
use crate::check::{LEDGER_ENTRY_SIZE, Ledger, fill_key, fill_value};
use crate::disk;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::workload::bar::{Bar, Of};
use crate::workload::load::{self, SORT_ENTRY_SIZE, check_all, in_key_order};
use crate::workload::{Bench, Case, Counted, Phase, Plan, named};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// In which order keys are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Sorted,
    Random,
}

impl Order {
    fn bars(self) -> Vec<Bar> {
        match self {
            Self::Sorted => vec![Bar::new("user_data", 1.1, Of::Engine("lmdb"))],
            Self::Random => vec![Bar::new("user_data", 1.2, Of::BestAmong(&RANDOM_PEERS))],
        }
    }
}

/// Whose random load ours must beat.
const RANDOM_PEERS: [&str; 4] = ["lmdb", "lmdb-writemap", "redb", "fjall"];

/// The plan of loads in one order.
pub(super) fn plan(records: u64, order: Order) -> Plan {
    let name = match order {
        Order::Sorted => "sorted",
        Order::Random => "random",
    };
    let user_bytes = records * SHAPE.record_size();
    Plan {
        parameters: named([
            ("key", SHAPE.key_size.to_string()),
            ("value", SHAPE.value_size.to_string()),
            ("records", records.to_string()),
            ("load", name.to_owned()),
            ("per_transaction", PER_TRANSACTION.to_string()),
        ]),
        durability: Durability::None,
        disk_bytes: user_bytes * DISK_FACTOR,
        one_at_a_time: false,
        memory_bytes: (1 << 30) + records * (LEDGER_ENTRY_SIZE + SORT_ENTRY_SIZE) * 8,
        phases: vec![Phase { bars: order.bars(), ..Phase::default() }],
        make: Box::new(move || {
            let ledger = Ledger::new(records as usize);
            Box::new(LoadCase { order, records, numbers: Vec::new(), ledger, rounds: 0, engine: None })
        }),
    }
}

struct LoadCase {
    order: Order,
    records: u64,
    /// In the order in which they are loaded.
    numbers: Vec<u64>,
    ledger: Ledger,
    rounds: u64,
    engine: Option<Box<dyn Engine>>,
}

impl LoadCase {
    fn user_bytes(&self) -> u64 {
        self.records * SHAPE.record_size()
    }

    /// The folder of a round's database.
    fn folder(&self, bench: &Bench<'_>) -> PathBuf {
        bench.folder.join(format!("round-{}", self.rounds))
    }

    /// Makes an empty database, and lets that of the round before go.
    fn begin_anew(&mut self, bench: &Bench<'_>) -> Result<()> {
        self.engine = None;
        let before = self.folder(bench);
        if before.exists() {
            fs::remove_dir_all(&before).map_err(|error| failed("removing", &before, error))?;
        }
        self.rounds += 1;
        let folder = self.folder(bench);
        fs::create_dir(&folder).map_err(|error| failed("making", &folder, error))?;
        self.engine = Some(Bench { folder: &folder, ..*bench }.open(self.user_bytes())?);
        // What the page cache still holds back of others shall not be written in this one's time.
        disk::sync_all(bench.folder)
    }

    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }

    fn load(&self, bench: &Bench<'_>) -> Result<()> {
        let engine = self.engine()?;
        if self.order == Order::Random {
            self.numbers.chunks(PER_TRANSACTION as usize).try_for_each(|batch| {
                bench.stop.check()?;
                load::put(engine, SHAPE, batch)
            })?;
            return engine.write_out();
        }
        let mut numbers = self.numbers.iter();
        engine.append(PER_TRANSACTION, &mut |key, value| {
            let Some(&number) = numbers.next().filter(|_| !bench.stop.is_stopped()) else { return false };
            key.resize(SHAPE.key_size, 0);
            value.resize(SHAPE.value_size, 0);
            fill_key(key, number, SHAPE.order);
            fill_value(value, number, 0);
            true
        })?;
        engine.write_out()?;
        bench.stop.check()
    }
}

fn failed(doing: &str, folder: &Path, error: std::io::Error) -> Error {
    Error::io(format!("{doing} {}", folder.display()), error)
}

impl Case for LoadCase {
    fn set_up(&mut self, _bench: &Bench<'_>) -> Result<()> {
        self.numbers = match self.order {
            Order::Sorted => in_key_order(SHAPE, 0..self.records),
            // Numbers in their own order are keys in a random one.
            Order::Random => (0..self.records).collect(),
        };
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, _budget: Duration) -> Result<Measured> {
        self.begin_anew(bench)?;
        let begin = Instant::now();
        self.load(bench)?;
        let elapsed = begin.elapsed();
        let mut recorder = Recorder::new(begin);
        recorder.record_many(begin, begin + elapsed, self.records);
        let mut measured = Measured::new("record", recorder, elapsed);
        measured.user_bytes = self.user_bytes();
        let rate = self.user_bytes() as f64 / 1e6 / elapsed.as_secs_f64().max(1e-9);
        measured.push(Figure::higher("user_data", rate, "MB/s"));
        self.engine()?.settle()?;
        let space = disk::folder_bytes(&self.folder(bench))? as f64 / self.user_bytes() as f64;
        measured.push(Figure::lower("space_amplification", space, "x"));
        Ok(measured)
    }

    fn figures(&self, _bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        let target = |figure: Figure| match (self.order, figure.name.as_str()) {
            (Order::Sorted, "user_data") => figure.target(250.0, "at least 250 MB/s in the order of keys"),
            (Order::Random, "space_amplification") => {
                figure.target(1.4, "at most 1.4 of the user's data after a random load")
            }
            _ => figure,
        };
        measured.sample_figures().into_iter().map(target).collect()
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // From the files, not from memory.
        self.engine = None;
        let folder = self.folder(bench);
        let engine = Bench { folder: &folder, ..*bench }.open(self.user_bytes())?;
        check_all(&*engine, SHAPE, &self.ledger, self.records)
    }
}
