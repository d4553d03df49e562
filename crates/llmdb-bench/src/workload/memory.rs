//! `memory`: what a process takes that opens a database, reads one record, and then works.
//!
//! A process of its own says its RssAnon (memory of its own) and RssFile (mapped files that are in memory)
//! at its start, after the open, after one get, and ten times while it reads random records and rewrites
//! one in ten. The page cache was dropped before, so major faults tell how many reads had to wait for the
//! device: hits over touches, where the engine says how many pages a get touches.

use super::child::{ChildArguments, Line, Memory as Sample, Running, SHAPE, Task};
use super::load::{self, check_all};
use super::{Bench, Case, Counted, Phase, Plan, Sizes, Workload, named};
use crate::check::Ledger;
use crate::disk;
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use std::time::{Duration, Instant};

/// The workload.
#[derive(Debug)]
pub(super) struct Memory;

impl Workload for Memory {
    fn suite(&self) -> &'static str {
        "system"
    }

    fn name(&self) -> &'static str {
        "memory"
    }

    fn about(&self) -> &'static str {
        "resident memory at start, after open, after one get and over time; hits of the page cache"
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let records = sizes.system_records;
        [Durability::Sync, Durability::NoLog].map(|durability| plan(records, durability)).into()
    }
}

fn plan(records: u64, durability: Durability) -> Plan {
    Plan {
        parameters: named([("records", records.to_string())]),
        durability,
        disk_bytes: records * SHAPE.record_size() * 8 + (128 << 20),
        one_at_a_time: false,
        memory_bytes: 512 << 20,
        phases: vec![Phase::once([])],
        make: Box::new(move || Box::new(MemoryCase { records })),
    }
}

struct MemoryCase {
    records: u64,
}

impl MemoryCase {
    fn bytes_max(&self) -> u64 {
        self.records * SHAPE.record_size()
    }
}

impl Case for MemoryCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        let engine = bench.open(self.bytes_max())?;
        load::load(bench, &*engine, SHAPE, 0..self.records)
    }

    fn round(&mut self, bench: &Bench<'_>, _phase: usize, budget: Duration) -> Result<Measured> {
        disk::evict(bench.folder)?;
        let arguments = ChildArguments {
            task: Task::Memory,
            engine: bench.kind.name().to_owned(),
            dir: bench.folder.to_owned(),
            no_log: bench.durability == Durability::NoLog,
            records: self.records,
            bytes_max: self.bytes_max(),
            milliseconds: budget.as_millis() as u64,
            seed: bench.seed,
        };
        let mut child = Running::start(bench, &arguments)?;
        let started = child.started;
        let (mut samples, mut recorder) = (Vec::new(), Recorder::new(started));
        while let Some(line) = child.next_line()? {
            bench.stop.check()?;
            if let Line::Memory(sample) = line {
                let before = samples.last().map_or(0, |before: &Sample| before.gets);
                recorder.count(Instant::now(), sample.gets - before);
                samples.push(sample);
            }
        }
        let mut measured = Measured::new("get", recorder, started.elapsed());
        for figure in figures_of(&samples)? {
            measured.push(figure);
        }
        Ok(measured)
    }

    fn figures(&self, _bench: &Bench<'_>, _phase: usize, measured: &Measured) -> Vec<Figure> {
        measured.sample_figures()
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        let engine = bench.open(self.bytes_max())?;
        check_all(&*engine, SHAPE, &Ledger::new(self.records as usize), self.records)
    }
}

fn figures_of(samples: &[Sample]) -> Result<Vec<Figure>> {
    let step = |name: &str| {
        samples
            .iter()
            .find(|sample| sample.step == name)
            .ok_or_else(|| Error::Child(format!("said nothing of {name}")))
    };
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (start, open, one_key, first) = (step("start")?, step("open")?, step("one_key")?, step("running")?);
    let last = samples.last().unwrap_or(first);
    let all = |sample: &Sample| sample.anonymous + sample.file;
    let mut figures = vec![
        Figure::lower("rss_at_start", megabytes(all(start)), "MB"),
        Figure::lower("rss_after_open", megabytes(all(open)), "MB"),
        Figure::lower("rss_after_one_get", megabytes(all(one_key)), "MB"),
        Figure::lower("open_takes", megabytes(all(one_key).saturating_sub(all(start))), "MB")
            .target(5.0, "opening and one get take at most 5 MB"),
        Figure::lower("anon_at_end", megabytes(last.anonymous), "MB"),
        Figure::lower("file_at_end", megabytes(last.file), "MB"),
    ];
    let seconds = last.seconds - first.seconds;
    if seconds > 0.0 {
        let growth = (last.anonymous as f64 - first.anonymous as f64) / f64::from(1 << 20) / seconds;
        figures.push(Figure::lower("anon_growth", growth, "MB/s"));
    }
    let gets = last.gets.max(1) as f64;
    let faults = last.major_faults.saturating_sub(start.major_faults) as f64;
    figures.push(Figure::lower("major_faults_per_get", faults / gets, "1"));
    if let Some(pages) = last.pages_per_get.filter(|&pages| pages > 0) {
        let touches = gets * pages as f64;
        figures.push(Figure::higher(
            "page_cache_hits",
            (1.0 - faults / touches).max(0.0) * 100.0,
            "% of touches",
        ));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: &str, seconds: f64, megabytes: u64, gets: u64) -> Sample {
        let (anonymous, file) = (megabytes << 20, 1 << 20);
        Sample {
            step: step.into(),
            seconds,
            anonymous,
            file,
            major_faults: gets / 10,
            gets,
            pages_per_get: Some(2),
        }
    }

    #[test]
    fn figures_come_from_the_steps() {
        let samples = [
            sample("start", 0.0, 1, 0),
            sample("open", 0.1, 2, 0),
            sample("one_key", 0.1, 3, 1),
            sample("running", 1.0, 4, 50),
            sample("running", 2.0, 6, 100),
        ];
        let figures = figures_of(&samples).unwrap();
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert_eq!(value("rss_after_open"), 3.0);
        assert_eq!(value("open_takes"), 2.0);
        assert_eq!(value("anon_growth"), 2.0);
        assert_eq!(value("major_faults_per_get"), 0.1);
        assert!((value("page_cache_hits") - 95.0).abs() < 1e-9);
        assert!(figures_of(&samples[..2]).is_err());
    }
}
