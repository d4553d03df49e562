//! Workloads: what is measured. One file each, and a registry where suites enter theirs.
//!
//! ```text
//! Workload --plans(sizes)--> Plan: parameters, durability, needs, phases
//!                              └--make()--> Case: set_up, round(phase) ..., check
//! ```
//!
//! Invariants
//! 1. A case checks every answer it reads while it is measured, and the whole database afterwards.
//! 2. A case keeps to its folder, which the runner removes.
//! 3. A round ends soon after its budget, and at once when the run is interrupted.
//!
//! A suite is added by a file with its workloads and a line in [`registry`]; the runner, the reports and the
//! gate know none by name.

pub mod bar;
mod bench;
pub mod child;
mod commit_path;
mod concurrency;
pub mod load;
mod memory;
mod read_latency;
mod read_path;
mod recovery;
mod sizes;
mod space_path;
mod temporal_queries;
mod time_series;
#[cfg(feature = "wasm")]
mod wasm_perf;
mod write_throughput;
mod writing;
mod ycsb;

use bar::Bar;
pub use bench::{Around, Bench, Done, News, Span, Stop};
pub use sizes::{PastShape, Sizes};

use crate::engine::EngineKind;
use crate::error::{Error, Result};
use crate::measure::Measured;
use crate::results::{Durability, Figure, Unmeasurable};
use std::collections::BTreeMap;
use std::time::Duration;

/// Something to measure.
pub trait Workload: Send + Sync {
    /// The suite that it belongs to: "micro", "ycsb", "system" or another.
    fn suite(&self) -> &'static str;

    /// Its name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// What it does, in a sentence.
    fn about(&self) -> &'static str;

    /// Whether it runs only when it is asked for by its name or its suite's.
    fn by_name_only(&self) -> bool {
        false
    }

    /// Whether an engine can take part at all; one that cannot is left out without a word.
    fn takes(&self, kind: &dyn EngineKind) -> bool {
        let _ = kind;
        true
    }

    /// The sets of parameters that these sizes ask for.
    fn plans(&self, sizes: &Sizes) -> Vec<Plan>;
}

/// A workload with parameters; each engine runs a case of its own.
pub struct Plan {
    /// What all phases have in common.
    pub parameters: BTreeMap<String, String>,
    /// When a commit counts as done in the measured part.
    pub durability: Durability,
    /// Bytes of disk that one engine needs at most.
    pub disk_bytes: u64,
    /// Whether no two engines' databases are there at the same time: each is removed before the next is made.
    pub one_at_a_time: bool,
    /// Bytes of memory that one engine needs at most.
    pub memory_bytes: u64,
    /// What is measured one after the other on the same database.
    pub phases: Vec<Phase>,
    /// Makes the case of one engine.
    pub make: Box<dyn Fn() -> Box<dyn Case>>,
}

/// One measured part of a case.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// Its own parameters.
    pub parameters: BTreeMap<String, String>,
    /// Whether it is done once, however long it takes, instead of in rounds within the budget.
    pub once: bool,
    /// How many times the budget of a phase it takes; 0 counts as 1.
    pub longer: u32,
    /// Its own time in place of a share of the run's, for one of many short phases.
    pub share: Option<Duration>,
    /// What our engines must reach as multiples of others.
    pub bars: Vec<Bar>,
}

impl Phase {
    /// A phase in rounds with these parameters.
    pub fn of<const N: usize>(parameters: [(&str, String); N]) -> Self {
        Self { parameters: named(parameters), ..Self::default() }
    }

    /// A phase that is done once.
    pub fn once<const N: usize>(parameters: [(&str, String); N]) -> Self {
        Self { parameters: named(parameters), once: true, ..Self::default() }
    }
}

/// Parameters by name.
pub fn named<const N: usize>(parameters: [(&str, String); N]) -> BTreeMap<String, String> {
    parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A plan being carried out on one engine.
pub trait Case: Send {
    /// Makes the database.
    ///
    /// # Errors
    /// The engine's own.
    fn set_up(&mut self, bench: &Bench<'_>) -> Result<()>;

    /// Measures one round of a phase, for about `budget`.
    ///
    /// # Errors
    /// The engine's own, or [`Error::WrongAnswer`].
    fn round(&mut self, bench: &Bench<'_>, phase: usize, budget: Duration) -> Result<Measured>;

    /// The figures of a phase from all its rounds. By default throughput, latencies and samples.
    fn figures(&self, bench: &Bench<'_>, phase: usize, measured: &Measured) -> Vec<Figure> {
        let _ = (bench, phase);
        let mut figures = vec![Figure::higher("throughput", measured.per_second(), "1/s")];
        figures.extend(measured.latency_figures());
        figures.extend(measured.sample_figures());
        figures
    }

    /// What a phase should reach and cannot be held against here, and why. By default nothing.
    fn unmeasurable(&self, bench: &Bench<'_>, phase: usize, measured: &Measured) -> Vec<Unmeasurable> {
        let _ = (bench, phase, measured);
        Vec::new()
    }

    /// Checks the whole database after all phases: what had to be there, and what was.
    ///
    /// # Errors
    /// The engine's own, or [`Error::WrongAnswer`].
    fn check(&mut self, bench: &Bench<'_>) -> Result<Counted>;
}

/// Records that had to be there, and that were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Had to be there.
    pub expected: u64,
    /// Were there.
    pub found: u64,
}

/// All workloads, in the order of a report.
pub fn registry() -> Vec<Box<dyn Workload>> {
    let mut all: Vec<Box<dyn Workload>> =
        vec![Box::new(read_latency::ReadLatency), Box::new(write_throughput::WriteThroughput)];
    all.extend(ycsb::workloads());
    all.push(Box::new(concurrency::Concurrency));
    all.push(Box::new(memory::Memory));
    all.push(Box::new(recovery::Recovery));
    all.push(Box::new(temporal_queries::TemporalQueries));
    all.push(Box::new(time_series::TimeSeries));
    all.push(Box::new(read_path::ReadPath));
    all.push(Box::new(commit_path::CommitPath));
    all.push(Box::new(space_path::SpacePath));
    #[cfg(feature = "wasm")]
    all.push(Box::new(wasm_perf::WasmPerf));
    all
}

/// The workloads of these names; a suite's name stands for all of its workloads. If there are none, all but
/// those that want to be asked for.
///
/// # Errors
/// [`Error::UnknownWorkload`], which lists the known ones.
pub fn chosen(names: &[String]) -> Result<Vec<Box<dyn Workload>>> {
    let matches =
        |workload: &dyn Workload, name: &String| name == workload.name() || name == workload.suite();
    let all = registry();
    if let Some(name) = names.iter().find(|name| !all.iter().any(|workload| matches(&**workload, name))) {
        let known: Vec<&str> = all.iter().map(|workload| workload.name()).collect();
        return Err(Error::UnknownWorkload { name: name.clone(), known: known.join(", ") });
    }
    let is_chosen = |workload: &dyn Workload| match names {
        [] => !workload.by_name_only(),
        names => names.iter().any(|name| matches(workload, name)),
    };
    Ok(all.into_iter().filter(|workload| is_chosen(&**workload)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_workload_lists_the_known_ones() {
        let Err(error) = chosen(&["tpcc".to_owned()]) else { panic!("there is no such workload") };
        assert_eq!(error.code(), "LLMDB-M01");
        for name in
            ["read_latency", "write_throughput", "ycsb_a", "ycsb_f", "memory", "concurrency", "recovery"]
        {
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_suite_s_name_stands_for_its_workloads() {
        assert_eq!(chosen(&["ycsb".to_owned()]).unwrap().len(), 6);
        let unasked = registry().iter().filter(|workload| !workload.by_name_only()).count();
        assert_eq!(chosen(&[]).unwrap().len(), unasked);
        assert_eq!(chosen(&["read_path".to_owned()]).unwrap().len(), 1);
    }

    #[test]
    fn every_workload_plans_something_in_every_profile() {
        for sizes in [Sizes::tiny(), Sizes::quick(), Sizes::full()] {
            for workload in registry() {
                let plans = workload.plans(&sizes);
                assert!(
                    !plans.is_empty() && plans.iter().all(|plan| !plan.phases.is_empty()),
                    "{}",
                    workload.name()
                );
                assert!(plans.iter().all(|plan| plan.disk_bytes > 0));
            }
        }
    }
}
