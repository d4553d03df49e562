//! What a run leaves behind: plain data that serialises to JSON. Reports, comparisons and the gate read
//! nothing else.
//!
//! Invariants
//! 1. A result whose `error` is set has no figure that may be compared.
//! 2. A ratio names what it is a ratio to.
//!
//! Not here: how figures come about (`workload`), how they are shown (`report`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of this schema; raised when a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// One run of one or more suites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// [`SCHEMA`] of the program that wrote it.
    pub schema: u32,
    /// The commit that was measured, or "unknown".
    pub commit: String,
    /// Whether the work tree had changes that the commit does not hold.
    pub dirty: bool,
    /// When it began, RFC 3339.
    pub date: String,
    /// Where it ran.
    pub machine: Machine,
    /// "quick", "full" or another profile's name.
    pub profile: String,
    /// The seed of all keys and choices.
    pub seed: u64,
    /// Whether it was interrupted: what is here was measured, the rest is missing.
    pub partial: bool,
    /// One result for each workload, set of parameters and engine.
    pub results: Vec<SuiteResult>,
}

impl RunReport {
    /// Whether any result is an error; what an engine does not offer is none.
    pub fn has_failures(&self) -> bool {
        self.results.iter().any(|result| result.error.is_some() && !result.is_not_offered())
    }
}

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors that the run could use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The file system of the data folder, such as "ext4".
    pub filesystem: String,
    /// A stable name: runs of the same class may be compared.
    pub class: String,
    /// What its storage can do, measured in the same run: each figure the median of all probes.
    pub probe: Option<Probe>,
    /// How far those probes went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_spread: Option<ProbeSpread>,
    /// Whether its storage counts flushes, so that those of engines that count none are checked.
    #[serde(default)]
    pub counts_flushes: bool,
}

/// What the storage under the data folder does, without any engine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// 4 KiB overwrite and `fdatasync`, median, microseconds.
    pub overwrite_sync_us_p50: f64,
    /// 4 KiB overwrite and `fdatasync`, 99th percentile, microseconds.
    pub overwrite_sync_us_p99: f64,
    /// Sequential 1 MiB writes with one `fdatasync` at the end, MB/s.
    pub sequential_sync_mb_s: f64,
    /// Random 4 KiB read that the page cache does not hold, median, microseconds.
    pub cold_read_us_p50: f64,
    /// Random 4 KiB read that the page cache does not hold, 99th percentile, microseconds.
    pub cold_read_us_p99: f64,
}

/// How far the probes of a run went: the least and the most of each figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeSpread {
    /// How many probes.
    pub count: u64,
    /// Medians of 4 KiB overwrite and `fdatasync`, microseconds.
    pub overwrite_sync_us_p50: (f64, f64),
    /// Sequential writes with one `fdatasync`, MB/s.
    pub sequential_sync_mb_s: (f64, f64),
}

/// What one engine did in one workload with one set of parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuiteResult {
    /// The suite, such as "micro".
    pub suite: String,
    /// The workload, such as "read_latency".
    pub workload: String,
    /// The engine, such as "llmdb".
    pub engine: String,
    /// The engine's version.
    pub engine_version: String,
    /// The engine's settings, in words.
    pub settings: String,
    /// When a commit counts as done.
    pub durable: Durability,
    /// The parameters, by name.
    pub parameters: BTreeMap<String, String>,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// Latencies of the workload's main operation.
    pub latency: Option<LatencySummary>,
    /// Seconds since the start of the measured part, and operations per second up to there.
    pub throughput: Vec<(f64, f64)>,
    /// What else was watched over time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Series>,
    /// What the storage did around it, where it is the measure: the median of the probes between its rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What was checked.
    pub verified: Verified,
    /// What it should reach and could not be held against, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmeasurable: Vec<Unmeasurable>,
    /// Why it failed or was not done; `None` = the figures stand. Starts with [`NOT_OFFERED`] where the
    /// engine has no such mode.
    pub error: Option<String>,
}

/// How the error text of a combination begins that the engine does not have.
pub const NOT_OFFERED: &str = "not offered";

impl SuiteResult {
    /// Whether it was skipped because the engine has no such mode, which is no failure.
    pub fn is_not_offered(&self) -> bool {
        self.error.as_deref().is_some_and(|text| text.starts_with(NOT_OFFERED))
    }

    /// A figure by name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// What must be equal for two results to be comparable: everything but the figures and the engine's
    /// version.
    pub fn key(&self) -> String {
        let parameters: Vec<_> =
            self.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let durable = self.durable.name();
        format!("{}/{}/{}/{durable}/{}", self.suite, self.workload, self.engine, parameters.join(","))
    }
}

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// On the device before the commit returns.
    Sync,
    /// On the device some time later; a crash of the machine may lose the last moments.
    Interval,
    /// Whenever the system likes.
    None,
    /// On the device before the commit returns, without a log: each commit is a checkpoint.
    NoLog,
    /// Nothing is written in the measured part.
    ReadOnly,
}

impl Durability {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sync, Self::Interval, Self::None, Self::NoLog, Self::ReadOnly];

    /// The name in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Interval => "interval",
            Self::None => "none",
            Self::NoLog => "no_log",
            Self::ReadOnly => "read_only",
        }
    }

    /// Whether an acknowledged commit survives a power cut.
    pub fn is_durable(self) -> bool {
        matches!(self, Self::Sync | Self::NoLog)
    }
}

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What, such as "get_p50".
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what, such as "us".
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// What it should reach.
    pub target: Option<Target>,
    /// The ratio to something measured in the same run, by its name.
    pub ratio_to: Option<(String, f64)>,
}

impl Figure {
    /// A figure that is better the higher it is.
    pub fn higher(name: &str, value: f64, unit: &str) -> Self {
        Self::new(name, value, unit, Better::Higher)
    }

    /// A figure that is better the lower it is.
    pub fn lower(name: &str, value: f64, unit: &str) -> Self {
        Self::new(name, value, unit, Better::Lower)
    }

    fn new(name: &str, value: f64, unit: &str, better: Better) -> Self {
        Self { name: name.to_owned(), value, unit: unit.to_owned(), better, target: None, ratio_to: None }
    }

    /// With a target: `at` in the figure's unit, `text` as a reader shall see it.
    #[must_use]
    pub fn target(mut self, at: f64, text: &str) -> Self {
        self.target = Some(Target { at, text: text.to_owned() });
        self
    }

    /// With its ratio to `base`, which is named `name`.
    #[must_use]
    pub fn ratio(mut self, name: &str, base: f64) -> Self {
        if base > 0.0 {
            self.ratio_to = Some((name.to_owned(), self.value / base));
        }
        self
    }

    /// Whether the target is met; `None` without one.
    pub fn is_met(&self) -> Option<bool> {
        let target = self.target.as_ref()?;
        Some(match self.better {
            Better::Higher => self.value >= target.at,
            Better::Lower => self.value <= target.at,
        })
    }
}

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The more the better.
    Higher,
    /// The less the better.
    Lower,
}

/// What a figure should reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The bound, in the figure's unit.
    pub at: f64,
    /// The same for readers, such as "p99 under 10 us".
    pub text: String,
}

/// A number over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What, such as "bytes on disk".
    pub name: String,
    /// Of what, as in figures.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// Seconds since the start, and how much.
    pub points: Vec<(f64, f64)>,
}

/// What could not be held against its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmeasurable {
    /// What it should reach.
    pub target: String,
    /// Why nobody can say.
    pub why: String,
}

/// Latencies of one operation, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Which operation, such as "get".
    pub operation: String,
    /// How many.
    pub count: u64,
    /// The fastest.
    pub min: u64,
    /// The median.
    pub p50: u64,
    /// 95 of 100 are at most this.
    pub p95: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
    /// 999 of 1,000 are at most this.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
    /// The whole histogram: base64 of HdrHistogram's V2 form, in nanoseconds.
    pub hdr: String,
}

/// What was checked of the answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Records or answers that there had to be.
    pub expected_count: u64,
    /// Records or answers that there were.
    pub count: u64,
    /// Whether every byte read was what had been written.
    pub checksum_ok: bool,
    /// Flushes during the measured part, where they can be counted.
    pub flushes: Option<u64>,
}

impl Verified {
    /// Whether count and checksum are right.
    pub fn is_ok(&self) -> bool {
        self.expected_count == self.count && self.checksum_ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> SuiteResult {
        SuiteResult {
            suite: "micro".into(),
            workload: "read_latency".into(),
            engine: "llmdb".into(),
            engine_version: "0.1.0".into(),
            settings: String::new(),
            durable: Durability::ReadOnly,
            parameters: BTreeMap::from([("value".into(), "256".into()), ("key".into(), "16".into())]),
            figures: vec![Figure::lower("get_p50", 0.5, "us").target(1.0, "under 1 us").ratio("lmdb", 0.25)],
            latency: None,
            throughput: vec![(0.5, 2e6)],
            series: Vec::new(),
            probe: None,
            verified: Verified { expected_count: 2, count: 2, checksum_ok: true, flushes: None },
            unmeasurable: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn a_result_survives_json() {
        let text = serde_json::to_string(&result()).unwrap();
        assert!(text.contains("\"durable\":\"read_only\""), "{text}");
        assert_eq!(serde_json::from_str::<SuiteResult>(&text).unwrap(), result());
    }

    #[test]
    fn a_target_is_met_from_its_better_side() {
        assert_eq!(Figure::lower("a", 1.0, "us").target(1.0, "").is_met(), Some(true));
        assert_eq!(Figure::lower("a", 1.1, "us").target(1.0, "").is_met(), Some(false));
        assert_eq!(Figure::higher("a", 0.9, "x").target(1.0, "").is_met(), Some(false));
        assert_eq!(Figure::higher("a", 0.9, "x").is_met(), None);
        assert_eq!(result().figures[0].ratio_to, Some(("lmdb".into(), 2.0)));
    }

    #[test]
    fn the_key_leaves_out_figures_and_versions() {
        let mut other = result();
        other.figures.clear();
        other.engine_version = "0.2.0".into();
        assert_eq!(other.key(), result().key());
        assert_eq!(other.key(), "micro/read_latency/llmdb/read_only/key=16,value=256");
    }
}
