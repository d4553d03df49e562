//! Numbers and settings as a newcomer reads them.

use crate::results::{Better, Durability, Machine, RunReport};
use std::collections::BTreeMap;

/// A value with its unit, in at most four digits: "12.3 us", "1.24 M/s".
pub fn amount(value: f64, unit: &str) -> String {
    match unit {
        "1/s" | "ops/s" => format!("{}/s", scaled(value)),
        "bytes" | "B" => format!("{}B", scaled(value)),
        "1" | "" => plain(value),
        "x" => format!("{}x", plain(value)),
        "ns" => nanoseconds(value),
        "us" => nanoseconds(value * 1e3),
        "ms" => nanoseconds(value * 1e6),
        "s" => nanoseconds(value * 1e9),
        other => format!("{} {other}", plain(value)),
    }
}

/// A duration in the unit that suits.
pub fn nanoseconds(ns: f64) -> String {
    match ns.abs() {
        size if size < 1e3 => format!("{} ns", plain(ns)),
        size if size < 1e6 => format!("{} us", plain(ns / 1e3)),
        size if size < 1e9 => format!("{} ms", plain(ns / 1e6)),
        _ => format!("{} s", plain(ns / 1e9)),
    }
}

/// A ratio to something named: "1.3x lmdb".
pub fn ratio(name: &str, ratio: f64) -> String {
    format!("{}x {name}", plain(ratio))
}

/// A figure's name for people: "commit p99.9".
pub fn figure(name: &str) -> String {
    name.replace("p999", "p99.9").replace('_', " ")
}

/// A workload's parameters for people: "keys of 16 B, 8 threads".
pub fn parameters(parameters: &BTreeMap<String, String>) -> String {
    parameters.iter().map(|(name, value)| parameter(name, value)).collect::<Vec<_>>().join(", ")
}

fn parameter(name: &str, value: &str) -> String {
    let Ok(number) = value.parse::<u64>() else {
        return match name {
            "order" => format!("{value} keys"),
            "loop" => format!("{value} loop"),
            "read" | "fill" | "load" | "crash" | "run" => value.to_owned(),
            _ => format!("{}: {value}", figure(name)),
        };
    };
    let count = |one: &str| format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" });
    match name {
        "key" => format!("keys of {}", bytes(number)),
        "value" => format!("values of {}", bytes(number)),
        "threads" => count("thread"),
        "readers" => count("reader"),
        "writers" => count("writer"),
        "records" => count("record"),
        "opens" => count("open"),
        "per_transaction" => format!("{} a transaction", count("record")),
        "preload" => format!("{} there before", count("record")),
        "preload_mb" => format!("{number} MB there before"),
        "operations_max" => format!("at most {}", count("operation")),
        "database_kb" => format!("a database of {}", bytes(number << 10)),
        "log_kb" => format!("{} committed before each crash", bytes(number << 10)),
        _ => format!("{}: {}", figure(name), grouped(number)),
    }
}

/// Bytes in the largest unit that divides them.
fn bytes(count: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| count >= *unit && count.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{} B", grouped(count)), |(unit, name)| format!("{} {name}", count / unit))
}

/// A whole number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Which way a figure is better.
pub fn better(better: Better) -> &'static str {
    match better {
        Better::Higher => "higher is better",
        Better::Lower => "lower is better",
    }
}

/// When a commit counts as done, in a word or two and in a sentence.
pub fn durability(durable: Durability) -> (&'static str, &'static str) {
    match durable {
        Durability::Sync => {
            ("durable", "a commit returns when it is on the device: a power cut loses nothing")
        }
        Durability::NoLog => {
            ("durable, no log", "a commit returns when it is on the device, each one a checkpoint of its own")
        }
        Durability::Interval => (
            "NOT durable at once",
            "commits reach the device some time later: a power cut loses the last moments",
        ),
        Durability::None => ("NOT durable", "nothing is flushed: a power cut may lose anything"),
        Durability::ReadOnly => ("reads only", "nothing is written while it is measured"),
    }
}

/// The machine in a line.
pub fn machine(machine: &Machine) -> String {
    format!(
        "{}, {} core{}, {} of memory, {}, Linux {}",
        machine.cpu,
        machine.cores,
        if machine.cores == 1 { "" } else { "s" },
        gibibytes(machine.memory_bytes),
        machine.filesystem,
        machine.kernel
    )
}

/// What was measured, in a line.
pub fn source(report: &RunReport) -> String {
    let changes = if report.dirty { " with changes that it does not hold" } else { "" };
    format!(
        "commit {}{changes}, profile {}, seed {}, {}",
        report.commit, report.profile, report.seed, report.date
    )
}

/// What the storage alone does; `None` where it was not probed.
pub fn probe(machine: &Machine) -> Option<String> {
    let probe = machine.probe?;
    Some(format!(
        "the storage alone: 4 KiB overwritten and flushed in {} (p99 {}), {} MB/s in sequence, cold 4 KiB read in {} \
         (p99 {})",
        amount(probe.overwrite_sync_us_p50, "us"),
        amount(probe.overwrite_sync_us_p99, "us"),
        plain(probe.sequential_sync_mb_s),
        amount(probe.cold_read_us_p50, "us"),
        amount(probe.cold_read_us_p99, "us"),
    ))
}

/// How far the storage's figures went over the run; `None` where it was probed once at most.
pub fn probe_spread(machine: &Machine) -> Option<String> {
    let spread = machine.probe_spread.filter(|spread| spread.count > 1)?;
    let (overwrites, sequential) = (spread.overwrite_sync_us_p50, spread.sequential_sync_mb_s);
    Some(format!(
        "these are medians of {} probes over the run: overwrites from {} to {}, in sequence from {} to {} MB/s",
        spread.count,
        amount(overwrites.0, "us"),
        amount(overwrites.1, "us"),
        plain(sequential.0),
        plain(sequential.1)
    ))
}

/// How flushes were checked.
pub fn flushes(machine: &Machine) -> &'static str {
    match machine.counts_flushes {
        true => {
            "flushes: counted, LLMDB's as it asks for them, the others' by the device; too few fail a result"
        }
        false => {
            "flushes: LLMDB's counted as it asks for them; the others' not measurable here, as the storage is no \
             block device that counts them or has forced unit access"
        }
    }
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.0} GiB", bytes as f64 / f64::from(1 << 30))
}

fn scaled(value: f64) -> String {
    match value.abs() {
        size if size < 1e3 => format!("{} ", plain(value)).trim_end().to_owned(),
        size if size < 1e6 => format!("{} k", plain(value / 1e3)),
        size if size < 1e9 => format!("{} M", plain(value / 1e6)),
        _ => format!("{} G", plain(value / 1e9)),
    }
}

/// Three significant digits, and no exponent.
pub fn plain(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.001 => format!("{value:.5}"),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_the_unit_that_suits() {
        for (value, unit, text) in [
            (0.295, "us", "295 ns"),
            (12.34, "us", "12.3 us"),
            (61_000.0, "us", "61.0 ms"),
            (1_240_000.0, "1/s", "1.24 M/s"),
            (12.0, "1/s", "12.0/s"),
            (251.4, "MB/s", "251 MB/s"),
            (4.2, "x", "4.20x"),
            (0.0, "1", "0"),
            (5.0, "MiB", "5.00 MiB"),
            (1.5e9, "ns", "1.50 s"),
        ] {
            assert_eq!(amount(value, unit), text);
        }
    }

    #[test]
    fn parameters_are_said_with_their_units() {
        for (name, value, text) in [
            ("key", "16", "keys of 16 B"),
            ("value", "1048576", "values of 1 MiB"),
            ("threads", "1", "1 thread"),
            ("per_transaction", "1000", "1,000 records a transaction"),
            ("records", "1234567", "1,234,567 records"),
            ("order", "random", "random keys"),
            ("read", "get, cold", "get, cold"),
            ("database_kb", "1048576", "a database of 1 GiB"),
            ("small_mb", "10", "small mb: 10"),
            ("writers", "0, then 1", "writers: 0, then 1"),
        ] {
            assert_eq!(parameter(name, value), text);
        }
        assert_eq!(figure("commit_p999_to_p50"), "commit p99.9 to p50");
    }

    #[test]
    fn only_durable_modes_are_called_durable() {
        for durable in Durability::ALL {
            let (word, sentence) = durability(durable);
            assert_eq!(word.starts_with("durable"), durable.is_durable(), "{word}");
            assert!(!sentence.is_empty());
        }
    }
}
