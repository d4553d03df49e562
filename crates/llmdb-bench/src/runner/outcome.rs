//! From what was measured and checked to a result.

use crate::engine::EngineKind;
use crate::error::Result;
use crate::measure::Measured;
use crate::results::{Durability, Figure, SuiteResult, Verified};
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
    phase: Option<&Phase>,
    kind: &dyn EngineKind,
    outcome: Outcome,
) -> SuiteResult {
    let mut parameters = plan.parameters.clone();
    parameters.extend(phase.map(|phase| phase.parameters.clone()).unwrap_or_default());
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
