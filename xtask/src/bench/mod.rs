//! `cargo xtask bench`: figures in the terminal, figures for the record, and the gate.
//!
//! Invariants
//! 1. What is measured is a release build of this checkout; data lies below the build folder, on its storage.
//! 2. xtask measures and judges nothing itself: that is `llmdb-bench`'s and `llmdb-gate`'s work.
//!
//! Not here: the gate's two builds (`gate`).

mod gate;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failed, Result};
use crate::shell;

/// What `cargo xtask bench --help` prints.
pub(crate) const HELP: &str = "\
Measures LLMDB, beside other engines if asked, or holds a change against its base.

Usage: cargo xtask bench quick [--peers]
       cargo xtask bench full [--peers]
       cargo xtask bench ci [--base REV] [--rounds N] [--without-instructions]
       cargo xtask bench ci --self-test [N]

  quick  the core figures within three minutes after the build, shown in the terminal
  full   everything, about half an hour; writes bench-results/DATE-COMMIT/ with the raw JSON, a log of
         histograms, a page and a summary, compared with the newest earlier run of the same machine class
  ci     the gate: counts what a fixed set of operations costs in this checkout and in its base, and times
         both in turn; writes bench-results/comment.md and fails where something became worse

  --peers    also LMDB, redb, fjall and SQLite (the first build compiles C)
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
    Quick { peers: bool },
    Full { peers: bool },
    Gate(gate::Options),
    SelfTest { times: u32, rounds: Option<u32>, with_instructions: bool },
}

/// Does what the arguments ask for.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<String> {
    match parse(arguments)? {
        Task::Quick { peers } => measure(root, "quick", peers),
        Task::Full { peers } => measure(root, "full", peers),
        Task::Gate(options) => gate::run(root, &options),
        Task::SelfTest { times, rounds, with_instructions } => {
            gate::self_test(root, times, rounds, with_instructions)
        }
    }
}

fn measure(root: &Path, profile: &str, peers: bool) -> Result<String> {
    let mut build = shell::cargo(root, ["build", "--release", "--locked", "-p", "llmdb-bench"]);
    build.args(["--bin", "llmdb-bench"]);
    if peers {
        build.args(["--features", "peers"]);
    }
    shell::run(&mut build)?;
    let data = target_folder(root).join("bench-data");
    std::fs::create_dir_all(&data).map_err(|error| Failed::io("create", &data, &error))?;
    let json = data.join(format!("{profile}.json"));
    let mut command = Command::new(target_folder(root).join("release/llmdb-bench"));
    command.current_dir(root).args(["run", "--profile", profile, "--report", "--dir"]).arg(&data);
    command.arg("--json").arg(&json);
    if profile == "full" {
        command.args(["--into", RESULTS]);
    }
    shell::run(&mut command)?;
    Ok(format!("{profile} measured; the results are also in {}", json.display()))
}

/// Where cargo builds.
fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

fn parse(arguments: &[String]) -> Result<Task> {
    let asked = |what: &str| Failed::new(format!("{what}: see cargo xtask bench --help"));
    let Some((task, rest)) = arguments.split_first() else {
        return Err(asked("bench needs `quick`, `full` or `ci`"));
    };
    match task.as_str() {
        "quick" => Ok(Task::Quick { peers: parse_peers(rest)? }),
        "full" => Ok(Task::Full { peers: parse_peers(rest)? }),
        "ci" => parse_gate(rest),
        other => Err(asked(&format!("bench does not know `{other}`"))),
    }
}

fn parse_peers(arguments: &[String]) -> Result<bool> {
    match arguments.iter().find(|argument| *argument != "--peers") {
        Some(other) => {
            Err(Failed::new(format!("bench does not know `{other}`: see cargo xtask bench --help")))
        }
        None => Ok(!arguments.is_empty()),
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
        assert_eq!(parsed(&["quick"]).unwrap(), Task::Quick { peers: false });
        assert_eq!(parsed(&["full", "--peers"]).unwrap(), Task::Full { peers: true });
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
