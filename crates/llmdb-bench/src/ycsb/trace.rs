//! The operations of a workload as lines of JSON, so that a checker can hold their distribution against
//! what YCSB's generators give.
//!
//! ```text
//! {"op":"read","k":17,"len":0}
//! ```
//!
//! `k` is the record's number (its key is "user" and the number's hash), `len` a scan's length, else 0.

use super::core::{Chooser, Mix, Operation};
use crate::error::{Error, Result};
use crate::rng::Rng;
use std::io::Write;

/// Writes the operations that one thread would do.
///
/// # Errors
/// No records, or the file cannot be written.
pub fn write(out: &mut dyn Write, mix: Mix, records: u64, operations: u64, seed: u64) -> Result<()> {
    for operation in operations_of(mix, records, operations, seed)? {
        let Operation { kind, number, length } = operation;
        writeln!(out, "{{\"op\":\"{}\",\"k\":{number},\"len\":{length}}}", kind.name())
            .map_err(|error| Error::io("writing the trace", error))?;
    }
    Ok(())
}

/// The operations that one thread would do, each insert acknowledged before the next operation.
///
/// # Errors
/// No records.
pub fn operations_of(
    mix: Mix,
    records: u64,
    operations: u64,
    seed: u64,
) -> Result<impl Iterator<Item = Operation>> {
    if records == 0 {
        return Err(Error::BadParameter {
            name: "records",
            value: "0".into(),
            must: "there must be at least one",
        });
    }
    let mut chooser = Chooser::new(mix, records, operations, Rng::stream(seed, 0));
    let mut newest = records - 1;
    Ok((0..operations).map(move |_| {
        let operation = chooser.next(newest, || newest + 1);
        newest = newest.max(operation.number);
        operation
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_one_line_of_json_for_each_operation() {
        let mut text = Vec::new();
        write(&mut text, Mix::of("e").unwrap(), 100, 500, 1).unwrap();
        let lines: Vec<serde_json::Value> = String::from_utf8(text)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 500);
        assert!(lines.iter().any(|line| line["op"] == "insert" && line["k"] == 100));
        assert!(lines.iter().all(|line| line["op"] == "insert" || line["len"].as_u64().unwrap() >= 1));
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        let trace =
            |seed| operations_of(Mix::of("a").unwrap(), 1_000, 100, seed).unwrap().collect::<Vec<_>>();
        assert_eq!(trace(1), trace(1));
        assert_ne!(trace(1), trace(2));
        assert!(operations_of(Mix::of("a").unwrap(), 0, 100, 1).is_err());
    }
}
