//! A run against the newest earlier one of the same machine class.
//!
//! Invariants
//! 1. Only whole runs are compared, only of the same class of machine, the same profile and the same schema.
//! 2. A difference is shown as it is, without a verdict: two runs at different times differ by chance too, and the
//!    gate is what judges.

use crate::results::{Better, Figure, RunReport, SCHEMA};
use std::fs;
use std::path::{Path, PathBuf};

/// The file of a result folder that holds the run.
pub const RESULT_FILE: &str = "result.json";
/// Differences below this share are not worth a line.
const NOTABLE: f64 = 0.05;

/// The earlier run and what differs.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// Where it lies.
    pub path: PathBuf,
    /// Its commit.
    pub commit: String,
    /// When it began.
    pub date: String,
    /// How many figures both have.
    pub figures: usize,
    /// Those that differ notably, the worst first.
    pub changes: Vec<Change>,
}

/// A figure that is not what it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which result.
    pub key: String,
    /// Which figure of it.
    pub figure: String,
    /// Its unit.
    pub unit: String,
    /// What it was.
    pub before: f64,
    /// What it is.
    pub now: f64,
    /// How many times better: above 1 it improved.
    pub improvement: f64,
}

/// The newest earlier run in `results` (folders with a [`RESULT_FILE`]) that may be compared.
pub fn newest_earlier(report: &RunReport, results: &Path) -> Option<Earlier> {
    let folders = fs::read_dir(results).ok()?;
    let mut earlier: Vec<(PathBuf, RunReport)> = folders
        .flatten()
        .filter_map(|entry| {
            let path = entry.path().join(RESULT_FILE);
            let other: RunReport = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            is_comparable(report, &other).then_some((path, other))
        })
        .collect();
    earlier.sort_by(|a, b| a.1.date.cmp(&b.1.date));
    let (path, other) = earlier.pop()?;
    let (figures, changes) = changes(&other, report);
    Some(Earlier { path, commit: other.commit, date: other.date, figures, changes })
}

fn is_comparable(report: &RunReport, other: &RunReport) -> bool {
    let whole = !other.partial && other.schema == SCHEMA && report.schema == SCHEMA;
    whole
        && other.machine.class == report.machine.class
        && other.profile == report.profile
        && other.date < report.date
}

/// How many figures both have, and which of them changed.
pub fn changes(before: &RunReport, now: &RunReport) -> (usize, Vec<Change>) {
    let mut count = 0;
    let mut changes = Vec::new();
    for result in now.results.iter().filter(|result| result.error.is_none()) {
        let key = result.key();
        let same = |other: &&_| is_same(other, &key);
        let Some(old) = before.results.iter().find(same) else { continue };
        for figure in &result.figures {
            let Some(old) = old.figure(&figure.name).filter(|old| old.unit == figure.unit) else { continue };
            count += 1;
            changes.extend(change(&key, old, figure));
        }
    }
    changes.sort_by(|a, b| a.improvement.total_cmp(&b.improvement));
    (count, changes)
}

fn is_same(other: &crate::results::SuiteResult, key: &str) -> bool {
    other.error.is_none() && other.key() == key
}

fn change(key: &str, before: &Figure, now: &Figure) -> Option<Change> {
    if before.value <= 0.0 || now.value <= 0.0 {
        return None;
    }
    let improvement = match now.better {
        Better::Higher => now.value / before.value,
        Better::Lower => before.value / now.value,
    };
    let usual = 1.0 / (1.0 + NOTABLE)..=1.0 + NOTABLE;
    (!usual.contains(&improvement)).then(|| Change {
        key: key.to_owned(),
        figure: now.name.clone(),
        unit: now.unit.clone(),
        before: before.value,
        now: now.value,
        improvement,
    })
}
