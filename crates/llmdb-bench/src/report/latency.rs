//! Latency histograms: taken out of a result, drawn in text, and written as a log that other tools read.
//!
//! Not here: recording (`measure`).

use super::words;
use crate::results::{LatencySummary, RunReport};
use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};
use std::time::Duration;

/// Rows of a drawn histogram at most.
const ROWS_MAX: usize = 14;

/// The whole histogram of a result; `None` where its text is damaged.
pub fn histogram(latency: &LatencySummary) -> Option<Histogram<u64>> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(&latency.hdr).ok()?;
    Deserializer::new().deserialize(&mut &bytes[..]).ok()
}

/// A range of latencies and how many fell into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// From how many nanoseconds on.
    pub from: u64,
    /// Up to, not including.
    pub to: u64,
    /// How many.
    pub count: u64,
}

/// Buckets that each reach to the same multiple of their start, from the fastest to the slowest.
pub fn buckets(histogram: &Histogram<u64>) -> Vec<Bucket> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let (low, high) = (histogram.min().max(1) as f64, histogram.max().max(2) as f64 + 1.0);
    // Whole steps of the eighth root of 2 or larger, so that a narrow distribution still has a shape.
    let step = ((high / low).log2() / ROWS_MAX as f64).max(0.125);
    let count = (((high / low).log2() / step).ceil() as usize).clamp(1, ROWS_MAX + 1);
    let edge = |index: usize| (low * (step * index as f64).exp2()).round() as u64;
    let mut buckets: Vec<_> =
        (0..count).map(|index| Bucket { from: edge(index), to: edge(index + 1), count: 0 }).collect();
    for value in histogram.iter_recorded() {
        let at = value.value_iterated_to();
        let index = buckets.iter().position(|bucket| at < bucket.to).unwrap_or(buckets.len() - 1);
        buckets[index].count += value.count_at_value();
    }
    buckets
}

/// The histogram in text, `width` columns for the longest bar.
pub fn draw(latency: &LatencySummary, width: usize) -> String {
    let Some(histogram) = histogram(latency) else { return String::new() };
    let buckets = buckets(&histogram);
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0).max(1);
    let mut text = String::new();
    for bucket in buckets {
        let share = bucket.count as f64 / histogram.len() as f64 * 100.0;
        let line = format!(
            "  {:>8} to {:>8}  {:<width$} {share:>5.1} %",
            words::nanoseconds(bucket.from as f64),
            words::nanoseconds(bucket.to as f64),
            bar(bucket.count as f64 / most as f64, width),
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let at = |ns: u64| words::nanoseconds(ns as f64);
    text + &format!(
        "  p50 {}   p95 {}   p99 {}   p99.9 {}   slowest {}   of {}\n",
        at(latency.p50),
        at(latency.p95),
        at(latency.p99),
        at(latency.p999),
        at(latency.max),
        latency.count
    )
}

/// A bar of `share` of `width` columns, in eighths of a column; something for everything that is not nothing.
pub fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// All histograms of a run as an HdrHistogram log: one line each, tagged with the result's key.
pub fn interval_log(report: &RunReport) -> String {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("latencies in nanoseconds; tag: suite/workload/engine/durability/parameters");
    if let Ok(mut log) = builder.begin_log_with(&mut bytes, &mut serializer) {
        for result in report.results.iter().filter(|result| result.error.is_none()) {
            let Some(histogram) = result.latency.as_ref().and_then(histogram) else { continue };
            let key: String = result.key().replace(',', ";").split_whitespace().collect();
            // Writing into memory cannot fail, and a tag without spaces and commas is a tag.
            let _ = log.write_histogram(&histogram, Duration::ZERO, Duration::ZERO, Tag::new(&key));
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        values.iter().for_each(|value| histogram.record(*value).unwrap());
        histogram
    }

    #[test]
    fn buckets_hold_every_value_once_and_leave_no_gap() {
        for values in
            [&[5_u64][..], &[1, 1, 1], &[300, 310, 320, 330], &[200, 5_000, 1_000_000, 3_000_000_000]]
        {
            let buckets = buckets(&recorded(values));
            assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), values.len() as u64);
            assert!(buckets.windows(2).all(|pair| pair[0].to == pair[1].from), "{buckets:?}");
            assert!(buckets.len() <= ROWS_MAX + 1, "{buckets:?}");
        }
        assert!(super::buckets(&recorded(&[])).is_empty());
    }

    #[test]
    fn bars_grow_by_eighths_and_nothing_is_not_something() {
        assert_eq!(bar(0.0, 10), "");
        assert_eq!(bar(0.0001, 10), "▏");
        assert_eq!(bar(0.5, 10), "█████");
        assert_eq!(bar(1.0, 2), "██");
        assert_eq!(bar(9.0, 2), "██");
    }
}
