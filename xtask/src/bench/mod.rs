//! `cargo xtask bench`: figures in the terminal, figures for the record, and the gate.
//!
//! Invariants
//! 1. What is measured is a release build of this checkout; data lies below the build folder, on its storage.
//! 2. xtask measures and judges nothing itself: that is `llmdb-bench`'s and `llmdb-gate`'s work.
//!
//! Not here: the gate's two builds (`gate`).

mod gate;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failed, Result};
use crate::shell;

/// What `cargo xtask bench --help` prints.
pub(crate) const HELP: &str = "\
Measures LLMDB, beside other engines if asked, or holds a change against its base.

Usage: cargo xtask bench quick [--peers | --all-peers]
       cargo xtask bench full [--peers | --all-peers]
       cargo xtask bench read-path [RECORDS]
       cargo xtask bench commit-path [SECONDS] [--all-peers]
       cargo xtask bench ycsb [SECONDS] [--all-peers]
       cargo xtask bench space-path [GIGABYTES]
       cargo xtask bench recovery [GIGABYTES]
       cargo xtask bench temporal [KEYS:VERSIONS[:CORRECTIONS[:FUTURES]]]...
       cargo xtask bench time-series [POINTS]
       cargo xtask bench ci [--base REV] [--rounds N] [--without-instructions]
       cargo xtask bench ci --self-test [N]

  quick  the core figures within three minutes after the build, shown in the terminal
  full   everything, about half an hour; writes bench-results/DATE-COMMIT/ with the raw JSON, a log of
         histograms, a page and a summary, compared with the newest earlier run of the same machine class
  read-path
         2 million records of 256 bytes beside LMDB, redb, fjall and canopydb: gets, ranges, scans, cold gets and
         loads in rounds in turn, and whether each bar of the read path is met; about 20 minutes
  commit-path
         durable commits beside LMDB, redb, fjall, canopydb and libmdbx: by 1 to 64 threads, in batches of 1,000
         for SECONDS (30), large values, sorted records, a long run with checkpoints, reads beside a writer, and
         whether each bar of the commit path is met; about 30 minutes
  ycsb   YCSB's core workloads A to F beside the same, by 1 and 4 threads, durable and not, SECONDS (10) each,
         and whether each bar is met; about 40 minutes
  space-path
         what 10,000 open readers cost a writer, how the files grow in a minute under a held reader, a dense copy
         after deleting half, and opening 10 MB and GIGABYTES (10), beside LMDB; a quarter of an hour
  recovery
         a database of GIGABYTES (1), its log near its cap, killed 50 times amid commits and left without power 50
         times: the time to the first read, the worst of all, with a cold cache; a quarter of an hour at 1
  temporal
         questions about two times beside LMDB and SQLite by hand, about histories of KEYS:VERSIONS (100000:20 and
         1000:10000), and whether each bar is met; an hour for these, minutes for smaller ones. With CORRECTIONS and
         FUTURES so many of a hundred changes correct the past and begin later
  time-series
         POINTS (10 million) in order, late and twice, windows of an hour and hourly sums, beside the same
  ci     the gate: counts what a fixed set of operations costs in this checkout and in its base, and times
         both in turn; writes bench-results/comment.md and fails where something became worse

  --peers    also LMDB, redb, fjall and SQLite (the first build compiles C)
  --all-peers
             these, libmdbx, canopydb and RocksDB (the first build compiles C++ for many minutes, and its
             bindings need libclang: Debian and Ubuntu: apt-get install libclang-dev)
  --base REV the commit to compare with; unless told, HEAD where files are changed, else the commit before
  --rounds N rounds of wall clock, 15 unless told; 0 leaves the clock out
  --without-instructions
             leave out what needs valgrind
  --self-test [N]
             N times (20 unless told) the same build against itself, which must pass, and against each
             planted slowdown, which must be caught

A regression that is meant is accepted by a line of a commit message: `bench-accept: NAME reason`, where NAME
is an operation, or one of its counts as OPERATION/COUNT.
";

/// Where reports of full runs and of the gate go, below the checkout's root.
const RESULTS: &str = "bench-results";

#[derive(Debug, PartialEq, Eq)]
enum Task {
    Measure { profile: &'static str, peers: Peers },
    ReadPath { records: Option<u64> },
    CommitPath { seconds: u64, peers: Peers },
    Ycsb { seconds: u64, peers: Peers },
    Recovery { gigabytes: u64 },
    SpacePath { gigabytes: u64 },
    Temporal { shapes: Vec<String> },
    TimeSeries { points: u64 },
    Gate(gate::Options),
    SelfTest { times: u32, rounds: Option<u32>, with_instructions: bool },
}

/// Which engines are measured beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peers {
    None,
    Usual,
    All,
}

impl Peers {
    /// The features of `llmdb-bench` that bring them.
    fn features(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Usual => Some("peers"),
            Self::All => Some("peers,libmdbx,canopydb,rocksdb"),
        }
    }
}

/// Whom the bars of the read path are held against.
const READ_PATH_FEATURES: &str = "peers,canopydb";
const READ_PATH_ENGINES: [&str; 7] =
    ["llmdb", "llmdb-no-log", "lmdb", "lmdb-writemap", "redb", "fjall", "canopydb"];

/// Whom the bars of the commit path are held against, with RocksDB if all are asked for.
const COMMIT_PATH_FEATURES: &str = "peers,canopydb,libmdbx";
const COMMIT_PATH_ENGINES: [&str; 7] =
    ["llmdb", "llmdb-no-log", "lmdb", "redb", "fjall", "canopydb", "libmdbx"];
/// Seconds of batches, which take three times as long as other phases.
const COMMIT_PATH_SECONDS: u64 = 30;
const YCSB_SECONDS: u64 = 10;
/// The histories that the bars speak of.
const TEMPORAL_SHAPES: [&str; 2] = ["100000:20", "1000:10000"];
const TIME_SERIES_POINTS: u64 = 10_000_000;
/// Megabytes of keys and values before each crash, at most: a little less than the log holds.
const RECOVERY_LOG_MB: &str = "60";

/// Does what the arguments ask for.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<String> {
    match parse(arguments)? {
        Task::Measure { profile, peers } => measure(root, profile, peers),
        Task::ReadPath { records } => read_path(root, records),
        Task::CommitPath { seconds, peers } => commit_path(root, seconds, peers),
        Task::Ycsb { seconds, peers } => ycsb(root, seconds, peers),
        Task::Recovery { gigabytes } => recovery(root, gigabytes),
        Task::SpacePath { gigabytes } => space_path(root, gigabytes),
        Task::Temporal { shapes } => temporal(root, &shapes),
        Task::TimeSeries { points } => time_series(root, points),
        Task::Gate(options) => gate::run(root, &options),
        Task::SelfTest { times, rounds, with_instructions } => {
            gate::self_test(root, times, rounds, with_instructions)
        }
    }
}

fn measure(root: &Path, profile: &str, peers: Peers) -> Result<String> {
    let mut command = built(root, peers.features(), profile)?;
    command.args(["--profile", profile]);
    if profile == "full" {
        command.args(["--into", RESULTS]);
    }
    Err(become_it(&mut command))
}

fn read_path(root: &Path, records: Option<u64>) -> Result<String> {
    let mut command = built(root, Some(READ_PATH_FEATURES), "read-path")?;
    command.args(["--workload", "read_path", "--rounds", "5", "--seconds", "5"]);
    command.args(READ_PATH_ENGINES.iter().flat_map(|engine| ["--engine", engine]));
    if let Some(records) = records {
        command.args(["--records", &records.to_string()]);
    }
    Err(become_it(&mut command))
}

fn commit_path(root: &Path, seconds: u64, peers: Peers) -> Result<String> {
    let mut command = beside_committers(root, peers, "commit-path")?;
    // Batches take three budgets, the long run six.
    let seconds = seconds.div_ceil(3).to_string();
    command.args(["--workload", "commit_path", "--rounds", "5", "--seconds", &seconds]);
    Err(become_it(&mut command))
}

fn ycsb(root: &Path, seconds: u64, peers: Peers) -> Result<String> {
    let mut command = beside_committers(root, peers, "ycsb")?;
    command.args(["--workload", "ycsb", "--rounds", "5", "--seconds", &seconds.to_string()]);
    command.args(["--threads", "1", "--threads", "4", "--durability", "sync", "--durability", "none"]);
    // Enough that time ends a phase, not the number of operations.
    command.args(["--records", "200000", "--operations", "10000000"]);
    Err(become_it(&mut command))
}

fn space_path(root: &Path, gigabytes: u64) -> Result<String> {
    let mut command = built(root, Some("peers"), "space-path")?;
    command.args(["--workload", "space_path", "--rounds", "5", "--seconds", "10"]);
    command.args(["--engine", "llmdb", "--engine", "llmdb-no-log", "--engine", "lmdb"]);
    command.args(["--database-gb", &gigabytes.to_string()]);
    Err(become_it(&mut command))
}

fn recovery(root: &Path, gigabytes: u64) -> Result<String> {
    let mut command = built(root, None, "recovery")?;
    command.args(["--workload", "recovery", "--engine", "llmdb", "--seconds", "60", "--kills", "50"]);
    command.args(["--database-gb", &gigabytes.to_string(), "--log-mb", RECOVERY_LOG_MB]);
    Err(become_it(&mut command))
}

fn temporal(root: &Path, shapes: &[String]) -> Result<String> {
    let mut command = built(root, Peers::Usual.features(), "temporal")?;
    command.args(["--workload", "temporal_queries", "--rounds", "5", "--seconds", "2"]);
    command.args(shapes.iter().flat_map(|shape| ["--past", shape]));
    Err(become_it(&mut command))
}

fn time_series(root: &Path, points: u64) -> Result<String> {
    let mut command = built(root, Peers::Usual.features(), "time-series")?;
    command.args(["--workload", "time_series", "--rounds", "5", "--seconds", "5"]);
    command.args(["--points", &points.to_string()]);
    Err(become_it(&mut command))
}

/// The program with the engines that commits are held against.
fn beside_committers(root: &Path, peers: Peers, name: &str) -> Result<Command> {
    let is_all = peers == Peers::All;
    let features = if is_all { Peers::All.features() } else { Some(COMMIT_PATH_FEATURES) };
    let mut command = built(root, features, name)?;
    let more = is_all.then_some("rocksdb");
    command.args(COMMIT_PATH_ENGINES.into_iter().chain(more).flat_map(|engine| ["--engine", engine]));
    Ok(command)
}

/// The release build of `llmdb-bench`, told to run and where its data and results go.
fn built(root: &Path, features: Option<&str>, name: &str) -> Result<Command> {
    let mut build = shell::cargo(root, ["build", "--release", "--locked", "-p", "llmdb-bench"]);
    build.args(["--bin", "llmdb-bench"]);
    if let Some(features) = features {
        build.args(["--features", features]);
    }
    shell::run(&mut build)?;
    let data = target_folder(root).join("bench-data");
    std::fs::create_dir_all(&data).map_err(|error| Failed::io("create", &data, &error))?;
    let mut command = Command::new(target_folder(root).join("release/llmdb-bench"));
    command.current_dir(root).args(["run", "--report", "--dir"]).arg(&data);
    command.arg("--json").arg(data.join(format!("{name}.json")));
    Ok(command)
}

/// Becomes the program, which only an error returns from: so Ctrl-C reaches it alone, and it has time to
/// keep what was measured and to remove its data. Its exit code is then this one's.
fn become_it(command: &mut Command) -> Failed {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    println!("+ {}", words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "));
    let error = command.exec();
    Failed::new(format!("could not start {}: {error}", command.get_program().display()))
}

/// Where cargo builds.
fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

fn parse(arguments: &[String]) -> Result<Task> {
    let asked = |what: &str| Failed::new(format!("{what}: see cargo xtask bench --help"));
    let Some((task, rest)) = arguments.split_first() else {
        return Err(asked(
            "bench needs `quick`, `full`, `read-path`, `commit-path`, `ycsb`, `space-path`, `recovery`, `temporal`, `time-series` or `ci`",
        ));
    };
    match task.as_str() {
        "quick" => Ok(Task::Measure { profile: "quick", peers: parse_peers(rest)? }),
        "full" => Ok(Task::Measure { profile: "full", peers: parse_peers(rest)? }),
        "read-path" => Ok(Task::ReadPath { records: parse_number(rest, "records")? }),
        "space-path" => Ok(Task::SpacePath { gigabytes: parse_number(rest, "gigabytes")?.unwrap_or(10) }),
        "temporal" => Ok(Task::Temporal { shapes: parse_shapes(rest)? }),
        "time-series" => {
            Ok(Task::TimeSeries { points: parse_number(rest, "points")?.unwrap_or(TIME_SERIES_POINTS) })
        }
        "recovery" => Ok(Task::Recovery { gigabytes: parse_number(rest, "gigabytes")?.unwrap_or(1) }),
        "commit-path" => {
            let (seconds, peers) = parse_seconds(rest, COMMIT_PATH_SECONDS)?;
            Ok(Task::CommitPath { seconds, peers })
        }
        "ycsb" => {
            let (seconds, peers) = parse_seconds(rest, YCSB_SECONDS)?;
            Ok(Task::Ycsb { seconds, peers })
        }
        "ci" => parse_gate(rest),
        other => Err(asked(&format!("bench does not know `{other}`"))),
    }
}

fn parse_peers(arguments: &[String]) -> Result<Peers> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => Ok(Peers::None),
        ["--peers"] => Ok(Peers::Usual),
        ["--all-peers"] => Ok(Peers::All),
        _ => Err(Failed::new(format!(
            "bench takes --peers or --all-peers here, not `{}`: see cargo xtask bench --help",
            words.join(" ")
        ))),
    }
}

/// `[KEYS:VERSIONS[:CORRECTIONS[:FUTURES]]]...`; whether the shares fit into a hundred the program itself says.
fn parse_shapes(arguments: &[String]) -> Result<Vec<String>> {
    let is_shape = |text: &String| {
        let numbers: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
        numbers
            .is_some_and(|numbers| (2..=4).contains(&numbers.len()) && numbers[..2].iter().all(|&it| it > 0))
    };
    if let Some(wrong) = arguments.iter().find(|text| !is_shape(text)) {
        return Err(Failed::new(format!(
            "bench takes KEYS:VERSIONS above 0, and perhaps :CORRECTIONS:FUTURES of a hundred changes, not `{wrong}`: see \
             cargo xtask bench --help"
        )));
    }
    let usual = TEMPORAL_SHAPES.map(str::to_owned);
    Ok(if arguments.is_empty() { usual.to_vec() } else { arguments.to_vec() })
}

/// `[SECONDS] [--all-peers]`.
fn parse_seconds(arguments: &[String], unless_told: u64) -> Result<(u64, Peers)> {
    let (numbers, flags): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|argument| !argument.starts_with('-'));
    let seconds = match numbers[..] {
        [] => Some(unless_told),
        [text] => text.parse().ok().filter(|seconds| (1..=86_400).contains(seconds)),
        _ => None,
    };
    let peers = match flags[..] {
        [] => Some(Peers::Usual),
        [flag] if flag == "--all-peers" => Some(Peers::All),
        _ => None,
    };
    seconds.zip(peers).ok_or_else(|| {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        Failed::new(format!(
            "bench takes seconds from 1 to 86400 and --all-peers here, not `{}`: see cargo xtask bench --help",
            words.join(" ")
        ))
    })
}

/// A number above 0 of something, if one is given.
fn parse_number(arguments: &[String], of: &str) -> Result<Option<u64>> {
    let bad = |text: &str| {
        Failed::new(format!(
            "bench takes a number of {of} above 0 here, not `{text}`: see cargo xtask bench --help"
        ))
    };
    match arguments {
        [] => Ok(None),
        [text] => text.parse().ok().filter(|&number| number > 0).map(Some).ok_or_else(|| bad(text)),
        _ => Err(bad(&arguments.join(" "))),
    }
}

fn parse_gate(arguments: &[String]) -> Result<Task> {
    let asked = |what: &str| Failed::new(format!("{what}: see cargo xtask bench --help"));
    let mut options = gate::Options { base: None, rounds: None, with_instructions: true };
    let mut self_test = None;
    let mut arguments = arguments.iter().peekable();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--base" => {
                let base = arguments.next().filter(|base| !base.starts_with('-'));
                options.base = Some(base.ok_or_else(|| asked("--base needs a commit"))?.clone());
            }
            "--rounds" => {
                let rounds = arguments.next().and_then(|text| text.parse().ok());
                options.rounds = Some(rounds.ok_or_else(|| asked("--rounds needs a whole number"))?);
            }
            "--without-instructions" => options.with_instructions = false,
            "--self-test" => {
                let times = arguments.next_if(|next| !next.starts_with('-')).map(|text| text.parse::<u32>());
                let times = times.unwrap_or(Ok(20)).ok().filter(|times| *times > 0);
                self_test = Some(times.ok_or_else(|| asked("--self-test needs a whole number above 0"))?);
            }
            other => return Err(asked(&format!("bench ci does not know `{other}`"))),
        }
    }
    match (self_test, options) {
        (Some(_), gate::Options { base: Some(_), .. }) => {
            Err(asked("--self-test compares this checkout with itself, so it takes no --base"))
        }
        (Some(times), gate::Options { rounds, with_instructions, .. }) => {
            Ok(Task::SelfTest { times, rounds, with_instructions })
        }
        (None, options) => Ok(Task::Gate(options)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Task> {
        parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read() {
        let measure = |profile, peers| Task::Measure { profile, peers };
        assert_eq!(parsed(&["quick"]).unwrap(), measure("quick", Peers::None));
        assert_eq!(parsed(&["full", "--peers"]).unwrap(), measure("full", Peers::Usual));
        assert_eq!(parsed(&["quick", "--all-peers"]).unwrap(), measure("quick", Peers::All));
        assert_eq!(parsed(&["read-path"]).unwrap(), Task::ReadPath { records: None });
        assert_eq!(parsed(&["read-path", "500"]).unwrap(), Task::ReadPath { records: Some(500) });
        let commit_path = |seconds, peers| Task::CommitPath { seconds, peers };
        assert_eq!(parsed(&["commit-path"]).unwrap(), commit_path(30, Peers::Usual));
        assert_eq!(parsed(&["commit-path", "6", "--all-peers"]).unwrap(), commit_path(6, Peers::All));
        assert_eq!(parsed(&["space-path"]).unwrap(), Task::SpacePath { gigabytes: 10 });
        let temporal =
            |shapes: &[&str]| Task::Temporal { shapes: shapes.iter().map(ToString::to_string).collect() };
        assert_eq!(parsed(&["temporal"]).unwrap(), temporal(&TEMPORAL_SHAPES));
        assert_eq!(parsed(&["temporal", "9:2", "3:4"]).unwrap(), temporal(&["9:2", "3:4"]));
        assert_eq!(parsed(&["temporal", "9:2:0", "3:4:30:10"]).unwrap(), temporal(&["9:2:0", "3:4:30:10"]));
        assert_eq!(parsed(&["time-series", "500"]).unwrap(), Task::TimeSeries { points: 500 });
        assert_eq!(parsed(&["recovery", "10"]).unwrap(), Task::Recovery { gigabytes: 10 });
        assert_eq!(parsed(&["ycsb", "2"]).unwrap(), Task::Ycsb { seconds: 2, peers: Peers::Usual });
        let all = ["ci", "--base", "main~2", "--rounds", "0", "--without-instructions"];
        let options =
            gate::Options { base: Some("main~2".into()), rounds: Some(0), with_instructions: false };
        assert_eq!(parsed(&all).unwrap(), Task::Gate(options));
        let trial = |times| Task::SelfTest { times, rounds: None, with_instructions: true };
        assert_eq!(parsed(&["ci", "--self-test"]).unwrap(), trial(20));
        assert_eq!(parsed(&["ci", "--self-test", "3"]).unwrap(), trial(3));
    }

    #[test]
    fn wrong_arguments_are_named_with_where_to_look() {
        for wrong in [
            &[][..],
            &["fast"],
            &["quick", "--rounds", "3"],
            &["full", "--peers", "--all-peers"],
            &["read-path", "0"],
            &["read-path", "--peers"],
            &["recovery", "0"],
            &["temporal", "100"],
            &["temporal", "0:4"],
            &["temporal", "9:2:1:1:1"],
            &["time-series", "many"],
            &["commit-path", "0"],
            &["commit-path", "5", "5"],
            &["ycsb", "--peers"],
            &["ci", "--base"],
            &["ci", "--base", "--rounds"],
            &["ci", "--rounds", "many"],
            &["ci", "--self-test", "0"],
            &["ci", "--self-test", "--base", "HEAD"],
            &["ci", "--peers"],
        ] {
            let error = parsed(wrong).unwrap_err().to_string();
            assert!(error.contains("cargo xtask bench --help"), "{wrong:?}: {error}");
        }
    }
}
