//! The data of the demo: what 32 releases of the time zone database stated, and 300 questions.
//!
//! Origin and limits: `demo-data/README.md`.

use std::io::Read;

use flate2::read::GzDecoder;
use llmdb::ValidTime;
use llmdb::lines::time;
use serde_json::{Value as Json, json};

use super::broken;
use crate::exit::Failure;

const STATEMENTS: &[u8] = include_bytes!("../../../../demo-data/tzdb.ops.jsonl.gz");
const QUESTIONS: &[u8] = include_bytes!("../../../../demo-data/tzdb.queries.jsonl.gz");

/// The data ends here.
const WINDOW_END: &str = "2030-01-01T00:00:00Z";

/// The collection of the demo's zones.
pub(crate) const ZONES: &str = "main";
/// The collection by which the demo knows its own files.
pub(crate) const MARK: &str = "llmdb:demo";
/// The key of the mark.
pub(crate) const MARK_KEY: &str = "origin";

/// One line of the data.
#[derive(Debug)]
pub(crate) struct Statement {
    /// When the release was published.
    pub(crate) tx: i64,
    pub(crate) key: String,
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// `None` where the release no longer says anything.
    pub(crate) value: Option<Json>,
}

/// The instant `now`, or the last one that the data knows of.
pub(crate) fn within(now: ValidTime) -> Result<ValidTime, Failure> {
    let end = time::parse(WINDOW_END).map_err(|(_, message)| broken(&message))?;
    Ok(now.min(ValidTime::from_micros(end - 1).map_err(llmdb::Error::from)?))
}

/// The operations as JSON lines, the mark among those of the first transaction.
pub(crate) fn lines() -> Result<String, Failure> {
    let statements = unpack(STATEMENTS)?;
    let first: Json =
        statements.lines().next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let mark = json!({
        "op": "put", "collection": MARK, "key": MARK_KEY, "valid_from": null, "tx": first["tx"],
        "value": {"made_by": "llmdb demo", "data": "IANA time zone database, 2020a to 2026f, public domain"},
    });
    Ok(format!("{mark}\n{statements}"))
}

/// The same, taken apart.
pub(crate) fn statements() -> Result<Vec<Statement>, Failure> {
    unpack(STATEMENTS)?.lines().map(|line| statement(line).ok_or_else(|| broken(line))).collect()
}

/// The questions, each with the value that is `expected`.
pub(crate) fn questions() -> Result<Vec<Json>, Failure> {
    unpack(QUESTIONS)?.lines().map(|line| serde_json::from_str(line).map_err(|_| broken(line))).collect()
}

/// A time of the data.
pub(crate) fn micros(json: &Json) -> Option<i64> {
    time::parse(json.as_str()?).ok()
}

fn statement(line: &str) -> Option<Statement> {
    let json: Json = serde_json::from_str(line).ok()?;
    Some(Statement {
        tx: micros(&json["tx"])?,
        key: json["key"].as_str()?.into(),
        from: micros(&json["valid_from"])?,
        to: micros(&json["valid_to"])?,
        value: (json["op"] == "put").then(|| json["value"].clone()),
    })
}

fn unpack(packed: &[u8]) -> Result<String, Failure> {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).map_err(|error| broken(&error.to_string()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_whole() {
        let statements = statements().unwrap();
        assert_eq!(statements.len(), 4_015);
        let mut transactions: Vec<_> = statements.iter().map(|statement| statement.tx).collect();
        assert!(transactions.is_sorted());
        transactions.dedup();
        // Four of the 32 releases changed nothing in the window.
        assert_eq!(transactions.len(), 28);
        assert_eq!(questions().unwrap().len(), 300);
        assert_eq!(lines().unwrap().lines().count(), 4_016);
    }
}
