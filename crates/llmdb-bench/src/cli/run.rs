//! `llmdb-bench run`.

use super::report::Shown;
use super::{folder_or_default, io};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use llmdb_bench::results::{Durability, RunReport, SuiteResult};
use llmdb_bench::runner::{Progress, Run, RunOptions};
use llmdb_bench::workload::{PastShape, Sizes};
use llmdb_bench::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Profile {
    /// Seconds: shows that everything works; its figures say nothing.
    Tiny,
    /// The core figures, within three minutes on two cores.
    Quick,
    /// Everything, in about half an hour.
    Full,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// How much is measured.
    #[arg(long, value_enum, default_value = "quick")]
    profile: Profile,
    /// A workload or suite; may be given several times. All, if none.
    #[arg(long = "workload", value_name = "NAME")]
    workloads: Vec<String>,
    /// An engine; may be given several times. All of this build, if none.
    #[arg(long = "engine", value_name = "NAME")]
    engines: Vec<String>,
    /// The seed of keys and choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder for data: a folder of the run's own is made in it, and removed. Should be on the storage
    /// that is to be measured.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The file for the results; without it they are only told in short.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Gigabytes of read_latency's and recovery's databases, may be given several times; the last is also that of
    /// the large one which space_path opens.
    #[arg(long, value_name = "GB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    database_gb: Vec<u64>,
    /// Megabytes of keys and values that are committed before each crash of recovery, at most.
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    log_mb: Option<u64>,
    /// Crashes of each kind in recovery, however long they take; unless told, as many as there is time for.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    kills: Option<u64>,
    /// Records of YCSB and of read_path.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// KEYS:VERSIONS of temporal_queries' histories, may be given several times: the first with each mix of changes, the
    /// others with 10 % corrections. With a third number, and a fourth: the one mix in which so many of a hundred changes correct
    /// the past, and so many begin later.
    #[arg(long, value_name = "KEYS:VERSIONS[:CORRECTIONS[:FUTURES]]", value_parser = shape)]
    past: Vec<PastShape>,
    /// Points of time_series.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    points: Option<u64>,
    /// YCSB's operations at most.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    operations: Option<u64>,
    /// YCSB's operations per second, for an open loop with intended start times.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// When YCSB's commits count as done; may be given several times.
    #[arg(long, value_parser = durability, value_name = "NAME")]
    durability: Vec<Durability>,
    /// YCSB's threads; may be given several times.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4096))]
    threads: Vec<u64>,
    /// Rounds in which engines take turns.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    /// Seconds that one phase of one engine may take.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    #[command(flatten)]
    shown: Shown,
}

/// A number of operations per second.
fn rate(text: &str) -> std::result::Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if rate.is_finite() && (0.001..=1e9).contains(&rate) {
        Ok(rate)
    } else {
        Err("it must be from 0.001 to 1e9".into())
    }
}

/// Keys and versions, and the mix of changes if there is one.
fn shape(text: &str) -> std::result::Result<PastShape, String> {
    let numbers: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
    let shape = match numbers.as_deref() {
        Some(&[keys, versions]) => Some(PastShape { keys, versions, mix: None }),
        Some(&[keys, versions, corrections]) => {
            Some(PastShape { keys, versions, mix: Some((corrections, 0)) })
        }
        Some(&[keys, versions, corrections, futures]) => {
            Some(PastShape { keys, versions, mix: Some((corrections, futures)) })
        }
        _ => None,
    };
    // The number of a change has 32 bits.
    let fits = |shape: &PastShape| {
        let all = shape.keys.checked_mul(shape.versions);
        shape.keys > 0 && shape.versions > 1 && all.is_some_and(|all| all < 1 << 32)
    };
    let is_share = |shape: &PastShape| {
        shape.mix.is_none_or(|(one, other)| one.checked_add(other).is_some_and(|both| both <= 100))
    };
    shape.filter(fits).filter(is_share).ok_or_else(|| {
        "it must be KEYS:VERSIONS, 1 and 2 at least, 4 billion changes at most, or KEYS:VERSIONS:CORRECTIONS[:FUTURES] with \
         up to 100 of a hundred changes"
            .into()
    })
}

/// A durability by its name.
fn durability(text: &str) -> std::result::Result<Durability, String> {
    let known = Durability::ALL.map(Durability::name).join(", ");
    let found = Durability::ALL.into_iter().find(|durability| durability.name() == text);
    found.ok_or_else(|| format!("there is none of that name; known: {known}"))
}

pub(super) fn run(arguments: RunArguments) -> Result<ExitCode> {
    let json = arguments.json.clone();
    let shown = arguments.shown.clone();
    let run = Run::new(options(arguments)?)?;
    let stop = run.stop();
    ctrlc::set_handler(move || stop.stop())
        .map_err(|error| Error::io("listening for Ctrl-C", std::io::Error::other(error)))?;
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    let told = bar.clone();
    run.news().listen(move |text| {
        told.set_message(text.to_owned());
        if told.is_hidden() {
            eprintln!("  {text}");
        }
    });
    let mut unwritten = None;
    let report = run.execute(&mut |progress| match progress {
        Progress::Begins { steps } => bar.set_length(steps),
        Progress::Step { done, what } => {
            bar.set_position(done);
            bar.set_message(what.to_owned());
            if bar.is_hidden() {
                eprintln!("{what}");
            }
        }
        // A crash of this program leaves what it had measured, marked partial.
        Progress::Report(report) => {
            let partial = RunReport { partial: true, ..report.clone() };
            unwritten = json.as_deref().and_then(|path| write(path, &partial).err());
        }
        _ => {}
    })?;
    bar.finish_and_clear();
    if let Some(error) = unwritten {
        return Err(error);
    }
    if let Some(path) = &json {
        write(path, &report)?;
    }
    if !shown.show(&report)? {
        print(&report, json.is_some());
    }
    if report.partial {
        return Err(Error::Interrupted);
    }
    Ok(if report.has_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn options(arguments: RunArguments) -> Result<RunOptions> {
    let mut options = match arguments.profile {
        Profile::Tiny => RunOptions { profile: "tiny".into(), sizes: Sizes::tiny(), ..RunOptions::quick() },
        Profile::Quick => RunOptions::quick(),
        Profile::Full => RunOptions::full(),
    };
    options.workloads = arguments.workloads;
    options.engines = arguments.engines;
    options.seed = arguments.seed;
    options.folder = folder_or_default(arguments.dir);
    options.program = Some(io("finding this program", std::env::current_exe())?);
    let sizes = &mut options.sizes;
    if !arguments.database_gb.is_empty() {
        sizes.database_bytes = arguments.database_gb.iter().map(|gigabytes| gigabytes << 30).collect();
        sizes.recovery_database_bytes = sizes.database_bytes.clone();
        sizes.other_shapes_bytes = u64::MAX;
        sizes.space.opened_bytes.1 =
            sizes.database_bytes.last().copied().unwrap_or(sizes.space.opened_bytes.1);
        sizes.database_records_max = u64::MAX;
        // Loading so much takes as long as it takes.
        sizes.run_time += Duration::from_secs(120) * arguments.database_gb.iter().sum::<u64>() as u32;
    }
    if !arguments.threads.is_empty() {
        sizes.ycsb_threads = arguments.threads.iter().map(|&threads| threads as usize).collect();
    }
    if let Some(megabytes) = arguments.log_mb {
        sizes.recovery_log_bytes = vec![megabytes << 20];
    }
    sizes.recovery_crashes = arguments.kills;
    if !arguments.durability.is_empty() {
        sizes.ycsb_durabilities = arguments.durability;
    }
    sizes.ycsb_records = arguments.records.unwrap_or(sizes.ycsb_records);
    sizes.contest_records = arguments.records.unwrap_or(sizes.contest_records);
    if !arguments.past.is_empty() {
        sizes.past_shapes = arguments.past;
    }
    sizes.points = arguments.points.unwrap_or(sizes.points);
    sizes.rounds = arguments.rounds.unwrap_or(sizes.rounds);
    sizes.ycsb_operations = arguments.operations.unwrap_or(sizes.ycsb_operations);
    sizes.ycsb_rate = arguments.rate.or(sizes.ycsb_rate);
    if let Some(seconds) = arguments.seconds {
        sizes.phase_time = Duration::from_secs(seconds);
        sizes.past_phase = sizes.phase_time;
        sizes.run_time = Duration::from_secs(365 * 86_400);
    }
    Ok(options)
}

/// Replaces the file as a whole, so that it is never half written.
fn write(path: &Path, report: &RunReport) -> Result<()> {
    let doing = format!("writing {}", path.display());
    let text = serde_json::to_string_pretty(report)
        .map_err(|error| Error::io(&*doing, std::io::Error::other(error)))?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    io(&doing, fs::write(&unfinished, text + "\n"))?;
    io(&doing, fs::rename(&unfinished, path))
}

/// One line for each result; without a file for the results, also all figures.
fn print(report: &RunReport, in_short: bool) {
    for result in &report.results {
        println!("{}", line(result, in_short));
    }
    if report.partial {
        println!("interrupted: what is above was measured, the rest is missing");
    }
}

fn line(result: &SuiteResult, in_short: bool) -> String {
    let key = result.key();
    if let Some(error) = &result.error {
        return format!("{key}: {error}");
    }
    let count = if in_short { 3 } else { usize::MAX };
    let figures: Vec<_> = result
        .figures
        .iter()
        .take(count)
        .map(|figure| format!("{} {:.3} {}", figure.name, figure.value, figure.unit))
        .collect();
    format!("{key}: {}", figures.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_s_shape_is_two_to_four_numbers() {
        let of = |mix| PastShape { keys: 1_000, versions: 10_000, mix };
        assert_eq!(shape("1000:10000"), Ok(of(None)));
        assert_eq!(shape("1000:10000:0"), Ok(of(Some((0, 0)))));
        assert_eq!(shape("1000:10000:30"), Ok(of(Some((30, 0)))));
        assert_eq!(shape("1000:10000:30:70"), Ok(of(Some((30, 70)))));
        for wrong in
            ["", "9", "0:9", "9:1", "9:9:101", "9:9:60:41", "9:9:1:1:1", "9:9:", "a:9", "99999:99999"]
        {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
    }
}
