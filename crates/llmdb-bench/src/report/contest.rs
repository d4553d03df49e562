//! Engines side by side: results of one workload with the same parameters and the same durability.
//!
//! Invariants
//! 1. Every result of a run is in exactly one contest, those that engines do not offer aside.
//! 2. LLMDB's own engines stand first, then the others by name.

use super::words;
use crate::results::{RunReport, Series, SuiteResult};

/// How the names of our own engines begin.
pub const OURS: &str = "llmdb";

/// Figures of a contest that are shown first.
const MAIN_FIGURES: usize = 3;
/// Figures that matter more than others, by the end of their name, the most important first.
const MAIN_WORDS: [&str; 8] = ["throughput", "gets", "rows", "user_data", "commits", "p50", "p99", "_ms"];

/// One workload with one set of parameters, on one or more engines.
#[derive(Clone, Debug)]
pub struct Contest<'a> {
    /// The suite.
    pub suite: &'a str,
    /// The workload.
    pub workload: &'a str,
    /// The parameters: "values of 256 B, 1 thread".
    pub parameters: String,
    /// One result an engine.
    pub results: Vec<&'a SuiteResult>,
}

impl<'a> Contest<'a> {
    /// "read_latency: values of 256 B, 1 thread".
    pub fn title(&self) -> String {
        let durability = self.results.first().map_or("", |result| words::durability(result.durable).0);
        match self.parameters.as_str() {
            "" => format!("{} ({durability})", self.workload),
            parameters => format!("{}: {parameters} ({durability})", self.workload),
        }
    }

    /// The names of the figures of all engines, in the order of the first that has them.
    pub fn figure_names(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for figure in self.results.iter().filter(|result| result.error.is_none()).flat_map(|r| &r.figures) {
            if !names.contains(&figure.name.as_str()) {
                names.push(&figure.name);
            }
        }
        names
    }

    /// The figures that say most, and those that have a target.
    pub fn main_figure_names(&self) -> Vec<&'a str> {
        let weight =
            |name: &&str| MAIN_WORDS.iter().position(|word| name.ends_with(word)).unwrap_or(MAIN_WORDS.len());
        let names = self.figure_names();
        let mut ordered = names.clone();
        ordered.sort_by_key(weight);
        ordered.truncate(MAIN_FIGURES);
        let has_target = |name: &str| {
            let mut figures = self.results.iter().filter_map(|result| result.figure(name));
            figures.any(|figure| figure.target.is_some())
        };
        names.into_iter().filter(|name| ordered.contains(name) || has_target(name)).collect()
    }

    /// Our result, if it stands.
    pub fn ours(&self) -> Option<&'a SuiteResult> {
        self.results.iter().copied().find(|result| result.engine.starts_with(OURS) && result.error.is_none())
    }

    /// What else was watched over time: each name once, with the engines that have it.
    pub fn series(&self) -> Vec<(&'a Series, Vec<(&'a str, &'a Series)>)> {
        let mut all: Vec<(&Series, Vec<(&str, &Series)>)> = Vec::new();
        for result in self.results.iter().filter(|result| result.error.is_none()) {
            for series in &result.series {
                let line = (result.engine.as_str(), series);
                match all.iter_mut().find(|(first, _)| first.name == series.name) {
                    Some((_, lines)) => lines.push(line),
                    None => all.push((series, vec![line])),
                }
            }
        }
        all
    }

    /// How one engine's figure stands to ours: "2.10x llmdb"; `None` for ours and where one is missing.
    pub fn ratio_to_ours(&self, result: &SuiteResult, figure: &str) -> Option<f64> {
        let ours = self.ours()?;
        let (its, our) = (result.figure(figure)?.value, ours.figure(figure)?.value);
        (result.engine != ours.engine && result.error.is_none() && our > 0.0).then_some(its / our)
    }
}

/// What engines do not offer, each said once.
pub fn not_offered(report: &RunReport) -> Vec<&str> {
    let mut texts: Vec<&str> = Vec::new();
    for result in report.results.iter().filter(|result| result.is_not_offered()) {
        texts.extend(result.error.as_deref().filter(|text| !texts.contains(text)));
    }
    texts
}

/// The contests of a run, in the order in which they ran.
pub fn contests(report: &RunReport) -> Vec<Contest<'_>> {
    let mut contests: Vec<(String, Contest<'_>)> = Vec::new();
    for result in report.results.iter().filter(|result| !result.is_not_offered()) {
        let parameters = parameters(result);
        let durable = result.durable.name();
        let key = format!("{}/{}/{parameters}/{durable}", result.suite, result.workload);
        match contests.iter_mut().find(|(its, _)| *its == key) {
            Some((_, contest)) => contest.results.push(result),
            None => contests.push((
                key,
                Contest {
                    suite: &result.suite,
                    workload: &result.workload,
                    parameters,
                    results: vec![result],
                },
            )),
        }
    }
    let mut contests: Vec<_> = contests.into_iter().map(|(_, contest)| contest).collect();
    for contest in &mut contests {
        contest.results.sort_by_key(|result| (!result.engine.starts_with(OURS), result.engine.clone()));
    }
    contests
}

fn parameters(result: &SuiteResult) -> String {
    words::parameters(&result.parameters)
}
