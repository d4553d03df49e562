//! Holds the counts and times of two builds against each other.
//!
//! Invariants
//! 1. A count that grew by more than 5 % fails; one that was 0 fails as soon as it is not.
//! 2. Wall clock fails only where `clock` is sure.
//! 3. What only one build has fails nothing, and is said.
//!
//! Not here: measuring, and how it is told (`comment`).

use super::accept::{self, Accept, WALL_CLOCK};
use super::clock::ClockRow;
use super::counts::{Counts, GateCounts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// By how much a count may grow.
pub const LIMIT: f64 = 1.05;

/// What became of a count or a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Within 5 %.
    Same,
    /// More than 5 % less.
    Better,
    /// More than 5 % more.
    Worse,
    /// More than 5 % more, and a commit message says why.
    Accepted(String),
    /// The base does not have it.
    New,
    /// The new build does not have it.
    Gone,
}

/// A count of an operation in both builds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountRow {
    /// The operation.
    pub operation: String,
    /// The count.
    pub count: String,
    /// Per operation in the base.
    pub base: Option<f64>,
    /// Per operation in the new build.
    pub new: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
}

/// The outcome of a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What the base is, such as a commit.
    pub base: String,
    /// What the new build is.
    pub new: String,
    /// Every count.
    pub counts: Vec<CountRow>,
    /// Every time, with its verdict.
    pub clocks: Vec<(ClockRow, Verdict)>,
    /// What commit messages accept.
    pub accepts: Vec<Accept>,
    /// What else a reader must know.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Compares two builds; `messages` are the commit messages between them.
    pub fn new(
        (base_name, base): (&str, &GateCounts),
        (new_name, new): (&str, &GateCounts),
        clocks: Vec<ClockRow>,
        messages: &str,
    ) -> Self {
        let (accepts, incomplete) = accept::parse(messages);
        let mut comparison = Self {
            base: base_name.to_owned(),
            new: new_name.to_owned(),
            counts: count_rows(base, new, &accepts),
            clocks: clocks.into_iter().map(|row| judged(row, &accepts)).collect(),
            accepts,
            notes: Vec::new(),
        };
        comparison.notes = comparison.notes(&incomplete);
        comparison
    }

    /// Whether nothing became worse that no commit message accepts.
    pub fn passes(&self) -> bool {
        self.failures().is_empty()
    }

    /// What became worse, as `OPERATION/COUNT`.
    pub fn failures(&self) -> Vec<String> {
        let counts = self.counts.iter().filter(|row| row.verdict == Verdict::Worse);
        let clocks = self.clocks.iter().filter(|(_, verdict)| *verdict == Verdict::Worse);
        counts
            .map(|row| format!("{}/{}", row.operation, row.count))
            .chain(clocks.map(|(row, _)| format!("{}/{WALL_CLOCK}", row.operation)))
            .collect()
    }

    fn notes(&self, incomplete: &[String]) -> Vec<String> {
        let mut notes = Vec::new();
        let list = |verdict: &Verdict| -> Vec<String> {
            let rows = self.counts.iter().filter(|row| row.verdict == *verdict);
            rows.map(|row| format!("{}/{}", row.operation, row.count)).collect()
        };
        for (verdict, text) in [
            (Verdict::New, "the base does not have"),
            (Verdict::Gone, "the new build no longer has, or did not count,"),
        ] {
            let names = list(&verdict);
            if !names.is_empty() {
                notes.push(format!("Compared with nothing, since {text} them: {}.", names.join(", ")));
            }
        }
        for accept in &self.accepts {
            if !self.uses(accept) {
                let name = &accept.name;
                notes.push(format!("`{} {name}` accepts nothing: `{name}` is no worse.", accept::PREFIX));
            }
        }
        for line in incomplete {
            notes.push(format!("`{line}` says no reason, so it accepts nothing."));
        }
        notes
    }

    fn uses(&self, accept: &Accept) -> bool {
        let accepted = |verdict: &Verdict| matches!(verdict, Verdict::Accepted(_));
        let mut counts = self.counts.iter().filter(|row| accepted(&row.verdict));
        let mut clocks = self.clocks.iter().filter(|(_, verdict)| accepted(verdict));
        counts.any(|row| accept.covers(&row.operation, &row.count))
            || clocks.any(|(row, _)| accept.covers(&row.operation, WALL_CLOCK))
    }
}

fn count_rows(base: &GateCounts, new: &GateCounts, accepts: &[Accept]) -> Vec<CountRow> {
    let none = Counts::new();
    let operations: BTreeSet<_> = base.operations.keys().chain(new.operations.keys()).collect();
    let mut rows = Vec::new();
    for operation in operations {
        let base = base.operations.get(operation).unwrap_or(&none);
        let new = new.operations.get(operation).unwrap_or(&none);
        for count in base.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let (base, new) = (base.get(count).copied(), new.get(count).copied());
            let verdict = match (base, new) {
                (Some(base), Some(new)) if new > base * LIMIT => worse(operation, count, accepts),
                (Some(base), Some(new)) if new < base / LIMIT => Verdict::Better,
                (Some(_), Some(_)) => Verdict::Same,
                (None, _) => Verdict::New,
                (Some(_), None) => Verdict::Gone,
            };
            rows.push(CountRow { operation: operation.clone(), count: count.clone(), base, new, verdict });
        }
    }
    rows
}

fn judged(row: ClockRow, accepts: &[Accept]) -> (ClockRow, Verdict) {
    let verdict = if row.is_slower() {
        worse(&row.operation, WALL_CLOCK, accepts)
    } else if row.is_faster() {
        Verdict::Better
    } else {
        Verdict::Same
    };
    (row, verdict)
}

fn worse(operation: &str, count: &str, accepts: &[Accept]) -> Verdict {
    match accepts.iter().find(|accept| accept.covers(operation, count)) {
        Some(accept) => Verdict::Accepted(accept.reason.clone()),
        None => Verdict::Worse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::clock::Interval;

    fn counts(pairs: &[(&str, &str, f64)]) -> GateCounts {
        let mut counts = GateCounts::new();
        for (operation, count, value) in pairs {
            let of = counts.operations.entry((*operation).to_owned()).or_default();
            of.insert((*count).to_owned(), *value);
        }
        counts
    }

    fn verdict_of(base: f64, new: f64) -> Verdict {
        let (base, new) = (counts(&[("get", "pages", base)]), counts(&[("get", "pages", new)]));
        Comparison::new(("a", &base), ("b", &new), Vec::new(), "").counts.remove(0).verdict
    }

    fn clock(low: f64, high: f64) -> ClockRow {
        let ratio = Interval { ratio: (low + high) / 2.0, low, high };
        ClockRow { operation: "get".into(), base_ns: 1.0, new_ns: 1.0, ratio, rounds: 15 }
    }

    #[test]
    fn a_count_may_grow_by_five_percent_and_no_more() {
        assert_eq!(verdict_of(100.0, 100.0), Verdict::Same);
        assert_eq!(verdict_of(100.0, 105.0), Verdict::Same);
        assert_eq!(verdict_of(100.0, 105.1), Verdict::Worse);
        assert_eq!(verdict_of(100.0, 95.0), Verdict::Better);
        assert_eq!(verdict_of(0.0, 0.0), Verdict::Same);
        assert_eq!(verdict_of(0.0, 1.0), Verdict::Worse);
        assert_eq!(verdict_of(1.0, 0.0), Verdict::Better);
    }

    #[test]
    fn the_clock_fails_only_when_the_whole_interval_lies_beyond_the_limit() {
        let none = GateCounts::new();
        let gate = |row| Comparison::new(("a", &none), ("b", &none), vec![row], "");
        assert!(gate(clock(1.04, 1.9)).passes());
        assert_eq!(gate(clock(1.06, 1.2)).failures(), ["get/wall_clock"]);
        assert_eq!(gate(clock(0.5, 0.6)).clocks[0].1, Verdict::Better);
    }

    #[test]
    fn a_commit_message_accepts_what_it_names_and_nothing_else() {
        let base = counts(&[("get", "pages", 3.0), ("get", "allocations", 0.0)]);
        let new = counts(&[("get", "pages", 4.0), ("get", "allocations", 1.0)]);
        let message =
            "x\n\nbench-accept: get/pages a level more\nbench-accept: open slower\nbench-accept: scan";
        let gate = Comparison::new(("a", &base), ("b", &new), vec![clock(1.1, 1.2)], message);
        assert_eq!(gate.failures(), ["get/allocations", "get/wall_clock"]);
        let pages = gate.counts.iter().find(|row| row.count == "pages").unwrap();
        assert_eq!(pages.verdict, Verdict::Accepted("a level more".into()));
        let notes = gate.notes.join("\n");
        assert!(notes.contains("`open` is no worse") && notes.contains("says no reason"), "{notes}");
        assert!(
            Comparison::new(("a", &base), ("b", &new), vec![clock(1.1, 1.2)], "bench-accept: get all")
                .passes()
        );
    }

    #[test]
    fn what_only_one_build_has_is_said_and_fails_nothing() {
        let base = counts(&[("get", "pages", 3.0), ("old", "pages", 3.0)]);
        let new = counts(&[("get", "pages", 3.0), ("get", "instructions", 9.0)]);
        let gate = Comparison::new(("a", &base), ("b", &new), Vec::new(), "");
        assert!(gate.passes());
        assert!(
            gate.notes[0].contains("get/instructions") && gate.notes[1].contains("old/pages"),
            "{gate:?}"
        );
    }
}
