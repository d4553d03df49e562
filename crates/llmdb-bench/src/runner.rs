//! Takes every plan to every engine, in rounds in turn, and gathers the results.
//!
//! ```text
//! for each workload, for each plan:
//!     set up a case on each engine
//!     for each phase, for each round: each engine in turn, another one first each time
//!     check every case; remove its folder
//! ```
//!
//! Invariants
//! 1. Whatever happens, the run's folder is removed, and what was measured is in the report.
//! 2. What fails or panics on one engine fails alone: the others go on.
//! 3. A result without an error had all of its answers, its whole database and its flushes checked.
//! 4. Too little disk or memory is said before the first plan begins.
//! 5. A durable figure is held against the storage as it was between the rounds of its own phase.
//!
//! Not here: what is measured (`workload`), how it is shown (`report`).

mod outcome;

use crate::disk;
use crate::engine::{self, EngineKind};
use crate::error::{Error, Result};
use crate::machine;
use crate::measure::Measured;
use crate::probe::{ProbeSize, Prober, middle};
use crate::results::{Probe, RunReport, SCHEMA, SuiteResult};
use crate::workload::{self, Bench, Case, News, Plan, Sizes, Stop, Workload};
use outcome::{Outcome, Outcomes, beside_storage, hold_bars, not_offered, relate, result_of};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What remains free on disk and in memory whatever a run needs.
const RESERVE: u64 = 64 << 20;
/// A phase is never shorter than this for one engine.
const PHASE_TIME_MIN: Duration = Duration::from_millis(50);
/// The part of the remaining time that is planned for measuring; the rest is for setting up and checking.
const MEASURING_SHARE: f64 = 0.6;

/// What to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The profile's name, for the report.
    pub profile: String,
    /// Workloads or suites by name; none = all.
    pub workloads: Vec<String>,
    /// Engines by name; none = all of this build.
    pub engines: Vec<String>,
    /// How much.
    pub sizes: Sizes,
    /// The seed of keys and choices.
    pub seed: u64,
    /// Where the data goes: a folder of the run's own is made in it, and removed.
    pub folder: PathBuf,
    /// The `llmdb-bench` program, for workloads that need a process of their own; `None` = this one.
    pub program: Option<PathBuf>,
    /// Whether the storage is probed.
    pub probe: bool,
}

impl RunOptions {
    /// The core figures within three minutes.
    pub fn quick() -> Self {
        Self {
            profile: "quick".to_owned(),
            workloads: Vec::new(),
            engines: Vec::new(),
            sizes: Sizes::quick(),
            seed: 1,
            folder: std::env::temp_dir(),
            program: None,
            probe: true,
        }
    }

    /// Everything.
    pub fn full() -> Self {
        Self { profile: "full".to_owned(), sizes: Sizes::full(), ..Self::quick() }
    }
}

/// What a run tells while it goes on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// It begins, with so many steps.
    Begins {
        /// Steps of the whole run.
        steps: u64,
    },
    /// A step begins.
    Step {
        /// Steps before it.
        done: u64,
        /// What is done, in words.
        what: &'a str,
    },
    /// A result is there.
    Result(&'a SuiteResult),
    /// The report so far, for whoever wants to keep it.
    Report(&'a RunReport),
}

/// What is told of a run's progress.
pub type Tell<'a> = &'a mut dyn FnMut(Progress<'_>);

/// A run that was checked and can begin.
pub struct Run {
    options: RunOptions,
    work: Vec<(Box<dyn Workload>, Vec<Plan>)>,
    engines: Vec<Box<dyn EngineKind>>,
    stop: Stop,
    news: News,
}

impl Run {
    /// Checks names, disk and memory.
    ///
    /// # Errors
    /// [`Error::UnknownWorkload`], [`Error::UnknownEngine`], [`Error::TooLittleDisk`],
    /// [`Error::TooLittleMemory`].
    pub fn new(options: RunOptions) -> Result<Self> {
        let engines = engine::chosen(&options.engines)?;
        Self::with_engines(options, engines)
    }

    /// The same with engines that the registry may not know.
    ///
    /// # Errors
    /// As [`Run::new`].
    pub fn with_engines(options: RunOptions, engines: Vec<Box<dyn EngineKind>>) -> Result<Self> {
        let work: Vec<_> = workload::chosen(&options.workloads)?
            .into_iter()
            .map(|workload| {
                let plans = workload.plans(&options.sizes);
                (workload, plans)
            })
            .collect();
        check_room(&options.folder, &work, &engines)?;
        Ok(Self { options, work, engines, stop: Stop::default(), news: News::default() })
    }

    /// What ends the run early, with what was measured until then.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// What tells how a long step goes on, such as loading a large database.
    pub fn news(&self) -> News {
        self.news.clone()
    }

    /// Carries it out.
    ///
    /// # Errors
    /// Only what keeps the run from beginning; what fails later is in the report.
    pub fn execute(self, tell: Tell<'_>) -> Result<RunReport> {
        let folder =
            tempfile::Builder::new().prefix("llmdb-bench-").tempdir_in(&self.options.folder).map_err(
                |error| Error::io(format!("making a folder in {}", self.options.folder.display()), error),
            )?;
        let (commit, dirty) = machine::commit();
        let mut report = RunReport {
            schema: SCHEMA,
            commit,
            dirty,
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            machine: machine::describe(folder.path()),
            profile: self.options.profile.clone(),
            seed: self.options.seed,
            partial: false,
            results: Vec::new(),
        };
        let steps: u64 = self.work.iter().map(|(_, plans)| plans.len() as u64).sum::<u64>() + 1;
        tell(Progress::Begins { steps });
        tell(Progress::Step { done: 0, what: "probing the storage" });
        let mut prober = self.prober(folder.path())?;
        report.machine.probe = prober.as_ref().map(Prober::first);
        let mut clock = Clock::new(&self);
        let mut done = 1;
        for (workload, plans) in &self.work {
            for (at, plan) in plans.iter().enumerate() {
                if self.stop.is_stopped() {
                    report.partial = true;
                    return Ok(report);
                }
                let step = Step {
                    run: &self,
                    workload: &**workload,
                    plan,
                    probe: report.machine.probe,
                    is_first_of_its_durability: plans[..at]
                        .iter()
                        .all(|other| other.durability != plan.durability),
                };
                tell(Progress::Step { done, what: &step.in_words() });
                for result in step.carry_out(&folder, &mut clock, &mut prober) {
                    tell(Progress::Result(&result));
                    report.results.push(result);
                }
                if let Some((probe, spread)) = prober.as_ref().map(Prober::summary) {
                    report.machine.probe = Some(probe);
                    report.machine.probe_spread = Some(spread);
                }
                tell(Progress::Report(&report));
                done += 1;
            }
        }
        report.partial = self.stop.is_stopped();
        Ok(report)
    }

    /// The first probe of the storage, if it is probed.
    fn prober(&self, folder: &Path) -> Result<Option<Prober>> {
        let size = |(file_bytes, time)| ProbeSize { file_bytes, time };
        let sizes = &self.options.sizes;
        let begin = || Prober::begin(folder, size(sizes.probe), size(sizes.probe_again));
        self.options.probe.then(begin).transpose()
    }

    /// Engines that take part in a plan, where that many have its durability.
    fn engines_of(&self, workload: &dyn Workload, plan: &Plan) -> u64 {
        let kinds = self.engines.iter().map(AsRef::as_ref);
        kinds.filter(|kind| workload.takes(*kind) && kind.offers(plan.durability)).count() as u64
    }
}

/// Refuses a run that would fill the disk or the memory.
fn check_room(
    folder: &Path,
    work: &[(Box<dyn Workload>, Vec<Plan>)],
    engines: &[Box<dyn EngineKind>],
) -> Result<()> {
    let free_disk = disk::free_bytes(folder)?;
    let free_memory = disk::free_memory().unwrap_or(u64::MAX);
    for (workload, plans) in work {
        let name = || workload.name().to_owned();
        let taking_part = engines.iter().filter(|kind| workload.takes(&***kind)).count() as u64;
        for plan in plans {
            let databases = if plan.one_at_a_time { 1 } else { taking_part };
            let needed = plan.disk_bytes.saturating_mul(databases).saturating_add(RESERVE);
            if needed > free_disk {
                return Err(Error::TooLittleDisk {
                    workload: name(),
                    needed,
                    free: free_disk,
                    folder: folder.to_owned(),
                });
            }
            let needed = plan.memory_bytes.saturating_add(RESERVE);
            if needed > free_memory {
                return Err(Error::TooLittleMemory { workload: name(), needed, free: free_memory });
            }
        }
    }
    Ok(())
}

/// Shares the remaining time among the remaining phases.
struct Clock {
    deadline: Instant,
    phase_time: Duration,
    /// Phases of engines that are still to come.
    remaining: u64,
}

impl Clock {
    fn new(run: &Run) -> Self {
        let phases = |(workload, plans): &(Box<dyn Workload>, Vec<Plan>)| -> u64 {
            let sharing = |plan: &Plan| plan.phases.iter().filter(|phase| phase.share.is_none()).count();
            plans.iter().map(|plan| run.engines_of(&**workload, plan) * sharing(plan) as u64).sum()
        };
        let remaining = run.work.iter().map(phases).sum();
        let sizes = &run.options.sizes;
        Self { deadline: Instant::now() + sizes.run_time, phase_time: sizes.phase_time, remaining }
    }

    /// The time for one phase of one engine.
    fn next(&mut self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now()).mul_f64(MEASURING_SHARE);
        let share = left / u32::try_from(self.remaining.max(1)).unwrap_or(u32::MAX);
        self.remaining = self.remaining.saturating_sub(1);
        share.clamp(PHASE_TIME_MIN.min(self.phase_time), self.phase_time)
    }
}

/// One plan of one workload on all engines.
struct Step<'a> {
    run: &'a Run,
    workload: &'a dyn Workload,
    plan: &'a Plan,
    probe: Option<Probe>,
    is_first_of_its_durability: bool,
}

/// A case on one engine, with what it has measured of the current phase.
struct Running<'a> {
    kind: &'a dyn EngineKind,
    folder: Result<TempDir>,
    case: Box<dyn Case>,
    outcome: Vec<Outcome>,
    failed: Option<Error>,
}

impl Step<'_> {
    fn in_words(&self) -> String {
        let parameters: Vec<_> =
            self.plan.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
        format!("{} ({}; {})", self.workload.name(), self.plan.durability.name(), parameters.join(", "))
    }

    /// The storage between two rounds, where it is the measure of what is measured.
    fn probe_again(&self, prober: &mut Option<Prober>) -> Option<Probe> {
        // What cannot be probed, as where the disk is full, is not a measure.
        prober.as_mut().filter(|_| self.plan.durability.is_durable())?.again().ok()
    }

    fn bench<'b>(&'b self, kind: &'b dyn EngineKind, folder: &'b Path) -> Bench<'b> {
        Bench {
            kind,
            folder,
            durability: self.plan.durability,
            seed: self.run.options.seed,
            probe: self.probe,
            program: self.run.options.program.as_deref(),
            stop: &self.run.stop,
            news: &self.run.news,
        }
    }

    fn carry_out(
        &self,
        folder: &TempDir,
        clock: &mut Clock,
        prober: &mut Option<Prober>,
    ) -> Vec<SuiteResult> {
        let engines = self.run.engines.iter().map(AsRef::as_ref).filter(|kind| self.workload.takes(*kind));
        let (offering, lacking): (Vec<_>, Vec<_>) =
            engines.partition(|kind| kind.offers(self.plan.durability));
        let mut running: Vec<_> = offering.into_iter().map(|kind| self.set_up(kind, folder)).collect();
        for phase in 0..self.plan.phases.len() {
            self.measure(phase, &mut running, clock, prober);
        }
        let mut finished: Vec<_> = running.into_iter().map(|running| self.finish(running)).collect();
        hold_bars(&self.plan.phases, &mut finished);
        let mut results: Vec<_> = finished.into_iter().flat_map(|outcomes| self.results(outcomes)).collect();
        relate(&mut results);
        // Once for each durability is enough, whatever the parameters.
        if self.is_first_of_its_durability {
            results.extend(lacking.into_iter().map(|kind| not_offered(self.workload, self.plan, kind)));
        }
        results
    }

    fn set_up<'k>(&self, kind: &'k dyn EngineKind, folder: &TempDir) -> Running<'k> {
        let own = tempfile::Builder::new().prefix(kind.name()).tempdir_in(folder.path());
        let own = own.map_err(|error| Error::io("making a folder for a database", error));
        let mut running =
            Running { kind, folder: own, case: (self.plan.make)(), outcome: Vec::new(), failed: None };
        let done = match &running.folder {
            Ok(own) => guarded(|| running.case.set_up(&self.bench(kind, own.path()))),
            Err(_) => Ok(()),
        };
        running.failed = done.err();
        running
    }

    /// Measures one phase on all engines, in turn, with the storage probed between the rounds.
    fn measure(
        &self,
        phase: usize,
        running: &mut [Running<'_>],
        clock: &mut Clock,
        prober: &mut Option<Prober>,
    ) {
        let parameters = &self.plan.phases[phase];
        let mut time = || parameters.share.unwrap_or_else(|| clock.next() * parameters.longer.max(1));
        let times: Vec<Duration> = running.iter().map(|_| time()).collect();
        let rounds = if parameters.once { 1 } else { self.run.options.sizes.rounds.max(1) };
        let mut measured: Vec<Option<Measured>> = running.iter().map(|_| None).collect();
        let mut probes = Vec::from_iter(self.probe_again(prober));
        for round in 0..rounds as usize {
            for turn in 0..running.len() {
                let at = (turn + round) % running.len();
                self.round(phase, times[at] / rounds, &mut running[at], &mut measured[at]);
            }
            probes.extend(self.probe_again(prober));
        }
        let around = middle(&probes);
        for (running, measured) in running.iter_mut().zip(measured) {
            running.outcome.push(self.outcome(running, phase, measured, around));
        }
    }

    /// What came of a phase on one engine, held against what the storage did around it.
    fn outcome(
        &self,
        running: &Running<'_>,
        phase: usize,
        measured: Option<Measured>,
        around: Option<Probe>,
    ) -> Outcome {
        let (Some(measured), Ok(folder)) = (measured, &running.folder) else {
            return Outcome::failed("not measured".to_owned());
        };
        let probe = around.or(self.probe);
        let bench = Bench { probe, ..self.bench(running.kind, folder.path()) };
        let durability = self.plan.durability;
        let figures = running.case.figures(&bench, phase, &measured).into_iter();
        let figures = figures.map(|figure| beside_storage(figure, durability, probe)).collect();
        let unmeasurable = running.case.unmeasurable(&bench, phase, &measured);
        Outcome::measured(measured, figures, durability).beside(unmeasurable, around)
    }

    fn round(
        &self,
        phase: usize,
        budget: Duration,
        running: &mut Running<'_>,
        measured: &mut Option<Measured>,
    ) {
        let Ok(folder) = &running.folder else { return };
        if running.failed.is_some() {
            return;
        }
        if self.run.stop.is_stopped() {
            running.failed = Some(Error::Interrupted);
            return;
        }
        let bench = self.bench(running.kind, folder.path());
        match guarded(|| running.case.round(&bench, phase, budget)) {
            Ok(round) => match measured {
                Some(before) => before.join(round),
                None => *measured = Some(round),
            },
            Err(error) => running.failed = Some(error),
        }
    }

    /// Checks the database; its folder goes with `running`.
    fn finish<'k>(&self, mut running: Running<'k>) -> Outcomes<'k> {
        let checked = match (&running.folder, running.failed.take()) {
            (_, Some(error)) => Err(error),
            (Ok(folder), None) => guarded(|| running.case.check(&self.bench(running.kind, folder.path()))),
            (Err(error), None) => Err(Error::Child(error.to_string())),
        };
        // The database is closed before its folder goes.
        let case = running.case;
        let closed = guarded(|| {
            drop(case);
            Ok(())
        });
        let checked = checked.and_then(|counted| closed.map(|()| counted));
        let outcomes = running.outcome.into_iter().chain(std::iter::repeat_with(Outcome::missing));
        let phases = outcomes.take(self.plan.phases.len()).map(|outcome| outcome.checked(&checked)).collect();
        Outcomes { kind: running.kind, phases }
    }

    fn results(&self, outcomes: Outcomes<'_>) -> Vec<SuiteResult> {
        let phases = self.plan.phases.iter().zip(outcomes.phases);
        phases
            .map(|(phase, outcome)| result_of(self.workload, self.plan, phase, outcomes.kind, outcome))
            .collect()
    }
}

/// Does something with an engine: if it panics, that is an error of this engine, and the others go on. Nothing
/// of a case that panicked is used again but dropped.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words");
        Err(Error::WrongAnswer(format!("it panicked: {text}")))
    })
}

#[cfg(test)]
mod tests;
