//! The targets: what the product promises, held against what was measured.
//!
//! Invariants
//! 1. A promise is met or missed only by a figure that was measured in this run.
//! 2. A promise that nothing measured is listed all the same, with the reason.

use super::contest::OURS;
use super::words;
use crate::results::{Figure, RunReport, SuiteResult};

/// What became of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Reached.
    Met,
    /// Not reached.
    Missed,
    /// Not measured, and why.
    NotMeasured(String),
}

impl Outcome {
    /// The word in tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::NotMeasured(_) => "not measurable here",
        }
    }
}

/// A line of the table of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRow {
    /// What is promised.
    pub promise: String,
    /// Where it was measured.
    pub place: String,
    /// How much it was.
    pub measured: String,
    /// Met, missed or not measured.
    pub outcome: Outcome,
}

struct Promise {
    text: &'static str,
    workload: &'static str,
    figure: &'static str,
    otherwise: &'static str,
}

const NOT_RUN: &str = "its workload was not part of this run";

/// What the product promises, whether a suite measures it yet or not. A promise is covered by a figure with a
/// target whose workload and name contain these words.
const PROMISES: &[Promise] = &[
    Promise {
        text: "point read p99 under 60 us, 256 B values",
        workload: "read",
        figure: "get_p99",
        otherwise: NOT_RUN,
    },
    Promise {
        text: "250 MB/s of user data from one writer",
        workload: "write",
        figure: "user_data",
        otherwise: NOT_RUN,
    },
    Promise {
        text: "at most 5 MB of memory at startup",
        workload: "memory",
        figure: "startup",
        otherwise: NOT_RUN,
    },
    Promise { text: "ready within 1 s after a crash", workload: "recovery", figure: "", otherwise: NOT_RUN },
    Promise {
        text: "8 million pages a second from WebAssembly",
        workload: "wasm",
        figure: "pages",
        otherwise: "there is no suite for WebAssembly yet",
    },
    Promise {
        text: "databases of 128 TB",
        workload: "128",
        figure: "",
        otherwise: "no storage of that size; page numbers of 48 bits allow it",
    },
];

/// All targets of a run: those with a figure first, then the promises that nothing measured.
pub fn rows(report: &RunReport) -> Vec<TargetRow> {
    let mut rows = Vec::new();
    for (result, figure) in with_targets(report) {
        rows.extend(row(result, figure));
    }
    for promise in PROMISES {
        if !with_targets(report).any(|(result, figure)| covers(promise, result, figure)) {
            rows.push(TargetRow {
                promise: promise.text.to_owned(),
                place: String::new(),
                measured: "-".to_owned(),
                outcome: Outcome::NotMeasured(promise.otherwise.to_owned()),
            });
        }
    }
    rows
}

fn with_targets(report: &RunReport) -> impl Iterator<Item = (&SuiteResult, &Figure)> {
    let ours =
        report.results.iter().filter(|result| result.engine.starts_with(OURS) && result.error.is_none());
    ours.flat_map(|result| result.figures.iter().map(move |figure| (result, figure)))
        .filter(|(_, figure)| figure.target.is_some())
}

fn covers(promise: &Promise, result: &SuiteResult, figure: &Figure) -> bool {
    let workload = format!("{}/{}", result.suite, result.workload);
    workload.contains(promise.workload) && figure.name.contains(promise.figure)
}

fn row(result: &SuiteResult, figure: &Figure) -> Option<TargetRow> {
    let target = figure.target.as_ref()?;
    let outcome = if figure.is_met()? { Outcome::Met } else { Outcome::Missed };
    let parameters: Vec<_> =
        result.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
    Some(TargetRow {
        promise: format!("{} {}", figure.name, target.text),
        place: format!("{} on {}: {}", result.workload, result.engine, parameters.join(", ")),
        measured: words::amount(figure.value, &figure.unit),
        outcome,
    })
}
