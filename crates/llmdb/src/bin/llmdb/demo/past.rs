//! Corrections that rewrote the past: where a release changed what had been believed about time that had
//! already gone by when it came out.
//!
//! A correction is one zone in one release. A change of offset or abbreviation counts; a zone of which nothing
//! had been known does not, nor does the mere name of the release.

use std::collections::{BTreeMap, BTreeSet};

use llmdb::{Answer, DiffRow, KeyRange, Known, Question, ReadTxn, Row, Value};
use serde_json::Value as Json;

use super::data::ZONES;
use super::story::BEIRUT;
use crate::exit::Failure;

/// What was rewritten.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Past {
    /// Microseconds of the past that changed, by zone and commit.
    pub(crate) corrections: BTreeMap<(String, u64), i64>,
}

impl Past {
    pub(crate) fn zone_count(&self) -> usize {
        self.corrections.keys().map(|(zone, _)| zone).collect::<BTreeSet<_>>().len()
    }

    pub(crate) fn beirut_hours(&self) -> f64 {
        let micros: i64 =
            self.corrections.iter().filter(|((zone, _), _)| zone == BEIRUT).map(|(_, span)| span).sum();
        micros as f64 / 3_600e6
    }
}

pub(crate) fn corrections(read: &ReadTxn) -> Result<Past, Failure> {
    let mut past = Past::default();
    let newest = read.newest().map_or(0, |stamp| stamp.commit.get()) as i64;
    for commit in 1..=newest {
        let Some(stamp) = read.temporal().resolve(Known::Commit(commit)).map_err(llmdb::Error::from)? else {
            continue;
        };
        let question = Question::Diff {
            collection: ZONES.into(),
            keys: KeyRange::ALL,
            from: Known::Commit(commit - 1),
            to: Known::Commit(commit),
            valid_at: None,
        };
        let Answer::Rows(rows) = read.ask(&question, None)? else { continue };
        for row in rows {
            if let Row::Difference(row) = row.map_err(llmdb::Error::from)? {
                past.count(&row, stamp.commit.get(), stamp.at.micros());
            }
        }
    }
    Ok(past)
}

impl Past {
    fn count(&mut self, row: &DiffRow, commit: u64, published: i64) {
        let Some(before) = &row.before else { return };
        let gone = row.valid.to.micros().min(published).saturating_sub(row.valid.from.micros());
        if gone > 0 && says(Some(before)) != says(row.after.as_ref()) {
            let zone = String::from_utf8_lossy(&row.key).into_owned();
            *self.corrections.entry((zone, commit)).or_default() += gone;
        }
    }
}

/// Offset and abbreviation, without the name of the release.
fn says(value: Option<&Value>) -> Option<(Json, Json)> {
    value.and_then(Value::as_json).map(|value| (value["utc_offset_s"].clone(), value["abbr"].clone()))
}

#[cfg(test)]
mod tests {
    use super::super::data::{Statement, statements};
    use super::super::load;
    use super::*;

    /// What the statements up to `tx` say about one zone at one instant: the last one that covers it.
    fn belief(statements: &[&Statement], at: i64, tx: i64) -> Option<(Json, Json)> {
        let last = statements.iter().rev().find(|s| s.tx <= tx && s.from <= at && at < s.to)?;
        last.value.as_ref().map(|value| (value["utc_offset_s"].clone(), value["abbr"].clone()))
    }

    /// The same count by trying every release, zone and piece between bounds.
    fn brute_force() -> Past {
        let statements = statements().unwrap();
        let mut releases: Vec<i64> = statements.iter().map(|s| s.tx).collect();
        releases.dedup();
        let mut zones: BTreeMap<&str, Vec<&Statement>> = BTreeMap::new();
        for statement in &statements {
            zones.entry(&statement.key).or_default().push(statement);
        }
        let mut past = Past::default();
        for (zone, said) in &zones {
            for (commit, pair) in (1..).zip(releases.windows(2)) {
                let mut bounds: Vec<i64> =
                    said.iter().flat_map(|s| [s.from, s.to]).chain([pair[1]]).collect();
                bounds.sort_unstable();
                for piece in bounds.windows(2).filter(|piece| piece[1] <= pair[1] && piece[0] < piece[1]) {
                    let [before, after] = [pair[0], pair[1]].map(|tx| belief(said, piece[0], tx));
                    if before.is_some() && before != after {
                        *past.corrections.entry((zone.to_string(), commit)).or_default() +=
                            piece[1] - piece[0];
                    }
                }
            }
        }
        past
    }

    #[test]
    fn corrections_of_the_past_are_those_that_brute_force_finds() {
        let directory = tempfile::tempdir().unwrap();
        let loaded = load::load(&directory.path().join("demo.llmdb")).unwrap();
        let found = corrections(&loaded.db.begin_read().unwrap()).unwrap();
        assert_eq!(found, brute_force());
        assert_eq!(found.zone_count(), 12);
        assert_eq!(found.corrections.len(), 14);
        assert_eq!(found.beirut_hours().round(), 70.0);
    }
}
