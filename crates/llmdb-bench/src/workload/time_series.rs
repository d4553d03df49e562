//! `time_series`: points that come all the time, late and twice; windows and hourly sums of them.
//!
//! A hundred series with a point every ten seconds. Batches bring the next hundred points of each. One point of twenty comes up
//! to 200 steps late; one of a hundred comes with a wrong value first and with the right one up to 200 steps later.
//!
//! Invariants
//! 1. What a window holds follows from the numbers of its points alone: count, sum, least and greatest of every answer are held
//!    against that. Values are whole numbers, so sums are exact in any order.
//! 2. Only the engine is timed, not the making of points.
//!
//! Not here: how engines keep series (`engine::past`).

use super::{Bench, Case, Counted, Done, Phase, Plan, Sizes, Span, Workload, named};
use crate::disk;
use crate::engine::past::{Measurement, Series};
use crate::engine::{EngineKind, OpenOptions};
use crate::error::{Error, Result};
use crate::measure::{Measured, Recorder};
use crate::results::{Durability, Figure};
use crate::rng::{Rng, mix};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Series that there are.
const SERIES: u32 = 100;
/// Seconds between two points of a series.
const STEP: i64 = 10;
/// Points of each series in a batch.
const STEPS_PER_BATCH: u64 = 100;
/// By how many steps a point comes late at most.
const LATE_MAX: u64 = 200;
/// When all series begin, in seconds since 1970: a full hour.
const BEGIN: i64 = 1_699_999_200;
const HOUR: i64 = 3_600;
/// Points that are summed up by the hour.
const SUMMED: u64 = 1_000_000;
/// What an engine may need for a point.
const POINT_DISK: u64 = 100;

/// The workload.
#[derive(Debug)]
pub(super) struct TimeSeries;

impl Workload for TimeSeries {
    fn suite(&self) -> &'static str {
        "time-series"
    }

    fn name(&self) -> &'static str {
        "time_series"
    }

    fn about(&self) -> &'static str {
        "points that come in order, late and twice; windows of an hour; least, greatest and mean of each hour"
    }

    fn takes(&self, kind: &dyn EngineKind) -> bool {
        kind.keeps_past()
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let steps = sizes.points.div_ceil(u64::from(SERIES)).max(1);
        let points = steps * u64::from(SERIES);
        let phase =
            |words: &str| Phase { share: Some(sizes.past_phase), ..Phase::of([("read", words.to_owned())]) };
        let hours = format!("least, greatest and mean of each hour, {} points", points.min(SUMMED));
        vec![Plan {
            parameters: named([("points", points.to_string()), ("series", SERIES.to_string())]),
            durability: Durability::None,
            disk_bytes: points * POINT_DISK + (256 << 20),
            one_at_a_time: false,
            memory_bytes: 512 << 20,
            phases: vec![
                Phase { once: true, ..phase("points in batches of 10,000, one in twenty late") },
                phase("windows of an hour of a series"),
                phase(&hours),
            ],
            make: Box::new(move || Box::new(SeriesCase { steps, series: None, rounds: 0 })),
        }]
    }
}

/// The right value of a point: a whole number.
fn value_of(seed: u64, series: u32, step: u64) -> f64 {
    (mix(seed ^ mix(u64::from(series) << 40 | step)) % 100_000) as f64
}

fn time_of(step: u64) -> i64 {
    BEGIN + step as i64 * STEP
}

/// Points as they come.
struct Coming {
    seed: u64,
    steps: u64,
    next: u64,
    /// Points that come later, by the step at which they do.
    later: BTreeMap<u64, Vec<Measurement>>,
}

impl Coming {
    fn new(seed: u64, steps: u64) -> Self {
        Self { seed, steps, next: 0, later: BTreeMap::new() }
    }

    /// Fills a batch; `false` if there is none.
    fn fill(&mut self, batch: &mut Vec<Measurement>) -> bool {
        batch.clear();
        for _ in 0..STEPS_PER_BATCH {
            let step = self.next;
            if step >= self.steps {
                // Whatever is still to come comes now.
                batch.extend(std::mem::take(&mut self.later).into_values().flatten());
                break;
            }
            self.next += 1;
            for series in 0..SERIES {
                self.come(series, step, batch);
            }
            batch.extend(self.later.remove(&step).unwrap_or_default());
        }
        !batch.is_empty()
    }

    fn come(&mut self, series: u32, step: u64, batch: &mut Vec<Measurement>) {
        let point = Measurement { series, time: time_of(step), value: value_of(self.seed, series, step) };
        let mut dice = Rng::stream(self.seed ^ 1 << 60, u64::from(series) << 40 | step);
        match dice.below(100) {
            0 => batch.push(Measurement { value: point.value + 1.0, ..point }),
            1..=5 => {}
            _ => return batch.push(point),
        }
        let when = step + 1 + dice.below(LATE_MAX);
        self.later.entry(when).or_default().push(point);
    }
}

/// What is known of some points.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sums {
    count: u64,
    sum: f64,
    least: f64,
    greatest: f64,
}

impl Sums {
    const NONE: Self = Self { count: 0, sum: 0.0, least: f64::INFINITY, greatest: f64::NEG_INFINITY };

    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    /// What a stretch of steps of a series must give.
    fn expected(seed: u64, series: u32, steps: std::ops::Range<u64>) -> Self {
        let mut sums = Self::NONE;
        steps.for_each(|step| sums.add(value_of(seed, series, step)));
        sums
    }
}

struct SeriesCase {
    /// Points of each series.
    steps: u64,
    series: Option<Box<dyn Series>>,
    rounds: u64,
}

impl SeriesCase {
    fn open(&self, bench: &Bench<'_>) -> Result<Box<dyn Series>> {
        // A point with its key.
        let bytes_max = self.steps * u64::from(SERIES) * 20;
        bench.kind.open_series(bench.folder, &OpenOptions { durability: bench.durability, bytes_max })
    }

    fn series(&self) -> Result<&dyn Series> {
        self.series.as_deref().ok_or_else(|| Error::WrongAnswer("the database was not set up".to_owned()))
    }

    fn insert(&self, bench: &Bench<'_>) -> Result<Measured> {
        let series = self.series()?;
        let mut coming = Coming::new(bench.seed, self.steps);
        let started = Instant::now();
        let (mut recorder, mut elapsed, mut batch) = (Recorder::new(started), Duration::ZERO, Vec::new());
        let mut came = 0;
        while coming.fill(&mut batch) {
            bench.stop.check()?;
            bench.news.tell(|| format!("inserting into {}: {came} points", bench.kind.name()));
            came += batch.len() as u64;
            let begin = Instant::now();
            series.insert(&mut batch)?;
            let end = Instant::now();
            elapsed += end - begin;
            recorder.record_many(begin, end, batch.len() as u64);
        }
        series.settle()?;
        let mut measured = Measured::new("insert", recorder, elapsed);
        measured.push(Figure::higher("points", measured.per_second(), "1/s"));
        let kept = (self.steps * u64::from(SERIES)) as f64;
        if let Some(bytes) = series.bytes_in_use() {
            measured.push(Figure::lower("bytes_per_point", bytes as f64 / kept, "bytes"));
        }
        let stored = disk::folder_bytes(bench.folder)? as f64;
        measured.push(Figure::lower("files_per_point", stored / kept, "bytes"));
        Ok(measured)
    }

    fn windows(&self, bench: &Bench<'_>, span: Span<'_>) -> Result<Done> {
        let (series, steps) = (self.series()?, (HOUR / STEP) as u64);
        let mut dice = Rng::stream(bench.seed, self.rounds);
        let mut recorder = Recorder::new(span.started);
        while span.goes_on(Instant::now()) {
            let number = dice.below(u64::from(SERIES)) as u32;
            let from = dice.below(self.steps.saturating_sub(steps) + 1);
            let to = (from + steps).min(self.steps);
            let begin = Instant::now();
            let mut found = Sums::NONE;
            series.window(number, time_of(from), time_of(to), &mut |_, value| found.add(value))?;
            recorder.record(begin, Instant::now());
            right(found, Sums::expected(bench.seed, number, from..to))?;
        }
        Ok(Done::reading(recorder))
    }

    /// Hours of as many series as it takes to have so many points.
    fn hours(&self, bench: &Bench<'_>, span: Span<'_>) -> Result<Done> {
        let series = self.series()?;
        let count = SUMMED.div_ceil(self.steps).min(u64::from(SERIES)) as u32;
        let first = (self.rounds % u64::from(SERIES - count + 1)) as u32;
        let (end, per_hour) = (time_of(self.steps), (HOUR / STEP) as u64);
        let mut recorder = Recorder::new(span.started);
        let mut now = span.started;
        // Once at least, however long it takes.
        while recorder.operations() == 0 || span.goes_on(now) {
            let begin = Instant::now();
            let mut all = Vec::new();
            for number in first..first + count {
                let mut hours: Vec<(i64, Sums)> = Vec::new();
                series.window(number, BEGIN, end, &mut |time, value| {
                    let hour = time.div_euclid(HOUR);
                    match hours.last_mut() {
                        Some((last, sums)) if *last == hour => sums.add(value),
                        _ => {
                            let mut sums = Sums::NONE;
                            sums.add(value);
                            hours.push((hour, sums));
                        }
                    }
                })?;
                all.push(hours);
            }
            now = Instant::now();
            recorder.record(begin, now);
            for (number, hours) in (first..).zip(all) {
                for (at, (_, sums)) in hours.iter().enumerate() {
                    let from = at as u64 * per_hour;
                    right(
                        *sums,
                        Sums::expected(bench.seed, number, from..(from + per_hour).min(self.steps)),
                    )?;
                }
                if hours.len() as u64 != self.steps.div_ceil(per_hour) {
                    return Err(Error::WrongAnswer(format!("{} hours of series {number}", hours.len())));
                }
            }
        }
        Ok(Done::reading(recorder))
    }
}

fn right(found: Sums, expected: Sums) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::WrongAnswer(format!("a window holds {found:?} instead of {expected:?}")))
}

impl Case for SeriesCase {
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()> {
        self.series = Some(self.open(bench)?);
        Ok(())
    }

    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured> {
        self.rounds += 1;
        match phase {
            0 => self.insert(bench),
            1 => {
                let mut measured = bench.threads("window", 1, budget, |_, span| self.windows(bench, span))?;
                measured.push(Figure::lower("window_us", measured.quantile_us(0.5), "us"));
                Ok(measured)
            }
            _ => {
                let mut measured = bench.threads("hours", 1, budget, |_, span| self.hours(bench, span))?;
                let points = (SUMMED.div_ceil(self.steps).min(u64::from(SERIES)) * self.steps) as f64;
                let millions = points / 1e6;
                measured.push(Figure::lower(
                    "ms_per_million",
                    measured.quantile_us(0.5) / 1e3 / millions,
                    "ms",
                ));
                Ok(measured)
            }
        }
    }

    fn figures(&self, bench: &Bench<'_>, phase: usize, measured: &Measured) -> Vec<Figure> {
        let mut figures = measured.sample_figures();
        if phase == 1 {
            figures.extend(measured.latency_figures());
        }
        if bench.kind.name() == "llmdb" {
            for figure in &mut figures {
                let (bound, text) = match figure.name.as_str() {
                    "points" => (500_000.0, "500,000 points a second in batches"),
                    "window_us" => (200.0, "an hour of a series within 200 us"),
                    "ms_per_million" => (50.0, "a million points by the hour within 50 ms"),
                    _ => continue,
                };
                *figure = figure.clone().target(bound, text);
            }
        }
        figures
    }

    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted> {
        // From the files, not from memory.
        self.series = None;
        let series = self.open(bench)?;
        let mut counted = Counted { expected: self.steps * u64::from(SERIES), found: 0 };
        for number in 0..SERIES {
            let (mut found, mut last) = (Sums::NONE, i64::MIN);
            let mut in_order = true;
            series.window(number, BEGIN, time_of(self.steps), &mut |time, value| {
                in_order &= last < time;
                last = time;
                found.add(value);
            })?;
            if !in_order {
                return Err(Error::WrongAnswer(format!("points of series {number} are out of order")));
            }
            right(found, Sums::expected(bench.seed, number, 0..self.steps))?;
            counted.found += found.count;
        }
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_comes_and_its_right_value_last() {
        let mut coming = Coming::new(3, 1_000);
        let (mut batch, mut last, mut came, mut late) = (Vec::new(), BTreeMap::new(), 0, 0);
        let mut newest = BTreeMap::new();
        while coming.fill(&mut batch) {
            for point in &batch {
                came += 1;
                last.insert((point.series, point.time), point.value);
                let newest = newest.entry(point.series).or_insert(point.time);
                late += u64::from(point.time < *newest);
                *newest = point.time.max(*newest);
            }
        }
        assert_eq!(last.len(), 100_000);
        assert!(came > 100_500 && late > 4_000, "{came} {late}");
        let right = |(&(series, time), &value): (&(u32, i64), &f64)| {
            value == value_of(3, series, ((time - BEGIN) / STEP) as u64)
        };
        assert!(last.iter().all(right));
    }
}
