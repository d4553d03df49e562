//! Half of the records deleted, and a dense copy of the rest.

use super::{DISK_FACTOR, DISK_ROOM, SHAPE};
use crate::check::{fill_key, identity_of};
use crate::disk;
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::workload::bench::Around;
use crate::workload::load;
use crate::workload::sizes::SpaceSizes;
use crate::workload::{Bench, Case, Counted, Phase, Plan, named};
use std::fs;
use std::time::{Duration, Instant};

/// Records of one transaction.
const BATCH: usize = 1_000;
/// Bytes on disk for each byte that is left.
const LEFT_MAX: f64 = 1.1;

/// The plan for one durability.
pub(super) fn plan(sizes: SpaceSizes, durability: Durability) -> Plan {
    let records = sizes.records;
    Plan {
        parameters: named([("records", records.to_string()), ("deleted", "every other one".to_owned())]),
        durability,
        disk_bytes: records * SHAPE.record_size() * DISK_FACTOR + DISK_ROOM,
        one_at_a_time: false,
        memory_bytes: 512 << 20,
        phases: vec![Phase::once([])],
        make: Box::new(move || Box::new(HalvesCase { records })),
    }
}

struct HalvesCase {
    records: u64,
}

impl HalvesCase {
    fn bytes(&self) -> u64 {
        self.records * SHAPE.record_size()
    }
}

impl Case for HalvesCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let engine = bench.open(self.bytes())?;
        load::load(bench, &*engine, SHAPE, 0..self.records)
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, _budget: Duration) -> Result<Measured> {
        let engine = bench.open(self.bytes())?;
        let around = Around::begin(&*engine, bench.folder);
        let begin = Instant::now();
        let (mut recorder, mut commits) = (Recorder::new(begin), 0);
        let odd: Vec<u64> = (0..self.records).filter(|number| number % 2 == 1).collect();
        let mut key = SHAPE.key();
        for batch in odd.chunks(BATCH) {
            bench.stop.check()?;
            let begin = Instant::now();
            engine.write(&mut |txn| {
                batch.iter().try_for_each(|&number| {
                    fill_key(&mut key, number, SHAPE.order);
                    match txn.remove(&key)? {
                        true => Ok(()),
                        false => Err(Error::WrongAnswer(format!("record {number} was not there to delete"))),
                    }
                })
            })?;
            recorder.record(begin, Instant::now());
            commits += 1;
        }
        let elapsed = begin.elapsed();
        let mut measured = Measured::new("delete", recorder, elapsed);
        measured.commits = commits;
        around.end(&*engine, bench.folder, &mut measured);
        let deletes = odd.len() as f64 / elapsed.as_secs_f64().max(1e-9);
        measured.push(Figure::higher("deletes", deletes, "1/s"));
        let copy = bench.folder.join("dense");
        fs::create_dir(&copy).map_err(|error| Error::io(format!("making {}", copy.display()), error))?;
        let begin = Instant::now();
        engine.compact_into(&copy)?;
        let left = ((self.records - odd.len() as u64) * SHAPE.record_size()) as f64;
        measured.push(Figure::higher("copied", left / 1e6 / begin.elapsed().as_secs_f64().max(1e-9), "MB/s"));
        measured.push(Figure::lower("dense_copy", disk::folder_bytes(&copy)? as f64 / left, "x"));
        Ok(measured)
    }

    fn figures(&self, _bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        let text = "after deleting half a dense copy takes at most 1.1 of what is left";
        let target = |figure: Figure| match figure.name.as_str() {
            "dense_copy" => figure.target(LEFT_MAX, text),
            _ => figure,
        };
        measured.sample_figures().into_iter().map(target).collect()
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // Both the database and its copy: every even number and no other.
        let expected = self.records.div_ceil(2);
        let copy = bench.folder.join("dense");
        let mut found = Vec::new();
        for folder in [bench.folder, &copy] {
            let engine = Bench { folder, ..*bench }.open(self.bytes())?;
            let mut right = SHAPE.key();
            found.push(load::walk(&*engine, &mut |key, value| match identity_of(value) {
                Some((number, 0)) if number % 2 == 0 && number < self.records => {
                    fill_key(&mut right, number, SHAPE.order);
                    if key == right { Ok(()) } else { Err(foreign(number)) }
                }
                Some((number, _)) => Err(foreign(number)),
                None => Err(Error::WrongAnswer("a record has bytes that were never written".to_owned())),
            })?);
        }
        let fewest = found.iter().copied().min().unwrap_or(0);
        Ok(Counted { expected, found: fewest })
    }
}

fn foreign(number: u64) -> Error {
    Error::WrongAnswer(format!("record {number} is where it must not be"))
}
