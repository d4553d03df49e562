//! Recorders of latencies and of operations over time.
//!
//! Invariants
//! 1. What several threads or rounds recorded adds up to one histogram and one line over time.
//!
//! Not here: which operation, and from when on it counts (`workload`).

use crate::results::{Durability, Figure, LatencySummary, Series};
use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use std::time::{Duration, Instant};

/// Latencies up to this are told apart; longer ones count as this.
const LATENCY_NS_MAX: u64 = 600_000_000_000;
/// A point of the line over time each.
const SAMPLE: Duration = Duration::from_millis(100);

/// What one thread records.
#[derive(Debug)]
pub struct Recorder {
    started: Instant,
    histogram: Histogram<u64>,
    /// Operations in each [`SAMPLE`] since the start.
    counts: Vec<u64>,
}

impl Recorder {
    /// Begins to record, from `started` on, which all threads share.
    pub fn new(started: Instant) -> Self {
        // Three digits, which the bounds allow: this cannot fail.
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).unwrap_or_else(|_| unreachable!());
        Self { started, histogram, counts: Vec::new() }
    }

    /// Records an operation that was meant to begin at `begin` and has ended at `end`.
    pub fn record(&mut self, begin: Instant, end: Instant) {
        self.record_many(begin, end, 1);
    }

    /// Records `count` operations that took from `begin` to `end` together, each the mean.
    pub fn record_many(&mut self, begin: Instant, end: Instant, count: u64) {
        let ns = end.saturating_duration_since(begin).as_nanos() as u64 / count.max(1);
        self.histogram.saturating_record_n(ns.max(1), count);
        self.count(end, count);
    }

    /// Counts operations without a latency.
    pub fn count(&mut self, end: Instant, count: u64) {
        let sample = (end.saturating_duration_since(self.started).as_nanos() / SAMPLE.as_nanos()) as usize;
        if self.counts.len() <= sample {
            self.counts.resize(sample + 1, 0);
        }
        self.counts[sample] += count;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A percentile of its latencies, in microseconds.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Adds what another thread recorded over the same time.
    pub fn merge(&mut self, other: &Self) {
        self.histogram += &other.histogram;
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }
}

/// What one round of a case measured.
#[derive(Debug)]
pub struct Measured {
    /// What the histogram is of.
    pub operation: &'static str,
    histogram: Histogram<u64>,
    counts: Vec<u64>,
    /// The measured part's wall time.
    pub elapsed: Duration,
    /// Operations of the main kind.
    pub operations: u64,
    /// Commits that were acknowledged.
    pub commits: u64,
    /// The most commits that can share a flush: the number of committing threads.
    pub commits_per_flush: u64,
    /// Bytes of keys and values that were written.
    pub user_bytes: u64,
    /// Flushes that the engine made, where they can be counted.
    pub flushes: Option<u64>,
    /// Bytes that the engine handed to the system, where it counts them.
    pub bytes_written: Option<u64>,
    /// Further measurements.
    pub samples: Vec<Sample>,
    /// What else was watched over time, in the last round that watched anything.
    pub series: Vec<Series>,
}

/// A further measurement of a round. Rounds are joined by the median.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The figure, without its value.
    pub figure: Figure,
    /// One value a round.
    pub values: Vec<f64>,
}

impl Sample {
    /// One round's value.
    pub fn of(figure: Figure) -> Self {
        Self { values: vec![figure.value], figure }
    }
}

impl Measured {
    /// A finished recording.
    pub fn new(operation: &'static str, recorder: Recorder, elapsed: Duration) -> Self {
        let operations = recorder.operations();
        Self {
            operation,
            histogram: recorder.histogram,
            counts: recorder.counts,
            elapsed,
            operations,
            commits: 0,
            commits_per_flush: 1,
            user_bytes: 0,
            flushes: None,
            bytes_written: None,
            samples: Vec::new(),
            series: Vec::new(),
        }
    }

    /// Adds a further figure of this round.
    pub fn push(&mut self, figure: Figure) {
        self.samples.push(Sample::of(figure));
    }

    /// Joins a later round of the same case.
    pub fn join(&mut self, later: Self) {
        self.histogram += &later.histogram;
        self.counts.extend(later.counts);
        self.elapsed += later.elapsed;
        self.operations += later.operations;
        self.commits += later.commits;
        self.user_bytes += later.user_bytes;
        self.flushes = self.flushes.zip(later.flushes).map(|(mine, theirs)| mine + theirs);
        self.bytes_written = self.bytes_written.zip(later.bytes_written).map(|(mine, theirs)| mine + theirs);
        if !later.series.is_empty() {
            self.series = later.series;
        }
        for sample in later.samples {
            match self.samples.iter_mut().find(|mine| mine.figure.name == sample.figure.name) {
                Some(mine) => mine.values.extend(sample.values),
                None => self.samples.push(sample),
            }
        }
    }

    /// Operations per second over all rounds.
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// A percentile of the latencies, in microseconds.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1e3
    }

    /// p50, p95, p99 and p99.9 as figures named after the operation.
    pub fn latency_figures(&self) -> Vec<Figure> {
        if self.histogram.is_empty() {
            return Vec::new();
        }
        [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)]
            .into_iter()
            .map(|(name, quantile)| {
                Figure::lower(&format!("{}_{name}", self.operation), self.quantile_us(quantile), "us")
            })
            .collect()
    }

    /// The further figures, each the median of its rounds.
    pub fn sample_figures(&self) -> Vec<Figure> {
        self.samples
            .iter()
            .map(|sample| Figure { value: median(&sample.values), ..sample.figure.clone() })
            .collect()
    }

    /// The histogram for a report; `None` if nothing was recorded.
    pub fn latency(&self) -> Option<LatencySummary> {
        if self.histogram.is_empty() {
            return None;
        }
        let mut bytes = Vec::new();
        // Writing into memory does not fail; a histogram that cannot be written is left out.
        V2Serializer::new().serialize(&self.histogram, &mut bytes).ok()?;
        let at = |quantile| self.histogram.value_at_quantile(quantile);
        Some(LatencySummary {
            operation: self.operation.to_owned(),
            count: self.histogram.len(),
            min: self.histogram.min(),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: self.histogram.max(),
            hdr: base64::engine::general_purpose::STANDARD.encode(bytes),
        })
    }

    /// Seconds and operations per second, one point for each tenth of a second; rounds follow each other.
    pub fn throughput(&self) -> Vec<(f64, f64)> {
        let seconds = SAMPLE.as_secs_f64();
        let points = self.counts.iter().enumerate();
        points.map(|(at, &count)| ((at + 1) as f64 * seconds, count as f64 / seconds)).collect()
    }

    /// The fewest flushes that its commits can have had.
    pub fn flushes_min(&self, durability: Durability) -> u64 {
        if durability.is_durable() { self.commits.div_ceil(self.commits_per_flush.max(1)) } else { 0 }
    }
}

/// The middle of some values; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_rounds_add_up() {
        let started = Instant::now();
        let after = |ms| started + Duration::from_millis(ms);
        let mut one = Recorder::new(started);
        one.record(after(0), after(1));
        let mut two = Recorder::new(started);
        two.record(after(0), after(150));
        two.record_many(after(150), after(170), 20);
        one.merge(&two);
        let mut measured = Measured::new("get", one, Duration::from_millis(200));
        assert_eq!(measured.operations, 22);
        assert_eq!(measured.throughput(), [(0.1, 10.0), (0.2, 210.0)]);
        measured.push(Figure::higher("rows", 1.0, "1/s"));
        let mut later = Measured::new("get", Recorder::new(started), Duration::from_millis(20));
        later.push(Figure::higher("rows", 5.0, "1/s"));
        measured.join(later);
        assert!((measured.per_second() - 100.0).abs() < 1e-6);
        assert!((measured.sample_figures()[0].value - 3.0).abs() < 1e-9);
        let latency = measured.latency().unwrap();
        assert_eq!(latency.count, 22);
        assert!((990_000..1_010_000).contains(&latency.p50), "{}", latency.p50);
    }

    #[test]
    fn a_histogram_can_be_read_back_from_its_text() {
        let started = Instant::now();
        let mut recorder = Recorder::new(started);
        recorder.record(started, started + Duration::from_micros(5));
        let latency = Measured::new("get", recorder, Duration::from_secs(1)).latency().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(latency.hdr).unwrap();
        let back: Histogram<u64> =
            hdrhistogram::serialization::Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        assert_eq!((back.len(), back.value_at_quantile(0.5)), (1, latency.p50));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
