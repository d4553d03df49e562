//! From what was measured and checked to a result.

use crate::engine::EngineKind;
use crate::error::Error;
use crate::measure::Measured;
use crate::results::{Better, Durability, Figure, NOT_OFFERED, Probe, SuiteResult, Unmeasurable, Verified};
use crate::workload::bar::{Bar, Of, Rounds};
use crate::workload::{Counted, Phase, Plan, Workload};

/// Figures of durable work, by a part of their name.
const DURABLE_WORK: [&str; 6] = ["commit", "throughput", "update", "insert", "readmodifywrite", "writes"];

/// A figure of durable work with its ratio to what the storage does alone, where it has no ratio yet.
pub(super) fn beside_storage(figure: Figure, durability: Durability, probe: Option<Probe>) -> Figure {
    let is_work = DURABLE_WORK.iter().any(|part| figure.name.contains(part));
    let Some(probe) = probe.filter(|_| durability.is_durable() && is_work && figure.ratio_to.is_none())
    else {
        return figure;
    };
    match figure.unit.as_str() {
        "us" if figure.name.ends_with("_p50") => {
            figure.ratio("a 4 KiB overwrite and flush of the storage", probe.overwrite_sync_us_p50)
        }
        "us" if figure.name.ends_with("_p99") => {
            figure.ratio("a 4 KiB overwrite and flush, p99", probe.overwrite_sync_us_p99)
        }
        "1/s" => figure.ratio(
            "overwrites and flushes of the storage, one by one",
            1e6 / probe.overwrite_sync_us_p50.max(f64::MIN_POSITIVE),
        ),
        _ => figure,
    }
}

/// What came of one phase on one engine.
pub(super) struct Outcome {
    measured: Option<Measured>,
    figures: Vec<Figure>,
    unmeasurable: Vec<Unmeasurable>,
    probe: Option<Probe>,
    verified: Verified,
    error: Option<String>,
}

impl Outcome {
    pub(super) fn failed(text: String) -> Self {
        Self {
            measured: None,
            figures: Vec::new(),
            unmeasurable: Vec::new(),
            probe: None,
            verified: Verified::default(),
            error: Some(text),
        }
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
        Self { measured: Some(measured), figures, unmeasurable: Vec::new(), probe: None, verified, error }
    }

    /// With what could not be held against its target, and with what the storage did meanwhile.
    pub(super) fn beside(mut self, unmeasurable: Vec<Unmeasurable>, probe: Option<Probe>) -> Self {
        self.unmeasurable.extend(unmeasurable);
        self.probe = probe;
        self
    }

    /// With what the check of the whole database said.
    pub(super) fn checked(mut self, checked: &Result<Counted, Error>) -> Self {
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

/// The outcomes of one engine, one a phase, checked.
pub(super) struct Outcomes<'k> {
    pub(super) kind: &'k dyn EngineKind,
    pub(super) phases: Vec<Outcome>,
}

impl Outcomes<'_> {
    /// The rounds of a phase's figure, if the phase stands.
    fn rounds(&self, phase: usize, figure: &str) -> Option<Rounds<'_>> {
        let outcome = self.phases.get(phase).filter(|outcome| outcome.error.is_none())?;
        let samples = &outcome.measured.as_ref()?.samples;
        let sample = samples.iter().find(|sample| sample.figure.name == figure)?;
        Some(Rounds { engine: self.kind.name(), figure: &sample.figure, values: &sample.values })
    }
}

/// Holds the bars of all phases: each of our engines against the others.
pub(super) fn hold_bars(phases: &[Phase], all: &mut [Outcomes<'_>]) {
    for (at, phase) in phases.iter().enumerate() {
        for bar in &phase.bars {
            for engine in 0..all.len() {
                let Some(held) = held(bar, at, engine, all) else { continue };
                let outcome = &mut all[engine].phases[at];
                match held {
                    Ok(figure) => outcome.figures.push(figure),
                    Err(unmeasurable) => outcome.unmeasurable.push(unmeasurable),
                }
            }
        }
    }
}

/// One bar on one engine; `None` where the engine is not ours or has no such figure.
fn held(
    bar: &Bar,
    phase: usize,
    engine: usize,
    all: &[Outcomes<'_>],
) -> Option<Result<Figure, Unmeasurable>> {
    let ours = all[engine].rounds(phase, bar.figure).filter(|_| is_ours(all[engine].kind.name()))?;
    let at = bar.phase.map_or(phase, |(at, _)| at);
    let is_measure = |other: &Outcomes<'_>| match bar.of {
        Of::Own => other.kind.name() == all[engine].kind.name(),
        _ => !is_ours(other.kind.name()),
    };
    let others = all.iter().filter(|other| is_measure(other));
    let peers: Vec<_> = others.filter_map(|other| other.rounds(at, bar.figure)).collect();
    let unmeasurable = |why| Unmeasurable { target: bar.in_words(ours.figure.better), why };
    Some(bar.hold(&ours, &peers).map_err(unmeasurable))
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
        series: measured.map(|measured| measured.series.clone()).unwrap_or_default(),
        probe: outcome.probe,
        verified: outcome.verified,
        unmeasurable: if fails { Vec::new() } else { outcome.unmeasurable },
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
    let others: Vec<SuiteResult> =
        results.iter().filter(|result| !is_ours(&result.engine)).cloned().collect();
    for result in results.iter_mut().filter(|result| is_ours(&result.engine)) {
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

fn is_ours(engine: &str) -> bool {
    engine.starts_with("llmdb")
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
            series: Vec::new(),
            probe: None,
            verified: Verified::default(),
            unmeasurable: Vec::new(),
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
    fn durable_work_stands_beside_the_storage_and_reads_do_not() {
        let probe = Probe {
            overwrite_sync_us_p50: 100.0,
            overwrite_sync_us_p99: 400.0,
            sequential_sync_mb_s: 500.0,
            cold_read_us_p50: 50.0,
            cold_read_us_p99: 80.0,
        };
        let ratio = |figure: Figure, durability| {
            beside_storage(figure, durability, Some(probe)).ratio_to.map(|(_, ratio)| ratio)
        };
        let update = || Figure::lower("update_p50", 150.0, "us");
        assert_eq!(ratio(update(), Durability::Sync), Some(1.5));
        assert_eq!(ratio(update(), Durability::None), None, "not durable");
        assert_eq!(ratio(Figure::lower("insert_p99", 200.0, "us"), Durability::NoLog), Some(0.5));
        assert_eq!(ratio(Figure::higher("throughput", 20_000.0, "1/s"), Durability::Sync), Some(2.0));
        assert_eq!(ratio(Figure::lower("read_p50", 2.0, "us"), Durability::Sync), None);
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
