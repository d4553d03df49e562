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
    /// What one thread must reach at least with durable commits, where no figure's own target says it.
    at_least: Option<f64>,
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
        at_least: None,
        otherwise: NOT_RUN,
    },
    Promise {
        text: "250 MB/s of user data from one writer",
        workload: "write",
        figure: "user_data",
        at_least: Some(250.0),
        otherwise: NOT_RUN,
    },
    Promise {
        text: "at most 5 MB of memory at startup",
        workload: "memory",
        figure: "",
        at_least: None,
        otherwise: NOT_RUN,
    },
    Promise {
        text: "ready within 1 s after a crash",
        workload: "recovery",
        figure: "",
        at_least: None,
        otherwise: NOT_RUN,
    },
    Promise {
        text: "8 million pages a second from WebAssembly",
        workload: "wasm",
        figure: "pages",
        at_least: None,
        otherwise: if cfg!(feature = "wasm") { NOT_RUN } else { "this build is without `--features wasm`" },
    },
    Promise {
        text: "databases of 128 TB",
        workload: "128",
        figure: "",
        at_least: None,
        otherwise: "no storage of that size; page numbers of 48 bits allow it",
    },
];

/// All targets of a run: those with a figure first, then the promises that nothing measured.
pub fn rows(report: &RunReport) -> Vec<TargetRow> {
    let mut rows = Vec::new();
    for (result, figure) in with_targets(report) {
        rows.extend(row(result, figure));
    }
    rows.extend(unmeasurable(report));
    for promise in PROMISES {
        if let Some(row) = promise.at_least.and_then(|bound| best_row(report, promise, bound)) {
            rows.push(row);
        } else if !with_targets(report).any(|(result, figure)| covers(promise, result, figure)) {
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

/// How many are met, missed and not measured, in words.
pub fn summary(rows: &[TargetRow]) -> String {
    let count = |wanted: &str| rows.iter().filter(|row| row.outcome.word() == wanted).count();
    format!(
        "{} met, {} missed, {} not measurable here",
        count("met"),
        count("MISSED"),
        count("not measurable here")
    )
}

/// Bars whose peer did not take part.
fn unmeasurable(report: &RunReport) -> impl Iterator<Item = TargetRow> {
    let ours = report.results.iter().filter(|result| result.engine.starts_with(OURS));
    ours.flat_map(|result| result.unmeasurable.iter().map(move |its| (result, its))).map(|(result, its)| {
        TargetRow {
            promise: its.target.clone(),
            place: place(result),
            measured: "-".to_owned(),
            outcome: Outcome::NotMeasured(format!("{}; {}", its.why, place(result))),
        }
    })
}

/// The row of a promise that the best of our durable results with one thread keeps or breaks.
fn best_row(report: &RunReport, promise: &Promise, bound: f64) -> Option<TargetRow> {
    let one_thread =
        |result: &&SuiteResult| result.parameters.get("threads").is_none_or(|count| count == "1");
    let (result, figure) = report
        .results
        .iter()
        .filter(|result| result.engine.starts_with(OURS) && result.error.is_none())
        .filter(|result| result.durable.is_durable() && result.workload.contains(promise.workload))
        .filter(one_thread)
        .filter_map(|result| Some((result, result.figure(promise.figure)?)))
        .max_by(|a, b| a.1.value.total_cmp(&b.1.value))?;
    Some(TargetRow {
        promise: promise.text.to_owned(),
        place: place(result),
        measured: words::amount(figure.value, &figure.unit),
        outcome: if figure.value >= bound { Outcome::Met } else { Outcome::Missed },
    })
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
    Some(TargetRow {
        promise: format!("{}: {}", words::figure(&figure.name), target.text),
        place: place(result),
        measured: words::amount(figure.value, &figure.unit),
        outcome,
    })
}

fn place(result: &SuiteResult) -> String {
    format!("{} on {}: {}", result.workload, result.engine, words::parameters(&result.parameters))
}
