//! From what was measured and checked to a result.

use crate::engine::EngineKind;
use crate::error::Result;
use crate::measure::Measured;
use crate::results::{Better, Durability, Figure, NOT_OFFERED, SuiteResult, Verified};
use crate::workload::{Counted, Phase, Plan, Workload};

/// What came of one phase on one engine.
pub(super) struct Outcome {
    measured: Option<Measured>,
    figures: Vec<Figure>,
    verified: Verified,
    error: Option<String>,
}

impl Outcome {
    pub(super) fn failed(text: String) -> Self {
        Self { measured: None, figures: Vec::new(), verified: Verified::default(), error: Some(text) }
    }

    /// Of a phase that was never begun.
    pub(super) fn missing() -> Self {
        Self::failed("not measured".to_owned())
    }

    /// Of a phase that was measured, with its flushes checked.
    pub(super) fn measured(measured: Measured, figures: Vec<Figure>, durability: Durability) -> Self {
        let least = measured.flushes_min(durability);
        let error = measured.flushes.filter(|&flushes| flushes < least).map(|flushes| {
            format!("{} durable commits, but {flushes} flushes instead of at least {least}", measured.commits)
        });
        let verified = Verified { flushes: measured.flushes, ..Verified::default() };
        Self { measured: Some(measured), figures, verified, error }
    }

    /// With what the check of the whole database said.
    pub(super) fn checked(mut self, checked: &Result<Counted>) -> Self {
        match checked {
            Err(error) => self.error = Some(format!("{} [{}]", error, error.code())),
            Ok(counted) => {
                self.verified.expected_count = counted.expected;
                self.verified.count = counted.found;
                self.verified.checksum_ok = true;
                if counted.expected != counted.found {
                    self.error = Some(format!(
                        "{} records instead of {} after the run",
                        counted.found, counted.expected
                    ));
                }
            }
        }
        self
    }
}

pub(super) fn result_of(
    workload: &dyn Workload,
    plan: &Plan,
    phase: &Phase,
    kind: &dyn EngineKind,
    outcome: Outcome,
) -> SuiteResult {
    let mut parameters = plan.parameters.clone();
    parameters.extend(phase.parameters.clone());
    let fails = outcome.error.is_some();
    let measured = outcome.measured.as_ref();
    SuiteResult {
        suite: workload.suite().to_owned(),
        workload: workload.name().to_owned(),
        engine: kind.name().to_owned(),
        engine_version: kind.version(),
        settings: kind.settings(plan.durability),
        durable: plan.durability,
        parameters,
        figures: if fails { Vec::new() } else { outcome.figures },
        latency: measured.and_then(Measured::latency),
        throughput: measured.map(Measured::throughput).unwrap_or_default(),
        verified: outcome.verified,
        error: outcome.error,
    }
}

/// That an engine lacks a plan's durability, whatever the parameters.
pub(super) fn not_offered(workload: &dyn Workload, plan: &Plan, kind: &dyn EngineKind) -> SuiteResult {
    let text = format!("{NOT_OFFERED}: {} has no durability {:?}", kind.name(), plan.durability.name());
    let result = result_of(workload, plan, &Phase::default(), kind, Outcome::failed(text));
    SuiteResult { parameters: Default::default(), ..result }
}

/// Gives the figures of our engines their ratio to the best of the others with the same parameters, where
/// they have none yet.
pub(super) fn relate(results: &mut [SuiteResult]) {
    let others: Vec<SuiteResult> = results.iter().filter(|result| !is_ours(result)).cloned().collect();
    for result in results.iter_mut().filter(|result| is_ours(result)) {
        let parameters = result.parameters.clone();
        for figure in result.figures.iter_mut().filter(|figure| figure.ratio_to.is_none()) {
            let same = others.iter().filter(|other| other.parameters == parameters);
            let values =
                same.filter_map(|other| Some((other.engine.as_str(), other.figure(&figure.name)?.value)));
            let best =
                values.filter(|(_, value)| *value > 0.0).max_by(|(_, a), (_, b)| match figure.better {
                    Better::Higher => a.total_cmp(b),
                    Better::Lower => b.total_cmp(a),
                });
            if let Some((engine, value)) = best {
                *figure = figure.clone().ratio(&format!("{engine}, the best of the others"), value);
            }
        }
    }
}

fn is_ours(result: &SuiteResult) -> bool {
    result.engine.starts_with("llmdb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(engine: &str, figures: Vec<Figure>) -> SuiteResult {
        SuiteResult {
            suite: "micro".into(),
            workload: "read_latency".into(),
            engine: engine.into(),
            engine_version: String::new(),
            settings: String::new(),
            durable: Durability::ReadOnly,
            parameters: Default::default(),
            figures,
            latency: None,
            throughput: Vec::new(),
            verified: Verified::default(),
            error: None,
        }
    }

    #[test]
    fn our_figures_are_held_against_the_best_of_the_others() {
        let figures =
            |rate, time| vec![Figure::higher("gets", rate, "1/s"), Figure::lower("get_p50", time, "us")];
        let mut results = [
            result("llmdb", figures(30.0, 2.0)),
            result("lmdb", figures(10.0, 4.0)),
            result("redb", figures(5.0, 1.0)),
        ];
        relate(&mut results);
        let ratio = |at: usize| results[0].figures[at].ratio_to.clone().unwrap();
        assert_eq!(ratio(0), ("lmdb, the best of the others".to_owned(), 3.0));
        assert_eq!(ratio(1), ("redb, the best of the others".to_owned(), 2.0));
        assert!(results[1].figures.iter().all(|figure| figure.ratio_to.is_none()));
    }

    #[test]
    fn too_few_flushes_are_an_error() {
        let started = std::time::Instant::now();
        let measured = |flushes| {
            let recorder = crate::measure::Recorder::new(started);
            let mut measured = Measured::new("commit", recorder, std::time::Duration::from_secs(1));
            measured.commits = 10;
            measured.commits_per_flush = 4;
            measured.flushes = Some(flushes);
            measured
        };
        let error = |flushes, durability| Outcome::measured(measured(flushes), Vec::new(), durability).error;
        assert_eq!(error(3, Durability::Sync), None);
        assert!(error(2, Durability::Sync).unwrap().contains("2 flushes instead of at least 3"));
        assert_eq!(error(0, Durability::None), None);
    }
}
